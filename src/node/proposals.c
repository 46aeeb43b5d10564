/* Commands on their way into the log.
 *
 * Each is a pending until it is answered: queued here, or sent, that is, offered to the core of
 * this leader or forwarded to another. It is answered when its entry is applied on this node,
 * whoever the leader was. When the leader changes, or a link broke, what was sent is sent again:
 * sessions see to it that it takes effect once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum {
    BATCH_ENTRIES_MAX = 4096,
    BATCH_BYTES_MAX = 1 << 20,
    FORWARDED_MAX = 65536,
    SCAN_US = 20000, /* how often deadlines are looked at while something is pending */
};

struct keyed_pending {
    uint8_t key[ENTRY_SESSION_BYTES];
    struct pending *first;
    UT_hash_handle hh;
};

void proposals_init(struct node *n)
{
    TAILQ_INIT(&n->proposals.queued);
    TAILQ_INIT(&n->proposals.sent);
    STAILQ_INIT(&n->proposals.forwarded);
}

/* ---- the table of pending ------------------------------------------------------------------- */

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

/* The next number of the session is this pending's. */
static void ring_add(struct proposals *p, struct pending *x)
{
    if (p->next_seq - p->ring_low == p->ring_capacity) {
        ring_grow(p);
    }
    memcpy(x->session, p->session, sizeof x->session);
    x->seq = p->next_seq++;
    *ring_slot(p, x->seq) = x;
}

static struct pending *find(struct proposals *p, const uint8_t *session, uint64_t seq)
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
    p->count--;
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

/* Answer x, and those that share its key, and forget them. */
static void answer(struct node *n, struct pending *x, const struct node_reply *reply)
{
    list_remove(&n->proposals, x);
    table_remove(&n->proposals, x);
    while (x != NULL) {
        struct pending *next = x->next_same_key;
        node_answer(n, x->reply, x->ctx, reply);
        slice_close(&x->content);
        free(x);
        x = next;
    }
}

static void answer_error(struct node *n, struct pending *x, enum err err)
{
    answer(n, x, &(struct node_reply){.err = err});
}

void proposals_close(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x;
    while ((x = TAILQ_FIRST(&p->sent)) != NULL || (x = TAILQ_FIRST(&p->queued)) != NULL) {
        answer_error(n, x, x->sends > 0 ? ERR_OUTCOME_UNKNOWN : ERR_SHUTDOWN);
    }
    struct forwarded *f;
    while ((f = STAILQ_FIRST(&p->forwarded)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->forwarded, link);
        slice_close(&f->body);
        free(f);
    }
    free(p->ring);
    free(p->batch.sizes_bytes);
    p->ring = NULL;
    p->batch.sizes_bytes = NULL;
}

/* ---- this process's session ----------------------------------------------------------------- */

static void session_begin(struct node *n)
{
    struct proposals *p = &n->proposals;
    int64_t wall_ms = clock_wall_ms(n->ports.clock);
    entropy_fill(n->ports.entropy, p->session, sizeof p->session);
    p->session[0] |= 1; /* never all zero */
    p->opened_ms = wall_ms;
    if (p->opened_ms < n->log_time_ms) {
        p->opened_ms = n->log_time_ms;
    }
    p->used_ms = wall_ms;
    p->next_seq = 1;
    p->ring_low = 1;
    p->open = false;
    p->opening_sent = false;
}

/* A session that has been idle for long may have expired: take another. */
static void session_use(struct node *n)
{
    struct proposals *p = &n->proposals;
    int64_t wall_ms = clock_wall_ms(n->ports.clock);
    bool stale = wall_ms - p->used_ms > n->sessions.ttl_ms / 4;
    if (p->opened_ms == 0 || (stale && p->ring_low == p->next_seq)) {
        session_begin(n);
    }
    p->used_ms = wall_ms;
}

/* The session was refused: nothing of it that is still pending was, or ever will be, applied. All
 * of it begins again under a new one. */
