/* Faults seen in the field, each as a scenario on a simulated cluster, over several seeds. All
 * invariants (sim/safety.h) are checked throughout. ET is the shortest election timeout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "sound.h"

enum { SEEDS = 5, MS = 1000, SECOND = 1000 * MS, ET = 150 * MS };

static struct cluster *start_with(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    assert_true(cluster_await_progress(c, 5 * SECOND));
    assert_true(cluster_run(c, SECOND)); /* and all connections are up */
    return c;
}

static struct cluster *start(uint64_t seed, uint32_t nodes)
{
    struct cluster_options o = cluster_defaults(seed);
    o.nodes = nodes;
    return start_with(&o);
}

static void end(struct cluster *c)
{
    assert_sound(c);
    cluster_heal(c);
    cluster_boot_all(c);
    bool progress = cluster_await_progress(c, 10 * SECOND);
    sim_clients_stop(cluster_clients(c));
    bool agreement = progress && cluster_await_agreement(c, 10 * SECOND);
    assert_sound(c);
    assert_true(progress);
    assert_true(agreement);
    cluster_free(c);
}

static uint32_t other_than(uint32_t host, uint32_t nodes)
{
    return (host + 1) % nodes;
}

/* ---- durability ----------------------------------------------------------------------------- */

struct crash_on_promise {
    struct cluster *cluster;
    uint64_t crashes;
    bool armed;
};

static void crash_host(void *ctx, uint64_t host)
{
    struct crash_on_promise *x = ctx;
    sim_process_end(cluster_host(x->cluster, (uint32_t)host), SIM_END_HOST);
    x->armed = true;
}

static void promised(void *ctx, uint32_t host)
{
    struct crash_on_promise *x = ctx;
    if (x->armed) {
        x->armed = false;
        x->crashes++;
        world_after(cluster_world(x->cluster), 0, crash_host, x, host);
    }
}

/* Whoever grants a vote or acknowledges an entry loses power at once, again and again. */
static void votes_and_acknowledgements_survive_a_host_crash(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct crash_on_promise x = {0};
        struct cluster_options o = cluster_defaults(seed);
        o.promised = promised;
        o.promised_ctx = &x;
        x.cluster = cluster_new(&o);
        cluster_boot_all(x.cluster);
        sim_clients_start(cluster_clients(x.cluster));
        for (int i = 0; i < 100; i++) {
            x.armed = x.crashes < 40;
            assert_true(cluster_run(x.cluster, 40 * MS));
            cluster_boot_all(x.cluster);
        }
        x.armed = false;
        x.crashes = UINT64_MAX;
        end(x.cluster);
    }
}

static void unsynced_writes_lost_on_all_nodes_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 5);
        for (int round = 0; round < 5; round++) {
            for (uint32_t i = 0; i < 5; i++) {
                sim_process_end(cluster_host(c, i), SIM_END_HOST);
            }
            cluster_boot_all(c);
            assert_true(cluster_await_progress(c, 10 * SECOND));
        }
        end(c);
    }
}

/* After one failed sync a node ends itself; the others go on; what it acknowledged is there. */
static void a_failed_sync_ends_the_node_and_no_promise(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        sim_fs_fail(sim_process_disk(cluster_host(c, leader)), SIM_FS_SYNC, 1, ERR_IO);
        assert_true(cluster_await_progress(c, 5 * SECOND));
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, leader)));
        end(c);
    }
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* The leader hears all and nobody hears it: it steps down, another takes over. */
static void a_leader_whose_word_does_not_get_out_is_replaced(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        for (uint32_t i = 0; i < 3; i++) {
            if (i != leader) {
                sim_net_cut(cluster_net(c), leader, i, true);
            }
        }
        assert_true(cluster_run(c, 10 * ET));
        assert_true(cluster_leader(c) != leader);
        assert_true(cluster_leader(c) != CLUSTER_NOBODY);
        assert_int_equal(
            raft_role(node_raft(sim_process_node(cluster_host(c, leader)))) == RAFT_LEADER, false);
        end(c);
    }
}

/* Two cannot see each other, the third sees both: settled within 5 ET, terms grow by 2 at most. */
static void a_node_that_sees_both_sides_of_a_cut_settles_it(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4 * SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        uint32_t other = other_than(leader, 3);
        raft_term term = cluster_term(c);
        sim_net_cut(cluster_net(c), leader, other, true);
        sim_net_cut(cluster_net(c), other, leader, true);
        assert_true(cluster_run(c, 5 * ET));
        raft_term settled = cluster_term(c);
        assert_in_range(settled, term, term + 2);
        assert_true(cluster_run(c, 20 * ET));
        assert_in_range(cluster_term(c), settled, term + 2);
        end(c);
    }
}

/* With pre-vote, a node that comes back brings no higher term, however long it was away. */
static void a_node_cut_off_for_long_disturbs_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t away = other_than(cluster_leader(c), 3);
        cluster_isolate(c, away);
        assert_true(cluster_run(c, 20 * ET));
        uint32_t leader = cluster_leader(c);
        raft_term term = cluster_term(c);
        sim_net_heal(cluster_net(c));
        assert_true(cluster_run(c, 20 * ET));
        assert_int_equal(cluster_term(c), term);
        assert_int_equal(cluster_leader(c), leader);
        end(c);
    }
}

