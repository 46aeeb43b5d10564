/* Commands on their way into the log.
 *
 * Each is a pending (pending.c) until it is answered: queued here, or sent (offer.c), that is, in
 * the log of this leader or forwarded to another. It is answered when its entry is applied on this
 * node, whoever the leader was. When the leader changes, or a link broke, what was sent is sent
 * again: sessions see to it that it takes effect once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "node/node_internal.h"

enum {
    PENDING_BYTES_MAX = 64 << 20,
    FORWARDED_MAX = 65536,
    FORWARDED_BYTES_MAX = 32 << 20,
    PATIENCE_DOUBLINGS = 4,
};

/* An answer normally takes a round trip and two disk writes; with a new leader, an election more.
 */
static uint64_t patience_us(const struct node *n)
{
    return 2 * n->options.raft.election_max_us;
}

void proposals_init(struct node *n)
{
    TAILQ_INIT(&n->proposals.queued);
    TAILQ_INIT(&n->proposals.sent);
    STAILQ_INIT(&n->proposals.forwarded);
    wheel_init(&n->proposals.deadlines, node_now(n));
    n->proposals.patience_us = patience_us(n);
}

void proposals_give_up(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x;
    while ((x = TAILQ_FIRST(&p->sent)) != NULL || (x = TAILQ_FIRST(&p->queued)) != NULL) {
        pending_answer_error(n, x, x->sends > 0 ? ERR_OUTCOME_UNKNOWN : ERR_SHUTDOWN);
    }
}

void proposals_close(struct node *n)
{
    struct proposals *p = &n->proposals;
    proposals_give_up(n);
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

/* ---- taking them in ------------------------------------------------------------------------- */

static void refuse(struct node *n, const struct proposal *q, enum err err)
{
    n->counters.proposals[err]++;
    const char *message = err == ERR_NO_SPACE ? ROOM_REFUSAL : NULL;
    node_answer_later(n, q->reply, q->ctx, &(struct node_reply){.err = err, .message = message});
}

static struct pending *pending_new(const struct proposal *q)
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
    x->reply = q->reply;
    x->ctx = q->ctx;
    return x;
}

void proposals_add(struct node *n, const struct proposal *q)
{
    struct proposals *p = &n->proposals;
    if (n->failed || stop_refuses(n)) {
        refuse(n, q, ERR_SHUTDOWN);
        return;
    }
    if (q->payload.size > n->options.proposal_bytes_max) {
        refuse(n, q, ERR_TOO_LARGE);
        return;
    }
    if (p->count >= n->options.pending_max ||
        p->bytes + q->machine.size + q->payload.size > PENDING_BYTES_MAX) {
        refuse(n, q, ERR_BUSY);
        return;
    }
    if (!q->forward && !node_is_leader(n)) {
        refuse(n, q, ERR_NOT_LEADER);
        return;
    }
    if (room_is_full(n)) { /* it would be answered when it is applied here */
        refuse(n, q, ERR_NO_SPACE);
        return;
    }
    struct pending *x = pending_new(q);
    p->count++;
    p->bytes += x->content.size;
    wheel_set(&p->deadlines, &x->deadline, node_now(n) + q->timeout_us);
    if (q->key != NULL) {
        if (!pending_key(p, x, q->key)) {
            return;
        }
    } else {
        own_session_use(n);
        pending_number(p, x);
    }
    TAILQ_INSERT_TAIL(&p->queued, x, link);
    node_want_round(n);
}

void proposals_add_forwarded(struct node *n, raft_id from, struct bytes body)
{
    struct proposals *p = &n->proposals;
    struct entry e;
    if (!node_is_leader(n) || p->forwarded_count >= FORWARDED_MAX ||
        p->forwarded_bytes + body.size > FORWARDED_BYTES_MAX || entry_decode(body, &e) != 0 ||
        (e.kind != ENTRY_COMMAND && e.kind != ENTRY_SESSION && e.kind != ENTRY_MACHINE)) {
        return; /* The sender sends it again. */
    }
    struct forwarded *f = NEW(struct forwarded);
    f->from = from;
    f->body = slice_copy(body);
    STAILQ_INSERT_TAIL(&p->forwarded, f, link);
    p->forwarded_count++;
    p->forwarded_bytes += body.size;
    node_want_round(n);
}

/* ---- answers -------------------------------------------------------------------------------- */

void proposals_refused(struct node *n, const uint8_t *session, uint64_t seq, enum err err)
{
    struct pending *x = pending_find(&n->proposals, session, seq);
    if (x == NULL || !x->sent || x->sends != 1) {
        return;
    }
    const char *message = err == ERR_NO_SPACE ? "the disk of the leader is full; another node "
                                                "leads in a moment if it has room"
                                              : NULL;
    pending_answer(n, x, &(struct node_reply){.err = err, .message = message});
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
        own_session_replace(n);
    }
}

