/* Disks that hang, fail, are full, forget and rot. */
#include <string.h>

#include "base/assert.h"
#include "sim/sim_disk.h"
#include "sim/swarm_faults_internal.h"

bool fault_disk_stall(struct faults *f, uint32_t host)
{
    uint64_t stall_us = faults_draw_while(f);
    cluster_note(f->cluster, host, "fault: disk hangs for %.3f s", (double)stall_us / 1e6);
    sim_executor_stall(sim_process_executor(cluster_host(f->cluster, host)), stall_us);
    return true;
}

bool fault_disk_error(struct faults *f, uint32_t host)
{
    static const unsigned kinds[] = {SIM_FS_SYNC, SIM_FS_WRITE, SIM_FS_SYNC | SIM_FS_WRITE,
                                     SIM_FS_ANY & ~(unsigned)SIM_FS_READ, SIM_FS_ANY};
    struct sim_process *p = cluster_host(f->cluster, host);
    if (!sim_process_running(p)) {
        return false; /* an operator looks at a disk before starting from it */
    }
    unsigned kind = kinds[rng_range(&f->rng, 0, sizeof kinds / sizeof kinds[0])];
    cluster_note(f->cluster, host, "fault: an operation on the disk will fail");
    sim_fs_fail(sim_process_disk(p), kind, rng_range(&f->rng, 1, 8), ERR_IO);
    faults_later(f, faults_draw_while(f) + f->plan.unit_us, faults_on_boot, host);
    return true;
}

static void on_disk_space(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (faults_current(f, arg)) {
        sim_fs_set_capacity(sim_process_disk(faults_host(f, arg)), UINT64_MAX);
        faults_on_boot(ctx, arg);
    }
}

bool fault_disk_full(struct faults *f, uint32_t host)
{
    struct sim_fs *fs = sim_process_disk(cluster_host(f->cluster, host));
    cluster_note(f->cluster, host, "fault: disk full");
    /* Segments are allocated ahead: it is felt when the next ones are. */
    uint64_t room = rng_chance(&f->rng, 0.5) ? 0 : rng_range(&f->rng, 0, 2 * f->plan.segment_bytes);
    sim_fs_set_capacity(fs, sim_fs_used_bytes(fs) + room);
    faults_later(f, faults_draw_while(f) * 4, on_disk_space, host);
    return true;
}

bool fault_torn_write(struct faults *f, uint32_t host)
{
    struct sim_process *p = cluster_host(f->cluster, host);
    if (!sim_process_running(p)) {
        return false;
    }
    cluster_note(f->cluster, host, "fault: power fails in the middle of the next write");
    enum err e = sim_disk_fault(p, &(struct sim_disk_fault){.kind = SIM_DISK_TORN}, NULL);
    ASSERT(e == ERR_OK);
    faults_later(f, faults_draw_while(f) + f->plan.unit_us, faults_on_boot, host);
    return true;
}

bool fault_lost_names(struct faults *f, uint32_t host)
{
    sim_fs_lose_names(sim_process_disk(cluster_host(f->cluster, host)));
    return fault_crash_host(f, host);
}

/* ---- bits ----------------------------------------------------------------------------------- */

/* Between two jobs: whatever was written is on the disk. */
static bool is_at_rest(struct faults *f)
{
    struct sim_process *p = cluster_host(f->cluster, f->flip.host);
    return sim_process_running(p) && sim_process_executor(p)->running == NULL;
}

static void flip(struct faults *f, const char *file, uint64_t below_bytes)
{
    uint32_t host = f->flip.host;
    struct sim_fs *fs = sim_process_disk(cluster_host(f->cluster, host));
    uint64_t offset = rng_range(&f->rng, 0, below_bytes);
    uint8_t mask = (uint8_t)(1u << rng_range(&f->rng, 0, 8));
    if (sim_fs_flip(fs, file, offset, mask)) {
        cluster_note(f->cluster, host, "fault: a bit of byte %llu of %s flips",
                     (unsigned long long)offset, file);
        f->count[FAULT_BIT_FLIP]++;
    }
    if (rng_chance(&f->rng, 0.5)) { /* or it is found when somebody reads it */
        fault_crash(f, host);
    }
}

static void look_at_log(struct faults *f)
{
    struct sim_fs *fs = sim_process_disk(cluster_host(f->cluster, f->flip.host));
    sim_disk_find(fs, "log", f->flip.file);
    f->flip.written_bytes = sim_fs_written_bytes(fs, f->flip.file);
}

static void on_flip_log(void *ctx, uint64_t arg)
{
    struct faults *f = ctx;
    if (!faults_current(f, arg)) {
        return;
    }
    if (is_at_rest(f)) {
        const struct fault_flip seen = f->flip;
        look_at_log(f);
        if (strcmp(seen.file, f->flip.file) == 0 && f->flip.written_bytes > seen.written_bytes) {
            flip(f, seen.file, seen.written_bytes);
            return;
        }
    }
    faults_later(f, rng_range(&f->rng, 1, f->plan.unit_us / 2), on_flip_log, f->flip.host);
}

bool fault_bit_flip(struct faults *f, uint32_t host)
{
    if (f->flip.host != CLUSTER_NOBODY || cluster_members(f->cluster)->count < 3) {
        return false;
    }
    f->flip.host = host;
    struct sim_fs *fs = sim_process_disk(cluster_host(f->cluster, host));
    char snapshot[SIM_DISK_NAME_BYTES];
    sim_disk_find(fs, "snapshot", snapshot);
    if (snapshot[0] != 0 && is_at_rest(f) && rng_chance(&f->rng, 0.5)) {
        flip(f, snapshot, sim_fs_written_bytes(fs, snapshot));
    } else {
        faults_later(f, 0, on_flip_log, host);
    }
    return false; /* flip() counts those that came about */
}
