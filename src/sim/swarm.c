#include "sim/swarm.h"

#include "sim/swarm_faults.h"
#include "sim/swarm_script.h"

enum { MS = 1000 };

/* What was drawn for one run. */
struct draw {
    struct cluster_options cluster;
    struct fault_plan plan;
    uint64_t safety_us;
    uint64_t recovery_us; /* bound for the election and a commit once all is well */
};

/* ---- drawing -------------------------------------------------------------------------------- */

static uint64_t pick(struct rng *rng, const uint64_t *from, uint64_t count)
{
    return from[rng_range(rng, 0, count)];
}
#define PICK(rng, ...)                           \
    pick((rng), (const uint64_t[]){__VA_ARGS__}, \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void draw_raft(struct rng *rng, struct raft_options *raft)
{
    raft->election_min_us = PICK(rng, 20, 50, 150, 150, 500) * MS;
    raft->election_max_us = raft->election_min_us * rng_range(rng, 13, 30) / 10;
    raft->heartbeat_us = raft->election_min_us / rng_range(rng, 2, 6);
    raft->lease_us = raft->election_min_us * rng_range(rng, 50, 101) / 100;
    raft->transfer_timeout_us = raft->election_min_us;
    raft->window_entries = (uint32_t)PICK(rng, 4, 64, 1024);
    raft->window_bytes = (uint32_t)PICK(rng, 2000, 64 << 10, 1 << 20);
    raft->append_entries_max = (uint32_t)PICK(rng, 1, 16, 256);
    raft->append_bytes_max = (uint32_t)PICK(rng, 1000, 256 << 10);
    raft->uncommitted_bytes_max = (uint32_t)PICK(rng, 32 << 10, 4 << 20); /* kv must fit */
    raft->prevote = rng_chance(rng, 0.75);
    raft->check_quorum = rng_chance(rng, 0.75);
    raft->lease = rng_chance(rng, 0.75);
    raft->fast_failover = rng_chance(rng, 0.75);
}

/* Faithful, lossy or awful. */
static void draw_network(struct rng *rng, uint64_t unit_us, struct sim_net_rule *net)
{
    uint64_t badness = rng_range(rng, 0, 3);
    net->latency.min_us = rng_range(rng, 50, unit_us / 60 + 100);
    net->latency.max_us = net->latency.min_us + rng_range(rng, 1, unit_us / PICK(rng, 50, 20, 6));
    if (badness > 0) {
        net->loss = rng_unit(rng) * (badness == 1 ? 0.02 : 0.25);
        net->duplicate = rng_unit(rng) * (badness == 1 ? 0.02 : 0.2);
        net->slow = rng_unit(rng) * (badness == 1 ? 0.05 : 0.3);
        net->slow_extra = (struct sim_span){.min_us = 0, .max_us = unit_us * rng_range(rng, 1, 5)};
    }
}

static void draw_disk(struct rng *rng, uint64_t unit_us, struct sim_disk_rule *disk)
{
    disk->job.min_us = rng_range(rng, 10, 200);
    disk->job.max_us = disk->job.min_us + rng_range(rng, 1, unit_us / PICK(rng, 100, 20, 5));
    if (rng_chance(rng, 0.3)) {
        disk->stall = rng_unit(rng) * 0.01;
        disk->stall_extra = (struct sim_span){.min_us = unit_us / 2, .max_us = unit_us * 4};
    }
}

/* Mostly within the bound on drift, where leases are checked; else only the log is. */
static void draw_clocks(struct rng *rng, struct draw *d)
{
    d->cluster.leases = rng_chance(rng, 0.85);
    int32_t bound = (int32_t)d->cluster.raft.drift_permille * 1000;
    d->plan.rate_ppm_max =
        d->cluster.leases ? (int32_t)rng_range(rng, 0, (uint64_t)bound + 1) : bound * 2;
    uint64_t range = 2 * (uint64_t)d->plan.rate_ppm_max + 1;
    for (uint32_t i = 0; i < SIM_NET_HOSTS_MAX; i++) {
        d->cluster.rate_ppm[i] = (int32_t)rng_range(rng, 0, range) - d->plan.rate_ppm_max;
    }
    d->plan.enabled[FAULT_CLOCK_JUMP] = !d->cluster.leases;
    if (!d->cluster.leases) {
        d->cluster.clients.lease_gets = 0;
    }
}

static void draw_load(struct rng *rng, uint64_t unit_us, struct sim_clients_options *clients)
{
    clients->clients = (uint32_t)rng_range(rng, 1, 7);
    clients->registers = (uint32_t)rng_range(rng, 1, 6);
    clients->pause = (struct sim_span){.min_us = 100, .max_us = unit_us / PICK(rng, 40, 10, 2)};
    clients->patience = (struct sim_span){.min_us = unit_us, .max_us = unit_us * 6};
    clients->gets = rng_unit(rng) * 0.8;
    clients->value_bytes = (uint32_t)rng_range(rng, 1, 24);
}

/* Mostly so few entries apart, and so little kept, that whoever stops for a moment needs one; in
 * many small chunks, so that much can happen to it on the way. */
static void draw_snapshots(struct rng *rng, struct node_snapshot_options *snapshot)
{
    snapshot->entries = PICK(rng, 0, 5, 10, 30, 30, 100, 300);
    snapshot->bytes = PICK(rng, 0, 0, 3000, 20 << 10);
    snapshot->keep_entries = PICK(rng, 0, 0, 3, 20);
    snapshot->hold_bytes = PICK(rng, 0, 0, 2000, 64 << 10);
    snapshot->chunk_bytes = (uint32_t)PICK(rng, 40, 300, 300, 2000, 0);
}

static struct draw draw(struct rng *rng, uint64_t seed)
{
    struct draw d = {.cluster = cluster_defaults(seed)};
    d.cluster.nodes = (uint32_t)PICK(rng, 1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5, 5, 5, 5, 6, 7);
    draw_raft(rng, &d.cluster.raft);
    uint64_t unit_us = d.cluster.raft.election_min_us;
    d.cluster.datagrams = rng_chance(rng, 0.5);
    draw_network(rng, unit_us, &d.cluster.net);
    draw_disk(rng, unit_us, &d.cluster.disk);
    d.cluster.segment_bytes = PICK(rng, 4096, 16 << 10, 256 << 10);
    d.cluster.cache_bytes_max = PICK(rng, 500, 20 << 10, 0);
    draw_load(rng, unit_us, &d.cluster.clients);
    draw_snapshots(rng, &d.cluster.snapshot);

    double density = rng_unit(rng) * 0.9;
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        d.plan.enabled[i] = rng_chance(rng, density);
    }
    draw_clocks(rng, &d);
    d.plan.unit_us = unit_us;
    d.plan.between = (struct sim_span){.min_us = 0, .max_us = unit_us * PICK(rng, 1, 2, 8)};
    d.plan.net = d.cluster.net;
    d.plan.disk = d.cluster.disk;
    d.safety_us = unit_us * rng_range(rng, 20, 120);
    /* Back-off of guardians and of connections, silence of new guardians, some lost elections. */
    d.recovery_us = 8000 * MS + 40 * d.cluster.raft.election_max_us;
    return d;
}