/* All that was sent goes to the head of the queue, in its order. */
static void send_again(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x;
    p->patience_us = patience_us(n);
    TAILQ_FOREACH (x, &p->sent, link) {
        x->sent = false;
    }
    TAILQ_CONCAT(&p->sent, &p->queued, link);
    TAILQ_CONCAT(&p->queued, &p->sent, link);
    p->opening_sent = false;
    node_want_round(n);
}

void proposals_applied(struct node *n, const struct entry *e, enum session_verdict verdict,
                       const struct outcome *outcome)
{
    struct proposals *p = &n->proposals;
    if (e->kind == ENTRY_SESSION) {
        opening_applied(n, e, outcome->err);
        return;
    }
    struct pending *x = pending_find(p, e->session, e->seq);
    if (x == NULL) {
        return;
    }
    p->patience_us = patience_us(n);
    if (verdict == SESSION_EXPIRED) {
        if (p->open) {
            own_session_replace(n);
        } else {
            /* It overtook the opening, which may yet be applied, and copies of x after it: under
             * another session x would then take effect twice. */
            send_again(n);
        }
        return;
    }
    bool unknown = outcome->result_forgotten || (verdict == SESSION_DUPLICATE && !x->keyed);
    if (unknown) {
        pending_answer(n, x,
                       &(struct node_reply){.err = ERR_OUTCOME_UNKNOWN,
                                            .message =
                                                "the command was committed, but its result is no "
                                                "longer known"});
        return;
    }
    char message[512];
    snprintf(message, sizeof message, "%.*s", (int)outcome->message.size,
             (const char *)outcome->message.data);
    pending_answer(n, x,
                   &(struct node_reply){.err = outcome->err,
                                        .message = message[0] != 0 ? message : NULL,
                                        .result = outcome->result});
}

/* ---- loss and time -------------------------------------------------------------------------- */

/* Does the kv machine that ships have to be installed, and is it the first of its name? */
static void look_for_kv(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct machine_info shipped;
    if (n->options.kv_source == NULL ||
        machines_check(bytes_of(n->options.kv_source, n->options.kv_source_size), &shipped, NULL) !=
            ERR_OK) {
        return; /* Nothing that could be installed; the unit tests of the machine catch it. */
    }
    p->install_kv = p->kv_is_new = true;
    struct machine_info have;
    for (size_t i = 0; machines_list(n->machines, i, &have); i++) {
        if (strcmp(have.name, shipped.name) == 0) {
            p->install_kv = have.version < shipped.version;
            p->kv_is_new = false;
        }
    }
}

bool proposals_kv_awaited(const struct node *n)
{
    const struct proposals *p = &n->proposals;
    return p->kv_is_new && (p->install_kv || n->apply.last_applied < p->install_index);
}

void proposals_leader_changed(struct node *n)
{
    struct proposals *p = &n->proposals;
    p->blocked = false;
    send_again(n);
    p->install_kv = p->kv_is_new = false;
    p->install_index = 0;
    if (node_is_leader(n)) {
        look_for_kv(n);
    } else {
        offer_drop_forwarded(p, p->forwarded_count);
    }
}

void proposals_skipped(struct node *n)
{
    send_again(n);
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

/* What was forwarded so long ago is lost, or the leader has no room for it: in case it is that,
 * each time is waited for twice as long, as long as nothing comes back. */
static void send_lost_again(struct node *n, uint64_t now_us)
{
    struct proposals *p = &n->proposals;
    struct pending_list lost = TAILQ_HEAD_INITIALIZER(lost);
    struct pending *x;
    while ((x = TAILQ_FIRST(&p->sent)) != NULL && now_us - x->sent_us > p->patience_us) {
        TAILQ_REMOVE(&p->sent, x, link);
        TAILQ_INSERT_TAIL(&lost, x, link);
        x->sent = false;
    }
    if (TAILQ_EMPTY(&lost)) {
        return;
    }
    TAILQ_CONCAT(&lost, &p->queued, link);
    TAILQ_CONCAT(&p->queued, &lost, link);
    p->opening_sent = false;
    if (p->patience_us < patience_us(n) << PATIENCE_DOUBLINGS) {
        p->patience_us *= 2;
    }
}

static struct pending *pending_of(struct wheel_timer *deadline)
{
    return (struct pending *)((char *)deadline - offsetof(struct pending, deadline));
}

void proposals_tick(struct node *n, uint64_t now_us)
{
    struct proposals *p = &n->proposals;
    struct wheel_timer *t;
    while ((t = wheel_take(&p->deadlines, now_us)) != NULL) {
        struct pending *x = pending_of(t);
        const struct pending *first = pending_find(p, x->session, x->seq);
        pending_answer_late(n, x, why_late(n, first));
    }
    if (!node_is_leader(n)) {
        send_lost_again(n, now_us);
    }
    if (!TAILQ_EMPTY(&p->queued)) {
        node_want_round(n);
    }
}

uint64_t proposals_deadline(const struct node *n)
{
    return wheel_deadline(&n->proposals.deadlines);
}
