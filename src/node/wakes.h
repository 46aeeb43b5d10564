/* Machines that act when time passes: the leader keeps when each is due. Private to this folder. */
#ifndef MK_NODE_WAKES_H
#define MK_NODE_WAKES_H

#include "raft/raft.h"
#include "script/machine.h"

struct node;

/* When machines want to be woken; kept by the leader, from what they said last. */
struct wake {
    char machine[MACHINE_NAME_BYTES_MAX + 1];
    uint64_t version;
    uint64_t due_us;
    bool failed; /* it could not say: it is not asked again before that */
};

struct wakes {
    struct wake *list;
    size_t count, capacity;
    raft_term term;       /* the leadership in which they were asked */
    raft_index asked_at;  /* last_applied then */
    uint64_t earliest_us; /* UINT64_MAX: none */
};

void wakes_init(struct node *n);
void wakes_close(struct node *n);
void wakes_round(struct node *n);
void wakes_tick(struct node *n, uint64_t now_us);
uint64_t wakes_deadline(const struct node *n);

#endif
