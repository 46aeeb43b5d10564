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

/* The end of one call. */
static void end(struct node *n, struct pending *x, const struct node_reply *reply)
{
    struct proposals *p = &n->proposals;
    wheel_clear(&p->deadlines, &x->deadline);
    p->count--;
    p->bytes -= x->content.size;
    n->counters.proposals[reply->err]++;
    node_answer(n, x->reply, x->ctx, reply);
    slice_close(&x->content);
    free(x);
}

void pending_answer(struct node *n, struct pending *x, const struct node_reply *reply)
{
    list_remove(&n->proposals, x);
    table_remove(&n->proposals, x);
    while (x != NULL) {
        struct pending *next = x->next_same_key;
        end(n, x, reply);
        x = next;
    }
}

/* After the first one of its key. */
static void chain_insert(struct pending *first, struct pending *x)
{
    x->next_same_key = first->next_same_key;
    x->previous_same_key = first;
    if (x->next_same_key != NULL) {
        x->next_same_key->previous_same_key = x;
    }
    first->next_same_key = x;
}

static void chain_remove(struct pending *x)
{
    x->previous_same_key->next_same_key = x->next_same_key;
    if (x->next_same_key != NULL) {
        x->next_same_key->previous_same_key = x->previous_same_key;
    }
}

/* The first call of a key is the one that is sent: another takes its place, and its content, of
 * which there may be copies under way. */
static void hand_down(struct proposals *p, struct pending *x)
{
    struct pending *heir = x->next_same_key;
    struct slice content = heir->content;
    size_t machine_size = heir->machine_size;
    heir->content = x->content;
    heir->machine_size = x->machine_size;
    heir->previous_same_key = NULL;
    x->content = content;
    x->machine_size = machine_size;
    struct keyed_pending *k;
    HASH_FIND(hh, p->keyed, x->session, ENTRY_SESSION_BYTES, k);
    ASSERT(k != NULL);
    k->first = heir;
    heir->sent = x->sent;
    heir->sent_us = x->sent_us;
    heir->sends = x->sends;
    struct pending_list *list = x->sent ? &p->sent : &p->queued;
    TAILQ_INSERT_AFTER(list, x, heir, link);
    TAILQ_REMOVE(list, x, link);
}

void pending_answer_late(struct node *n, struct pending *x, enum err err)
{
    struct proposals *p = &n->proposals;
    struct pending *first = pending_find(p, x->session, x->seq);
    if (x == first && x->next_same_key == NULL) {
        pending_answer_error(n, x, err);
        return;
    }
    if (x == first) {
        hand_down(p, x);
    } else {
        chain_remove(x);
    }
    end(n, x, &(struct node_reply){.err = err});
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
        chain_insert(first, x);
        return false;
    }
    struct keyed_pending *k = NEW(struct keyed_pending);
    memcpy(k->key, key, sizeof k->key);
    k->first = x;
    HASH_ADD(hh, p->keyed, key, ENTRY_SESSION_BYTES, k);
    return true;
}
