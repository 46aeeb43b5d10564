/* Inside the Raft core: struct raft, and what its files offer each other. Private to this folder.
 *
 * Every fact that must survive a crash has two halves here, named as such: the volatile one that
 * the rules act on (term, vote, the trail's last) and the durable one that messages may speak of
 * (durable_term, durable_vote, durable_index). writes holds what lies between them. */
#ifndef MK_RAFT_INTERNAL_H
#define MK_RAFT_INTERNAL_H

#include "base/assert.h"
#include "base/rng.h"
#include "raft/outbox.h"
#include "raft/progress.h"
#include "raft/quorum.h"
#include "raft/raft.h"
#include "raft/trail.h"
#include "raft/writes.h"

/* Terms, indexes and offsets that no honest cluster reaches: below it, sums cannot wrap. */
#define RAFT_PLAUSIBLE_MAX (UINT64_MAX / 4)

/* Another member, as this node sees it. Reset when this node becomes leader. */
struct peer {
    raft_id id;
    bool voter;
    bool granted; /* candidate: it gave its vote (pre-candidate: its pre-vote) */
    bool refused; /* likewise */
    /* Leader only. */
    struct progress progress;
    bool snapshot_asked;     /* the node was told that it needs a snapshot */
    raft_index commit_sent;  /* the commit index it was last told */
    uint64_t heard_us;       /* last message of this term */
    uint64_t echoed_sent_us; /* largest sending time that it acknowledged (lease) */
    uint64_t echoed_round;   /* largest round that it acknowledged (ReadIndex) */
    uint64_t round_trip_us;  /* smoothed; 0: unknown */
};

/* A membership and the log entry that brought it: in effect from append on (thesis §4.1). */
struct config {
    raft_index index; /* 0 or the snapshot's: it came with the start */
    struct raft_members members;
};

struct pending_read {
    uint64_t token;
    raft_index index; /* to be served once this is applied */
    uint64_t round;   /* confirmed by acknowledgements of this round or a later one */
};

struct raft {
    struct raft_options options;
    struct rng rng;
    uint64_t now_us; /* of the event being handled, or the last one */

    raft_term term;
    raft_id vote;
    raft_term durable_term;
    raft_id durable_vote;
    raft_term asked_term; /* of the last write: term and vote are not written twice */
    raft_id asked_vote;
    struct trail trail;
    raft_index durable_index;
    struct writes writes;
    raft_index commit_index;

    enum raft_role role;
    raft_id leader;        /* of this term; 0: unknown */
    bool leader_announced; /* LEADER_ELECTED was noted: it waits for the term to be durable */
    bool disk_failed;      /* never campaign again */

    struct raft_promise promise;
    uint64_t quiet_until_us;

    /* Not leader: when to campaign. */
    uint64_t election_due_us;
    uint32_t attempt; /* campaigns since there was a leader */
    bool transfer_campaign;
    raft_id transfer_from;
    struct raft_certificate certificate; /* carried by the votes of this election */

    /* Follower: what it owes its leader. Reset with the term. */
    struct {
        raft_index verified; /* equal to the leader's log up to here */
        bool ack_owed;       /* an acknowledgement waits for durability */
        uint64_t round;      /* of the latest append; echoed */
        uint64_t sent_us;
        uint64_t heard_us;
    } follower;

    /* Leader. Reset when it becomes one. */
    struct {
        raft_index noop_index;
        uint64_t round;
        uint64_t heartbeat_due_us;
        uint64_t quorum_due_us; /* no earlier than this can a quorum be found silent */
        bool quorum_lost;       /* noted, check_quorum off */
        bool lease_given_up;    /* for good in this term */
        raft_id transfer_target;
        uint64_t transfer_due_us;
        bool transfer_sent; /* TimeoutNow left since the last heartbeat */
        struct pending_read *reads;
        uint32_t reads_count;
        uint32_t reads_capacity;
        uint64_t reads_round; /* the last round that was broadcast for reads */
    } lead;

