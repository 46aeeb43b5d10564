#include "state/lifetime.h"

#include "base/assert.h"
#include "state/node.h"

enum {
    CHUNK_CAPACITY = 252,
    STEP_BYTES = 4096 /* a page takes the kernel as long as a piece takes us */
};

struct retired_chunk {
    struct object object;
    struct retired_chunk *next;
    size_t count;
    struct object *objects[CHUNK_CAPACITY];
};
_Static_assert(sizeof(struct retired_chunk) <= POOL_PIECE_BYTES_MAX, "it comes from a slab");

/* A tree that was replaced as a whole, walked from the leaves up. */
struct doomed_tree {
    struct object object;
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
    pool_init(&l->pool);
}

void lifetime_close(struct lifetime *l)
{
    ASSERT(TAILQ_EMPTY(&l->live));
    ASSERT(!lifetime_has_waiting(l));
    ASSERT(l->object_bytes == 0);
    ASSERT(l->other_bytes == 0);
    pool_close(&l->pool);
}

void *lifetime_alloc(struct lifetime *l, size_t size_bytes)
{
    ASSERT(size_bytes <= UINT32_MAX);
    struct object *o = pool_alloc(&l->pool, (uint32_t)size_bytes);
    o->born = l->epoch;
    l->object_bytes += size_bytes;
    return o;
}

static void free_object(struct lifetime *l, struct object *o)
{
    ASSERT(l->object_bytes >= o->size_bytes);
    l->object_bytes -= o->size_bytes;
    pool_free(&l->pool, o);
}

/* What keeps the books is in the pool too: no call may wait for a general allocator to tidy up. */
static void *alloc_other(struct lifetime *l, size_t size_bytes)
{
    l->other_bytes += size_bytes;
    return pool_alloc(&l->pool, (uint32_t)size_bytes);
}

static void free_other(struct lifetime *l, struct object *o)
{
    l->other_bytes -= o->size_bytes;
    pool_free(&l->pool, o);
}

static void add_retired(struct lifetime *l, struct state_snapshot *snapshot, struct object *o)
{
    struct retired_chunk *chunk = snapshot->retired;
    if (chunk == NULL || chunk->count == CHUNK_CAPACITY) {
        chunk = alloc_other(l, sizeof *chunk);
        chunk->next = snapshot->retired;
        chunk->count = 0;
        snapshot->retired = chunk;
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
        free_other(l, &chunk->object);
    }
    return o;
}

/* A piece that was in the present tree until `epoch`: to the newest snapshot that sees it, if any.
 * Returns the steps it took. */
static size_t settle(struct lifetime *l, struct object *o, uint32_t epoch)
{
    struct state_snapshot *s = TAILQ_FIRST(&l->live);
    while (s != NULL && s->epoch >= epoch) {
        s = TAILQ_NEXT(s, link);
    }
    if (s != NULL && o->born <= s->epoch) {
        add_retired(l, s, o);
        return 1;
    }
    size_t steps = 1 + o->size_bytes / STEP_BYTES;
    free_object(l, o);
    return steps;
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
    struct doomed_tree *d = alloc_other(l, sizeof *d);
    d->epoch = l->epoch;
    d->depth = 1;
    d->path[0].node = root;
    d->path[0].at = 0;
    STAILQ_INSERT_TAIL(&l->doomed, d, link);
}

/* Settle one piece, or go down one level. A node's turn comes after all that is under it: until
 * then the walk needs it. */
static size_t walk_doomed(struct lifetime *l, struct doomed_tree *d)
{
    struct state_node *node = d->path[d->depth - 1].node;
    size_t at = d->path[d->depth - 1].at++;
    if (at == node->count) {
        d->depth--;
        return settle(l, &node->object, d->epoch);
    }
    if (node->level > 0) {
        ASSERT(d->depth < STATE_HEIGHT_MAX);
        d->path[d->depth].node = node->children[at];
        d->path[d->depth].at = 0;
        d->depth++;
    }
    return at >= node_first(node) ? settle(l, &node->keys[at]->object, d->epoch) : 1;
}

static size_t reclaim_released(struct lifetime *l, struct state_snapshot *snapshot)
{
    struct object *o = pop_retired(l, snapshot);
    if (o != NULL) {
        return settle(l, o, snapshot->epoch);
    }
    TAILQ_REMOVE(&l->released, snapshot, link);
    free_other(l, &snapshot->object);
    return 1;
}

static size_t reclaim_doomed(struct lifetime *l, struct doomed_tree *d)
{
    size_t steps = walk_doomed(l, d);
    if (d->depth == 0) {
        STAILQ_REMOVE_HEAD(&l->doomed, link);
        free_other(l, &d->object);
    }
    return steps;
}

/* Returns the steps it took, at least one. */
static size_t reclaim_one(struct lifetime *l)
{
    if (pool_has_empty(&l->pool)) {
        return 1 + pool_trim(&l->pool) / STEP_BYTES;
    }
    if (!TAILQ_EMPTY(&l->released)) {
        return reclaim_released(l, TAILQ_FIRST(&l->released));
    }
    return reclaim_doomed(l, STAILQ_FIRST(&l->doomed));
}

bool lifetime_reclaim(struct lifetime *l, size_t steps_max)
{
    while (steps_max > 0 && lifetime_has_waiting(l)) {
        size_t steps = reclaim_one(l);
        steps_max -= steps < steps_max ? steps : steps_max;
    }
    return lifetime_has_waiting(l);
}

struct state_snapshot *lifetime_snapshot(struct lifetime *l, const struct tree *present)
{
    /* Four thousand million snapshots: one per second for a century. */
    ASSERT(l->epoch < UINT32_MAX);
    struct state_snapshot *snapshot = alloc_other(l, sizeof *snapshot);
    snapshot->tree = *present;
    snapshot->retired = NULL;
    snapshot->epoch = l->epoch++;
    l->newest = snapshot->epoch;
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
