/* A node whole: struct node, and what every part of it may ask of it. Private to this folder.
 *
 * Each part has a header with a small struct that stands inside struct node, and the file of that
 * name; and there are
 *
 *     open.c         opening, recovery, freeing
 *     node.c         events in, the turn, the end of a round
 *     api.c          the table of methods
 *     load.c         how much waits in memory
 *     opaque.c       entries that change nothing, for tests of the log
 *     snapshot_*.c   taking, sending and installing snapshots: snapshots.h */
#ifndef MK_NODE_NODE_INTERNAL_H
#define MK_NODE_NODE_INTERNAL_H

#include <sys/queue.h>

#include "base/quiet.h"
#include "node/apply.h"
#include "node/change.h"
#include "node/feed.h"
#include "node/lending.h"
#include "node/log_cache.h"
#include "node/members.h"
#include "node/messages.h"
#include "node/news.h"
#include "node/node.h"
#include "node/page.h"
#include "node/presence.h"
#include "node/proposals.h"
#include "node/reads.h"
#include "node/relay.h"
#include "node/room.h"
#include "node/sender.h"
#include "node/sessions.h"
#include "node/silence.h"
#include "node/snapshots.h"
#include "node/status.h"
#include "node/stop.h"
#include "node/wakes.h"
#include "script/script.h"
#include "store/store.h"
#include "wire/raft_codec.h"

/* The time of entries in one leadership of ours. */
struct log_clock {
    raft_term term;
    uint64_t began_us; /* the node's clock */
    int64_t began_ms;  /* the log's */
};

/* An answer that waits for the end of the round, because it arose inside node_call(). */
struct ready_reply {
    STAILQ_ENTRY(ready_reply) link;
    enum err err;
    char *message;
    struct slice result;
    node_reply_fn reply;
    void *ctx;
};

struct node {
    struct node_options options; /* strings are copies */
    char *name, *cluster;
    char *client_address, *http_address, *peer_address;
    uint64_t cluster_id;
    raft_id id;
    struct node_ports ports;

    struct raft *raft;
    struct store *store;
    struct state *state;
    struct machines *machines;
    struct script_host *scripts;
    struct sessions sessions;
    struct log_cache log;
    struct members members;
    struct sender sender;
    struct proposals proposals;
    struct reads reads;
    struct relay relay;
    struct messages messages;
    struct presence presence;
    struct apply apply;
    struct feed feed;
    struct news news;
    struct transfer transfer;
    struct lending lending;
    struct change change;
    struct wakes wakes;
    struct room room;
    struct stop stop;
    struct silence silence;
    struct snapshot_take snapshot_take;
    struct snapshot_install snapshot_install;

    uint8_t storage_uuid[STORE_UUID_BYTES];
    raft_index commit_index;
    raft_index compacted_index; /* the log begins after it */
    int64_t log_time_ms;        /* time of the last entry in the log */
    struct log_clock log_clock; /* of our leadership */
    uint64_t started_us;
    raft_term leader_term; /* term and leader that the rest of the node has been told of */
    raft_id leader;
    bool in_turn;
    enum err turn_result; /* effects.result of the last turn */
    bool started;
    bool failed;
    struct recovery *recovery; /* open.c, while opening */
    bool round_wanted;
    bool view_stale;
    struct quiet quiet;          /* lines about frames that were dropped */
    struct raft_decoded decoded; /* scratch */
    struct buffer scratch;
    struct buffer bodies; /* scratch: encoded entries of one batch */
    STAILQ_HEAD(, ready_reply) ready;
    struct raft_status status; /* scratch */
    struct node_counters counters;
};

/* node.c */
void node_turn(struct node *n, const struct raft_event *event);
uint64_t node_now(const struct node *n);
void node_want_round(struct node *n);
/* Answer at the end of the round; message and result are copied. */
void node_answer_later(struct node *n, node_reply_fn reply, void *ctx, const struct node_reply *r);
/* Answer now: not from inside node_call(). Fills in what is missing. */
void node_answer(struct node *n, node_reply_fn reply, void *ctx, const struct node_reply *r);
void node_give_ready_answers(struct node *n);
/* Say that a peer sent this, now and then: a broken one may send nothing else. */
void node_dropped(struct node *n, raft_id peer, const char *what, enum err e);
/* The time that the next entry of this leader bears. */
int64_t node_entry_time(struct node *n);
/* Callbacks of the store. */
void node_durable(void *ctx, uint64_t write_seq, struct store_pos last);
void node_disk_failed(void *ctx, enum err err, const struct why *why);
/* The process must end. */
void node_fail(struct node *n, enum err err, const char *message);
bool node_is_leader(const struct node *n);
/* The core may have changed leader several times in one turn: the rest of the node acts on what
 * holds now. */
void node_follow_leader(struct node *n);

#endif