    struct config *configs; /* ascending; the last is in effect; all but the first uncommitted */
    uint32_t configs_count;
    uint32_t configs_capacity;
    bool self_voter;
    uint32_t peers_count;
    struct peer peers[RAFT_MEMBERS_MAX];

    /* Follower: the snapshot that is coming in. It outlives leaders: the next one may have the
     * same, which has the same bytes then. */
    struct {
        struct raft_pos last;    /* index 0: none */
        uint64_t received_bytes; /* handed to the node to store; chunks come in order */
        uint64_t stored_bytes;   /* durable */
        bool done;               /* all chunks came: state and log are being replaced */
    } installing;

    struct outbox out;
};

/* ---- raft.c: what all roles share ---------------------------------------------------------- */

struct peer *raft_peer(struct raft *r, raft_id id);
static inline const struct raft_members *raft_members_now(const struct raft *r)
{
    return &r->configs[r->configs_count - 1].members;
}
/* Enter term, or stay in it, as a follower (or learner). reason is why a leader stops being one. */
void raft_become_follower(struct raft *r, raft_term term, enum raft_step_down_reason reason);
/* The next term, as a candidate that votes for itself. */
void raft_become_candidate(struct raft *r);
void raft_set_role(struct raft *r, enum raft_role role);
/* The leader of this term is known. */
void raft_set_leader(struct raft *r, raft_id leader);
/* Forget the leader, with a note if it was announced. */
void raft_lose_leader(struct raft *r, enum raft_leader_lost_reason reason);
/* Commit [.., index]; index is on a majority, or the leader says so. */
void raft_commit_to(struct raft *r, raft_index index);
/* Append one entry to the log and to this step's write. */
void raft_append_entry(struct raft *r, raft_term term, uint32_t size_bytes);

/* ---- election.c: pre-vote, votes, candidates (§5.2, §5.4.1, thesis §9.6) ------------------- */

/* Wait for a random election timeout from now. */
void election_reset_timer(struct raft *r);
/* The same after a start, when a sole voter need not wait. */
void election_start_timer(struct raft *r);
/* Campaign in wait_us, unless this node's own word forbids it for longer. */
void election_hurry(struct raft *r, uint64_t wait_us);
/* The timer ran out. */
void election_timeout(struct raft *r);
/* A candidate by request: TimeoutNow, or a test. */
void election_campaign(struct raft *r, bool prevote);
/* A leader that has just stepped down campaigns for the next term at once, if it may. */
void election_stand_again(struct raft *r);
void election_receive_vote(struct raft *r, const struct raft_message *m);
void election_receive_reply(struct raft *r, const struct raft_message *m);
/* The term and vote became durable: the candidate counts itself. */
void election_vote_durable(struct raft *r);

/* ---- lease.c: promises, certificates, the leader's lease ----------------------------------- */

/* A promise forbids granting a vote, or pre-vote, to candidate. */
bool lease_promise_blocks(const struct raft *r, raft_id candidate);
void lease_promise(struct raft *r, raft_id leader, uint64_t lease_us,
                   const struct raft_incarnation *incarnation);
void lease_void_promise(struct raft *r);
void lease_certificate(struct raft *r, const struct raft_certificate *c);
/* Is this the process whose certificate has set off the search for a new leader? */
bool lease_is_dead(const struct raft *r, const struct raft_incarnation *sender);
/* When a majority's promises to this leader end, were the clocks as bad as drift allows. */
uint64_t lease_until(const struct raft *r);
/* The leader's own part of the promise: while a majority promised to it, it grants nothing. */
bool lease_leader_blocks(const struct raft *r);

/* ---- follower.c: AppendEntries, receiving (§5.3) ------------------------------------------- */

/* The sender of m claims to lead its term. True if it does so far as this node can tell: it is
 * followed from now on, its promise made. False: the message is not to be handled. */
