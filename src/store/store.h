/* The store: a node's write-ahead log, its term and vote, its identity, and whom it has met.
 *
 * It lives on two threads. The caller's (the loop) queues writes and hears what became durable; the
 * executor's (the disk thread) does the work. Nothing here but store_open() waits.
 *
 *     store_open(&options, &s, &recovered, &why);     // blocking; recovered entries by callback
 *     store_write(s, &write);                         // returns at once
 *     ... later, from the executor's done():  options.durable(ctx, write_seq, last)
 *
 * Group commit: while one batch is being written and synced, further writes gather, and go out as
 * the next batch when it returns: one write and one sync for all of them. Batch n+1 is written only
 * after the sync of batch n returned, so on the disk a later batch proves the earlier ones.
 *
 * Failure: after the first error of a sync, or of a write other than for want of space, `failed` is
 * called once and nothing is ever reported durable again: a sync that is tried again lies.
 * A full disk is no failure: see store_accepts_entries().
 *
 * All functions are for the loop thread. No callback is made from inside a call into the store,
 * but for those of store_open(). Callbacks may call the store, except store_close(). */
#ifndef MK_STORE_STORE_H
#define MK_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "port/entropy.h"
#include "port/executor.h"
#include "port/fs.h"

struct store;
struct store_snapshot; /* snapshot.h */

enum {
    STORE_UUID_BYTES = 16,
    STORE_ENTRY_BYTES_MAX = 64 << 20, /* of one entry's body: more on the disk is damage */
};

/* The place of an entry; {0, 0} is before the first one. */
struct store_pos {
    uint64_t index;
    uint64_t term;
};

struct store_options {
    const struct fs_port *fs; /* opened on the data directory */
    const struct executor_port *disk;
    const struct entropy_port *entropy;
    const struct log *log;  /* may be NULL */
    uint64_t segment_bytes; /* 0: 8 MiB. Rounded up to whole pages. */
    uint64_t cluster_id;
    uint64_t node_id;
    const char *cluster_name; /* for people, in messages and in the identity file; NULL: the id */
    const char *node_name;

    void *ctx; /* of the callbacks */
    /* During store_open(): the snapshot in place, if there is one; its pairs in order of keys; that
     * was the last of them. What snapshot points to is valid as store_snapshot()'s. An error that
     * one of them returns ends store_open(). snapshot NULL: this store has no snapshots, and what
     * is compacted is gone. With it the other two are wanted as well. */
    enum err (*snapshot)(void *ctx, const struct store_snapshot *snapshot, struct why *why);
    enum err (*pair)(void *ctx, struct bytes key, struct bytes value);
    enum err (*snapshot_end)(void *ctx, struct why *why);
    /* Then: the entries of the log in order of index, from base.index + 1 on, so those that are in
     * the snapshot already and were kept, too. What store_open() recovered is filled in before the
     * first. body is borrowed. May be NULL. */
    void (*entry)(void *ctx, uint64_t index, uint64_t term, struct slice body);
    /* All writes up to and including write_seq are durable. last is the last entry of the write
     * write_seq itself, {0, 0} if that had none: what RAFT_EVENT_PERSISTED wants. */
    void (*durable)(void *ctx, uint64_t write_seq, struct store_pos last);
    /* Once: the disk failed. Nothing will be durable any more. */
    void (*failed)(void *ctx, enum err err, const struct why *why);
};

struct store_recovered {
    bool fresh; /* the data directory was empty: this node has never promised anything */
    uint8_t uuid[STORE_UUID_BYTES]; /* of this storage; new with each new data directory */
    uint64_t term;
    uint64_t vote;         /* 0: nobody */
    struct store_pos base; /* the log begins after it; {0, 0} if never compacted */
    struct store_pos last; /* the last entry; base if there is none */
    /* {0, 0}: none. base <= snapshot <= last, and the log's entry at snapshot.index, if it is still
     * there, has this term. */
    struct store_pos snapshot;
    /* A snapshot that was coming in, beyond the log; {0, 0}: none. store_receive() goes on at
     * incoming_bytes. */
    struct store_pos incoming;
    uint64_t incoming_bytes;
};

/* Opens or creates the store in the directory of options->fs: locks it, checks whose it is,
 * recovers the log and makes all that it recovered durable. Blocking.
 * options is copied; what it points to must stay until store_close().
 *
 * Errors, each with a sentence in why (may be NULL) that names the file and what to do:
 *   ERR_LOCKED         another process has the directory open
 *   ERR_WRONG_CLUSTER  the directory belongs to another cluster
 *   ERR_WRONG_NODE     the directory belongs to another node of this cluster
 *   ERR_CORRUPT        damage that is not the torn end of the last write; nothing was changed
 *   ERR_VERSION        written by a version with another format
 *   ERR_IO, ERR_NO_SPACE */
