#include <string.h>

#include "base/assert.h"
#include "state/internal.h"
#include "state/node.h"

/* Take the record at the end of the path, first going to the next leaf if this one is used up. */
static bool settle_on_record(struct state_cursor *c)
{
    while (c->depth > 0 && c->path[c->depth - 1].at == c->path[c->depth - 1].node->count) {
        c->depth--;
        if (c->depth > 0) {
            c->path[c->depth - 1].at++;
        }
    }
    if (c->depth == 0) {
        c->key = (struct bytes){0};
        c->value = (struct bytes){0};
        return false;
    }
    for (;;) {
        const struct state_node *node = c->path[c->depth - 1].node;
        size_t at = c->path[c->depth - 1].at;
        if (node->level == 0) {
            c->key = record_key(node->keys[at]);
            c->value = record_value(node->keys[at]);
            break;
        }
        c->path[c->depth].node = node->children[at];
        c->path[c->depth].at = 0;
        c->depth++;
    }
    if (c->state != NULL && c->key.size > 0) {
        memcpy(c->last, c->key.data, c->key.size);
    }
    c->last_size = c->key.size;
    return true;
}

/* Go to the first key >= key, or > key. */
static bool seek(struct state_cursor *c, struct bytes key, bool beyond)
{
    bool equal = false;
    c->depth = 0;
    for (const struct state_node *node = c->root; node != NULL;) {
        ASSERT(c->depth < STATE_HEIGHT_MAX);
        size_t at = node->level > 0 ? node_child(node, key) : node_rank(node, key, &equal);
        c->path[c->depth].node = node;
        c->path[c->depth].at = at + (equal && beyond ? 1 : 0);
        c->depth++;
        node = node->level > 0 ? node->children[at] : NULL;
    }
    return settle_on_record(c);
}

bool state_seek(struct state_cursor *c, const struct state *s, struct bytes key)
{
    c->state = s;
    c->root = s->present.root;
    c->writes = s->writes;
    return seek(c, key, false);
}

bool state_seek_snapshot(struct state_cursor *c, const struct state_snapshot *snapshot,
                         struct bytes key)
{
    c->state = NULL;
    c->root = snapshot->tree.root;
    return seek(c, key, false);
}

bool state_next(struct state_cursor *c)
{
    ASSERT(c->depth > 0);
    if (c->state != NULL && c->writes != c->state->writes) {
        c->root = c->state->present.root;
        c->writes = c->state->writes;
        return seek(c, bytes_of(c->last, c->last_size), true);
    }
    c->path[c->depth - 1].at++;
    return settle_on_record(c);
}
