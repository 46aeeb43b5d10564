/* What the files of this folder share: struct node and how its parts call each other. Private.
 *
 * One file, one part of the node, each with a small struct of its own inside struct node:
 *
 *     open.c         opening, recovery, freeing
 *     node.c         events in, the turn, the end of a round
 *     sender.c       core messages -> frames, reading old entries back for slow followers
 *     apply.c        committed entries -> state machines, in slices
 *     sessions.c     each command once
 *     proposals.c    commands on their way into the log, until they are answered;
 *                    pending.c (their table), own_session.c, offer.c (batches, forwarding)
 *     opaque.c       entries that change nothing, for tests of the log
 *     reads.c        linearizable reads
 *     relay.c        requests between nodes
 *     messages.c     what scripts of different nodes say to each other
 *     presence.c     who is online, as the leader tells it
 *     api.c          the table of methods
 *     members.c      who is in the cluster, as the log says
 *     news.c         what happened -> log lines, hooks, the scripts' view
 *     feed.c         committed entries -> commit hooks, by cursor
 *     stop.c         planned stop and leadership transfer
 *     silence.c      how long a follower has been without a word from its leader
 *     status.c       what people see
 *     load.c         how much waits in memory
 *     snapshot_*.c   taking, sending and installing snapshots: snapshots.h
 *     page.c         the page shared with the guardian */
#ifndef MK_NODE_NODE_INTERNAL_H
#define MK_NODE_NODE_INTERNAL_H

#include <sys/queue.h>

#include "base/quiet.h"
#include "base/rng.h"
#include "base/wheel.h"
#include "node/log_cache.h"
#include "node/node.h"
#include "node/sessions.h"
#include "node/snapshots.h"
#include "script/machine.h"
#include "script/script.h"
#include "store/store.h"
#include "wire/raft_codec.h"

/* ---- sender.c ---- */

/* An append that waits for its entries to be read back from disk. */
struct held_append {
    STAILQ_ENTRY(held_append) link;
    struct raft_message message;
};

struct outlet { /* to one peer */
    raft_id id;
    bool up;
    enum err refuses; /* us: why, as of its last answer; OK: it does not */
    char client_address[MEMBER_ADDRESS_MAX + 1]; /* of its client listener; "" until it told us */
    char http_address[MEMBER_ADDRESS_MAX + 1];   /* likewise; "" also if it has none */
    STAILQ_HEAD(, held_append) held;
    uint32_t held_count;
    bool reading;
    struct store_read read;
    struct snapshot_stream stream;
};

enum { GUESTS_MAX = 4, OUTLETS_MAX = RAFT_MEMBERS_MAX + GUESTS_MAX };

/* A node of this cluster that dialled us and that our configuration does not have: ours may be the
 * older one, or it waits to be added. It is answered. */
struct guest {
    raft_id id;
    bool returned; /* it was removed, by our configuration of this index, but knows more */
    raft_index config_index;
    char name[MEMBER_NAME_MAX + 1];
    char address[MEMBER_ADDRESS_MAX + 1];
};

struct sender {
    struct guest guests[GUESTS_MAX]; /* the oldest first */
    uint32_t guests_count;
    uint32_t outlets_count;
    struct outlet *outlets[OUTLETS_MAX];
    struct wire_entry *entries; /* scratch, for a message */
    size_t entries_capacity;
    struct store_entry *writes; /* scratch, for a write */
    size_t writes_capacity;
    /* The last append with entries that was encoded: the next follower mostly gets the same. */
    struct raft_message last;
    struct slice last_frame;
    struct bytes chunk; /* of the snapshot, while it is sent */
};

/* ---- proposals.c ---- */

/* A command that this node was asked to have committed, until it is answered. */
struct pending {
    TAILQ_ENTRY(pending) link; /* in queued or in sent */
    /* Further calls with the same user's key; these are in no list. */
    struct pending *next_same_key, *previous_same_key;
    enum entry_kind kind;
    bool keyed; /* session is a user's key, seq is 0 */
    bool sent;  /* in the list of that name */
    uint8_t session[ENTRY_SESSION_BYTES];
    uint64_t seq;
    struct slice content; /* the machine's name, then the payload */
    size_t machine_size;
    struct wheel_timer deadline;
    uint64_t sent_us;
    uint32_t sends; /* 0: it cannot have been committed */
    node_reply_fn reply;
    void *ctx;
};
TAILQ_HEAD(pending_list, pending);