enum err store_open(const struct store_options *options, struct store **out,
                    struct store_recovered *recovered, struct why *why);

/* Frees the store and releases the lock. The executor must be at rest: stopped after its last job
 * was done (an orderly stop), or never to run again (a crash in simulation). Writes not yet durable
 * are dropped without a report; call store_idle() before to know. Accepts NULL. */
void store_close(struct store *s);

/* ---- writing -------------------------------------------------------------------------------- */

struct store_entry {
    uint64_t term;
    struct slice body;
};

/* Carried out as one: first term and vote, then the truncation, then the entries. After a crash a
 * prefix of these, in this order, may be found. */
struct store_write {
    uint64_t write_seq; /* the caller's number, ascending */
    bool hard_state;    /* term and vote are given */
    uint64_t term;
    uint64_t vote;
    uint64_t truncate_from; /* 0: none; else entries >= it are dropped; never <= the base */
    uint64_t lo;            /* index of entries[0]; with count > 0 it continues the log */
    uint32_t count;
    const struct store_entry *entries; /* the store takes its own references */
};

/* Queues a write; never waits, never fails. Reported by `durable`, or `failed`, or, while the disk
 * is full, neither until there is space again. */
void store_write(struct store *s, const struct store_write *write);

/* False while the disk is full: refuse proposals and appends with ERR_NO_SPACE. What was queued
 * already, and term and vote, still find room (one segment is held in reserve for them). Becomes
 * true by itself once there is space; see store_poll(). */
bool store_accepts_entries(const struct store *s);

/* To be called about once a second: looks for space when the disk was full. */
void store_poll(struct store *s);

/* True when nothing is queued or under way, reads included. */
bool store_idle(const struct store *s);

/* ---- reading -------------------------------------------------------------------------------- */

/* A read of entries [lo, hi). The caller owns it and keeps it until done() was called; zero it
 * before use. */
struct store_read {
    uint64_t lo, hi;
    size_t bytes_max;                   /* of bodies; at least one entry is given all the same */
    void (*done)(struct store_read *r); /* on the loop */
    void *ctx;

    /* The result, until store_read_close(). ERR_OK: entries lo, lo + 1, ... lo + count - 1; fewer
     * than asked for when bytes_max is reached, a segment ends (go on from lo + count), or the rest
     * is not written yet (then count may be 0).
     * ERR_NOT_FOUND: lo was compacted. ERR_CORRUPT, ERR_IO: with why.
     *
     * The entries are those of the log as it stood on the disk when the read ran. A truncation that
     * was queued since may have replaced them: use an entry only if its term is still that of its
     * index in the caller's log. (index, term) identifies the content. */
    enum err err;
    struct why why;
    uint32_t count;
    struct store_entry *entries; /* slices of one block */

    struct executor_job job; /* the store's */
    struct store *store;
};

/* Starts a read. done() is called later, never from inside. */
void store_read(struct store *s, struct store_read *read);
/* Frees the result; the struct may be used again. */
void store_read_close(struct store_read *read);

/* ---- compaction ----------------------------------------------------------------------------- */

/* The entries up to and including upto are no longer needed: something durable (a snapshot)
 * contains their effect. upto must be in the log and durable; at or below the base it does nothing.
 * Whole segments that hold nothing newer are recycled, later, on the disk thread. */
void store_compact(struct store *s, struct store_pos upto);

/* ---- peers ---------------------------------------------------------------------------------- */

/* Node id presents the storage with this UUID. ERR_OK: it is the one known, or the first one heard
 * of, which is remembered from now on (durably soon after).
 * ERR_WRONG_NODE: id was known with another storage: its disk was wiped or replaced. */
enum err store_known_peer(struct store *s, uint64_t id, const uint8_t uuid[STORE_UUID_BYTES]);

/* The member was removed: it may come back with a new storage. */
void store_forget_peer(struct store *s, uint64_t id);

/* ---- looking -------------------------------------------------------------------------------- */

struct store_status {
    uint64_t batches;       /* written and synced since the start */
    uint64_t writes;        /* in those */
    uint64_t bytes;         /* in those, on the disk */
    uint64_t queued_writes; /* not yet durable */
    uint64_t segments;      /* of the log, without spares */
    uint64_t spares;        /* ready for use */
    uint64_t log_bytes;     /* from the first entry after the base to the end of the log */
    bool full;
    bool failed;
};

void store_status(const struct store *s, struct store_status *out);

#endif
