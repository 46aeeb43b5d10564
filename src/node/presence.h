/* Who is online, as the leader tells it. Private to this folder. */
#ifndef MK_NODE_PRESENCE_H
#define MK_NODE_PRESENCE_H

#include "base/bytes.h"
#include "raft/raft.h"

struct node;

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

/* As the leader told it last. */
bool presence_is_online(struct node *n, raft_id id);
void presence_stated(struct node *n, raft_id from, struct bytes params);
void presence_link_up(struct node *n, raft_id peer);
void presence_tick(struct node *n, uint64_t now_us);
uint64_t presence_deadline(const struct node *n);

#endif
