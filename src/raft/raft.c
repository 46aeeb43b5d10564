#include "raft/raft.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "raft/raft_internal.h"

/* ---- start and end ------------------------------------------------------------------------- */

static void check_options(const struct raft_options *o)
{
    ASSERT(o->self != 0);
    ASSERT(o->election_min_us > 0);
    ASSERT(o->election_min_us <= o->election_max_us);
    ASSERT(o->heartbeat_us > 0);
    ASSERT(o->lease_us <= o->election_min_us);
    ASSERT(o->drift_permille < 500);
    ASSERT(o->window_entries > 0);
    ASSERT(o->window_bytes > 0);
    ASSERT(o->append_entries_max > 0);
    ASSERT(o->uncommitted_bytes_max > 0);
}

struct raft *raft_new(const struct raft_options *options, const struct raft_boot *boot)
{
    check_options(options);
    ASSERT(membership_valid(&boot->members));
    struct raft *r = NEW(struct raft);
    r->options = *options;
    rng_seed(&r->rng, options->seed);
    r->now_us = boot->now_us;

    r->term = r->durable_term = r->asked_term = boot->term;
    r->vote = r->durable_vote = r->asked_vote = boot->vote;
    trail_init(&r->trail, boot->snapshot);
    writes_init(&r->writes);
    outbox_init(&r->out);
    r->durable_index = boot->snapshot.index;
    r->commit_index = boot->snapshot.index;

    r->promise = boot->promise;
    r->quiet_until_us = boot->quiet_until_us;

    r->installing.last = boot->incoming;
    r->installing.received_bytes = r->installing.stored_bytes = boot->incoming_bytes;

    membership_init(r, &boot->members, boot->snapshot.index);
    r->role = membership_may_stand(r) ? RAFT_FOLLOWER : RAFT_LEARNER;
    election_start_timer(r);
    return r;
}

void raft_free(struct raft *r)
{
    if (r == NULL) {
        return;
    }
    trail_close(&r->trail);
    writes_close(&r->writes);
    outbox_close(&r->out);
    free(r->lead.reads);
    free(r->configs);
    free(r);
}

void raft_restore(struct raft *r, struct raft_entry entry, const struct raft_members *members)
{
    ASSERT(r->writes.last_seq == 0);
    ASSERT(entry.is_config == (members != NULL));
    trail_append(&r->trail, entry.term, entry.size_bytes);
    r->durable_index = r->trail.last;
    if (members != NULL) {
        membership_append(r, r->trail.last, members);
        election_start_timer(r);
    }
}

void raft_restore_committed(struct raft *r, raft_index index)
{
    ASSERT(r->writes.last_seq == 0);
    ASSERT(index <= r->trail.last);
    if (index > r->commit_index) {
        r->commit_index = index;
        membership_committed(r);
        election_start_timer(r);
    }
}

/* ---- what all roles share ------------------------------------------------------------------ */

struct peer *raft_peer(struct raft *r, raft_id id)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].id == id) {
            return &r->peers[i];
        }
    }
    return NULL;
}

void raft_set_role(struct raft *r, enum raft_role role)
{
    if (r->role == role) {
        return;
    }
    struct raft_note *note = outbox_note(r, RAFT_NOTE_ROLE_CHANGE);
    note->role_change.from = r->role;
    note->role_change.to = role;
    r->role = role;
}

/* A hook on leader_elected may rely on the term: it hears of the leader once that is durable. */
static void announce_leader(struct raft *r)
{
    if (r->leader == 0 || r->leader_announced || r->durable_term != r->term) {
        return;
    }
    r->leader_announced = true;
    outbox_note(r, RAFT_NOTE_LEADER_ELECTED)->leader_elected.leader = r->leader;
}

void raft_set_leader(struct raft *r, raft_id leader)
{
    r->attempt = 0;
    r->transfer_campaign = false;
    r->certificate.dead = 0;
    if (r->leader == leader) {
        return;
    }
    ASSERT(r->leader == 0);
    r->leader = leader;
    r->leader_announced = false;
    announce_leader(r);
}

