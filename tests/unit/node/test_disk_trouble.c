/* What people see of a disk that is full, and of one that fails. That nothing is acknowledged which
 * is not on the disk is what sim/safety_durable.c checks throughout. */
#include "rig.h"

#include "node/node_internal.h"
#include "sim/sim_disk.h"

static const char set[] = "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1},{\"timeout_ms\":2000}]";
static const char get[] = "[\"kv\",\"get\",{\"key\":\"k\"},{\"timeout_ms\":2000}]";
static const char get_here[] = "[\"kv\",\"get\",{\"key\":\"k\"},{\"read\":\"local\"}]";
static const char get_by_lease[] = "[\"kv\",\"get\",{\"key\":\"k\"},{\"read\":\"lease\"}]";

static struct cluster *start(uint32_t *leader)
{
    struct cluster_options o = cluster_defaults(7);
    o.segment_bytes = 4096;
    struct cluster *c = rig_start_with(&o);
    *leader = cluster_leader(c);
    assert_int_equal(rig_call(c, *leader, "propose", set).err, ERR_OK);
    return c;
}

static void hurt(struct cluster *c, uint32_t host, enum sim_disk_kind kind)
{
    const struct sim_disk_fault fault = {.kind = kind};
    assert_int_equal(sim_disk_fault(cluster_host(c, host), &fault, NULL), ERR_OK);
}

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

/* Room is allocated ahead: commands find some until the next segment is needed. */
static void write_until_full(struct cluster *c, uint32_t host)
{
    for (int i = 0; i < 1000 && !node_disk_is_full(node_of(c, host)); i++) {
        rig_call(c, cluster_leader(c), "propose", set);
    }
    assert_true(node_disk_is_full(node_of(c, host)));
}

/* Whoever leads is full in the end, and knows that the others are. */
static void write_until_all_are_full(struct cluster *c)
{
    for (uint32_t i = 0; i < 3; i++) {
        hurt(c, i, SIM_DISK_FULL);
    }
    bool all_full = false;
    for (int i = 0; i < 1000 && !all_full; i++) {
        uint32_t leader = cluster_await_leader(c, 5 * SECOND);
        rig_call(c, leader, "propose", set);
        all_full = true;
        for (uint32_t host = 0; host < 3; host++) {
            all_full &= node_disk_is_full(node_of(c, host));
        }
        assert_true(cluster_run(c, 10 * MS));
    }
    assert_true(all_full);
    assert_true(cluster_run(c, SECOND));
}

static void where_all_disks_are_full_commands_are_refused_and_nothing_else(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    raft_term first_term = cluster_term(c);
    write_until_all_are_full(c);
    leader = cluster_leader(c);
    raft_term term = cluster_term(c);
    assert_true(term < first_term + 5);
    for (uint32_t i = 0; i < 3; i++) {
        struct answer a = rig_call(c, i, "propose", set);
        assert_refused(a, ERR_NO_SPACE);
        assert_string_equal(a.message, ROOM_REFUSAL);
        assert_int_equal(rig_call(c, i, "query", get_here).err, ERR_OK);
    }
    assert_int_equal(rig_call(c, leader, "query", get).err, ERR_OK);
    assert_int_equal(rig_call(c, leader, "query", get_by_lease).err, ERR_OK);
    assert_true(cluster_run(c, 60 * SECOND));
    assert_int_equal(cluster_leader(c), leader); /* its heartbeats need no disk */
    assert_int_equal(cluster_term(c), term);     /* there is nobody to hand over to */
    for (uint32_t i = 0; i < 3; i++) {
        hurt(c, i, SIM_DISK_OK);
    }
    assert_true(cluster_run(c, 2 * SECOND)); /* it looks once a second */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rig_call(c, i, "propose", set).err, ERR_OK);
        assert_int_equal(rig_call(c, i, "query", get).err, ERR_OK);
    }
    assert_int_equal(cluster_term(c), term);
    rig_end(c);
}

static void a_leader_with_a_full_disk_hands_over_to_a_node_that_has_room(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    raft_term term = cluster_term(c);
    hurt(c, leader, SIM_DISK_FULL);
    write_until_full(c, leader);
    assert_true(cluster_run(c, SECOND));
    uint32_t next = cluster_leader(c);
    assert_int_not_equal(next, leader);
    assert_int_equal(cluster_term(c), term + 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_refused(rig_call(c, i, "propose", set), i == leader ? ERR_NO_SPACE : ERR_OK);
    }
    hurt(c, next, SIM_DISK_FULL); /* the one that is left could not commit anything */
    write_until_full(c, next);
    assert_true(cluster_run(c, 60 * SECOND));
    assert_int_equal(cluster_leader(c), next);
    assert_int_equal(cluster_term(c), term + 1);
    for (uint32_t i = 0; i < 3; i++) {
        assert_refused(rig_call(c, i, "propose", set), ERR_NO_SPACE);
    }
    hurt(c, leader, SIM_DISK_OK);
    assert_true(cluster_run(c, 6 * SECOND));
    assert_int_not_equal(cluster_leader(c), next);
    assert_int_equal(cluster_term(c), term + 2);
    assert_int_equal(rig_call(c, leader, "propose", set).err, ERR_OK);
    hurt(c, next, SIM_DISK_OK);
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rig_call(c, i, "propose", set).err, ERR_OK);
    }
    rig_end(c);
}

