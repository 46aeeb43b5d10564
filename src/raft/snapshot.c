/* Snapshots: §7. The core decides who needs one and when one is in place; its bytes are streamed by
 * the node. */
#include "raft/raft_internal.h"

/* Of a snapshot, received and not stored yet. */
enum { CHUNKS_WAITING_BYTES = 8 << 20 };

void snapshot_taken(struct raft *r, struct raft_pos last)
{
    if (last.index <= r->trail.base.index) {
        return;
    }
    ASSERT(last.index <= r->commit_index);
    ASSERT(trail_has(&r->trail, last));
    trail_compact(&r->trail, last);
    if (r->durable_index < last.index) {
        r->durable_index = last.index; /* in the snapshot, though not yet in the log */
    }
}

/* ---- leader --------------------------------------------------------------------------------- */

void snapshot_need(struct raft *r, struct peer *peer)
{
    progress_need_snapshot(&peer->progress);
    peer->snapshot_asked = false;
    snapshot_ask(r);
}

void snapshot_ask(struct raft *r)
{
    for (uint32_t i = 0; i < r->peers_count && r->out.snapshot_needed_by == 0; i++) {
        struct peer *peer = &r->peers[i];
        if (peer->progress.mode == RAFT_SNAPSHOT && !peer->snapshot_asked) {
            peer->snapshot_asked = true;
            r->out.snapshot_needed_by = peer->id;
        }
    }
}

/* It renews promises and confirms reads as a heartbeat does: on a link that is busy with chunks it
 * may be the first to arrive. */
enum err snapshot_send(struct raft *r, const struct raft_event *event)
{
    if (r->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    const struct peer *peer = raft_peer(r, event->snapshot_send.to);
    if (peer == NULL || peer->progress.mode != RAFT_SNAPSHOT) {
        return ERR_NOT_FOUND;
    }
    ASSERT(event->snapshot_send.last.index <= r->commit_index);
    struct raft_message *m = outbox_send(r, RAFT_MESSAGE_INSTALL_SNAPSHOT, peer->id);
    m->install_snapshot = (struct raft_install_snapshot){
        .last = event->snapshot_send.last,
        .offset_bytes = event->snapshot_send.offset_bytes,
        .size_bytes = event->snapshot_send.size_bytes,
        .done = event->snapshot_send.done,
        .lease_us = r->options.lease_us,
        .round = r->lead.round,
        .sent_us = r->now_us,
    };
    return ERR_OK;
}

void snapshot_receive_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_LEADER || m->term != r->term) {
        return;
    }
    const struct raft_install_snapshot_reply *reply = &m->install_snapshot_reply;
    struct peer *peer = raft_peer(r, m->from);
    leader_heard(r, peer, reply->round, reply->sent_us);
    bool known = reply->last.index <= r->trail.last && reply->last.index <= r->commit_index;
    if (reply->installed && known && peer->progress.mode == RAFT_SNAPSHOT) {
        progress_snapshot_installed(&peer->progress, reply->last.index);
        leader_replicate(r, peer);
        leader_advance_commit(r);
    }
    if (r->role == RAFT_LEADER) {
        read_advance(r);
    }
}

/* ---- follower ------------------------------------------------------------------------------- */

static void reply_to(struct raft *r, struct raft_install_snapshot_reply reply)
{
    reply.round = r->follower.round;
    reply.sent_us = r->follower.sent_us;
    outbox_send(r, RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY, r->leader)->install_snapshot_reply = reply;
}

static bool coming_in(const struct raft *r, struct raft_pos last)
{
    return last.index != 0 && last.index == r->installing.last.index &&
           last.term == r->installing.last.term;
}

static void reply_stored(struct raft *r)
{
    reply_to(r, (struct raft_install_snapshot_reply){.last = r->installing.last,
                                                     .offset_bytes = r->installing.stored_bytes});
}