bool follower_accept_leader(struct raft *r, const struct raft_event *event, uint64_t lease_us);
/* Remember what to echo: the latest. */
void follower_note_round(struct raft *r, uint64_t round, uint64_t sent_us);
void follower_receive_append(struct raft *r, const struct raft_event *event);
/* More of the log or the term is durable: send the acknowledgement that is owed. */
void follower_durable(struct raft *r);

/* ---- leader.c: AppendEntries, sending (§5.3, thesis §10.2.1) ------------------------------- */

void leader_start(struct raft *r);
void leader_stop(struct raft *r);
void leader_receive_reply(struct raft *r, const struct raft_message *m);
enum err leader_propose(struct raft *r, const struct raft_event *event);
void leader_timeout(struct raft *r);
uint64_t leader_deadline(const struct raft *r);
/* Heartbeats to all, with a new round. */
void leader_broadcast(struct raft *r);
/* Send what the peer lacks, as far as its window goes. */
void leader_replicate(struct raft *r, struct peer *peer);
/* Something was acknowledged or became durable: commit what a majority holds. */
void leader_advance_commit(struct raft *r);
void leader_peer_unreachable(struct raft *r, raft_id id);
/* A message of this term came from peer. */
void leader_heard(struct raft *r, struct peer *peer, uint64_t round, uint64_t sent_us);

/* ---- membership.c (thesis §4) -------------------------------------------------------------- */

/* The members are well-formed. Errors: ERR_INVALID. */
bool membership_valid(const struct raft_members *m);
void membership_init(struct raft *r, const struct raft_members *m, raft_index index);
void membership_append(struct raft *r, raft_index index, const struct raft_members *m);
void membership_truncate(struct raft *r, raft_index from);
void membership_committed(struct raft *r);
/* May the leader propose this change now? Errors: ERR_BUSY, ERR_CONFLICT, ERR_INVALID. */
enum err membership_check(const struct raft *r, const struct raft_members *to);
uint32_t membership_voters(const struct raft *r);
/* This node is a voter, or was before a change that is not committed: then it may be the only one
 * whose log is long enough to lead until the change is (thesis §4.2.2). Others are learners. */
bool membership_may_stand(const struct raft *r);

/* ---- snapshot.c (§7) ----------------------------------------------------------------------- */

void snapshot_taken(struct raft *r, struct raft_pos last);
void snapshot_receive(struct raft *r, const struct raft_event *event);
/* A chunk leaves for a peer that needs it. Errors: NOT_LEADER, NOT_FOUND. */
enum err snapshot_send(struct raft *r, const struct raft_event *event);
void snapshot_chunk_stored(struct raft *r, const struct raft_event *event);
/* The leader whose snapshot is coming in leads no more; the next one starts anew. */
void snapshot_installed(struct raft *r, const struct raft_event *event);
void snapshot_receive_reply(struct raft *r, const struct raft_message *m);
/* The entries that peer needs are compacted. */
void snapshot_need(struct raft *r, struct peer *peer);
/* Tell the node of a peer that needs a snapshot and that it was not told of: one in each step. */
void snapshot_ask(struct raft *r);

/* ---- transfer.c (thesis §3.10) ------------------------------------------------------------- */

enum err transfer_start(struct raft *r, raft_id target);
/* The target may have caught up. */
void transfer_advance(struct raft *r);
/* TimeoutNow may have been lost: send it again. */
void transfer_repeat(struct raft *r);
/* Give it up. Once TimeoutNow was sent, a leader that works under leases steps down with it, and
 * stands for the next term, with a lease of its own. */
void transfer_abort(struct raft *r);
void transfer_receive_timeout_now(struct raft *r, const struct raft_message *m);

/* ---- read.c: ReadIndex and lease reads (thesis §6.4) --------------------------------------- */

void read_register(struct raft *r, uint64_t token, bool allow_lease);
/* A round was acknowledged, or the commit index moved: answer what is confirmed. */
void read_advance(struct raft *r);
void read_fail_all(struct raft *r);

#endif
