/* Elections: §5.2, §5.4.1; pre-vote and disruption: thesis §9.6 and §4.2.3. */
#include "raft/raft_internal.h"

/* ---- when to campaign ---------------------------------------------------------------------- */

/* This node may not campaign before then: a vote for itself would break its word to another. */
static uint64_t own_word_until(const struct raft *r)
{
    uint64_t until = r->quiet_until_us;
    if (lease_promise_blocks(r, r->options.self) && r->promise.until_us > until) {
        until = r->promise.until_us;
    }
    return until;
}

static bool sole_voter(const struct raft *r)
{
    return r->self_voter && membership_voters(r) == 1;
}

static void campaign_at(struct raft *r, uint64_t due_us)
{
    uint64_t word_us = own_word_until(r);
    r->election_due_us = due_us > word_us ? due_us : word_us;
}

void election_reset_timer(struct raft *r)
{
    campaign_at(r, r->now_us +
                       rng_range(&r->rng, r->options.election_min_us, r->options.election_max_us));
}

void election_start_timer(struct raft *r)
{
    if (sole_voter(r)) {
        campaign_at(r, r->now_us); /* there is no one to wait for */
    } else {
        election_reset_timer(r);
    }
}

void election_hurry(struct raft *r, uint64_t wait_us)
{
    campaign_at(r, r->now_us + wait_us);
}

/* A vote for oneself must become durable too: with a disk that stands still there is no point. */
static bool disk_stalled(const struct raft *r)
{
    const struct write *oldest = writes_oldest(&r->writes);
    return oldest != NULL && r->now_us - oldest->asked_us >= r->options.election_max_us;
}

static bool may_campaign(const struct raft *r)
{
    return membership_may_stand(r) && !r->disk_failed && !disk_stalled(r) &&
           r->now_us >= own_word_until(r) && !r->installing.done;
}

void election_stand_again(struct raft *r)
{
    ASSERT(r->role == RAFT_FOLLOWER);
    ASSERT(r->leader == 0);
    r->transfer_campaign = false;
    if (may_campaign(r)) {
        election_campaign(r, r->options.prevote);
    }
}

void election_timeout(struct raft *r)
{
    ASSERT(r->role != RAFT_LEADER);
    raft_lose_leader(r, RAFT_LOST_TIMEOUT);
    r->transfer_campaign = false;
    if (may_campaign(r)) {
        election_campaign(r, r->options.prevote);
    } else {
        raft_become_follower(r, r->term, RAFT_STEP_DOWN_REQUESTED);
        election_reset_timer(r);
    }
}

/* ---- the candidate ------------------------------------------------------------------------- */

static bool majority_granted(const struct raft *r)
{
    uint32_t granted = r->self_voter;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        granted += r->peers[i].voter && r->peers[i].granted;
    }
    return granted > membership_voters(r) / 2;
}

/* So many refused, counting the dead node of the certificate, that the rest is no majority. */
static bool majority_out_of_reach(const struct raft *r)
{
    uint32_t left = r->self_voter;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct peer *peer = &r->peers[i];
        left += peer->voter && !peer->refused && peer->id != r->certificate.dead;
    }
    return left <= membership_voters(r) / 2;
}

static void request_votes(struct raft *r, bool prevote)
{
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (!r->peers[i].voter) {
            continue;
        }
        struct raft_message *m = outbox_send(r, RAFT_MESSAGE_VOTE, r->peers[i].id);
        m->term = r->term + prevote;
        m->vote = (struct raft_vote){
            .last = trail_last(&r->trail),
            .prevote = prevote,
            .transfer = r->transfer_campaign,
            .transfer_from = r->transfer_campaign ? r->transfer_from : 0,
            .certificate = r->certificate,
        };
    }
}

void election_campaign(struct raft *r, bool prevote)
{
    ASSERT(membership_may_stand(r));
    bool second_half = r->role == RAFT_PRE_CANDIDATE && !prevote;
    r->attempt += !second_half;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        r->peers[i].granted = false;
        r->peers[i].refused = false;
    }
    prevote = prevote && !sole_voter(r);
    if (prevote) {
        outbox_drop_requests(r);
        raft_set_role(r, RAFT_PRE_CANDIDATE);
    } else {
        raft_become_candidate(r);
    }
    election_reset_timer(r);
    struct raft_note *note = outbox_note(r, RAFT_NOTE_ELECTION_STARTED);
    note->election_started.attempt = r->attempt;
    note->election_started.prevote = prevote;
    note->election_started.votes_needed = membership_voters(r) / 2 + 1;
    request_votes(r, prevote);
}

static void win(struct raft *r)
{
    if (r->role == RAFT_PRE_CANDIDATE) {
        election_campaign(r, false);
    } else {
        leader_start(r);
    }
}

/* After a death that is certified, several survivors campaign at once, and now and then they split
 * the vote in spite of all. There is no leader to wait for: who knows that it has lost tries again
 * after a moment, which doubles each time. */
static void retry_soon(struct raft *r)
{
    enum { SPREAD_US = 10000, DOUBLINGS_MAX = 4 };
    if (r->role != RAFT_CANDIDATE || r->certificate.dead == 0 || !majority_out_of_reach(r)) {
        return;
    }
    uint32_t doublings = r->attempt < DOUBLINGS_MAX ? r->attempt : DOUBLINGS_MAX;
    uint64_t due_us = r->now_us + rng_range(&r->rng, 0, (uint64_t)SPREAD_US << doublings);
    if (due_us < r->election_due_us) {
        campaign_at(r, due_us);
    }
}

