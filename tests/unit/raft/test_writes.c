/* Writes in flight, cut by later ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft/writes.h"

static void they_are_numbered_and_complete_in_order(void **state)
{
    (void)state;
    struct writes w;
    writes_init(&w);
    assert_null(writes_oldest(&w));
    for (uint64_t i = 1; i <= 100; i++) {
        assert_int_equal(writes_push(&w, (struct write){.hi = i + 1}), i);
    }
    for (uint64_t i = 1; i <= 50; i++) {
        assert_int_equal(writes_pop(&w).seq, i);
    }
    for (uint64_t i = 101; i <= 300; i++) {
        assert_int_equal(writes_push(&w, (struct write){.hi = i + 1}), i);
    }
    for (uint64_t i = 51; i <= 300; i++) {
        assert_int_equal(writes_oldest(&w)->seq, i);
        assert_int_equal(writes_pop(&w).hi, i + 1);
    }
    assert_int_equal(w.count, 0);
    writes_close(&w);
}

static void a_cut_clamps_what_is_in_flight(void **state)
{
    (void)state;
    struct writes w;
    writes_init(&w);
    (void)writes_push(&w, (struct write){.last = {.index = 3, .term = 1}, .hi = 4});
    (void)writes_push(&w, (struct write){0}); /* term and vote only */
    (void)writes_push(&w, (struct write){.last = {.index = 9, .term = 1}, .hi = 10});
    writes_truncate(&w, 3);
    struct write first = writes_pop(&w);
    assert_int_equal(first.hi, 3);
    assert_int_equal(first.last.index, 3); /* what will be reported is as it was asked for */
    assert_int_equal(writes_pop(&w).hi, 0);
    assert_int_equal(writes_pop(&w).hi, 3);
    writes_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_numbered_and_complete_in_order),
        cmocka_unit_test(a_cut_clamps_what_is_in_flight),
    };
    return cmocka_run_group_tests_name("raft/writes", tests, NULL, NULL);
}
