/* What goes wrong in a simulated cluster: its links, clocks and disks. */
#include <string.h>

#include "scenario/target_sim_internal.h"
#include "sim/sim_disk.h"

enum { MS = 1000 };

/* ---- links ----------------------------------------------------------------------------------- */

static unsigned frames_of(unsigned types)
{
    static const struct {
        unsigned type;
        enum raft_message_type message;
    } table[] = {
        {TARGET_VOTE, RAFT_MESSAGE_VOTE},
        {TARGET_APPEND, RAFT_MESSAGE_APPEND},
        {TARGET_SNAPSHOT, RAFT_MESSAGE_INSTALL_SNAPSHOT},
        {TARGET_TIMEOUT_NOW, RAFT_MESSAGE_TIMEOUT_NOW},
        {TARGET_VOTE_REPLY, RAFT_MESSAGE_VOTE_REPLY},
        {TARGET_APPEND_REPLY, RAFT_MESSAGE_APPEND_REPLY},
        {TARGET_SNAPSHOT_REPLY, RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY},
    };
    unsigned named = 0, frames = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        named |= 1u << table[i].message;
        if (types & table[i].type) {
            frames |= 1u << table[i].message;
        }
    }
    return types & TARGET_OTHER ? frames | (SIM_FRAMES_ALL & ~named) : frames;
}

void target_sim_cut(struct target *target, struct target_link link, bool cut)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_net *net = cluster_net(t->cluster);
    if (sim_net_is_cut(net, link.from - 1, link.to - 1) != cut) {
        cluster_note(t->cluster, link.from - 1, "%s to n%u", cut ? "cut off" : "mended", link.to);
        sim_net_cut(net, link.from - 1, link.to - 1, cut);
    }
}

void target_sim_delay(struct target *target, struct target_link link,
                      const struct target_delay *rule)
{
    struct target_sim *t = target_sim_of(target);
    cluster_note(t->cluster, link.from - 1, "%.1f-%.1f ms to n%u", (double)rule->min_us / MS,
                 (double)rule->max_us / MS, link.to);
    struct sim_net *net = cluster_net(t->cluster);
    const struct sim_net_late late = {
        .types = frames_of(rule->types),
        .probability = rule->probability,
        .latency = {.min_us = rule->min_us, .max_us = rule->max_us + 1},
    };
    if (late.types == SIM_FRAMES_ALL && late.probability >= 1) {
        sim_net_delay(net, link.from - 1, link.to - 1, late.latency); /* connecting, too */
    } else {
        sim_net_late(net, link.from - 1, link.to - 1, &late);
    }
}

void target_sim_drop(struct target *target, struct target_link link, const struct target_drop *rule)
{
    struct target_sim *t = target_sim_of(target);
    const struct sim_net_drop drop = {
        .types = frames_of(rule->types),
        .probability = rule->probability,
        .count = rule->count == 0 ? UINT64_MAX : rule->count,
    };
    cluster_note(t->cluster, link.from - 1, "%.0f %% of some frames to n%u are dropped",
                 rule->probability * 100, link.to);
    sim_net_drop(cluster_net(t->cluster), link.from - 1, link.to - 1, &drop);
}

void target_sim_heal(struct target *target)
{
    struct target_sim *t = target_sim_of(target);
    cluster_note(t->cluster, TIMELINE_WORLD, "the network is healed");
    sim_net_reset(cluster_net(t->cluster));
}

struct target_rpcs target_sim_rpcs(const struct target *target, uint32_t node, unsigned types)
{
    const struct target_sim *t = target_sim_of_const(target);
    unsigned frames = frames_of(types);
    struct target_rpcs sum = {0};
    uint32_t hosts = cluster_nodes(t->cluster);
    for (uint32_t from = 0; from < hosts; from++) {
        for (uint32_t to = 0; (node == 0 || from == node - 1) && to < hosts; to++) {
            for (unsigned type = 0; type < SIM_FRAME_COUNT; type++) {
                if (frames & 1u << type) {
                    struct sim_net_count sent =
                        sim_net_sent(cluster_net(t->cluster), from, to, (enum sim_frame)type);
                    sum.count += sent.frames;
                    sum.bytes += sent.bytes;
                }
            }
        }
    }
    return sum;
}

/* ---- clocks and disks ------------------------------------------------------------------------ */

enum err target_sim_skew(struct target *target, uint32_t node, int64_t offset_ms, int32_t ppm,
                         struct why *why)
{
    struct target_sim *t = target_sim_of(target);
    if (ppm <= -1000000 || ppm > 9000000) {
        return err_why(why, ERR_INVALID, "a clock runs at -999999 to 9000000 ppm, not %d", ppm);
    }
    struct sim_process *p = target_sim_process(t, node);
    struct sim_clock *clock = sim_process_clock(p);
    cluster_note(t->cluster, node - 1, "its clocks jump by %lld ms, and run at %+d ppm",
                 (long long)offset_ms, ppm);
    if (offset_ms > 0) { /* it never goes back */
        sim_clock_jump(clock, (uint64_t)offset_ms * MS);
    }
    sim_clock_jump_wall(clock, offset_ms);
    sim_clock_set_rate(clock, ppm);
    int32_t bound_ppm = 100 * 1000; /* drift_permille of the cores */
    if (offset_ms > 0 || ppm < -bound_ppm || ppm > bound_ppm) {
        safety_forget_leases(cluster_safety(t->cluster));
    }
    sim_process_clock_changed(p);
    return ERR_OK;
}

void target_sim_set_wall(struct target *target, uint32_t node, int64_t wall_ms)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    struct sim_clock *clock = sim_process_clock(p);
    int64_t by_ms = wall_ms - clock_wall_ms(sim_clock_port(clock));
    cluster_note(t->cluster, node - 1, "its clock on the wall is set by %lld ms", (long long)by_ms);
    sim_clock_jump_wall(clock, by_ms);
    sim_process_clock_changed(p);
}

enum err target_sim_disk(struct target *target, uint32_t node, const struct target_disk *fault,
                         struct why *why)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_disk_fault f = {
        .kind = sim_disk_kind_by_name(fault->kind),
        .of_scripts = fault->of_scripts,
        .slower_us = (uint64_t)(fault->ms * MS),
        .free_bytes = fault->bytes,
        .file = fault->file,
        .offset_bytes = fault->offset,
    };
    if (f.kind == SIM_DISK_KINDS) {
        return err_why(why, ERR_INVALID,
                       "no disk fault is called \"%s\"; there are ok, slow, stall, fsync_fail, "
                       "write_fail, read_fail, torn, lost_names, full, flip",
                       fault->kind);
    }
    cluster_note(t->cluster, node - 1, "its disk%s: %s",
                 fault->of_scripts ? " of scripts' files" : "", fault->kind);
    return sim_disk_fault(target_sim_process(t, node), &f, why);
}
