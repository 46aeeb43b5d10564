/* Commands on their way into the log, until they are answered: proposals.c, with their table in
 * pending.c, the session that makes each take effect once in own_session.c, and batches and
 * forwarding to the leader in offer.c. Private to this folder. */
#ifndef MK_NODE_PROPOSALS_H
#define MK_NODE_PROPOSALS_H

#include <sys/queue.h>

#include "base/wheel.h"
#include "node/node.h"
#include "node/sessions.h"
#include "wire/entry.h"
#include "wire/membership.h"

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
/* Answer all that wait: the node ends. */
void proposals_give_up(struct node *n);
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

#endif
