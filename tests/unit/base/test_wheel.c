/* The timer wheel against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/wheel.h"

enum { TIMERS = 3000, STEPS = 20000 };

static void each_is_reported_once_soon_after_it_is_due(void **state)
{
    (void)state;
    static struct wheel w;
    static struct wheel_timer timers[TIMERS];
    struct rng rng;
    rng_seed(&rng, 3);
    uint64_t now_us = 987654321;
    uint32_t reported = 0;
    wheel_init(&w, now_us);
    for (int step = 0; step < STEPS; step++) {
        struct wheel_timer *t = &timers[rng_range(&rng, 0, TIMERS)];
        if (t->set) {
            wheel_clear(&w, t);
        } else if (step % 100 != 0) {
            wheel_set(&w, t, now_us + rng_range(&rng, 0, 1000000));
        } else { /* further than the wheel reaches, or now */
            wheel_set(&w, t, step % 200 == 0 ? now_us + 30000000 : now_us);
        }
        now_us += step % 1000 == 0 ? 20000000 : rng_range(&rng, 0, 3000);
        while ((t = wheel_take(&w, now_us)) != NULL) {
            assert_false(t->set);
            assert_true(t->due_us <= now_us);
            reported++;
        }
        uint32_t set = 0;
        for (int i = 0; i < TIMERS; i++) {
            set += timers[i].set;
            assert_false(timers[i].set && timers[i].due_us + WHEEL_SLOT_US < now_us);
        }
        assert_int_equal(set, w.count);
        assert_true((w.count == 0) == (wheel_deadline(&w) == UINT64_MAX));
        assert_true(w.count == 0 || wheel_deadline(&w) <= now_us + WHEEL_SLOT_US);
    }
    assert_true(reported > STEPS / 4);
}

static void looking_when_told_to_misses_nothing(void **state)
{
    (void)state;
    struct wheel w;
    struct wheel_timer t = {0};
    for (uint64_t in_us = 0; in_us < 10000000; in_us = in_us * 3 + 7) {
        uint64_t now_us = 5000000, due_us = now_us + in_us;
        wheel_init(&w, now_us);
        wheel_set(&w, &t, due_us);
        while (wheel_take(&w, now_us) == NULL) {
            assert_true(wheel_deadline(&w) > now_us);
            now_us = wheel_deadline(&w);
        }
        assert_in_range(now_us, due_us, due_us + WHEEL_SLOT_US);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_reported_once_soon_after_it_is_due),
        cmocka_unit_test(looking_when_told_to_misses_nothing),
    };
    return cmocka_run_group_tests_name("base/wheel", tests, NULL, NULL);
}
