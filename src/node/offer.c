/* Commands leave this node's queue: in batches into the log, if it leads, else to the leader. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    BATCH_ENTRIES_MAX = 4096,
    BATCH_BYTES_MAX = 1 << 20,
};

/* ---- into the log of this leader ------------------------------------------------------------ */

static void encode_pending(const struct pending *x, int64_t time_ms, struct buffer *out)
{
    struct entry e = {
        .kind = x->kind,
        .machine = bytes_of(x->content.data, x->machine_size),
        .seq = x->seq,
        .time_ms = time_ms,
        .payload = bytes_of(x->content.data + x->machine_size, x->content.size - x->machine_size),
    };
    memcpy(e.session, x->session, sizeof e.session);
    entry_encode(&e, out);
}

/* n->bodies has grown by one encoded entry, which began at this size. */
static void batch_add(struct node *n, size_t began)
{
    struct batch *b = &n->proposals.batch;
    if (b->count == b->capacity) {
        b->capacity = b->capacity == 0 ? 64 : b->capacity * 2;
        b->sizes_bytes = alloc_resize(b->sizes_bytes, b->capacity, sizeof *b->sizes_bytes);
    }
    b->sizes_bytes[b->count++] = (uint32_t)(n->bodies.size - began);
}

/* A batch is taken or refused as a whole, so it must leave the core room to take it. */
static bool batch_full(const struct node *n)
{
    uint32_t room = n->options.raft.uncommitted_bytes_max / 2;
    return n->proposals.batch.count >= BATCH_ENTRIES_MAX ||
           n->bodies.size >= (room < BATCH_BYTES_MAX ? room : BATCH_BYTES_MAX);
}

static void batch_build(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct batch *b = &p->batch;
    *b = (struct batch){.sizes_bytes = b->sizes_bytes, .capacity = b->capacity};
    buffer_clear(&n->bodies);
    int64_t time_ms = node_entry_time(n);

    if (p->install_kv) {
        struct entry e = {
            .kind = ENTRY_MACHINE,
            .time_ms = time_ms,
            .payload = bytes_of(n->options.kv_source, n->options.kv_source_size),
        };
        entry_encode(&e, &n->bodies);
        batch_add(n, 0);
        b->has_machine = true;
    }
    if (own_session_needs_opening(n)) {
        size_t began = n->bodies.size;
        own_session_encode_opening(n, time_ms, &n->bodies);
        batch_add(n, began);
        b->has_opening = true;
    }
    const struct forwarded *f;
    STAILQ_FOREACH (f, &p->forwarded, link) {
        if (batch_full(n)) {
            break;
        }
        struct entry e;
        enum err err = entry_decode(slice_bytes(f->body), &e);
        ASSERT(err == ERR_OK); /* checked when it came in */
        e.time_ms = time_ms;
        size_t began = n->bodies.size;
        entry_encode(&e, &n->bodies);
        batch_add(n, began);
        b->forwarded_count++;
    }
    const struct pending *x;
    TAILQ_FOREACH (x, &p->queued, link) {
        if (batch_full(n)) {
            break;
        }
        size_t began = n->bodies.size;
        encode_pending(x, time_ms, &n->bodies);
        batch_add(n, began);
        b->pending_count++;
    }
}

void offer_take_batch(struct node *n, raft_term term, raft_index lo, raft_index hi)
{
    const struct batch *b = &n->proposals.batch;
    ASSERT(hi - lo == b->count);
    struct blob *bodies = blob_copy(buffer_bytes(&n->bodies));
    size_t offset = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        struct slice body = slice_of(bodies, offset, b->sizes_bytes[i]);
        log_cache_add_take(&n->log, term, body);
        offset += b->sizes_bytes[i];
        if (b->is_config) {
            members_append_received(n, lo + i, slice_bytes(body));
        }
    }
    blob_unref(bodies);
}

enum err offer_config(struct node *n, const struct membership *members, struct raft_pos *at)
{
    if (room_is_full(n)) {
        return ERR_NO_SPACE;
    }
    struct buffer payload = {0};
    membership_encode(members, &payload);
    const struct entry e = {
        .kind = ENTRY_CONFIG, .time_ms = node_entry_time(n), .payload = buffer_bytes(&payload)};
    struct batch *b = &n->proposals.batch;
    *b = (struct batch){.sizes_bytes = b->sizes_bytes, .capacity = b->capacity, .is_config = true};
    buffer_clear(&n->bodies);
    entry_encode(&e, &n->bodies);
    buffer_close(&payload);
    batch_add(n, 0);
    struct raft_members to;
    membership_to_raft(members, &to);
    struct raft_event event = {
        .type = RAFT_EVENT_PROPOSE,
        .now_us = node_now(n),
        .propose = {.sizes_bytes = b->sizes_bytes, .count = 1, .config = &to},
    };
    node_turn(n, &event);
    b->is_config = false;
    if (n->turn_result == ERR_OK) {
        at->index = raft_last_index(n->raft);
        at->term = raft_current_term(n->raft);
    }
    return n->turn_result;
}

