#include "guardian/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_first_restart_is_at_once(void **state)
{
    (void)state;
    uint64_t delay_us = 0;
    assert_int_equal(backoff_next(&delay_us, 0), BACKOFF_FIRST_US);
}

static void quick_deaths_double_the_delay_up_to_seconds(void **state)
{
    (void)state;
    uint64_t delay_us = 0, before = 0;
    for (int i = 0; i < 30; i++) {
        uint64_t next = backoff_next(&delay_us, 1000);
        assert_true(next >= before);
        assert_true(next <= BACKOFF_LAST_US);
        before = next;
    }
    assert_int_equal(before, BACKOFF_LAST_US);
}

static void a_long_life_is_forgiven(void **state)
{
    (void)state;
    uint64_t delay_us = BACKOFF_LAST_US;
    assert_int_equal(backoff_next(&delay_us, BACKOFF_FORGIVEN_US), BACKOFF_FIRST_US);
    assert_int_equal(backoff_next(&delay_us, BACKOFF_FORGIVEN_US - 1), 2 * BACKOFF_FIRST_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_restart_is_at_once),
        cmocka_unit_test(quick_deaths_double_the_delay_up_to_seconds),
        cmocka_unit_test(a_long_life_is_forgiven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
