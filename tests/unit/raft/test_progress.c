/* What a leader sends, and what moves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft/progress.h"

static const struct progress_limits limits = {
    .window_entries = 4, .window_bytes = 100, .append_entries_max = 2, .append_bytes_max = 50};

static void fill(struct trail *t, int count, uint32_t size_bytes)
{
    trail_init(t, (struct raft_pos){0});
    for (int i = 0; i < count; i++) {
        trail_append(t, 1, size_bytes);
    }
}

static void a_probe_is_one_append_at_a_time(void **state)
{
    (void)state;
    struct trail t;
    struct progress p;
    fill(&t, 10, 10);
    progress_init(&p, 6);
    assert_int_equal(progress_sendable(&p, &t, &limits), 8);
    progress_sent(&p, 8);
    assert_int_equal(progress_sendable(&p, &t, &limits), p.next);
    assert_true(progress_accepted(&p, 7, t.last));
    assert_int_equal(p.mode, RAFT_REPLICATE);
    trail_close(&t);
}

static void a_window_bounds_what_is_in_flight(void **state)
{
    (void)state;
    struct trail t;
    struct progress p;
    fill(&t, 10, 10);
    progress_init(&p, 1);
    p.mode = RAFT_REPLICATE;
    raft_index end;
    uint32_t sends = 0;
    while ((end = progress_sendable(&p, &t, &limits)) > p.next) {
        progress_sent(&p, end);
        sends++;
    }
    assert_int_equal(sends, 2);
    assert_int_equal(p.next, 5);
    assert_true(progress_accepted(&p, 1, t.last));
    assert_int_equal(progress_sendable(&p, &t, &limits), 6);
    trail_close(&t);
}

static void a_window_counts_bytes_too(void **state)
{
    (void)state;
    struct trail t;
    struct progress p;
    fill(&t, 10, 45);
    progress_init(&p, 1);
    p.mode = RAFT_REPLICATE;
    progress_sent(&p, progress_sendable(&p, &t, &limits));
    assert_int_equal(p.next, 2);
    progress_sent(&p, progress_sendable(&p, &t, &limits));
    assert_int_equal(p.next, 3);
    /* 90 of 100 bytes are used: an entry always gets through, then it is full. */
    progress_sent(&p, progress_sendable(&p, &t, &limits));
    assert_int_equal(p.next, 4);
    assert_int_equal(progress_sendable(&p, &t, &limits), p.next);
    trail_close(&t);
}

static void only_the_first_refusal_of_a_window_counts(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, 1);
    assert_true(progress_accepted(&p, 3, 10));
    p.next = 9;
    struct progress_rejection first = {.prev_index = 5, .sent_us = 100, .agree = 3};
    struct progress_rejection second = {.prev_index = 6, .sent_us = 101, .agree = 3};
    assert_true(progress_rejected(&p, first, 200));
    assert_int_equal(p.next, 4);
    assert_int_equal(p.mode, RAFT_PROBE);
    progress_sent(&p, 9);
    assert_false(progress_rejected(&p, second, 201));
    /* But that of the probe itself does. */
    struct progress_rejection probe = {.prev_index = 8, .sent_us = 200, .agree = 3};
    assert_true(progress_rejected(&p, probe, 300));
}

static void late_replies_change_nothing(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, 1);
    assert_true(progress_accepted(&p, 7, 10));
    struct progress before = p;
    assert_true(progress_accepted(&p, 3, 10));
    assert_int_equal(p.match, 7);
    assert_int_equal(p.next, before.next);
    assert_false(progress_accepted(&p, 11, 10)); /* beyond the leader's log */
    assert_int_equal(p.match, 7);
    assert_false(
        progress_rejected(&p, (struct progress_rejection){.prev_index = 7, .agree = 2}, 1));
    assert_false(
        progress_rejected(&p, (struct progress_rejection){.prev_index = 8, .agree = 2}, 1));
    assert_int_equal(p.next, before.next);
}

static void next_never_falls_to_match(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, 1);
    assert_true(progress_accepted(&p, 5, 20));
    p.next = 12;
    assert_true(progress_rejected(&p, (struct progress_rejection){.prev_index = 9, .agree = 0}, 1));
    assert_int_equal(p.next, 6);
    assert_int_equal(p.match, 5);
    /* A hint that is no step back is taken as one. */
    progress_sent(&p, 10);
    assert_true(progress_rejected(
        &p, (struct progress_rejection){.prev_index = 9, .agree = 99, .sent_us = 2}, 3));
    assert_int_equal(p.next, 9);
}

static void an_acknowledgement_overtakes_the_probe(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, 1);
    assert_true(progress_accepted(&p, 3, 20));
    p.next = 9;
    assert_true(progress_rejected(&p, (struct progress_rejection){.prev_index = 8, .agree = 4}, 1));
    /* What was sent before next moved back arrived after all. */
    assert_true(progress_accepted(&p, 8, 20));
    assert_int_equal(p.mode, RAFT_REPLICATE);
    assert_int_equal(p.next, 9);
}

static void a_snapshot_stops_appends_until_it_is_installed(void **state)
{
    (void)state;
    struct trail t;
    struct progress p;
    fill(&t, 10, 1);
    trail_compact(&t, (struct raft_pos){.index = 6, .term = 1});
    progress_init(&p, 3);
    assert_int_equal(progress_sendable(&p, &t, &limits), p.next);
    progress_need_snapshot(&p);
    assert_int_equal(progress_sendable(&p, &t, &limits), p.next);
    progress_snapshot_installed(&p, 6);
    assert_int_equal(p.match, 6);
    assert_int_equal(progress_sendable(&p, &t, &limits), 9);
    trail_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_probe_is_one_append_at_a_time),
        cmocka_unit_test(a_window_bounds_what_is_in_flight),
        cmocka_unit_test(a_window_counts_bytes_too),
        cmocka_unit_test(only_the_first_refusal_of_a_window_counts),
        cmocka_unit_test(late_replies_change_nothing),
        cmocka_unit_test(next_never_falls_to_match),
        cmocka_unit_test(an_acknowledgement_overtakes_the_probe),
        cmocka_unit_test(a_snapshot_stops_appends_until_it_is_installed),
    };
    return cmocka_run_group_tests_name("raft/progress", tests, NULL, NULL);
}
