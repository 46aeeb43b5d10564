#include "state/tree.h"

#include <string.h>

#include "base/assert.h"
#include "state/lifetime.h"
#include "state/node.h"

/* --- Finding --- */

const struct record *tree_get(const struct tree *t, struct bytes key)
{
    const struct state_node *node = t->root;
    if (node == NULL) {
        return NULL;
    }
    while (node->level > 0) {
        node = node->children[node_child(node, key)];
    }
    bool equal;
    size_t at = node_rank(node, key, &equal);
    return equal ? node->keys[at] : NULL;
}

bool tree_find(const struct tree *t, struct bytes key, struct tree_path *path_out)
{
    bool equal = false;
    struct state_node *node = t->root;
    path_out->depth = 0;
    while (node != NULL) {
        ASSERT(path_out->depth < STATE_HEIGHT_MAX);
        size_t at = node->level > 0 ? node_child(node, key) : node_rank(node, key, &equal);
        path_out->step[path_out->depth].node = node;
        path_out->step[path_out->depth].at = at;
        path_out->depth++;
        node = node->level > 0 ? node->children[at] : NULL;
    }
    return equal;
}

struct record *tree_at(const struct tree_path *path)
{
    ASSERT(path->depth > 0);
    const struct state_node *leaf = path->step[path->depth - 1].node;
    size_t at = path->step[path->depth - 1].at;
    ASSERT(leaf->level == 0);
    ASSERT(at < leaf->count);
    return leaf->keys[at];
}

bool tree_is_end(const struct tree_path *path)
{
    for (size_t i = 0; i < path->depth; i++) {
        const struct state_node *node = path->step[i].node;
        size_t end = node->level > 0 ? node->count - 1u : node->count;
        if (path->step[i].at != end) {
            return false;
        }
    }
    return true;
}

/* --- Copying what is shared --- */

static struct state_node *new_node(struct lifetime *l, unsigned level)
{
    struct state_node *node = lifetime_alloc(l, node_size(level));
    node_init(node, level);
    return node;
}

/* A node that may be changed, in place of this one. The caller points the parent to it. */
static struct state_node *own(struct lifetime *l, struct state_node *node)
{
    if (!lifetime_is_shared(l, &node->object)) {
        return node;
    }
    struct state_node *copy = lifetime_alloc(l, node_size(node->level));
    memcpy((char *)copy + sizeof copy->object, (const char *)node + sizeof node->object,
           node_size(node->level) - sizeof copy->object);
    lifetime_retire(l, &node->object);
    return copy;
}

static void own_path(struct tree *t, struct lifetime *l, struct tree_path *path)
{
    for (size_t i = 0; i < path->depth; i++) {
        struct state_node *node = own(l, path->step[i].node);
        path->step[i].node = node;
        if (i == 0) {
            t->root = node;
        } else {
            path->step[i - 1].node->children[path->step[i - 1].at] = node;
        }
    }
}

/* --- Inserting --- */

static void account(struct tree *t, const struct record *r)
{
    t->count++;
    t->bytes += r->object.size_bytes - offsetof(struct record, bytes);
    t->hash = hash_sum(t->hash, record_hash(r));
}

static void discount(struct tree *t, const struct record *r)
{
    t->count--;
    t->bytes -= r->object.size_bytes - offsetof(struct record, bytes);
    t->hash = hash_difference(t->hash, record_hash(r));
}

/* A key between two neighbouring leaves, no longer than it needs to be. */
static struct record *new_separator(struct lifetime *l, const struct state_node *left,
                                    const struct state_node *right)
{
    struct bytes lower = record_key(left->keys[left->count - 1]);
    struct bytes upper = record_key(right->keys[0]);
    size_t common = common_size(lower, upper, STATE_KEY_BYTES_MAX);
    ASSERT(common < upper.size);
    return record_new(l, bytes_of(upper.data, common + 1), bytes_of(NULL, 0));
}

/* Insert into a full node by way of splitting it. Returns the new right neighbour, and in
 * *separator_out the key between the two. */
