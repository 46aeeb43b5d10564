/* Machines that say when to wake them. What they do then: tests/scenarios, with leases. */
#include <string.h>

#include "rig.h"

#include "node/node_internal.h"

static unsigned complaints;

static void count_complaint(void *sink, const char *line, size_t size_bytes)
{
    (void)sink, (void)size_bytes;
    complaints += strstr(line, "could not say when to wake it") != NULL;
}

static int64_t no_time(void *clock)
{
    (void)clock;
    return 0;
}

#define SOURCE(version, wake)                                         \
    "[\"return {name='m', version=" version ", init=function() end, " \
    "apply={inc=function() return 1 end, wake=function() end}, wake=function() " wake " end}\"]"

static void apply_entries(struct cluster *c, int count)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(rig_call(c, 0, "propose", "[\"m\",\"inc\"]").err, ERR_OK);
    }
}

/* One that ran into its limit was asked again with every entry: the leader had no time left for
 * heartbeats, and the log none for anything else. */
static void a_machine_that_fails_to_say_is_not_asked_with_every_entry(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(1);
    const struct log log = {.format = LOG_LOGFMT,
                            .level = LOG_LEVEL_WARN,
                            .wall_ms = no_time,
                            .write = count_complaint};
    struct node *n = sim_process_node(cluster_host(c, 0));
    n->ports.log = &log;
    complaints = 0;
    assert_int_equal(rig_call(c, 0, "load", SOURCE("1", "error('x')")).err, ERR_OK);
    apply_entries(c, 50);
    assert_int_equal(complaints, 1);
    assert_true(cluster_run(c, 15 * SECOND)); /* once more, after ten */
    apply_entries(c, 50);
    assert_int_equal(complaints, 2);
    /* Its next version is asked at once. */
    assert_int_equal(rig_call(c, 0, "load", SOURCE("2", "return 'soon'")).err, ERR_OK);
    apply_entries(c, 50);
    assert_int_equal(complaints, 3);
    assert_int_equal(rig_call(c, 0, "load", SOURCE("3", "return 1000")).err, ERR_OK);
    raft_index before = raft_last_index(node_raft(n));
    assert_true(cluster_run(c, 1500 * MS));
    assert_true(raft_last_index(node_raft(n)) > before);
    assert_int_equal(complaints, 3);
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_that_fails_to_say_is_not_asked_with_every_entry),
    };
    return cmocka_run_group_tests_name("node/wakes", tests, NULL, NULL);
}
