/* Commands, reads and transfers: each is answered once, where it was asked, and takes effect once.
 */
#include "rig.h"

/* Its source says what it is; `add` returns the sum, so a command applied twice shows. */
static const char load_counter[] =
    "[\"return { name='counter', version=3, init=function(st) st.n=0 end, apply={"
    " add=function(st,a) st.n=st.n+a; return st.n end, fail=function(st,a) st.n=9; error(a) end },"
    " query={ get=function(st) return st.n end } }\"]";

static struct cluster *start_counting(uint32_t nodes, uint32_t *leader)
{
    struct cluster *c = rig_start(nodes);
    *leader = cluster_leader(c);
    assert_answer(rig_call(c, *leader, "load", load_counter),
                  "{\"name\":\"counter\",\"version\":3}");
    return c;
}

static uint32_t after(uint32_t host)
{
    return (host + 1) % 3;
}

static void a_command_is_answered_where_it_was_asked(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    assert_answer(rig_call(c, leader, "propose", "[\"counter\",\"add\",1]"), "1");
    /* A follower forwards, and answers by its own apply. */
    assert_answer(rig_call(c, after(leader), "propose", "[\"counter\",\"add\",1]"), "2");
    assert_answer(
        rig_call(c, after(leader), "query", "[\"counter\",\"get\",null,{\"read\":\"local\"}]"),
        "2");
    rig_end(c);
}

static void a_follower_told_not_to_forward_names_the_reason(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    assert_refused(
        rig_call(c, after(leader), "propose", "[\"counter\",\"add\",1,{\"forward\":false}]"),
        ERR_NOT_LEADER);
    rig_end(c);
}

static void commands_under_way_survive_their_leader_once(void **ctx)
{
    (void)ctx;
    enum { COMMANDS = 40 };
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    uint32_t asked = after(leader);
    static struct answer a[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        rig_ask(c, asked, "propose", "[\"counter\",\"add\",1]", &a[i]);
        assert_true(cluster_run(c, i % 2 == 0 ? 300 : 0));
    }
    sim_process_end(cluster_host(c, leader), SIM_END_GUARDIAN);
    for (int i = 0; i < COMMANDS; i++) {
        rig_await(c, &a[i], 10 * SECOND);
        assert_int_equal(a[i].err, ERR_OK);
    }
    assert_answer(rig_call(c, asked, "query", "[\"counter\",\"get\"]"), "40");
    assert_true(cluster_run(c, SECOND));
    for (int i = 0; i < COMMANDS; i++) {
        assert_int_equal(a[i].count, 1);
    }
    rig_end(c);
}

static void a_key_has_one_outcome_wherever_it_comes_from(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    const char *add = "[\"counter\",\"add\",5,{\"id\":\"k\"}]";
    assert_answer(rig_call(c, leader, "propose", add), "5");
    assert_answer(rig_call(c, leader, "propose", add), "5");
    assert_answer(rig_call(c, after(leader), "propose", add), "5");
    /* At the same time, through two nodes. */
    const char *race = "[\"counter\",\"add\",5,{\"id\":[\"race\",1]}]";
    struct answer here, there;
    rig_ask(c, leader, "propose", race, &here);
    rig_ask(c, after(leader), "propose", race, &there);
    rig_await(c, &here, SECOND);
    rig_await(c, &there, SECOND);
    assert_answer(here, "10");
    assert_answer(there, "10");
    rig_end(c);
}

static void a_keys_refusal_is_its_outcome_too(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    const char *fail = "[\"counter\",\"fail\",\"no such luck\",{\"id\":\"f\"}]";
    struct answer first = rig_call(c, leader, "propose", fail);
    assert_int_equal(first.err, ERR_REJECTED);
    assert_non_null(strstr(first.message, "no such luck"));
    struct answer again = rig_call(c, after(leader), "propose", fail);
    assert_int_equal(again.err, ERR_REJECTED);
    assert_string_equal(again.message, first.message);
    assert_answer(rig_call(c, leader, "query", "[\"counter\",\"get\"]"), "0");
    rig_end(c);
}

