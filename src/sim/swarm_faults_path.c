/* Paths that are cut, slow, or lose some of what they carry. */
#include "sim/swarm_faults_internal.h"

enum { NO_HOST = UINT32_MAX };

static void on_paths_heal(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        cluster_note(f->cluster, TIMELINE_WORLD, "paths heal");
        sim_net_heal(cluster_net(f->cluster));
    }
}

/* Cut the hosts of the set off from the others, but for the one that sees both sides. */
static void split(struct faults *f, uint32_t set, uint32_t bridge)
{
    uint32_t hosts = cluster_nodes(f->cluster);
    for (uint32_t from = 0; from < hosts; from++) {
        for (uint32_t to = 0; to < hosts; to++) {
            bool apart = (set >> from & 1) != (set >> to & 1);
            if (apart && from != bridge && to != bridge) {
                sim_net_cut(cluster_net(f->cluster), from, to, true);
            }
        }
    }
    faults_later(f, faults_draw_while(f) * 2, on_paths_heal, 0);
}

static uint32_t draw_set(struct faults *f)
{
    return (uint32_t)rng_range(&f->rng, 1, UINT64_C(1) << cluster_nodes(f->cluster));
}

bool fault_partition(struct faults *f, uint32_t host)
{
    uint32_t set = rng_chance(&f->rng, 0.3) ? UINT32_C(1) << host : draw_set(f);
    cluster_note(f->cluster, TIMELINE_WORLD, "fault: partition %#x", set);
    split(f, set, NO_HOST);
    return true;
}

bool fault_bridge(struct faults *f, uint32_t host)
{
    uint32_t set = draw_set(f);
    cluster_note(f->cluster, TIMELINE_WORLD, "fault: partition %#x but for n%u", set, host + 1);
    split(f, set, host);
    return true;
}

bool fault_one_way(struct faults *f, uint32_t host)
{
    uint32_t others = draw_set(f);
    bool outward = rng_chance(&f->rng, 0.5);
    cluster_note(f->cluster, host, "fault: cut %s %#x", outward ? "towards" : "from", others);
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        if (i != host && (others >> i & 1) != 0) {
            sim_net_cut(cluster_net(f->cluster), outward ? host : i, outward ? i : host, true);
        }
    }
    faults_later(f, faults_draw_while(f) * 2, on_paths_heal, 0);
    return true;
}

static void on_forgotten_word(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t free_one = (uint32_t)(arg & 0xff);
    uint32_t leader = cluster_leader(f->cluster);
    if (!faults_current(f, arg) || leader == CLUSTER_NOBODY || leader == free_one) {
        return;
    }
    cluster_isolate(f->cluster, leader);
    enum sim_end how = rng_chance(&f->rng, 0.5) ? SIM_END_CRASH : SIM_END_GUARDIAN;
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        if (i != leader && i != free_one) {
            cluster_note(f->cluster, i, "fault: %s", sim_end_name(how));
            sim_process_end(cluster_host(f->cluster, i), how);
            faults_later(f, 0, faults_on_boot, i);
        }
    }
    faults_later(f, f->plan.unit_us + faults_draw_while(f), on_paths_heal, 0);
}

static void on_load_again(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        sim_clients_start(cluster_clients(f->cluster));
    }
}

static void on_lose_sight(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    uint32_t leader = cluster_leader(f->cluster);
    if (!faults_current(f, arg) || leader == CLUSTER_NOBODY) {
        return;
    }
    uint32_t free_one = host != leader ? host : (leader + 1) % cluster_nodes(f->cluster);
    cluster_note(f->cluster, free_one, "fault: cut off from the leader");
    sim_net_cut(cluster_net(f->cluster), leader, free_one, true);
    sim_net_cut(cluster_net(f->cluster), free_one, leader, true);
    faults_later(f, f->plan.unit_us * 2 + faults_draw_while(f), on_forgotten_word, free_one);
    faults_later(f, f->plan.unit_us * 15, on_paths_heal, 0);
}