/* ---- running -------------------------------------------------------------------------------- */

/* Faults end; paths and disks are what a healthy network and disk are. */
static void make_well(struct cluster *c)
{
    const struct cluster_options sound = cluster_defaults(0);
    uint32_t hosts = cluster_nodes(c);
    for (uint32_t i = 0; i < hosts; i++) {
        sim_process_executor(cluster_host(c, i))->rule = sound.disk;
        sim_process_executor(cluster_host(c, i))->stall_until = 0;
        for (uint32_t j = 0; j < hosts; j++) {
            *sim_net_rule(cluster_net(c), i, j) = sound.net;
        }
    }
    cluster_heal(c);
    cluster_boot_all(c);
    sim_clients_start(cluster_clients(c)); /* they may have been at rest */
}

/* A moment more. Nodes that were on their way to an end when all was healed are started again. */
static bool go_on(struct cluster *c)
{
    cluster_boot_all(c);
    return cluster_run(c, 10 * MS);
}

static bool await_commit(struct cluster *c, uint64_t at_most_us)
{
    const struct sim_clients_stats *stats = sim_clients_stats(cluster_clients(c));
    uint64_t sets = stats->sets_done;
    uint64_t until_us = world_now_us(cluster_world(c)) + at_most_us;
    while (stats->sets_done == sets) {
        if (world_now_us(cluster_world(c)) >= until_us || !go_on(c)) {
            return false;
        }
    }
    return true;
}

