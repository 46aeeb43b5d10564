/* Answers between nodes that come late: to a question of a process that is no more. */
#include "rig.h"

static const char get_x[] = "[\"kv\",\"get\",{\"key\":\"x\"},{\"timeout_ms\":9000}]";

/* Waits until the host runs a process that has applied that much. */
static void await_applied(struct cluster *c, uint32_t host, raft_index index)
{
    for (int i = 0; i < 200; i++) {
        const struct node *n = sim_process_node(cluster_host(c, host));
        if (n != NULL && node_last_applied(n) >= index) {
            return;
        }
        assert_true(cluster_run(c, MS / 2));
    }
    fail_msg("n%u has not applied %u", host + 1, (unsigned)index);
}

/* A follower asks its leader which index a read must see. The answer is on its way for 140 ms; by
 * then the follower is another process, which waits for the answer to a question of its own, and x
 * has changed. Found by the swarm: the late answer was taken for the new one, and the read was
 * stale. */
static void an_answer_to_a_predecessor_answers_nothing(void **ctx)
{
    (void)ctx;
    struct cluster_options o = cluster_defaults(3);
    o.datagrams = true; /* frames may outlive the process that they were meant for */
    struct cluster *c = rig_start_with(&o);
    uint32_t leader = cluster_leader(c);
    uint32_t follower = (leader + 1) % 3;
    struct sim_net_rule *path = sim_net_rule(cluster_net(c), leader, follower);
    const struct sim_net_rule sound = *path;
    assert_int_equal(
        rig_call(c, leader, "propose", "[\"kv\",\"set\",{\"key\":\"x\",\"value\":1}]").err, ERR_OK);
    assert_true(cluster_run(c, 200 * MS));
    raft_index first = node_last_applied(sim_process_node(cluster_host(c, leader)));

    path->latency = (struct sim_span){.min_us = 140 * MS, .max_us = 140 * MS + 1};
    struct answer to_predecessor;
    rig_ask(c, follower, "query", get_x, &to_predecessor);
    assert_true(cluster_run(c, 8 * MS)); /* asked, and answered */
    *path = sound;
    sim_process_end(cluster_host(c, follower), SIM_END_CRASH);
    await_applied(c, follower, first);

    path->loss = 1;
    assert_int_equal(
        rig_call(c, leader, "propose", "[\"kv\",\"set\",{\"key\":\"x\",\"value\":2}]").err, ERR_OK);
    struct answer to_successor;
    rig_ask(c, follower, "query", get_x, &to_successor);
    assert_true(cluster_run(c, 100 * MS));
    assert_int_equal(to_successor.count, 0);
    *path = sound;
    rig_await(c, &to_successor, 5 * SECOND);
    assert_non_null(strstr(to_successor.result, "\"value\":2"));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_to_a_predecessor_answers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
