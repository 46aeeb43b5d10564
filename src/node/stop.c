/* Giving leadership away: on request, and before a planned stop.
 *
 * A planned stop goes through these stages, each of which may be skipped when there is nothing to
 * do; the deadline ends them all:
 *
 *     transfer   leader-only work ends, leadership goes to another voter (thesis §3.10)
 *     hooks      shutdown hooks run; what they write is committed as ever
 *     drain      new commands are refused, those under way are answered; who has come to lead since
 *                the transfer hands over as well
 *     done */
#include "node/node_internal.h"
#include "wire/writer.h"

enum { POLL_US = 5000 };

/* ---- transfer ------------------------------------------------------------------------------- */

static void transfer_answer(struct node *n, enum err err, const char *message)
{
    struct transfer *t = &n->transfer;
    if (!t->active) {
        return;
    }
    t->active = false;
    t->waiting_for_work = false;
    struct buffer result = {0};
    if (err == ERR_OK) {
        write_text(&result, members_name(n, raft_leader(n->raft)));
    } else if (n->scripts != NULL && n->stop.stage == STOP_NONE) {
        script_host_resume_leader_work(n->scripts);
    }
    node_answer_later(
        n, t->reply, t->ctx,
        &(struct node_reply){.err = err, .message = message, .result = buffer_bytes(&result)});
    buffer_close(&result);
}

/* Before TimeoutNow, the work that only a leader may do has ended. */
static void transfer_start(struct node *n)
{
    struct transfer *t = &n->transfer;
    t->waiting_for_work = false;
    struct raft_event event = {
        .type = RAFT_EVENT_TRANSFER, .now_us = node_now(n), .transfer = {.target = t->target}};
    node_turn(n, &event);
    if (n->turn_result == ERR_NOT_FOUND) {
        transfer_answer(n, ERR_NOT_FOUND, "there is no such voter to take over leadership");
    } else if (n->turn_result != ERR_OK) {
        transfer_answer(n, n->turn_result, NULL);
    }
}

void transfer_begin(struct node *n, raft_id target, uint64_t timeout_us, node_reply_fn reply,
                    void *ctx)
{
    struct transfer *t = &n->transfer;
    if (t->active || !node_is_leader(n)) {
        enum err err = t->active ? ERR_BUSY : ERR_NOT_LEADER;
        const char *message = t->active ? "a leadership transfer is under way" : NULL;
        node_answer_later(n, reply, ctx, &(struct node_reply){.err = err, .message = message});
        return;
    }
    if (target == n->id) {
        struct buffer result = {0};
        write_text(&result, n->name);
        node_answer_later(n, reply, ctx, &(struct node_reply){.result = buffer_bytes(&result)});
        buffer_close(&result);
        return;
    }
    *t = (struct transfer){
        .active = true,
        .target = target,
        .term = raft_current_term(n->raft),
        .deadline_us = node_now(n) + timeout_us,
        .reply = reply,
        .ctx = ctx,
    };
    bool scripts_work = n->scripts != NULL && script_host_has_leader_work(n->scripts);
    if (scripts_work || lending_under_way(n)) {
        t->waiting_for_work = true;
        t->scripts_idle = n->scripts == NULL;
        if (n->scripts != NULL) { /* it says when it is idle */
            script_host_end_leader_work(n->scripts);
        }
        return;
    }
    transfer_start(n);
}

void transfer_work_ends(struct node *n)
{
    if (n->transfer.waiting_for_work && n->transfer.scripts_idle && !lending_under_way(n)) {
        transfer_start(n);
    }
}

void transfer_leader_idle(struct node *n)
{
    n->transfer.scripts_idle = true;
    transfer_work_ends(n);
}

void transfer_leader_changed(struct node *n)
{
    struct transfer *t = &n->transfer;
    if (!t->active || n->leader == 0) {
        return;
    }
    if (n->leader != n->id) {
        transfer_answer(n, ERR_OK, NULL);
    } else if (n->leader_term != t->term) {
        transfer_answer(n, ERR_CONFLICT, "this node was elected again");
    }
}

void transfer_aborted(struct node *n)
{
    /* What the core refused meanwhile is offered again: no commit need come to remind of it. */
    n->proposals.blocked = false;
    node_want_round(n);
    if (node_is_leader(n)) {
        transfer_answer(n, ERR_TIMEOUT,
                        "the other node did not take over in time; this one still leads");
    } else if (n->stop.stage == STOP_NONE) {
        transfer_answer(n, ERR_TIMEOUT,
                        "the other node did not take over in time; there is an election");
    } /* else whoever is elected: transfer_leader_changed */
}

/* ---- planned stop --------------------------------------------------------------------------- */

/* Is there a voter that leadership could be handed to? One whose link is down is not: when all
 * nodes of a cluster are stopped, the last one has nobody left. */
