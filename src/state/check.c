/* The rules that hold in every state, each asserted. */
#include "base/assert.h"
#include "state/internal.h"
#include "state/node.h"

struct walk {
    const struct lifetime *lifetime;
    uint64_t count;
    uint64_t bytes;
    uint64_t object_bytes;
    struct state_hash hash;
};

/* Keys under a node are in [lo, hi); NULL is no bound. */
struct bounds {
    const struct record *lo;
    const struct record *hi;
};

static void check_keys(const struct state_node *n, struct bounds b)
{
    size_t first = node_first(n);
    for (size_t i = first; i < n->count; i++) {
        struct bytes key = record_key(n->keys[i]);
        struct bytes lowest = record_key(n->keys[first]);
        ASSERT(b.lo == NULL || bytes_compare(record_key(b.lo), key) <= 0);
        ASSERT(b.hi == NULL || bytes_compare(key, record_key(b.hi)) < 0);
        ASSERT(i == first || bytes_compare(record_key(n->keys[i - 1]), key) < 0);
        ASSERT(common_size(key, lowest, n->shared) == n->shared);
        ASSERT(n->heads[i] == node_head(key, n->shared));
    }
}

static void check_object(struct walk *w, const struct object *o)
{
    ASSERT(o->born > 0);
    ASSERT(o->born <= w->lifetime->epoch);
    w->object_bytes += o->size_bytes;
}

static void check_record(struct walk *w, const struct record *r)
{
    ASSERT(r->key_size <= STATE_KEY_BYTES_MAX);
    ASSERT(record_value(r).size <= STATE_VALUE_BYTES_MAX);
    w->count++;
    w->bytes += r->key_size + record_value(r).size;
    w->hash = hash_sum(w->hash, record_hash(r));
}

static void check_node(struct walk *w, const struct state_node *n, bool is_root, struct bounds b)
{
    ASSERT(n->object.size_bytes == node_size(n->level));
    ASSERT(n->count <= NODE_CAPACITY);
    ASSERT(n->count >= (is_root ? 1 + node_first(n) : NODE_MIN));
    check_object(w, &n->object);
    check_keys(n, b);
    for (size_t i = 0; i < n->count; i++) {
        if (i >= node_first(n)) {
            check_object(w, &n->keys[i]->object);
        }
        if (n->level == 0) {
            check_record(w, n->keys[i]);
            continue;
        }
        struct bounds under = {.lo = i > 0 ? n->keys[i] : b.lo,
                               .hi = i + 1u < n->count ? n->keys[i + 1] : b.hi};
        ASSERT(n->children[i]->level + 1 == n->level);
        check_node(w, n->children[i], false, under);
    }
}

/* Returns the memory that the tree takes. */
static uint64_t check_tree(const struct lifetime *l, const struct tree *t)
{
    struct walk w = {.lifetime = l};
    if (t->root != NULL) {
        check_node(&w, t->root, true, (struct bounds){0});
    }
    ASSERT(w.count == t->count);
    ASSERT(w.bytes == t->bytes);
    ASSERT(state_hash_equal(w.hash, t->hash));
    return w.object_bytes;
}

void state_check(const struct state *s)
{
    const struct lifetime *l = &s->lifetime;
    uint64_t reachable = check_tree(l, &s->present) + check_tree(l, &s->incoming);
    const struct state_snapshot *snapshot;
    uint32_t epoch = l->epoch;
    TAILQ_FOREACH (snapshot, &l->live, link) {
        ASSERT(snapshot->epoch < epoch);
        epoch = snapshot->epoch;
        check_tree(l, &snapshot->tree);
    }
    snapshot = TAILQ_FIRST(&l->live);
    ASSERT(l->newest == (snapshot != NULL ? snapshot->epoch : 0));
    ASSERT(reachable <= l->object_bytes);
    /* With nobody else to keep anything, what is allocated is what can be reached: no leak. */
    if (snapshot == NULL && !lifetime_has_waiting(l) && s->undo_count == 0) {
        ASSERT(reachable == l->object_bytes);
    }
}
