/* Planned stops that have to wait. */
#include "rig.h"

/* Steps of the world in a second of waiting: heartbeats, polls, elections that come to nothing. A
 * node that wants another round at once, forever, takes more of them without time going on. */
enum { STEPS_A_SECOND = 3000 };

/* The stop lasts as long as was allowed for it, within these many seconds, and no node spins. */
static void await_stop(struct cluster *c, uint32_t host, uint64_t at_most_us)
{
    struct world *w = cluster_world(c);
    uint64_t began_us = world_now_us(w);
    uint64_t steps = 0;
    while (!sim_process_down(cluster_host(c, host)) && world_now_us(w) - began_us < at_most_us) {
        assert_true(world_step(w, UINT64_MAX));
        steps++;
        assert_true(steps < STEPS_A_SECOND * ((world_now_us(w) - began_us) / SECOND + 1));
    }
    assert_true(sim_process_down(cluster_host(c, host)));
}

static void a_stop_waits_without_spinning_for_successors_that_do_not_answer(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    sim_process_pause(cluster_host(c, (leader + 1) % 3)); /* their links stay up */
    sim_process_pause(cluster_host(c, (leader + 2) % 3));
    sim_process_stop(cluster_host(c, leader));
    await_stop(c, leader, 20 * SECOND);
    sim_process_resume(cluster_host(c, (leader + 1) % 3));
    sim_process_resume(cluster_host(c, (leader + 2) % 3));
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    rig_end(c);
}

/* Somebody asked for a transfer, and did not wait for its end, which comes after 150 ms: until then
 * the stop's own is refused, again and again. */
static void a_stop_waits_without_spinning_for_a_transfer_under_way(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), target = (leader + 1) % 3;
    sim_process_pause(cluster_host(c, target));
    char params[32];
    snprintf(params, sizeof params, "[\"n%u\",10]", target + 1);
    struct answer transfer;
    rig_ask(c, leader, "transfer", params, &transfer);
    rig_await(c, &transfer, 20 * MS);
    assert_refused(transfer, ERR_TIMEOUT);
    sim_process_stop(cluster_host(c, leader));
    await_stop(c, leader, 2 * SECOND);
    assert_int_equal(cluster_leader(c), 3 - leader - target);
    sim_process_resume(cluster_host(c, target));
    assert_true(cluster_run(c, SECOND));
    rig_end(c);
}

/* What waits cannot be committed, and the one successor there is is reached but cannot help. */
static void a_stop_waits_without_spinning_for_a_command_that_gets_nowhere(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), follower = (leader + 1) % 3;
    sim_process_end(cluster_host(c, leader), SIM_END_GUARDIAN);
    sim_process_pause(cluster_host(c, (leader + 2) % 3));
    struct answer a;
    rig_ask(c, follower, "propose",
            "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1},{\"timeout_ms\":60000}]", &a);
    sim_process_stop(cluster_host(c, follower));
    await_stop(c, follower, 20 * SECOND);
    assert_int_equal(a.count, 1);
    assert_true(a.err == ERR_OUTCOME_UNKNOWN || a.err == ERR_SHUTDOWN);
    sim_process_resume(cluster_host(c, (leader + 2) % 3));
    assert_true(cluster_run(c, SECOND));
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_waits_without_spinning_for_successors_that_do_not_answer),
        cmocka_unit_test(a_stop_waits_without_spinning_for_a_transfer_under_way),
        cmocka_unit_test(a_stop_waits_without_spinning_for_a_command_that_gets_nowhere),
    };
    return cmocka_run_group_tests_name("node/stop", tests, NULL, NULL);
}
