#include "sim/sim_disk.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/sim_process_internal.h"

enum sim_disk_kind sim_disk_kind_by_name(const char *name)
{
    static const char *const names[] = {
#define X(name_, text) #text,
        SIM_DISK_KIND_TABLE(X)
#undef X
    };
    unsigned kind = 0;
    while (kind < SIM_DISK_KINDS && strcmp(names[kind], name) != 0) {
        kind++;
    }
    return (enum sim_disk_kind)kind;
}

/* ---- flips ----------------------------------------------------------------------------------- */

struct search {
    const char *dir;
    const char *ending;
    char found[SIM_DISK_NAME_BYTES]; /* with its directory; "": nothing yet */
};

/* Names ascend, and with them what the files hold. */
static void take_last(void *arg, const char *name)
{
    struct search *s = arg;
    size_t size = strlen(name);
    size_t ending = strlen(s->ending);
    if (size >= ending && strcmp(name + size - ending, s->ending) == 0) {
        snprintf(s->found, sizeof s->found, "%s/%s", s->dir, name);
    }
}

void sim_disk_find(struct sim_fs *fs, const char *file, char out[SIM_DISK_NAME_BYTES])
{
    bool log = file == NULL || strcmp(file, "log") == 0;
    bool snapshot = !log && strcmp(file, "snapshot") == 0;
    if (!log && !snapshot) {
        snprintf(out, SIM_DISK_NAME_BYTES, "%s", file);
        return;
    }
    struct search s = {.dir = log ? "wal" : "snapshot", .ending = log ? ".log" : ".snap"};
    const struct fs_port *port = sim_fs_port(fs);
    port->v->list(port->ctx, s.dir, take_last, &s);
    memcpy(out, s.found, SIM_DISK_NAME_BYTES);
}

static enum err flip(struct sim_fs *fs, const struct sim_disk_fault *fault, struct why *why)
{
    char file[SIM_DISK_NAME_BYTES];
    sim_disk_find(fs, fault->file, file);
    uint64_t offset =
        fault->offset_bytes != 0 ? fault->offset_bytes : sim_fs_written_bytes(fs, file) / 2;
    if (file[0] == 0) {
        return err_why(why, ERR_NOT_FOUND, "there is no file to flip a bit of");
    }
    if (!sim_fs_flip(fs, file, offset, 1)) {
        return err_why(why, ERR_NOT_FOUND, "there is no byte %" PRIu64 " in %s", offset, file);
    }
    return ERR_OK;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void heal_disk(struct sim_fs *fs, struct sim_executor *e)
{
    sim_fs_heal(fs);
    e->slower_us = 0;
    e->stall_until = 0;
    e->tear = false;
}

static void heal(struct sim_process *p)
{
    heal_disk(sim_process_disk(p), sim_process_executor(p));
    if (sim_files_used(p->files)) {
        heal_disk(sim_files_disk(p->files), sim_files_executor(p->files));
    }
}

enum err sim_disk_fault(struct sim_process *p, const struct sim_disk_fault *fault, struct why *why)
{
    if (fault->of_scripts && (fault->kind == SIM_DISK_TORN || fault->kind == SIM_DISK_FLIP)) {
        return err_why(why, ERR_INVALID, "torn and flip are for the disk of the log");
    }
    if (fault->kind == SIM_DISK_OK) {
        heal(p);
        return ERR_OK;
    }
    struct sim_fs *fs = fault->of_scripts ? sim_files_disk(p->files) : sim_process_disk(p);
    struct sim_executor *e =
        fault->of_scripts ? sim_files_executor(p->files) : sim_process_executor(p);
    uint64_t slower_us = fault->slower_us != 0 ? fault->slower_us : SIM_DISK_SLOWER_US;
    switch (fault->kind) {
    case SIM_DISK_SLOW:
        e->slower_us = slower_us;
        break;
    case SIM_DISK_STALL:
        sim_executor_stall(e, slower_us);
        break;
    case SIM_DISK_FSYNC_FAIL:
        sim_fs_fail(fs, SIM_FS_SYNC, 1, ERR_IO);
        break;
    case SIM_DISK_WRITE_FAIL:
        sim_fs_fail(fs, SIM_FS_WRITE, 1, ERR_IO);
        break;
    case SIM_DISK_READ_FAIL:
        sim_fs_fail_reads(fs);
        break;
    case SIM_DISK_TORN:
        e->tear = true;
        break;
    case SIM_DISK_LOST_NAMES:
        sim_fs_lose_names(fs);
        break;
    case SIM_DISK_FULL:
        sim_fs_set_capacity(fs, sim_fs_used_bytes(fs) + fault->free_bytes);
        break;
    case SIM_DISK_FLIP:
        return flip(fs, fault, why);
    case SIM_DISK_OK:
    case SIM_DISK_KINDS:
        return err_why(why, ERR_INVALID, "no such disk fault");
    }
    return ERR_OK;
}
