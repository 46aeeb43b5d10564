/* AppendEntries at its sender: Figure 2, §5.3, §5.4.2; pipelining as in thesis §10.2.1. */
#include <string.h>

#include "raft/raft_internal.h"

/* ---- sending ------------------------------------------------------------------------------- */

static struct progress_limits limits_of(const struct raft_options *o)
{
    return (struct progress_limits){
        .window_entries = o->window_entries,
        .window_bytes = o->window_bytes,
        .append_entries_max = o->append_entries_max,
        .append_bytes_max = o->append_bytes_max,
    };
}

/* An append of the entries [next, end). To a peer that needs a snapshot it goes without a place in
 * the log: {0, 0} is held by all. */
static void send_append(struct raft *r, struct peer *peer, raft_index end)
{
    struct progress *p = &peer->progress;
    bool placed = p->mode != RAFT_SNAPSHOT;
    struct raft_pos prev = {0};
    if (placed) {
        prev.index = p->next - 1;
        prev.term = trail_term(&r->trail, prev.index);
    }
    struct raft_message *m = outbox_send(r, RAFT_MESSAGE_APPEND, peer->id);
    m->append = (struct raft_append){
        .prev = prev,
        .commit_index = r->commit_index,
        .count = (uint32_t)(end - p->next),
        .lease_us = r->options.lease_us,
        .round = r->lead.round,
        .sent_us = r->now_us,
    };
    if (placed) {
        peer->commit_sent = r->commit_index < end ? r->commit_index : end - 1;
    }
    if (end > p->next) {
        progress_sent(p, end);
    }
}

/* The end of what may be sent to peer now. */
static raft_index sendable(struct raft *r, struct peer *peer)
{
    struct progress *p = &peer->progress;
    if (p->mode != RAFT_SNAPSHOT && p->next <= r->trail.base.index) {
        snapshot_need(r, peer);
    }
    struct progress_limits limits = limits_of(&r->options);
    return progress_sendable(p, &r->trail, &limits);
}

void leader_replicate(struct raft *r, struct peer *peer)
{
    raft_index end;
    while ((end = sendable(r, peer)) > peer->progress.next) {
        send_append(r, peer, end);
    }
}

void leader_broadcast(struct raft *r)
{
    r->lead.round++;
    r->lead.heartbeat_due_us = r->now_us + r->options.heartbeat_us;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct peer *peer = &r->peers[i];
        send_append(r, peer, sendable(r, peer));
        leader_replicate(r, peer);
    }
}

/* A follower should apply what was committed without waiting for the next heartbeat; but while
 * something is on its way to it, or will be, the news can ride along. */
static void tell_commit(struct raft *r, struct peer *peer)
{
    if (progress_idle(&peer->progress) && peer->progress.next > r->trail.last &&
        peer->commit_sent < r->commit_index) {
        send_append(r, peer, peer->progress.next);
    }
}

/* ---- commit -------------------------------------------------------------------------------- */

/* The leader counts itself by what is durable; not at all once it is removed (thesis §4.2.2). */
static raft_index majority_match(const struct raft *r)
{
    struct quorum q;
    quorum_init(&q);
    if (r->self_voter) {
        quorum_add(&q, r->durable_index);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].voter) {
            quorum_add(&q, r->peers[i].progress.match);
        }
    }
    return quorum_reached(&q);
}

void leader_advance_commit(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    raft_index index = majority_match(r);
    /* Only entries of its own term are committed by counting (§5.4.2, Figure 8). */
    if (index <= r->commit_index || trail_term(&r->trail, index) != r->term) {
        return;
    }
    raft_commit_to(r, index);
    for (uint32_t i = 0; i < r->peers_count; i++) {
        tell_commit(r, &r->peers[i]);
    }
    read_advance(r);
    bool removed = !r->self_voter && r->configs_count == 1;
    if (removed) {
        raft_become_follower(r, r->term, RAFT_STEP_DOWN_REMOVED);
    }
}

/* ---- replies ------------------------------------------------------------------------------- */

static void smooth_round_trip(struct peer *peer, uint64_t sample_us)
{
    uint64_t before_us = peer->round_trip_us;
    peer->round_trip_us = before_us == 0 ? sample_us : (7 * before_us + sample_us) / 8;
}

