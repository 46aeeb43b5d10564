/* Majorities, odd and even. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rng.h"
#include "raft/quorum.h"

static uint64_t reached(const uint64_t *values, uint32_t count)
{
    struct quorum q;
    quorum_init(&q);
    for (uint32_t i = 0; i < count; i++) {
        quorum_add(&q, values[i]);
    }
    return quorum_reached(&q);
}

static void a_majority_is_more_than_half(void **state)
{
    (void)state;
    assert_int_equal(reached(NULL, 0), 0);
    assert_int_equal(reached((uint64_t[]){7}, 1), 7);
    assert_int_equal(reached((uint64_t[]){7, 5}, 2), 5);
    assert_int_equal(reached((uint64_t[]){7, 5, 9}, 3), 7);
    assert_int_equal(reached((uint64_t[]){4, 3, 2, 1}, 4), 2);
    assert_int_equal(reached((uint64_t[]){1, 5, 2, 4, 3}, 5), 3);
}

static void it_is_the_largest_value_that_a_majority_reached(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int round = 0; round < 10000; round++) {
        uint64_t values[RAFT_MEMBERS_MAX];
        uint32_t count = (uint32_t)rng_range(&rng, 1, RAFT_MEMBERS_MAX + 1);
        for (uint32_t i = 0; i < count; i++) {
            values[i] = rng_range(&rng, 0, 10);
        }
        uint64_t answer = reached(values, count);
        uint32_t at_least = 0;
        uint32_t beyond = 0;
        for (uint32_t i = 0; i < count; i++) {
            at_least += values[i] >= answer;
            beyond += values[i] > answer;
        }
        assert_true(at_least > count / 2);
        assert_false(beyond > count / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_majority_is_more_than_half),
        cmocka_unit_test(it_is_the_largest_value_that_a_majority_reached),
    };
    return cmocka_run_group_tests_name("raft/quorum", tests, NULL, NULL);
}
