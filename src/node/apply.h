/* Committed entries -> state machines, in slices. Private to this folder. */
#ifndef MK_NODE_APPLY_H
#define MK_NODE_APPLY_H

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"
#include "store/store.h"

struct node;

struct recent_result {
    raft_index index;
    enum err err;
    bool repeated; /* it had taken effect before */
    struct slice result;
};

enum { RECENT_RESULTS = 4096 };

struct apply {
    raft_index last_applied;
    raft_index scope_index; /* newest no-op: an older fencing token is refused */
    int64_t time_ms;        /* of the last applied entry */
    bool reading;           /* waiting for entries from disk */
    bool failed;            /* this node must not apply any further */
    struct store_read read;
    struct buffer result;         /* scratch */
    struct recent_result *recent; /* RECENT_RESULTS of them; NULL until commit hooks exist */
};

void apply_close(struct node *n);
/* Apply what is committed, for about a millisecond. True if there is more to do at once. */
bool apply_slice(struct node *n);
/* The state is now that of a snapshot. */
void apply_replaced(struct node *n, raft_index last_applied, int64_t time_ms);
/* The token of the newest leadership, as the state has it. */
void apply_find_scope(struct node *n);
/* This node must not apply any further, nor lead. */
void apply_stop(struct node *n, enum err err, const char *message);
/* NULL if it is no longer kept. */
const struct recent_result *apply_recent_result(const struct node *n, raft_index index);

#endif