static void session_replace(struct node *n)
{
    struct proposals *p = &n->proposals;
    log_info(n->ports.log, "the session of this node has expired; taking another");
    TAILQ_CONCAT(&p->sent, &p->queued, link);
    TAILQ_CONCAT(&p->queued, &p->sent, link);
    memset(p->ring, 0, p->ring_capacity * sizeof *p->ring);
    session_begin(n);
    struct pending *x;
    TAILQ_FOREACH (x, &p->queued, link) {
        x->sent = false;
        if (!x->keyed) {
            x->sends = 0;
            ring_add(p, x);
        }
    }
    node_want_round(n);
}

static void encode_opening(struct node *n, int64_t time_ms, struct buffer *out)
{
    struct proposals *p = &n->proposals;
    struct buffer payload = {0};
    write_i64(&payload, p->opened_ms);
    struct entry e = {.kind = ENTRY_SESSION, .time_ms = time_ms, .payload = buffer_bytes(&payload)};
    memcpy(e.session, p->session, sizeof e.session);
    entry_encode(&e, out);
    buffer_close(&payload);
}

/* ---- taking them in ------------------------------------------------------------------------- */

static void refuse(struct node *n, const struct proposal *q, enum err err)
{
    node_answer_later(n, q->reply, q->ctx, &(struct node_reply){.err = err});
}

static struct pending *pending_new(const struct proposal *q, uint64_t deadline_us)
{
    struct pending *x = NEW(struct pending);
    struct blob *content = blob_new(q->machine.size + q->payload.size);
    if (q->machine.size > 0) {
        memcpy(content->data, q->machine.data, q->machine.size);
    }
    if (q->payload.size > 0) {
        memcpy(content->data + q->machine.size, q->payload.data, q->payload.size);
    }
    x->kind = q->kind;
    x->content = slice_of_take(content);
    x->machine_size = q->machine.size;
    x->deadline_us = deadline_us;
    x->reply = q->reply;
    x->ctx = q->ctx;
    return x;
}

/* False if x joined an earlier call with the same key. */
static bool keyed_add(struct proposals *p, struct pending *x, const uint8_t *key)
{
    memcpy(x->session, key, sizeof x->session);
    x->keyed = true;
    struct pending *first = find(p, key, 0);
    if (first != NULL) {
        x->next_same_key = first->next_same_key;
        first->next_same_key = x;
        if (first->deadline_us < x->deadline_us) {
            first->deadline_us = x->deadline_us;
        }
        return false;
    }
    struct keyed_pending *k = NEW(struct keyed_pending);
    memcpy(k->key, key, sizeof k->key);
    k->first = x;
    HASH_ADD(hh, p->keyed, key, ENTRY_SESSION_BYTES, k);
    return true;
}

void proposals_add(struct node *n, const struct proposal *q)
{
    struct proposals *p = &n->proposals;
    if (n->failed || n->stop.stage >= STOP_DRAIN) {
        refuse(n, q, ERR_SHUTDOWN);
        return;
    }
    if (q->payload.size > n->options.proposal_bytes_max) {
        refuse(n, q, ERR_TOO_LARGE);
        return;
    }
    if (p->count >= n->options.pending_max) {
        refuse(n, q, ERR_BUSY);
        return;
    }
    if (!q->forward && !node_is_leader(n)) {
        refuse(n, q, ERR_NOT_LEADER);
        return;
    }
    struct pending *x = pending_new(q, node_now(n) + q->timeout_us);
    if (q->key != NULL) {
        if (!keyed_add(p, x, q->key)) {
            return;
        }
    } else {
        session_use(n);
        ring_add(p, x);
    }
    if (p->count == 0) {
        p->scan_us = node_now(n) + SCAN_US;
    }
    TAILQ_INSERT_TAIL(&p->queued, x, link);
    p->count++;
    node_want_round(n);
}

void proposals_add_forwarded(struct node *n, struct bytes body)
{
    struct proposals *p = &n->proposals;
    struct entry e;
    if (!node_is_leader(n) || p->forwarded_count >= FORWARDED_MAX || entry_decode(body, &e) != 0 ||
        (e.kind != ENTRY_COMMAND && e.kind != ENTRY_SESSION && e.kind != ENTRY_MACHINE)) {
        return; /* The sender sends it again. */
    }
    struct forwarded *f = NEW(struct forwarded);
    f->body = slice_copy(body);
    STAILQ_INSERT_TAIL(&p->forwarded, f, link);
    p->forwarded_count++;
    node_want_round(n);
}

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

