/* The event loop and the worker thread. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "net/worker.h"

struct seen {
    struct loop *loop;
    unsigned count;
    uint64_t at_us;
    uint64_t next_us; /* to set the deadline to again */
    char order[32];
};

static void note_time(void *ctx)
{
    struct seen *s = ctx;
    s->count++;
    s->at_us = now_us();
    if (s->next_us != 0) {
        loop_set_deadline(s->loop, s->next_us);
    }
}

static void the_deadline_comes_on_time(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_on_deadline(s.loop, note_time, &s);
    uint64_t best_us = UINT64_MAX;
    for (unsigned i = 1; i <= 10; i++) {
        uint64_t due_us = now_us() + 1500 + i * 137;
        loop_set_deadline(s.loop, due_us);
        run_until(s.loop, s.count == i);
        assert_true(s.at_us >= due_us);
        best_us = s.at_us - due_us < best_us ? s.at_us - due_us : best_us;
    }
    /* A loaded machine may be late now and then, a timer in milliseconds always is. */
    assert_true(best_us < 1000);
    loop_free(s.loop);
}

static void a_deadline_that_is_past_comes_at_once_and_once(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_on_deadline(s.loop, note_time, &s);
    loop_set_deadline(s.loop, 1);
    loop_round(s.loop, 1000000);
    assert_int_equal(s.count, 1);
    loop_round(s.loop, 0);
    assert_int_equal(s.count, 1);
    loop_free(s.loop);
}

static void a_deadline_can_be_moved_both_ways(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_on_deadline(s.loop, note_time, &s);
    uint64_t start_us = now_us();
    loop_set_deadline(s.loop, start_us + 2000);
    loop_round(s.loop, 0);
    loop_set_deadline(s.loop, start_us + 30000); /* later: the early alarm must not count */
    run_until(s.loop, s.count == 1);
    assert_true(s.at_us >= start_us + 30000);
    start_us = now_us();
    loop_set_deadline(s.loop, start_us + 5000000);
    loop_wake(s.loop);
    loop_round(s.loop, UINT64_MAX); /* the alarm is set, and something else ends the wait */
    loop_set_deadline(s.loop, start_us + 3000); /* earlier: the late alarm must not be waited for */
    run_until(s.loop, s.count == 2);
    assert_true(s.at_us < start_us + 4000000);
    loop_set_deadline(s.loop, now_us() + 3000);
    loop_set_deadline(s.loop, UINT64_MAX); /* off */
    run_for(s.loop, 10000);
    assert_int_equal(s.count, 2);
    loop_free(s.loop);
}

static void the_deadline_may_set_the_next_one(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_on_deadline(s.loop, note_time, &s);
    s.next_us = 1;
    loop_set_deadline(s.loop, 1);
    for (unsigned i = 1; i <= 5; i++) {
        loop_round(s.loop, 1000000);
        assert_int_equal(s.count, i);
    }
    loop_free(s.loop);
}

static void append(struct seen *s, char c)
{
    size_t size = strlen(s->order);
    s->order[size] = c;
    s->order[size + 1] = 0;
}

static void in_intake(void *ctx)
{
    append(ctx, 'i');
}

static void in_work(void *ctx)
{
    append(ctx, 'w');
}

static void in_flush(void *ctx)
{
    append(ctx, 'f');
}

static void on_woken(void *ctx)
{
    append(ctx, 'e');
}

static void a_round_has_its_order(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_at_round_end(s.loop, LOOP_FLUSH, in_flush, &s);
    loop_at_round_end(s.loop, LOOP_WORK, in_work, &s);
    loop_at_round_end(s.loop, LOOP_INTAKE, in_intake, &s);
    loop_on_wake(s.loop, on_woken, &s);
    loop_wake(s.loop);
    loop_wake(s.loop);
    loop_round(s.loop, 1000000);
    assert_string_equal(s.order, "eiwf");
    loop_round(s.loop, 0);
    assert_string_equal(s.order, "eiwfiwf");
    loop_free(s.loop);
}

static void remove_both(void *ctx)
{
    struct seen *s = ctx;
    s->count++;
    loop_at_round_end_remove(s->loop, LOOP_WORK, remove_both, s);
    loop_at_round_end_remove(s->loop, LOOP_WORK, in_work, s);
}

static void hooks_can_be_removed_while_they_run(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_at_round_end(s.loop, LOOP_WORK, remove_both, &s);
    loop_at_round_end(s.loop, LOOP_WORK, in_work, &s);
    loop_at_round_end(s.loop, LOOP_WORK, in_flush, &s);
    loop_round(s.loop, 0);
    loop_round(s.loop, 0);
    assert_int_equal(s.count, 1);
    assert_string_equal(s.order, "ff");
    loop_free(s.loop);
}

static void want_flush_late(void *ctx)
{
    struct seen *s = ctx;
    if (s->count++ == 0) {
        loop_want(s->loop, LOOP_FLUSH); /* too late for this round: there must be another */
    }
}

static void what_is_wanted_late_makes_another_round(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_at_round_end(s.loop, LOOP_FLUSH, want_flush_late, &s);
    loop_wake(s.loop);
    loop_round(s.loop, UINT64_MAX);
    uint64_t start_us = now_us();
    loop_round(s.loop, 5000000);
    assert_int_equal(s.count, 2);
    assert_true(now_us() - start_us < 2500000);
    loop_free(s.loop);
}

