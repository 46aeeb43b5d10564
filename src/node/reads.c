/* Linearizable reads. The leader says which index a read must see (ReadIndex, thesis §6.4); the
 * node that was asked serves it from its own state once that is applied, so followers read too.
 *
 * Reads that arrive together are one batch, which moves as a whole from queue to queue:
 *
 *     fresh    to be asked for: its next round asks the core, or the leader elsewhere
 *     asked    the question is under way
 *     indexed  it waits until its index is applied here; in order of index. Whoever waits for what
 *              comes next asks for the index after the last one it has seen
 *     ready    it can be served
 *     held     whoever asked has answers enough to take (node_caller.takes) */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    ASK_AGAIN_US = 20000,     /* how often what was refused is asked again */
    ASK_TIMEOUT_US = 1000000, /* then the leader is asked again */
    HELD_US = 1000000,
    SLICE_US = 1000,
    QUERY_BYTES_MAX = 64 << 20, /* of all that wait */
};

struct read_batch {
    TAILQ_ENTRY(read_batch) link;
    struct read_queue *queue; /* where it is */
    enum read_level level;
    bool index_only;  /* its reads want to know the index, and no more: nothing need be applied */
    uint64_t token;   /* asked: of the question */
    raft_index index; /* what its reads must see: in fresh and asked, as far as they say so */
    TAILQ_HEAD(, pending_read) reads;
};

/* ---- batches -------------------------------------------------------------------------------- */

void reads_init(struct node *n)
{
    struct reads *r = &n->reads;
    TAILQ_INIT(&r->fresh);
    TAILQ_INIT(&r->asked);
    TAILQ_INIT(&r->indexed);
    TAILQ_INIT(&r->ready);
    TAILQ_INIT(&r->held);
    wheel_init(&r->deadlines, node_now(n));
}

static struct read_batch *batch_new(struct read_queue *queue, enum read_level level,
                                    bool index_only)
{
    struct read_batch *b = NEW(struct read_batch);
    TAILQ_INIT(&b->reads);
    b->level = level;
    b->index_only = index_only;
    b->queue = queue;
    TAILQ_INSERT_TAIL(queue, b, link);
    return b;
}

static void batch_move(struct read_batch *b, struct read_queue *to)
{
    TAILQ_REMOVE(b->queue, b, link);
    TAILQ_INSERT_TAIL(to, b, link);
    b->queue = to;
}

/* Behind all those of no greater index: mostly at the end. */
static void batch_move_in_order(struct read_batch *b, struct read_queue *to)
{
    struct read_batch *before = TAILQ_LAST(to, read_queue);
    while (before != NULL && before->index > b->index) {
        before = TAILQ_PREV(before, read_queue, link);
    }
    TAILQ_REMOVE(b->queue, b, link);
    if (before != NULL) {
        TAILQ_INSERT_AFTER(to, before, b, link);
    } else {
        TAILQ_INSERT_HEAD(to, b, link);
    }
    b->queue = to;
}

/* The read leaves its batch, which goes with the last one. */
static void batch_remove(struct pending_read *x)
{
    struct read_batch *b = x->batch;
    TAILQ_REMOVE(&b->reads, x, link);
    x->batch = NULL;
    if (TAILQ_EMPTY(&b->reads)) {
        TAILQ_REMOVE(b->queue, b, link);
        free(b);
    }
}

static struct read_batch *batch_asked(struct reads *r, uint64_t token)
{
    struct read_batch *b;
    TAILQ_FOREACH (b, &r->asked, link) {
        if (b->token == token) {
            return b;
        }
    }
    return NULL;
}

/* ---- coming and going ----------------------------------------------------------------------- */

static void answer(struct node *n, struct pending_read *x, const struct node_reply *reply)
{
    batch_remove(x);
    wheel_clear(&n->reads.deadlines, &x->deadline);
    n->reads.count--;
    n->reads.query_bytes -= x->query.size;
    node_answer(n, x->caller.reply, x->caller.ctx, reply);
    slice_close(&x->query);
    free(x);
}

void reads_give_up(struct node *n)
{
    struct reads *r = &n->reads;
    struct read_queue *queues[] = {&r->fresh, &r->asked, &r->indexed, &r->held, &r->ready};
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        struct read_batch *b;
        while ((b = TAILQ_FIRST(queues[i])) != NULL) {
            answer(n, TAILQ_FIRST(&b->reads), &(struct node_reply){.err = ERR_SHUTDOWN});
        }
    }
    ASSERT(r->count == 0); /* an answer may have moved what was held: to ready, the last one */
}

