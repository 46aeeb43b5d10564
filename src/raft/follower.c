/* AppendEntries at its receiver: Figure 2 and §5.3. */
#include "raft/raft_internal.h"

/* ---- is it well-formed? A peer's mistake drops its message --------------------------------- */

static bool position_valid(struct raft_pos pos, raft_term term)
{
    return pos.index <= RAFT_PLAUSIBLE_MAX && pos.term <= term &&
           (pos.index == 0) == (pos.term == 0);
}

static bool entries_valid(const struct raft_message *m, const struct raft_event *event)
{
    const struct raft_append *a = &m->append;
    if (a->count > 0 && a->entries == NULL) {
        return false;
    }
    raft_term before = a->prev.term;
    uint32_t configs = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->entries[i].term == 0 || a->entries[i].term < before ||
            a->entries[i].term > m->term) {
            return false;
        }
        before = a->entries[i].term;
        if (a->entries[i].is_config) {
            if (configs >= event->receive.configs_count ||
                !membership_valid(&event->receive.configs[configs])) {
                return false;
            }
            configs++;
        }
    }
    return true;
}

/* ---- who leads ----------------------------------------------------------------------------- */

/* "You are not the leader any more": the rejection is in this node's term. */
static void answer_stale_leader(struct raft *r, raft_id to)
{
    struct raft_message *reply = outbox_send(r, RAFT_MESSAGE_APPEND_REPLY, to);
    reply->append_reply = (struct raft_append_reply){.rejected = true};
}

bool follower_accept_leader(struct raft *r, const struct raft_event *event, uint64_t lease_us)
{
    const struct raft_message *m = event->receive.message;
    if (m->term < r->term) {
        answer_stale_leader(r, m->from);
        return false;
    }
    bool second_leader =
        m->term == r->term && (r->role == RAFT_LEADER || (r->leader != 0 && r->leader != m->from));
    if (second_leader || m->term == 0) {
        return false; /* Election Safety broken by the peer */
    }
    if (lease_is_dead(r, &event->receive.sender)) {
        return false;
    }
    bool follows = r->role == RAFT_FOLLOWER || r->role == RAFT_LEARNER;
    if (m->term > r->term || !follows) {
        raft_become_follower(r, m->term, RAFT_STEP_DOWN_HIGHER_TERM);
    }
    raft_set_leader(r, m->from);
    r->follower.heard_us = r->now_us;
    lease_promise(r, m->from, lease_us, &event->receive.sender);
    election_reset_timer(r);
    return true;
}

/* ---- the log ------------------------------------------------------------------------------- */

static void truncate_log(struct raft *r, raft_index from)
{
    ASSERT(from > r->commit_index);
    trail_truncate(&r->trail, from);
    writes_truncate(&r->writes, from);
    membership_truncate(r, from);
    if (r->durable_index >= from) {
        r->durable_index = from - 1;
    }
    r->out.truncate_from = from;
}

/* How many of the entries are in the log already. */
static uint32_t count_held(const struct raft *r, const struct raft_append *a)
{
    raft_index last = r->trail.last;
    if (a->prev.index == last) {
        return 0;
    }
    uint32_t held = 0;
    while (held < a->count && a->prev.index + 1 + held <= last) {
        raft_index index = a->prev.index + 1 + held;
        /* What is compacted is committed, and so equal in the leader's log. */
        if (index > r->trail.base.index && trail_term(&r->trail, index) != a->entries[held].term) {
            break;
        }
        held++;
    }
    return held;
}

/* Take over what the log lacks. False: it would undo what is committed or what this very leader
 * sent before, or is older than what it follows, which no leader's log is. */
static bool take_entries(struct raft *r, const struct raft_event *event)
{
    const struct raft_append *a = &event->receive.message->append;
    uint32_t held = count_held(r, a);
    if (held == a->count) {
        return true;
    }
    raft_index first = a->prev.index + 1 + held;
    if (a->entries[held].term < trail_term(&r->trail, first - 1)) {
        return false; /* prev is compacted, so that it could not be compared */
    }
    if (first <= r->trail.last) {
        if (first <= r->commit_index || first <= r->follower.verified) {
            return false;
        }
        truncate_log(r, first);
    }
    const struct raft_members *config = event->receive.configs;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct raft_entry *entry = &a->entries[i];
        if (i >= held) {
            raft_append_entry(r, entry->term, entry->size_bytes);
            if (entry->is_config) {
                membership_append(r, r->trail.last, config);
            }
        }
        if (entry->is_config) {
            config++;
        }
    }
    return true;
}

/* ---- answers ------------------------------------------------------------------------------- */

void follower_note_round(struct raft *r, uint64_t round, uint64_t sent_us)
{
    if (round > r->follower.round) {
        r->follower.round = round;
    }
    if (sent_us > r->follower.sent_us) {
        r->follower.sent_us = sent_us;
    }
}

/* match: verified against this leader, and durable. */
static void acknowledge(struct raft *r)
{
    raft_index verified = r->follower.verified;
    raft_index match = verified < r->durable_index ? verified : r->durable_index;
    r->follower.ack_owed = match < verified;
    struct raft_message *reply = outbox_send(r, RAFT_MESSAGE_APPEND_REPLY, r->leader);
    reply->append_reply = (struct raft_append_reply){
        .match = match, .round = r->follower.round, .sent_us = r->follower.sent_us};
}

void follower_durable(struct raft *r)
{
    if (r->follower.ack_owed && r->leader != 0 && r->durable_term == r->term) {
        acknowledge(r);
    }
}

/* Where the logs may still agree: before prev, and not in a term that is newer than prev's. */
static void reject(struct raft *r, const struct raft_append *a)
{
    raft_index agree = trail_agree(&r->trail, a->prev.index - 1, a->prev.term);
    if (agree < r->commit_index) {
        agree = r->commit_index;
    }
    struct raft_message *reply = outbox_send(r, RAFT_MESSAGE_APPEND_REPLY, r->leader);
    reply->append_reply = (struct raft_append_reply){
        .rejected = true,
        .match = agree,
        .hint_term = trail_term(&r->trail, agree),
        .prev_index = a->prev.index,
        .round = a->round,
        .sent_us = a->sent_us,
    };
}

static void accept(struct raft *r, const struct raft_append *a)
{
    raft_index end = a->prev.index + a->count;
    if (end < r->trail.base.index) {
        end = r->trail.base.index; /* committed, and so in the leader's log */
    }
    if (end > r->follower.verified) {
        r->follower.verified = end;
    }
    raft_commit_to(r, a->commit_index < end ? a->commit_index : end);
    bool durable = r->follower.verified <= r->durable_index;
    if (r->durable_term == r->term && (a->count == 0 || durable)) {
        acknowledge(r);
    } else {
        r->follower.ack_owed = true;
    }
}

void follower_receive_append(struct raft *r, const struct raft_event *event)
{
    const struct raft_message *m = event->receive.message;
    const struct raft_append *a = &m->append;
    if (!position_valid(a->prev, m->term) || !entries_valid(m, event) ||
        !follower_accept_leader(r, event, a->lease_us)) {
        return;
    }
    follower_note_round(r, a->round, a->sent_us);
    if (r->installing.done) {
        /* The log is being replaced: what is appended now would be lost after its ack. But the
         * leader may count on this node. */
        acknowledge(r);
        return;
    }
    bool compacted = a->prev.index < r->trail.base.index;
    if (compacted || trail_has(&r->trail, a->prev)) {
        if (take_entries(r, event)) {
            accept(r, a);
        }
    } else if (a->prev.index > r->commit_index) {
        reject(r, a);
    }
}
