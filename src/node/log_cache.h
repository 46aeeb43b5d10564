/* The newest entries of the log, with their bodies, in memory: what followers, apply and the commit
 * feed usually need. Older ones are read back from the store.
 *
 * Owned by the node. Holds [first, last]; bodies are slices, mostly of received frames. */
#ifndef MK_NODE_LOG_CACHE_H
#define MK_NODE_LOG_CACHE_H

#include "base/bytes.h"
#include "raft/raft.h"

struct log_cache_entry {
    raft_term term;
    struct slice body;
};

struct log_cache {
    struct log_cache_entry *ring;
    size_t capacity; /* power of two, or 0 */
    size_t head;
    size_t count;
    raft_index first;  /* index of the oldest; last + 1 when empty */
    size_t size_bytes; /* of bodies */
    size_t size_bytes_max;
};

/* The next entry added will have index next. */
void log_cache_init(struct log_cache *c, raft_index next, size_t size_bytes_max);
void log_cache_close(struct log_cache *c);
/* Index of the newest; first - 1 when empty. */
raft_index log_cache_last(const struct log_cache *c);
/* Append the entry at log_cache_last() + 1; takes over body. */
void log_cache_add_take(struct log_cache *c, raft_term term, struct slice body);
/* The log up to last is on the disk: drop the oldest of it beyond the limit. What is not on the
 * disk must stay here, for it can be read nowhere else. */
void log_cache_durable(struct log_cache *c, struct raft_pos last);
/* Drop entries >= index. */
void log_cache_truncate(struct log_cache *c, raft_index index);
/* Drop everything; the next entry added has index next. */
void log_cache_reset(struct log_cache *c, raft_index next);
/* NULL if it is not here. Borrowed until the next change. */
const struct log_cache_entry *log_cache_at(const struct log_cache *c, raft_index index);

#endif
