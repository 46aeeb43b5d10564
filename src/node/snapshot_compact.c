/* What a snapshot holds need not stay in the log. Some of it does all the same: the newest
 * keep_entries of it, for followers that are a little behind; and up to hold_bytes more while
 * somebody is reading there (a follower that keeps up, one that a snapshot is on its way to, commit
 * hooks). Beyond that they lose: the follower is sent a snapshot, the hooks are told of a gap. */
#include "base/assert.h"
#include "node/node_internal.h"

static void hold_at(raft_index *upto, raft_index index)
{
    *upto = index < *upto ? index : *upto;
}

/* Followers that answer. One that was silent for longer than an election takes has to wait for its
 * turn like one that is down. */
static void hold_for_followers(struct node *n, raft_index *upto)
{
    if (!node_is_leader(n)) {
        return;
    }
    uint64_t now_us = node_now(n);
    for (uint32_t i = 0; i < n->status.peers_count; i++) {
        const struct raft_peer_status *peer = &n->status.peers[i];
        const struct outlet *o = sender_outlet(n, peer->id);
        bool answers =
            o != NULL && o->up && now_us - peer->heard_us < 2 * n->options.raft.election_max_us;
        if (!answers) {
            continue;
        }
        if (peer->mode != RAFT_SNAPSHOT) {
            hold_at(upto, peer->match);
        } else if (o->stream.held != NULL) {
            hold_at(upto, o->stream.held->last.index);
        }
    }
}

static void hold_for_hooks(const struct node *n, raft_index *upto)
{
    if (n->scripts != NULL && script_host_wants_commits(n->scripts) && n->feed.next > 0) {
        hold_at(upto, n->feed.next - 1);
    }
}

/* The least index such that what follows it, up to hi, is within hold_bytes. */
static raft_index within_hold(const struct node *n, raft_index base, raft_index hi)
{
    raft_index lo = base;
    raft_index top = hi;
    while (lo < top) {
        raft_index middle = lo + (top - lo) / 2;
        if (raft_log_bytes(n->raft, middle, hi) <= n->options.snapshot.hold_bytes) {
            top = middle;
        } else {
            lo = middle + 1;
        }
    }
    return lo;
}

/* Each compaction is a write. While the holders creep forward, some log has to come together first.
 */
static bool is_worth_it(raft_index base, raft_index upto, raft_index goal)
{
    return upto == goal || upto - base >= (goal - base) / 4 + 1;
}

void snapshot_compact(struct node *n)
{
    const struct store_snapshot *s = store_snapshot(n->store);
    uint64_t keep = n->options.snapshot.keep_entries;
    if (s->last.index <= keep || s->last.index - keep <= n->compacted_index ||
        snapshot_install_busy(n) || n->failed) {
        return;
    }
    raft_index goal = s->last.index - keep;
    raft_index base = n->compacted_index;
    raft_index upto = goal;
    raft_status(n->raft, &n->status);
    hold_for_followers(n, &upto);
    hold_for_hooks(n, &upto);
    if (upto < goal) {
        raft_index least = within_hold(n, base, goal);
        upto = upto < least ? least : upto;
    }
    hold_at(&upto, n->status.durable_index);
    if (upto <= base || !is_worth_it(base, upto, goal)) {
        return;
    }
    struct raft_pos last = {.index = upto, .term = raft_term_at(n->raft, upto)};
    struct raft_members members;
    membership_to_raft(members_at(n, upto), &members);
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_TAKEN,
                               .now_us = node_now(n),
                               .snapshot_taken = {.last = last, .members = &members}};
    node_turn(n, &event);
    store_compact(n->store, (struct store_pos){.index = last.index, .term = last.term});
    n->compacted_index = upto;
}
