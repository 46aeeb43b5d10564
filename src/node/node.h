/* A node: the Raft core joined to disk, network, state machines and scripts.
 *
 * Everything happens on the thread that calls these functions (the loop; in simulation, the only
 * one). The node has no thread, clock or socket of its own: they come through struct node_ports. An
 * event enters by one of the functions below; if it concerns Raft, it passes through node_turn() in
 * node.c, where the order of effects is visible. Work that can be batched (proposals, applying
 * committed entries) waits for node_round_end(), which the driver calls once the events at hand
 * have been handled; the node asks for it with ports.want_round_end.
 *
 *     driver: loop { node_receive() / node_call() / ...; node_round_end(); wake at node_deadline()
 * }
 */
#ifndef MK_NODE_NODE_H
#define MK_NODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "port/clock.h"
#include "port/entropy.h"
#include "port/executor.h"
#include "port/fs.h"
#include "port/guardian_page.h"
#include "port/transport.h"
#include "raft/raft.h"
#include "state/state.h"
#include "wire/entry.h"
#include "wire/membership.h"

struct node;
struct script_host;
struct script_request;

struct node_ports {
    const struct clock_port *clock;
    const struct entropy_port *entropy;
    const struct fs_port *fs;
    const struct executor_port *disk;
    const struct transport_port *transport;
    const struct log *log;
    /* Memory that outlives the process (promise, incarnation). */
    struct guardian_page *page;
    void *ctx; /* for the functions below */
    /* node_round_end() is wanted after the events at hand. May be called repeatedly. */
    void (*want_round_end)(void *ctx);
    /* A script asked for a planned stop: the driver answers with node_shutdown(). May be NULL. */
    void (*want_shutdown)(void *ctx);
    /* The node cannot go on (a failed disk, a divergent state machine): the process must end with
     * an error and not be restarted if fatal says so. Called at most once, not from inside a turn.
     */
    void (*stopped)(void *ctx, enum err err, const char *message);
};

/* What a watcher may see, in order; for the simulator's invariants and for tests. All may be NULL.
 */
struct node_observer {
    void *ctx;
    /* After every step of the core, its effects still unperformed. */
    void (*stepped)(void *ctx, const struct raft_event *event, const struct raft_effects *effects);
    /* An entry was applied. duplicate: its session had it already, so it changed nothing. */
    void (*applied)(void *ctx, struct raft_pos pos, const struct entry *entry, enum err outcome,
                    bool duplicate);
    /* What hooks are told, whether or not a script is there to hear it. fields: a MessagePack map.
     * Commits are not among these events. */
    void (*event)(void *ctx, const char *name, raft_term term, struct bytes fields);
    /* The state was replaced by that of the leader's snapshot, which ends with this entry. */
    void (*restored)(void *ctx, struct raft_pos last);
};

/* When the log has grown by entries or bytes (0: not for that) since the last snapshot, another one
 * is taken, and the log before it goes, but for:
 *   keep_entries  the newest of what it holds, so that followers a little behind need no snapshot
 *   hold_bytes    at most so much more, while a follower or commit hooks are still reading there */
struct node_snapshot_options {
    uint64_t entries;
    uint64_t bytes;
    uint64_t keep_entries;
    uint64_t hold_bytes;
    uint32_t chunk_bytes; /* of a snapshot on its way to a follower; 0: 256 KiB */
};

struct node_options {
    const char *name; /* "n1"; its id is membership_id(name) unless id is set */
    raft_id id;       /* 0: derived from the name */
    const char *cluster;
    const char *client_address; /* told to the other nodes; NULL: none */
    const char *http_address;
    const char *peer_address;  /* of this node, until the membership has it; NULL: none */
    struct membership members; /* initial members; what is in the log or a snapshot wins */
    struct raft_options raft;  /* self and seed are filled in by the node */
    uint64_t segment_bytes;    /* 0: the store's default */
    uint32_t pending_max;      /* proposals and reads of this node awaiting an answer; 0: 65,536 */
    uint32_t proposal_bytes_max; /* 0: 1 MiB */
    uint64_t cache_bytes_max;    /* log bodies kept in memory for followers; 0: 16 MiB */
    uint64_t session_ttl_ms;     /* for tests: it decides outcomes, so all nodes need the same.
                                    0: one hour */
    struct node_snapshot_options snapshot; /* zeroed: only on demand, and then nothing is kept */
    const char *kv_source; /* source of the shipped kv machine; NULL: not installed */
    size_t kv_source_size;
    raft_id (*member_id)(const char *name); /* of a new member; NULL: membership_id() */
    /* Can peers be reached there? Asked for a member that is to be added; NULL: anything will do.
     * Errors: INVALID. */
    enum err (*check_address)(const char *peer_address, struct why *why);
    struct node_observer observer;
};

/* A cluster's id: from its name and its initial members, so that two clusters cannot be confused.
 */
uint64_t node_cluster_id(const char *cluster, const struct membership *members);

/* Opens the data directory (blocking) and recovers. *out is not yet participating.
 * Errors: those of store_open(), ERR_INVALID; why says what, where and what to do. */
enum err node_open(const struct node_options *options, const struct node_ports *ports,
                   struct node **out, struct why *why);
/* Begin to take part. */
void node_start(struct node *n);
/* Free everything; pending calls are answered with ERR_SHUTDOWN. Safe at any time. */
void node_free(struct node *n);

/* Scripts of this node; borrowed. Must be set before node_start, or not at all. */
void node_set_script_host(struct node *n, struct script_host *host);
/* A request of a script, taken over. The host makes them on its own thread
 * (script_options.request): the driver queues them to the loop's thread and passes them on here, in
 * order. */
void node_script_request(struct node *n, struct script_request *request_take);

/* ---- events ---- */

