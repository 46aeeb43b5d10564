/* What people see of a disk that is full, and of one that fails. That nothing is acknowledged which
 * is not on the disk is what sim/safety_durable.c checks throughout. */
#include "rig.h"

#include "node/node_internal.h"
#include "sim/sim_disk.h"

static const char set[] = "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1},{\"timeout_ms\":2000}]";
static const char get[] = "[\"kv\",\"get\",{\"key\":\"k\"},{\"timeout_ms\":2000}]";
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

/* What still finds room is accepted, then commands are refused. */
static struct answer first_refusal(struct cluster *c, uint32_t host)
{
    struct answer a = {0};
    for (int i = 0; i < 1000 && a.err == ERR_OK; i++) {
        a = rig_call(c, host, "propose", set);
    }
    return a;
}

static void a_full_disk_refuses_commands_in_so_many_words_and_nothing_else(void **ctx)
{
    (void)ctx;
    uint32_t leader;
    struct cluster *c = start(&leader);
    raft_term term = cluster_term(c);
    hurt(c, leader, SIM_DISK_FULL);
    first_refusal(c, leader); /* what was under way when it became full may time out */
    assert_true(cluster_run(c, 5 * SECOND));
    for (uint32_t i = 0; i < 3; i++) { /* the followers forward, and are told */
        struct answer a = rig_call(c, i, "propose", set);
        assert_refused(a, ERR_NO_SPACE);
        assert_string_equal(a.message, "the disk is full");
        assert_int_equal(rig_call(c, i, "query", get).err, ERR_OK);
        assert_int_equal(rig_call(c, i, "query", get_by_lease).err, ERR_OK);
    }
    assert_true(cluster_run(c, 20 * SECOND));
    assert_int_equal(cluster_leader(c), leader); /* its heartbeats need no disk */
    assert_int_equal(cluster_term(c), term);
    hurt(c, leader, SIM_DISK_OK);
    assert_true(cluster_run(c, 2 * SECOND)); /* it looks once a second */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rig_call(c, i, "propose", set).err, ERR_OK);
    }
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
    first_refusal(c, leader);
    assert_true(cluster_run(c, 5 * SECOND));
    uint64_t to_asked = requests_sent(c, leader, asked), to_other = requests_sent(c, leader, other);
    for (uint64_t i = 1; i <= 10; i++) {
        assert_refused(rig_call(c, asked, "propose", set), ERR_NO_SPACE);
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
        cmocka_unit_test(a_full_disk_refuses_commands_in_so_many_words_and_nothing_else),
        cmocka_unit_test(a_refusal_goes_to_the_node_that_forwarded_and_to_no_other),
        cmocka_unit_test(a_full_disk_of_one_follower_holds_up_nobody),
        cmocka_unit_test(a_node_whose_disk_failed_answers_what_waits_and_ends),
        cmocka_unit_test(between_failure_and_end_a_node_takes_nothing_on),
    };
    return cmocka_run_group_tests_name("node/disk_trouble", tests, NULL, NULL);
}
