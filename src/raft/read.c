/* Linearizable reads: ReadIndex (thesis §6.4) and lease reads (§6.4.1). */
#include "raft/raft_internal.h"

#include <string.h>

#include "base/alloc.h"

enum { CAPACITY_MIN = 16 };

/* A majority, this node included, has followed it since this round was sent. */
static uint64_t confirmed_round(const struct raft *r)
{
    struct quorum q;
    quorum_init(&q);
    if (r->self_voter) {
        quorum_add(&q, UINT64_MAX);
    }
    for (uint32_t i = 0; i < r->peers_count; i++) {
        if (r->peers[i].voter) {
            quorum_add(&q, r->peers[i].echoed_round);
        }
    }
    return quorum_reached(&q);
}

static void add(struct raft *r, struct pending_read read)
{
    if (r->lead.reads_count == r->lead.reads_capacity) {
        uint32_t capacity = r->lead.reads_capacity;
        r->lead.reads_capacity = capacity == 0 ? CAPACITY_MIN : capacity * 2;
        r->lead.reads = alloc_resize(r->lead.reads, r->lead.reads_capacity, sizeof *r->lead.reads);
    }
    r->lead.reads[r->lead.reads_count++] = read;
}

void read_register(struct raft *r, uint64_t token, bool allow_lease)
{
    if (r->role != RAFT_LEADER) {
        outbox_read(r, (struct raft_read_result){.token = token, .err = ERR_NOT_LEADER});
        return;
    }
    /* Until an entry of its own term is committed, a leader does not know how far its predecessors
     * committed: its no-op is beyond all of that. */
    raft_index noop = r->lead.noop_index;
    raft_index index = r->commit_index > noop ? r->commit_index : noop;
    if (allow_lease && r->commit_index >= noop && raft_has_lease(r, r->now_us)) {
        outbox_read(r, (struct raft_read_result){.token = token, .index = index});
        return;
    }
    add(r, (struct pending_read){.token = token, .index = index, .round = r->lead.round + 1});
    read_advance(r);
}

static void answer(struct raft *r, uint64_t confirmed)
{
    uint32_t done = 0;
    while (done < r->lead.reads_count) {
        const struct pending_read *read = &r->lead.reads[done];
        if (read->round > confirmed || read->index > r->commit_index) {
            break; /* rounds and indexes only grow along the queue */
        }
        outbox_read(r, (struct raft_read_result){.token = read->token, .index = read->index});
        done++;
    }
    if (done > 0) {
        r->lead.reads_count -= done;
        memmove(r->lead.reads, r->lead.reads + done, r->lead.reads_count * sizeof *r->lead.reads);
    }
}

void read_advance(struct raft *r)
{
    if (r->lead.reads_count == 0) {
        return;
    }
    uint64_t confirmed = confirmed_round(r);
    answer(r, confirmed);
    /* Reads that came since the last broadcast share the next one, once that is answered. */
    bool waiting =
        r->lead.reads_count > 0 && r->lead.reads[r->lead.reads_count - 1].round > r->lead.round;
    if (waiting && confirmed >= r->lead.reads_round) {
        leader_broadcast(r);
        r->lead.reads_round = r->lead.round;
    }
}

void read_fail_all(struct raft *r)
{
    for (uint32_t i = 0; i < r->lead.reads_count; i++) {
        outbox_read(
            r, (struct raft_read_result){.token = r->lead.reads[i].token, .err = ERR_NOT_LEADER});
    }
    r->lead.reads_count = 0;
}
