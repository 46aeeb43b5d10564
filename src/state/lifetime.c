#include "state/lifetime.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "state/node.h"

enum { CHUNK_CAPACITY = 254 };

struct retired_chunk {
    struct retired_chunk *next;
    size_t count;
    struct object *objects[CHUNK_CAPACITY];
};

/* A tree that was replaced as a whole, walked from the leaves up. */
struct doomed_tree {
    uint32_t epoch; /* snapshots before it may see the tree */
    size_t depth;
    struct {
        struct state_node *node;
        size_t at;
    } path[STATE_HEIGHT_MAX];
    STAILQ_ENTRY(doomed_tree) link;
};

void lifetime_init(struct lifetime *l)
{
    *l = (struct lifetime){.epoch = 1};
    TAILQ_INIT(&l->live);
    TAILQ_INIT(&l->released);
    STAILQ_INIT(&l->doomed);
}

void lifetime_close(struct lifetime *l)
{
    ASSERT(TAILQ_EMPTY(&l->live));
    ASSERT(!lifetime_has_waiting(l));
    ASSERT(l->object_bytes == 0);
    ASSERT(l->other_bytes == 0);
}

void *lifetime_alloc(struct lifetime *l, size_t size_bytes)
{
    ASSERT(size_bytes <= UINT32_MAX);
    struct object *o = alloc_bytes(size_bytes);
    o->born = l->epoch;
    o->size_bytes = (uint32_t)size_bytes;
    l->object_bytes += size_bytes;
    return o;
}

static void free_object(struct lifetime *l, struct object *o)
{
    ASSERT(l->object_bytes >= o->size_bytes);
    l->object_bytes -= o->size_bytes;
    free(o);
}

static void add_retired(struct lifetime *l, struct state_snapshot *snapshot, struct object *o)
{
    struct retired_chunk *chunk = snapshot->retired;
    if (chunk == NULL || chunk->count == CHUNK_CAPACITY) {
        chunk = alloc_bytes(sizeof *chunk);
        chunk->next = snapshot->retired;
        chunk->count = 0;
        snapshot->retired = chunk;
        l->other_bytes += sizeof *chunk;
    }
    chunk->objects[chunk->count++] = o;
}

/* Take one off the list. NULL if it is empty. */
static struct object *pop_retired(struct lifetime *l, struct state_snapshot *snapshot)
{
    struct retired_chunk *chunk = snapshot->retired;
    if (chunk == NULL) {
        return NULL;
    }
    ASSERT(chunk->count > 0);
    struct object *o = chunk->objects[--chunk->count];
    if (chunk->count == 0) {
        snapshot->retired = chunk->next;
        l->other_bytes -= sizeof *chunk;
        free(chunk);
    }
    return o;
}

/* A piece that was in the present tree until `epoch`: to the newest snapshot that sees it, if any.
 */
static void settle(struct lifetime *l, struct object *o, uint32_t epoch)
{
    struct state_snapshot *s = TAILQ_FIRST(&l->live);
    while (s != NULL && s->epoch >= epoch) {
        s = TAILQ_NEXT(s, link);
    }
    if (s != NULL && o->born <= s->epoch) {
        add_retired(l, s, o);
    } else {
        free_object(l, o);
    }
}

void lifetime_retire(struct lifetime *l, struct object *o)
{
    settle(l, o, l->epoch);
}

void lifetime_retire_tree(struct lifetime *l, struct state_node *root)
{
    if (root == NULL) {
        return;
    }
    struct doomed_tree *d = NEW(struct doomed_tree);
    d->epoch = l->epoch;
    d->depth = 1;
    d->path[0].node = root;
    STAILQ_INSERT_TAIL(&l->doomed, d, link);
    l->other_bytes += sizeof *d;
}

/* Settle one piece, or go down one step. A node's turn comes after all that is under it: until then
 * the walk needs it. */
static void walk_doomed(struct lifetime *l, struct doomed_tree *d)
{
    struct state_node *node = d->path[d->depth - 1].node;
    size_t at = d->path[d->depth - 1].at++;
    if (at == node->count) {
        d->depth--;
        settle(l, &node->object, d->epoch);
        return;
    }
    if (node->level > 0) {
        ASSERT(d->depth < STATE_HEIGHT_MAX);
        d->path[d->depth].node = node->children[at];
        d->path[d->depth].at = 0;
        d->depth++;
    }
    if (at >= node_first(node)) {
        settle(l, &node->keys[at]->object, d->epoch);
    }
}

static void reclaim_one(struct lifetime *l)
{
    struct state_snapshot *snapshot = TAILQ_FIRST(&l->released);
    if (snapshot != NULL) {
        struct object *o = pop_retired(l, snapshot);
        if (o != NULL) {
            settle(l, o, snapshot->epoch);
        } else {
            TAILQ_REMOVE(&l->released, snapshot, link);
            l->other_bytes -= sizeof *snapshot;
            free(snapshot);
        }
        return;
    }
    struct doomed_tree *d = STAILQ_FIRST(&l->doomed);
    walk_doomed(l, d);
    if (d->depth == 0) {
        STAILQ_REMOVE_HEAD(&l->doomed, link);
        l->other_bytes -= sizeof *d;
        free(d);
    }
}

bool lifetime_reclaim(struct lifetime *l, size_t steps_max)
{
    while (steps_max > 0 && lifetime_has_waiting(l)) {
        reclaim_one(l);
        steps_max--;
    }
    return lifetime_has_waiting(l);
}

struct state_snapshot *lifetime_snapshot(struct lifetime *l, const struct tree *present)
{
    /* Four thousand million snapshots: one per second for a century. */
    ASSERT(l->epoch < UINT32_MAX);
    struct state_snapshot *snapshot = NEW(struct state_snapshot);
    snapshot->tree = *present;
    snapshot->epoch = l->epoch++;
    l->newest = snapshot->epoch;
    l->other_bytes += sizeof *snapshot;
    TAILQ_INSERT_HEAD(&l->live, snapshot, link);
    return snapshot;
}

void lifetime_release(struct lifetime *l, struct state_snapshot *snapshot)
{
    TAILQ_REMOVE(&l->live, snapshot, link);
    TAILQ_INSERT_TAIL(&l->released, snapshot, link);
    struct state_snapshot *newest = TAILQ_FIRST(&l->live);
    l->newest = newest != NULL ? newest->epoch : 0;
}
