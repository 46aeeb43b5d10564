/* A full disk: the log of this node cannot grow. So it refuses what it could not answer: commands
 * of its own clients and scripts (proposals.c, offer.c), and reads of what is beyond the end of its
 * log (reads.c). It tells the other nodes, each second: a leader whose disk is full needs to know
 * who has room. And it hands leadership, if it has that, to a voter with room: nothing would be
 * written as long as it leads, though a majority could.
 *
 * A disk may be full for a moment only (a snapshot frees a segment): that moves no leadership. Who
 * did not take it is not asked again at once, and where too few in reach have room nobody is asked:
 * each hand-over that fails may cost a term. */
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    LOOK_US = 1000000,
    MOMENT_US = 500000,
    PAUSE_US_MIN = 10000000, /* room for so long, and the pauses begin anew */
    PAUSE_US_MAX = 300000000,
    TOLD_US = 3 * LOOK_US,   /* so long a peer's word holds: some may be lost */
    HAND_OVER_US = 10000000, /* with the end of leader-only work */
};

bool room_is_full(const struct node *n)
{
    return !store_accepts_entries(n->store);
}

bool node_disk_is_full(const struct node *n)
{
    return room_is_full(n);
}

raft_index room_last_index(struct node *n)
{
    raft_status(n->raft, &n->status);
    raft_index durable = n->status.durable_index;
    return durable > n->commit_index ? durable : n->commit_index;
}

/* ---- what the others say, and are told ------------------------------------------------------ */

void room_peer_is_full(struct node *n, raft_id peer)
{
    struct outlet *o = sender_outlet(n, peer);
    if (o != NULL) {
        o->full_until_us = node_now(n) + TOLD_US;
    }
}

static void tell_peers(struct node *n)
{
    struct buffer params = {0};
    write_array(&params, 0);
    for (uint32_t i = 0; i < n->sender.outlets_count; i++) {
        const struct outlet *o = n->sender.outlets[i];
        if (o->up) {
            relay_notify(n, o->id, "disk_full", buffer_bytes(&params));
        }
    }
    buffer_close(&params);
}

/* ---- handing leadership over ---------------------------------------------------------------- */

/* The voter with room that has most of the log; the one that was tried last only if there is no
 * other. 0: there is none, or too few have room: a leader that could write, and not commit, would
 * leave its clients in doubt, where this one refuses. */
static raft_id successor(struct node *n, uint64_t now_us)
{
    raft_id best = 0;
    raft_index best_match = 0;
    uint32_t voters = 1, with_room = 0;
    for (uint32_t i = 0; i < raft_peers_count(n->raft); i++) {
        const struct raft_peer_status p = raft_peer_status(n->raft, i);
        const struct outlet *o = sender_outlet(n, p.id);
        voters += p.voter;
        if (!p.voter || o == NULL || !o->up || now_us < o->full_until_us) {
            continue;
        }
        with_room++;
        bool better = best == n->room.tried || (p.id != n->room.tried && p.match > best_match);
        if (best == 0 || better) {
            best = p.id;
            best_match = p.match;
        }
    }
    return with_room > voters / 2 ? best : 0;
}

static void handed_over(void *ctx, const struct node_reply *reply)
{
    struct node *n = ctx;
    if (reply->err != ERR_OK && reply->err != ERR_SHUTDOWN) {
        log_warn(n->ports.log, "leadership was not handed over, though the disk is full",
                 log_text("reason", reply->message),
                 log_u64("again_in_ms", n->room.pause_us / 1000));
    }
}

static void hand_over(struct node *n, uint64_t now_us)
{
    struct room *r = &n->room;
    raft_id to = successor(n, now_us);
    if (to == 0) {
        r->try_us = now_us + LOOK_US;
        if (!r->told_alone) {
            r->told_alone = true;
            log_error(n->ports.log,
                      "the disk is full, and too few voters in reach have room: nothing is written "
                      "until more than half of them have; make room");
        }
        return;
    }
    r->told_alone = false;
    r->tried = to;
    r->pause_us = r->pause_us == 0 ? PAUSE_US_MIN : 2 * r->pause_us;
    r->pause_us = r->pause_us < PAUSE_US_MAX ? r->pause_us : PAUSE_US_MAX;
    r->try_us = now_us + r->pause_us;
    log_warn(n->ports.log,
             "the disk is full: leadership goes to a node that has room; make room here",
             log_text("to", members_name(n, to)));
    transfer_begin(n, to, HAND_OVER_US, handed_over, n);
}

static bool may_hand_over(const struct node *n)
{
    return node_is_leader(n) && !n->failed && !n->transfer.active && n->stop.stage == STOP_NONE;
}

static uint64_t hand_over_us(const struct node *n)
{
    uint64_t moment_us = n->room.changed_us + MOMENT_US;
    return moment_us > n->room.try_us ? moment_us : n->room.try_us;
}

/* ---- time ----------------------------------------------------------------------------------- */

static void changed(struct node *n, uint64_t now_us)
{
    struct room *r = &n->room;
    bool lasted = now_us - r->changed_us >= PAUSE_US_MIN;
    if (!r->full && lasted) {
        *r = (struct room){0};
    }
    r->full = !r->full;
    r->changed_us = now_us;
    r->told_alone = false;
    if (r->full) {
        tell_peers(n);
        r->look_us = now_us + MOMENT_US / 2; /* is it so still, before leadership moves? */
    }
    node_want_round(n);
}

void room_tick(struct node *n, uint64_t now_us)
{
    struct room *r = &n->room;
    if (r->full != room_is_full(n)) {
        changed(n, now_us);
    }
    if (!r->full) {
        return;
    }
    if (now_us >= r->look_us) {
        r->look_us = now_us + LOOK_US;
        store_poll(n->store);
        tell_peers(n);
        node_want_round(n);
    }
    if (may_hand_over(n) && now_us >= hand_over_us(n)) {
        hand_over(n, now_us);
    }
}

uint64_t room_deadline(const struct node *n)
{
    const struct room *r = &n->room;
    if (r->full != room_is_full(n)) {
        return node_now(n);
    }
    if (!r->full) {
        return UINT64_MAX;
    }
    uint64_t try_us = may_hand_over(n) ? hand_over_us(n) : UINT64_MAX;
    return r->look_us < try_us ? r->look_us : try_us;
}