static void calls_that_share_a_key_wait_each_for_its_own_time(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    for (uint32_t i = 0; i < 3; i++) {
        cluster_isolate(c, i);
    }
    struct answer a[3];
    rig_ask(c, leader, "propose", "[\"counter\",\"add\",1,{\"id\":1,\"timeout_ms\":300}]", &a[0]);
    rig_ask(c, leader, "propose", "[\"counter\",\"add\",1,{\"id\":1,\"timeout_ms\":9000}]", &a[1]);
    rig_ask(c, leader, "propose", "[\"counter\",\"add\",1,{\"id\":1,\"timeout_ms\":100}]", &a[2]);
    assert_true(cluster_run(c, 400 * MS));
    assert_int_equal(a[0].count, 1);
    assert_int_equal(a[1].count, 0);
    assert_int_equal(a[2].count, 1);
    assert_int_equal(a[0].err, ERR_OUTCOME_UNKNOWN);
    cluster_heal(c);
    rig_await(c, &a[1], 9 * SECOND);
    assert_answer(a[1], "1");
    rig_end(c);
}

static void only_the_newest_leaderships_token_is_accepted(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    struct raft_status status;
    raft_status(node_raft(sim_process_node(cluster_host(c, leader))), &status);
    char params[96];
    const struct {
        uint64_t token;
        enum err err;
    } cases[] = {
        {0, ERR_FENCED}, /* what a node that does not lead has for a token */
        {status.noop_index - 1, ERR_FENCED},
        {status.noop_index, ERR_OK},
        {status.noop_index + 1, ERR_FENCED},
        {INT64_MAX, ERR_FENCED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(params, sizeof params, "[\"counter\",\"add\",1,{\"fence\":%llu}]",
                 (unsigned long long)cases[i].token);
        assert_refused(rig_call(c, leader, "propose", params), cases[i].err);
    }
    rig_end(c);
}

static void a_wall_clock_hours_ahead_delays_no_command(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    uint32_t follower = after(leader);
    sim_clock_jump_wall(sim_process_clock(cluster_host(c, follower)), 5 * 3600 * 1000);
    assert_answer(rig_call(c, follower, "propose", "[\"counter\",\"add\",1]"), "1");
    rig_end(c);
}

static void reads_through_a_follower_see_what_was_acknowledged(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    char expected[16];
    for (int i = 1; i <= 20; i++) {
        struct answer a = rig_call(c, leader, "propose", "[\"counter\",\"add\",1]");
        snprintf(expected, sizeof expected, "%d", i);
        assert_answer(a, expected);
        const char *query = i % 2 == 0 ? "[\"counter\",\"get\"]"
                                       : "[\"counter\",\"get\",null,{\"read\":\"lease\"}]";
        assert_answer(rig_call(c, after(leader), "query", query), expected);
    }
    rig_end(c);
}

static void a_leader_that_is_cut_off_serves_no_linearizable_read(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    cluster_isolate(c, leader);
    struct answer cut =
        rig_call(c, leader, "query", "[\"counter\",\"get\",null,{\"timeout_ms\":900}]");
    assert_true(cut.err == ERR_TIMEOUT || cut.err == ERR_NOT_LEADER);
    assert_answer(rig_call(c, leader, "query", "[\"counter\",\"get\",null,{\"read\":\"local\"}]"),
                  "0");
    rig_end(c);
}

static void a_read_asks_the_next_leader_without_waiting_for_the_last(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    uint32_t follower = after(leader);
    cluster_isolate(c, leader);
    struct answer a;
    rig_ask(c, follower, "query", "[\"counter\",\"get\"]", &a);
    while (cluster_leader(c) == leader) {
        assert_true(cluster_run(c, MS));
    }
    rig_await(c, &a, 200 * MS);
    assert_answer(a, "0");
    rig_end(c);
}

static void a_barrier_is_answered_once_that_index_is_applied_here(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    uint32_t follower = after(leader);
    struct answer a = rig_call(c, follower, "barrier", "[]");
    assert_int_equal(a.err, ERR_OK);
    char applied[32];
    snprintf(applied, sizeof applied, "%llu",
             (unsigned long long)node_last_applied(sim_process_node(cluster_host(c, follower))));
    assert_string_equal(a.result, applied);
    rig_end(c);
}

static void a_transfer_answers_with_who_leads(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    char params[32], name[16];
    uint32_t next = after(leader);
    snprintf(params, sizeof params, "[\"n%u\"]", next + 1);
    snprintf(name, sizeof name, "\"n%u\"", next + 1);
    assert_answer(rig_call(c, after(next), "transfer", params), name); /* through a follower */
    assert_int_equal(cluster_leader(c), next);
    uint64_t began_us = world_now_us(cluster_world(c));
    assert_answer(rig_call(c, next, "transfer", params), name); /* to itself: nothing to do */
    assert_true(world_now_us(cluster_world(c)) - began_us < 50 * MS);
    assert_refused(rig_call(c, next, "transfer", "[\"nobody\"]"), ERR_NOT_FOUND);
    rig_end(c);
}

static void a_transfer_to_who_does_not_answer_is_given_up(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    cluster_isolate(c, after(leader));
    char params[32];
    snprintf(params, sizeof params, "[\"n%u\"]", after(leader) + 1);
    assert_refused(rig_call(c, leader, "transfer", params), ERR_TIMEOUT);
    assert_int_equal(cluster_await_leader(c, SECOND), leader); /* in a new term */
    assert_answer(rig_call(c, leader, "propose", "[\"counter\",\"add\",1]"), "1");
    rig_end(c);
}

static bool has_lease(struct cluster *c, uint32_t host)
{
    return raft_lease_until(node_raft(sim_process_node(cluster_host(c, host)))) != 0;
}

/* The leader has given its lease up, for good in its term, to one that does not take over. Until
 * there is a term with a lease, which comes at once, reads are answered through ReadIndex. */
static void a_transfer_that_fails_leaves_no_leader_without_a_lease(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    raft_term term = cluster_term(c);
    sim_process_pause(cluster_host(c, after(leader)));
    char params[32];
    snprintf(params, sizeof params, "[\"n%u\"]", after(leader) + 1);
    struct answer transfer, read;
    uint64_t began_us = world_now_us(cluster_world(c));
    rig_ask(c, leader, "transfer", params, &transfer);
    assert_true(cluster_run(c, 5 * MS));
    assert_false(has_lease(c, leader));
    do {
        rig_ask(c, leader, "query", "[\"counter\",\"get\",null,{\"read\":\"lease\"}]", &read);
        rig_await(c, &read, 30 * MS);
        assert_answer(read, "0");
    } while (!has_lease(c, leader) && world_now_us(cluster_world(c)) - began_us < SECOND);
    assert_true(world_now_us(cluster_world(c)) - began_us <
                200 * MS); /* 150 of them for the target */
    assert_refused(transfer, ERR_TIMEOUT);
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_term(c), term + 1);
    sim_process_resume(cluster_host(c, after(leader)));
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(cluster_leader(c), leader);
    rig_end(c);
}

