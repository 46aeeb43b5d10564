#include "state/state.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "state/internal.h"
#include "state/record.h"

enum {
    RECLAIM_PER_WRITE = 4, /* as many as a write retires: what waits does not grow without end */
    UNDO_KEPT_MAX = 1024   /* entries to keep room for between transactions */
};

struct state *state_new(void)
{
    struct state *s = NEW(struct state);
    lifetime_init(&s->lifetime);
    return s;
}

void state_free(struct state *s)
{
    if (s == NULL) {
        return;
    }
    if (s->in_transaction) {
        state_rollback(s);
    }
    if (s->restoring) {
        state_restore_cancel(s);
    }
    lifetime_retire_tree(&s->lifetime, s->present.root);
    lifetime_reclaim(&s->lifetime, SIZE_MAX);
    lifetime_close(&s->lifetime);
    free(s->undo);
    free(s);
}

/* --- Reading --- */

static bool value_of(const struct record *r, struct bytes *value_out)
{
    if (r == NULL) {
        return false;
    }
    *value_out = record_value(r);
    return true;
}

bool state_get(const struct state *s, struct bytes key, struct bytes *value_out)
{
    return value_of(tree_get(&s->present, key), value_out);
}

struct state_hash state_hash(const struct state *s)
{
    return s->present.hash;
}

uint64_t state_count(const struct state *s)
{
    return s->present.count;
}

uint64_t state_bytes(const struct state *s)
{
    return s->present.bytes;
}

uint64_t state_memory_bytes(const struct state *s)
{
    return s->lifetime.object_bytes + s->lifetime.other_bytes + sizeof *s +
           s->undo_capacity * sizeof s->undo[0];
}

/* --- Writing --- */

/* A write has put `now` in the place of `old`. */
static void wrote(struct state *s, struct record *old, struct record *now)
{
    s->writes++;
    if (s->in_transaction) {
        if (s->undo_count == s->undo_capacity) {
            s->undo_capacity = s->undo_capacity > 0 ? 2 * s->undo_capacity : 16;
            s->undo = alloc_resize(s->undo, s->undo_capacity, sizeof s->undo[0]);
        }
        s->undo[s->undo_count++] = (struct undo){.old = old, .now = now};
    } else if (old != NULL) {
        lifetime_retire(&s->lifetime, &old->object);
    }
    if (lifetime_has_waiting(&s->lifetime)) {
        lifetime_reclaim(&s->lifetime, RECLAIM_PER_WRITE);
    }
}

enum err state_set(struct state *s, struct bytes key, struct bytes value)
{
    ASSERT(!s->restoring);
    if (key.size > STATE_KEY_BYTES_MAX || value.size > STATE_VALUE_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    struct tree_path path;
    if (!tree_find(&s->present, key, &path)) {
        struct record *now = record_new(&s->lifetime, key, value);
        tree_insert(&s->present, &s->lifetime, &path, now);
        wrote(s, NULL, now);
    } else if (!bytes_equal(record_value(tree_at(&path)), value)) {
        struct record *now = record_new(&s->lifetime, key, value);
        struct record *old = tree_replace(&s->present, &s->lifetime, &path, now);
        wrote(s, old, now);
    }
    return ERR_OK;
}

bool state_delete(struct state *s, struct bytes key)
{
    ASSERT(!s->restoring);
    struct tree_path path;
    if (!tree_find(&s->present, key, &path)) {
        return false;
    }
    wrote(s, tree_remove(&s->present, &s->lifetime, &path), NULL);
    return true;
}

/* --- Transactions --- */

void state_begin(struct state *s)
{
    ASSERT(!s->in_transaction);
    ASSERT(!s->restoring);
    ASSERT(s->undo_count == 0);
    s->in_transaction = true;
    s->before = s->present;
}

static void end_transaction(struct state *s)
{
    s->in_transaction = false;
    s->undo_count = 0;
    if (s->undo_capacity > UNDO_KEPT_MAX) {
        free(s->undo);
        s->undo = NULL;
        s->undo_capacity = 0;
    }
}

void state_commit(struct state *s)
{
    ASSERT(s->in_transaction);
    for (size_t i = 0; i < s->undo_count; i++) {
        if (s->undo[i].old != NULL) {
            lifetime_retire(&s->lifetime, &s->undo[i].old->object);
        }
    }
    end_transaction(s);
}

static void undo(struct state *s, struct undo u)
{
    struct tree_path path;
    struct bytes key = record_key(u.now != NULL ? u.now : u.old);
    bool found = tree_find(&s->present, key, &path);
    ASSERT(found == (u.now != NULL));
    if (u.now == NULL) {
        tree_insert(&s->present, &s->lifetime, &path, u.old);
        return;
    }
    ASSERT(tree_at(&path) == u.now);
    if (u.old == NULL) {
        tree_remove(&s->present, &s->lifetime, &path);
    } else {
        tree_replace(&s->present, &s->lifetime, &path, u.old);
    }
    lifetime_retire(&s->lifetime, &u.now->object);
}

void state_rollback(struct state *s)
{
    ASSERT(s->in_transaction);
    s->writes += s->undo_count;
    while (s->undo_count > 0) {
        undo(s, s->undo[--s->undo_count]);
    }
    end_transaction(s);
    ASSERT(s->present.count == s->before.count);
    ASSERT(s->present.bytes == s->before.bytes);
    ASSERT(state_hash_equal(s->present.hash, s->before.hash));
}

bool state_in_transaction(const struct state *s)
{
    return s->in_transaction;
}

/* --- Snapshots --- */

struct state_snapshot *state_snapshot_take(struct state *s)
{
    ASSERT(!s->in_transaction);
    ASSERT(!s->restoring);
    return lifetime_snapshot(&s->lifetime, &s->present);
}

void state_snapshot_release(struct state *s, struct state_snapshot *snapshot)
{
    lifetime_release(&s->lifetime, snapshot);
}

bool state_snapshot_get(const struct state_snapshot *snapshot, struct bytes key,
                        struct bytes *value_out)
{
    return value_of(tree_get(&snapshot->tree, key), value_out);
}

struct state_hash state_snapshot_hash(const struct state_snapshot *snapshot)
{
    return snapshot->tree.hash;
}

uint64_t state_snapshot_count(const struct state_snapshot *snapshot)
{
    return snapshot->tree.count;
}

uint64_t state_snapshot_bytes(const struct state_snapshot *snapshot)
{
    return snapshot->tree.bytes;
}

bool state_reclaim(struct state *s, size_t nodes_max)
{
    return lifetime_reclaim(&s->lifetime, nodes_max);
}