/* First one node loses sight of the leader until its own promise is over; then the leader is cut
 * off within its lease, and all others restart within their promises. No commands come meanwhile:
 * whoever lacks one is refused for that, whatever became of a promise. */
bool fault_forgotten_word(struct faults *f, uint32_t host)
{
    if (cluster_nodes(f->cluster) < 3) {
        return false;
    }
    sim_clients_stop(cluster_clients(f->cluster));
    faults_later(f, f->plan.unit_us / 2, on_lose_sight, host);
    faults_later(f, f->plan.unit_us * 15, on_load_again, 0);
    return true;
}

/* ---- frames of some types -------------------------------------------------------------------- */

static unsigned draw_types(struct faults *f)
{
    if (rng_chance(&f->rng, 0.5)) {
        return 1u << rng_range(&f->rng, 0, SIM_FRAME_COUNT);
    }
    return (unsigned)rng_range(&f->rng, 1, SIM_FRAMES_ALL + 1);
}

/* Between this host and all others, or one of them; towards it, or away from it. */
static void rule_paths(struct faults *f, uint32_t host, const struct sim_net_drop *drop,
                       const struct sim_net_late *late)
{
    uint32_t hosts = cluster_nodes(f->cluster);
    bool outward = rng_chance(&f->rng, 0.5);
    uint32_t only = rng_chance(&f->rng, 0.5) ? NO_HOST : (uint32_t)rng_range(&f->rng, 0, hosts);
    for (uint32_t i = 0; i < hosts; i++) {
        if (i == host || (only != NO_HOST && i != only)) {
            continue;
        }
        uint32_t from = outward ? host : i;
        uint32_t to = outward ? i : host;
        if (drop != NULL) {
            sim_net_drop(cluster_net(f->cluster), from, to, drop);
        } else {
            sim_net_late(cluster_net(f->cluster), from, to, late);
        }
    }
    faults_later(f, faults_draw_while(f) * 2, on_paths_heal, 0);
}

bool fault_drop_type(struct faults *f, uint32_t host)
{
    const struct sim_net_drop drop = {
        .types = draw_types(f), .probability = 0.3 + 0.7 * rng_unit(&f->rng), .count = UINT64_MAX};
    cluster_note(f->cluster, host, "fault: frames of types %#x are lost", drop.types);
    rule_paths(f, host, &drop, NULL);
    return true;
}

bool fault_late_type(struct faults *f, uint32_t host)
{
    const struct sim_net_late late = {.types = draw_types(f),
                                      .probability = 0.1 + 0.9 * rng_unit(&f->rng),
                                      .latency = {.max_us = faults_draw_while(f) + 1}};
    cluster_note(f->cluster, host, "fault: frames of types %#x are late", late.types);
    rule_paths(f, host, NULL, &late);
    return true;
}

/* ---- slow hosts ------------------------------------------------------------------------------ */

static void on_host_quick(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    if (!faults_current(f, arg)) {
        return;
    }
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        *sim_net_rule(cluster_net(f->cluster), host, i) = f->plan.net;
        *sim_net_rule(cluster_net(f->cluster), i, host) = f->plan.net;
    }
    sim_process_executor(faults_host(f, arg))->rule = f->plan.disk;
}

bool fault_slow_host(struct faults *f, uint32_t host)
{
    const uint64_t times = rng_range(&f->rng, 2, 100);
    cluster_note(f->cluster, host, "fault: %llu times slower", (unsigned long long)times);
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        sim_net_rule(cluster_net(f->cluster), host, i)->latency.max_us =
            f->plan.net.latency.max_us * times;
        sim_net_rule(cluster_net(f->cluster), i, host)->latency.max_us =
            f->plan.net.latency.max_us * times;
    }
    sim_process_executor(cluster_host(f->cluster, host))->rule.job.max_us =
        f->plan.disk.job.max_us * times;
    faults_later(f, faults_draw_while(f) * 3, on_host_quick, host);
    return true;
}
