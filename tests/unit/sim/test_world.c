/* The world makes calls in order of time, then of scheduling, and leaves the same trace each time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim_clock.h"
#include "sim/sim_map.h"
#include "sim/world.h"

enum { CALLS = 2000 };

struct seen {
    struct world *w;
    uint64_t count;
    uint64_t args[CALLS];
    uint64_t times_us[CALLS];
};

static void see(void *ctx, uint64_t arg)
{
    struct seen *s = ctx;
    s->args[s->count] = arg;
    s->times_us[s->count++] = world_now_us(s->w);
}

static void calls_come_in_order_of_time_then_of_scheduling(void **state)
{
    (void)state;
    struct seen s = {.w = world_new(7)};
    struct rng rng;
    rng_seed(&rng, 7);
    for (uint64_t i = 0; i < CALLS; i++) {
        world_at(s.w, rng_range(&rng, 0, 100), see, &s, i);
    }
    assert_true(world_run_until(s.w, 1000));
    assert_int_equal(s.count, CALLS);
    for (uint64_t i = 1; i < CALLS; i++) {
        assert_true(s.times_us[i - 1] <= s.times_us[i]);
        if (s.times_us[i - 1] == s.times_us[i]) {
            assert_true(s.args[i - 1] < s.args[i]);
        }
    }
    assert_int_equal(world_now_us(s.w), 1000);
    world_free(s.w);
}

static void a_call_for_the_past_is_made_now(void **state)
{
    (void)state;
    struct seen s = {.w = world_new(1)};
    world_run_until(s.w, 50);
    world_at(s.w, 10, see, &s, 0);
    world_run_until(s.w, 60);
    assert_int_equal(s.times_us[0], 50);
    world_free(s.w);
}

static void a_stopped_world_makes_no_call(void **state)
{
    (void)state;
    struct seen s = {.w = world_new(1)};
    world_after(s.w, 1, see, &s, 0);
    world_stop(s.w);
    assert_false(world_run_until(s.w, 100));
    assert_int_equal(s.count, 0);
    world_free(s.w);
}

static void the_trace_hash_tells_runs_apart(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct seen s = {.w = world_new(1)};
        world_after(s.w, i == 2 ? 6 : 5, see, &s, 0);
        world_run_until(s.w, 10);
        hashes[i] = world_trace_hash(s.w);
        world_free(s.w);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

static void a_clock_runs_at_its_rate_and_leaps_ahead_only(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct sim_clock c;
    sim_clock_init(&c, w, &(struct sim_clock_setup){.rate_ppm = 100000, .boot_us = 500});
    world_run_until(w, 1000000);
    assert_int_equal(sim_clock_now_us(&c), 1100500);
    sim_clock_set_rate(&c, -200000);
    assert_int_equal(sim_clock_now_us(&c), 1100500);
    world_run_until(w, 2000000);
    assert_int_equal(sim_clock_now_us(&c), 1900500);
    sim_clock_jump(&c, 10000000);
    assert_int_equal(sim_clock_now_us(&c), 11900500);
    int64_t wall_ms = clock_wall_ms(sim_clock_port(&c));
    sim_clock_reboot(&c, 3);
    assert_int_equal(sim_clock_now_us(&c), 3);
    assert_int_equal(clock_wall_ms(sim_clock_port(&c)), wall_ms);
    world_free(w);
}

/* A timer set for the time that a clock will show fires when it shows it, not earlier. */
static void true_time_is_when_the_clock_shows_it(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 1000; i++) {
        struct world *w = world_new(1);
        struct sim_clock c;
        int32_t rate = (int32_t)rng_range(&rng, 0, 400001) - 200000;
        sim_clock_init(&c, w, &(struct sim_clock_setup){.rate_ppm = rate, .boot_us = 1000});
        uint64_t due_us = 1000 + rng_range(&rng, 1, 10000000);
        uint64_t true_us = sim_clock_true_us(&c, due_us);
        world_run_until(w, true_us);
        assert_true(sim_clock_now_us(&c) >= due_us);
        assert_true(sim_clock_now_us(&c) <= due_us + 2);
        world_free(w);
    }
}

static void a_map_keeps_the_first_value_of_each_key(void **state)
{
    (void)state;
    struct sim_map m = {0};
    for (uint64_t i = 0; i < 5000; i++) {
        const struct sim_key key = {.a = i % 71, .b = i / 71};
        assert_int_equal(sim_map_put(&m, key, i), i);
        assert_int_equal(sim_map_put(&m, key, i + 1), i);
    }
    assert_int_equal(m.count, 5000);
    assert_int_equal(*sim_map_get(&m, (struct sim_key){.a = 3, .b = 2}), 2 * 71 + 3);
    assert_null(sim_map_get(&m, (struct sim_key){.a = 71, .b = 0}));
    sim_map_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_come_in_order_of_time_then_of_scheduling),
        cmocka_unit_test(a_call_for_the_past_is_made_now),
        cmocka_unit_test(a_stopped_world_makes_no_call),
        cmocka_unit_test(the_trace_hash_tells_runs_apart),
        cmocka_unit_test(a_clock_runs_at_its_rate_and_leaps_ahead_only),
        cmocka_unit_test(true_time_is_when_the_clock_shows_it),
        cmocka_unit_test(a_map_keeps_the_first_value_of_each_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