struct keyed_pending; /* a uthash element, proposals.c */

/* An entry that another node asked this leader to append. */
struct forwarded {
    STAILQ_ENTRY(forwarded) link;
    raft_id from;      /* who is told if it is refused */
    struct slice body; /* encoded; its time is set anew */
};

/* What is being offered to the core, until it has said whether it takes it. */
struct batch {
    uint32_t *sizes_bytes;
    uint32_t count, capacity;
    uint32_t pending_count;   /* of queued */
    uint32_t forwarded_count; /* of forwarded */
    bool has_machine, has_opening;
    bool is_config; /* its only entry is a configuration */
};

struct proposals {
    /* The session of this process (sessions.h). */
    uint8_t session[ENTRY_SESSION_BYTES];
    int64_t opened_ms; /* 0: there is none yet */
    int64_t used_ms;   /* wall clock */
    uint64_t next_seq;
    bool open;         /* its opening entry was applied */
    bool opening_sent; /* to the present leader */
    /* Pending of this session by number: ring[seq & (capacity - 1)] for seq in [low, next_seq). */
    struct pending **ring;
    size_t ring_capacity;
    uint64_t ring_low;
    struct keyed_pending *keyed;
    struct pending_list queued; /* not with any leader */
    struct pending_list sent;   /* in the leader's log or on their way there, oldest first */
    struct wheel deadlines;
    uint32_t count; /* calls that wait for an answer */
    uint64_t bytes; /* of their contents */
    STAILQ_HEAD(, forwarded) forwarded;
    uint32_t forwarded_count;
    uint64_t forwarded_bytes;
    bool install_kv;          /* propose the shipped kv machine first */
    bool kv_is_new;           /* there was none when this node began to lead */
    raft_index install_index; /* this leader's entry that installs it; 0: there is none yet */
    bool blocked;             /* the core said busy: wait until something is committed */
    uint64_t patience_us;     /* what was forwarded and not applied for so long is sent again */
    struct batch batch;
};

/* ---- reads.c ---- */

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

/* ---- relay.c ---- */

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

/* ---- messages.c ---- */

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

/* ---- presence.c ---- */

struct presence_member {
    raft_id id;
    bool known; /* it was told whether it is online */
    bool online;
    int64_t seen_ms; /* wall clock of the leader */
    /* The leader's own. */
    uint64_t heard_since_us; /* without a silence; 0: it is silent */
    uint64_t online_us;      /* when it was last told to be; 0: not by this leader */
    uint64_t hold_us;
};

struct presence {
    struct presence_member members[RAFT_MEMBERS_MAX];
    uint32_t count;
    raft_term term;  /* of the last statement, */
    uint64_t number; /* and its number in there */
    /* The leader's own. */
    uint64_t led_since_us;
    uint64_t look_us;  /* when to look again */
    uint64_t state_us; /* when to state it again */
};

/* ---- apply.c ---- */

struct recent_result {
    raft_index index;
    enum err err;
    bool repeated; /* it had taken effect before */
    struct slice result;
};

enum { RECENT_RESULTS = 4096 };

struct apply {
    raft_index last_applied;
    raft_index scope_index; /* newest no-op: an older fencing token is refused */
    int64_t time_ms;        /* of the last applied entry */
    bool reading;           /* waiting for entries from disk */
    bool failed;            /* this node must not apply any further */
    struct store_read read;
    struct buffer result;         /* scratch */
    struct recent_result *recent; /* RECENT_RESULTS of them; NULL until commit hooks exist */
};

/* ---- members.c ---- */

struct config_entry {
    raft_index index; /* 0: the initial members */
    struct membership members;
};

struct members {
    struct config_entry *stack; /* in order of index; the last one is in effect */
    size_t count, capacity;
};

/* ---- change.c ---- */

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

/* ---- wakes.c ---- */

/* When machines want to be woken; kept by the leader, from what they said last. */
struct wake {
    char machine[MACHINE_NAME_BYTES_MAX + 1];
    uint64_t version;
    uint64_t due_us;
    bool failed; /* it could not say: it is not asked again before that */
};

