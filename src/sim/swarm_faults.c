#include "sim/swarm_faults.h"

#include "base/assert.h"

enum { ALL_HOSTS = 0xff, LOOPS_MAX = 20, DISK_SMALL_BYTES = 64 << 10 };

typedef void (*fault_fn)(struct faults *f, uint32_t host);

/* ---- scheduled calls: the round, and the host they concern ---------------------------------- */

static uint64_t arg_of(const struct faults *f, uint32_t host)
{
    return f->round << 8 | host;
}
static bool arg_current(const struct faults *f, uint64_t arg)
{
    return arg >> 8 == f->round;
}
static struct sim_process *host_of_arg(const struct faults *f, uint64_t arg)
{
    return cluster_host(f->cluster, (uint32_t)(arg & 0xff));
}

static void later(struct faults *f, uint64_t delay_us, world_fn fn, uint32_t host)
{
    world_after(cluster_world(f->cluster), delay_us, fn, f, arg_of(f, host));
}

/* Mostly short, sometimes ten units and more. */
static uint64_t draw_while(struct faults *f)
{
    double units = rng_unit(&f->rng);
    units = 0.05 + 12 * units * units * units;
    return (uint64_t)(units * (double)f->plan.unit_us);
}

static uint32_t some_host(struct faults *f)
{
    /* Half of the time whoever leads: there it hurts. */
    uint32_t leader = cluster_leader(f->cluster);
    if (leader != CLUSTER_NOBODY && rng_chance(&f->rng, 0.5)) {
        return leader;
    }
    return (uint32_t)rng_range(&f->rng, 0, cluster_nodes(f->cluster));
}

/* ---- processes and hosts -------------------------------------------------------------------- */

static void on_boot(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg) && sim_process_down(host_of_arg(f, arg))) {
        sim_process_boot(host_of_arg(f, arg));
    }
}

static void end_and_boot(struct faults *f, uint32_t host, enum sim_end how)
{
    cluster_note(f->cluster, host, "fault: %s", sim_end_name(how));
    sim_process_end(cluster_host(f->cluster, host), how);
    later(f, draw_while(f), on_boot, host);
}

static void fault_crash(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_CRASH);
}

static void fault_crash_guardian(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_GUARDIAN);
}

static void fault_crash_host(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_HOST);
}

static void fault_crash_all_hosts(struct faults *f, uint32_t host)
{
    (void)host;
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        end_and_boot(f, i, SIM_END_HOST);
    }
}

static void fault_crash_promised(struct faults *f, uint32_t host)
{
    f->crash_promised |= UINT32_C(1) << host;
}

static void on_crash_host(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg)) {
        fault_crash_host(f, (uint32_t)(arg & 0xff));
    }
}

void faults_promised(void *ctx, uint32_t host)
{
    struct faults *f = ctx;
    if ((f->crash_promised >> host & 1) != 0) {
        f->crash_promised &= ~(UINT32_C(1) << host);
        later(f, 0, on_crash_host, host);
    }
}

static void fault_crash_transfer(struct faults *f, uint32_t host)
{
    f->crash_transfer |= UINT32_C(1) << host;
}

void faults_in_transfer(void *ctx, uint32_t host)
{
    struct faults *f = ctx;
    if ((f->crash_transfer >> host & 1) != 0) {
        f->crash_transfer &= ~(UINT32_C(1) << host);
        /* At once, or so many steps of the disk later. */
        later(f, rng_chance(&f->rng, 0.3) ? 0 : draw_while(f) / 100, on_crash_host, host);
    }
}

static void fault_crash_recovery(struct faults *f, uint32_t host)
{
    sim_process_crash_in_recovery(cluster_host(f->cluster, host), rng_range(&f->rng, 1, 30));
    end_and_boot(f, host, SIM_END_HOST);
}

