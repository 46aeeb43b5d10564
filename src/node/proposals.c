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
    FORWARDED_MAX = 65536,
    SCAN_US = 20000, /* how often deadlines are looked at while something is pending */
};

void proposals_init(struct node *n)
{
    TAILQ_INIT(&n->proposals.queued);
    TAILQ_INIT(&n->proposals.sent);
    STAILQ_INIT(&n->proposals.forwarded);
}

void proposals_close(struct node *n)
{
    struct proposals *p = &n->proposals;
    struct pending *x;
    while ((x = TAILQ_FIRST(&p->sent)) != NULL || (x = TAILQ_FIRST(&p->queued)) != NULL) {
        pending_answer_error(n, x, x->sends > 0 ? ERR_OUTCOME_UNKNOWN : ERR_SHUTDOWN);
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
    p->count++;
    if (q->key != NULL) {
        if (!pending_key(p, x, q->key)) {
            return;
        }
    } else {
        own_session_use(n);
        pending_number(p, x);
    }
    if (p->count == 1) {
        p->scan_us = node_now(n) + SCAN_US;
    }
    TAILQ_INSERT_TAIL(&p->queued, x, link);
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

/* ---- answers -------------------------------------------------------------------------------- */

void proposals_refused(struct node *n, const uint8_t *session, uint64_t seq, enum err err)
{
    struct pending *x = pending_find(&n->proposals, session, seq);
    if (x != NULL && x->sent && x->sends == 1) {
        pending_answer_error(n, x, err);
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
        own_session_replace(n);
    }
}

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
        offer_drop_forwarded(p, p->forwarded_count);
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
            pending_expire(n, x, now_us, why_late(n, x));
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
