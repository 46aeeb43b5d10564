/* Linearizable reads, and reads by lease or of what is here. Private to this folder. */
#ifndef MK_NODE_READS_H
#define MK_NODE_READS_H

#include <sys/queue.h>

#include "base/wheel.h"
#include "node/node.h"
#include "raft/raft.h"

enum read_level { READ_LINEARIZABLE, READ_LEASE, READ_LOCAL };

enum read_kind {
    READ_QUERY,   /* of a machine */
    READ_BARRIER, /* answered with the index once it is applied here */
    READ_INDEX,   /* answered with the index at once */
};

struct read_batch;
TAILQ_HEAD(read_queue, read_batch);

struct pending_read {
    TAILQ_ENTRY(pending_read) link; /* of its batch */
    struct read_batch *batch;
    enum read_kind kind;
    struct slice query; /* [machine, name, args] */
    struct wheel_timer deadline;
    bool was_held; /* since then it is the caller that is late, not this node */
    struct node_caller caller;
};

struct reads {
    struct read_queue fresh, asked, indexed, ready, held; /* reads.c says what they are */
    struct wheel deadlines;
    uint32_t count;
    uint64_t query_bytes;
    uint64_t next_token;
    uint64_t asked_token; /* the leader was asked for this one and has not answered; 0: none */
    uint64_t ask_us;      /* when fresh ones are looked at again, whatever happens */
};

struct read_request {
    enum read_kind kind;
    enum read_level level;
    struct bytes query; /* READ_QUERY: [machine, name, args] */
    raft_index index;   /* it must see this entry, whether there is one yet or not; 0: any */
    uint64_t timeout_us;
    struct node_caller caller;
};
void reads_init(struct node *n);
/* Answer all that wait: the node ends. */
void reads_give_up(struct node *n);
void reads_add(struct node *n, const struct read_request *r);
void reads_round(struct node *n);
void reads_answered(struct node *n, const struct raft_read_result *result);
void reads_leader_changed(struct node *n);
/* The node stops: what waits for entries that are not there yet is given up. */
void reads_give_up_on_news(struct node *n);
/* Serve what has become servable. True if there is more to do at once. */
bool reads_serve(struct node *n);
void reads_tick(struct node *n, uint64_t now_us);
uint64_t reads_deadline(const struct node *n);

#endif