/* If the first of its choice does not take over, it leads again, and asks the other. */
static void stop_with_one_successor(uint32_t nth)
{
    uint32_t leader;
    struct cluster *c = start_counting(3, &leader);
    uint32_t willing = nth == 0 ? after(leader) : after(after(leader));
    sim_process_stop(cluster_host(c, leader));
    for (uint32_t i = 0; i < 3; i++) { /* which of the two it likes better is its own affair */
        if (i != leader) {
            sim_process_pause(cluster_host(c, i));
        }
    }
    assert_true(cluster_run(c, 10 * MS));
    sim_process_resume(cluster_host(c, willing));
    uint64_t end_us = world_now_us(cluster_world(c)) + 2 * SECOND;
    while (!sim_process_down(cluster_host(c, leader)) && world_now_us(cluster_world(c)) < end_us) {
        assert_true(cluster_run(c, MS));
    }
    assert_true(sim_process_down(cluster_host(c, leader)));
    assert_int_equal(cluster_leader(c), willing);
    sim_process_resume(cluster_host(c, 3 - leader - willing));
    rig_end(c);
}

static void a_planned_stop_hands_over_in_the_end(void **ctx)
{
    (void)ctx;
    stop_with_one_successor(0);
    stop_with_one_successor(1);
}

static void a_planned_stop_ends(void **ctx)
{
    (void)ctx;
    for (uint32_t nodes = 1; nodes <= 3; nodes += 2) {
        uint32_t leader;
        struct cluster *c = start_counting(nodes, &leader);
        struct answer under_way;
        rig_ask(c, leader, "propose", "[\"counter\",\"add\",1]", &under_way);
        sim_process_stop(cluster_host(c, leader));
        assert_true(cluster_run(c, 400 * MS));
        assert_true(sim_process_down(cluster_host(c, leader)));
        assert_int_equal(under_way.count, 1);
        assert_int_equal(under_way.err, ERR_OK);
        if (nodes == 3) {
            uint32_t next = cluster_leader(c);
            assert_true(next != CLUSTER_NOBODY && next != leader);
            uint32_t follower = 3 - leader - next;
            sim_process_stop(cluster_host(c, follower));
            assert_true(cluster_run(c, 400 * MS));
            assert_true(sim_process_down(cluster_host(c, follower)));
            /* The last one cannot commit anything: the stop still ends, by its deadline. */
            sim_process_stop(cluster_host(c, next));
            assert_true(cluster_run(c, 6 * SECOND));
            assert_true(sim_process_down(cluster_host(c, next)));
        }
        rig_end(c);
    }
}

