#include "base/assert.h"
#include "state/internal.h"
#include "state/record.h"

void state_restore_begin(struct state *s)
{
    ASSERT(!s->in_transaction);
    ASSERT(!s->restoring);
    s->restoring = true;
    s->incoming = (struct tree){0};
}

enum err state_restore_add(struct state *s, struct bytes key, struct bytes value)
{
    ASSERT(s->restoring);
    if (key.size > STATE_KEY_BYTES_MAX || value.size > STATE_VALUE_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    struct tree_path path;
    if (tree_find(&s->incoming, key, &path) || !tree_is_end(&path)) {
        return ERR_CORRUPT;
    }
    struct record *r = record_new(&s->lifetime, key, value);
    tree_insert(&s->incoming, &s->lifetime, &path, r);
    return ERR_OK;
}

struct state_hash state_restore_hash(const struct state *s)
{
    ASSERT(s->restoring);
    return s->incoming.hash;
}

enum err state_restore_end(struct state *s, const struct state_hash *expected)
{
    ASSERT(s->restoring);
    if (expected != NULL && !state_hash_equal(*expected, s->incoming.hash)) {
        state_restore_cancel(s);
        return ERR_CORRUPT;
    }
    lifetime_retire_tree(&s->lifetime, s->present.root);
    s->present = s->incoming;
    s->incoming = (struct tree){0};
    s->restoring = false;
    s->writes++;
    return ERR_OK;
}

void state_restore_cancel(struct state *s)
{
    ASSERT(s->restoring);
    lifetime_retire_tree(&s->lifetime, s->incoming.root);
    s->incoming = (struct tree){0};
    s->restoring = false;
}
