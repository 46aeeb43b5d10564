/* What the parts of the simulated disk share. Private.
 *
 *     sim_fs.c         its life, the faults it is told to have, what it counts
 *     sim_fs_port.c    the operations of struct fs_port
 *     sim_fs_inode.c   the bytes of a file
 *     sim_fs_names.c   the names on the disk
 *     sim_fs_change.c  what was done and is not yet durable
 *     sim_fs_job.c     the job under way, and going back within it
 *     sim_fs_crash.c   what a crash leaves
 *
 * The inodes and names are as a running process sees them. What would survive a crash is these with
 * some of the changes taken back. */
#ifndef MK_SIM_SIM_FS_INTERNAL_H
#define MK_SIM_SIM_FS_INTERNAL_H

#include <stddef.h>
#include <sys/queue.h>

#include "base/rng.h"
#include "sim/sim_fs.h"

#define NEVER UINT64_MAX

struct inode {
    uint64_t size;
    uint8_t **pages; /* NULL: zeroes. Beyond size all bytes are zero. */
    size_t pages_count;
    uint32_t references; /* of names, open files and changes */
    const struct fs_file *locked_by;
};

struct name {
    char *text;
    struct inode *inode; /* NULL: a directory */
};

struct fs_file {
    struct sim_fs *fs;
    struct inode *inode;
    bool writable;
    uint64_t epoch; /* of the process that opened it */
    LIST_ENTRY(fs_file) link;
};

/* Something that was done and is not yet durable, with what is needed to take it back. */
struct change {
    TAILQ_ENTRY(change) link;
    enum { CHANGE_WRITE, CHANGE_SIZE, CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE } kind;
    uint64_t operation;
    uint64_t synced_by;  /* the operation of the job under way that made it durable, or NEVER */
    struct inode *inode; /* changed, created, or removed; NULL: a directory was made */
    /* WRITE, SIZE: data are the bytes that the file does not have: the old ones while the change
     * stands, the new ones while it is taken back. NULL: no bytes differ. */
    bool lost; /* by a failed sync */
    bool torn; /* part of it survives the crash, whatever else does */
    uint64_t offset;
    uint64_t length;
    uint8_t *data;
    uint64_t old_size, new_size;
    /* CREATE, REMOVE: from. RENAME: from, to and what to named before. */
    char *from, *to;
    struct inode *displaced;
};

struct sim_fs {
    struct fs_port port;
    char *path;
    struct rng rng;
    struct name *names; /* sorted */
    size_t names_count;
    LIST_HEAD(, fs_file) files;
    TAILQ_HEAD(change_list, change) changes; /* in the order in which they were made */
    uint64_t epoch;
    uint64_t operations;
    uint64_t syncs; /* that succeeded */
    struct sim_fs_felt felt;
    bool in_job;
    uint64_t job_start; /* operations before it */
    unsigned fail_kinds;
    uint64_t fail_nth; /* 0: none */
    bool unreadable;
    enum err fail_err;
    uint64_t stop_at; /* operations */
    uint64_t capacity;
    bool lose_names;
    bool tear; /* the crash that comes now */
    bool flipped;
};

/* ---- the port ------------------------------------------------------------------------------- */

extern const struct fs_vtable sim_fs_vtable;

/* ---- faults --------------------------------------------------------------------------------- */

/* The next operation begins. False: it fails with *err; *partly if it happens in part first. */
bool sim_fs_enter(struct sim_fs *fs, enum sim_fs_kind kind, enum err *err, bool *partly);

/* ---- bytes of a file ------------------------------------------------------------------------ */

/* Both accept NULL. */
struct inode *sim_fs_inode_ref(struct inode *inode);
void sim_fs_inode_unref(struct inode *inode);

/* size bytes at offset, zeroes where there is no page; put leaves inode->size as it is. */
void sim_fs_inode_get(const struct inode *inode, uint64_t offset, uint8_t *out, uint64_t size);
void sim_fs_inode_put(struct inode *inode, uint64_t offset, const uint8_t *data, uint64_t size);
/* No page is there: all these bytes are zero. */
bool sim_fs_inode_is_hole(const struct inode *inode, uint64_t offset, uint64_t size);
bool sim_fs_all_zero(const uint8_t *data, size_t size);

/* ---- names ---------------------------------------------------------------------------------- */

/* NULL if there is none. Valid until a name is added or taken. */
struct name *sim_fs_name_find(const struct sim_fs *fs, const char *text);
/* Takes over the caller's reference of inode. */
void sim_fs_name_add_take(struct sim_fs *fs, const char *text, struct inode *inode);
/* Hands the name's reference of the inode to the caller. */
struct inode *sim_fs_name_take(struct sim_fs *fs, const char *text);

/* Length of the directory part: 3 for "wal/x", 0 for "x". */
size_t sim_fs_dir_length(const char *name);
/* dir: "." for the top. */
bool sim_fs_in_dir(const char *name, const char *dir);
/* The directory of that name is there. */
bool sim_fs_dir_exists(const struct sim_fs *fs, const char *name);

/* ---- changes -------------------------------------------------------------------------------- */

/* Takes over what content owns but its inode, which it references. */
struct change *sim_fs_change_add(struct sim_fs *fs, struct change content);
void sim_fs_change_free(struct sim_fs *fs, struct change *c);
/* Of a file's bytes or size; otherwise of names. */
bool sim_fs_change_is_data(const struct change *c);

/* Exchange [at, at + size) of the change's bytes with the file's. */
void sim_fs_change_exchange(struct change *c, uint64_t at, uint64_t size);
/* Take a change back. Only in the reverse of the order in which they were made. */
void sim_fs_change_undo(struct sim_fs *fs, struct change *c);
/* Of a change of bytes that was taken back: do it again, or size bytes of it at `at`. */
void sim_fs_change_redo(struct change *c);
void sim_fs_change_redo_part(struct change *c, uint64_t at, uint64_t size);
/* Frees it. */
void sim_fs_change_make_durable(struct sim_fs *fs, struct change *c);

/* ---- the job under way ---------------------------------------------------------------------- */

/* The change was synced: it is durable now, or once the job under way has come that far. */
void sim_fs_job_synced(struct sim_fs *fs, struct change *c);
/* The job under way, if there is one, got as far as it got. */
void sim_fs_job_interrupt(struct sim_fs *fs);

#endif