/* As when a snapshot lets go of a segment. */
static void a_disk_that_is_full_for_a_moment_moves_no_leadership(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    raft_term term = cluster_term(c);
    for (int i = 0; i < 5; i++) {
        hurt(c, leader, SIM_DISK_FULL);
        write_until_full(c, leader);
        hurt(c, leader, SIM_DISK_OK);
        assert_true(cluster_run(c, 400 * MS));
        assert_false(node_disk_is_full(node_of(c, leader)));
        assert_int_equal(rig_call(c, leader, "propose", set).err, ERR_OK);
    }
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(cluster_term(c), term);
    rig_end(c);
}

/* A peer that says nothing of its disk, and does not take over either. */
static void one_that_does_not_take_over_is_asked_ever_more_rarely(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    raft_term term = cluster_term(c);
    for (uint32_t i = 0; i < 3; i++) {
        if (i != leader) {
            const struct sim_net_drop drop = {.types =
                                                  1U << (SIM_FRAME_RAFT + RAFT_MESSAGE_TIMEOUT_NOW),
                                              .probability = 1,
                                              .count = UINT64_MAX};
            sim_net_drop(cluster_net(c), leader, i, &drop);
        }
    }
    hurt(c, leader, SIM_DISK_FULL);
    write_until_full(c, leader);
    assert_true(cluster_run(c, 120 * SECOND)); /* at 0.5, 10.5, 30.5 and 70.5 s */
    assert_in_range(cluster_term(c), term + 2, term + 4);
    rig_end(c);
}

static uint64_t us_for(struct cluster *c, uint32_t host, const char *method, const char *params,
                       struct answer *a)
{
    uint64_t began_us = world_now_us(cluster_world(c));
    *a = rig_call(c, host, method, params);
    return world_now_us(cluster_world(c)) - began_us;
}

static void a_node_with_a_full_disk_refuses_at_the_door_what_it_could_not_answer(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    uint32_t full = (leader + 1) % 3;
    struct answer waits, a;
    hurt(c, full, SIM_DISK_FULL);
    write_until_full(c, full);
    assert_true(cluster_run(c, SECOND));

    assert_int_equal(rig_call(c, full, "query", get_here).err, ERR_OK);
    rig_ask(c, full, "query",
            "[\"kv\",\"get\",{\"key\":\"k\"},{\"read\":\"local\",\"index\":99999}]", &waits);
    rig_await(c, &waits, 50 * MS);
    assert_refused(waits, ERR_NO_SPACE);
    static const char other[] =
        "[\"kv\",\"set\",{\"key\":\"other\",\"value\":2},{\"timeout_ms\":2000}]";
    for (int i = 0; i < 3; i++) {
        assert_true(us_for(c, full, "propose", other, &a) < 10 * MS);
        assert_refused(a, ERR_NO_SPACE);
        assert_string_equal(a.message, ROOM_REFUSAL);
        assert_int_equal(rig_call(c, leader, "propose", set).err, ERR_OK);
        assert_true(us_for(c, full, "query", get, &a) < 50 * MS);
        assert_refused(a, ERR_NO_SPACE);
        assert_string_equal(a.message, ROOM_REFUSAL);
        assert_true(us_for(c, full, "barrier", "[2000]", &a) < 50 * MS);
        assert_refused(a, ERR_NO_SPACE);
        assert_int_equal(rig_call(c, full, "read_index", "[2000]").err, ERR_OK);
        assert_int_equal(rig_call(c, full, "query", get_here).err, ERR_OK);
    }
    a = rig_call(c, leader, "query", "[\"kv\",\"get\",{\"key\":\"other\"}]");
    assert_answer(a, "null"); /* nothing happened */
    hurt(c, full, SIM_DISK_OK);
    assert_true(cluster_run(c, 2 * SECOND));
    assert_int_equal(rig_call(c, full, "propose", other).err, ERR_OK);
    assert_int_equal(rig_call(c, full, "query", get).err, ERR_OK);
    rig_end(c);
}

static uint64_t requests_sent(struct cluster *c, uint32_t from, uint32_t to)
{
    return sim_net_sent(cluster_net(c), from, to, SIM_FRAME_RPC).frames;
}