/* Without pre-vote it comes back with a term far ahead: the cluster takes it and goes on. */
static void a_node_that_rejoins_with_a_term_far_ahead_is_absorbed(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(11);
    o.raft.prevote = false;
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    uint32_t away = other_than(cluster_leader(c), 3);
    cluster_isolate(c, away);
    raft_term before = cluster_term(c);
    while (cluster_term(c) < before + 1000) {
        node_campaign(sim_process_node(cluster_host(c, away)));
        assert_true(cluster_run(c, 5 * MS));
    }
    sim_net_heal(cluster_net(c));
    assert_true(cluster_await_progress(c, 10 * SECOND));
    end(c);
}

/* ---- processes and disks that stand still --------------------------------------------------- */

static void a_leader_paused_for_3_s_is_replaced_and_serves_no_stale_read(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        sim_process_pause(cluster_host(c, leader));
        assert_true(cluster_run(c, 3 * SECOND));
        uint32_t successor = cluster_leader(c);
        assert_true(successor != leader && successor != CLUSTER_NOBODY);
        uint64_t gets = sim_clients_stats(cluster_clients(c))->gets_done;
        sim_process_resume(cluster_host(c, leader));
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_clients_stats(cluster_clients(c))->gets_done > gets);
        end(c);
    }
}

static void a_leader_whose_disk_hangs_for_5_s_gives_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        sim_executor_stall(sim_process_executor(cluster_host(c, leader)), 5 * SECOND);
        assert_true(cluster_run(c, 10 * ET));
        uint32_t successor = cluster_leader(c);
        assert_true(successor != leader && successor != CLUSTER_NOBODY);
        assert_true(cluster_run(c, 5 * SECOND));
        end(c);
    }
}

static void a_node_restarted_200_times_every_50_ms_does_no_harm(void **state)
{
    (void)state;
    struct cluster *c = start(3, 3);
    uint32_t victim = other_than(cluster_leader(c), 3);
    uint64_t sets = sim_clients_stats(cluster_clients(c))->sets_done;
    for (int i = 0; i < 200; i++) {
        sim_process_end(cluster_host(c, victim), SIM_END_CRASH);
        assert_true(cluster_run(c, 50 * MS));
    }
    assert_true(sim_clients_stats(cluster_clients(c))->sets_done > sets + 100);
    end(c);
}

/* ---- promises, leases, certificates --------------------------------------------------------- */

/* The leader's process dies: its guardian says so, and a successor stands long before a timeout. */
static void a_dead_process_is_replaced_without_waiting_for_a_timeout(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4 * SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        sim_process_end(cluster_host(c, leader), SIM_END_CRASH);
        assert_true(cluster_run(c, 40 * MS));
        uint32_t successor = cluster_leader(c);
        assert_true(successor != CLUSTER_NOBODY && successor != leader);
        end(c);
    }
}

/* A replayed certificate is of a process long dead: it voids no promise to the next one. */
static void a_replayed_certificate_unseats_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t host = cluster_leader(c);
        sim_process_end(cluster_host(c, host), SIM_END_CRASH);
        assert_true(cluster_run(c, 2 * SECOND));
        /* Back in office by a transfer of leadership, in a new process. */
        for (int i = 0; i < 50 && cluster_leader(c) != host; i++) {
            cluster_transfer(c, cluster_leader(c), CLUSTER_NOBODY);
            assert_true(cluster_run(c, 2 * ET));
        }
        if (cluster_leader(c) == host) {
            raft_term term = cluster_term(c);
            for (uint32_t to = 0; to < 3; to++) {
                if (to != host) {
                    assert_true(sim_process_replay_certificate(cluster_host(c, host), to));
                }
            }
            assert_true(cluster_run(c, 4 * ET));
            assert_int_equal(cluster_term(c), term);
            assert_int_equal(cluster_leader(c), host);
        }
        end(c);
    }
}

/* A node has been cut off from the leader for so long that it is free to campaign. The follower
 * that both see restarts within its promise to the leader and is asked by the other for its vote:
 * it keeps its word, so the lease stays with one. `how` says what the restart has lost; then the
 * node is restarted again that many times. */
