/* Taking snapshots. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    /* One that took a while is followed by so many times that of rest: writing a large state again
     * and again may take a fifth of the disk, not all of it. */
    REST_TIMES = 4,
    RETRY_MIN_US = 1000000,
    RETRY_MAX_US = 60000000,
    WAITERS_MAX = 1024, /* each that comes, and each round, looks at all of them */
};

void snapshot_take_init(struct node *n)
{
    STAILQ_INIT(&n->snapshot_take.waiters);
}

static void answer_waiters(struct node *n, raft_index upto, const struct node_reply *reply)
{
    struct snapshot_take *t = &n->snapshot_take;
    struct snapshot_waiter *w = STAILQ_FIRST(&t->waiters);
    while (w != NULL) {
        struct snapshot_waiter *next = STAILQ_NEXT(w, link);
        if (w->wanted <= upto) {
            STAILQ_REMOVE(&t->waiters, w, snapshot_waiter, link);
            t->waiters_count--;
            node_answer_later(n, w->reply, w->ctx, reply);
            free(w);
        }
        w = next;
    }
}

void snapshot_take_close(struct node *n)
{
    struct snapshot_take *t = &n->snapshot_take;
    answer_waiters(n, UINT64_MAX, &(struct node_reply){.err = ERR_SHUTDOWN});
    if (t->root != NULL) {
        state_snapshot_release(n->state, t->root);
        t->root = NULL;
    }
}

/* Who is satisfied with the one in place. */
static void answer_with_snapshot(struct node *n)
{
    const struct store_snapshot *s = store_snapshot(n->store);
    struct buffer result = {0};
    write_map(&result, 3);
    write_text(&result, "index");
    write_u64(&result, s->last.index);
    write_text(&result, "term");
    write_u64(&result, s->last.term);
    write_text(&result, "bytes");
    write_u64(&result, s->bytes);
    answer_waiters(n, s->last.index,
                   &(struct node_reply){.err = ERR_OK, .result = buffer_bytes(&result)});
    buffer_close(&result);
}

/* ---- when ----------------------------------------------------------------------------------- */

static bool is_due(const struct node *n)
{
    const struct snapshot_take *t = &n->snapshot_take;
    const struct node_snapshot_options *o = &n->options.snapshot;
    uint64_t entries = n->apply.last_applied - store_snapshot(n->store)->last.index;
    bool grown =
        (o->entries != 0 && entries >= o->entries) || (o->bytes != 0 && t->log_bytes >= o->bytes);
    return grown && node_now(n) >= t->not_before_us;
}

static bool may_take(const struct node *n)
{
    return !n->snapshot_take.saving && !snapshot_install_busy(n) && !n->apply.failed &&
           !n->failed && n->stop.stage < STOP_DRAIN &&
           n->apply.last_applied > store_snapshot(n->store)->last.index;
}

/* ---- taking --------------------------------------------------------------------------------- */

static void fail(struct node *n, const struct store_save *save)
{
    struct snapshot_take *t = &n->snapshot_take;
    uint64_t wait_us = RETRY_MIN_US;
    for (uint32_t i = 0; i < t->failures && wait_us < RETRY_MAX_US; i++) {
        wait_us *= 2;
    }
    t->retry_us = node_now(n) + (wait_us < RETRY_MAX_US ? wait_us : RETRY_MAX_US);
    t->not_before_us = t->retry_us;
    if (t->failures++ == 0 && save->err != ERR_CANCELLED) {
        log_warn(n->ports.log, "a snapshot could not be saved; the log grows until one can",
                 log_text("err", err_name(save->err)), log_text("reason", save->why.text));
    }
    answer_waiters(n, save->last.index,
                   &(struct node_reply){.err = save->err, .message = save->why.text});
}

static void save_done(struct store_save *save)
{
    struct node *n = save->ctx;
    struct snapshot_take *t = &n->snapshot_take;
    t->saving = false;
    t->renew = false;
    state_snapshot_release(n->state, t->root);
    t->root = NULL;
    node_want_round(n);
    if (save->err != ERR_OK && save->err != ERR_EXISTS) {
        fail(n, save);
        return;
    }
    t->failures = 0;
    uint64_t now_us = node_now(n);
    t->not_before_us = now_us + REST_TIMES * (now_us - t->began_us);
    if (save->err == ERR_OK) {
        const struct store_snapshot *s = store_snapshot(n->store);
        t->log_bytes -= t->root_log_bytes;
        log_info(n->ports.log, "snapshot created", log_u64("index", s->last.index),
                 log_u64("bytes", s->bytes), log_u64("took_ms", (now_us - t->began_us) / 1000));
        news_snapshot(n, "created", s, 0);
        snapshot_send_newer(n);
    }
    answer_with_snapshot(n);
    n->view_stale = true;
}

