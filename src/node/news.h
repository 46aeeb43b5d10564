/* What happened -> log lines, hooks, the scripts' view. Private to this folder. */
#ifndef MK_NODE_NEWS_H
#define MK_NODE_NEWS_H

#include "base/bytes.h"
#include "raft/raft.h"
#include "script/script.h"
#include "store/store.h"
#include "wire/membership.h"

struct node;

struct news {
    uint64_t seq;            /* of the last event */
    uint64_t lease_until_us; /* as the scripts know it */
    raft_term ready_term;    /* this node's no-op of this term was applied: it may act as leader */
    raft_index ready_index;
    bool quorum_lost;        /* that was told, and not that it is back */
    struct buffer fields;    /* scratch */
    struct script_view view; /* likewise */
    enum raft_step_down_reason last_reason;
};

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
void news_member(struct node *n, const char *event, const struct membership_member *m,
                 raft_index index);

#endif