static void on_loop(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    if (!arg_current(f, arg)) {
        return;
    }
    sim_process_end(cluster_host(f->cluster, host), SIM_END_CRASH);
    if (f->loops_left[host]-- > 1) {
        later(f, rng_range(&f->rng, 1000, 60000), on_loop, host);
    }
}

static void fault_restart_loop(struct faults *f, uint32_t host)
{
    if (f->loops_left[host] == 0) {
        cluster_note(f->cluster, host, "fault: restart loop");
        f->loops_left[host] = (uint32_t)rng_range(&f->rng, 2, LOOPS_MAX);
        later(f, 0, on_loop, host);
    }
}

static void fault_stop(struct faults *f, uint32_t host)
{
    cluster_note(f->cluster, host, "fault: planned stop");
    sim_process_stop(cluster_host(f->cluster, host));
    later(f, draw_while(f) + 10 * f->plan.unit_us, on_boot, host);
}

static void on_resume(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg)) {
        sim_process_resume(host_of_arg(f, arg));
    }
}

static void fault_pause(struct faults *f, uint32_t host)
{
    cluster_note(f->cluster, host, "fault: pause");
    sim_process_pause(cluster_host(f->cluster, host));
    later(f, draw_while(f), on_resume, host);
}

/* ---- paths ---------------------------------------------------------------------------------- */

static void on_paths_heal(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg)) {
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
    later(f, draw_while(f) * 2, on_paths_heal, 0);
}

static uint32_t draw_set(struct faults *f)
{
    return (uint32_t)rng_range(&f->rng, 1, UINT64_C(1) << cluster_nodes(f->cluster));
}

static void fault_partition(struct faults *f, uint32_t host)
{
    uint32_t set = rng_chance(&f->rng, 0.3) ? UINT32_C(1) << host : draw_set(f);
    cluster_note(f->cluster, TIMELINE_WORLD, "fault: partition %#x", set);
    split(f, set, ALL_HOSTS);
}

static void fault_bridge(struct faults *f, uint32_t host)
{
    uint32_t set = draw_set(f);
    cluster_note(f->cluster, TIMELINE_WORLD, "fault: partition %#x but for n%u", set, host + 1);
    split(f, set, host);
}

static void fault_one_way(struct faults *f, uint32_t host)
{
    uint32_t others = draw_set(f);
    bool outward = rng_chance(&f->rng, 0.5);
    cluster_note(f->cluster, host, "fault: cut %s %#x", outward ? "towards" : "from", others);
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        if (i != host && (others >> i & 1) != 0) {
            sim_net_cut(cluster_net(f->cluster), outward ? host : i, outward ? i : host, true);
        }
    }
    later(f, draw_while(f) * 2, on_paths_heal, 0);
}

static void on_forgotten_word(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t free_one = (uint32_t)(arg & 0xff);
    uint32_t leader = cluster_leader(f->cluster);
    if (!arg_current(f, arg) || leader == CLUSTER_NOBODY || leader == free_one) {
        return;
    }
    cluster_isolate(f->cluster, leader);
    enum sim_end how = rng_chance(&f->rng, 0.5) ? SIM_END_CRASH : SIM_END_GUARDIAN;
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        if (i != leader && i != free_one) {
            cluster_note(f->cluster, i, "fault: %s", sim_end_name(how));
            sim_process_end(cluster_host(f->cluster, i), how);
            later(f, 0, on_boot, i);
        }
    }
    later(f, f->plan.unit_us + draw_while(f), on_paths_heal, 0);
}

static void on_load_again(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg)) {
        sim_clients_start(cluster_clients(f->cluster));
    }
}

static void on_lose_sight(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    uint32_t leader = cluster_leader(f->cluster);
    if (!arg_current(f, arg) || leader == CLUSTER_NOBODY) {
        return;
    }
    uint32_t free_one = host != leader ? host : (leader + 1) % cluster_nodes(f->cluster);
    cluster_note(f->cluster, free_one, "fault: cut off from the leader");
    sim_net_cut(cluster_net(f->cluster), leader, free_one, true);
    sim_net_cut(cluster_net(f->cluster), free_one, leader, true);
    later(f, f->plan.unit_us * 2 + draw_while(f), on_forgotten_word, free_one);
    later(f, f->plan.unit_us * 15, on_paths_heal, 0);
}

