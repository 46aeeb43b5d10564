/* The Raft core: a pure state machine. The only header of this folder that others may include.
 *
 * One event goes in with the time it happened, effects come out, and a deadline says when the next
 * RAFT_TIMEOUT event is due:
 *
 *     raft_step(r, &event, &effects);      // carry out effects, in the order of their fields
 *     wake_at(raft_deadline(r));
 *
 * There is no clock, socket, disk, callback or global behind it, and no allocation per message in
 * the steady state. Randomness is a generator inside struct raft, seeded by the options. It keeps
 * the terms and sizes of log entries (the trail), never their bodies: those are the node's.
 *
 * Durability (rule 2 of the architecture). The core asks for writes with effects.persist, numbered
 * by write_seq. A vote, an append acknowledgement, and any message of a new term leave the core
 * only in the step that takes the RAFT_PERSISTED which covers them. The leader's appends go out in
 * parallel with its own write (thesis §10.2.1): the leader counts itself only once it is durable.
 * Heartbeats, and their acknowledgements, need no disk and leave at once.
 *
 * Sections cited as §n are those of the extended Raft paper, "thesis §n" those of the dissertation.
 *
 * Ownership: a struct raft_event and all it points to is borrowed for the call. What effects points
 * to belongs to the struct raft and is valid until the next raft_step.
 * All times are in microseconds on one clock that never steps (CLOCK_BOOTTIME). */
#ifndef MK_RAFT_RAFT_H
#define MK_RAFT_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

typedef uint64_t raft_id;    /* 0 is nobody */
typedef uint64_t raft_index; /* 1 is the first entry; 0 is before it */
typedef uint64_t raft_term;  /* 0 is before the first election */

/* An entry's place: the pair identifies its content (Log Matching, §5.3). */
struct raft_pos {
    raft_index index;
    raft_term term;
};

/* What the core knows of an entry. */
struct raft_entry {
    raft_term term;
    uint32_t size_bytes;
    bool is_config; /* a membership change: in effect from append on (thesis §4.1) */
};

enum { RAFT_MEMBERS_MAX = 32 };

struct raft_member {
    raft_id id;
    bool voter; /* or a learner: receives the log, has no vote, does not count (thesis §4.2.1) */
};

struct raft_members {
    uint32_t count;
    struct raft_member at[RAFT_MEMBERS_MAX];
};

/* SHA-256 of a process's 128 random bits. All zero: unknown. */
struct raft_incarnation {
    uint8_t hash[32];
};

/* A death certificate: the revealed incarnation of a dead process. The hash is what the node
 * computed from the revealed bits; only the bits travel. */
struct raft_certificate {
    raft_id dead; /* 0: none */
    uint8_t revealed[16];
    struct raft_incarnation incarnation;
};

/* ---- options and start --------------------------------------------------------------------- */

struct raft_options {
    raft_id self;
    uint64_t seed;
    uint64_t election_min_us; /* the timeout is uniform in [min, max) and drawn anew each time */
    uint64_t election_max_us;
    uint64_t heartbeat_us;
    uint64_t lease_us;       /* what each append asks its receiver to promise; <= election_min_us */
    uint32_t drift_permille; /* bound on the rate error of any clock: 100 */
    uint32_t window_entries; /* per peer, sent and not yet acknowledged */
    uint32_t window_bytes;
    uint32_t append_entries_max; /* per message */
    uint32_t append_bytes_max;
    uint32_t uncommitted_bytes_max; /* proposals beyond it are refused with ERR_BUSY */
    uint64_t transfer_timeout_us; /* a transfer not done by then is aborted; one election_min_us */
    bool prevote;
    bool check_quorum;
    bool lease; /* promise and hold leases; off: promises are still made, reads use ReadIndex */
    bool fast_failover; /* act on death certificates */
};

/* A promise made to a leader: no vote or pre-vote for another until until_us. Kept by the node in
 * memory that outlives this process, and handed back to raft_new. */
struct raft_promise {
    raft_id leader; /* 0: none */
    raft_term term;
    struct raft_incarnation incarnation;
    uint64_t until_us;
};

