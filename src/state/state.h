/* The state of replicated machines: an ordered map from byte strings to byte strings, with an undo
 * journal, an incremental hash, and snapshots that are a root pointer.
 *
 * One thread owns a state and makes every call on it. Only a snapshot may be read elsewhere: its
 * reader calls the state_snapshot_ and cursor functions on it, and nothing else. Handing a snapshot
 * to its reader and getting it back must synchronise (a queue does).
 *
 * Keys and values are any bytes, of length zero too; order is that of bytes_compare. Arguments may
 * be borrowed from the same state.
 *
 * No call takes longer the more the state holds (beyond the depth of a tree), apart from state_free
 * and state_check. A call on a large value takes as long as copying and hashing it. */
#ifndef MK_STATE_STATE_H
#define MK_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

#define STATE_KEY_BYTES_MAX   4096
#define STATE_VALUE_BYTES_MAX (8 * 1024 * 1024)

struct state;
struct state_snapshot;

struct state *state_new(void);
/* Takes time in proportion to the contents: for the end of a process, or of a state emptied by a
 * restore and reclaimed. All snapshots must have been released. Accepts NULL. */
void state_free(struct state *s);

/* --- Reading and writing --- */

/* False if there is no such key. *value_out is borrowed until the next write. */
bool state_get(const struct state *s, struct bytes key, struct bytes *value_out);
/* Insert or replace.
 * Errors: ERR_TOO_LARGE (nothing has changed). */
enum err state_set(struct state *s, struct bytes key, struct bytes value);
/* False if there was no such key. */
bool state_delete(struct state *s, struct bytes key);
/* Keys in [lo, hi). An empty hi is no upper bound. */
struct state_range {
    struct bytes lo;
    struct bytes hi;
};
/* Delete the first keys of a range, at most count_max of them (each costs as much as state_delete).
 * Returns how many: fewer than count_max means that the range is empty now. */
size_t state_delete_range(struct state *s, struct state_range range, size_t count_max);
/* The same for all keys that begin with prefix. */
size_t state_delete_prefix(struct state *s, struct bytes prefix, size_t count_max);

/* --- Transactions: a rejected command leaves no trace, the hash included --- */

/* Writes from here are journaled. Outside of a transaction they take effect for good at once.
 * Transactions do not nest, and no snapshot or restore begins within one. */
void state_begin(struct state *s);
/* Commit and rollback take time in proportion to the writes of the transaction. */
void state_commit(struct state *s);
void state_rollback(struct state *s);
bool state_in_transaction(const struct state *s);

/* --- What the contents amount to --- */

/* The 128-bit sum of a hash of each entry: equal for equal contents, whatever the history and on
 * every machine; zero when empty. It finds nodes that went different ways. It is not proof against
 * someone who forges collisions. */
struct state_hash {
    uint64_t lo;
    uint64_t hi;
};
static inline bool state_hash_equal(struct state_hash a, struct state_hash b)
{
    return a.lo == b.lo && a.hi == b.hi;
}
struct state_hash state_hash(const struct state *s);
/* Entries. */
uint64_t state_count(const struct state *s);
/* Keys and values, without what it takes to hold them. */
uint64_t state_bytes(const struct state *s);
/* Allocated in all: the contents, the tree, and what snapshots keep or wait to be reclaimed. An
 * estimate (the allocator's own overhead is left out): for metrics, not for decisions that must be
 * the same on every node. */
uint64_t state_memory_bytes(const struct state *s);

/* --- Iteration in order --- */

#define STATE_HEIGHT_MAX 12

struct state_node;

/* A place in a state or snapshot. On the stack or wherever the caller likes; owns nothing.
 *
 *     struct state_cursor c;
 *     for (bool on = state_seek(&c, s, from); on; on = state_next(&c)) { ... c.key, c.value ... }
 *
 * A cursor outlives writes to its state: key and value are then no longer to be read, but
 * state_next goes on (at the cost of a seek) with the first key after the one it stood on, whether
 * or not that is still there. So a loop may delete or change what it passes. */
struct state_cursor {
    struct bytes key;   /* borrowed until the next write */
    struct bytes value; /* likewise */

    /* Private to cursor.c. */
    const struct state *state; /* NULL: over a snapshot */
    const struct state_node *root;
    uint64_t writes;
    size_t depth;
    struct {
        const struct state_node *node;
        size_t at;
    } path[STATE_HEIGHT_MAX];
    size_t last_size;
    uint8_t last[STATE_KEY_BYTES_MAX]; /* the key it stands on, to go on from after a write */
};

/* Go to the first key >= key. False if there is none (nor has the cursor a key then). */
bool state_seek(struct state_cursor *c, const struct state *s, struct bytes key);
bool state_seek_snapshot(struct state_cursor *c, const struct state_snapshot *snapshot,
                         struct bytes key);
/* Go to the next key. False at the end. The cursor must have a key. */
bool state_next(struct state_cursor *c);

/* --- Snapshots --- */

/* The contents as they are now, unchanged by later writes. O(1). Any number may live at a time. No
 * transaction or restore is open. */
struct state_snapshot *state_snapshot_take(struct state *s);
/* On the owner's thread, once nobody reads it. O(1): what only this snapshot held is freed in later
 * steps. */
void state_snapshot_release(struct state *s, struct state_snapshot *snapshot);
bool state_snapshot_get(const struct state_snapshot *snapshot, struct bytes key,
                        struct bytes *value_out);
struct state_hash state_snapshot_hash(const struct state_snapshot *snapshot);
uint64_t state_snapshot_count(const struct state_snapshot *snapshot);
uint64_t state_snapshot_bytes(const struct state_snapshot *snapshot);

/* Free what nothing can see any more, at most nodes_max pieces (each 4 KiB of a large one count as
 * another). False when nothing is left to do. Every write does a few by itself; the loop calls this
 * in slices when idle: 256 take some 25 us, and 0.2 ms where pages go back to the system. */
bool state_reclaim(struct state *s, size_t nodes_max);

/* --- Replacing everything: a snapshot that came from disk or from the leader --- */

/* The new contents are built beside the old, which stay readable until the end. No transaction is
 * open, and from here to the end there are no writes, transactions or new snapshots. */
void state_restore_begin(struct state *s);
/* Errors: ERR_CORRUPT (not greater than the key before), ERR_TOO_LARGE. The pair is not added; the
 * restore stays open. */
enum err state_restore_add(struct state *s, struct bytes key, struct bytes value);
/* Of what was added so far. */
struct state_hash state_restore_hash(const struct state *s);
/* Make the new contents the state. The old are reclaimed bit by bit. expected may be NULL.
 * Errors: ERR_CORRUPT (the hash is not the expected one: as state_restore_cancel). */
enum err state_restore_end(struct state *s, const struct state_hash *expected);
/* Give the new contents up. */
void state_restore_cancel(struct state *s);

/* For tests: walk everything, ASSERT each structural rule, recompute the hash. */
void state_check(const struct state *s);

#endif
