/* Changes of the membership, one server at a time. Private to this folder. */
#ifndef MK_NODE_CHANGE_H
#define MK_NODE_CHANGE_H

#include "node/node.h"
#include "raft/raft.h"
#include "wire/membership.h"

enum change_kind { CHANGE_ADD, CHANGE_PROMOTE, CHANGE_REMOVE };

struct change_request {
    enum change_kind kind;
    char name[MEMBER_NAME_MAX + 1];
    char address[MEMBER_ADDRESS_MAX + 1]; /* ADD: of its peer listener */
    uint64_t timeout_us;
    node_reply_fn reply;
    void *ctx;
};

/* The one change of the membership that this leader was asked for. */
struct change {
    bool active;
    struct change_request request;
    struct raft_pos at; /* of its entry; index 0: not proposed yet */
    bool tried;         /* to propose it: again at retry_us */
    uint64_t retry_us;
    uint64_t deadline_us;
};

/* Have the membership changed; the answer is the members as they are then. */
void change_begin(struct node *n, const struct change_request *q);
void change_round(struct node *n);
void change_applied(struct node *n, struct raft_pos pos);
void change_tick(struct node *n, uint64_t now_us);
uint64_t change_deadline(const struct node *n);
void change_close(struct node *n);

#endif
