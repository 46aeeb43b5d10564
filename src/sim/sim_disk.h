/* What can be made to go wrong with the disk of a simulated host, by name: for scenarios. The parts
 * are in sim_fs.h (what is on it) and sim_executor.h (how long it takes). */
#ifndef MK_SIM_SIM_DISK_H
#define MK_SIM_SIM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "sim/sim_process.h"

/* clang-format off */
#define SIM_DISK_KIND_TABLE(X)                                                                     \
    X(OK, ok)                   /* all of the below is over; what was flipped stays so */          \
    X(SLOW, slow)               /* each job takes slower_us longer */                              \
    X(STALL, stall)             /* nothing finishes within the next slower_us */                   \
    X(FSYNC_FAIL, fsync_fail)   /* the next sync of a file fails with EIO */                       \
    X(WRITE_FAIL, write_fail)   /* the next write fails with EIO, and may be done in part */       \
    X(READ_FAIL, read_fail)     /* every read fails with EIO */                                    \
    X(TORN, torn)               /* the host loses power in the middle of the next write */         \
    X(LOST_NAMES, lost_names)   /* at the next power loss, names that were not synced are gone */  \
    X(FULL, full)               /* ENOSPC once free_bytes more are written */                      \
    X(FLIP, flip)               /* one bit of a file is another, once it is read again */
/* clang-format on */

enum sim_disk_kind {
#define X(name, text) SIM_DISK_##name,
    SIM_DISK_KIND_TABLE(X)
#undef X
        SIM_DISK_KINDS
};

/* SIM_DISK_KINDS if there is none of this name. */
enum sim_disk_kind sim_disk_kind_by_name(const char *name);

struct sim_disk_fault {
    enum sim_disk_kind kind;
    bool of_scripts;       /* the disk with the files of scripts (sim_files.h); not torn, flip */
    uint64_t slower_us;    /* 0: SIM_DISK_SLOWER_US */
    uint64_t free_bytes;   /* full */
    const char *file;      /* flip: "wal/000000000000002a.log"; "log" (or NULL), "snapshot": the
                              newest of these */
    uint64_t offset_bytes; /* flip; 0: in the middle of what was written */
};
enum { SIM_DISK_SLOWER_US = 100000, SIM_DISK_NAME_BYTES = 128 };

/* The name of a file as in struct sim_disk_fault: "log" and "snapshot" stand for the newest of
 * these; "" if there is none. */
void sim_disk_find(struct sim_fs *fs, const char *file, char out[SIM_DISK_NAME_BYTES]);

/* OK is for both disks. Errors: NOT_FOUND (flip: there is no such file, or byte), INVALID. */
enum err sim_disk_fault(struct sim_process *p, const struct sim_disk_fault *fault, struct why *why);

#endif
