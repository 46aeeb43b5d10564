/* What happened, told to people (log lines) and to scripts (hooks, and the view that
 * mk.raft.status() shows). The events and their fields are those of the Lua API. */
#include <string.h>

#include "base/text.h"
#include "node/node_internal.h"
#include "wire/writer.h"

/* ---- events for hooks ----------------------------------------------------------------------- */

static void fields_begin(struct node *n, uint32_t count)
{
    buffer_clear(&n->news.fields);
    write_map(&n->news.fields, count);
}

static void field_text(struct node *n, const char *key, const char *value)
{
    write_text(&n->news.fields, key);
    write_text(&n->news.fields, value);
}

static void field_u64(struct node *n, const char *key, uint64_t value)
{
    write_text(&n->news.fields, key);
    write_u64(&n->news.fields, value);
}

static void field_bool(struct node *n, const char *key, bool value)
{
    write_text(&n->news.fields, key);
    write_bool(&n->news.fields, value);
}

/* subject: the member that it is about, or "" */
static void tell(struct node *n, const char *name, raft_term term, struct bytes fields,
                 const char *subject)
{
    const struct node_observer *observer = &n->options.observer;
    if (observer->event != NULL) {
        observer->event(observer->ctx, name, term, fields);
    }
    if (n->scripts == NULL) {
        return;
    }
    struct script_event *event = script_event_new(name);
    event->seq = ++n->news.seq;
    event->time_ms = clock_wall_ms(n->ports.clock);
    event->term = term;
    event->fields = slice_copy(fields);
    text_copy(event->subject, sizeof event->subject, subject);
    script_host_post(n->scripts, event);
}

void news_event(struct node *n, const char *name, raft_term term, struct bytes fields)
{
    tell(n, name, term, fields, "");
}

static void post_about(struct node *n, const char *name, raft_term term, const char *subject)
{
    tell(n, name, term, buffer_bytes(&n->news.fields), subject);
}

static void post(struct node *n, const char *name, raft_term term)
{
    post_about(n, name, term, "");
}

static void term_change(struct node *n, const struct raft_note *note)
{
    log_debug(n->ports.log, "term changed", log_u64("term", note->term),
              log_u64("old_term", note->term_change.old_term));
    fields_begin(n, 1);
    field_u64(n, "old_term", note->term_change.old_term);
    post(n, "term_change", note->term);
}

static const char *role_change_reason(const struct node *n, const struct raft_note *note)
{
    switch (note->role_change.to) {
    case RAFT_LEADER:
        return "elected";
    case RAFT_PRE_CANDIDATE:
    case RAFT_CANDIDATE:
        return "election";
    case RAFT_LEARNER:
        return "membership";
    case RAFT_FOLLOWER:
        break;
    }
    return note->role_change.from == RAFT_LEADER ? raft_step_down_name(n->news.last_reason)
                                                 : "leader_found";
}

static void role_change(struct node *n, const struct raft_note *note)
{
    const char *reason = role_change_reason(n, note);
    log_debug(n->ports.log, "role changed",
              log_text("from", raft_role_name(note->role_change.from)),
              log_text("to", raft_role_name(note->role_change.to)), log_text("reason", reason),
              log_u64("term", note->term));
    fields_begin(n, 3);
    field_text(n, "from", raft_role_name(note->role_change.from));
    field_text(n, "to", raft_role_name(note->role_change.to));
    field_text(n, "reason", reason);
    post(n, "role_change", note->term);
}

struct reach {
    uint32_t reachable, needed; /* voters */
};

/* By its connections; of the leader (0: none) it has just heard. */
static struct reach reach_of(struct node *n, raft_id leader)
{
    uint32_t reachable = 0, voters = 0;
    const struct membership *members = members_now(n);
    for (uint32_t i = 0; i < members->count; i++) {
        raft_id id = members->at[i].id;
        const struct outlet *o = sender_outlet(n, id);
        bool up = id == n->id || id == leader || (o != NULL && o->up);
        voters += members->at[i].voter;
        reachable += members->at[i].voter && up;
    }
    return (struct reach){.reachable = reachable, .needed = voters / 2 + 1};
}

