/* The tables of a machine, kept in struct state: what st.h shows to Lua, without the Lua.
 *
 * A value is at the key that is its path (st_path.h). It is stored as MessagePack, and a table in
 * one of two ways, which no reader can tell apart:
 *
 *   inline    at its own path, as one MessagePack map or array with all that is in it: a record
 * that was assigned in one go and is small. One entry to write, read, hash and delete. spread    at
 * its own path a marker, and every element at a path of its own: a collection, or what is larger
 * than ST_INLINE_BYTES_MAX. An element costs the same whatever the size.
 *
 * An empty table is spread: it is about to be filled. An inline table that outgrows the limit is
 * spread; never the other way. Which of the two it is follows from the commands alone, so it is the
 * same on every node.
 *
 * Encoded tables are canonical (value.h), so equal contents are equal bytes. */
#ifndef MK_SCRIPT_ST_TREE_H
#define MK_SCRIPT_ST_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "script/meter.h"
#include "script/value.h"
#include "state/state.h"

enum { ST_INLINE_BYTES_MAX = 4096 };

struct st_tree {
    struct state *state; /* borrowed */
    struct meter *meter; /* borrowed; pays for every entry that is touched */
    /* Grows whenever a spread table may have ceased to be one: what was known to be spread at this
     * epoch still is. */
    uint64_t epoch;
    size_t root_bytes; /* of a path: the machine's prefix, its root table */
    struct buffer path;
    struct buffer rewritten;
    struct buffer scratch;
};

/* Zeroed but for state and meter it is ready. */
void st_tree_close(struct st_tree *t);

/* A place below the root. */
struct st_place {
    struct bytes path;
    /* 1 + t->epoch when it was last seen to be a spread table, 0 for unknown. */
    uint64_t spread_epoch;
};

struct st_node {
    enum st_node_kind {
        ST_NO_TABLE, /* where there should be a table to look into, there is none (any more) */
        ST_ABSENT,
        ST_SCALAR,
        ST_INLINE,
        ST_SPREAD,
    } kind;
    struct bytes value; /* MessagePack of a scalar or inline table; borrowed until the next write */
};

/* What is at place. */
struct st_node st_tree_find(struct st_tree *t, struct bytes path);
/* What is at key in the table at *table (whose epoch is brought up to date). ST_ABSENT also if
 * there is no such table. */
struct st_node st_tree_get(struct st_tree *t, struct st_place *table, const struct value_key *key);

/* Put value (MessagePack, canonical; empty: delete) at key in the table.
 * Errors: NOT_FOUND: there is no table at *table (any more). TOO_LARGE: the path. TIMEOUT: the
 * meter is exhausted; what was written so far stays, to be rolled back. */
enum err st_tree_set(struct st_tree *t, struct st_place *table, const struct value_key *key,
                     struct bytes value);

/* The first key of the table after *after (NULL: the first of all; inclusive: at or after).
 * False at the end, or (node says ST_NO_TABLE) if there is no table. *key borrows from the state or
 * from t: until the next call. */
struct st_from {
    const struct value_key *key;
    bool inclusive;
};
bool st_tree_next(struct st_tree *t, struct st_place *table, struct st_from from,
                  struct value_key *key, struct st_node *node);

/* The n with elements at 1..n and none at n + 1. Errors: NOT_FOUND, TIMEOUT. */
enum err st_tree_length(struct st_tree *t, struct st_place *table, uint64_t *length);

/* Append the table or scalar at path as canonical MessagePack, at most bytes_max.
 * Errors: NOT_FOUND, TOO_LARGE, TIMEOUT; out is then as before. */
enum err st_tree_encode(struct st_tree *t, struct bytes path, size_t bytes_max, struct buffer *out);

#endif
