/* What is shown of a run that failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cluster.h"

enum { SECOND = 1000000, LINES = 50 };

static uint64_t lines_told;

static void count_line(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    lines_told++;
}

static void heartbeats_leave_what_went_wrong_in_sight(void **ctx)
{
    (void)ctx;
    struct cluster_options o = cluster_defaults(1);
    o.live = count_line;
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    assert_true(cluster_run(c, SECOND));
    cluster_note(c, 0, "something went wrong");
    lines_told = 0;
    assert_true(cluster_run(c, 10 * SECOND));

    struct buffer text = {0};
    cluster_timeline(c, LINES, &text);
    const char *note = strstr(buffer_text(&text), "something went wrong\n");
    assert_non_null(note);
    assert_non_null(strstr(note, " steps of heartbeats, nothing new\n"));
    assert_null(strstr(note, "count=0")); /* an append without entries */
    assert_true(lines_told > 500);        /* whoever follows the run sees each */
    buffer_close(&text);
    cluster_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heartbeats_leave_what_went_wrong_in_sight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