struct wakes {
    struct wake *list;
    size_t count, capacity;
    raft_term term;       /* the leadership in which they were asked */
    raft_index asked_at;  /* last_applied then */
    uint64_t earliest_us; /* UINT64_MAX: none */
};

/* ---- node.c ---- */

/* The time of entries in one leadership of ours. */
struct log_clock {
    raft_term term;
    uint64_t began_us; /* the node's clock */
    int64_t began_ms;  /* the log's */
};

/* ---- feed.c ---- */

struct feed {
    bool active;
    uint64_t number;
    raft_index next;
    bool reading;
    bool failing;      /* the last read failed ... */
    uint64_t retry_us; /* ... and is not tried again before; 0: at once */
    struct store_read read;
};

/* ---- stop.c ---- */

enum stop_stage { STOP_NONE, STOP_TRANSFER, STOP_DRAIN, STOP_HOOKS, STOP_DONE };

struct transfer {
    bool active;
    bool waiting_for_work; /* leader-only work is ending: of scripts, or outside */
    bool scripts_idle;     /* theirs has */
    raft_id target;
    raft_term term;
    uint64_t deadline_us;
    node_reply_fn reply; /* NULL: our own planned stop */
    void *ctx;
};

/* ---- lending.c ---- */

enum { LENDING_MAX = 64 };

/* Who works outside for this node's leadership, and may until then. 0: a free place. */
struct lending {
    struct loan {
        uint64_t holder;
        uint64_t until_us;
    } loans[LENDING_MAX];
};

struct stop {
    enum stop_stage stage;
    uint64_t deadline_us;
    uint64_t look_us; /* when to look again whether a stage is over */
    void (*done)(void *ctx);
    void *ctx;
};

/* ---- news.c ---- */

struct news {
    uint64_t seq;            /* of the last event */
    uint64_t lease_until_us; /* as the scripts know it */
    raft_term ready_term;    /* this node's no-op of this term was applied: it may act as leader */
    raft_index ready_index;
    bool quorum_lost;     /* that was told, and not that it is back */
    struct buffer fields; /* scratch */
    enum raft_step_down_reason last_reason;
};

/* ---- the whole ---- */

/* An answer that waits for the end of the round, because it arose inside node_call(). */
struct ready_reply {
    STAILQ_ENTRY(ready_reply) link;
    enum err err;
    char *message;
    struct slice result;
    node_reply_fn reply;
    void *ctx;
};

/* ---- silence.c ---- */

/* Between two appends (heartbeats are some) of one term's leader. Compared with the shortest
 * election timeout, it says how near this node came to an election that nobody needed. */
