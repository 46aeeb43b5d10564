#include "node/node.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "node/node_internal.h"

/* ---- the turn ------------------------------------------------------------------------------- */

/* Times in the log never decrease: the last entry of a batch has the greatest. */
static void follow_log_time(struct node *n, struct bytes last_body)
{
    struct entry last;
    enum err err = entry_decode(last_body, &last);
    ASSERT(err == ERR_OK); /* checked when it was received */
    if (last.time_ms > n->log_time_ms) {
        n->log_time_ms = last.time_ms;
    }
}

/* Which entries a step asks to be written depends on what it handled: a proposal's, a received
 * append's, or, on taking office, the no-op that begins a term. */
static void add_to_log(struct node *n, const struct raft_event *event, raft_index lo, raft_index hi)
{
    if (event->type == RAFT_EVENT_RECEIVE && event->receive.message->type == RAFT_MESSAGE_APPEND) {
        const struct raft_append *append = &event->receive.message->append;
        for (raft_index i = lo; i < hi; i++) {
            uint32_t at = (uint32_t)(i - append->prev.index - 1);
            struct slice body = raft_decoded_body(&n->decoded, at);
            log_cache_add_take(&n->log, append->entries[at].term, body);
            if (append->entries[at].is_config) {
                members_append_received(n, i, slice_bytes(body));
            }
        }
        follow_log_time(n, n->decoded.bodies[hi - append->prev.index - 2]);
        return;
    }
    raft_term term = raft_current_term(n->raft);
    if (event->type == RAFT_EVENT_PROPOSE) {
        offer_take_batch(n, term, lo, hi);
        return;
    }
    ASSERT(hi == lo + 1);
    struct entry noop = {.kind = ENTRY_NOOP, .time_ms = node_entry_time(n)};
    struct buffer body = {0};
    entry_encode(&noop, &body);
    log_cache_add_take(&n->log, term, slice_copy(buffer_bytes(&body)));
    buffer_close(&body);
}

static void persist(struct node *n, const struct raft_event *event, const struct raft_effects *fx)
{
    if (fx->persist.write_seq == 0) {
        return;
    }
    if (fx->persist.truncate_from != 0) {
        log_cache_truncate(&n->log, fx->persist.truncate_from);
        members_truncate(n, fx->persist.truncate_from);
    }
    raft_index lo = fx->persist.lo;
    raft_index hi = fx->persist.hi;
    if (lo < hi) {
        ASSERT(log_cache_last(&n->log) + 1 == lo);
        add_to_log(n, event, lo, hi);
        ASSERT(log_cache_last(&n->log) + 1 == hi);
    }
    struct store_entry *entries = sender_store_entries(n, lo, hi);
    struct store_write write = {.write_seq = fx->persist.write_seq,
                                .hard_state = fx->persist.hard_state,
                                .term = fx->persist.term,
                                .vote = fx->persist.vote,
                                .truncate_from = fx->persist.truncate_from,
                                .lo = lo,
                                .count = (uint32_t)(hi - lo),
                                .entries = entries};
    store_write(n->store, &write);
}

void node_turn(struct node *n, const struct raft_event *event)
{
    ASSERT(!n->in_turn);
    n->in_turn = true;
    struct raft_effects fx;
    raft_step(n->raft, event, &fx);
    if (n->options.observer.stepped != NULL) {
        n->options.observer.stepped(n->options.observer.ctx, event, &fx);
    }

    persist(n, event, &fx);
    if (fx.promise != NULL) {
        page_write_promise(n->ports.page, fx.promise);
    }
    for (uint32_t i = 0; i < fx.messages_count; i++) {
        sender_send(n, &fx.messages[i]);
    }
    if (fx.commit_index > n->commit_index) {
        n->commit_index = fx.commit_index;
        n->proposals.blocked = false;
        n->view_stale = true;
        node_want_round(n);
    }
    for (uint32_t i = 0; i < fx.reads_count; i++) {
        reads_answered(n, &fx.reads[i]);
    }
    for (uint32_t i = 0; i < fx.notes_count; i++) {
        news_note(n, &fx.notes[i]);
    }
    n->turn_result = fx.result;
    news_lease(n);
    if (fx.snapshot_needed_by != 0) {
        snapshot_send_needed(n, fx.snapshot_needed_by);
    }
    if (fx.snapshot_store) {
        snapshot_install_chunk(n, &event->receive.message->install_snapshot);
    }
    n->in_turn = false;
}

/* ---- events --------------------------------------------------------------------------------- */

uint64_t node_now(const struct node *n)
{
    return clock_now_us(n->ports.clock);
}