static struct read_batch *batch_for(struct reads *r, const struct read_request *q)
{
    bool index_only = q->kind == READ_INDEX;
    struct read_queue *queue = q->level == READ_LOCAL ? &r->ready : &r->fresh;
    struct read_batch *b = TAILQ_LAST(queue, read_queue);
    if (b != NULL && b->level == q->level && b->index_only == index_only && b->index == q->index) {
        return b;
    }
    b = batch_new(queue, q->level, index_only);
    b->index = q->index;
    if (q->level == READ_LOCAL && q->index != 0) {
        batch_move_in_order(b, &r->indexed);
    }
    return b;
}

static enum err may_add(struct node *n, const struct read_request *q)
{
    const struct reads *r = &n->reads;
    if (n->failed || stop_refuses(n)) {
        return ERR_SHUTDOWN;
    }
    bool room =
        r->count < n->options.pending_max && r->query_bytes + q->query.size <= QUERY_BYTES_MAX;
    return room ? ERR_OK : ERR_BUSY;
}

void reads_add(struct node *n, const struct read_request *q)
{
    struct reads *r = &n->reads;
    enum err err = may_add(n, q);
    if (err != ERR_OK) {
        node_answer_later(n, q->caller.reply, q->caller.ctx, &(struct node_reply){.err = err});
        return;
    }
    uint64_t now_us = node_now(n);
    struct pending_read *x = NEW(struct pending_read);
    x->kind = q->kind;
    x->query = q->kind == READ_QUERY ? slice_copy(q->query) : (struct slice){0};
    x->caller = q->caller;
    x->batch = batch_for(r, q);
    TAILQ_INSERT_TAIL(&x->batch->reads, x, link);
    wheel_set(&r->deadlines, &x->deadline, now_us + q->timeout_us);
    r->query_bytes += x->query.size;
    r->count++;
    node_want_round(n);
}

/* ---- asking which index --------------------------------------------------------------------- */

/* The question of the batch that has waited longest is under way from here. */
static struct read_batch *ask(struct reads *r)
{
    struct read_batch *b = TAILQ_FIRST(&r->fresh);
    b->token = ++r->next_token;
    batch_move(b, &r->asked);
    return b;
}

static void ask_core(struct node *n)
{
    struct reads *r = &n->reads;
    /* What the core refuses at once goes behind this one, and waits for another round. */
    const struct read_batch *last = TAILQ_LAST(&r->fresh, read_queue);
    const struct read_batch *b;
    do {
        b = ask(r);
        struct raft_event event = {
            .type = RAFT_EVENT_READ,
            .now_us = node_now(n),
            .read = {.token = b->token, .allow_lease = b->level == READ_LEASE},
        };
        node_turn(n, &event);
    } while (b != last);
}

static void index_known(struct node *n, uint64_t token, raft_index index)
{
    struct reads *r = &n->reads;
    struct read_batch *b = batch_asked(r, token);
    if (b == NULL) {
        return; /* the time of all its reads was over */
    }
    b->index = b->index < index ? index : b->index;
    if (b->index_only) {
        batch_move(b, &r->ready);
    } else {
        batch_move_in_order(b, &r->indexed);
    }
    node_want_round(n);
}

