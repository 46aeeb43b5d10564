/* Snapshots: files that hold all effects of the log up to one entry. The node saves them from a
 * root of its state, streams them to others, receives and loads theirs; the log is compacted below
 * them, or restarted after one that came in.
 *
 *     store_save(s, &save);                  // a root of the state becomes the snapshot in place
 *     store_hold(s), store_piece(s, &p);     // leader: reading it piece by piece, to send it
 *     store_receive(s, &chunk);              // follower: the pieces of another node's
 *     store_load(s, &load);                  // its pairs, block by block
 *     store_install(s, &install);            // it is in place now, and the log begins after it
 *
 * The same state at the same index gives the same bytes on every node, so that a transfer can go
 * on from another node's copy: nothing in a file says who wrote it or when.
 *
 * All work is done on the disk thread in short jobs, one handed in when the one before is done, so
 * that a batch of the log never waits for more than one of them. All functions are for the loop
 * thread; no done() is called from inside a call into the store. The structs are the caller's, to
 * be zeroed before use and kept until done() was called. After a failure of the disk (`failed`),
 * done() is still called, with ERR_IO. In a store that was opened without options.snapshot there
 * are no snapshots, and these functions must not be called, but for store_snapshot(). */
#ifndef MK_STORE_SNAPSHOT_H
#define MK_STORE_SNAPSHOT_H

#include "state/state.h"
#include "store/store.h"

enum { STORE_ABOUT_BYTES_MAX = 64 << 10 };

/* What is known of a snapshot without loading it. */
struct store_snapshot {
    struct store_pos last;  /* it holds the effects of all entries up to this one */
    uint64_t bytes;         /* of the file */
    uint64_t pairs;         /* keys with their values */
    struct state_hash hash; /* of these, as state_hash() */
    struct bytes about;     /* what the node has to say of it besides, opaque here */
};

/* The one in place; last {0, 0}: there is none. Valid until the next save or install is done. */
const struct store_snapshot *store_snapshot(const struct store *s);

/* ---- saving --------------------------------------------------------------------------------- */

struct store_save {
    struct store_pos last;             /* committed, and written with store_write() before */
    struct bytes about;                /* at most STORE_ABOUT_BYTES_MAX; copied */
    const struct state_snapshot *root; /* the caller keeps it until done() */
    void (*done)(struct store_save *save);
    void *ctx;

    /* The result. ERR_OK: it is in place, durable; the one before is removed once nobody holds it.
     * ERR_EXISTS: the one in place is as new (also when that one was installed meanwhile).
     * ERR_NO_SPACE: the old one is in place; try again later. ERR_CANCELLED: see store_cancel().
     * ERR_IO: the disk failed. */
    enum err err;
    struct why why;
};

/* One at a time: see store_saving(). */
void store_save(struct store *s, struct store_save *save);
bool store_saving(const struct store *s);

/* For an orderly stop: a save or a verification under way ends at its next step, with
 * ERR_CANCELLED. Nothing that is in place changes. */
void store_cancel(struct store *s);

/* ---- sending -------------------------------------------------------------------------------- */

/* Keeps the file of the snapshot in place until released, whatever takes its place. NULL: there is
 * none. Each hold wants one unhold. */
const struct store_snapshot *store_hold(struct store *s);
void store_unhold(struct store *s, const struct store_snapshot *held);

struct store_piece {
    const struct store_snapshot *held;
    uint64_t offset_bytes; /* <= held->bytes */
    size_t bytes_max;      /* > 0 */
    void (*done)(struct store_piece *piece);
    void *ctx;

    /* The result, until slice_close(&bytes). ERR_CORRUPT, ERR_IO: the file cannot be read. */
    enum err err;
    struct why why;
    struct slice bytes;
    bool end; /* the file ends with these */

    struct executor_job job; /* the store's */
    struct store *store;
};

void store_piece(struct store *s, struct store_piece *piece);

/* ---- receiving ------------------------------------------------------------------------------ */

struct store_receive {
    struct store_pos last; /* of the snapshot that the chunk is of */
    uint64_t offset_bytes; /* 0: begins anew and drops what came in before */
    struct slice bytes;    /* the caller keeps it until done() */
    bool end;              /* the last chunk: the whole is verified */
    void (*done)(struct store_receive *chunk);
    void *ctx;

    /* The result. ERR_OK: stored. With end: the whole is sound, of this cluster, of this last, and
     * durable: see store_incoming(). What came in before that may survive a restart, in part:
     * store_recovered.incoming.
     * ERR_INVALID: it does not continue what came in. ERR_CORRUPT, ERR_VERSION, ERR_WRONG_CLUSTER:
     * the whole is not what it should be, and was dropped. ERR_NO_SPACE: dropped, too.
     * ERR_BUSY: another one is being verified or installed. ERR_CANCELLED. ERR_IO. */
    enum err err;
    struct why why;

    struct executor_job job; /* the store's */
    struct store *store;
};

/* Several may be on their way. */
void store_receive(struct store *s, struct store_receive *chunk);
/* What came in whole and sound and waits to be loaded and installed. NULL: nothing. Valid until
 * it is installed or dropped. */
const struct store_snapshot *store_incoming(const struct store *s);
/* It, which is not NULL, will not be installed (its state could not be loaded, say). */
void store_drop_incoming(struct store *s);

/* ---- loading -------------------------------------------------------------------------------- */

/* Reads a snapshot from its beginning to its end:
 *
 *     load = {.incoming = true, .done = on_block};  store_load(s, &load);
 *     on_block: while (store_load_pair(load, &key, &value)) ...   // in slices, as time allows
 *               load->end or load->err ? store_load_close(load) : store_load(s, load) */
struct store_load {
    bool incoming; /* store_incoming(), else the one in place (which the load holds) */
    void (*done)(struct store_load *load);
    void *ctx;

    /* The result. ERR_OK: a block of pairs is there, or (end) there are no more. ERR_CORRUPT,
     * ERR_IO: with why. */
    enum err err;
    struct why why;
    bool end;

    struct store_load_state *state; /* the store's */
    struct executor_job job;
    struct store *store;
};

/* Asks for the next block, the first one at first. */
void store_load(struct store *s, struct store_load *load);
/* Takes the next pair of the block. Borrowed until the next call of store_load. False: no more in
 * this block. */
bool store_load_pair(struct store_load *load, struct bytes *key, struct bytes *value);
/* At any time but between store_load() and done(). Accepts a zeroed object. */
void store_load_close(struct store_load *load);

/* ---- installing ----------------------------------------------------------------------------- */

struct store_install {
    void (*done)(struct store_install *install);
    void *ctx;

    /* The result. ERR_OK: durable. The snapshot is in place, the log is empty and begins after it;
     * term and vote are as they were. ERR_IO. */
    enum err err;
    struct why why;
};

/* Puts store_incoming() in place and restarts the log. In order with store_write(): what was
 * queued before is written before, and what is queued from now on continues the snapshot. While the
 * disk is full it waits as a write does. */
void store_install(struct store *s, struct store_install *install);

#endif