static void a_refusal_goes_to_the_node_that_forwarded_and_to_no_other(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    uint32_t asked = (leader + 1) % 3, other = (leader + 2) % 3;
    hurt(c, leader, SIM_DISK_FULL);
    write_until_full(c, leader);
    uint64_t to_asked = requests_sent(c, leader, asked), to_other = requests_sent(c, leader, other);
    for (uint64_t i = 1; i <= 10; i++) {
        struct answer a = rig_call(c, asked, "propose", set); /* before leadership moves */
        assert_refused(a, ERR_NO_SPACE);
        assert_non_null(strstr(a.message, "the disk of the leader is full"));
        assert_int_equal(requests_sent(c, leader, asked), to_asked + i);
    }
    assert_int_equal(requests_sent(c, leader, other), to_other);
    rig_end(c);
}

static void a_full_disk_of_one_follower_holds_up_nobody(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    uint32_t full = (leader + 1) % 3;
    hurt(c, full, SIM_DISK_FULL);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(rig_call(c, leader, "propose", set).err, ERR_OK);
    }
    const struct raft *behind = node_raft(sim_process_node(cluster_host(c, full)));
    assert_true(raft_last_index(behind) + 50 <
                raft_commit_index(node_raft(sim_process_node(cluster_host(c, leader)))));
    assert_int_equal(raft_leader(behind), leader + 1); /* it hears the heartbeats */
    hurt(c, full, SIM_DISK_OK);
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

static void fail_disk_of(uint32_t nth)
{
    uint32_t leader;
    struct cluster *c = start(&leader);
    uint32_t host = (leader + nth) % 3;
    hurt(c, host, SIM_DISK_FSYNC_FAIL);
    enum { CALLS = 8 };
    struct answer writes[CALLS], reads[CALLS];
    for (int i = 0; i < CALLS; i++) {
        rig_ask(c, host, "propose", set, &writes[i]);
        rig_ask(c, host, "query", get, &reads[i]);
    }
    for (int i = 0; i < 1000 && sim_process_running(cluster_host(c, host)); i++) {
        assert_true(cluster_run(c, MS));
    }
    struct buffer timeline = {0};
    cluster_timeline(c, 10000, &timeline);
    assert_non_null(strstr(buffer_text(&timeline), "gave up"));
    buffer_close(&timeline);
    assert_true(cluster_run(c, 5 * SECOND));
    for (int i = 0; i < CALLS; i++) {
        assert_int_equal(writes[i].count, 1); /* one answer each, and a true one */
        assert_true(writes[i].err == ERR_OK || writes[i].err == ERR_OUTCOME_UNKNOWN);
        assert_int_equal(reads[i].count, 1);
        assert_true(reads[i].err == ERR_OK || reads[i].err == ERR_SHUTDOWN);
    }
    assert_true(sim_process_down(cluster_host(c, host))); /* and not started again by itself */
    uint32_t next = cluster_leader(c);
    assert_true(next != CLUSTER_NOBODY && next != host);
    assert_int_equal(rig_call(c, next, "propose", set).err, ERR_OK);
    cluster_boot_all(c); /* on a disk that works again */
    assert_true(cluster_await_agreement(c, 5 * SECOND));
    rig_end(c);
}

static void a_node_whose_disk_failed_answers_what_waits_and_ends(void **ctx)
{
    (void)ctx;
    fail_disk_of(0);
    fail_disk_of(1);
}

/* After the failure and before the process has ended: nothing more is promised, and who asks is
 * told that there is nobody here to ask. */
static void between_failure_and_end_a_node_takes_nothing_on(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    struct node *n = sim_process_node(cluster_host(c, leader));
    const struct why why = {"fdatasync failed"};
    node_disk_failed(n, ERR_IO, &why);
    assert_int_equal(raft_role(node_raft(n)) == RAFT_LEADER, false);
    struct answer write, read;
    rig_ask(c, leader, "propose", set, &write);
    rig_ask(c, leader, "query", get, &read);
    node_round_end(n);
    assert_refused(write, ERR_SHUTDOWN);
    assert_refused(read, ERR_SHUTDOWN);
    assert_true(cluster_run(c, SECOND));
    assert_true(sim_process_down(cluster_host(c, leader)));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_all_disks_are_full_commands_are_refused_and_nothing_else),
        cmocka_unit_test(a_leader_with_a_full_disk_hands_over_to_a_node_that_has_room),
        cmocka_unit_test(a_disk_that_is_full_for_a_moment_moves_no_leadership),
        cmocka_unit_test(one_that_does_not_take_over_is_asked_ever_more_rarely),
        cmocka_unit_test(a_node_with_a_full_disk_refuses_at_the_door_what_it_could_not_answer),
        cmocka_unit_test(a_refusal_goes_to_the_node_that_forwarded_and_to_no_other),
        cmocka_unit_test(a_full_disk_of_one_follower_holds_up_nobody),
        cmocka_unit_test(a_node_whose_disk_failed_answers_what_waits_and_ends),
        cmocka_unit_test(between_failure_and_end_a_node_takes_nothing_on),
    };
    return cmocka_run_group_tests_name("node/disk_trouble", tests, NULL, NULL);
}