/* Within one leadership the log's time runs as the leader's monotonic clock does: a wall clock that
 * is set meanwhile is followed by the next leader, so that what machines measure between two
 * entries of a term did pass. */
int64_t node_entry_time(struct node *n)
{
    struct log_clock *c = &n->log_clock;
    if (c->term != raft_current_term(n->raft)) {
        int64_t wall_ms = clock_wall_ms(n->ports.clock);
        *c = (struct log_clock){
            .term = raft_current_term(n->raft),
            .began_us = node_now(n),
            .began_ms = wall_ms > n->log_time_ms ? wall_ms : n->log_time_ms,
        };
    }
    int64_t now_ms = c->began_ms + (int64_t)((node_now(n) - c->began_us) / 1000);
    if (now_ms > n->log_time_ms) {
        n->log_time_ms = now_ms;
    }
    return n->log_time_ms;
}

bool node_is_leader(const struct node *n)
{
    return raft_role(n->raft) == RAFT_LEADER;
}

void node_want_round(struct node *n)
{
    if (n->started && !n->round_wanted && n->ports.want_round_end != NULL) {
        n->round_wanted = true;
        n->ports.want_round_end(n->ports.ctx);
    }
}

void node_fail(struct node *n, enum err err, const char *message)
{
    if (n->failed) {
        return;
    }
    n->failed = true;
    log_error(n->ports.log, message, log_text("err", err_name(err)));
    if (n->ports.stopped != NULL) {
        n->ports.stopped(n->ports.ctx, err, message);
    }
}

void node_durable(void *ctx, uint64_t write_seq, struct store_pos last)
{
    struct node *n = ctx;
    struct raft_event event = {
        .type = RAFT_EVENT_PERSISTED,
        .now_us = node_now(n),
        .persisted = {.last = {.index = last.index, .term = last.term}, .write_seq = write_seq},
    };
    node_turn(n, &event);
    log_cache_durable(&n->log, event.persisted.last);
    if (!STAILQ_EMPTY(&n->snapshot_take.waiters)) {
        node_want_round(n); /* it may have waited for this */
    }
}

void node_disk_failed(void *ctx, enum err err, const struct why *why)
{
    struct node *n = ctx;
    struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN,
                               .now_us = node_now(n),
                               .step_down = {.reason = RAFT_STEP_DOWN_DISK}};
    node_turn(n, &event);
    node_fail(n, err, why->text);
}

static void learn_certificate(struct raft_certificate *certificate)
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, certificate->revealed, sizeof certificate->revealed);
    SHA256Final(certificate->incarnation.hash, &sha);
}

void node_certificate(struct node *n, raft_id dead, const uint8_t revealed[16])
{
    struct raft_event event = {
        .type = RAFT_EVENT_CERTIFICATE, .now_us = node_now(n), .certificate = {.dead = dead}};
    memcpy(event.certificate.revealed, revealed, 16);
    learn_certificate(&event.certificate);
    node_turn(n, &event);
}

void node_dropped(struct node *n, raft_id peer, const char *what, enum err e)
{
    if (quiet_allows(&n->quiet, node_now(n))) {
        log_warn(n->ports.log, "dropped a frame of a peer", log_text("what", what),
                 log_text("peer", members_name(n, peer)), log_text("err", err_name(e)),
                 log_u64("not_logged", n->quiet.mentioned));
    }
}

static void receive_raft(struct node *n, raft_id peer, const uint8_t incarnation[32],
                         struct slice frame)
{
    enum err e = raft_message_decode(frame, &n->decoded);
    if (e != ERR_OK) {
        node_dropped(n, peer, "malformed Raft message", e);
        return;
    }
    struct raft_message *m = &n->decoded.message;
    m->from = peer;
    m->to = n->id;
    if (m->type == RAFT_MESSAGE_APPEND && m->append.count > 0 && room_is_full(n)) {
        return; /* The disk is full. The leader tries again; heartbeats pass. */
    }
    if (m->type == RAFT_MESSAGE_VOTE && m->vote.certificate.dead != 0) {
        learn_certificate(&m->vote.certificate);
    }
    struct raft_event event = {.type = RAFT_EVENT_RECEIVE,
                               .now_us = node_now(n),
                               .receive = {.message = m,
                                           .configs = n->decoded.configs,
                                           .configs_count = n->decoded.configs_count}};
    memcpy(event.receive.sender.hash, incarnation, sizeof event.receive.sender.hash);
    node_turn(n, &event);
    silence_heard(n, m);
    snapshot_send_heard(n, m);
}