/* First one node loses sight of the leader until its own promise is over; then the leader is cut
 * off within its lease, and all others restart within their promises. No commands come meanwhile:
 * whoever lacks one is refused for that, whatever became of a promise. */
static void fault_forgotten_word(struct faults *f, uint32_t host)
{
    if (cluster_nodes(f->cluster) >= 3) {
        sim_clients_stop(cluster_clients(f->cluster));
        later(f, f->plan.unit_us / 2, on_lose_sight, host);
        later(f, f->plan.unit_us * 15, on_load_again, 0);
    }
}

static void on_host_quick(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    if (!arg_current(f, arg)) {
        return;
    }
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        *sim_net_rule(cluster_net(f->cluster), host, i) = f->plan.net;
        *sim_net_rule(cluster_net(f->cluster), i, host) = f->plan.net;
    }
    sim_process_executor(host_of_arg(f, arg))->rule = f->plan.disk;
}

static void fault_slow_host(struct faults *f, uint32_t host)
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
    later(f, draw_while(f) * 3, on_host_quick, host);
}

/* ---- disks ---------------------------------------------------------------------------------- */

static void fault_disk_stall(struct faults *f, uint32_t host)
{
    uint64_t stall_us = draw_while(f);
    cluster_note(f->cluster, host, "fault: disk hangs for %.3f s", (double)stall_us / 1e6);
    sim_executor_stall(sim_process_executor(cluster_host(f->cluster, host)), stall_us);
}

static void fault_disk_error(struct faults *f, uint32_t host)
{
    static const unsigned kinds[] = {SIM_FS_SYNC, SIM_FS_WRITE, SIM_FS_SYNC | SIM_FS_WRITE,
                                     SIM_FS_ANY & ~(unsigned)SIM_FS_READ};
    struct sim_process *p = cluster_host(f->cluster, host);
    if (!sim_process_running(p)) {
        return; /* an operator looks at a disk before starting from it */
    }
    unsigned kind = kinds[rng_range(&f->rng, 0, sizeof kinds / sizeof kinds[0])];
    cluster_note(f->cluster, host, "fault: an operation on the disk will fail");
    sim_fs_fail(sim_process_disk(p), kind, rng_range(&f->rng, 1, 8), ERR_IO);
    later(f, draw_while(f) + f->plan.unit_us, on_boot, host);
}

static void on_disk_space(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (arg_current(f, arg)) {
        sim_fs_set_capacity(sim_process_disk(host_of_arg(f, arg)), UINT64_MAX);
        on_boot(ctx, arg);
    }
}

static void fault_disk_full(struct faults *f, uint32_t host)
{
    struct sim_fs *fs = sim_process_disk(cluster_host(f->cluster, host));
    cluster_note(f->cluster, host, "fault: disk full");
    sim_fs_set_capacity(fs, sim_fs_used_bytes(fs) + rng_range(&f->rng, 0, DISK_SMALL_BYTES));
    later(f, draw_while(f) * 2, on_disk_space, host);
}

/* ---- clocks and the rest -------------------------------------------------------------------- */

static void fault_wall_clock(struct faults *f, uint32_t host)
{
    int64_t by_ms = (int64_t)rng_range(&f->rng, 0, 20000) - 10000;
    cluster_note(f->cluster, host, "fault: wall clock %+lld ms", (long long)by_ms);
    sim_clock_jump_wall(sim_process_clock(cluster_host(f->cluster, host)), by_ms);
}

