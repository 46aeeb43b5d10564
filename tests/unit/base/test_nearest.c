#include "base/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const verbs[] = {"start", "status", "members", "transfer", "propose", "kv"};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

static void distance_counts_edits_and_swaps_once(void **state)
{
    (void)state;
    assert_int_equal(nearest_distance("status", "status"), 0);
    assert_int_equal(nearest_distance("status", "STATUS"), 0);
    assert_int_equal(nearest_distance("sttaus", "status"), 1);
    assert_int_equal(nearest_distance("statu", "status"), 1);
    assert_int_equal(nearest_distance("sstatus", "status"), 1);
    assert_int_equal(nearest_distance("", "kv"), 2);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
}

static void a_typing_error_finds_its_name(void **state)
{
    (void)state;
    assert_string_equal(nearest_name("sttaus", verbs, VERBS), "status");
    assert_string_equal(nearest_name("member", verbs, VERBS), "members");
    assert_string_equal(nearest_name("vk", verbs, VERBS), "kv");
    assert_string_equal(nearest_name("trans", verbs, VERBS), "transfer");
}

static void a_strange_word_finds_nothing(void **state)
{
    (void)state;
    assert_null(nearest_name("banana", verbs, VERBS));
    assert_null(nearest_name("", verbs, VERBS));
    assert_null(nearest_name("st", verbs, VERBS)); /* start or status? */
}

static void long_words_are_cut_not_overrun(void **state)
{
    (void)state;
    char a[300], b[300];
    for (size_t i = 0; i < sizeof a; i++) {
        a[i] = 'a';
        b[i] = 'b';
    }
    a[sizeof a - 1] = b[sizeof b - 1] = 0;
    assert_int_equal(nearest_distance(a, b), 63);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distance_counts_edits_and_swaps_once),
        cmocka_unit_test(a_typing_error_finds_its_name),
        cmocka_unit_test(a_strange_word_finds_nothing),
        cmocka_unit_test(long_words_are_cut_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