static void take(struct node *n)
{
    struct snapshot_take *t = &n->snapshot_take;
    struct raft_pos last = {.index = n->apply.last_applied};
    last.term = raft_term_at(n->raft, last.index);
    struct snapshot_about about = {.members = *members_at(n, last.index),
                                   .time_ms = n->apply.time_ms};
    struct buffer encoded = {0};
    snapshot_about_encode(&about, &encoded);
    t->root = state_snapshot_take(n->state);
    t->saving = true;
    t->began_us = node_now(n);
    t->root_log_bytes = t->log_bytes;
    t->save = (struct store_save){
        .last = {.index = last.index, .term = last.term},
        .about = buffer_bytes(&encoded),
        .root = t->root,
        .done = save_done,
        .ctx = n,
    };
    store_save(n->store, &t->save);
    buffer_close(&encoded);
}

void snapshot_take_round(struct node *n)
{
    struct snapshot_take *t = &n->snapshot_take;
    bool asked = !STAILQ_EMPTY(&t->waiters) || t->renew;
    if ((!asked && !is_due(n)) || !may_take(n)) {
        return;
    }
    /* What is committed may not be on this node's own disk yet. The log has to reach as far as the
     * snapshot, or it would be lost for it at a restart. */
    raft_status(n->raft, &n->status);
    if (n->apply.last_applied <= n->status.durable_index) {
        take(n);
    }
}

/* ---- on demand ------------------------------------------------------------------------------ */

void snapshot_take_ask(struct node *n, uint64_t timeout_us, node_reply_fn reply, void *ctx)
{
    struct snapshot_take *t = &n->snapshot_take;
    enum err err = ERR_OK;
    const char *message = NULL;
    if (n->failed || n->stop.stage >= STOP_DRAIN) {
        err = ERR_SHUTDOWN;
    } else if (snapshot_install_busy(n)) {
        err = ERR_BUSY;
        message = "this node is installing a snapshot of its leader's";
    } else if (t->waiters_count >= WAITERS_MAX) {
        err = ERR_BUSY;
        message = "too many wait for a snapshot already";
    } else if (n->apply.last_applied == 0) {
        err = ERR_NOT_FOUND;
        message = "nothing has been applied yet: there is nothing to save";
    }
    if (err != ERR_OK) {
        node_answer_later(n, reply, ctx, &(struct node_reply){.err = err, .message = message});
        return;
    }
    struct snapshot_waiter *w = NEW(struct snapshot_waiter);
    *w = (struct snapshot_waiter){.wanted = n->apply.last_applied,
                                  .deadline_us = node_now(n) + timeout_us,
                                  .reply = reply,
                                  .ctx = ctx};
    STAILQ_INSERT_TAIL(&t->waiters, w, link);
    t->waiters_count++;
    answer_with_snapshot(n);
    node_want_round(n);
}

void snapshot_take_renew(struct node *n)
{
    n->snapshot_take.renew = true;
    node_want_round(n);
}

void snapshot_take_tick(struct node *n, uint64_t now_us)
{
    struct snapshot_take *t = &n->snapshot_take;
    struct snapshot_waiter *w = STAILQ_FIRST(&t->waiters);
    while (w != NULL) {
        struct snapshot_waiter *next = STAILQ_NEXT(w, link);
        if (now_us >= w->deadline_us) {
            STAILQ_REMOVE(&t->waiters, w, snapshot_waiter, link);
            t->waiters_count--;
            node_answer_later(n, w->reply, w->ctx,
                              &(struct node_reply){.err = ERR_TIMEOUT,
                                                   .message = "the snapshot is still being saved"});
            free(w);
        }
        w = next;
    }
    if (t->retry_us != 0 && now_us >= t->retry_us) {
        t->retry_us = 0;
        node_want_round(n);
    }
}

uint64_t snapshot_take_deadline(const struct node *n)
{
    const struct snapshot_take *t = &n->snapshot_take;
    uint64_t at = t->retry_us != 0 ? t->retry_us : UINT64_MAX;
    const struct snapshot_waiter *w;
    STAILQ_FOREACH (w, &t->waiters, link) {
        at = w->deadline_us < at ? w->deadline_us : at;
    }
    return at;
}
