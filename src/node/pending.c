/* The table of pending commands: by number for those of this process's session, by key for those
 * that a user named. */
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"

struct keyed_pending {
    uint8_t key[ENTRY_SESSION_BYTES];
    struct pending *first;
    UT_hash_handle hh;
};

static struct pending **ring_slot(struct proposals *p, uint64_t seq)
{
    return &p->ring[seq & (p->ring_capacity - 1)];
}

static void ring_grow(struct proposals *p)
{
    size_t capacity = p->ring_capacity == 0 ? 64 : p->ring_capacity * 2;
    struct pending **ring = alloc_zeroed(capacity, sizeof *ring);
    for (uint64_t seq = p->ring_low; seq < p->next_seq; seq++) {
        ring[seq & (capacity - 1)] = *ring_slot(p, seq);
    }
    free(p->ring);
    p->ring = ring;
    p->ring_capacity = capacity;
}

void pending_number(struct proposals *p, struct pending *x)
{
    if (p->next_seq - p->ring_low == p->ring_capacity) {
        ring_grow(p);
    }
    memcpy(x->session, p->session, sizeof x->session);
    x->seq = p->next_seq++;
    *ring_slot(p, x->seq) = x;
}

struct pending *pending_find(struct proposals *p, const uint8_t *session, uint64_t seq)
{
    if (seq == 0) {
        struct keyed_pending *k;
        HASH_FIND(hh, p->keyed, session, ENTRY_SESSION_BYTES, k);
        return k != NULL ? k->first : NULL;
    }
    if (memcmp(session, p->session, ENTRY_SESSION_BYTES) != 0 || seq < p->ring_low ||
        seq >= p->next_seq) {
        return NULL;
    }
    return *ring_slot(p, seq);
}

static void list_remove(struct proposals *p, struct pending *x)
{
    if (x->sent) {
        TAILQ_REMOVE(&p->sent, x, link);
    } else {
        TAILQ_REMOVE(&p->queued, x, link);
    }
}

static void table_remove(struct proposals *p, struct pending *x)
{
    if (x->keyed) {
        struct keyed_pending *k;
        HASH_FIND(hh, p->keyed, x->session, ENTRY_SESSION_BYTES, k);
        ASSERT(k != NULL);
        HASH_DEL(p->keyed, k);
        free(k);
        return;
    }
    *ring_slot(p, x->seq) = NULL;
    while (p->ring_low < p->next_seq && *ring_slot(p, p->ring_low) == NULL) {
        p->ring_low++;
    }
}

void pending_answer(struct node *n, struct pending *x, const struct node_reply *reply)
{
    list_remove(&n->proposals, x);
    table_remove(&n->proposals, x);
    while (x != NULL) {
        struct pending *next = x->next_same_key;
        n->proposals.count--;
        node_answer(n, x->reply, x->ctx, reply);
        slice_close(&x->content);
        free(x);
        x = next;
    }
}

static void answer_late(struct node *n, const struct pending *x, enum err err)
{
    n->proposals.count--;
    node_answer(n, x->reply, x->ctx, &(struct node_reply){.err = err});
}

void pending_expire(struct node *n, struct pending *x, uint64_t now_us, enum err err)
{
    struct pending **link = &x->next_same_key;
    while (*link != NULL) {
        struct pending *late = *link;
        if (now_us < late->deadline_us) {
            link = &late->next_same_key;
            continue;
        }
        *link = late->next_same_key;
        answer_late(n, late, err);
        slice_close(&late->content);
        free(late);
    }
    if (now_us < x->deadline_us) {
        return;
    }
    struct pending *heir = x->next_same_key;
    if (heir == NULL) {
        pending_answer_error(n, x, err);
        return;
    }
    struct pending late = *x;
    x->reply = heir->reply;
    x->ctx = heir->ctx;
    x->deadline_us = heir->deadline_us;
    x->next_same_key = heir->next_same_key;
    slice_close(&heir->content);
    free(heir);
    answer_late(n, &late, err);
}

void pending_answer_error(struct node *n, struct pending *x, enum err err)
{
    pending_answer(n, x, &(struct node_reply){.err = err});
}

bool pending_key(struct proposals *p, struct pending *x, const uint8_t *key)
{
    memcpy(x->session, key, sizeof x->session);
    x->keyed = true;
    struct pending *first = pending_find(p, key, 0);
    if (first != NULL) {
        x->next_same_key = first->next_same_key;
        first->next_same_key = x;
        return false;
    }
    struct keyed_pending *k = NEW(struct keyed_pending);
    memcpy(k->key, key, sizeof k->key);
    k->first = x;
    HASH_ADD(hh, p->keyed, key, ENTRY_SESSION_BYTES, k);
    return true;
}
