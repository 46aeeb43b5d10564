/* What nodes tell their hooks is recorded, in order, though no script is there to hear it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "wire/writer.h"

enum { MS = 1000, SECOND = 1000 * MS };

/* The number of the first event from `from` on with this name, of that host; events_end() if there
 * is none. */
static uint64_t find(const struct events *e, uint64_t from, uint32_t host, const char *name)
{
    uint64_t i = from;
    while (i < events_end(e) &&
           (events_at(e, i)->host != host || strcmp(events_at(e, i)->name, name) != 0)) {
        i++;
    }
    return i;
}

static void a_failover_is_told_in_the_order_in_which_it_happens(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(3);
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    uint32_t leader = cluster_await_leader(c, 5 * SECOND);
    assert_true(leader != CLUSTER_NOBODY);
    const struct events *e = cluster_events(c);
    uint64_t mark = events_end(e);
    cluster_isolate(c, leader);
    assert_true(cluster_run(c, 2 * SECOND));
    uint32_t next = cluster_leader(c);
    assert_true(next != leader);
    uint64_t lost = find(e, mark, leader, "quorum_lost");
    uint64_t stepped_down = find(e, lost, leader, "step_down");
    assert_true(stepped_down < events_end(e));
    uint64_t election = find(e, mark, next, "election_started");
    uint64_t elected = find(e, election, next, "leader_elected");
    uint64_t ready = find(e, elected, next, "leader_ready");
    assert_true(ready < events_end(e));
    assert_true(events_at(e, election)->time_us <= events_at(e, elected)->time_us);
    assert_true(events_at(e, elected)->time_us <= events_at(e, ready)->time_us);
    assert_int_equal(events_at(e, ready)->term, cluster_term(c));
    struct buffer text = {0};
    events_describe(events_at(e, elected), &text);
    assert_non_null(strstr(buffer_text(&text), "leader_elected term "));
    assert_non_null(strstr(buffer_text(&text), " is_self true"));
    buffer_close(&text);
    cluster_free(c);
}

/* The leader cannot: it is one of those that died. */
static void the_survivor_of_a_majority_tells_that_the_quorum_is_lost(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(3);
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    uint32_t leader = cluster_await_leader(c, 5 * SECOND);
    assert_true(leader != CLUSTER_NOBODY);
    assert_true(cluster_run(c, SECOND));
    const struct events *e = cluster_events(c);
    uint64_t mark = events_end(e);
    uint32_t other = (leader + 1) % 3, survivor = (leader + 2) % 3;
    sim_process_end(cluster_host(c, other), SIM_END_HOST);
    sim_process_end(cluster_host(c, leader), SIM_END_HOST);
    assert_true(cluster_run(c, 5 * SECOND));
    uint64_t lost = find(e, mark, survivor, "quorum_lost");
    assert_true(lost < events_end(e));
    struct buffer text = {0};
    events_describe(events_at(e, lost), &text);
    assert_non_null(strstr(buffer_text(&text), " reachable 1 needed 2"));
    buffer_close(&text);
    assert_true(find(e, lost + 1, survivor, "quorum_lost") == events_end(e)); /* once */
    sim_process_boot(cluster_host(c, other));
    assert_true(cluster_run(c, 5 * SECOND));
    assert_true(find(e, lost, survivor, "quorum_regained") < events_end(e));
    cluster_free(c);
}

static void only_the_newest_are_kept_and_keep_their_numbers(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct events *e = events_new(w);
    struct buffer fields = {0};
    for (uint64_t i = 0; i < EVENTS_KEPT_MAX + 100; i++) {
        buffer_clear(&fields);
        write_map(&fields, 1);
        write_text(&fields, "number");
        write_u64(&fields, i);
        events_record(e, 0, "counted", i, buffer_bytes(&fields));
    }
    assert_int_equal(events_begin(e), 100);
    assert_int_equal(events_end(e), EVENTS_KEPT_MAX + 100);
    for (uint64_t i = events_begin(e); i < events_end(e); i++) {
        assert_int_equal(events_at(e, i)->term, i);
    }
    buffer_clear(&fields);
    events_describe(events_at(e, 100), &fields);
    assert_string_equal(buffer_text(&fields), "counted term 100 number 100");
    buffer_close(&fields);
    events_free(e);
    world_free(w);
}

static void events_are_part_of_the_trace(void **state)
{
    (void)state;
    uint64_t hashes[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct world *w = world_new(1);
        struct events *e = events_new(w);
        events_record(e, 0, i == 0 ? "reload" : "shutdown", 1, (struct bytes){0});
        hashes[i] = world_trace_hash(w);
        events_free(e);
        world_free(w);
    }
    assert_true(hashes[0] != hashes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failover_is_told_in_the_order_in_which_it_happens),
        cmocka_unit_test(the_survivor_of_a_majority_tells_that_the_quorum_is_lost),
        cmocka_unit_test(only_the_newest_are_kept_and_keep_their_numbers),
        cmocka_unit_test(events_are_part_of_the_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