static void post_quorum(struct node *n, const char *name, struct reach reach, raft_term term)
{
    fields_begin(n, 2);
    field_u64(n, "reachable", reach.reachable);
    field_u64(n, "needed", reach.needed);
    post(n, name, term);
}

static void warn_of_quorum(struct node *n, const char *name, struct reach reach)
{
    log_warn(n->ports.log, name, log_u64("reachable", reach.reachable),
             log_u64("needed", reach.needed));
}

/* Who told that it had no quorum has one again once it knows a leader. */
static void quorum_is_back(struct node *n, raft_id leader, raft_term term)
{
    if (n->news.quorum_lost) {
        n->news.quorum_lost = false;
        post_quorum(n, "quorum_regained", reach_of(n, leader), term);
    }
}

/* A leader that dies together with the majority tells nobody. Whoever has known one, tries for the
 * second time in vain to become it, and is connected with too few, tells it instead. */
static void look_for_quorum(struct node *n, const struct raft_note *note)
{
    enum { ATTEMPTS_MIN = 2 };
    if (n->news.quorum_lost || n->counters.leader_changes == 0 ||
        note->election_started.attempt < ATTEMPTS_MIN) {
        return;
    }
    struct reach reach = reach_of(n, 0);
    if (reach.reachable < reach.needed) {
        n->news.quorum_lost = true;
        warn_of_quorum(n, "quorum_lost", reach);
        post_quorum(n, "quorum_lost", reach, note->term);
    }
}

static void leader_elected(struct node *n, const struct raft_note *note)
{
    raft_id leader = note->leader_elected.leader;
    n->counters.leader_changes++;
    quorum_is_back(n, leader, note->term);
    log_info(n->ports.log, leader == n->id ? "this node leads" : "leader elected",
             log_text("leader", members_name(n, leader)), log_u64("term", note->term));
    fields_begin(n, 3);
    field_text(n, "leader_id", members_name(n, leader));
    field_text(n, "addr", members_address(n, leader));
    field_bool(n, "is_self", leader == n->id);
    post(n, "leader_elected", note->term);
}

static void leader_lost(struct node *n, const struct raft_note *note)
{
    const char *reason = raft_lost_name(note->leader_lost.reason);
    log_info(n->ports.log, "leader lost",
             log_text("leader", members_name(n, note->leader_lost.leader)),
             log_text("reason", reason), log_u64("term", note->term));
    fields_begin(n, 2);
    field_text(n, "last_leader_id", members_name(n, note->leader_lost.leader));
    field_text(n, "reason", reason);
    post(n, "leader_lost", note->term);
}

static void step_down(struct node *n, const struct raft_note *note)
{
    const char *reason = raft_step_down_name(note->step_down.reason);
    n->news.last_reason = note->step_down.reason;
    log_info(n->ports.log, "stepped down", log_text("reason", reason), log_u64("term", note->term));
    bool successor = note->step_down.successor != 0;
    fields_begin(n, successor ? 2 : 1);
    field_text(n, "reason", reason);
    if (successor) {
        field_text(n, "successor_id", members_name(n, note->step_down.successor));
    }
    post(n, "step_down", note->term);
}

/* A node that is cut off tries several times a second, for days: only attempts 1, 2, 4, 8 ... are
 * news then. An election that a pre-vote has allowed always is. */
static bool is_worth_a_line(const struct node *n, const struct raft_note *note)
{
    uint64_t attempt = note->election_started.attempt;
    bool routine = note->election_started.prevote || !n->options.raft.prevote;
    return !routine || (attempt & (attempt - 1)) == 0;
}

