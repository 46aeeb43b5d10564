/* The trail of the log: the term and the size of every entry, without the entries.
 *
 * Terms never decrease along a log and rarely change, so they are kept as runs. Sizes are kept as
 * running totals in a ring, so that the bytes of any range are one subtraction. Both ends can be
 * cut: the tail by a conflict (§5.3), the head by a snapshot (§7).
 *
 * Holds entries (base.index, last]; base is the last entry before them: {0, 0}, or the last entry
 * of the snapshot. Owned by struct raft. Appending allocates only when the ring doubles. */
#ifndef MK_RAFT_TRAIL_H
#define MK_RAFT_TRAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/raft.h"

/* Entries [first, the next run's first) have this term. */
struct trail_run {
    raft_index first;
    raft_term term;
};

struct trail {
    struct raft_pos base;
    raft_index last;
    uint64_t *totals_bytes; /* ring: at index i, the size of all entries up to and including i */
    size_t capacity;        /* power of two; holds base.index and (base.index, last] */
    struct trail_run *runs;
    size_t runs_count;
    size_t runs_capacity;
};

void trail_init(struct trail *t, struct raft_pos base);
void trail_close(struct trail *t);

/* The term of index; 0 if it is compacted (but for base) or beyond the end. */
raft_term trail_term(const struct trail *t, raft_index index);
struct raft_pos trail_last(const struct trail *t);
/* True if the log holds this very entry (Log Matching, §5.3). */
bool trail_has(const struct trail *t, struct raft_pos pos);

/* term is at least that of the last entry. */
void trail_append(struct trail *t, raft_term term, uint32_t size_bytes);
/* Drop entries >= from; base.index < from. */
void trail_truncate(struct trail *t, raft_index from);
/* Drop entries <= pos.index, which becomes the base; base.index <= pos.index <= last. */
void trail_compact(struct trail *t, struct raft_pos pos);
/* Replace everything by a snapshot that ends at pos. */
void trail_reset(struct trail *t, struct raft_pos pos);

/* Size of the entries [lo, hi); base.index < lo <= hi <= last + 1. */
uint64_t trail_bytes(const struct trail *t, raft_index lo, raft_index hi);
/* The largest end in (lo, hi] such that [lo, end) fits into size_bytes; lo + 1 if nothing does, so
 * that an entry of any size gets through. lo < hi. */
raft_index trail_fit(const struct trail *t, raft_index lo, raft_index hi, uint64_t size_bytes);
/* The largest index <= limit whose term is <= term; base.index if there is none. It is where two
 * logs may still agree after a conflict (end of §5.3). */
raft_index trail_agree(const struct trail *t, raft_index limit, raft_term term);

#endif
