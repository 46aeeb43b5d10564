/* Committed entries -> commit hooks, by cursor. Private to this folder. */
#ifndef MK_NODE_FEED_H
#define MK_NODE_FEED_H

#include "raft/raft.h"
#include "store/store.h"

struct node;

struct feed {
    bool active;
    uint64_t number;
    raft_index next;
    bool reading;
    bool failing;      /* the last read failed ... */
    uint64_t retry_us; /* ... and is not tried again before; 0: at once */
    struct store_read read;
};

/* Begin at from, 1 or more: go back there, or wait until it is applied. */
void feed_resume(struct node *n, raft_index from, uint64_t number);
void feed_pump(struct node *n);
void feed_end(struct node *n);
void feed_tick(struct node *n, uint64_t now_us);
uint64_t feed_deadline(const struct node *n);

#endif
