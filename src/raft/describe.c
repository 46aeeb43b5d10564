/* The core in words: names, and one line for each message, event and step. */
#include "raft/raft_internal.h"

#include <inttypes.h>

/* ---- names ---------------------------------------------------------------------------------- */

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {
        [RAFT_FOLLOWER] = "follower",   [RAFT_PRE_CANDIDATE] = "pre_candidate",
        [RAFT_CANDIDATE] = "candidate", [RAFT_LEADER] = "leader",
        [RAFT_LEARNER] = "learner",
    };
    return names[role];
}

const char *raft_message_name(enum raft_message_type type)
{
    static const char *const names[] = {
#define X(name, text) #text,
        RAFT_MESSAGE_TABLE(X)
#undef X
    };
    return type < RAFT_MESSAGE_COUNT ? names[type] : "unknown";
}

const char *raft_step_down_name(enum raft_step_down_reason reason)
{
    static const char *const names[] = {
        [RAFT_STEP_DOWN_HIGHER_TERM] = "higher_term",
        [RAFT_STEP_DOWN_QUORUM_LOST] = "quorum_lost",
        [RAFT_STEP_DOWN_TRANSFER] = "transfer",
        [RAFT_STEP_DOWN_REMOVED] = "removed",
        [RAFT_STEP_DOWN_REQUESTED] = "requested",
        [RAFT_STEP_DOWN_SHUTDOWN] = "shutdown",
        [RAFT_STEP_DOWN_DISK] = "disk",
    };
    return names[reason];
}

const char *raft_lost_name(enum raft_leader_lost_reason reason)
{
    static const char *const names[] = {
        [RAFT_LOST_TIMEOUT] = "timeout",
        [RAFT_LOST_CERTIFICATE] = "certificate",
        [RAFT_LOST_HIGHER_TERM] = "higher_term",
        [RAFT_LOST_STEPPED_DOWN] = "stepped_down",
    };
    return names[reason];
}

static const char *event_name(enum raft_event_type type)
{
    static const char *const names[] = {
#define X(name, text) #text,
        RAFT_EVENT_TABLE(X)
#undef X
    };
    return names[type];
}

/* ---- messages ------------------------------------------------------------------------------- */

static void add_pos(struct buffer *out, const char *name, struct raft_pos pos)
{
    buffer_add_format(out, " %s=%" PRIu64 "@%" PRIu64, name, pos.index, pos.term);
}

static void add_u64(struct buffer *out, const char *name, uint64_t value)
{
    buffer_add_format(out, " %s=%" PRIu64, name, value);
}

static void add_flag(struct buffer *out, const char *name, bool set)
{
    if (set) {
        buffer_add_format(out, " %s", name);
    }
}

static void describe_append(const struct raft_append *a, struct buffer *out)
{
    add_pos(out, "prev", a->prev);
    add_u64(out, "count", a->count);
    if (a->entries != NULL && a->count > 0) {
        buffer_add_format(out, " terms=");
        for (uint32_t i = 0; i < a->count; i++) {
            buffer_add_format(out, "%s%" PRIu64 "%s", i == 0 ? "" : ",", a->entries[i].term,
                              a->entries[i].is_config ? "c" : "");
        }
    }
    add_u64(out, "commit", a->commit_index);
    add_u64(out, "lease", a->lease_us);
    add_u64(out, "round", a->round);
    add_u64(out, "sent", a->sent_us);
}

static void describe_append_reply(const struct raft_append_reply *a, struct buffer *out)
{
    if (a->rejected) {
        buffer_add_format(out, " rejected");
        add_u64(out, "prev", a->prev_index);
        add_pos(out, "agree", (struct raft_pos){.index = a->match, .term = a->hint_term});
    } else {
        add_u64(out, "match", a->match);
    }
    add_u64(out, "round", a->round);
    add_u64(out, "sent", a->sent_us);
}

static void describe_vote(const struct raft_vote *v, struct buffer *out)
{
    add_flag(out, "prevote", v->prevote);
    add_pos(out, "last", v->last);
    if (v->transfer) {
        add_u64(out, "transfer_from", v->transfer_from);
    }
    if (v->certificate.dead != 0) {
        add_u64(out, "certificate", v->certificate.dead);
    }
}