static void mark_sent(struct node *n, uint32_t count)
{
    struct proposals *p = &n->proposals;
    uint64_t now = node_now(n);
    for (uint32_t i = 0; i < count; i++) {
        struct pending *x = TAILQ_FIRST(&p->queued);
        TAILQ_REMOVE(&p->queued, x, link);
        TAILQ_INSERT_TAIL(&p->sent, x, link);
        x->sent = true;
        x->sends++;
        x->sent_us = now;
    }
}

void offer_drop_forwarded(struct proposals *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct forwarded *f = STAILQ_FIRST(&p->forwarded);
        STAILQ_REMOVE_HEAD(&p->forwarded, link);
        p->forwarded_count--;
        p->forwarded_bytes -= f->body.size;
        slice_close(&f->body);
        free(f);
    }
}

static void batch_accepted(struct node *n)
{
    struct proposals *p = &n->proposals;
    if (p->batch.has_machine) {
        p->install_kv = false;
        p->install_index = raft_last_index(n->raft) + 1 - p->batch.count; /* it goes first */
    }
    p->opening_sent |= p->batch.has_opening;
    offer_drop_forwarded(p, p->batch.forwarded_count);
    mark_sent(n, p->batch.pending_count);
}

/* Tell the nodes that forwarded them that this leader will not take their commands. */
static void refuse_forwarded(struct node *n, enum err err)
{
    struct proposals *p = &n->proposals;
    struct forwarded *f;
    STAILQ_FOREACH (f, &p->forwarded, link) {
        struct entry e;
        if (sender_outlet(n, f->from) == NULL || entry_decode(slice_bytes(f->body), &e) != ERR_OK ||
            e.kind == ENTRY_SESSION) {
            continue;
        }
        struct buffer params = {0};
        write_array(&params, 3);
        write_bin(&params, bytes_of(e.session, sizeof e.session));
        write_u64(&params, e.seq);
        write_text(&params, err_name(err));
        relay_notify(n, f->from, "refused", buffer_bytes(&params));
        buffer_close(&params);
    }
    offer_drop_forwarded(p, p->forwarded_count);
}

/* What was offered before may be in the log of a leader: its outcome is still to be learnt. */
static void refuse_for_space(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x = TAILQ_FIRST(&p->queued);
    while (x != NULL) {
        struct pending *next = TAILQ_NEXT(x, link);
        if (x->sends == 0) {
            pending_answer(n, x,
                           &(struct node_reply){.err = ERR_NO_SPACE, .message = ROOM_REFUSAL});
        }
        x = next;
    }
    refuse_forwarded(n, ERR_NO_SPACE);
}

static void propose(struct node *n)
{
    struct proposals *p = &n->proposals;
    while (!p->blocked && node_is_leader(n)) {
        batch_build(n);
        if (p->batch.count == 0) {
            return;
        }
        struct raft_event event = {
            .type = RAFT_EVENT_PROPOSE,
            .now_us = node_now(n),
            .propose = {.sizes_bytes = p->batch.sizes_bytes, .count = p->batch.count},
        };
        node_turn(n, &event);
        if (n->turn_result != ERR_OK) {
            p->blocked = n->turn_result == ERR_BUSY;
            return;
        }
        batch_accepted(n);
    }
}

/* ---- to the leader elsewhere ---------------------------------------------------------------- */

/* One frame with as much as fits. False if there was nothing to send. */
static bool forward_some(struct node *n, raft_id leader)
{
    struct proposals *p = &n->proposals;
    if (TAILQ_EMPTY(&p->queued)) {
        return false;
    }
    struct buffer entries = {0};
    struct buffer entry = {0};
    uint32_t count = 0;
    uint32_t pending_count = 0;
    if (own_session_needs_opening(n)) {
        own_session_encode_opening(n, 0, &entry);
        write_bin(&entries, buffer_bytes(&entry));
        p->opening_sent = true;
        count++;
    }
    const struct pending *x;
    TAILQ_FOREACH (x, &p->queued, link) {
        if (entries.size >= BATCH_BYTES_MAX || count >= BATCH_ENTRIES_MAX) {
            break;
        }
        buffer_clear(&entry);
        encode_pending(x, 0, &entry);
        write_bin(&entries, buffer_bytes(&entry));
        count++;
        pending_count++;
    }
    struct buffer params = {0};
    write_array(&params, count);
    write_raw(&params, buffer_bytes(&entries));
    relay_notify(n, leader, "append", buffer_bytes(&params));
    mark_sent(n, pending_count);
    buffer_close(&params);
    buffer_close(&entry);
    buffer_close(&entries);
    return true;
}

void offer_round(struct node *n)
{
    if (n->failed) {
        return;
    }
    bool full = room_is_full(n);
    if (full) {
        refuse_for_space(n);
    }
    if (node_is_leader(n)) {
        if (!full) {
            propose(n);
        }
        return;
    }
    const struct outlet *o = sender_outlet(n, n->leader);
    if (o != NULL && o->up) {
        while (forward_some(n, n->leader)) {
        }
    }
}