static bool batch_full(const struct node *n)
{
    return n->proposals.batch.count >= BATCH_ENTRIES_MAX || n->bodies.size >= BATCH_BYTES_MAX;
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
    if (p->opened_ms != 0 && !p->open && !p->opening_sent) {
        size_t began = n->bodies.size;
        encode_opening(n, time_ms, &n->bodies);
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

void proposals_take_batch(struct node *n, raft_term term, raft_index lo, raft_index hi)
{
    const struct batch *b = &n->proposals.batch;
    ASSERT(hi - lo == b->count);
    struct blob *bodies = blob_copy(buffer_bytes(&n->bodies));
    size_t offset = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        struct slice body = slice_of(bodies, offset, b->sizes_bytes[i]);
        log_cache_add_take(&n->log, term, body);
        offset += b->sizes_bytes[i];
    }
    blob_unref(bodies);
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

static void drop_forwarded(struct proposals *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct forwarded *f = STAILQ_FIRST(&p->forwarded);
        STAILQ_REMOVE_HEAD(&p->forwarded, link);
        p->forwarded_count--;
        slice_close(&f->body);
        free(f);
    }
}

static void batch_accepted(struct node *n)
{
    struct proposals *p = &n->proposals;
    p->install_kv &= !p->batch.has_machine;
    p->opening_sent |= p->batch.has_opening;
    drop_forwarded(p, p->batch.forwarded_count);
    mark_sent(n, p->batch.pending_count);
}

/* Tell the node that forwarded it that this leader will not take a command. */
static void refuse_forwarded(struct node *n, enum err err)
{
    struct proposals *p = &n->proposals;
    struct forwarded *f;
    STAILQ_FOREACH (f, &p->forwarded, link) {
        struct entry e;
        if (entry_decode(slice_bytes(f->body), &e) != ERR_OK || e.kind != ENTRY_COMMAND) {
            continue;
        }
        struct buffer params = {0};
        write_array(&params, 3);
        write_bin(&params, bytes_of(e.session, sizeof e.session));
        write_u64(&params, e.seq);
        write_text(&params, err_name(err));
        for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
            relay_notify(n, n->sender.outlets[i]->id, "refused", buffer_bytes(&params));
        }
        buffer_close(&params);
    }
    drop_forwarded(p, p->forwarded_count);
}

static void refuse_for_space(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x = TAILQ_FIRST(&p->queued);
    while (x != NULL) {
        struct pending *next = TAILQ_NEXT(x, link);
        if (x->sends == 0) {
            answer_error(n, x, ERR_NO_SPACE);
        }
        x = next;
    }
    refuse_forwarded(n, ERR_NO_SPACE);
}