struct silence {
    raft_term term;
    uint64_t heard_us;
    uint64_t longest_us;
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
    uint64_t polled_us;        /* when the full disk was last looked at */
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

/* sender.c */
void sender_init(struct sender *s);
void sender_close(struct node *n);
void sender_send(struct node *n, const struct raft_message *m);
void sender_send_frame(struct node *n, raft_id to, struct bytes frame);
/* Behind all others. False: it was dropped, and counted. */
bool sender_send_behind(struct node *n, raft_id to, struct bytes frame);
struct outlet *sender_outlet(struct node *n, raft_id id);
/* The entries [lo, hi), which are in the log cache, for a write. Scratch. */
struct store_entry *sender_store_entries(struct node *n, raft_index lo, raft_index hi);
/* Peers as the membership in effect has them. */
void sender_follow_members(struct node *n);
/* A node that is no member as far as we know says where it is. */
void sender_welcome(struct node *n, const struct guest *guest);
/* Is this one a guest that was removed, by our present configuration, and knows more? */
bool sender_is_returned(const struct node *n, raft_id id);

/* apply.c */
void apply_close(struct node *n);
/* Apply what is committed, for about a millisecond. True if there is more to do at once. */
bool apply_slice(struct node *n);
/* The state is now that of a snapshot. */
void apply_replaced(struct node *n, raft_index last_applied, int64_t time_ms);
/* The token of the newest leadership, as the state has it. */
void apply_find_scope(struct node *n);
/* This node must not apply any further, nor lead. */
void apply_stop(struct node *n, enum err err, const char *message);
/* NULL if it is no longer kept. */
const struct recent_result *apply_recent_result(const struct node *n, raft_index index);

/* proposals.c */
struct proposal {
    enum entry_kind kind;
    struct bytes machine;
    struct bytes payload;
    const uint8_t *key; /* a user's key, ENTRY_SESSION_BYTES; or NULL */
    uint64_t timeout_us;
    bool forward;
    node_reply_fn reply;
    void *ctx;
};
void proposals_init(struct node *n);
void proposals_close(struct node *n);
void proposals_add(struct node *n, const struct proposal *p);
/* Entries of others, given to this leader; body is an encoded entry. from: who forwarded it, or
 * this node itself, which is not told what becomes of it. */
void proposals_add_forwarded(struct node *n, raft_id from, struct bytes body);
/* The leader would not take this command of ours. */
void proposals_refused(struct node *n, const uint8_t *session, uint64_t seq, enum err err);
/* The entry with this session and number was applied, with this outcome. */
void proposals_applied(struct node *n, const struct entry *e, enum session_verdict verdict,
                       const struct outcome *outcome);
void proposals_leader_changed(struct node *n);
/* True on the first leader of a cluster until the kv machine that it proposes ahead of all commands
 * is applied: a read before that would find no machine at all. */
bool proposals_kv_awaited(const struct node *n);
/* Entries were applied without this node seeing them one by one: ask again what became of ours. */
void proposals_skipped(struct node *n);
void proposals_link_up(struct node *n, raft_id peer);
void proposals_tick(struct node *n, uint64_t now_us);
uint64_t proposals_deadline(const struct node *n);

/* pending.c */
/* The next number of the session is this pending's. */
void pending_number(struct proposals *p, struct pending *x);
/* x is known under this key. False if it joined an earlier call with the same. */
bool pending_key(struct proposals *p, struct pending *x, const uint8_t *key);
/* NULL if there is none. */
struct pending *pending_find(struct proposals *p, const uint8_t *session, uint64_t seq);
/* Answer x, and those that share its key, and free them. */
void pending_answer(struct node *n, struct pending *x, const struct node_reply *reply);
void pending_answer_error(struct node *n, struct pending *x, enum err err);
/* Answer with err this call alone, not the others that share its key. */
void pending_answer_late(struct node *n, struct pending *x, enum err err);

/* own_session.c */
/* The session is about to be used: take one, or another if this may have expired. */
void own_session_use(struct node *n);
/* It was refused: nothing of it that is still pending was, or ever will be, applied. All of that
 * begins again under a new one. */
void own_session_replace(struct node *n);
/* Does its opening entry have to go ahead of the next command? */
bool own_session_needs_opening(const struct node *n);
void own_session_encode_opening(struct node *n, int64_t time_ms, struct buffer *out);

/* offer.c */
/* Offer what is queued to the core, or forward it to the leader. */
void offer_round(struct node *n);
/* The batch that is being proposed becomes the entries [lo, hi) of the log. */
void offer_take_batch(struct node *n, raft_term term, raft_index lo, raft_index hi);
void offer_drop_forwarded(struct proposals *p, uint32_t count);
/* Offer a configuration to the core of this leader. Errors: the core's; NO_SPACE. */
enum err offer_config(struct node *n, const struct membership *members, struct raft_pos *at);

/* reads.c */
struct read_request {
    enum read_kind kind;
    enum read_level level;
    struct bytes query; /* READ_QUERY: [machine, name, args] */
    uint64_t timeout_us;
    struct node_caller caller;
};
void reads_init(struct node *n);
void reads_close(struct node *n);
void reads_add(struct node *n, const struct read_request *r);
void reads_round(struct node *n);
void reads_answered(struct node *n, const struct raft_read_result *result);
void reads_leader_changed(struct node *n);
/* Serve what has become servable. True if there is more to do at once. */
bool reads_serve(struct node *n);
void reads_tick(struct node *n, uint64_t now_us);
uint64_t reads_deadline(const struct node *n);

/* relay.c */
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

/* messages.c */
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

/* presence.c */
/* As the leader told it last. */
bool presence_is_online(struct node *n, raft_id id);
void presence_stated(struct node *n, raft_id from, struct bytes params);
void presence_link_up(struct node *n, raft_id peer);
void presence_tick(struct node *n, uint64_t now_us);
uint64_t presence_deadline(const struct node *n);

/* members.c */
void members_init(struct node *n, const struct membership *initial);
void members_close(struct node *n);
const struct membership *members_now(const struct node *n);
/* As of this entry, which is applied or in the log. */
const struct membership *members_at(const struct node *n, raft_index index);
/* The log begins after index, in a snapshot with these members. */
void members_replace(struct node *n, raft_index index, const struct membership *members);
/* An entry with a configuration entered the log, or was dropped from it. */
enum err members_append(struct node *n, raft_index index, struct bytes payload);
/* The same for the body of an entry that was checked when it came in. */
void members_append_received(struct node *n, raft_index index, struct bytes body);
void members_truncate(struct node *n, raft_index from);
/* The configuration at this index is committed: whom it removes is refused from now on. */
void members_applied(struct node *n, raft_index index);
/* The last that is known to be committed. */
const struct membership *members_committed(const struct node *n);
raft_index members_committed_index(const struct node *n);
/* The name of a member, or "" */
const char *members_name(const struct node *n, raft_id id);
const char *members_address(const struct node *n, raft_id id);

/* news.c */
void news_note(struct node *n, const struct raft_note *note);
void news_leader_ready(struct node *n, raft_index index);
/* Tell hooks and the observer. fields: a MessagePack map. */
void news_event(struct node *n, const char *name, raft_term term, struct bytes fields);
/* kind: created, sent (to peer) or installed (from peer). */
void news_snapshot(struct node *n, const char *kind, const struct store_snapshot *s, raft_id peer);
/* first: nothing was known of it before. */
void news_presence(struct node *n, raft_id member, bool online, int64_t seen_ms, bool first);
/* Give the scripts the view as it is now. */
void news_view(struct node *n);
/* After a turn: the lease may have moved, which the view shows now and then. */
void news_lease(struct node *n);

/* feed.c */
void feed_resume(struct node *n, raft_index from, uint64_t number);
void feed_pump(struct node *n);
void feed_end(struct node *n);
void feed_tick(struct node *n, uint64_t now_us);
uint64_t feed_deadline(const struct node *n);

void news_member(struct node *n, const char *event, const struct membership_member *m,
                 raft_index index);

/* change.c */
/* Have the membership changed; the answer is the members as they are then. */
void change_begin(struct node *n, const struct change_request *q);
void change_round(struct node *n);
void change_applied(struct node *n, struct raft_pos pos);
void change_tick(struct node *n, uint64_t now_us);
uint64_t change_deadline(const struct node *n);
void change_close(struct node *n);

/* wakes.c */
void wakes_init(struct node *n);
void wakes_close(struct node *n);
void wakes_round(struct node *n);
void wakes_tick(struct node *n, uint64_t now_us);
uint64_t wakes_deadline(const struct node *n);

/* lending.c */
/* One who works for this node's leadership asks whether it may go on, or says that it is done.
 * Writes the answer. Errors: INVALID (no leases here), BUSY (too many). */
enum err lending_ask(struct node *n, uint64_t holder, bool done, struct buffer *result);
bool lending_under_way(const struct node *n);
uint64_t lending_until(const struct node *n);

/* stop.c */
void transfer_begin(struct node *n, raft_id target, uint64_t timeout_us, node_reply_fn reply,
                    void *ctx);
void transfer_leader_changed(struct node *n);
void transfer_aborted(struct node *n);
void transfer_leader_idle(struct node *n);
/* Leader-only work outside may be over: go on with a hand-over that waits for that. */
void transfer_work_ends(struct node *n);
void stop_tick(struct node *n, uint64_t now_us);
void stop_advance(struct node *n);
uint64_t stop_deadline(const struct node *n);
void stop_close(struct node *n);

/* silence.c */
/* Call for each message received, after the core has seen it. */
void silence_heard(struct node *n, const struct raft_message *m);
/* The longest silence of the leader of this term, the present one included; 0 on the leader, and
 * where none was heard yet. */
uint64_t silence_longest_us(const struct node *n);

/* status.c */
void status_members(struct node *n, struct buffer *out);
/* Where clients reach the leader; NULL if that is not known. */
const char *status_leader_client_address(struct node *n);

/* page.c */
void page_write_promise(struct guardian_page *page, const struct raft_promise *promise);
/* The last promise, or none. False, and *out zeroed, if one was being written when the node died:
 * then nobody knows what was promised. */
bool page_read_promise(const struct guardian_page *page, struct raft_promise *out);
void page_write_identity(struct node *n);
void page_write_peers(struct node *n);

#endif