static void election_started(struct node *n, const struct raft_note *note)
{
    LOG_AT(n->ports.log, is_worth_a_line(n, note) ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
           note->election_started.prevote ? "pre-vote started" : "election started",
           log_u64("term", note->term), log_u64("attempt", note->election_started.attempt),
           log_u64("votes_needed", note->election_started.votes_needed));
    fields_begin(n, 3);
    field_u64(n, "attempt", note->election_started.attempt);
    field_bool(n, "prevote", note->election_started.prevote);
    field_u64(n, "votes_needed", note->election_started.votes_needed);
    post(n, "election_started", note->term);
    look_for_quorum(n, note);
}

static void quorum(struct node *n, const struct raft_note *note, const char *name)
{
    struct reach reach = {.reachable = note->quorum.reachable, .needed = note->quorum.needed};
    warn_of_quorum(n, name, reach);
    post_quorum(n, name, reach, note->term);
}

void news_note(struct node *n, const struct raft_note *note)
{
    n->view_stale = true;
    node_want_round(n);
    switch (note->type) {
    case RAFT_NOTE_TERM_CHANGE:
        term_change(n, note);
        break;
    case RAFT_NOTE_ROLE_CHANGE:
        role_change(n, note);
        break;
    case RAFT_NOTE_LEADER_ELECTED:
        leader_elected(n, note);
        break;
    case RAFT_NOTE_LEADER_LOST:
        leader_lost(n, note);
        break;
    case RAFT_NOTE_STEP_DOWN:
        step_down(n, note);
        break;
    case RAFT_NOTE_ELECTION_STARTED:
        election_started(n, note);
        break;
    case RAFT_NOTE_QUORUM_LOST:
        n->news.quorum_lost = true;
        quorum(n, note, "quorum_lost");
        break;
    case RAFT_NOTE_QUORUM_REGAINED:
        n->news.quorum_lost = false;
        quorum(n, note, "quorum_regained");
        break;
    case RAFT_NOTE_TRANSFER_ABORTED:
        log_warn(n->ports.log, "leadership transfer was given up",
                 log_text("target", members_name(n, note->transfer.target)));
        transfer_aborted(n);
        break;
    case RAFT_NOTE_PROMISE_VOIDED:
        log_debug(n->ports.log, "promise to a dead or resigning leader is void");
        break;
    }
}

void news_snapshot(struct node *n, const char *kind, const struct store_snapshot *s, raft_id peer)
{
    fields_begin(n, peer != 0 ? 5 : 4);
    field_text(n, "kind", kind);
    field_u64(n, "index", s->last.index);
    field_u64(n, "entry_term", s->last.term);
    field_u64(n, "bytes", s->bytes);
    if (peer != 0) {
        field_text(n, "peer", members_name(n, peer));
    }
    post(n, "snapshot", raft_current_term(n->raft));
}

void news_member(struct node *n, const char *event, const struct membership_member *m,
                 raft_index index)
{
    log_info(n->ports.log, "the membership has changed", log_text("change", event),
             log_text("member", m->name), log_text("peer", m->address), log_u64("index", index));
    fields_begin(n, 4);
    field_text(n, "id", m->name);
    field_text(n, "addr", m->address);
    field_bool(n, "voter", m->voter);
    field_u64(n, "index", index);
    post_about(n, event, raft_current_term(n->raft), m->name);
}

void news_presence(struct node *n, raft_id member, bool online, int64_t seen_ms, bool first)
{
    const char *name = members_name(n, member);
    /* That all are there, as they should be, is no news to people. */
    LOG_AT(n->ports.log, first && online ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO,
           online ? "member is online" : "member is offline", log_text("member", name),
           log_u64("term", raft_current_term(n->raft)));
    fields_begin(n, 3);
    field_text(n, "id", name);
    field_text(n, "addr", members_address(n, member));
    write_text(&n->news.fields, "last_seen_ms");
    write_i64(&n->news.fields, seen_ms);
    post_about(n, online ? "node_online" : "node_offline", raft_current_term(n->raft), name);
}