static void fault_clock_rate(struct faults *f, uint32_t host)
{
    uint64_t range = 2 * (uint64_t)f->plan.rate_ppm_max + 1;
    int32_t rate = (int32_t)rng_range(&f->rng, 0, range) - f->plan.rate_ppm_max;
    cluster_note(f->cluster, host, "fault: clock rate %+d ppm", rate);
    sim_clock_set_rate(sim_process_clock(cluster_host(f->cluster, host)), rate);
    sim_process_clock_changed(cluster_host(f->cluster, host));
}

static void fault_clock_jump(struct faults *f, uint32_t host)
{
    uint64_t ahead_us = rng_range(&f->rng, 0, 10000000);
    cluster_note(f->cluster, host, "fault: clock jumps %.3f s", (double)ahead_us / 1e6);
    sim_clock_jump(sim_process_clock(cluster_host(f->cluster, host)), ahead_us);
    sim_process_clock_changed(cluster_host(f->cluster, host));
}

static void fault_transfer(struct faults *f, uint32_t host)
{
    uint32_t leader = cluster_leader(f->cluster);
    uint32_t target = rng_chance(&f->rng, 0.5) ? host : CLUSTER_NOBODY;
    cluster_transfer(f->cluster, leader != CLUSTER_NOBODY ? leader : host, target);
}

static void fault_certificate_replay(struct faults *f, uint32_t host)
{
    for (uint32_t to = 0; to < cluster_nodes(f->cluster); to++) {
        if (to != host) {
            sim_process_replay_certificate(cluster_host(f->cluster, host), to);
        }
    }
}

/* ---- when ----------------------------------------------------------------------------------- */

static const fault_fn FAULTS[FAULT_COUNT] = {
    [FAULT_CRASH] = fault_crash,
    [FAULT_CRASH_GUARDIAN] = fault_crash_guardian,
    [FAULT_CRASH_HOST] = fault_crash_host,
    [FAULT_CRASH_ALL_HOSTS] = fault_crash_all_hosts,
    [FAULT_CRASH_PROMISED] = fault_crash_promised,
    [FAULT_CRASH_TRANSFER] = fault_crash_transfer,
    [FAULT_CRASH_RECOVERY] = fault_crash_recovery,
    [FAULT_RESTART_LOOP] = fault_restart_loop,
    [FAULT_STOP] = fault_stop,
    [FAULT_PAUSE] = fault_pause,
    [FAULT_PARTITION] = fault_partition,
    [FAULT_ONE_WAY] = fault_one_way,
    [FAULT_BRIDGE] = fault_bridge,
    [FAULT_FORGOTTEN_WORD] = fault_forgotten_word,
    [FAULT_SLOW_HOST] = fault_slow_host,
    [FAULT_DISK_STALL] = fault_disk_stall,
    [FAULT_DISK_ERROR] = fault_disk_error,
    [FAULT_DISK_FULL] = fault_disk_full,
    [FAULT_WALL_CLOCK] = fault_wall_clock,
    [FAULT_CLOCK_RATE] = fault_clock_rate,
    [FAULT_CLOCK_JUMP] = fault_clock_jump,
    [FAULT_TRANSFER] = fault_transfer,
    [FAULT_CERTIFICATE_REPLAY] = fault_certificate_replay,
};

static void on_fault(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (!arg_current(f, arg)) {
        return;
    }
    uint32_t kind = (uint32_t)rng_range(&f->rng, 0, FAULT_COUNT);
    if (f->plan.enabled[kind]) {
        f->count++;
        FAULTS[kind](f, some_host(f));
    }
    later(f, sim_span_draw(f->plan.between, &f->rng), on_fault, 0);
}

void faults_init(struct faults *f, struct cluster *c, const struct fault_plan *plan, uint64_t seed)
{
    *f = (struct faults){.cluster = c, .plan = *plan, .round = 1};
    rng_seed(&f->rng, seed);
}

void faults_start(struct faults *f)
{
    later(f, sim_span_draw(f->plan.between, &f->rng), on_fault, 0);
}

void faults_stop(struct faults *f)
{
    f->round++;
    f->crash_promised = 0;
    f->crash_transfer = 0;
}
