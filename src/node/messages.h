/* What scripts of different nodes say to each other. Private to this folder. */
#ifndef MK_NODE_MESSAGES_H
#define MK_NODE_MESSAGES_H

#include <sys/queue.h>

#include "node/node.h"
#include "raft/raft.h"

/* A call that this node's scripts are to answer. */
struct message_call {
    TAILQ_ENTRY(message_call) link;
    uint64_t id;
    uint64_t deadline_us;
    node_reply_fn reply;
    void *ctx;
};

struct messages {
    TAILQ_HEAD(, message_call) waiting; /* oldest first */
    uint32_t count;
    uint64_t last_id;
};

void messages_init(struct node *n);
void messages_close(struct node *n);
/* Requests of this node's scripts, params as script.h has them. */
void messages_call(struct node *n, struct bytes params, node_reply_fn reply, void *ctx);
void messages_send(struct node *n, struct bytes params, node_reply_fn reply, void *ctx);
void messages_answered(struct node *n, struct bytes params);
/* [topic, payload, timeout_ms] of another node. */
void messages_take_call(struct node *n, raft_id from, struct bytes params, node_reply_fn reply,
                        void *ctx);
/* [topic, payload] */
void messages_take(struct node *n, raft_id from, struct bytes params);
void messages_tick(struct node *n, uint64_t now_us);
uint64_t messages_deadline(const struct node *n);

#endif
