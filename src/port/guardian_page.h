/* The page that a node shares with its guardian: memory that outlives the node's process.
 *
 * The guardian maps it (MAP_SHARED, anonymous) before it forks the node; the simulator keeps one
 * for each simulated host. The node writes, the guardian reads, except where a field says
 * otherwise. Each part that is read by the other side while it may be written has a sequence
 * number: odd while it is being written (a seqlock; one writer). A node that dies in the middle of
 * a write leaves it odd: the guardian then treats that part as unknown. */
#ifndef MK_PORT_GUARDIAN_PAGE_H
#define MK_PORT_GUARDIAN_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    GUARDIAN_PEERS_MAX = 32,
    GUARDIAN_CHILDREN_MAX = 256,
    GUARDIAN_NAME_MAX = 64,
    GUARDIAN_ADDRESS_MAX = 128
};

/* A promise to a leader (raft.h), kept across a restart of the node. */
struct guardian_promise {
    uint64_t leader; /* 0: none */
    uint64_t term;
    uint8_t incarnation[32];
    uint64_t until_us;
};

struct guardian_peer {
    uint64_t id;
    char name[GUARDIAN_NAME_MAX];
    char address[GUARDIAN_ADDRESS_MAX];
};

/* A child of a script: killed by the guardian when the deadline has passed or the node is dead. */
struct guardian_child {
    _Atomic uint64_t deadline_us;  /* UINT64_MAX: no deadline */
    _Atomic int32_t process_group; /* 0: free slot */
    uint64_t start_time;           /* of the group's leader, in clock ticks since boot */
    uint64_t tag; /* what its processes are known by that have left the group (net/program_tag.h) */
};

/* What the node enters of one. */
struct guardian_entry {
    int32_t process_group;
    uint64_t tag;
    uint64_t deadline_us;
};

/* What the guardian does when its node has ended other than as planned. */
enum guardian_next {
    GUARDIAN_RESTARTS = 0,
    GUARDIAN_ENDS,  /* too, with the node's exit status: another start would end the same way */
    GUARDIAN_WAITS, /* for SIGHUP, which starts the node, or SIGTERM: for tests */
};

struct guardian_page {
    /* Written by the guardian before each start of the node. */
    uint8_t incarnation[16]; /* random; its SHA-256 is in the node's handshakes */
    bool guardian_is_new;    /* first start under this guardian: promises may have been forgotten */
    uint32_t starts;

    /* Written by the node. */
    _Atomic uint32_t promise_seq;
    struct guardian_promise promise;
    /* Grant nothing before: what the node had promised under an earlier guardian is forgotten. A
     * restart within that time does not end it. */
    _Atomic uint64_t quiet_until_us;
    /* Clients work for the node's leadership until then: whoever kills the node does not end them,
     * so its death is not certified before. */
    _Atomic uint64_t lent_until_us;
    _Atomic uint32_t peers_seq;
    uint32_t peers_count;
    struct guardian_peer peers[GUARDIAN_PEERS_MAX];
    uint64_t cluster_id;
    char cluster[GUARDIAN_NAME_MAX];
    uint64_t node_id;
    char node[GUARDIAN_NAME_MAX];
    uint8_t storage_uuid[16];
    _Atomic uint32_t next; /* enum guardian_next */
    _Atomic bool ready;    /* the node is up: identity above is filled in, listeners are open */
    _Atomic bool loaded;   /* and the main chunks of its scripts have run, well or not */

    struct guardian_child children[GUARDIAN_CHILDREN_MAX];
};

#endif
