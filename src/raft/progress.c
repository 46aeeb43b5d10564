#include "raft/progress.h"

#include "base/assert.h"

void progress_init(struct progress *p, raft_index next)
{
    ASSERT(next > 0);
    *p = (struct progress){.mode = RAFT_PROBE, .next = next};
}

/* Bytes sent and not acknowledged. What was compacted meanwhile counts no more. */
static uint64_t in_flight_bytes(const struct progress *p, const struct trail *t)
{
    raft_index lo = (p->match > t->base.index ? p->match : t->base.index) + 1;
    return lo >= p->next ? 0 : trail_bytes(t, lo, p->next);
}

raft_index progress_sendable(const struct progress *p, const struct trail *t,
                             const struct progress_limits *limits)
{
    if (p->mode == RAFT_SNAPSHOT || p->next > t->last || p->next <= t->base.index) {
        return p->next;
    }
    uint64_t count = t->last + 1 - p->next;
    if (count > limits->append_entries_max) {
        count = limits->append_entries_max;
    }
    uint64_t size_bytes = limits->append_bytes_max;
    if (p->mode == RAFT_PROBE) {
        if (p->probe_sent) {
            return p->next;
        }
    } else {
        uint64_t in_flight = p->next - 1 - p->match;
        uint64_t used_bytes = in_flight_bytes(p, t);
        if (in_flight >= limits->window_entries || used_bytes >= limits->window_bytes) {
            return p->next;
        }
        if (count > limits->window_entries - in_flight) {
            count = limits->window_entries - in_flight;
        }
        if (size_bytes > limits->window_bytes - used_bytes) {
            size_bytes = limits->window_bytes - used_bytes;
        }
    }
    return trail_fit(t, p->next, p->next + count, size_bytes);
}

void progress_sent(struct progress *p, raft_index end)
{
    ASSERT(end >= p->next);
    ASSERT(p->mode != RAFT_SNAPSHOT);
    p->next = end;
    p->probe_sent = p->mode == RAFT_PROBE;
}

bool progress_idle(const struct progress *p)
{
    return p->mode == RAFT_REPLICATE && p->match + 1 == p->next;
}

bool progress_accepted(struct progress *p, raft_index match, raft_index last)
{
    if (match > last) {
        return false;
    }
    if (match > p->match) {
        p->match = match;
    }
    if (p->mode == RAFT_SNAPSHOT) {
        /* Only an installed snapshot ends this mode: match alone may still be compacted. */
        p->next = p->match >= p->next ? p->match + 1 : p->next;
        return true;
    }
    if (p->match + 1 >= p->next) {
        /* All that was sent is held (or more, sent before next moved back): the guess was right. */
        p->next = p->match + 1;
        p->mode = RAFT_REPLICATE;
        p->probe_sent = false;
    }
    return true;
}

bool progress_rejected(struct progress *p, struct progress_rejection refusal, uint64_t now_us)
{
    if (p->mode == RAFT_SNAPSHOT || refusal.sent_us < p->moved_us ||
        refusal.prev_index <= p->match || refusal.prev_index >= p->next) {
        return false;
    }
    raft_index agree = refusal.agree;
    if (agree >= refusal.prev_index) {
        agree = refusal.prev_index - 1;
    }
    p->mode = RAFT_PROBE;
    p->probe_sent = false;
    p->next = (agree > p->match ? agree : p->match) + 1;
    p->moved_us = now_us;
    return true;
}

void progress_lost(struct progress *p, uint64_t now_us)
{
    if (p->mode == RAFT_REPLICATE) {
        p->mode = RAFT_PROBE;
        p->next = p->match + 1;
        p->moved_us = now_us;
    }
    p->probe_sent = false;
}

void progress_need_snapshot(struct progress *p)
{
    p->mode = RAFT_SNAPSHOT;
    p->probe_sent = false;
}

void progress_snapshot_installed(struct progress *p, raft_index last)
{
    if (p->mode != RAFT_SNAPSHOT) {
        return;
    }
    if (last > p->match) {
        p->match = last;
    }
    p->mode = RAFT_PROBE;
    p->probe_sent = false;
    p->next = p->match + 1;
}