/* State at start, read back from disk. The entries follow by raft_restore(). */
struct raft_boot {
    uint64_t now_us;
    raft_term term;
    raft_id vote;                /* in that term; 0: none */
    struct raft_pos snapshot;    /* everything up to here is in the snapshot; {0,0}: none */
    struct raft_members members; /* as of the snapshot, or a later one that is said to be committed
                                    (raft_restore_committed), or the initial ones */
    struct raft_promise promise; /* survives a restart of the node under the same guardian */
    uint64_t quiet_until_us;  /* grant no vote or pre-vote before this time: the guardian is new and
                                 promises may be forgotten. 0 for a fresh data directory. */
    struct raft_pos incoming; /* a snapshot of which the first incoming_bytes had come in; {0,0}:
                                 none. Chunks go on from there. */
    uint64_t incoming_bytes;
};

struct raft;

struct raft *raft_new(const struct raft_options *options, const struct raft_boot *boot);
void raft_free(struct raft *r);
/* Append one durable entry found on disk; before the first step only. For a config entry, members
 * is what it holds, otherwise NULL. */
void raft_restore(struct raft *r, struct raft_entry entry, const struct raft_members *members);
/* What is on disk is known to be committed up to index, which is in the log: a snapshot says so,
 * and the log goes back further. After the last raft_restore, before the first step. */
void raft_restore_committed(struct raft *r, raft_index index);

/* ---- messages ------------------------------------------------------------------------------ */

/* clang-format off */
#define RAFT_MESSAGE_TABLE(X)                                                                      \
    X(APPEND, append)                                                                              \
    X(APPEND_REPLY, append_reply)                                                                  \
    X(VOTE, vote)                                                                                  \
    X(VOTE_REPLY, vote_reply)                                                                      \
    X(TIMEOUT_NOW, timeout_now)                                                                    \
    X(INSTALL_SNAPSHOT, install_snapshot)                                                          \
    X(INSTALL_SNAPSHOT_REPLY, install_snapshot_reply)
/* clang-format on */

enum raft_message_type {
#define X(name, text) RAFT_MESSAGE_##name,
    RAFT_MESSAGE_TABLE(X)
#undef X
        RAFT_MESSAGE_COUNT
};

/* AppendEntries (§5.3); a heartbeat is one without entries. Entries are (prev, prev + count]. */
struct raft_append {
    struct raft_pos prev;
    raft_index commit_index;
    uint32_t count;
    /* Received: term, size and kind of each entry, in order. Sent: NULL, the sender's node has
     * them. */
    const struct raft_entry *entries;
    uint64_t lease_us; /* the promise asked for; 0: none */
    uint64_t round; /* grows with each broadcast of the leader; echoed (ReadIndex, thesis §6.4) */
    uint64_t sent_us; /* the leader's clock at sending; echoed (lease, round trip) */
};

struct raft_append_reply {
    bool rejected;         /* prev did not match */
    raft_index match;      /* accepted: durable and equal to the leader's log up to here.
                              rejected: no entry beyond this index can match (0 <= match < prev.index) */
    raft_term hint_term;   /* rejected: the follower's term at match (end of §5.3); else 0 */
    raft_index prev_index; /* rejected: which prev, so that a late reply is recognised */
    uint64_t round;
    uint64_t sent_us;
};

/* RequestVote (§5.2, §5.4.1) and PreVote (thesis §9.6). A pre-vote asks for term, which the
 * candidate has not entered. */
struct raft_vote {
    struct raft_pos last;
    bool prevote;
    bool transfer; /* sent on TimeoutNow: the leader `transfer_from` gave up its lease in the
                      previous term, so a promise to it does not hold (thesis §4.2.3) */
    raft_id transfer_from;
    struct raft_certificate certificate; /* dead == 0: none */
};

/* Its term is the sender's own, but for a granted pre-vote: then it is the term asked for. */
struct raft_vote_reply {
    bool granted;
    bool prevote;
};

/* TimeoutNow (thesis §3.10): campaign at once, without pre-vote. */
struct raft_timeout_now {
    struct raft_pos last; /* the leader's last entry; the receiver must hold it */
};

