/* The store as its own files see it: what waits, what is under way, and the jobs that carry it to
 * the disk thread. Private.
 *
 *     store.c             queues, jobs, group commit
 *     open.c              opening and closing
 *     snapshot_files.c    which snapshot is in place, who holds which, removing the others
 *     snapshot_save.c     saving        snapshot_send.c   reading pieces of one
 *     snapshot_receive.c  one comes in  snapshot_load.c   the pairs of one
 *     snapshot_open.c     finding out at the start which one counts
 *
 * A job's run() is on the disk thread and touches the wal and what the job carries, nothing else;
 * all else here is the loop's. */
#ifndef MK_STORE_STORE_INTERNAL_H
#define MK_STORE_STORE_INTERNAL_H

#include <sys/queue.h>

#include "store/peers.h"
#include "store/snapshot.h"
#include "store/snapshot_reader.h"
#include "store/snapshot_writer.h"
#include "store/store.h"
#include "store/wal.h"

/* Writes in order, with references to their entries' bodies. */
struct write_list {
    struct wal_write *writes;
    size_t count;
    size_t capacity;
    struct store_entry *entries; /* of all writes, in order */
    size_t entries_count;
    size_t entries_capacity;
};

/* What a job left of the wal, for the loop to look at while the next one runs. */
struct wal_summary {
    uint64_t segments;
    uint64_t spares;
    uint64_t log_bytes;
    bool upkeep_wanted;
};

/* How a job ended. */
struct outcome {
    enum err err;
    struct why why;
    struct wal_summary wal;
};

struct batch_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct write_list list;
    size_t next;    /* the writes before it are durable */
    size_t done;    /* result: how many from next on became so */
    uint64_t bytes; /* result: of these, on the disk */
    bool published; /* the snapshot that the next write restarts the log after has its name */
    struct outcome outcome;
};

struct upkeep_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct outcome outcome;
};

struct peers_job {
    struct executor_job job;
    struct store *store;
    bool running;
    struct buffer text;
    struct outcome outcome;
};

/* ---- snapshots ------------------------------------------------------------------------------ */

/* A file on the disk that can be read. */
struct snapshot_file {
    struct store_snapshot known; /* about is a copy */
    uint32_t holds;
    bool named; /* else it is SNAPSHOT_INCOMING */
    bool in_place;
    LIST_ENTRY(snapshot_file) link;
};

struct save_job {
    struct executor_job job;
    struct store *store;
    struct store_save *request; /* NULL: none under way */
    enum save_step { SAVE_WRITE, SAVE_PUBLISH, SAVE_DISCARD, SAVE_NOTHING } step;
    struct snapshot_writer writer;
    bool cancelled;
    enum err verdict; /* after SAVE_DISCARD and SAVE_NOTHING */
    bool whole;       /* results: of SAVE_WRITE */
    bool published;   /* of SAVE_PUBLISH; else the log has to come that far first */
    struct outcome outcome;
};

/* The snapshot that comes in. */
struct receiver {
    enum { RECEIVE_PARTS, RECEIVE_VERIFY, RECEIVE_WHOLE } phase; /* the loop's */
    uint32_t chunks_running;
    bool cancelled;

    /* The disk thread's. */
    struct fs_file *file; /* NULL: nothing has come in, or all of it */
    struct store_pos last;
    uint64_t bytes;
    uint64_t unsynced;

    /* Verifying: a job of its own, step by step. */
    struct executor_job job;
    struct store *store;
    struct store_receive *request; /* the last chunk's */
    struct snapshot_reader reader;
    bool verified;
    struct outcome outcome;

    struct snapshot_file *whole; /* store_incoming() */
};

struct refusal_job {
    struct executor_job job;
    struct store *store;
};

struct removal_job {
    struct executor_job job;
    struct store *store;
    bool running;
    char (*names)[SNAPSHOT_NAME_BYTES]; /* those to be removed after the one under way */
    size_t names_count;
    char name[SNAPSHOT_NAME_BYTES];
    enum err err;
};

struct snapshots {
    bool enabled;
    LIST_HEAD(, snapshot_file) files;
    struct snapshot_file *in_place; /* NULL: none */
    struct save_job save;
    struct receiver receiver;
    struct store_install *install; /* its write is queued */
    struct refusal_job refusal;    /* of an install, after the disk failed */
    struct removal_job removal;
    uint64_t reads_running; /* pieces and loads */
};

struct store {
    struct store_options options;
    struct fs_file *lock;
    struct wal wal; /* the disk thread's, once store_open() has returned */
    struct peers peers;
    struct write_list waiting;
    struct batch_job batch;
    struct upkeep_job upkeep;
    struct peers_job peers_job;
    struct snapshots snapshots;
    uint64_t reads_running;
    uint64_t last_seq;  /* of the last write taken */
    uint64_t compacted; /* base.index, once all is written */
    bool upkeep_wanted;
    struct store_status status;
};

/* ---- store.c -------------------------------------------------------------------------------- */

/* The jobs of a store that is being opened. */
void store_init_jobs(struct store *s);
void store_close_jobs(struct store *s);
/* The disk failed: reported once. */
void store_fail(struct store *s, enum err err, const struct why *why);
void store_set_full(struct store *s, bool full, const char *reason);
void store_summarise(struct wal *w, struct wal_summary *out);
void store_take_summary(struct store *s, const struct wal_summary *wal);
void store_start_upkeep(struct store *s);

/* ---- snapshot_files.c ----------------------------------------------------------------------- */

void snapshots_init(struct store *s);
void snapshots_close(struct store *s);
bool snapshots_idle(const struct store *s);
/* Copies what known points to. */
struct snapshot_file *snapshots_add(struct store *s, const struct store_snapshot *known);
void snapshots_forget(struct snapshot_file *file);
/* It has its name. What was in place is removed once nobody holds it. */
void snapshots_put_in_place(struct store *s, struct snapshot_file *file);
void snapshots_release(struct store *s, struct snapshot_file *file);
/* Removes a file when there is time. */
void snapshots_remove(struct store *s, const char *name);

/* ---- snapshot_save.c, snapshot_receive.c ---------------------------------------------------- */

void snapshot_save_init(struct store *s);
void snapshot_save_close(struct store *s);
void snapshot_receive_init(struct store *s);
void snapshot_receive_close(struct store *s);

/* On the disk thread: the whole that came in gets its name, durably. */
enum err snapshot_publish_incoming(const struct fs_port *fs, struct store_pos last,
                                   struct why *why);
/* On the disk thread: one was saved here, so what came in so far of one that is not newer is of no
 * use any more. */
void snapshot_drop_overtaken(struct store *s, struct store_pos saved);
/* On the loop: the log was restarted after it, or err: the disk failed. */
void snapshot_install_done(struct store *s, enum err err, const struct why *why);

/* ---- snapshot_open.c ------------------------------------------------------------------------ */

/* Whether the directory, which has no identity, holds a snapshot. */
enum err snapshots_found(struct store *s, bool *found, struct why *why);
/* With the log recovered: which snapshot counts; clears away what was left over, restarts the log
 * if it does not reach the snapshot. Errors: as store_open(). */
enum err snapshots_recover(struct store *s, struct why *why);
/* Hands its pairs to the callbacks. */
enum err snapshots_deliver(struct store *s, struct why *why);

/* ---- snapshot_resume.c ---------------------------------------------------------------------- */

/* With the log and the snapshot in place known: keeps what had come in of another one, if that is
 * sound and wanted; receiver.last says so. Errors: as store_open(). */
enum err snapshots_resume(struct store *s, struct why *why);

#endif
