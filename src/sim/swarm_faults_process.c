/* Processes and hosts that end, loop, pause and stop. */
#include "sim/swarm_faults_internal.h"

enum { LOOPS_MAX = 20 };

void faults_on_boot(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg) && sim_process_down(faults_host(f, arg))) {
        sim_process_boot(faults_host(f, arg));
    }
}

static void end_and_boot(struct faults *f, uint32_t host, enum sim_end how)
{
    cluster_note(f->cluster, host, "fault: %s", sim_end_name(how));
    sim_process_end(cluster_host(f->cluster, host), how);
    faults_later(f, faults_draw_while(f), faults_on_boot, host);
}

bool fault_crash(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_CRASH);
    return true;
}

bool fault_crash_guardian(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_GUARDIAN);
    return true;
}

bool fault_crash_host(struct faults *f, uint32_t host)
{
    end_and_boot(f, host, SIM_END_HOST);
    return true;
}

bool fault_crash_all_hosts(struct faults *f, uint32_t host)
{
    (void)host;
    for (uint32_t i = 0; i < cluster_nodes(f->cluster); i++) {
        end_and_boot(f, i, SIM_END_HOST);
    }
    return true;
}

bool fault_crash_promised(struct faults *f, uint32_t host)
{
    f->crash_promised |= UINT32_C(1) << host;
    return true;
}

static void on_crash_host(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        fault_crash_host(f, (uint32_t)(arg & 0xff));
    }
}

void faults_promised(void *ctx, uint32_t host)
{
    struct faults *f = ctx;
    if ((f->crash_promised >> host & 1) != 0) {
        f->crash_promised &= ~(UINT32_C(1) << host);
        faults_later(f, 0, on_crash_host, host);
    }
}

bool fault_crash_transfer(struct faults *f, uint32_t host)
{
    f->crash_transfer |= UINT32_C(1) << host;
    return true;
}

void faults_in_transfer(void *ctx, uint32_t host)
{
    struct faults *f = ctx;
    if ((f->crash_transfer >> host & 1) != 0) {
        f->crash_transfer &= ~(UINT32_C(1) << host);
        /* At once, or so many steps of the disk later. */
        faults_later(f, rng_chance(&f->rng, 0.3) ? 0 : faults_draw_while(f) / 100, on_crash_host,
                     host);
    }
}

bool fault_crash_recovery(struct faults *f, uint32_t host)
{
    sim_process_crash_in_recovery(cluster_host(f->cluster, host), rng_range(&f->rng, 1, 30));
    end_and_boot(f, host, SIM_END_HOST);
    return true;
}

static void on_loop(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    uint32_t host = (uint32_t)(arg & 0xff);
    if (!faults_current(f, arg)) {
        return;
    }
    sim_process_end(cluster_host(f->cluster, host), SIM_END_CRASH);
    if (f->loops_left[host]-- > 1) {
        faults_later(f, rng_range(&f->rng, 1000, 60000), on_loop, host);
    }
}

bool fault_restart_loop(struct faults *f, uint32_t host)
{
    if (f->loops_left[host] > 0) {
        return false;
    }
    cluster_note(f->cluster, host, "fault: restart loop");
    f->loops_left[host] = (uint32_t)rng_range(&f->rng, 2, LOOPS_MAX);
    faults_later(f, 0, on_loop, host);
    return true;
}

bool fault_stop(struct faults *f, uint32_t host)
{
    cluster_note(f->cluster, host, "fault: planned stop");
    sim_process_stop(cluster_host(f->cluster, host));
    faults_later(f, faults_draw_while(f) + 10 * f->plan.unit_us, faults_on_boot, host);
    return true;
}

static void on_resume(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        sim_process_resume(faults_host(f, arg));
    }
}

bool fault_pause(struct faults *f, uint32_t host)
{
    cluster_note(f->cluster, host, "fault: pause");
    sim_process_pause(cluster_host(f->cluster, host));
    faults_later(f, faults_draw_while(f), on_resume, host);
    return true;
}