/* Ask again for the reads of this batch. */
static void index_refused(struct node *n, uint64_t token)
{
    struct read_batch *b = batch_asked(&n->reads, token);
    if (b != NULL) {
        batch_move(b, &n->reads.fresh);
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
    if (n->reads.asked_token == q.token) {
        n->reads.asked_token = 0; /* else the leader has changed, and another was asked */
    }
    struct reader r = reader_of(reply->result);
    raft_index index = reply->err == ERR_OK ? read_u64(&r) : 0;
    if (reply->err == ERR_OK && reader_end(&r) == ERR_OK) {
        index_known(n, q.token, index);
    } else {
        index_refused(n, q.token); /* asked again soon */
    }
}

static void ask_leader(struct node *n)
{
    struct reads *r = &n->reads;
    const struct outlet *o = sender_outlet(n, n->leader);
    if (r->asked_token != 0 || o == NULL || !o->up) {
        return;
    }
    const struct read_batch *b = ask(r);
    r->asked_token = b->token;
    struct buffer params = {0};
    write_array(&params, 2);
    write_u64(&params, ASK_TIMEOUT_US / 1000);
    write_text(&params, b->level == READ_LEASE ? "lease" : "linearizable");
    struct question *q = NEW(struct question);
    *q = (struct question){.n = n, .token = b->token};
    relay_request(n, n->leader, "read_index", buffer_bytes(&params), ASK_TIMEOUT_US,
                  leader_answered, q);
    buffer_close(&params);
}

void reads_round(struct node *n)
{
    if (TAILQ_EMPTY(&n->reads.fresh)) {
        return;
    }
    if (node_is_leader(n)) {
        if (!proposals_kv_awaited(n)) {
            ask_core(n);
        }
    } else if (n->leader != 0) {
        ask_leader(n);
    }
}

/* What was asked of another leader, or as leader, is asked again. */
void reads_leader_changed(struct node *n)
{
    struct reads *r = &n->reads;
    struct read_batch *b;
    while ((b = TAILQ_FIRST(&r->asked)) != NULL) {
        batch_move(b, &r->fresh);
    }
    r->asked_token = 0; /* a leader that is gone need not be waited for */
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
        .at = {.index = n->apply.last_applied,
               .term = raft_term_at(n->raft, n->apply.last_applied),
               .time_ms = n->apply.time_ms},
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
    answer(n, x, &reply);
}

static void serve(struct node *n, struct pending_read *x)
{
    if (x->kind == READ_QUERY) {
        serve_query(n, x);
        return;
    }
    struct buffer index = {0};
    write_u64(&index, x->batch->index);
    answer(n, x, &(struct node_reply){.err = ERR_OK, .result = buffer_bytes(&index)});
    buffer_close(&index);
}

static void hold(struct reads *r, struct pending_read *x)
{
    raft_index index = x->batch->index; /* a barrier's answer: kept apart from others */
    struct read_batch *held = TAILQ_LAST(&r->held, read_queue);
    if (held == NULL || held->index != index) {
        held = batch_new(&r->held, x->batch->level, x->batch->index_only);
        held->index = index;
    }
    batch_remove(x);
    TAILQ_INSERT_TAIL(&held->reads, x, link);
    x->batch = held;
    x->was_held = true;
}

void node_takes_again(struct node *n)
{
    struct reads *r = &n->reads;
    struct read_batch *b;
    while ((b = TAILQ_FIRST(&r->held)) != NULL) {
        batch_move(b, &r->ready);
    }
    node_want_round(n);
}

void reads_give_up_on_news(struct node *n)
{
    struct read_batch *b;
    while ((b = TAILQ_LAST(&n->reads.indexed, read_queue)) != NULL && b->index > n->commit_index) {
        answer(n, TAILQ_FIRST(&b->reads), &(struct node_reply){.err = ERR_SHUTDOWN});
    }
}

/* What a log that cannot grow does not have does not come to be applied here: the leader may have
 * it, or whoever has room. */
static void refuse_for_space(struct node *n)
{
    struct read_batch *b;
    raft_index last = room_last_index(n);
    while ((b = TAILQ_LAST(&n->reads.indexed, read_queue)) != NULL && b->index > last) {
        answer(n, TAILQ_FIRST(&b->reads),
               &(struct node_reply){.err = ERR_NO_SPACE, .message = ROOM_REFUSAL});
    }
}

bool reads_serve(struct node *n)
{
    struct reads *r = &n->reads;
    struct read_batch *b;
    while ((b = TAILQ_FIRST(&r->indexed)) != NULL && b->index <= n->apply.last_applied) {
        batch_move(b, &r->ready);
    }
    if (!TAILQ_EMPTY(&r->indexed) && room_is_full(n)) {
        refuse_for_space(n);
    }
    uint64_t end_us = node_now(n) + SLICE_US;
    uint32_t seen = 0;
    while ((b = TAILQ_FIRST(&r->ready)) != NULL) {
        struct pending_read *x = TAILQ_FIRST(&b->reads);
        if (x->caller.takes == NULL || x->caller.takes(x->caller.ctx)) {
            serve(n, x);
        } else if (n->stop.stage >= STOP_DRAIN) {
            answer(n, x, &(struct node_reply){.err = ERR_SHUTDOWN});
        } else {
            hold(r, x);
        }
        if ((++seen & 7) == 0 && node_now(n) > end_us) {
            return !TAILQ_EMPTY(&r->ready);
        }
    }
    return false;
}

/* ---- time ----------------------------------------------------------------------------------- */

static struct pending_read *read_of(struct wheel_timer *deadline)
{
    return (struct pending_read *)((char *)deadline - offsetof(struct pending_read, deadline));
}

void reads_tick(struct node *n, uint64_t now_us)
{
    struct reads *r = &n->reads;
    struct wheel_timer *t;
    while ((t = wheel_take(&r->deadlines, now_us)) != NULL) {
        struct pending_read *x = read_of(t);
        if (x->was_held) {
            /* The caller's connection ends the wait. It may also be ready again by now, and not yet
             * have had its turn. */
            wheel_set(&r->deadlines, t, now_us + HELD_US);
            continue;
        }
        enum err err = n->leader == 0 ? ERR_NOT_LEADER : ERR_TIMEOUT;
        answer(n, x, &(struct node_reply){.err = err});
    }
    if (!TAILQ_EMPTY(&r->fresh) && now_us >= r->ask_us) {
        r->ask_us = now_us + ASK_AGAIN_US;
        node_want_round(n);
    }
}

uint64_t reads_deadline(const struct node *n)
{
    const struct reads *r = &n->reads;
    uint64_t at = wheel_deadline(&r->deadlines);
    return TAILQ_EMPTY(&r->fresh) || r->ask_us > at ? at : r->ask_us;
}
