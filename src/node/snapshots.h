/* Snapshots in a node (§7): when one is taken, how one travels, what it replaces. Private.
 *
 *     snapshot_take.c     when the log has grown, or on demand: a root of the state, taken between
 *                         two entries, which the disk thread writes out while the node goes on
 *     snapshot_compact.c  how much of the log goes then, and who may hold it up
 *     snapshot_send.c     leader: the snapshot in place, chunk by chunk, to a follower whose next
 *                         entry is gone
 *     snapshot_install.c  follower: chunks to disk; the state built anew beside the old one; then
 *                         log, state, members and everything derived from them change at once
 *     snapshot_about.c    what a snapshot says besides the state
 *
 * What restores must be what replaying would have made: the state map holds sessions, the sources
 * of machines and the fencing token; the rest (who is a member, the time of the last entry) is in
 * the snapshot's `about`. */
#ifndef MK_NODE_SNAPSHOTS_H
#define MK_NODE_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/node.h"
#include "store/snapshot.h"

struct outlet;

/* ---- snapshot_about.c ---- */

struct snapshot_about {
    struct membership members; /* as of the snapshot's last entry */
    int64_t time_ms;           /* of that entry */
};

/* [1, time_ms, members]; 1 is the version of the format. */
void snapshot_about_encode(const struct snapshot_about *about, struct buffer *out);
/* Errors: TRUNCATED, INVALID, TOO_LARGE, VERSION. */
enum err snapshot_about_decode(struct bytes encoded, struct snapshot_about *out);

/* ---- snapshot_take.c ---- */

/* Somebody who asked for a snapshot. */
struct snapshot_waiter {
    STAILQ_ENTRY(snapshot_waiter) link;
    raft_index wanted; /* one that goes this far will do */
    uint64_t deadline_us;
    node_reply_fn reply;
    void *ctx;
};

struct snapshot_take {
    bool saving;
    struct store_save save;
    struct state_snapshot *root; /* while saving */
    uint64_t began_us;
    uint64_t log_bytes;      /* of the entries applied since the last one */
    uint64_t root_log_bytes; /* of these, in the root */
    uint64_t not_before_us;  /* by policy the next one begins no earlier */
    uint64_t retry_us;       /* after a failure: look again then; 0: none */
    uint32_t failures;       /* in a row */
    bool renew;              /* the one in place seems to be damaged */
    STAILQ_HEAD(, snapshot_waiter) waiters;
    uint32_t waiters_count;
};

void snapshot_take_init(struct node *n);
void snapshot_take_close(struct node *n);
/* Take one if it is time. */
void snapshot_take_round(struct node *n);
/* On demand: answered with {index, term, bytes} once one is in place that holds all that is applied
 * now. */
void snapshot_take_ask(struct node *n, uint64_t timeout_us, node_reply_fn reply, void *ctx);
/* Nobody takes the one in place: as soon as there is more to hold, another is to replace it. */
void snapshot_take_renew(struct node *n);
void snapshot_take_tick(struct node *n, uint64_t now_us);
uint64_t snapshot_take_deadline(const struct node *n);

/* ---- snapshot_compact.c ---- */

/* Drop what the snapshot in place holds and nobody else needs. */
void snapshot_compact(struct node *n);

/* ---- snapshot_send.c ---- */

/* A snapshot on its way to one peer. Few chunks are out at a time, so that a heartbeat never waits
 * behind more than these; the next one is read from disk when one was acknowledged. The first goes
 * alone: its answer may be that the peer has more already, from before a restart or from another
 * leader. 0 <= stored <= next <= held->bytes. */
struct snapshot_stream {
    bool active;
    const struct store_snapshot *held;
    uint64_t stored_bytes; /* the peer has stored [0, stored), it says */
    uint64_t next_bytes;   /* [stored, next) is on its way */
    bool whole;            /* the last chunk was sent */
    bool probing;          /* one chunk at a time, until an answer says where to go on */
    bool resting;          /* nothing is sent before due_us */
    bool reading;
    bool letting_go;          /* of held, once it is not being read any more */
    struct store_piece piece; /* being read */
    uint64_t
        moved_us; /* when stored_bytes was heard; answers to what left before speak of the past */
    uint64_t due_us;   /* when the next move is made without an answer */
    uint64_t begin_us; /* while it is let go: when another may begin */
    uint64_t began_us;
    uint32_t restarts; /* the peer lost what it had: each time wait longer */
};

/* The core says that a peer needs one. Inside a turn. */
void snapshot_send_needed(struct node *n, raft_id peer);
/* Call for each message received, after the core has seen it. */
void snapshot_send_heard(struct node *n, const struct raft_message *m);
void snapshot_send_link_up(struct node *n, raft_id peer);
/* This node leads no more, or leads anew. */
void snapshot_send_leader_changed(struct node *n);
/* A newer snapshot is in place: whoever is not there may have that one instead. */
void snapshot_send_newer(struct node *n);
void snapshot_send_stop(struct node *n, struct outlet *o);
void snapshot_send_tick(struct node *n, uint64_t now_us);
uint64_t snapshot_send_deadline(const struct node *n);

/* ---- snapshot_install.c ---- */

struct incoming_chunk {
    STAILQ_ENTRY(incoming_chunk) link;
    struct store_receive receive;
};

enum install_stage {
    INSTALL_NONE,    /* chunks may come in */
    INSTALL_LOADING, /* whole and verified: the new state is being built */
    INSTALL_PLACING, /* built; the snapshot takes the log's place on disk */
};

struct snapshot_install {
    enum install_stage stage;
    STAILQ_HEAD(, incoming_chunk) chunks; /* being stored, in order */
    struct store_load load;
    bool block_at_hand; /* of load: pairs to be taken */
    struct store_install install;
    struct snapshot_about about;
    struct raft_pos coming; /* that the last chunk was of */
    struct raft_pos last;
    uint64_t bytes;
    uint64_t began_us; /* since when it has come in, to this process */
    bool complained;   /* of one that could not be stored or loaded */
};

void snapshot_install_init(struct node *n);
void snapshot_install_close(struct node *n);
/* The core wants the chunk that is being handled. Inside a turn. */
void snapshot_install_chunk(struct node *n, const struct raft_install_snapshot *chunk);
/* The state is being replaced: nothing may be applied, nor a root be taken. */
bool snapshot_install_busy(const struct node *n);
/* Go on with it, for about a millisecond. True if there is more to do at once. */
bool snapshot_install_slice(struct node *n);

#endif