static void a_follower_far_behind_is_served_from_disk(void **ctx)
{
    (void)ctx;
    struct cluster_options o = cluster_defaults(11);
    o.cache_bytes_max = 512;
    o.segment_bytes = 64 << 10;
    struct cluster *c = rig_start_with(&o);
    uint32_t leader = cluster_leader(c);
    assert_int_equal(rig_call(c, leader, "load", load_counter).err, ERR_OK);
    sim_process_end(cluster_host(c, after(leader)), SIM_END_GUARDIAN);
    enum { COMMANDS = 2000 };
    static struct answer a[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        rig_ask(c, leader, "propose", "[\"counter\",\"add\",1]", &a[i]);
        assert_true(cluster_run(c, i % 50 == 0 ? 2 * MS : 0));
    }
    rig_await(c, &a[COMMANDS - 1], 5 * SECOND);
    raft_term term;
    struct bytes body;
    assert_false(node_log_entry(sim_process_node(cluster_host(c, leader)), 20, &term, &body));
    cluster_boot_all(c);
    assert_true(cluster_run(c, SECOND));
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_is_answered_where_it_was_asked),
        cmocka_unit_test(a_follower_told_not_to_forward_names_the_reason),
        cmocka_unit_test(commands_under_way_survive_their_leader_once),
        cmocka_unit_test(a_key_has_one_outcome_wherever_it_comes_from),
        cmocka_unit_test(a_keys_refusal_is_its_outcome_too),
        cmocka_unit_test(calls_that_share_a_key_wait_each_for_its_own_time),
        cmocka_unit_test(only_the_newest_leaderships_token_is_accepted),
        cmocka_unit_test(a_wall_clock_hours_ahead_delays_no_command),
        cmocka_unit_test(reads_through_a_follower_see_what_was_acknowledged),
        cmocka_unit_test(a_leader_that_is_cut_off_serves_no_linearizable_read),
        cmocka_unit_test(a_read_asks_the_next_leader_without_waiting_for_the_last),
        cmocka_unit_test(a_barrier_is_answered_once_that_index_is_applied_here),
        cmocka_unit_test(a_transfer_answers_with_who_leads),
        cmocka_unit_test(a_transfer_to_who_does_not_answer_is_given_up),
        cmocka_unit_test(a_transfer_that_fails_leaves_no_leader_without_a_lease),
        cmocka_unit_test(a_planned_stop_hands_over_in_the_end),
        cmocka_unit_test(a_planned_stop_ends),
        cmocka_unit_test(a_follower_far_behind_is_served_from_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