void raft_lose_leader(struct raft *r, enum raft_leader_lost_reason reason)
{
    if (r->leader != 0 && r->leader_announced) {
        struct raft_note *note = outbox_note(r, RAFT_NOTE_LEADER_LOST);
        note->leader_lost.leader = r->leader;
        note->leader_lost.reason = reason;
    }
    r->leader = 0;
    r->leader_announced = false;
}

static void enter_term(struct raft *r, raft_term term)
{
    ASSERT(term > r->term);
    outbox_drop_held(r);
    r->term = term;
    r->vote = 0;
    r->follower.verified = 0;
    r->follower.ack_owed = false;
    r->follower.round = 0;
    r->follower.sent_us = 0;
}

static void stop_leading(struct raft *r, enum raft_step_down_reason reason)
{
    raft_id successor = 0;
    if (reason == RAFT_STEP_DOWN_HIGHER_TERM && r->lead.transfer_target != 0) {
        reason = RAFT_STEP_DOWN_TRANSFER;
        successor = r->lead.transfer_target;
    }
    leader_stop(r);
    struct raft_note *note = outbox_note(r, RAFT_NOTE_STEP_DOWN);
    note->step_down.reason = reason;
    note->step_down.successor = successor;
    raft_lose_leader(r, RAFT_LOST_STEPPED_DOWN);
}

void raft_become_follower(struct raft *r, raft_term term, enum raft_step_down_reason reason)
{
    ASSERT(term >= r->term);
    bool was_leader = r->role == RAFT_LEADER;
    if (was_leader) {
        stop_leading(r, reason);
    }
    if (term > r->term) {
        raft_lose_leader(r, RAFT_LOST_HIGHER_TERM);
        enter_term(r, term);
    } else {
        outbox_drop_requests(r);
    }
    raft_set_role(r, membership_may_stand(r) ? RAFT_FOLLOWER : RAFT_LEARNER);
    if (was_leader) {
        election_reset_timer(r);
    }
}

void raft_become_candidate(struct raft *r)
{
    ASSERT(r->leader == 0);
    enter_term(r, r->term + 1);
    r->vote = r->options.self;
    raft_set_role(r, RAFT_CANDIDATE);
}

void raft_commit_to(struct raft *r, raft_index index)
{
    ASSERT(index <= r->trail.last);
    if (index <= r->commit_index) {
        return;
    }
    r->commit_index = index;
    membership_committed(r);
}

void raft_append_entry(struct raft *r, raft_term term, uint32_t size_bytes)
{
    trail_append(&r->trail, term, size_bytes);
    struct outbox *o = &r->out;
    if (o->lo == o->hi) {
        o->lo = r->trail.last;
    }
    o->hi = r->trail.last + 1;
}

/* ---- events -------------------------------------------------------------------------------- */

static void receive_reply(struct raft *r, const struct raft_message *m)
{
    if (raft_peer(r, m->from) == NULL) {
        return; /* no longer a member, or never one: it has no say */
    }
    bool prevote_granted =
        m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.prevote && m->vote_reply.granted;
    if (m->term > r->term && !prevote_granted) {
        raft_become_follower(r, m->term, RAFT_STEP_DOWN_HIGHER_TERM);
        return;
    }
    switch (m->type) {
    case RAFT_MESSAGE_APPEND_REPLY:
        leader_receive_reply(r, m);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        election_receive_reply(r, m);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        snapshot_receive_reply(r, m);
        break;
    default:
        ASSERT(false);
    }
}