/* One chunk of a snapshot (§7). The chunk's bytes are the node's to attach. */
struct raft_install_snapshot {
    struct raft_pos last;
    uint64_t offset_bytes;
    uint32_t size_bytes;
    bool done;
    uint64_t lease_us, round, sent_us; /* as in an append: it is one for leases and reads */
};

struct raft_install_snapshot_reply {
    struct raft_pos last;
    uint64_t offset_bytes; /* durable up to here; the next chunk starts here */
    bool installed;
    uint64_t round, sent_us;
};

struct raft_message {
    enum raft_message_type type;
    raft_id from;
    raft_id to;
    raft_term term;
    union {
        struct raft_append append;
        struct raft_append_reply append_reply;
        struct raft_vote vote;
        struct raft_vote_reply vote_reply;
        struct raft_timeout_now timeout_now;
        struct raft_install_snapshot install_snapshot;
        struct raft_install_snapshot_reply install_snapshot_reply;
    };
};

/* ---- events -------------------------------------------------------------------------------- */

/* clang-format off */
#define RAFT_EVENT_TABLE(X)                                                                        \
    X(TIMEOUT, timeout)         /* raft_deadline() has come; harmless when early */                \
    X(RECEIVE, receive)                                                                            \
    X(PERSISTED, persisted)                                                                        \
    X(PROPOSE, propose)                                                                            \
    X(READ, read)                                                                                  \
    X(TRANSFER, transfer)                                                                          \
    X(STEP_DOWN, step_down)                                                                        \
    X(CERTIFICATE, certificate)                                                                    \
    X(SNAPSHOT_TAKEN, snapshot_taken)         /* the node compacted the log up to here */          \
    X(SNAPSHOT_SEND, snapshot_send)           /* leader: a chunk is at hand for a peer */          \
    X(SNAPSHOT_CHUNK_STORED, chunk_stored)    /* follower: a received chunk is durable */          \
    X(SNAPSHOT_INSTALLED, snapshot_installed) /* follower: state and log were replaced */          \
    X(PEER_UNREACHABLE, peer_unreachable)     /* the link broke: messages in flight are lost */    \
    X(CAMPAIGN, campaign)       /* tests: time out now */
/* clang-format on */

enum raft_event_type {
#define X(name, text) RAFT_EVENT_##name,
    RAFT_EVENT_TABLE(X)
#undef X
        RAFT_EVENT_COUNT
};

struct raft_event {
    enum raft_event_type type;
    uint64_t now_us; /* never less than in the previous event */
    union {
        struct {
            const struct raft_message *message;
            struct raft_incarnation sender; /* of the process at the other end of the link */
            /* For each config entry in an append, in order: its members. */
            const struct raft_members *configs;
            uint32_t configs_count;
        } receive;
        /* Everything asked for by effects.persist up to and including write_seq is durable.
         * last is the last log entry that this write covered ({0,0} when it had none): the core
         * holds it against its own record of the write. */
        struct {
            struct raft_pos last;
            uint64_t write_seq;
        } persisted;
        /* Entries offered as a batch; all or none are taken. sizes has count elements.
         * config: NULL, or the members that the only entry of the batch installs. */
        struct {
            const uint32_t *sizes_bytes;
            uint32_t count;
            const struct raft_members *config;
        } propose;
        /* A linearizable read (thesis §6.4; by lease §6.4.1). token is the caller's. */
        struct {
            uint64_t token;
            bool allow_lease;
        } read;
        struct {
            raft_id target; /* 0: the voter that is furthest on */
        } transfer;
        struct {
            enum raft_step_down_reason {
                RAFT_STEP_DOWN_HIGHER_TERM,
                RAFT_STEP_DOWN_QUORUM_LOST,
                RAFT_STEP_DOWN_TRANSFER,
                RAFT_STEP_DOWN_REMOVED,
                RAFT_STEP_DOWN_REQUESTED,
                RAFT_STEP_DOWN_SHUTDOWN,
                RAFT_STEP_DOWN_DISK,
            } reason; /* DISK: also never campaign again */
        } step_down;
        struct raft_certificate certificate;
        struct {
            struct raft_pos last;
            const struct raft_members *members;
        } snapshot_taken;
        /* The node has read these bytes of its snapshot. The message that is to carry them is among
         * the effects; NOT_LEADER, or NOT_FOUND when the peer needs no snapshot (any more). */
        struct {
            raft_id to;
            struct raft_pos last;
            uint64_t offset_bytes;
            uint32_t size_bytes;
            bool done;
        } snapshot_send;
        struct {
            struct raft_pos last;
            uint64_t offset_bytes; /* all of it up to here */
            bool failed; /* it could not be stored: what came in is lost, and is asked for anew */
        } chunk_stored;
        struct {
            struct raft_pos last;
            const struct raft_members *members; /* NULL unless ok */
            bool ok;
        } snapshot_installed;
        struct {
            raft_id id;
        } peer_unreachable;
    };
};