/* When node_tick() is due, µs; UINT64_MAX: never. */
uint64_t node_deadline(const struct node *n);
void node_tick(struct node *n);
void node_round_end(struct node *n);

/* A frame from peer, whose process has this incarnation hash. Takes its own reference. */
void node_receive(struct node *n, raft_id peer, const uint8_t incarnation[32], struct slice frame);
void node_link_up(struct node *n, raft_id peer);
void node_link_down(struct node *n, raft_id peer);
/* What a peer shows in a handshake. */
struct node_peer {
    raft_id id;
    const uint8_t *storage_uuid; /* 16 bytes */
    struct raft_pos last;        /* of its log; {0}: is it to be let in without a new word? */
};
/* Is this peer who we know under that id? Errors: WRONG_NODE (another storage UUID); NOT_FOUND (it
 * was removed, and has seen nothing since that we have not). */
enum err node_check_peer(struct node *n, const struct node_peer *peer);
/* The peer does not let this node in. When a majority of the peers holds that it came back with
 * another storage (WRONG_NODE), the node ends (ports.stopped): it can never take part again. */
void node_refused(struct node *n, raft_id peer, enum err verdict);
/* A guardian says that its node's process is dead and reveals the incarnation. */
void node_certificate(struct node *n, raft_id dead, const uint8_t revealed[16]);

/* ---- calls: one method table for RPC clients, scripts, HTTP and other nodes ---- */

struct node_reply {
    enum err err;
    const char *message; /* for people; NULL: err_message(err) */
    const char *leader;  /* with NOT_LEADER: address hint, or NULL */
    struct bytes result; /* MessagePack; empty with an error */
};
/* Called exactly once for each node_call, never from inside it. Borrowed arguments. */
typedef void (*node_reply_fn)(void *ctx, const struct node_reply *reply);

/* Who asks, for node_call_from(). */
struct node_caller {
    node_reply_fn reply;
    void *ctx;
    /* May an answer that may be large come now? Asked before a query is run; while it may not, the
     * query waits, beyond its timeout too. NULL: always. */
    bool (*takes)(void *ctx);
};
void node_call_from(struct node *n, struct bytes method, struct bytes params,
                    const struct node_caller *caller);
/* What takes() said may have changed. */
void node_takes_again(struct node *n);
/* method and params (a MessagePack array) are borrowed; unknown methods answer ERR_NOT_FOUND. The
 * methods are listed in api.c and in this folder's README. */
void node_call(struct node *n, struct bytes method, struct bytes params, node_reply_fn reply,
               void *ctx);

/* ---- ending ---- */

/* Planned stop: hands leadership over, runs shutdown hooks, answers what is pending; then calls
 * done(ctx). deadline_us: by then in any case. */
void node_shutdown(struct node *n, uint64_t deadline_us, void (*done)(void *ctx), void *ctx);
/* Tests: time out now. */
void node_campaign(struct node *n);
/* Tests: an opaque command into this leader's log, at once, behind what waits. It is a command for
 * the machine NODE_OPAQUE_MACHINE, which there is none of: applying it changes nothing. at: its
 * place. Errors: NOT_LEADER; BUSY, NO_SPACE (nothing was appended); TOO_LARGE. */
#define NODE_OPAQUE_MACHINE "opaque"
enum err node_submit(struct node *n, struct bytes command, struct raft_pos *at);
/* The body of such an entry. */
void node_opaque_body(struct bytes command, int64_t time_ms, struct buffer *out);
/* The command in an opaque entry; data is NULL if it is another. */
struct bytes node_opaque_command(const struct entry *e);
/* As entry_kind_name(), and "opaque" for such an entry. */
const char *node_entry_kind_name(const struct entry *e);

/* ---- looking ---- */

/* Since the process began. */
struct node_counters {
    uint64_t leader_changes;       /* a leader came to be known */
    uint64_t proposals[ERR_COUNT]; /* of this node's clients and scripts: how they were answered */
    /* Between scripts of different nodes: messages, calls and their answers. */
    uint64_t messages_sent, messages_received;
    uint64_t messages_dropped; /* there was no room for them here */
};
/* Borrowed. */
const struct node_counters *node_counters(const struct node *n);
/* Calls that wait for an answer: proposals and reads. */
uint64_t node_pending(const struct node *n);

raft_id node_id(const struct node *n);
/* It leads, and nobody else can by now: with leases on, it has one. */
bool node_leads(const struct node *n);
const char *node_name(const struct node *n);
const struct raft *node_raft(const struct node *n);
const struct state *node_state(const struct node *n);
raft_index node_last_applied(const struct node *n);
struct raft_pos node_last(const struct node *n); /* of its log */
const struct membership *node_members(const struct node *n);
const uint8_t *node_storage_uuid(const struct node *n);
/* The term and body of an entry that is still in memory; false if it is not. Borrowed. */
bool node_log_entry(const struct node *n, raft_index index, raft_term *term, struct bytes *body);
/* What waits in memory: for the invariants of simulations. */
struct node_load {
    uint64_t pending, pending_bytes;     /* commands without an answer */
    uint64_t forwarded, forwarded_bytes; /* of other nodes, for the next batch */
    uint64_t reads, reads_bytes;
    uint64_t held_appends; /* of the peer that has most, waiting for old entries */
    uint64_t cache_bytes;  /* bodies of entries */
};
struct node_load node_load(const struct node *n);
/* Nothing can be written here, and much cannot be read: room.c. */
bool node_disk_is_full(const struct node *n);
/* Where people reach the leader by HTTP; NULL if that, or the leader, is not known. */
const char *node_leader_http_address(struct node *n);
/* The status of conventions.md as a MessagePack map. */
void node_status(struct node *n, struct buffer *out);

#endif