static void receive(struct raft *r, const struct raft_event *event)
{
    const struct raft_message *m = event->receive.message;
    if (m->from == 0 || m->from == r->options.self || m->to != r->options.self ||
        m->term > RAFT_PLAUSIBLE_MAX) {
        return;
    }
    switch (m->type) {
    case RAFT_MESSAGE_APPEND:
        follower_receive_append(r, event);
        break;
    case RAFT_MESSAGE_VOTE:
        election_receive_vote(r, m);
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        transfer_receive_timeout_now(r, m);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        snapshot_receive(r, event);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
    case RAFT_MESSAGE_VOTE_REPLY:
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        receive_reply(r, m);
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
}

static void term_durable(struct raft *r, raft_term before)
{
    if (r->durable_term != before) {
        struct raft_note *note = outbox_note(r, RAFT_NOTE_TERM_CHANGE);
        note->term = r->durable_term;
        note->term_change.old_term = before;
    }
    announce_leader(r);
    outbox_release(r);
}

static void persisted(struct raft *r, uint64_t write_seq, struct raft_pos last)
{
    ASSERT(write_seq <= r->writes.last_seq);
    raft_term term_before = r->durable_term;
    const struct write *oldest;
    while ((oldest = writes_oldest(&r->writes)) != NULL && oldest->seq <= write_seq) {
        struct write done = writes_pop(&r->writes);
        if (done.seq == write_seq) {
            ASSERT(done.last.index == last.index);
            ASSERT(done.last.term == last.term);
        }
        r->durable_term = done.term;
        r->durable_vote = done.vote;
        if (done.hi > r->durable_index + 1) {
            r->durable_index = done.hi - 1;
        }
    }
    term_durable(r, term_before);
    switch (r->role) {
    case RAFT_LEADER:
        leader_advance_commit(r);
        break;
    case RAFT_CANDIDATE:
        election_vote_durable(r);
        break;
    case RAFT_FOLLOWER:
    case RAFT_LEARNER:
        follower_durable(r);
        break;
    case RAFT_PRE_CANDIDATE:
        break;
    }
}

static void step_down(struct raft *r, enum raft_step_down_reason reason)
{
    r->disk_failed = r->disk_failed || reason == RAFT_STEP_DOWN_DISK;
    if (r->role == RAFT_LEADER) {
        raft_become_follower(r, r->term, reason);
        return;
    }
    r->out.result = ERR_NOT_LEADER;
    if (r->disk_failed) {
        raft_become_follower(r, r->term, reason);
    }
}

static void timeout(struct raft *r)
{
    if (r->role == RAFT_LEADER) {
        leader_timeout(r);
    } else if (r->now_us >= r->election_due_us) {
        election_timeout(r);
    }
}

static void handle(struct raft *r, const struct raft_event *e)
{
    switch (e->type) {
    case RAFT_EVENT_TIMEOUT:
        timeout(r);
        break;
    case RAFT_EVENT_RECEIVE:
        receive(r, e);
        break;
    case RAFT_EVENT_PERSISTED:
        persisted(r, e->persisted.write_seq, e->persisted.last);
        break;
    case RAFT_EVENT_PROPOSE:
        r->out.result = leader_propose(r, e);
        break;
    case RAFT_EVENT_READ:
        read_register(r, e->read.token, e->read.allow_lease);
        break;
    case RAFT_EVENT_TRANSFER:
        r->out.result = transfer_start(r, e->transfer.target);
        break;
    case RAFT_EVENT_STEP_DOWN:
        step_down(r, e->step_down.reason);
        break;
    case RAFT_EVENT_CERTIFICATE:
        lease_certificate(r, &e->certificate);
        break;
    case RAFT_EVENT_SNAPSHOT_TAKEN:
        snapshot_taken(r, e->snapshot_taken.last);
        break;
    case RAFT_EVENT_SNAPSHOT_SEND:
        r->out.result = snapshot_send(r, e);
        break;
    case RAFT_EVENT_SNAPSHOT_CHUNK_STORED:
        snapshot_chunk_stored(r, e);
        break;
    case RAFT_EVENT_SNAPSHOT_INSTALLED:
        snapshot_installed(r, e);
        break;
    case RAFT_EVENT_PEER_UNREACHABLE:
        leader_peer_unreachable(r, e->peer_unreachable.id);
        break;
    case RAFT_EVENT_CAMPAIGN:
        if (r->role != RAFT_LEADER) {
            election_timeout(r);
        }
        break;
    case RAFT_EVENT_COUNT:
        ASSERT(false);
    }
}

/* All that this step changed goes into one write: a crash leaves all of it, or none. */
static uint64_t ask_for_write(struct raft *r, bool hard_state)
{
    struct outbox *o = &r->out;
    bool entries = o->lo != o->hi;
    if (!hard_state && !entries && o->truncate_from == 0) {
        return 0;
    }
    struct write write = {
        .asked_us = r->now_us, .hi = entries ? o->hi : 0, .term = r->term, .vote = r->vote};
    if (entries) {
        write.last = trail_last(&r->trail);
        ASSERT(write.last.index == o->hi - 1);
    }
    r->asked_term = r->term;
    r->asked_vote = r->vote;
    return writes_push(&r->writes, write);
}

/* Every field by itself: clearing the whole first would cost more than a step does. */
static void give_effects(struct raft *r, struct raft_effects *effects)
{
    struct outbox *o = &r->out;
    bool hard_state = r->term != r->asked_term || r->vote != r->asked_vote;
    effects->persist.write_seq = ask_for_write(r, hard_state);
    effects->persist.hard_state = hard_state;
    effects->persist.term = r->term;
    effects->persist.vote = r->vote;
    effects->persist.truncate_from = o->truncate_from;
    effects->persist.lo = o->lo;
    effects->persist.hi = o->hi;
    effects->promise = o->promise_changed ? &r->promise : NULL;
    effects->messages = o->messages;
    effects->messages_count = o->messages_count;
    effects->commit_index = r->commit_index;
    effects->reads = o->reads;
    effects->reads_count = o->reads_count;
    effects->result = o->result;
    effects->propose_first = o->propose_first;
    effects->notes = o->notes;
    effects->notes_count = o->notes_count;
    effects->snapshot_needed_by = o->snapshot_needed_by;
    effects->snapshot_store = o->snapshot_store;
}

void raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *effects)
{
    ASSERT(event->now_us >= r->now_us);
    r->now_us = event->now_us;
    raft_index commit_before = r->commit_index;
    outbox_clear(&r->out);
    handle(r, event);
    ASSERT(r->commit_index >= commit_before);
    give_effects(r, effects);
}