/* ---- effects ------------------------------------------------------------------------------- */

enum raft_role { RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER, RAFT_LEARNER };

enum raft_leader_lost_reason {
    RAFT_LOST_TIMEOUT,
    RAFT_LOST_CERTIFICATE,
    RAFT_LOST_HIGHER_TERM,
    RAFT_LOST_STEPPED_DOWN,
};

/* What happened, for hooks and logs, in the order in which it happened. */
struct raft_note {
    enum raft_note_type {
        RAFT_NOTE_TERM_CHANGE, /* emitted once the new term is durable */
        RAFT_NOTE_ROLE_CHANGE,
        RAFT_NOTE_LEADER_ELECTED, /* this node learned who leads its term, itself included */
        RAFT_NOTE_LEADER_LOST,
        RAFT_NOTE_STEP_DOWN,
        RAFT_NOTE_ELECTION_STARTED, /* pre-vote rounds included */
        RAFT_NOTE_QUORUM_LOST,
        RAFT_NOTE_QUORUM_REGAINED,
        RAFT_NOTE_TRANSFER_ABORTED,
        RAFT_NOTE_PROMISE_VOIDED, /* by a certificate or transfer */
    } type;
    raft_term term;
    union {
        struct {
            raft_term old_term;
        } term_change;
        struct {
            enum raft_role from, to;
        } role_change;
        struct {
            raft_id leader;
        } leader_elected;
        struct {
            raft_id leader;
            enum raft_leader_lost_reason reason;
        } leader_lost;
        struct {
            enum raft_step_down_reason reason;
            raft_id successor;
        } step_down;
        struct {
            uint32_t attempt;
            bool prevote;
            uint32_t votes_needed;
        } election_started;
        struct {
            uint32_t reachable, needed;
        } quorum;
        struct {
            raft_id target;
        } transfer;
    };
};

/* The answer to a RAFT_EVENT_READ. ERR_OK: the read may be served once last_applied >= index. */
struct raft_read_result {
    uint64_t token;
    enum err err; /* OK, NOT_LEADER */
    raft_index index;
};

struct raft_effects {
    /* 1. One write. truncate_from first, then the entries [lo, hi), then term and vote: they are
     *    one write and become durable together. Entries come from the event that is being handled:
     *    the proposal, or the append (skip those below lo); in a step with any other event there
     *    is one, the no-op of a new leader. RAFT_PERSISTED reports it. */
    struct {
        uint64_t write_seq; /* 0: nothing to write */
        bool hard_state;    /* term and vote changed */
        raft_term term;
        raft_id vote;
        raft_index truncate_from; /* 0: none; else drop entries >= it */
        raft_index lo, hi;        /* equal: none */
    } persist;
    /* 2. The promise changed: store it where it outlives the process, before any message leaves. */
    const struct raft_promise *promise; /* NULL: unchanged */
    /* 3. Messages, in order. */
    const struct raft_message *messages;
    uint32_t messages_count;
    /* 4. Entries up to here are committed. Never decreases. */
    raft_index commit_index;
    /* 5. Answers. */
    const struct raft_read_result *reads;
    uint32_t reads_count;
    /* Of PROPOSE, TRANSFER, STEP_DOWN, SNAPSHOT_SEND: OK, NOT_LEADER, BUSY, CONFLICT (a membership
     * change is under way), INVALID (not a change of one member), NOT_FOUND, TOO_LARGE. */
    enum err result;
    raft_index propose_first; /* PROPOSE: index of the first entry */
    /* 6. News. */
    const struct raft_note *notes;
    uint32_t notes_count;
    /* 7. Snapshot work. Leader: start streaming the latest one to this peer. */
    raft_id snapshot_needed_by; /* 0: nobody */
    /* Follower: the chunk in the event is wanted: store it, report it with SNAPSHOT_CHUNK_STORED;
     * after the last one (done) replace state and log, then report SNAPSHOT_INSTALLED. */
    bool snapshot_store;
};

