/* Linearizable reads. The leader says which index a read must see (ReadIndex, thesis §6.4); the
 * node that was asked serves it from its own state once that is applied, so followers read too.
 * Reads that arrive together are asked for together. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    SCAN_US = 20000,
    ASK_TIMEOUT_US = 1000000, /* then the leader is asked again */
    SLICE_US = 1000,
};

void reads_init(struct node *n)
{
    TAILQ_INIT(&n->reads.waiting);
    TAILQ_INIT(&n->reads.indexed);
}

static void answer(struct node *n, struct read_list *list, struct pending_read *x,
                   const struct node_reply *reply)
{
    TAILQ_REMOVE(list, x, link);
    n->reads.count--;
    node_answer(n, x->reply, x->ctx, reply);
    slice_close(&x->query);
    free(x);
}

void reads_close(struct node *n)
{
    struct read_list *lists[] = {&n->reads.waiting, &n->reads.indexed};
    for (int i = 0; i < 2; i++) {
        struct pending_read *x;
        while ((x = TAILQ_FIRST(lists[i])) != NULL) {
            answer(n, lists[i], x, &(struct node_reply){.err = ERR_SHUTDOWN});
        }
    }
}

void reads_add(struct node *n, const struct read_request *q)
{
    struct reads *r = &n->reads;
    if (n->failed || n->stop.stage >= STOP_DRAIN || r->count >= n->options.pending_max) {
        enum err err = r->count >= n->options.pending_max ? ERR_BUSY : ERR_SHUTDOWN;
        node_answer_later(n, q->reply, q->ctx, &(struct node_reply){.err = err});
        return;
    }
    struct pending_read *x = NEW(struct pending_read);
    *x = (struct pending_read){
        .kind = q->kind,
        .level = q->level,
        .query = q->kind == READ_QUERY ? slice_copy(q->query) : (struct slice){0},
        .deadline_us = node_now(n) + q->timeout_us,
        .reply = q->reply,
        .ctx = q->ctx,
    };
    if (r->count == 0) {
        r->scan_us = node_now(n) + SCAN_US;
    }
    r->count++;
    if (q->level == READ_LOCAL) {
        TAILQ_INSERT_TAIL(&r->indexed, x, link);
    } else {
        TAILQ_INSERT_TAIL(&r->waiting, x, link);
    }
    node_want_round(n);
}

/* ---- asking which index --------------------------------------------------------------------- */

/* Give the reads of this level that wait for the next batch its token. 0 if there are none. */
static uint64_t batch(struct node *n, enum read_level level)
{
    struct pending_read *x;
    uint64_t token = 0;
    TAILQ_FOREACH (x, &n->reads.waiting, link) {
        if (x->token == 0 && x->level == level) {
            if (token == 0) {
                token = ++n->reads.next_token;
            }
            x->token = token;
        }
    }
    return token;
}

static void ask_core(struct node *n, enum read_level level)
{
    uint64_t token = batch(n, level);
    if (token == 0) {
        return;
    }
    struct raft_event event = {
        .type = RAFT_EVENT_READ,
        .now_us = node_now(n),
        .read = {.token = token, .allow_lease = level == READ_LEASE},
    };
    node_turn(n, &event);
}

static void index_known(struct node *n, uint64_t token, raft_index index)
{
    struct pending_read *x = TAILQ_FIRST(&n->reads.waiting);
    while (x != NULL) {
        struct pending_read *next = TAILQ_NEXT(x, link);
        if (x->token == token) {
            TAILQ_REMOVE(&n->reads.waiting, x, link);
            x->index = index;
            TAILQ_INSERT_TAIL(&n->reads.indexed, x, link);
        }
        x = next;
    }
    node_want_round(n);
}

/* Ask again for the reads of this batch. */
static void index_refused(struct node *n, uint64_t token)
{
    struct pending_read *x;
    TAILQ_FOREACH (x, &n->reads.waiting, link) {
        if (x->token == token) {
            x->token = 0;
        }
    }
}

void reads_answered(struct node *n, const struct raft_read_result *result)
{
    if (result->err == ERR_OK) {
        index_known(n, result->token, result->index);
    } else {
        index_refused(n, result->token);
    }
}

struct question { /* to the leader, until it is answered */
    struct node *n;
    uint64_t token;
};

static void leader_answered(void *ctx, const struct node_reply *reply)
{
    struct question q = *(struct question *)ctx;
    free(ctx);
    struct node *n = q.n;
    uint64_t token = q.token;
    if (n->reads.asked_token == token) {
        n->reads.asked_token = 0; /* else the leader has changed, and another was asked */
    }
    struct reader r = reader_of(reply->result);
    raft_index index = reply->err == ERR_OK ? read_u64(&r) : 0;
    if (reply->err == ERR_OK && reader_end(&r) == ERR_OK) {
        index_known(n, token, index);
    } else {
        index_refused(n, token); /* The next scan asks again. */
    }
}