void election_receive_reply(struct raft *r, const struct raft_message *m)
{
    bool prevote = m->vote_reply.prevote;
    bool waiting = prevote ? r->role == RAFT_PRE_CANDIDATE && m->term == r->term + 1
                           : r->role == RAFT_CANDIDATE && m->term == r->term;
    if (!waiting) {
        return;
    }
    if (!m->vote_reply.granted) {
        raft_peer(r, m->from)->refused = true;
        retry_soon(r);
        return;
    }
    raft_peer(r, m->from)->granted = true;
    bool own_vote = prevote || (r->durable_term == r->term && r->durable_vote == r->options.self);
    if (own_vote && majority_granted(r)) {
        win(r);
    }
}

void election_vote_durable(struct raft *r)
{
    ASSERT(r->role == RAFT_CANDIDATE);
    if (r->durable_term == r->term && r->durable_vote == r->options.self && majority_granted(r)) {
        win(r);
    }
}

/* ---- the voter ----------------------------------------------------------------------------- */

/* §5.4.1 */
static bool up_to_date(const struct raft *r, struct raft_pos candidate)
{
    struct raft_pos mine = trail_last(&r->trail);
    return candidate.term > mine.term ||
           (candidate.term == mine.term && candidate.index >= mine.index);
}

/* The leader gave up its lease for this candidate (thesis §4.2.3): a promise to it is void. */
static bool leader_consents(const struct raft *r, const struct raft_message *m)
{
    const struct raft_vote *v = &m->vote;
    return v->transfer && !v->prevote && r->promise.leader != 0 &&
           v->transfer_from == r->promise.leader && m->term == r->promise.term + 1;
}

/* Promises that this node may have forgotten: none matters to a candidate for whom the leader of
 * this term gave up its lease (see transfer_receive_timeout_now). */
static bool quiet(const struct raft *r, const struct raft_message *m)
{
    const struct raft_vote *v = &m->vote;
    bool consent =
        v->transfer && !v->prevote && v->transfer_from == r->leader && m->term == r->term + 1;
    return r->now_us < r->quiet_until_us && !consent;
}

/* This node gave its word to another, or as the leader has the word of others. */
static bool bound(const struct raft *r, const struct raft_message *m)
{
    return quiet(r, m) || lease_promise_blocks(r, m->from) || lease_leader_blocks(r);
}

/* A leader that this node heard within the minimum timeout lives: it needs no successor. */
static bool leader_lives(const struct raft *r, raft_id candidate)
{
    return r->role != RAFT_LEADER && r->leader != 0 && r->leader != candidate &&
           r->now_us - r->follower.heard_us < r->options.election_min_us;
}

/* Two that pre-campaign at the same time, as on one death certificate, would each grant the other a
 * pre-vote, then vote for themselves, and both wait for another timeout. So one of them stands
 * back: the one with less log, or the smaller id. Its own timer goes on, should the other not make
 * it. */
static bool stands_back(const struct raft *r, const struct raft_message *m)
{
    struct raft_pos mine = trail_last(&r->trail);
    bool same_log = m->vote.last.term == mine.term && m->vote.last.index == mine.index;
    return r->role == RAFT_PRE_CANDIDATE && (!same_log || m->from > r->options.self);
}

static void receive_prevote(struct raft *r, const struct raft_message *m)
{
    bool free = m->term > r->term ||
                (m->term == r->term && (r->vote == 0 || r->vote == m->from) && r->leader == 0);
    bool granted = free && up_to_date(r, m->vote.last) && !bound(r, m) && !leader_lives(r, m->from);
    struct raft_message *reply = outbox_send(r, RAFT_MESSAGE_VOTE_REPLY, m->from);
    reply->vote_reply = (struct raft_vote_reply){.granted = granted, .prevote = true};
    if (granted) {
        reply->term = m->term; /* of the election that it would support */
        if (stands_back(r, m)) {
            raft_become_follower(r, r->term, RAFT_STEP_DOWN_REQUESTED);
        }
    }
}

static void refuse(struct raft *r, raft_id candidate)
{
    struct raft_message *reply = outbox_send(r, RAFT_MESSAGE_VOTE_REPLY, candidate);
    reply->vote_reply = (struct raft_vote_reply){0};
}

static void receive_request(struct raft *r, const struct raft_message *m)
{
    if (m->term < r->term) {
        refuse(r, m->from);
        return;
    }
    if (leader_consents(r, m)) {
        lease_void_promise(r);
    }
    if (bound(r, m)) {
        return; /* and the term stays: a candidate must not disturb a leader that others follow */
    }
    if (m->term > r->term) {
        raft_become_follower(r, m->term, RAFT_STEP_DOWN_HIGHER_TERM);
    }
    bool free = r->vote == m->from || (r->vote == 0 && r->leader == 0);
    if (!free || !up_to_date(r, m->vote.last)) {
        refuse(r, m->from);
        return;
    }
    r->vote = m->from;
    election_reset_timer(r);
    struct raft_message *reply = outbox_send_grant(r, m->from);
    reply->vote_reply = (struct raft_vote_reply){.granted = true};
}

void election_receive_vote(struct raft *r, const struct raft_message *m)
{
    if (m->term == 0) {
        return; /* there is no election in term 0 */
    }
    if (m->vote.certificate.dead != 0) {
        lease_certificate(r, &m->vote.certificate);
    }
    if (m->vote.prevote) {
        receive_prevote(r, m);
    } else {
        receive_request(r, m);
    }
}