void leader_heard(struct raft *r, struct peer *peer, uint64_t round, uint64_t sent_us)
{
    peer->heard_us = r->now_us;
    if (sent_us > peer->echoed_sent_us && sent_us <= r->now_us) {
        peer->echoed_sent_us = sent_us;
        smooth_round_trip(peer, r->now_us - sent_us);
    }
    if (round > peer->echoed_round && round <= r->lead.round) {
        peer->echoed_round = round;
    }
    if (r->lead.quorum_lost) {
        r->lead.quorum_due_us = r->now_us; /* perhaps it is back */
    }
}

static void rejected(struct raft *r, struct peer *peer, const struct raft_append_reply *reply)
{
    /* The follower's hint and this log together skip whole terms at a time (end of §5.3). */
    raft_index agree = trail_agree(&r->trail, reply->match, reply->hint_term);
    struct progress_rejection refusal = {
        .prev_index = reply->prev_index,
        .sent_us = reply->sent_us,
        .agree = agree < reply->match ? agree : reply->match,
    };
    if (progress_rejected(&peer->progress, refusal, r->now_us)) {
        leader_replicate(r, peer);
    }
}

static void accepted(struct raft *r, struct peer *peer, raft_index match)
{
    struct progress *p = &peer->progress;
    raft_index match_before = p->match;
    if (!progress_accepted(p, match, r->trail.last)) {
        return;
    }
    if (p->mode == RAFT_SNAPSHOT && p->match >= r->trail.base.index) {
        progress_snapshot_installed(p, p->match);
    }
    leader_replicate(r, peer);
    if (p->match > match_before) {
        leader_advance_commit(r);
    }
    if (r->role == RAFT_LEADER) {
        tell_commit(r, peer);
        transfer_advance(r);
    }
}

void leader_receive_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_LEADER || m->term != r->term) {
        return;
    }
    const struct raft_append_reply *reply = &m->append_reply;
    struct peer *peer = raft_peer(r, m->from);
    leader_heard(r, peer, reply->round, reply->sent_us);
    if (reply->rejected) {
        rejected(r, peer, reply);
    } else {
        accepted(r, peer, reply->match);
    }
    if (r->role == RAFT_LEADER) {
        read_advance(r);
    }
}

void leader_peer_unreachable(struct raft *r, raft_id id)
{
    struct peer *peer = raft_peer(r, id);
    if (r->role == RAFT_LEADER && peer != NULL) {
        progress_lost(&peer->progress, r->now_us);
    }
}

/* ---- proposals ----------------------------------------------------------------------------- */

static enum err may_propose(const struct raft *r, uint64_t size_bytes)
{
    if (r->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (size_bytes > r->options.uncommitted_bytes_max) {
        return ERR_TOO_LARGE;
    }
    uint64_t uncommitted_bytes = trail_bytes(&r->trail, r->commit_index + 1, r->trail.last + 1);
    if (r->lead.transfer_target != 0 ||
        uncommitted_bytes + size_bytes > r->options.uncommitted_bytes_max) {
        return ERR_BUSY;
    }
    return ERR_OK;
}

enum err leader_propose(struct raft *r, const struct raft_event *event)
{
    const uint32_t count = event->propose.count;
    const struct raft_members *config = event->propose.config;
    ASSERT(count > 0);
    ASSERT(config == NULL || count == 1);
    uint64_t size_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_bytes += event->propose.sizes_bytes[i];
    }
    enum err e = may_propose(r, size_bytes);
    if (e == ERR_OK && config != NULL) {
        e = membership_check(r, config);
    }
    if (e != ERR_OK) {
        return e;
    }
    r->out.propose_first = r->trail.last + 1;
    for (uint32_t i = 0; i < count; i++) {
        raft_append_entry(r, r->term, event->propose.sizes_bytes[i]);
    }
    if (config != NULL) {
        membership_append(r, r->trail.last, config);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        leader_replicate(r, &r->peers[i]);
    }
    return ERR_OK;
}

/* ---- time ----------------------------------------------------------------------------------- */

/* Since when a majority, this node included, has been silent. */
static uint64_t majority_heard_us(const struct raft *r)
{
    struct quorum q;
    quorum_init(&q);
    if (r->self_voter) {
        quorum_add(&q, r->now_us);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].voter) {
            quorum_add(&q, r->peers[i].heard_us);
        }
    }
    return quorum_reached(&q);
}