static bool has_successor(struct node *n)
{
    const struct membership *members = members_now(n);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct outlet *o = sender_outlet(n, members->at[i].id);
        if (members->at[i].voter && o != NULL && o->up) {
            return true;
        }
    }
    return false;
}

/* Commands need others, and none is there: waiting would not get them committed. */
static bool is_cut_off(struct node *n)
{
    return members_now(n)->count > 1 && !has_successor(n);
}

bool stop_refuses(struct node *n)
{
    return n->stop.stage >= STOP_DRAIN || (n->stop.stage == STOP_HOOKS && is_cut_off(n));
}

static bool is_stopping(const struct node *n)
{
    return n->stop.stage != STOP_NONE && n->stop.stage != STOP_DONE;
}

void node_shutdown(struct node *n, uint64_t deadline_us, void (*done)(void *ctx), void *ctx)
{
    if (n->stop.stage != STOP_NONE) {
        return;
    }
    log_info(n->ports.log, "stopping");
    n->stop =
        (struct stop){.stage = STOP_TRANSFER, .deadline_us = deadline_us, .done = done, .ctx = ctx};
    node_want_round(n);
}

static bool transfer_over(struct node *n)
{
    if (!has_successor(n)) {
        return true;
    }
    if (!node_is_leader(n)) {
        /* Wait for the next leader to be known: what is pending then reaches it. It may be this
         * node again, when a hand-over that was begun before came to nothing. Who lost its majority
         * instead of handing over (all nodes stop at once) would wait for nobody. */
        enum raft_step_down_reason reason = n->news.last_reason;
        bool handing_over = n->transfer.active || reason == RAFT_STEP_DOWN_TRANSFER;
        return n->leader != 0 || !handing_over || reason == RAFT_STEP_DOWN_QUORUM_LOST;
    }
    if (!n->transfer.active) {
        uint64_t now = node_now(n);
        uint64_t left_us = n->stop.deadline_us > now ? n->stop.deadline_us - now : 0;
        transfer_begin(n, 0, left_us, NULL, NULL); /* if refused, again in POLL_US */
    }
    return false;
}

/* Who was elected after its own hand-over, while its hooks ran, and has not handed over again. */
static bool leads_again(struct node *n)
{
    return (node_is_leader(n) || n->transfer.active) && !transfer_over(n);
}

static void finish(struct node *n)
{
    if (node_is_leader(n)) {
        struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN,
                                   .now_us = node_now(n),
                                   .step_down = {.reason = RAFT_STEP_DOWN_SHUTDOWN}};
        node_turn(n, &event);
    }
    n->stop.stage = STOP_DONE;
    node_give_ready_answers(n);
    n->stop.done(n->stop.ctx);
}

void stop_advance(struct node *n)
{
    struct stop *s = &n->stop;
    if (!is_stopping(n)) {
        return;
    }
    if (s->stage == STOP_TRANSFER && transfer_over(n)) {
        s->stage = STOP_HOOKS;
        if (n->scripts != NULL) {
            script_host_shutdown_begin(n->scripts, s->deadline_us);
        }
    }
    bool hooks_over = n->scripts == NULL || script_host_shutdown_finished(n->scripts);
    if (s->stage == STOP_HOOKS && hooks_over) {
        s->stage = STOP_DRAIN;
        store_cancel(n->store); /* a snapshot can be saved another time */
        node_takes_again(n);    /* nobody is waited for who does not take answers */
    }
    if (s->stage == STOP_HOOKS && is_cut_off(n)) { /* what the hooks wait for does not come */
        proposals_give_up(n);
        reads_give_up(n);
    }
    if (s->stage == STOP_DRAIN) {
        reads_give_up_on_news(n);
    }
    bool drained = (n->proposals.count == 0 && n->reads.count == 0) || is_cut_off(n);
    bool over = s->stage == STOP_DRAIN && drained && !leads_again(n);
    if (over || node_now(n) >= s->deadline_us) {
        finish(n);
    }
}

void stop_tick(struct node *n, uint64_t now_us)
{
    struct transfer *t = &n->transfer;
    if (t->active && now_us >= t->deadline_us) {
        transfer_answer(n, ERR_TIMEOUT, "leadership was not handed over in time");
    }
    transfer_work_ends(n);
    if (is_stopping(n)) {
        n->stop.look_us = now_us + POLL_US;
        node_want_round(n);
    }
}

uint64_t stop_deadline(const struct node *n)
{
    uint64_t at = n->transfer.active ? n->transfer.deadline_us : UINT64_MAX;
    if (n->transfer.waiting_for_work && n->transfer.scripts_idle && lending_until(n) < at) {
        at = lending_until(n);
    }
    if (is_stopping(n)) {
        at = at < n->stop.look_us ? at : n->stop.look_us;
    }
    return at;
}

void stop_close(struct node *n)
{
    transfer_answer(n, ERR_SHUTDOWN, NULL);
}
