#include "sim/swarm_faults.h"

#include "sim/swarm_faults_internal.h"

typedef bool (*fault_fn)(struct faults *f, uint32_t host);

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
    [FAULT_DROP_TYPE] = fault_drop_type,
    [FAULT_LATE_TYPE] = fault_late_type,
    [FAULT_SLOW_HOST] = fault_slow_host,
    [FAULT_DISK_STALL] = fault_disk_stall,
    [FAULT_DISK_ERROR] = fault_disk_error,
    [FAULT_DISK_FULL] = fault_disk_full,
    [FAULT_TORN_WRITE] = fault_torn_write,
    [FAULT_LOST_NAMES] = fault_lost_names,
    [FAULT_BIT_FLIP] = fault_bit_flip,
    [FAULT_WALL_CLOCK] = fault_wall_clock,
    [FAULT_CLOCK_RATE] = fault_clock_rate,
    [FAULT_CLOCK_JUMP] = fault_clock_jump,
    [FAULT_TRANSFER] = fault_transfer,
    [FAULT_CERTIFICATE_REPLAY] = fault_certificate_replay,
    [FAULT_SNAPSHOT] = fault_snapshot,
    [FAULT_MEMBERS] = fault_members,
};

const char *fault_text(enum fault fault)
{
    static const char *const texts[] = {
#define X(name, text) [FAULT_##name] = (text),
        FAULT_TABLE(X)
#undef X
    };
    return texts[fault];
}

/* ---- scheduled calls ------------------------------------------------------------------------ */

bool faults_current(const struct faults *f, uint64_t arg)
{
    return arg >> 8 == f->round;
}

struct sim_process *faults_host(const struct faults *f, uint64_t arg)
{
    return cluster_host(f->cluster, (uint32_t)(arg & 0xff));
}

void faults_later(struct faults *f, uint64_t delay_us, world_fn fn, uint32_t host)
{
    world_after(cluster_world(f->cluster), delay_us, fn, f, f->round << 8 | host);
}

uint64_t faults_draw_while(struct faults *f)
{
    double units = rng_unit(&f->rng);
    units = 0.05 + 12 * units * units * units;
    return (uint64_t)(units * (double)f->plan.unit_us);
}

/* ---- which, and when ------------------------------------------------------------------------ */

static uint32_t some_host(struct faults *f)
{
    /* Half of the time whoever leads: there it hurts. */
    uint32_t leader = cluster_leader(f->cluster);
    if (leader != CLUSTER_NOBODY && rng_chance(&f->rng, 0.5)) {
        return leader;
    }
    return (uint32_t)rng_range(&f->rng, 0, cluster_nodes(f->cluster));
}

static void on_fault(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (!faults_current(f, arg)) {
        return;
    }
    uint32_t kind = (uint32_t)rng_range(&f->rng, 0, FAULT_COUNT);
    if (f->plan.enabled[kind] && FAULTS[kind](f, some_host(f))) {
        f->count[kind]++;
    }
    faults_later(f, sim_span_draw(f->plan.between, &f->rng), on_fault, 0);
}

void faults_init(struct faults *f, struct cluster *c, const struct fault_plan *plan, uint64_t seed)
{
    *f = (struct faults){.cluster = c, .plan = *plan, .round = 1};
    f->flip.host = CLUSTER_NOBODY;
    rng_seed(&f->rng, seed);
}

/* Changes of the membership take time: they come at a pace of their own, or few would be done. */
static void on_members(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        f->count[FAULT_MEMBERS] += fault_members(f, some_host(f));
        faults_later(f, rng_range(&f->rng, 1, 6 * f->plan.unit_us), on_members, 0);
    }
}

void faults_start(struct faults *f)
{
    faults_later(f, sim_span_draw(f->plan.between, &f->rng), on_fault, 0);
    if (f->plan.enabled[FAULT_MEMBERS]) {
        faults_later(f, 0, on_members, 0);
    }
}

void faults_stop(struct faults *f)
{
    f->round++;
    f->crash_promised = 0;
    f->crash_transfer = 0;
}