/* Chunks are stored in order. One that is out of turn is answered with where to go on, unless that
 * answer is on its way already. One that would wait for a slow disk behind too many others is
 * dropped: its leader sends it again. */
static void take_chunk(struct raft *r, const struct raft_install_snapshot *s)
{
    if (!coming_in(r, s->last)) {
        r->installing.last = s->last;
        r->installing.received_bytes = 0;
        r->installing.stored_bytes = 0;
    }
    if (s->offset_bytes == r->installing.received_bytes) {
        if (r->installing.received_bytes - r->installing.stored_bytes >= CHUNKS_WAITING_BYTES) {
            return;
        }
        r->installing.received_bytes += s->size_bytes;
        r->installing.done = s->done;
        r->out.snapshot_store = true;
    } else if (r->installing.stored_bytes == r->installing.received_bytes) {
        reply_stored(r);
    }
}

static bool chunk_valid(const struct raft_message *m)
{
    const struct raft_install_snapshot *s = &m->install_snapshot;
    return s->last.index > 0 && s->last.index <= RAFT_PLAUSIBLE_MAX && s->last.term > 0 &&
           s->last.term <= m->term && s->offset_bytes <= RAFT_PLAUSIBLE_MAX;
}

void snapshot_receive(struct raft *r, const struct raft_event *event)
{
    const struct raft_message *m = event->receive.message;
    const struct raft_install_snapshot *s = &m->install_snapshot;
    if (!chunk_valid(m) || !follower_accept_leader(r, event, s->lease_us)) {
        return;
    }
    follower_note_round(r, s->round, s->sent_us);
    if (r->installing.done) {
        return; /* it cannot be stopped any more */
    }
    bool held = s->last.index <= r->commit_index || trail_has(&r->trail, s->last);
    if (!held) {
        take_chunk(r, s);
    } else if (s->last.index <= r->durable_index) {
        /* The log holds it and goes on from there: it is kept (§7). */
        raft_commit_to(r, s->last.index);
        r->installing.last = (struct raft_pos){0};
        reply_to(r, (struct raft_install_snapshot_reply){.last = s->last, .installed = true});
    }
}

void snapshot_chunk_stored(struct raft *r, const struct raft_event *event)
{
    uint64_t offset_bytes = event->chunk_stored.offset_bytes;
    if (!coming_in(r, event->chunk_stored.last) || offset_bytes > r->installing.received_bytes) {
        return;
    }
    if (event->chunk_stored.failed) {
        if (!r->installing.done) {                     /* else the last one fails, too */
            r->installing.last = (struct raft_pos){0}; /* the next is answered with offset 0 */
        }
        return;
    }
    r->installing.stored_bytes = offset_bytes;
    bool whole = r->installing.done && offset_bytes == r->installing.received_bytes;
    if (r->leader != 0 && r->leader != r->options.self && !whole) {
        reply_stored(r);
    }
}

void snapshot_installed(struct raft *r, const struct raft_event *event)
{
    struct raft_pos last = event->snapshot_installed.last;
    const struct raft_members *members = event->snapshot_installed.members;
    ASSERT(r->installing.done);
    ASSERT(coming_in(r, last));
    r->installing.last = (struct raft_pos){0};
    r->installing.done = false;
    bool led = r->leader != 0 && r->leader != r->options.self;
    if (!event->snapshot_installed.ok) {
        if (led) { /* from the beginning, or another one */
            reply_to(r, (struct raft_install_snapshot_reply){.last = last, .offset_bytes = 0});
        }
        return;
    }
    ASSERT(membership_valid(members));
    ASSERT(last.index > r->commit_index);
    trail_reset(&r->trail, last);
    writes_truncate(&r->writes, last.index + 1);
    r->durable_index = last.index;
    r->commit_index = last.index;
    membership_init(r, members, last.index);
    if (led) {
        r->follower.verified = last.index;
        r->follower.ack_owed = false;
        reply_to(r, (struct raft_install_snapshot_reply){.last = last, .installed = true});
    }
}