static struct state_node *insert_splitting(struct lifetime *l, struct state_node *left, size_t at,
                                           struct record *key, struct state_node *child,
                                           struct record **separator_out)
{
    /* Keys that come in order are not going to fill the left one up. */
    size_t split_at = at == left->count ? NODE_CAPACITY - NODE_MIN : NODE_CAPACITY / 2;
    struct state_node *right = new_node(l, left->level);
    *separator_out = node_split(left, right, split_at);
    if (at <= split_at) {
        node_insert(left, at, key, child);
    } else {
        node_insert(right, at - split_at, key, child);
    }
    if (left->level == 0) {
        *separator_out = new_separator(l, left, right);
    }
    return right;
}

static void grow_root(struct tree *t, struct lifetime *l, struct record *separator,
                      struct state_node *right)
{
    struct state_node *root = new_node(l, t->root->level + 1u);
    root->keys[0] = NULL;
    root->children[0] = t->root;
    root->count = 1;
    node_insert(root, 1, separator, right);
    t->root = root;
}

void tree_insert(struct tree *t, struct lifetime *l, struct tree_path *path, struct record *r)
{
    account(t, r);
    if (t->root == NULL) {
        t->root = new_node(l, 0);
        node_insert(t->root, 0, r, NULL);
        return;
    }
    own_path(t, l, path);
    struct record *key = r;
    struct state_node *child = NULL;
    for (size_t i = path->depth; i-- > 0;) {
        struct state_node *node = path->step[i].node;
        size_t at = path->step[i].at + (node->level > 0 ? 1 : 0);
        if (node->count < NODE_CAPACITY) {
            node_insert(node, at, key, child);
            return;
        }
        child = insert_splitting(l, node, at, key, child, &key);
    }
    grow_root(t, l, key, child);
}

struct record *tree_replace(struct tree *t, struct lifetime *l, struct tree_path *path,
                            struct record *r)
{
    own_path(t, l, path);
    struct record *old = tree_at(path);
    struct state_node *leaf = path->step[path->depth - 1].node;
    /* The key is the same: shared and heads stay true. */
    leaf->keys[path->step[path->depth - 1].at] = r;
    discount(t, old);
    account(t, r);
    return old;
}

/* --- Removing --- */

/* The node at parent's slot has become too small: merge it with a neighbour, or take some from it.
 * The parent has lost a child in the first case. */
static void refill(struct lifetime *l, struct state_node *parent, size_t slot)
{
    size_t left_slot = slot > 0 ? slot - 1 : 0;
    struct state_node *left = own(l, parent->children[left_slot]);
    struct state_node *right = own(l, parent->children[left_slot + 1]);
    parent->children[left_slot] = left;
    parent->children[left_slot + 1] = right;

    size_t count = (size_t)left->count + right->count;
    size_t left_count = count <= NODE_MERGED_MAX ? count : count / 2;
    struct record *old = parent->keys[left_slot + 1];
    struct record *between = node_share_out(left, right, old, left_count);
    if (right->count == 0) {
        node_remove(parent, left_slot + 1);
        lifetime_retire(l, &right->object);
    } else {
        between = left->level == 0 ? new_separator(l, left, right) : between;
        node_set_key(parent, left_slot + 1, between);
    }
    if (left->level == 0) {
        lifetime_retire(l, &old->object);
    }
}

static void shrink_root(struct tree *t, struct lifetime *l)
{
    struct state_node *root = t->root;
    if (root->level == 0 && root->count == 0) {
        t->root = NULL;
        lifetime_retire(l, &root->object);
    } else if (root->level > 0 && root->count == 1) {
        t->root = root->children[0];
        lifetime_retire(l, &root->object);
    }
}

struct record *tree_remove(struct tree *t, struct lifetime *l, struct tree_path *path)
{
    own_path(t, l, path);
    struct record *r = tree_at(path);
    discount(t, r);
    size_t i = path->depth - 1;
    node_remove(path->step[i].node, path->step[i].at);
    for (; i > 0 && path->step[i].node->count < NODE_MIN; i--) {
        refill(l, path->step[i - 1].node, path->step[i - 1].at);
    }
    shrink_root(t, l);
    return r;
}
