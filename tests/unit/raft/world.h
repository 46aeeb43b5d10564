/* A small world for the Raft core alone: cores, a network that loses, repeats, delays and reorders,
 * disks that lose what was not yet reported durable, clocks that drift. After every step it checks
 * what Raft promises. One seed is the whole run.
 *
 * It is quick and knows nothing of the node; the simulator of src/sim does the rest. */
#ifndef MK_TESTS_RAFT_WORLD_H
#define MK_TESTS_RAFT_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "raft/raft.h"

enum { WORLD_NODES_MAX = 7, WORLD_TERMS_MAX = 4096 };

/* An entry with an identity, to tell apart entries of equal index and term. */
struct item {
    struct raft_entry entry;
    uint64_t id;
    raft_term committed_in;      /* among the committed: by the leader of this term */
    struct raft_members members; /* of a config entry */
};

/* Items [1, count]; what a snapshot holds is kept too, for comparison. */
struct items {
    struct item *at;
    uint64_t count;
    uint64_t capacity;
};

struct disk {
    raft_term term;
    raft_id vote;
    struct items log;
    struct raft_pos snapshot;
    struct raft_members snapshot_members;
};

/* Work of a node's disk, done in order. */
struct disk_work {
    enum { WORK_WRITE, WORK_CHUNK, WORK_INSTALL } kind;
    uint64_t due_us;
    uint64_t write_seq;
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index truncate_from;
    raft_index lo, hi;
    struct item *items;
    struct raft_pos last; /* of the write, or of the snapshot */
    uint64_t offset_bytes;
    struct raft_members members;
};

struct stream {
    struct raft_pos last; /* index 0: none */
    uint64_t offset_bytes;
};

struct world_node {
    raft_id id;
    bool up;
    bool member_ever;
    struct raft *core;
    uint64_t life; /* its incarnation */
    uint64_t clock_permille;
    struct items log;
    struct disk disk;
    struct disk_work *work;
    uint32_t work_count;
    uint32_t work_capacity;
    uint64_t disk_free_us;
    struct raft_promise promise;
    raft_index commit_index;
    struct stream streams[WORLD_NODES_MAX + 1];
};

struct packet {
    uint64_t due_us;
    uint64_t order;
    struct raft_message message;
    struct raft_entry *entries;
    struct item *items;
    struct raft_members *configs;
    uint32_t configs_count;
    uint64_t sender_life;
};

struct read_check {
    uint64_t token;
    raft_index at_least;
};

/* How hard the world is; probabilities per message or per act. */
struct world_faults {
    double loss;
    double duplicate;
    double slow;    /* a message takes up to 20 times as long */
    double cut;     /* of a directed link, per act */
    double isolate; /* a node is cut off, or comes back */
    double swap;    /* the leader is cut off and all others come back */
    double crash;
    double stall;    /* a disk stands still for a while */
    double campaign; /* a node times out for no reason */
    double transfer;
    double change; /* of the membership */
    double compact;
};

struct world {
    uint64_t seed;
    bool trace; /* every step to stderr */
    struct rng rng;
    uint64_t now_us;
    uint32_t nodes_count;
    struct world_node nodes[WORLD_NODES_MAX + 1]; /* by id, from 1 */
    struct raft_options options;
    struct raft_members initial;
    struct world_faults faults;
    bool cut[WORLD_NODES_MAX + 1][WORLD_NODES_MAX + 1];
    struct packet *packets;
    uint32_t packets_count;
    uint32_t packets_capacity;
    uint64_t next_order;
    uint64_t next_id;
    uint64_t next_token;
    struct read_check *reads;
    uint32_t reads_count;
    uint32_t reads_capacity;

    /* What all nodes must agree on. */
    struct items committed;
    raft_id leader_of[WORLD_TERMS_MAX];
    uint64_t hash; /* of everything that happened */
    uint64_t steps;
    uint64_t elections;
    uint64_t installs;
};

/* A fresh cluster of nodes_count; with spare nodes outside the membership. */
struct world *world_new(uint64_t seed);
void world_free(struct world *w);
/* Anything goes for so long. */
void world_chaos(struct world *w, uint64_t duration_us);
/* All is repaired; false if the cluster does not agree on a fresh entry within limit_us. */
bool world_settle(struct world *w, uint64_t limit_us);

#endif