static bool all_running(struct cluster *c)
{
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        if (!sim_process_running(cluster_host(c, i))) {
            return false;
        }
    }
    return true;
}

/* Of all nodes; what is down has applied nothing. */
static uint64_t sum_of_applied(struct cluster *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        const struct node *n = sim_process_node(cluster_host(c, i));
        sum += n != NULL ? node_last_applied(n) : 0;
    }
    return sum;
}

/* Whoever lags catches up at the pace that its windows allow: what is bounded is standing still. */
static bool await_agreement(struct cluster *c, uint64_t at_most_us)
{
    uint64_t most = 0;
    uint64_t moved_us = world_now_us(cluster_world(c));
    while (!all_running(c) || !cluster_agreed(c)) {
        uint64_t now_us = world_now_us(cluster_world(c));
        uint64_t applied = sum_of_applied(c);
        if (applied > most) {
            most = applied;
            moved_us = now_us;
        }
        if (now_us >= moved_us + at_most_us || !go_on(c)) {
            return false;
        }
    }
    return true;
}

static void run_liveness(struct cluster *c, const struct draw *d, struct swarm_result *result)
{
    struct safety *safety = cluster_safety(c);
    cluster_note(c, TIMELINE_WORLD, "liveness phase: faults have ended");
    make_well(c);
    uint64_t healed_us = world_now_us(cluster_world(c));
    if (!await_commit(c, d->recovery_us)) {
        safety_fail(safety, 0, "liveness", "%.3f s after all was healed nothing is committed",
                    (double)d->recovery_us / 1e6);
        return;
    }
    result->recovery_us = world_now_us(cluster_world(c)) - healed_us;
    sim_clients_stop(cluster_clients(c));
    if (!await_agreement(c, d->recovery_us)) {
        safety_fail(safety, 0, "liveness",
                    "for %.3f s nothing has moved, and the nodes have not come to the same state",
                    (double)d->recovery_us / 1e6);
    }
}

void swarm_run(const struct swarm_options *options, struct swarm_result *result, struct buffer *out)
{
    struct rng rng;
    rng_seed(&rng, options->seed ^ UINT64_C(0x5357524d));
    struct draw d = draw(&rng, options->seed);
    struct swarm_script script;
    struct rng script_rng; /* its own: runs without scripts stay what they were */
    rng_seed(&script_rng, options->seed ^ UINT64_C(0x4c7561));
    swarm_script_draw(&script, &script_rng, &d.cluster);
    struct faults faults = {0};
    d.cluster.promised = faults_promised;
    d.cluster.promised_ctx = &faults;
    d.cluster.in_transfer = faults_in_transfer;
    d.cluster.in_transfer_ctx = &faults;
    d.cluster.live = options->live;
    d.cluster.live_ctx = options->live_ctx;

    struct cluster *c = cluster_new(&d.cluster);
    if (options->under_way != NULL) {
        *options->under_way = c;
    }
    faults_init(&faults, c, &d.plan, rng_next(&rng));
    cluster_boot_all(c);
    sim_clients_start(cluster_clients(c));
    faults_start(&faults);
    bool sound = cluster_run(c, d.safety_us);
    faults_stop(&faults);
    *result = (struct swarm_result){.faults = faults.count};
    if (sound) {
        run_liveness(c, &d, result);
    }
    bool undisputed = safety_violation(cluster_safety(c)) == NULL;
    bool judged = undisputed && cluster_check_history(c);
    const struct sim_clients_stats *clients = sim_clients_stats(cluster_clients(c));
    result->ok = safety_violation(cluster_safety(c)) == NULL;
    result->trace_hash = world_trace_hash(cluster_world(c));
    result->simulated_us = world_now_us(cluster_world(c));
    result->calls = world_calls(cluster_world(c));
    result->sets = clients->sets_done;
    result->gets = clients->gets_done;
    result->unknown = clients->unknown;
    result->history_judged = judged;
    result->safety = *safety_stats(cluster_safety(c));
    result->net = *sim_net_stats(cluster_net(c));
    if (!result->ok) {
        cluster_report(c, out);
    }
    if (options->under_way != NULL) {
        *options->under_way = NULL;
    }
    cluster_free(c);
    swarm_script_close(&script);
}
