#include "sim/swarm_draw.h"

enum { MS = 1000, NODES_MAX = 7 };

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
static void draw_clocks(struct rng *rng, struct swarm_draw *d)
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
    snapshot->chunk_bytes = (uint32_t)PICK(rng, 500, 2000, 2000, 8000, 0);
}

static void draw_members(struct rng *rng, struct cluster_options *o)
{
    uint64_t spares = PICK(rng, 0, 0, 1, 2);
    o->spares = o->nodes + spares <= NODES_MAX ? (uint32_t)spares : 0;
}

struct swarm_draw swarm_draw(struct rng *rng, uint64_t seed)
{
    struct swarm_draw d = {.cluster = cluster_defaults(seed)};
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

    draw_members(rng, &d.cluster);
    d.cluster.pending_max = (uint32_t)PICK(rng, 0, 0, 0, 2, 10);

    double density = rng_unit(rng) * 0.9;
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        d.plan.enabled[i] = rng_chance(rng, density);
    }
    draw_clocks(rng, &d);
    /* Who rots is gone for good: what is left of the first members must be a majority. */
    if (d.plan.enabled[FAULT_MEMBERS] && rng_chance(rng, 0.5)) {
        d.plan.enabled[FAULT_MEMBERS] = false;
    }
    d.plan.enabled[FAULT_BIT_FLIP] &= !d.plan.enabled[FAULT_MEMBERS];
    d.plan.unit_us = unit_us;
    d.plan.between = (struct sim_span){.min_us = 0, .max_us = unit_us * PICK(rng, 1, 2, 8)};
    d.plan.net = d.cluster.net;
    d.plan.disk = d.cluster.disk;
    d.plan.segment_bytes = d.cluster.segment_bytes;
    d.safety_us = unit_us * rng_range(rng, 20, 120);
    /* Back-off of guardians and of connections, silence of new guardians, some lost elections. */
    d.recovery_us = 8000 * MS + 40 * d.cluster.raft.election_max_us;
    return d;
}
