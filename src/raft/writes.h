/* Writes that were asked for with effects.persist and are not yet durable, oldest first.
 *
 * Writes complete in order, so a report of one covers all before it. A later write may truncate the
 * log below an earlier one's entries: what the earlier write makes durable then ends there, and its
 * record is clamped at once. So a report that is late by one truncation can never count an entry of
 * the same index and another term. */
#ifndef MK_RAFT_WRITES_H
#define MK_RAFT_WRITES_H

#include <stdint.h>

#include "raft/raft.h"

struct write {
    uint64_t seq;
    uint64_t asked_us;
    struct raft_pos last; /* as asked for: {0, 0} if the write has no entries */
    raft_index hi;        /* it makes the log durable below hi; clamped by later truncations */
    raft_term term;       /* term and vote that are durable with it */
    raft_id vote;
};

struct writes {
    struct write *ring;
    uint32_t capacity; /* power of two */
    uint32_t head;
    uint32_t count;
    uint64_t last_seq;
};

void writes_init(struct writes *w);
void writes_close(struct writes *w);
/* Numbers the write (write.seq is ignored) and returns its number. */
uint64_t writes_push(struct writes *w, struct write write);
/* The log was cut: entries >= from that are in flight no longer count. */
void writes_truncate(struct writes *w, raft_index from);
/* The oldest write, NULL if there is none. */
const struct write *writes_oldest(const struct writes *w);
/* Remove and return the oldest; there is one. */
struct write writes_pop(struct writes *w);

#endif