uint64_t raft_deadline(const struct raft *r)
{
    return r->role == RAFT_LEADER ? leader_deadline(r) : r->election_due_us;
}

/* ---- looking ------------------------------------------------------------------------------- */

uint32_t raft_peers_count(const struct raft *r)
{
    return r->peers_count;
}

struct raft_peer_status raft_peer_status(const struct raft *r, uint32_t i)
{
    ASSERT(i < r->peers_count);
    bool leads = r->role == RAFT_LEADER;
    const struct peer *peer = &r->peers[i];
    return (struct raft_peer_status){
        .id = peer->id,
        .voter = peer->voter,
        .match = leads ? peer->progress.match : 0,
        .next = leads ? peer->progress.next : 0,
        .heard_us = peer->heard_us,
        .round_trip_us = peer->round_trip_us,
        .mode = peer->progress.mode,
    };
}

/* Every field by itself: most of the peers that there is room for are none. */
void raft_status(const struct raft *r, struct raft_status *out)
{
    bool leads = r->role == RAFT_LEADER;
    out->role = r->role;
    out->term = r->term;
    out->durable_term = r->durable_term;
    out->vote = r->vote;
    out->leader = r->leader;
    out->commit_index = r->commit_index;
    out->last = trail_last(&r->trail);
    out->durable_index = r->durable_index;
    out->snapshot = r->trail.base;
    out->lease_until_us = raft_lease_until(r);
    out->promise = r->promise;
    out->noop_index = leads ? r->lead.noop_index : 0;
    out->transferring = leads && r->lead.transfer_target != 0;
    out->members = raft_members_now(r);
    out->peers_count = r->peers_count;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        out->peers[i] = raft_peer_status(r, i);
    }
}

enum raft_role raft_role(const struct raft *r)
{
    return r->role;
}

raft_term raft_current_term(const struct raft *r)
{
    return r->term;
}

raft_id raft_leader(const struct raft *r)
{
    return r->leader;
}

raft_index raft_last_index(const struct raft *r)
{
    return r->trail.last;
}

raft_index raft_commit_index(const struct raft *r)
{
    return r->commit_index;
}

raft_term raft_term_at(const struct raft *r, raft_index index)
{
    return trail_term(&r->trail, index);
}

uint64_t raft_log_bytes(const struct raft *r, raft_index lo, raft_index hi)
{
    return lo == hi ? 0 : trail_bytes(&r->trail, lo + 1, hi + 1);
}