void node_receive(struct node *n, raft_id peer, const uint8_t incarnation[32], struct slice frame)
{
    switch (peer_frame_of(slice_bytes(frame))) {
    case PEER_FRAME_RAFT:
        receive_raft(n, peer, incarnation, frame);
        break;
    case PEER_FRAME_RPC:
        relay_receive(n, peer, frame);
        break;
    case PEER_FRAME_UNKNOWN:
        node_dropped(n, peer, "frame of unknown type", ERR_INVALID);
        break;
    }
}

void node_link_up(struct node *n, raft_id peer)
{
    struct outlet *outlet = sender_outlet(n, peer);
    if (outlet == NULL) {
        return;
    }
    outlet->up = true;
    outlet->refuses = ERR_OK;
    relay_introduce(n, peer);
    proposals_link_up(n, peer);
    snapshot_send_link_up(n, peer);
    presence_link_up(n, peer);
    n->view_stale = true;
    node_want_round(n);
}

void node_link_down(struct node *n, raft_id peer)
{
    struct outlet *outlet = sender_outlet(n, peer);
    if (outlet == NULL) {
        return;
    }
    outlet->up = false;
    relay_link_down(n, peer);
    struct raft_event event = {.type = RAFT_EVENT_PEER_UNREACHABLE,
                               .now_us = node_now(n),
                               .peer_unreachable = {.id = peer}};
    node_turn(n, &event);
    n->view_stale = true;
    node_want_round(n);
}

static bool most_refuse(struct node *n, enum err verdict)
{
    uint32_t refusals = 0, peers = 0;
    for (uint32_t i = 0; i < members_now(n)->count; i++) {
        const struct outlet *outlet = sender_outlet(n, members_now(n)->at[i].id);
        peers += outlet != NULL;
        refusals += outlet != NULL && outlet->refuses == verdict;
    }
    return refusals > peers / 2;
}

void node_refused(struct node *n, raft_id peer, enum err verdict)
{
    struct outlet *outlet = sender_outlet(n, peer);
    if (outlet == NULL) {
        return;
    }
    outlet->refuses = verdict;
    if (most_refuse(n, ERR_WRONG_NODE)) {
        node_fail(n, ERR_WRONG_NODE,
                  "most peers know this node by another data directory: its disk was wiped or "
                  "replaced, so it may have forgotten votes and entries that it promised to keep; "
                  "restore its old directory, or remove it from the cluster and add it under "
                  "another id");
    } else if (most_refuse(n, ERR_NOT_FOUND)) {
        node_fail(n, ERR_NOT_FOUND,
                  "this node was removed from the cluster; to have it back, add it again "
                  "(moonkeeper members add) and start it");
    }
}

/* §5.4.1, with what we know to be committed in the place of a log. */
static bool knows_more(const struct node *n, struct raft_pos last)
{
    raft_index commit = raft_commit_index(n->raft);
    raft_term term = raft_term_at(n->raft, commit);
    return last.term > term || (last.term == term && last.index > commit);
}

enum err node_check_peer(struct node *n, const struct node_peer *peer)
{
    if (membership_find(members_now(n), peer->id) == NULL) {
        /* An id that we do not know may be of a later configuration than ours (thesis §4.1), or of
         * a node that waits to be added. So may one that was removed and has come back. */
        bool removed = membership_was_removed(members_committed(n), peer->id);
        bool returned = knows_more(n, peer->last) || sender_is_returned(n, peer->id);
        return removed && !returned ? ERR_NOT_FOUND : ERR_OK;
    }
    return store_known_peer(n->store, peer->id, peer->storage_uuid);
}

void node_campaign(struct node *n)
{
    struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN, .now_us = node_now(n)};
    node_turn(n, &event);
}

/* ---- time ----------------------------------------------------------------------------------- */

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t node_deadline(const struct node *n)
{
    uint64_t at = raft_deadline(n->raft);
    at = earliest(at, proposals_deadline(n));
    at = earliest(at, reads_deadline(n));
    at = earliest(at, relay_deadline(n));
    at = earliest(at, messages_deadline(n));
    at = earliest(at, presence_deadline(n));
    at = earliest(at, stop_deadline(n));
    at = earliest(at, change_deadline(n));
    at = earliest(at, feed_deadline(n));
    at = earliest(at, wakes_deadline(n));
    at = earliest(at, snapshot_take_deadline(n));
    at = earliest(at, snapshot_send_deadline(n));
    return earliest(at, room_deadline(n));
}

void node_tick(struct node *n)
{
    uint64_t now = node_now(n);
    if (now >= raft_deadline(n->raft)) {
        struct raft_event event = {.type = RAFT_EVENT_TIMEOUT, .now_us = now};
        node_turn(n, &event);
    }
    proposals_tick(n, now);
    reads_tick(n, now);
    relay_tick(n, now);
    messages_tick(n, now);
    if (now >= presence_deadline(n)) {
        presence_tick(n, now);
    }
    stop_tick(n, now);
    change_tick(n, now);
    feed_tick(n, now);
    wakes_tick(n, now);
    snapshot_take_tick(n, now);
    snapshot_send_tick(n, now);
    room_tick(n, now);
}

