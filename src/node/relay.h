/* Requests between nodes, on the links that Raft uses. Private to this folder. */
#ifndef MK_NODE_RELAY_H
#define MK_NODE_RELAY_H

#include <sys/queue.h>

#include "node/node.h"
#include "raft/raft.h"

/* A request to another node that awaits its response. */
struct relayed {
    TAILQ_ENTRY(relayed) link;
    uint32_t msgid;
    raft_id to;
    uint64_t deadline_us;
    node_reply_fn reply;
    void *ctx;
};

struct relay {
    TAILQ_HEAD(relayed_list, relayed) waiting;
    uint32_t count;
    uint32_t next_msgid;
};

struct relay_question {
    raft_id to;
    const char *method;
    uint64_t timeout_us;
    node_reply_fn reply;
    void *ctx;
};
void relay_init(struct node *n);
void relay_close(struct node *n);
/* Do so many wait for answers of other nodes that a client's question is one too many? */
bool relay_is_full(const struct node *n);
/* Ask another node; the reply comes from its node_call(), or TIMEOUT, or UNREACHABLE. */
void relay_request(struct node *n, raft_id to, const char *method, struct bytes params,
                   uint64_t timeout_us, node_reply_fn reply, void *ctx);
void relay_notify(struct node *n, raft_id to, const char *method, struct bytes params);
/* The same behind what Raft sends. BUSY: so much waits that it was dropped. */
enum err relay_request_behind(struct node *n, const struct relay_question *q, struct bytes params);
enum err relay_notify_behind(struct node *n, raft_id to, const char *method, struct bytes params);
void relay_receive(struct node *n, raft_id from, struct slice frame);
void relay_link_down(struct node *n, raft_id peer);
/* Tell a peer how clients reach this node. */
void relay_introduce(struct node *n, raft_id peer);
void relay_tick(struct node *n, uint64_t now_us);
uint64_t relay_deadline(const struct node *n);

#endif
