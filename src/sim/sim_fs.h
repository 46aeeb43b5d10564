/* A simulated disk: struct fs_port in memory, for one node. What is on it survives its processes.
 *
 * It keeps apart what was written and what would survive a crash of the machine, exactly as
 * port/fs.h promises and not more:
 *   - Each write that was not synced is, when the host crashes, kept, dropped or torn, each for
 *     itself: torn at a byte, or with any of its 512-byte sectors missing.
 *   - The names of a directory change in order: of the changes not yet synced a random number of
 *     the first survive (as with a journalling file system). Directories are independent.
 *   - After a sync that failed, what it should have synced can still be read, and later syncs
 *     succeed, but these bytes never become durable (as Linux does it) unless written again.
 *   - A crash of the process loses nothing, but open files and locks end.
 *
 * Jobs. The executor of the simulation runs a disk job all at once when it starts, and reports it
 * done later. Between sim_fs_job_begin() and sim_fs_job_end() a crash therefore goes back in time:
 * a random number of the first operations of the job have happened, the next may have happened in
 * part, the rest never did.
 *
 * Files are sparse: a page takes memory once something other than zeroes was written to it. */
#ifndef MK_SIM_SIM_FS_H
#define MK_SIM_SIM_FS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "port/fs.h"

struct sim_fs;

/* path: what fs_vtable.path() answers. All randomness (of crashes) comes from seed. */
struct sim_fs *sim_fs_new(uint64_t seed, const char *path);
/* Files still open end with it: do not use them any more. Accepts NULL. */
void sim_fs_free(struct sim_fs *fs);

/* Lives as long as fs. */
const struct fs_port *sim_fs_port(struct sim_fs *fs);

/* Around the run() of a disk job: begin before it, end when its done() is due. */
void sim_fs_job_begin(struct sim_fs *fs);
void sim_fs_job_end(struct sim_fs *fs);

/* A crash, of the process or of the whole machine. Files that were open are not usable any more
 * (ERR_IO) but may and should be closed, now or later. A job under way ends (no job_end). */
void sim_fs_crash_process(struct sim_fs *fs);
void sim_fs_crash_host(struct sim_fs *fs);

/* ---- faults --------------------------------------------------------------------------------- */

enum sim_fs_kind {
    SIM_FS_READ = 1 << 0,
    SIM_FS_WRITE = 1 << 1,
    SIM_FS_SYNC = 1 << 2,
    SIM_FS_ALLOCATE = 1 << 3, /* allocate and truncate */
    SIM_FS_NAMES = 1 << 4,    /* creating, renaming, removing, making a directory */
    SIM_FS_SYNC_DIR = 1 << 5,
    SIM_FS_ANY = (1 << 6) - 1,
};

/* The nth operation from now (1: the next) among these kinds fails once with err. A write that
 * fails may have been done in part. Replaces an earlier call. */
void sim_fs_fail(struct sim_fs *fs, unsigned kinds, uint64_t nth, enum err err);
/* Every read fails with ERR_IO from now on. */
void sim_fs_fail_reads(struct sim_fs *fs);
/* The disk dies after that many further changing operations (of all kinds but reads): the next has
 * no effect or, if it is a write, part of it; it and all others fail with ERR_IO until a crash. */
void sim_fs_stop_after(struct sim_fs *fs, uint64_t operations);
/* No more than that many bytes in all files together; UINT64_MAX: no limit. */
void sim_fs_set_capacity(struct sim_fs *fs, uint64_t capacity_bytes);
/* At the next crash of the host no change of a name survives that was not synced. */
void sim_fs_lose_names(struct sim_fs *fs);
/* Ends all the above. */
void sim_fs_heal(struct sim_fs *fs);
/* The last write of the job under way is to be cut in two by the crash that comes now: part of it
 * is on the disk afterwards, the rest is not. False if the job has written nothing. */
bool sim_fs_tear(struct sim_fs *fs);
/* Inverts bits of one byte, on the disk itself. False if there is no such file or byte. */
bool sim_fs_flip(struct sim_fs *fs, const char *name, uint64_t offset_bytes, uint8_t mask);
/* Has any bit ever been? */
bool sim_fs_was_flipped(const struct sim_fs *fs);
/* Bytes of the file up to its last that is not zero; 0 if there is no such file. */
uint64_t sim_fs_written_bytes(const struct sim_fs *fs, const char *name);

/* Changing operations since sim_fs_new(). */
uint64_t sim_fs_operations(const struct sim_fs *fs);
/* Syncs of files that succeeded, since sim_fs_new(). */
uint64_t sim_fs_syncs(const struct sim_fs *fs);
uint64_t sim_fs_used_bytes(const struct sim_fs *fs);
/* Faults that were felt, since sim_fs_new(). */
struct sim_fs_felt {
    uint64_t failed;  /* operations, as sim_fs_fail() asked for */
    uint64_t no_room; /* operations refused for lack of space */
};
struct sim_fs_felt sim_fs_felt(const struct sim_fs *fs);

#endif
