/* Who can still see a piece of the tree, and freeing it when nobody can.
 *
 * A snapshot shares the tree with what comes after it. Time is counted in epochs, one per snapshot:
 * whatever is reachable from the present root can be seen by the snapshots since it was born, so
 * one comparison with the newest of them says whether it may be changed in place or has to be
 * copied. What the copy replaces (is *retired*) goes on the list of the newest snapshot, if that
 * can see it. When a snapshot is released, its list is gone through bit by bit: a piece that an
 * older snapshot sees moves to that one's list, others are freed.
 *
 * All of this is done by the owner's thread, outside of the pieces themselves: a reader of a
 * snapshot meets no lock, no atomic and no write. */
#ifndef MK_STATE_LIFETIME_H
#define MK_STATE_LIFETIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "state/pool.h"
#include "state/tree.h"

struct retired_chunk;

struct state_snapshot {
    struct object object;
    struct tree tree;
    uint32_t epoch;                /* it sees what was born up to here */
    struct retired_chunk *retired; /* while this was the newest to see it */
    TAILQ_ENTRY(state_snapshot) link;
};
TAILQ_HEAD(snapshot_list, state_snapshot);

struct doomed_tree;
STAILQ_HEAD(doomed_list, doomed_tree);

struct lifetime {
    uint32_t epoch;                /* the present: that of the next snapshot */
    uint32_t newest;               /* epoch of the newest live snapshot; 0 if none */
    struct snapshot_list live;     /* newest first */
    struct snapshot_list released; /* their lists wait to be gone through */
    struct doomed_list doomed;
    struct pool pool;
    uint64_t object_bytes;
    uint64_t other_bytes; /* of lists and snapshots */
};

void lifetime_init(struct lifetime *l);
/* No snapshot is live, nothing waits. */
void lifetime_close(struct lifetime *l);

/* Memory that begins with a struct object, filled in. */
void *lifetime_alloc(struct lifetime *l, size_t size_bytes);
/* A snapshot sees this piece of the present tree: it must not be changed. */
static inline bool lifetime_is_shared(const struct lifetime *l, const struct object *o)
{
    return o->born <= l->newest;
}
/* The present tree has no more use for it. */
void lifetime_retire(struct lifetime *l, struct object *o);
/* The same for everything under root, bit by bit. Accepts NULL. */
void lifetime_retire_tree(struct lifetime *l, struct state_node *root);

struct state_snapshot *lifetime_snapshot(struct lifetime *l, const struct tree *present);
void lifetime_release(struct lifetime *l, struct state_snapshot *snapshot);
/* Free or move at most steps_max pieces, or fewer large ones: each 4 KiB that go back to the system
 * are a step too. False when nothing waits any more. */
bool lifetime_reclaim(struct lifetime *l, size_t steps_max);
static inline bool lifetime_has_waiting(const struct lifetime *l)
{
    return !TAILQ_EMPTY(&l->released) || !STAILQ_EMPTY(&l->doomed) || pool_has_empty(&l->pool);
}

#endif