static void propose(struct node *n)
{
    struct proposals *p = &n->proposals;
    if (!store_accepts_entries(n->store)) {
        refuse_for_space(n);
        return;
    }
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
    if (p->opened_ms != 0 && !p->open && !p->opening_sent) {
        encode_opening(n, 0, &entry);
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

void proposals_round(struct node *n)
{
    if (n->failed) {
        return;
    }
    if (node_is_leader(n)) {
        propose(n);
        return;
    }
    const struct outlet *o = sender_outlet(n, n->leader);
    if (o != NULL && o->up) {
        while (forward_some(n, n->leader)) {
        }
    }
}

/* ---- answers -------------------------------------------------------------------------------- */

void proposals_refused(struct node *n, const uint8_t *session, uint64_t seq, enum err err)
{
    struct pending *x = find(&n->proposals, session, seq);
    if (x != NULL && x->sent && x->sends == 1) {
        answer_error(n, x, err);
    }
}

static bool is_own_session(const struct proposals *p, const struct entry *e)
{
    return p->opened_ms != 0 && memcmp(e->session, p->session, sizeof p->session) == 0;
}

static void opening_applied(struct node *n, const struct entry *e, enum err err)
{
    struct proposals *p = &n->proposals;
    if (!is_own_session(p, e) || p->open) {
        return;
    }
    if (err == ERR_OK) {
        p->open = true;
    } else {
        session_replace(n);
    }
}

void proposals_applied(struct node *n, const struct entry *e, enum session_verdict verdict,
                       const struct outcome *outcome)
{
    struct proposals *p = &n->proposals;
    if (e->kind == ENTRY_SESSION) {
        opening_applied(n, e, outcome->err);
        return;
    }
    struct pending *x = find(p, e->session, e->seq);
    if (x == NULL) {
        return;
    }
    if (verdict == SESSION_EXPIRED) {
        session_replace(n);
        return;
    }
    bool unknown = outcome->result_forgotten || (verdict == SESSION_DUPLICATE && !x->keyed);
    if (unknown) {
        answer(n, x,
               &(struct node_reply){.err = ERR_OUTCOME_UNKNOWN,
                                    .message = "the command was committed, but its result is no "
                                               "longer known"});
        return;
    }
    char message[512];
    snprintf(message, sizeof message, "%.*s", (int)outcome->message.size,
             (const char *)outcome->message.data);
    answer(n, x,
           &(struct node_reply){.err = outcome->err,
                                .message = message[0] != 0 ? message : NULL,
                                .result = outcome->result});
}

/* ---- loss and time -------------------------------------------------------------------------- */

/* All that was sent goes to the head of the queue, in its order. */
static void send_again(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x;
    TAILQ_FOREACH (x, &p->sent, link) {
        x->sent = false;
    }
    TAILQ_CONCAT(&p->sent, &p->queued, link);
    TAILQ_CONCAT(&p->queued, &p->sent, link);
    p->opening_sent = false;
    node_want_round(n);
}

static bool kv_installed(struct node *n)
{
    struct machine_info shipped;
    if (machines_check(bytes_of(n->options.kv_source, n->options.kv_source_size), &shipped, NULL) !=
        ERR_OK) {
        return true; /* Nothing that could be installed; the unit tests of the machine catch it. */
    }
    struct machine_info have;
    for (size_t i = 0; machines_list(n->machines, i, &have); i++) {
        if (strcmp(have.name, shipped.name) == 0) {
            return have.version >= shipped.version;
        }
    }
    return false;
}

void proposals_leader_changed(struct node *n)
{
    struct proposals *p = &n->proposals;
    p->blocked = false;
    send_again(n);
    if (node_is_leader(n)) {
        p->install_kv = n->options.kv_source != NULL && !kv_installed(n);
    } else {
        p->install_kv = false;
        drop_forwarded(p, p->forwarded_count);
    }
}

void proposals_link_up(struct node *n, raft_id peer)
{
    if (peer == n->leader) {
        send_again(n);
    }
}

static enum err why_late(const struct node *n, const struct pending *x)
{
    if (x->sends > 0) {
        return ERR_OUTCOME_UNKNOWN;
    }
    return n->leader == 0 ? ERR_NOT_LEADER : ERR_TIMEOUT;
}

void proposals_tick(struct node *n, uint64_t now_us)
{
    struct proposals *p = &n->proposals;
    if (p->count == 0 || now_us < p->scan_us) {
        return;
    }
    p->scan_us = now_us + SCAN_US;
    uint64_t patience_us = 2 * n->options.raft.election_max_us;
    bool lost = false;
    struct pending_list *lists[] = {&p->sent, &p->queued};
    for (int i = 0; i < 2; i++) {
        struct pending *x = TAILQ_FIRST(lists[i]);
        while (x != NULL) {
            struct pending *next = TAILQ_NEXT(x, link);
            lost |= x->sent && now_us - x->sent_us > patience_us;
            if (now_us >= x->deadline_us) {
                answer_error(n, x, why_late(n, x));
            }
            x = next;
        }
    }
    if (lost && !node_is_leader(n)) {
        send_again(n);
    }
    if (!TAILQ_EMPTY(&p->queued)) {
        node_want_round(n);
    }
}

uint64_t proposals_deadline(const struct node *n)
{
    return n->proposals.count > 0 ? n->proposals.scan_us : UINT64_MAX;
}