/* ---- the end of a round --------------------------------------------------------------------- */

void node_follow_leader(struct node *n)
{
    raft_term term = raft_current_term(n->raft);
    raft_id leader = raft_leader(n->raft);
    if (term == n->leader_term && leader == n->leader) {
        return;
    }
    n->leader_term = term;
    n->leader = leader;
    n->view_stale = true;
    proposals_leader_changed(n);
    reads_leader_changed(n);
    transfer_leader_changed(n);
    snapshot_send_leader_changed(n);
}

void node_answer_later(struct node *n, node_reply_fn reply, void *ctx, const struct node_reply *r)
{
    if (reply == NULL) {
        return;
    }
    struct ready_reply *ready = NEW(struct ready_reply);
    ready->err = r->err;
    ready->message = r->message != NULL ? alloc_string(r->message) : NULL;
    ready->result = r->result.size > 0 ? slice_copy(r->result) : (struct slice){0};
    ready->reply = reply;
    ready->ctx = ctx;
    STAILQ_INSERT_TAIL(&n->ready, ready, link);
    node_want_round(n);
}

void node_give_ready_answers(struct node *n)
{
    struct ready_reply *ready;
    while ((ready = STAILQ_FIRST(&n->ready)) != NULL) {
        STAILQ_REMOVE_HEAD(&n->ready, link);
        node_answer(n, ready->reply, ready->ctx,
                    &(struct node_reply){.err = ready->err,
                                         .message = ready->message,
                                         .result = slice_bytes(ready->result)});
        free(ready->message);
        slice_close(&ready->result);
        free(ready);
    }
}

void node_answer(struct node *n, node_reply_fn reply, void *ctx, const struct node_reply *r)
{
    struct node_reply full = *r;
    char text[160];
    if (full.err == ERR_NOT_LEADER && full.message == NULL) {
        full.message = "no leader is known to this node";
        if (n->leader != 0 && n->leader != n->id) {
            snprintf(text, sizeof text, "this node, %s, is not the leader; %s is", n->name,
                     members_name(n, n->leader));
            full.message = text;
        }
    } else if (full.err != ERR_OK && full.message == NULL) {
        full.message = err_message(full.err);
    }
    if (full.err == ERR_NOT_LEADER && full.leader == NULL) {
        full.leader = status_leader_client_address(n);
    }
    if (reply != NULL) {
        reply(ctx, &full);
    }
}

enum { RECLAIM_PIECES = 256 }; /* some 30 us of work */

void node_round_end(struct node *n)
{
    n->round_wanted = false;
    if (!n->started) {
        return;
    }
    node_follow_leader(n);
    offer_round(n);
    change_round(n);
    reads_round(n);
    bool more = snapshot_install_slice(n);
    more |= apply_slice(n);
    wakes_round(n);
    more |= reads_serve(n);
    more |= state_reclaim(n->state, RECLAIM_PIECES);
    feed_pump(n);
    snapshot_take_round(n);
    snapshot_compact(n);
    stop_advance(n);
    if (n->view_stale) {
        n->view_stale = false;
        news_view(n);
    }
    node_give_ready_answers(n);
    if (more) {
        node_want_round(n);
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

raft_id node_id(const struct node *n)
{
    return n->id;
}

const char *node_name(const struct node *n)
{
    return n->name;
}

bool node_leads(const struct node *n)
{
    return node_is_leader(n) && (!n->options.raft.lease || raft_has_lease(n->raft, node_now(n)));
}

const struct raft *node_raft(const struct node *n)
{
    return n->raft;
}

const struct state *node_state(const struct node *n)
{
    return n->state;
}

raft_index node_last_applied(const struct node *n)
{
    return n->apply.last_applied;
}

const struct membership *node_members(const struct node *n)
{
    return members_now(n);
}

struct raft_pos node_last(const struct node *n)
{
    raft_index last = raft_last_index(n->raft);
    return (struct raft_pos){.index = last, .term = raft_term_at(n->raft, last)};
}

const uint8_t *node_storage_uuid(const struct node *n)
{
    return n->storage_uuid;
}

bool node_log_entry(const struct node *n, raft_index index, raft_term *term, struct bytes *body)
{
    const struct log_cache_entry *entry = log_cache_at(&n->log, index);
    if (entry == NULL) {
        return false;
    }
    *term = entry->term;
    *body = slice_bytes(entry->body);
    return true;
}