static void restart_within_a_promise(enum sim_end how, int again)
{
    int tried = 0;
    for (uint64_t seed = 1; seed <= 6 * SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.datagrams = true; /* the question is there before a connection would be */
        struct cluster *c = start_with(&o);
        /* Or the candidate would be refused for what it missed, whatever became of the promise. */
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_run(c, SECOND));
        uint32_t leader = cluster_leader(c);
        uint32_t restarted = other_than(leader, 3);
        uint32_t candidate = other_than(restarted, 3);
        sim_net_cut(cluster_net(c), leader, candidate, true);
        sim_net_cut(cluster_net(c), candidate, leader, true);
        assert_true(cluster_run(c, 4 * ET));
        sim_clients_start(cluster_clients(c));
        if (cluster_leader(c) != leader) {
            end(c); /* the bridge has changed sides */
            continue;
        }
        cluster_isolate(c, leader);
        sim_process_end(cluster_host(c, restarted), how);
        cluster_boot_all(c);
        for (int i = 0; i < 12; i++) {
            assert_true(cluster_run(c, 13 * MS)); /* enough for a pre-vote, a vote and a round */
            if (i < 2 * again && i % 2 == 1) {
                sim_process_end(cluster_host(c, restarted), SIM_END_CRASH);
            }
            if (cluster_leader(c) != candidate) {
                node_campaign(sim_process_node(cluster_host(c, candidate)));
            }
        }
        tried++;
        end(c);
    }
    assert_true(tried > 2 * SEEDS);
}

static void a_follower_restarted_within_a_promise_keeps_it(void **state)
{
    (void)state;
    restart_within_a_promise(SIM_END_CRASH, 0);
}

static void a_follower_under_a_new_guardian_grants_nothing_at_first(void **state)
{
    (void)state;
    restart_within_a_promise(SIM_END_GUARDIAN, 0);
}

/* The silence of a new guardian is a promise too: it outlives a crash of the node within it. */
static void a_crash_within_the_silence_of_a_new_guardian_does_not_end_it(void **state)
{
    (void)state;
    restart_within_a_promise(SIM_END_GUARDIAN, 2);
}

static void a_planned_stop_hands_over_without_a_timeout(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed, 3);
        uint32_t leader = cluster_leader(c);
        raft_term term = cluster_term(c);
        sim_process_stop(cluster_host(c, leader));
        assert_true(cluster_run(c, 100 * MS));
        assert_true(cluster_leader(c) != leader && cluster_leader(c) != CLUSTER_NOBODY);
        assert_int_equal(cluster_term(c), term + 1);
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, leader)));
        end(c);
    }
}

/* The target stands still and the transfer is aborted: commands that came meanwhile go on at once,
 * under the same leader in a term that has a lease. */
static void an_aborted_transfer_holds_up_no_command(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.clients.gets = 0;
        struct cluster *c = start_with(&o);
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_run(c, SECOND));
        uint32_t leader = cluster_leader(c);
        raft_term term = cluster_term(c);
        uint32_t target = other_than(leader, 3);
        sim_process_pause(cluster_host(c, target));
        cluster_transfer(c, leader, target);
        sim_clients_start(cluster_clients(c));
        assert_true(cluster_run(c, 2 * ET));
        uint64_t sets = sim_clients_stats(cluster_clients(c))->sets_done;
        assert_true(cluster_run(c, SECOND));
        assert_int_equal(cluster_leader(c), leader);
        assert_int_equal(cluster_term(c), term + 1);
        assert_true(sim_clients_stats(cluster_clients(c))->sets_done > sets);
        end(c);
    }
}

/* ---- the simulation itself ------------------------------------------------------------------ */

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    uint64_t hashes[3];
    for (uint64_t i = 0; i < 3; i++) {
        struct cluster *c = start(i == 2 ? 78 : 77, 3);
        assert_true(cluster_run(c, SECOND));
        hashes[i] = world_trace_hash(cluster_world(c));
        cluster_free(c);
    }
    assert_true(hashes[0] == hashes[1]);
    assert_true(hashes[0] != hashes[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_and_acknowledgements_survive_a_host_crash),
        cmocka_unit_test(unsynced_writes_lost_on_all_nodes_at_once),
        cmocka_unit_test(a_failed_sync_ends_the_node_and_no_promise),
        cmocka_unit_test(a_leader_whose_word_does_not_get_out_is_replaced),
        cmocka_unit_test(a_node_that_sees_both_sides_of_a_cut_settles_it),
        cmocka_unit_test(a_node_cut_off_for_long_disturbs_nobody),
        cmocka_unit_test(a_node_that_rejoins_with_a_term_far_ahead_is_absorbed),
        cmocka_unit_test(a_leader_paused_for_3_s_is_replaced_and_serves_no_stale_read),
        cmocka_unit_test(a_leader_whose_disk_hangs_for_5_s_gives_way),
        cmocka_unit_test(a_node_restarted_200_times_every_50_ms_does_no_harm),
        cmocka_unit_test(a_dead_process_is_replaced_without_waiting_for_a_timeout),
        cmocka_unit_test(a_replayed_certificate_unseats_nobody),
        cmocka_unit_test(a_follower_restarted_within_a_promise_keeps_it),
        cmocka_unit_test(a_follower_under_a_new_guardian_grants_nothing_at_first),
        cmocka_unit_test(a_crash_within_the_silence_of_a_new_guardian_does_not_end_it),
        cmocka_unit_test(a_planned_stop_hands_over_without_a_timeout),
        cmocka_unit_test(an_aborted_transfer_holds_up_no_command),
        cmocka_unit_test(the_same_seed_is_the_same_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
