/* More faults seen in the field, on simulated clusters: what is slow, late and out of step.
 * test_faults.c has the others; tests/README.md says which test holds which fault. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "sim/sim_disk.h"
#include "sound.h"

enum { SEEDS = 3, MS = 1000, SECOND = 1000 * MS };

static struct cluster *start_with(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    assert_true(cluster_await_progress(c, 5 * SECOND));
    return c;
}

static void end(struct cluster *c)
{
    cluster_heal(c);
    sim_net_reset(cluster_net(c));
    cluster_boot_all(c);
    bool progress = cluster_await_progress(c, 20 * SECOND);
    sim_clients_stop(cluster_clients(c));
    bool agreement = progress && cluster_await_agreement(c, 20 * SECOND);
    assert_sound(c);
    assert_true(progress);
    assert_true(agreement);
    assert_true(cluster_check_history(c));
    cluster_free(c);
}

/* ---- what is slow ---------------------------------------------------------------------------- */

/* Its disk and all its paths: the leader goes on at its pace, and its memory does not grow with
 * what the follower lacks ("memory is bounded" in sim/safety.h, after each event). */
static void a_follower_100_times_slower_costs_the_leader_no_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.cache_bytes_max = 4 << 10;
        o.raft.window_bytes = 4 << 10;
        o.raft.append_bytes_max = 4 << 10;
        o.raft.uncommitted_bytes_max = 32 << 10;
        o.clients.pause = (struct sim_span){.min_us = 100, .max_us = 2 * MS};
        o.clients.clients = 20;
        o.clients.gets = 0;
        struct cluster *c = start_with(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t slow = (leader + 1) % 3;
        for (uint32_t i = 0; i < 3; i++) {
            sim_net_rule(cluster_net(c), slow, i)->latency.max_us *= 100;
            sim_net_rule(cluster_net(c), i, slow)->latency.max_us *= 100;
        }
        sim_process_executor(cluster_host(c, slow))->rule.job.max_us *= 100;
        uint64_t before = sim_clients_stats(cluster_clients(c))->sets_done;
        assert_true(cluster_run(c, 10 * SECOND));
        assert_true(sim_clients_stats(cluster_clients(c))->sets_done > before + 1000);
        assert_int_equal(cluster_leader(c), leader);
        sim_process_executor(cluster_host(c, slow))->rule = o.disk;
        end(c);
    }
}

/* ---- what is late ---------------------------------------------------------------------------- */

/* Appends take so long that a snapshot has taken the place of what they say when they arrive, twice
 * and in any order. */
static void appends_later_than_a_snapshot_change_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.datagrams = true;
        o.net.duplicate = 0.2;
        o.snapshot = (struct node_snapshot_options){.entries = 20, .chunk_bytes = 8000};
        struct cluster *c = start_with(&o);
        const struct sim_net_late late = {.types = 1u << RAFT_MESSAGE_APPEND,
                                          .probability = 0.3,
                                          .latency = {.min_us = 0, .max_us = 3 * SECOND}};
        for (uint32_t i = 0; i < 9; i++) {
            if (i / 3 != i % 3) {
                sim_net_late(cluster_net(c), i / 3, i % 3, &late);
            }
        }
        assert_true(cluster_run(c, 10 * SECOND));
        assert_true(safety_stats(cluster_safety(c))->installs > 0);
        end(c);
    }
}

/* Whichever chunk of a snapshot has come in when a follower loses power, it gets there in the end.
 */
struct chunks {
    struct cluster *cluster;
    uint32_t host;
    uint32_t left; /* chunks to let pass */
};

static void on_crash(void *ctx, uint64_t host)
{
    const struct chunks *k = ctx;
    sim_process_end(cluster_host(k->cluster, (uint32_t)host), SIM_END_HOST);
}

static void on_chunk(void *ctx, uint32_t host)
{
    struct chunks *k = ctx;
    if (k->cluster != NULL && host == k->host && k->left > 0 && --k->left == 0) {
        world_after(cluster_world(k->cluster), 0, on_crash, k, host);
    }
}

static void a_follower_may_restart_at_each_chunk_of_a_snapshot(void **state)
{
    (void)state;
    for (uint32_t chunk = 1; chunk <= 24; chunk++) {
        struct chunks k = {0};
        struct cluster_options o = cluster_defaults(chunk);
        o.snapshot = (struct node_snapshot_options){.entries = 10, .chunk_bytes = 2000};
        o.in_transfer = on_chunk;
        o.in_transfer_ctx = &k;
        struct cluster *c = start_with(&o);
        uint32_t away = (cluster_leader(c) + 1) % 3;
        cluster_isolate(c, away);
        assert_true(cluster_run(c, 3 * SECOND));
        k = (struct chunks){.cluster = c, .host = away, .left = chunk};
        sim_net_heal(cluster_net(c));
        assert_true(cluster_run(c, 3 * SECOND));
        assert_true(k.left == 0); /* each of these steps is one that there is */
        end(c);
    }
}

/* ---- what is out of step --------------------------------------------------------------------- */

/* Clocks at 0.8 and 1.2 of the true rate, and leaps of ten seconds: beyond what leases bear, so
 * only the log, and what clients read through it, must be right. */
static void clocks_out_of_step_harm_no_log(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.leases = false;
        o.clients.lease_gets = 0;
        o.rate_ppm[0] = -200000;
        o.rate_ppm[1] = 200000;
        struct cluster *c = start_with(&o);
        for (uint32_t i = 0; i < 12; i++) {
            struct sim_process *p = cluster_host(c, i % 3);
            sim_clock_jump_wall(sim_process_clock(p), i % 2 == 0 ? 10000 : -10000);
            if (i % 4 == 0) {
                sim_clock_jump(sim_process_clock(p), 10 * SECOND);
            }
            sim_process_clock_changed(p);
            assert_true(cluster_await_progress(c, 10 * SECOND));
        }
        end(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_100_times_slower_costs_the_leader_no_memory),
        cmocka_unit_test(appends_later_than_a_snapshot_change_nothing),
        cmocka_unit_test(a_follower_may_restart_at_each_chunk_of_a_snapshot),
        cmocka_unit_test(clocks_out_of_step_harm_no_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