void raft_describe_message(const struct raft_message *m, struct buffer *out)
{
    buffer_add_format(out, "%s %" PRIu64 "->%" PRIu64 " term=%" PRIu64, raft_message_name(m->type),
                      m->from, m->to, m->term);
    switch (m->type) {
    case RAFT_MESSAGE_APPEND:
        describe_append(&m->append, out);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        describe_append_reply(&m->append_reply, out);
        break;
    case RAFT_MESSAGE_VOTE:
        describe_vote(&m->vote, out);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        add_flag(out, "prevote", m->vote_reply.prevote);
        buffer_add_format(out, m->vote_reply.granted ? " granted" : " refused");
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        add_pos(out, "last", m->timeout_now.last);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        add_pos(out, "last", m->install_snapshot.last);
        add_u64(out, "offset", m->install_snapshot.offset_bytes);
        add_u64(out, "size", m->install_snapshot.size_bytes);
        add_flag(out, "done", m->install_snapshot.done);
        if (m->install_snapshot.lease_us != 0) {
            buffer_add_format(out, " lease=%" PRIu64 " round=%" PRIu64 " sent=%" PRIu64,
                              m->install_snapshot.lease_us, m->install_snapshot.round,
                              m->install_snapshot.sent_us);
        }
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        add_pos(out, "last", m->install_snapshot_reply.last);
        add_u64(out, "offset", m->install_snapshot_reply.offset_bytes);
        add_flag(out, "installed", m->install_snapshot_reply.installed);
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
}

/* ---- events --------------------------------------------------------------------------------- */

/* NULL: it brings none. */
static void describe_members(const struct raft_members *m, struct buffer *out)
{
    if (m == NULL) {
        return;
    }
    buffer_add_format(out, " members=");
    for (uint32_t i = 0; i < m->count; i++) {
        buffer_add_format(out, "%s%" PRIu64 "%s", i == 0 ? "" : ",", m->at[i].id,
                          m->at[i].voter ? "" : "l");
    }
}

static void describe_propose(const struct raft_event *e, struct buffer *out)
{
    uint64_t size_bytes = 0;
    for (uint32_t i = 0; i < e->propose.count; i++) {
        size_bytes += e->propose.sizes_bytes[i];
    }
    add_u64(out, "count", e->propose.count);
    add_u64(out, "bytes", size_bytes);
    if (e->propose.config != NULL) {
        describe_members(e->propose.config, out);
    }
}

void raft_describe_event(const struct raft_event *e, struct buffer *out)
{
    buffer_add_format(out, "%" PRIu64 " %s", e->now_us, event_name(e->type));
    switch (e->type) {
    case RAFT_EVENT_RECEIVE:
        buffer_add_format(out, " ");
        raft_describe_message(e->receive.message, out);
        break;
    case RAFT_EVENT_PERSISTED:
        add_u64(out, "write", e->persisted.write_seq);
        add_pos(out, "last", e->persisted.last);
        break;
    case RAFT_EVENT_PROPOSE:
        describe_propose(e, out);
        break;
    case RAFT_EVENT_READ:
        add_u64(out, "token", e->read.token);
        add_flag(out, "lease", e->read.allow_lease);
        break;
    case RAFT_EVENT_TRANSFER:
        add_u64(out, "target", e->transfer.target);
        break;
    case RAFT_EVENT_STEP_DOWN:
        buffer_add_format(out, " reason=%s", raft_step_down_name(e->step_down.reason));
        break;
    case RAFT_EVENT_CERTIFICATE:
        add_u64(out, "dead", e->certificate.dead);
        break;
    case RAFT_EVENT_SNAPSHOT_TAKEN:
        add_pos(out, "last", e->snapshot_taken.last);
        describe_members(e->snapshot_taken.members, out);
        break;
    case RAFT_EVENT_SNAPSHOT_CHUNK_STORED:
        add_pos(out, "last", e->chunk_stored.last);
        add_u64(out, "offset", e->chunk_stored.offset_bytes);
        add_flag(out, "failed", e->chunk_stored.failed);
        break;
    case RAFT_EVENT_SNAPSHOT_SEND:
        add_u64(out, "to", e->snapshot_send.to);
        add_pos(out, "last", e->snapshot_send.last);
        add_u64(out, "offset", e->snapshot_send.offset_bytes);
        add_u64(out, "size", e->snapshot_send.size_bytes);
        add_flag(out, "done", e->snapshot_send.done);
        break;
    case RAFT_EVENT_SNAPSHOT_INSTALLED:
        add_pos(out, "last", e->snapshot_installed.last);
        buffer_add_format(out, e->snapshot_installed.ok ? " ok" : " failed");
        describe_members(e->snapshot_installed.members, out);
        break;
    case RAFT_EVENT_PEER_UNREACHABLE:
        add_u64(out, "peer", e->peer_unreachable.id);
        break;
    case RAFT_EVENT_TIMEOUT:
    case RAFT_EVENT_CAMPAIGN:
    case RAFT_EVENT_COUNT:
        break;
    }
}

/* ---- effects -------------------------------------------------------------------------------- */

static const char *note_name(enum raft_note_type type)
{
    static const char *const names[] = {
        [RAFT_NOTE_TERM_CHANGE] = "term_change",
        [RAFT_NOTE_ROLE_CHANGE] = "role_change",
        [RAFT_NOTE_LEADER_ELECTED] = "leader_elected",
        [RAFT_NOTE_LEADER_LOST] = "leader_lost",
        [RAFT_NOTE_STEP_DOWN] = "step_down",
        [RAFT_NOTE_ELECTION_STARTED] = "election_started",
        [RAFT_NOTE_QUORUM_LOST] = "quorum_lost",
        [RAFT_NOTE_QUORUM_REGAINED] = "quorum_regained",
        [RAFT_NOTE_TRANSFER_ABORTED] = "transfer_aborted",
        [RAFT_NOTE_PROMISE_VOIDED] = "promise_voided",
    };
    return names[type];
}

static void describe_note(const struct raft_note *n, struct buffer *out)
{
    buffer_add_format(out, "; %s term=%" PRIu64, note_name(n->type), n->term);
    switch (n->type) {
    case RAFT_NOTE_TERM_CHANGE:
        add_u64(out, "old", n->term_change.old_term);
        break;
    case RAFT_NOTE_ROLE_CHANGE:
        buffer_add_format(out, " %s->%s", raft_role_name(n->role_change.from),
                          raft_role_name(n->role_change.to));
        break;
    case RAFT_NOTE_LEADER_ELECTED:
        add_u64(out, "leader", n->leader_elected.leader);
        break;
    case RAFT_NOTE_LEADER_LOST:
        add_u64(out, "leader", n->leader_lost.leader);
        buffer_add_format(out, " reason=%s", raft_lost_name(n->leader_lost.reason));
        break;
    case RAFT_NOTE_STEP_DOWN:
        buffer_add_format(out, " reason=%s", raft_step_down_name(n->step_down.reason));
        if (n->step_down.successor != 0) {
            add_u64(out, "successor", n->step_down.successor);
        }
        break;
    case RAFT_NOTE_ELECTION_STARTED:
        add_u64(out, "attempt", n->election_started.attempt);
        add_flag(out, "prevote", n->election_started.prevote);
        add_u64(out, "needed", n->election_started.votes_needed);
        break;
    case RAFT_NOTE_QUORUM_LOST:
    case RAFT_NOTE_QUORUM_REGAINED:
        add_u64(out, "reachable", n->quorum.reachable);
        add_u64(out, "needed", n->quorum.needed);
        break;
    case RAFT_NOTE_TRANSFER_ABORTED:
        add_u64(out, "target", n->transfer.target);
        break;
    case RAFT_NOTE_PROMISE_VOIDED:
        break;
    }
}

static void describe_persist(const struct raft_effects *e, struct buffer *out)
{
    if (e->persist.write_seq == 0) {
        return;
    }
    buffer_add_format(out, "; persist write=%" PRIu64, e->persist.write_seq);
    if (e->persist.hard_state) {
        add_u64(out, "term", e->persist.term);
        add_u64(out, "vote", e->persist.vote);
    }
    if (e->persist.truncate_from != 0) {
        add_u64(out, "truncate", e->persist.truncate_from);
    }
    if (e->persist.lo != e->persist.hi) {
        buffer_add_format(out, " entries=[%" PRIu64 ",%" PRIu64 ")", e->persist.lo, e->persist.hi);
    }
}

void raft_describe_effects(const struct raft_effects *e, struct buffer *out)
{
    buffer_add_format(out, "commit=%" PRIu64, e->commit_index);
    if (e->result != ERR_OK) {
        buffer_add_format(out, "; %s", err_name(e->result));
    }
    if (e->propose_first != 0) {
        buffer_add_format(out, "; proposed from=%" PRIu64, e->propose_first);
    }
    describe_persist(e, out);
    if (e->promise != NULL) {
        buffer_add_format(out, "; promise leader=%" PRIu64 " term=%" PRIu64 " until=%" PRIu64,
                          e->promise->leader, e->promise->term, e->promise->until_us);
    }
    for (uint32_t i = 0; i < e->messages_count; i++) {
        buffer_add_format(out, "; send ");
        raft_describe_message(&e->messages[i], out);
    }
    for (uint32_t i = 0; i < e->reads_count; i++) {
        buffer_add_format(out, "; read token=%" PRIu64 " %s index=%" PRIu64, e->reads[i].token,
                          err_name(e->reads[i].err), e->reads[i].index);
    }
    for (uint32_t i = 0; i < e->notes_count; i++) {
        describe_note(&e->notes[i], out);
    }
    if (e->snapshot_needed_by != 0) {
        buffer_add_format(out, "; snapshot needed_by=%" PRIu64, e->snapshot_needed_by);
    }
    if (e->snapshot_store) {
        buffer_add_format(out, "; store chunk");
    }
}