/* Errors in what a peer says are the peer's: the message is dropped. Never fails otherwise. */
void raft_step(struct raft *r, const struct raft_event *event, struct raft_effects *effects);

/* When RAFT_EVENT_TIMEOUT is due; UINT64_MAX: never. */
uint64_t raft_deadline(const struct raft *r);

/* ---- looking ------------------------------------------------------------------------------- */

struct raft_peer_status {
    raft_id id;
    bool voter;
    raft_index match; /* 0 <= match < next; leader only */
    raft_index next;
    uint64_t heard_us;      /* last message; 0: never */
    uint64_t round_trip_us; /* smoothed; 0: unknown */
    enum raft_progress_mode { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT } mode;
};

struct raft_status {
    enum raft_role role;
    raft_term term;
    raft_term durable_term;
    raft_id vote;
    raft_id leader; /* 0: unknown */
    raft_index commit_index;
    struct raft_pos last;
    raft_index durable_index; /* [1, durable_index] survives a crash now */
    struct raft_pos snapshot;
    uint64_t lease_until_us; /* leader: holds the lease until then; 0 otherwise */
    struct raft_promise promise;
    raft_index noop_index; /* leader: its first entry of this term */
    bool transferring;
    const struct raft_members *members; /* until the next step */
    uint32_t peers_count;
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
};

void raft_status(const struct raft *r, struct raft_status *out);
/* Of one peer alone, 0 <= i < raft_peers_count(). */
struct raft_peer_status raft_peer_status(const struct raft *r, uint32_t i);
uint32_t raft_peers_count(const struct raft *r);
enum raft_role raft_role(const struct raft *r);
raft_term raft_current_term(const struct raft *r);
raft_id raft_leader(const struct raft *r);
raft_index raft_last_index(const struct raft *r);
raft_index raft_commit_index(const struct raft *r);
/* Term at index; 0 if compacted (but for the snapshot's own last entry) or beyond the end. §5.3. */
raft_term raft_term_at(const struct raft *r, raft_index index);
/* Size of the entries (lo, hi], which are in the log and not compacted; lo <= hi. */
uint64_t raft_log_bytes(const struct raft *r, raft_index lo, raft_index hi);
/* True while this node is leader and its lease holds at now_us (thesis §6.4.1). */
bool raft_has_lease(const struct raft *r, uint64_t now_us);
/* When the lease that this leader has now ends; 0 without one. */
uint64_t raft_lease_until(const struct raft *r);

/* Check the core's internal invariants (ASSERT); cheap. Called after each step in simulation. */
void raft_check(const struct raft *r);

const char *raft_role_name(enum raft_role role);             /* "pre_candidate" */
const char *raft_message_name(enum raft_message_type type);  /* "append_reply" */
const char *raft_step_down_name(enum raft_step_down_reason); /* "quorum_lost" */
const char *raft_lost_name(enum raft_leader_lost_reason);
/* Append one line, without newline, that says it all: the text of traces and timelines. */
void raft_describe_message(const struct raft_message *m, struct buffer *out);
void raft_describe_event(const struct raft_event *e, struct buffer *out);
void raft_describe_effects(const struct raft_effects *e, struct buffer *out);

#endif
