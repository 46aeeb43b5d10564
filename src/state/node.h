/* A node of the B+tree: up to NODE_CAPACITY keys in order, in a leaf their records, in an inner
 * node children and the separators between them.
 *
 * Keys of one node mostly begin alike ("users/0004711"). `shared` bytes are known to be the same in
 * all of them, and the eight that follow are in `heads` as a big-endian number. A search compares
 * numbers that lie side by side; it looks at a key itself only to check the shared part and where
 * heads are equal. This file keeps shared and heads true; the tree decides what goes where. */
#ifndef MK_STATE_NODE_H
#define MK_STATE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "state/record.h"

enum {
    NODE_CAPACITY = 60,  /* the two kinds of node are just below 1 and 1.5 KiB */
    NODE_MIN = 15,       /* at least, in all but the root */
    NODE_MERGED_MAX = 45 /* fuller pairs are evened out instead: no split right after a merge */
};

struct state_node {
    struct object object;
    uint16_t count;  /* of records, or of children */
    uint16_t shared; /* bytes */
    uint8_t level;   /* 0: a leaf */
    uint64_t heads[NODE_CAPACITY];
    struct record *keys[NODE_CAPACITY]; /* inner: keys[i] <= all under children[i]; keys[0] none */
    struct state_node *children[];      /* NODE_CAPACITY of them, or none in a leaf */
};

size_t node_size(unsigned level);
/* Make a fresh allocation of node_size bytes an empty node; object is left alone. */
void node_init(struct state_node *n, unsigned level);
/* The first slot that has a key. */
static inline size_t node_first(const struct state_node *n)
{
    return n->level > 0 ? 1 : 0;
}

/* Slot of the first key >= key, or count. */
size_t node_rank(const struct state_node *n, struct bytes key, bool *equal_out);
/* Slot of the child that holds the key if any does. Inner nodes. */
size_t node_child(const struct state_node *n, struct bytes key);

/* Open slot `at`; child is NULL in a leaf. The node is not full. */
void node_insert(struct state_node *n, size_t at, struct record *key, struct state_node *child);
void node_remove(struct state_node *n, size_t at);
/* Put another key in its place, keeping the order. */
void node_set_key(struct state_node *n, size_t at, struct record *key);
/* Move what is from `at` on into the empty node right. In an inner node the key at `at` leaves for
 * the parent: it is returned. NULL for leaves. */
struct record *node_split(struct state_node *left, struct state_node *right, size_t at);
/* Lay out the contents of two neighbours anew, left_count of them in left, the others in right
 * (none is allowed). Separator is the key between them in an inner node, NULL for leaves; the one
 * that is between them afterwards is returned, NULL for leaves and when right is empty. */
struct record *node_share_out(struct state_node *left, struct state_node *right,
                              struct record *separator, size_t left_count);

/* Bytes that a and b have in common at their beginning, at most limit. */
size_t common_size(struct bytes a, struct bytes b, size_t limit);
/* For state_check. */
uint64_t node_head(struct bytes key, size_t shared);

#endif