static uint32_t count_reachable(const struct raft *r)
{
    uint32_t reachable = r->self_voter;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct peer *peer = &r->peers[i];
        reachable += peer->voter && r->now_us - peer->heard_us < r->options.election_max_us;
    }
    return reachable;
}

static void note_quorum(struct raft *r, enum raft_note_type type)
{
    struct raft_note *note = outbox_note(r, type);
    note->quorum.reachable = count_reachable(r);
    note->quorum.needed = membership_voters(r) / 2 + 1;
}

/* A leader that a majority does not answer steps down (thesis §6.2), so that its clients look
 * elsewhere. False: it is the leader no more. */
static bool check_quorum(struct raft *r)
{
    uint64_t silent_us = majority_heard_us(r) + r->options.election_max_us;
    if (r->now_us < silent_us) {
        r->lead.quorum_due_us = silent_us;
        if (r->lead.quorum_lost) {
            r->lead.quorum_lost = false;
            note_quorum(r, RAFT_NOTE_QUORUM_REGAINED);
        }
        return true;
    }
    if (!r->lead.quorum_lost) {
        r->lead.quorum_lost = true;
        note_quorum(r, RAFT_NOTE_QUORUM_LOST);
    }
    r->lead.quorum_due_us = UINT64_MAX;
    if (r->options.check_quorum) {
        raft_become_follower(r, r->term, RAFT_STEP_DOWN_QUORUM_LOST);
        return false;
    }
    return true;
}

/* A leader whose disk does not complete a write would hold everyone up: the others can go on. */
static uint64_t disk_due_us(const struct raft *r)
{
    const struct write *oldest = writes_oldest(&r->writes);
    return oldest == NULL ? UINT64_MAX : oldest->asked_us + r->options.election_max_us;
}

void leader_timeout(struct raft *r)
{
    if (r->now_us >= disk_due_us(r)) {
        raft_become_follower(r, r->term, RAFT_STEP_DOWN_DISK);
        return;
    }
    if (r->now_us >= r->lead.quorum_due_us && !check_quorum(r)) {
        return;
    }
    if (r->lead.transfer_target != 0 && r->now_us >= r->lead.transfer_due_us) {
        transfer_abort(r);
        if (r->role != RAFT_LEADER) {
            return;
        }
    }
    if (r->now_us >= r->lead.heartbeat_due_us) {
        leader_broadcast(r);
        snapshot_ask(r);
        transfer_repeat(r);
    }
}

uint64_t leader_deadline(const struct raft *r)
{
    uint64_t due_us = r->lead.heartbeat_due_us;
    if (r->lead.quorum_due_us < due_us) {
        due_us = r->lead.quorum_due_us;
    }
    if (disk_due_us(r) < due_us) {
        due_us = disk_due_us(r);
    }
    if (r->lead.transfer_target != 0 && r->lead.transfer_due_us < due_us) {
        due_us = r->lead.transfer_due_us;
    }
    return due_us;
}

/* ---- start and end -------------------------------------------------------------------------- */

void leader_start(struct raft *r)
{
    ASSERT(r->role == RAFT_CANDIDATE);
    ASSERT(r->durable_term == r->term);
    raft_set_role(r, RAFT_LEADER);
    raft_set_leader(r, r->options.self);
    r->lead.round = 0;
    r->lead.quorum_due_us = r->now_us + r->options.election_max_us;
    r->lead.quorum_lost = false;
    r->lead.lease_given_up = false;
    r->lead.transfer_target = 0;
    r->lead.reads_round = 0;
    ASSERT(r->lead.reads_count == 0);
    for (uint32_t i = 0; i < r->peers_count; i++) {
        struct peer *peer = &r->peers[i];
        *peer = (struct peer){.id = peer->id, .voter = peer->voter, .heard_us = r->now_us};
        progress_init(&peer->progress, r->trail.last + 1);
    }
    /* A no-op commits what earlier terms left (§5.4.2, §8). */
    raft_append_entry(r, r->term, 0);
    r->lead.noop_index = r->trail.last;
    leader_broadcast(r);
}

void leader_stop(struct raft *r)
{
    ASSERT(r->role == RAFT_LEADER);
    read_fail_all(r);
    r->lead.transfer_target = 0;
}
