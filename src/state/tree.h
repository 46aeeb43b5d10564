/* The B+tree of one version of the contents: a root, and what the entries under it amount to.
 * Changing a tree copies what a snapshot shares (lifetime.h), from the root down to the change. */
#ifndef MK_STATE_TREE_H
#define MK_STATE_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "state/state.h"

struct lifetime;
struct record;

/* Zeroed: empty. */
struct tree {
    struct state_node *root; /* NULL when empty */
    uint64_t count;
    uint64_t bytes;
    struct state_hash hash;
};

/* The way from the root to a place in a leaf: an existing record's or where one would go. */
struct tree_path {
    size_t depth;
    struct {
        struct state_node *node;
        size_t at;
    } step[STATE_HEIGHT_MAX];
};

/* NULL if there is none. */
const struct record *tree_get(const struct tree *t, struct bytes key);
/* True if the key is there; *path_out is its place either way. */
bool tree_find(const struct tree *t, struct bytes key, struct tree_path *path_out);
/* The record at the path, which must be one. */
struct record *tree_at(const struct tree_path *path);
/* The path is behind the last record. */
bool tree_is_end(const struct tree_path *path);

/* The following use the path up. Records that leave the tree are the caller's to retire. */
void tree_insert(struct tree *t, struct lifetime *l, struct tree_path *path, struct record *r);
/* Same key, other value. Returns the old record. */
struct record *tree_replace(struct tree *t, struct lifetime *l, struct tree_path *path,
                            struct record *r);
struct record *tree_remove(struct tree *t, struct lifetime *l, struct tree_path *path);

#endif
