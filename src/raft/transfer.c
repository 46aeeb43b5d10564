/* Leadership transfer: thesis §3.10. */
#include "raft/raft_internal.h"

/* The voter that has most of the log, and of those the one heard last. */
static raft_id furthest_voter(const struct raft *r)
{
    const struct peer *best = NULL;
    for (uint32_t i = 0; i < r->peers_count; i++) {
        const struct peer *peer = &r->peers[i];
        if (peer->voter &&
            (best == NULL || peer->progress.match > best->progress.match ||
             (peer->progress.match == best->progress.match && peer->heard_us > best->heard_us))) {
            best = peer;
        }
    }
    return best == NULL ? 0 : best->id;
}

enum err transfer_start(struct raft *r, raft_id target)
{
    if (r->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (target == 0) {
        target = furthest_voter(r);
    }
    if (target == r->options.self) {
        return ERR_OK; /* it leads already */
    }
    const struct peer *peer = raft_peer(r, target);
    if (peer == NULL || !peer->voter) {
        return ERR_NOT_FOUND;
    }
    if (r->lead.transfer_target != 0) {
        return r->lead.transfer_target == target ? ERR_OK : ERR_BUSY;
    }
    r->lead.transfer_target = target;
    r->lead.transfer_sent = false;
    r->lead.transfer_due_us = r->now_us + r->options.transfer_timeout_us;
    transfer_advance(r);
    return ERR_OK;
}

void transfer_advance(struct raft *r)
{
    if (r->lead.transfer_target == 0) {
        return;
    }
    const struct peer *target = raft_peer(r, r->lead.transfer_target);
    if (target == NULL || !target->voter) {
        transfer_abort(r);
        return;
    }
    /* For one that would not hear of it, the lease is not given up. */
    bool silent = r->now_us - target->heard_us >= r->options.election_min_us;
    if (r->lead.transfer_sent || silent || target->progress.match != r->trail.last) {
        return;
    }
    r->lead.transfer_sent = true;
    /* From here the target may win at any moment: the lease is void, even if it does not. */
    r->lead.lease_given_up = true;
    struct raft_message *m = outbox_send(r, RAFT_MESSAGE_TIMEOUT_NOW, target->id);
    m->timeout_now.last = trail_last(&r->trail);
}

void transfer_repeat(struct raft *r)
{
    r->lead.transfer_sent = false;
    transfer_advance(r);
}

/* A leader without a lease can commit and read, but what may only run under a lease runs nowhere
 * until the next term: so that term begins now. This node asks for it first, as the others'
 * promises, which are to itself, do not hold them back; the target of the transfer, should it have
 * heard TimeoutNow after all, may still be quicker. */
static void renew_lease(struct raft *r)
{
    raft_become_follower(r, r->term, RAFT_STEP_DOWN_TRANSFER);
    election_stand_again(r);
}

void transfer_abort(struct raft *r)
{
    outbox_note(r, RAFT_NOTE_TRANSFER_ABORTED)->transfer.target = r->lead.transfer_target;
    r->lead.transfer_target = 0;
    if (r->lead.lease_given_up && r->options.lease) {
        renew_lease(r);
    }
}

void transfer_receive_timeout_now(struct raft *r, const struct raft_message *m)
{
    struct raft_pos last = trail_last(&r->trail);
    bool current = r->role == RAFT_FOLLOWER && m->term == r->term && m->from == r->leader;
    /* A late one, of a transfer that was aborted, finds a longer log and does nothing. */
    bool whole = last.index == m->timeout_now.last.index && last.term == m->timeout_now.last.term;
    if (!current || !whole || !r->self_voter || r->disk_failed || r->installing.done) {
        return;
    }
    /* Promises that this node may have forgotten (quiet_until_us) do not matter here. One that it
     * ever acknowledged was to a leader of a term that is durable here, so to this leader, who
     * gives its lease up by asking, or to one whose lease was over before this leader was elected.
     */
    if (r->promise.leader == m->from) {
        lease_void_promise(r);
    }
    raft_lose_leader(r, RAFT_LOST_STEPPED_DOWN);
    r->transfer_campaign = true;
    r->transfer_from = m->from;
    election_campaign(r, false);
}
