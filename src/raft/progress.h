/* How far a follower is, as its leader sees it (thesis §10.2.1), and what may be sent to it.
 *
 *   probe      next is a guess: one append at a time, until the follower accepts it
 *   replicate  next is known: appends are sent ahead of their acknowledgements, within a window
 *   snapshot   what the follower needs is compacted: heartbeats only, until it holds a snapshot
 *
 * Invariant: 0 <= match < next. [match + 1, next) was sent since next last moved back and awaits
 * its acknowledgement; heartbeats carry prev = next - 1, so that the follower notices when it is
 * lost. match never decreases; a late, reordered or duplicated reply changes nothing. */
#ifndef MK_RAFT_PROGRESS_H
#define MK_RAFT_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "raft/raft.h"
#include "raft/trail.h"

struct progress {
    enum raft_progress_mode mode;
    bool probe_sent; /* probe: the one append is out */
    raft_index match;
    raft_index next;
    uint64_t moved_us; /* next moved back then: what was sent before is no longer waited for */
};

struct progress_limits {
    uint32_t window_entries;
    uint32_t window_bytes;
    uint32_t append_entries_max;
    uint32_t append_bytes_max;
};

/* A new leader knows nothing: probe at next. */
void progress_init(struct progress *p, raft_index next);

/* The end of the entries [next, end) to send now; next if there is nothing to send, or nothing may
 * be sent. */
raft_index progress_sendable(const struct progress *p, const struct trail *t,
                             const struct progress_limits *limits);
/* The append [next, end) left. */
void progress_sent(struct progress *p, raft_index end);
/* True if nothing that was sent awaits its acknowledgement. */
bool progress_idle(const struct progress *p);

/* The follower holds everything up to match. False, and no change, if that is beyond last, the end
 * of the leader's log. */
bool progress_accepted(struct progress *p, raft_index match, raft_index last);

/* A follower's refusal of an append. */
struct progress_rejection {
    raft_index prev_index; /* which append */
    uint64_t sent_us;
    raft_index agree; /* the logs agree at most up to here */
};
/* True if next moved back and a probe is due; false for a late refusal: one of an append that was
 * sent before next last moved back, or that has been overtaken by an acknowledgement. Of a whole
 * window that runs into a gap, only the first refusal counts. */
bool progress_rejected(struct progress *p, struct progress_rejection refusal, uint64_t now_us);
/* What is in flight is lost: start over from what is known. */
void progress_lost(struct progress *p, uint64_t now_us);
void progress_need_snapshot(struct progress *p);
/* The follower holds a snapshot up to last. */
void progress_snapshot_installed(struct progress *p, raft_index last);

#endif