void news_leader_ready(struct node *n, raft_index index)
{
    raft_term term = raft_current_term(n->raft);
    n->news.ready_term = term;
    n->news.ready_index = index;
    n->view_stale = true;
    fields_begin(n, 2);
    field_u64(n, "index", index);
    field_u64(n, "token", index);
    post(n, "leader_ready", term);
}

/* ---- the view ------------------------------------------------------------------------------- */

static enum script_role script_role(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return SCRIPT_FOLLOWER;
    case RAFT_PRE_CANDIDATE:
        return SCRIPT_PRE_CANDIDATE;
    case RAFT_CANDIDATE:
        return SCRIPT_CANDIDATE;
    case RAFT_LEADER:
        return SCRIPT_LEADER;
    case RAFT_LEARNER:
        break;
    }
    return SCRIPT_LEARNER;
}

static void copy_name(char *out, const char *text)
{
    text_copy(out, SCRIPT_NAME_MAX, text);
}

static void view_peers(struct node *n, struct script_view *view, const struct raft_status *status)
{
    const struct membership *members = members_now(n);
    view->peers_count = 0;
    view->quorum = 0;
    for (uint32_t i = 0; i < members->count && i < SCRIPT_PEERS_MAX; i++) {
        const struct membership_member *m = &members->at[i];
        struct script_peer *peer = &view->peers[view->peers_count++];
        const struct outlet *o = sender_outlet(n, m->id);
        copy_name(peer->id, m->name);
        copy_name(peer->addr, m->address);
        peer->voter = m->voter;
        peer->online = m->id == n->id || (o != NULL && o->up);
        peer->in_touch = presence_is_online(n, m->id);
        peer->match = m->id == n->id ? status->durable_index : 0;
        peer->rtt_us = 0;
        for (uint32_t j = 0; j < status->peers_count; j++) {
            if (status->peers[j].id == m->id) {
                peer->match = status->peers[j].match;
                peer->rtt_us = status->peers[j].round_trip_us;
            }
        }
        view->quorum += m->voter;
    }
    view->quorum = view->quorum / 2 + 1;
}

/* Scripts take 0 for a cluster without leases, where leadership alone counts. A lease that is not
 * there now (lapsed, or given up for a hand-over) must look like one that ended long ago. */
static uint64_t lease_for_scripts(const struct node *n, uint64_t until_us)
{
    enum { LONG_AGO_US = 1 };
    if (!n->options.raft.lease) {
        return 0;
    }
    return until_us != 0 ? until_us : LONG_AGO_US;
}

void news_view(struct node *n)
{
    if (n->scripts == NULL) {
        return;
    }
    raft_status(n->raft, &n->status);
    const struct raft_status *status = &n->status;
    n->news.lease_until_us = status->lease_until_us;
    struct script_view *view = &n->news.view;
    view->role = script_role(status->role);
    view->term = status->durable_term;
    copy_name(view->leader_id, members_name(n, status->leader));
    copy_name(view->leader_addr, members_address(n, status->leader));
    view->commit_index = status->commit_index;
    view->last_applied = n->apply.last_applied;
    view->last_index = status->last.index;
    view->leader_ready =
        status->role == RAFT_LEADER && n->news.ready_term == status->term && !n->failed;
    view->token = view->leader_ready ? n->news.ready_index : 0;
    view->lease_until_us = lease_for_scripts(n, status->lease_until_us);
    view_peers(n, view, status);
    script_host_set_view(n->scripts, view);
}

void news_lease(struct node *n)
{
    if (n->scripts == NULL || !node_is_leader(n)) {
        return;
    }
    /* Under load each acknowledgement moves the lease a little: not all of that is news. */
    uint64_t until_us = raft_lease_until(n->raft);
    if (until_us < n->news.lease_until_us ||
        until_us > n->news.lease_until_us + n->options.raft.heartbeat_us / 8) {
        n->view_stale = true;
        node_want_round(n);
    }
}