static void ask_leader(struct node *n)
{
    struct reads *r = &n->reads;
    const struct outlet *o = sender_outlet(n, n->leader);
    if (r->asked_token != 0 || o == NULL || !o->up) {
        return;
    }
    enum read_level level = READ_LINEARIZABLE;
    r->asked_token = batch(n, level);
    if (r->asked_token == 0) {
        level = READ_LEASE;
        r->asked_token = batch(n, level);
    }
    if (r->asked_token == 0) {
        return;
    }
    struct buffer params = {0};
    write_array(&params, 2);
    write_u64(&params, ASK_TIMEOUT_US / 1000);
    write_text(&params, level == READ_LEASE ? "lease" : "linearizable");
    struct question *q = NEW(struct question);
    *q = (struct question){.n = n, .token = r->asked_token};
    relay_request(n, n->leader, "read_index", buffer_bytes(&params), ASK_TIMEOUT_US,
                  leader_answered, q);
    buffer_close(&params);
}

void reads_round(struct node *n)
{
    if (TAILQ_EMPTY(&n->reads.waiting)) {
        return;
    }
    if (node_is_leader(n)) {
        ask_core(n, READ_LINEARIZABLE);
        ask_core(n, READ_LEASE);
    } else if (n->leader != 0) {
        ask_leader(n);
    }
}

/* What was asked of another leader, or as leader, is asked again. */
void reads_leader_changed(struct node *n)
{
    struct pending_read *x;
    TAILQ_FOREACH (x, &n->reads.waiting, link) {
        x->token = 0;
    }
    n->reads.asked_token = 0; /* a leader that is gone need not be waited for */
    node_want_round(n);
}

/* ---- serving -------------------------------------------------------------------------------- */

static void serve_query(struct node *n, struct pending_read *x)
{
    struct reader r = reader_of(slice_bytes(x->query));
    read_array_of(&r, 3);
    struct machine_query query = {
        .machine = read_str_or_bin(&r, MACHINE_NAME_BYTES_MAX),
        .name = read_str_or_bin(&r, SIZE_MAX),
        .args = read_raw(&r),
        .at = {.index = n->apply.last_applied, .time_ms = n->apply.time_ms},
    };
    struct why why = {""};
    buffer_clear(&n->apply.result);
    enum err err = reader_end(&r);
    if (err == ERR_OK) {
        err = machines_query(n->machines, &query, &n->apply.result, &why);
    }
    struct node_reply reply = {
        .err = err,
        .message = why.text[0] != 0 ? why.text : NULL,
        .result = buffer_bytes(&n->apply.result),
    };
    answer(n, &n->reads.indexed, x, &reply);
}

static void serve(struct node *n, struct pending_read *x)
{
    if (x->kind == READ_QUERY) {
        serve_query(n, x);
        return;
    }
    struct buffer index = {0};
    write_u64(&index, x->index);
    answer(n, &n->reads.indexed, x,
           &(struct node_reply){.err = ERR_OK, .result = buffer_bytes(&index)});
    buffer_close(&index);
}

bool reads_serve(struct node *n)
{
    uint64_t began = node_now(n);
    uint32_t served = 0;
    struct pending_read *x = TAILQ_FIRST(&n->reads.indexed);
    while (x != NULL) {
        struct pending_read *next = TAILQ_NEXT(x, link);
        if (x->index <= n->apply.last_applied || x->kind == READ_INDEX) {
            serve(n, x);
            if ((++served & 7) == 0 && node_now(n) - began > SLICE_US) {
                return next != NULL;
            }
        }
        x = next;
    }
    return false;
}

/* ---- time ----------------------------------------------------------------------------------- */

void reads_tick(struct node *n, uint64_t now_us)
{
    struct reads *r = &n->reads;
    if (r->count == 0 || now_us < r->scan_us) {
        return;
    }
    r->scan_us = now_us + SCAN_US;
    struct read_list *lists[] = {&r->waiting, &r->indexed};
    for (int i = 0; i < 2; i++) {
        struct pending_read *x = TAILQ_FIRST(lists[i]);
        while (x != NULL) {
            struct pending_read *next = TAILQ_NEXT(x, link);
            if (now_us >= x->deadline_us) {
                enum err err = n->leader == 0 ? ERR_NOT_LEADER : ERR_TIMEOUT;
                answer(n, lists[i], x, &(struct node_reply){.err = err});
            }
            x = next;
        }
    }
    node_want_round(n);
}

uint64_t reads_deadline(const struct node *n)
{
    return n->reads.count > 0 ? n->reads.scan_us : UINT64_MAX;
}