static void timers_fire_once_and_can_be_stopped(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()}, never = {.loop = s.loop};
    struct loop_timer *t = loop_timer_new(s.loop, note_time, &s);
    struct loop_timer *stopped = loop_timer_new(s.loop, note_time, &never);
    uint64_t start_us = now_us();
    loop_timer_set(t, 3000);
    loop_timer_set(stopped, 1000);
    loop_timer_stop(stopped);
    run_until(s.loop, s.count == 1);
    assert_true(s.at_us >= start_us + 2900);
    run_for(s.loop, 8000);
    assert_int_equal(s.count, 1);
    assert_int_equal(never.count, 0);
    loop_timer_free(t);
    loop_timer_free(stopped);
    loop_free(s.loop);
}

static void signals_arrive_on_the_loop(void **state)
{
    (void)state;
    struct seen s = {.loop = loop_new()};
    loop_on_signal(s.loop, SIGUSR1, note_time, &s);
    raise(SIGUSR1);
    run_until(s.loop, s.count == 1);
    loop_free(s.loop);
}

/* ---- threads ---- */

struct crowd {
    struct loop *loop;
    atomic_uint pushed;
    atomic_uint woken;
    atomic_uint seen;
};

enum { ITEMS = 1000 };

/* One wake for each item, the next item as soon as the last was seen: while the loop is still in
 * the callback that saw it. */
static void *push_many(void *arg)
{
    struct crowd *c = arg;
    for (unsigned i = 0; i < ITEMS; i++) {
        unsigned mine = atomic_fetch_add(&c->pushed, 1) + 1;
        loop_wake(c->loop);
        atomic_store(&c->woken, mine);
        while (atomic_load(&c->seen) < mine) {
            sched_yield();
        }
    }
    return NULL;
}

static void look(void *ctx)
{
    struct crowd *c = ctx;
    unsigned seen = atomic_load(&c->pushed);
    atomic_store(&c->seen, seen);
    while (seen < ITEMS && atomic_load(&c->woken) <= seen) {
        sched_yield(); /* the next wake comes while this one is still being handled */
    }
}

static void no_wake_from_another_thread_is_lost(void **state)
{
    (void)state;
    struct crowd c = {.loop = loop_new()};
    loop_on_wake(c.loop, look, &c);
    pthread_t thread;
    pthread_create(&thread, NULL, push_many, &c);
    run_until(c.loop, atomic_load(&c.seen) == ITEMS);
    pthread_join(thread, NULL);
    loop_free(c.loop);
}

static void *stop_it(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void a_loop_is_stopped_from_another_thread(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    pthread_t thread;
    pthread_create(&thread, NULL, stop_it, l);
    loop_run(l);
    pthread_join(thread, NULL);
    loop_free(l);
}

struct job {
    struct loop *loop;
    atomic_uint runs;
    uint64_t next_in_us; /* 0: never */
};

static uint64_t run_job(void *ctx, uint64_t at_us)
{
    struct job *j = ctx;
    atomic_fetch_add(&j->runs, 1);
    loop_wake(j->loop);
    return j->next_in_us == 0 ? UINT64_MAX : at_us + j->next_in_us;
}

static void a_worker_runs_when_woken(void **state)
{
    (void)state;
    struct job j = {.loop = loop_new()};
    struct clock_port clock = loop_clock();
    struct worker *w;
    const struct worker_job job = {.ctx = &j, .run = run_job};
    assert_int_equal(worker_start(&job, &clock, "test", &w, NULL), ERR_OK);
    for (unsigned i = 1; i < 100; i++) {
        run_until(j.loop, atomic_load(&j.runs) >= i);
        worker_wake(w);
    }
    worker_stop(w);
    loop_free(j.loop);
}

static void a_worker_runs_when_its_time_has_come(void **state)
{
    (void)state;
    struct job j = {.loop = loop_new(), .next_in_us = 2000};
    struct clock_port clock = loop_clock();
    struct worker *w;
    const struct worker_job job = {.ctx = &j, .run = run_job};
    uint64_t start_us = now_us();
    assert_int_equal(worker_start(&job, &clock, "test", &w, NULL), ERR_OK);
    run_until(j.loop, atomic_load(&j.runs) >= 6);
    assert_true(now_us() - start_us >= 10000);
    worker_stop(w);
    loop_free(j.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_deadline_comes_on_time),
        cmocka_unit_test(a_deadline_that_is_past_comes_at_once_and_once),
        cmocka_unit_test(a_deadline_can_be_moved_both_ways),
        cmocka_unit_test(the_deadline_may_set_the_next_one),
        cmocka_unit_test(a_round_has_its_order),
        cmocka_unit_test(hooks_can_be_removed_while_they_run),
        cmocka_unit_test(what_is_wanted_late_makes_another_round),
        cmocka_unit_test(timers_fire_once_and_can_be_stopped),
        cmocka_unit_test(signals_arrive_on_the_loop),
        cmocka_unit_test(no_wake_from_another_thread_is_lost),
        cmocka_unit_test(a_loop_is_stopped_from_another_thread),
        cmocka_unit_test(a_worker_runs_when_woken),
        cmocka_unit_test(a_worker_runs_when_its_time_has_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
