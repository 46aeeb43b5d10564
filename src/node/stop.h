/* Planned stop and leadership transfer. Private to this folder. */
#ifndef MK_NODE_STOP_H
#define MK_NODE_STOP_H

#include "node/node.h"
#include "raft/raft.h"

enum stop_stage { STOP_NONE, STOP_TRANSFER, STOP_HOOKS, STOP_DRAIN, STOP_DONE };

struct transfer {
    bool active;
    bool waiting_for_work; /* leader-only work is ending: of scripts, or outside */
    bool scripts_idle;     /* theirs has */
    raft_id target;
    raft_term term;
    uint64_t deadline_us;
    node_reply_fn reply; /* NULL: our own planned stop */
    void *ctx;
};

struct stop {
    enum stop_stage stage;
    uint64_t deadline_us;
    uint64_t look_us; /* when to look again whether a stage is over */
    void (*done)(void *ctx);
    void *ctx;
};

void transfer_begin(struct node *n, raft_id target, uint64_t timeout_us, node_reply_fn reply,
                    void *ctx);
void transfer_leader_changed(struct node *n);
void transfer_aborted(struct node *n);
void transfer_leader_idle(struct node *n);
/* Leader-only work outside may be over: go on with a hand-over that waits for that. */
void transfer_work_ends(struct node *n);
/* Commands and reads are refused: it drains, or nobody is there who could commit them. */
bool stop_refuses(struct node *n);
void stop_tick(struct node *n, uint64_t now_us);
void stop_advance(struct node *n);
uint64_t stop_deadline(const struct node *n);
void stop_close(struct node *n);

#endif
