/* A handful of cores whose messages, writes and clock are moved by hand: what a trace drives. */
#ifndef MK_TESTS_TRACES_CLUSTER_H
#define MK_TESTS_TRACES_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "raft/raft.h"

enum { CLUSTER_NODES_MAX = 9, CLUSTER_LOG_MAX = 1024, CLUSTER_QUEUE_MAX = 256 };

struct log_item {
    struct raft_entry entry;
    struct raft_members members; /* of a config entry */
};

/* Entries [1, last]. */
struct log_items {
    raft_index last;
    struct log_item at[CLUSTER_LOG_MAX];
};

struct disk_write {
    uint64_t seq;
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index truncate_from;
    raft_index lo, hi;
    struct log_item *items;
    struct raft_pos last;
};

struct flying {
    struct raft_message message;
    struct log_item *items;
    uint64_t sender_life;
};

/* Messages from one node to another, in order. */
struct link {
    struct flying at[CLUSTER_QUEUE_MAX];
    uint32_t count;
};

struct node {
    struct raft *core; /* NULL: down */
    uint64_t life;
    raft_index commit_index;
    struct log_items log;
    /* What survives a crash. */
    raft_term disk_term;
    raft_id disk_vote;
    struct log_items disk;
    struct raft_pos snapshot;
    struct raft_members snapshot_members;
    struct raft_promise promise;
    struct disk_write writes[CLUSTER_QUEUE_MAX];
    uint32_t writes_count;
};

struct cluster {
    struct raft_options options;
    struct raft_members initial;
    uint64_t now_us;
    uint32_t nodes_count;
    struct node nodes[CLUSTER_NODES_MAX + 1]; /* by id, from 1 */
    bool cut[CLUSTER_NODES_MAX + 1];          /* what it sends, and what is sent to it, is lost */
    struct link links[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1];
    bool quiet; /* steps are taken, not told */
    struct buffer *out;
};

void cluster_close(struct cluster *c);
void cluster_start(struct cluster *c, raft_id id, uint64_t quiet_until_us);
void cluster_crash(struct cluster *c, raft_id id);
/* One step of a node that is up; told on c->out unless quiet. items: the entries of a received
 * append. */
void cluster_step(struct cluster *c, raft_id id, struct raft_event *event,
                  const struct log_item *items);
/* Deliver the oldest message of a link; to a node that is down it is lost. There is one. */
void cluster_deliver(struct cluster *c, raft_id from, raft_id to);
void cluster_drop(struct cluster *c, raft_id from, raft_id to);
/* Complete the oldest count writes of a node, in one report. */
void cluster_persist(struct cluster *c, raft_id id, uint32_t count);
/* Deliver and persist until nothing is left to do; no time passes. */
void cluster_settle(struct cluster *c);

struct raft_incarnation cluster_incarnation(raft_id id, uint64_t life);

#endif
