/* Clocks, and what operators ask for in the middle of all this. */
#include "sim/swarm_faults_internal.h"

bool fault_wall_clock(struct faults *f, uint32_t host)
{
    int64_t by_ms = (int64_t)rng_range(&f->rng, 0, 20000) - 10000;
    cluster_note(f->cluster, host, "fault: wall clock %+lld ms", (long long)by_ms);
    sim_clock_jump_wall(sim_process_clock(cluster_host(f->cluster, host)), by_ms);
    return true;
}

bool fault_clock_rate(struct faults *f, uint32_t host)
{
    uint64_t range = 2 * (uint64_t)f->plan.rate_ppm_max + 1;
    int32_t rate = (int32_t)rng_range(&f->rng, 0, range) - f->plan.rate_ppm_max;
    cluster_note(f->cluster, host, "fault: clock rate %+d ppm", rate);
    sim_clock_set_rate(sim_process_clock(cluster_host(f->cluster, host)), rate);
    sim_process_clock_changed(cluster_host(f->cluster, host));
    return true;
}

bool fault_clock_jump(struct faults *f, uint32_t host)
{
    uint64_t ahead_us = rng_range(&f->rng, 0, 10000000);
    cluster_note(f->cluster, host, "fault: clock jumps %.3f s", (double)ahead_us / 1e6);
    sim_clock_jump(sim_process_clock(cluster_host(f->cluster, host)), ahead_us);
    sim_process_clock_changed(cluster_host(f->cluster, host));
    return true;
}

bool fault_transfer(struct faults *f, uint32_t host)
{
    uint32_t leader = cluster_leader(f->cluster);
    uint32_t target = rng_chance(&f->rng, 0.5) ? host : CLUSTER_NOBODY;
    cluster_transfer(f->cluster, leader != CLUSTER_NOBODY ? leader : host, target);
    return true;
}

bool fault_certificate_replay(struct faults *f, uint32_t host)
{
    bool replayed = false;
    for (uint32_t to = 0; to < cluster_nodes(f->cluster); to++) {
        if (to != host) {
            replayed |= sim_process_replay_certificate(cluster_host(f->cluster, host), to);
        }
    }
    return replayed;
}

bool fault_snapshot(struct faults *f, uint32_t host)
{
    cluster_ask_snapshot(f->cluster, host, faults_draw_while(f));
    return true;
}

/* ---- members --------------------------------------------------------------------------------- */

static const struct membership_member *member(struct faults *f, uint32_t leader, uint32_t host)
{
    const struct node *n = sim_process_node(cluster_host(f->cluster, leader));
    return membership_find(node_members(n), host + 1);
}

/* Mostly somebody who does not vote, if there is one: or hardly anybody would be left in the end.
 */
static uint32_t draw_subject(struct faults *f, uint32_t leader, uint32_t host)
{
    uint32_t hosts = cluster_nodes(f->cluster);
    for (uint32_t i = 0; i < hosts && rng_chance(&f->rng, 0.9); i++) {
        const struct membership_member *m = member(f, leader, (host + i) % hosts);
        if (m == NULL || !m->voter) {
            return (host + i) % hosts;
        }
    }
    return host;
}

static enum cluster_change_kind draw_change(struct faults *f, uint32_t leader, uint32_t host)
{
    const struct membership_member *m = member(f, leader, host);
    if (m == NULL) {
        return CLUSTER_ADD;
    }
    return m->voter || rng_chance(&f->rng, 0.1) ? CLUSTER_REMOVE : CLUSTER_PROMOTE;
}

bool fault_members(struct faults *f, uint32_t host)
{
    static const char *const names[] = {
        [CLUSTER_ADD] = "add", [CLUSTER_PROMOTE] = "promote", [CLUSTER_REMOVE] = "remove"};
    uint32_t leader = cluster_leader(f->cluster);
    if (leader == CLUSTER_NOBODY) {
        return false;
    }
    struct cluster_change change = {.timeout_us = f->plan.unit_us + faults_draw_while(f)};
    change.host = draw_subject(f, leader, host);
    change.kind = draw_change(f, leader, change.host);
    struct sim_process *subject = cluster_host(f->cluster, change.host);
    if (change.kind == CLUSTER_ADD && sim_process_down(subject)) {
        sim_process_boot(subject); /* it may have ended when it was removed */
    }
    cluster_note(f->cluster, change.host, "asked for: %s", names[change.kind]);
    uint32_t through = rng_chance(&f->rng, 0.8)
                           ? leader
                           : (uint32_t)rng_range(&f->rng, 0, cluster_nodes(f->cluster));
    cluster_ask_change(f->cluster, through, change);
    return true;
}
