/* What a node does while its disk is full: store/README.md says when it is. Private to this folder.
 */
#ifndef MK_NODE_ROOM_H
#define MK_NODE_ROOM_H

#include "raft/raft.h"

struct node;

struct room {
    bool full;           /* as of the last tick */
    uint64_t changed_us; /* since when */
    uint64_t look_us;    /* when the disk is looked at next, and the others are told */
    /* Handing leadership over: */
    uint64_t try_us;   /* not before */
    uint64_t pause_us; /* after the last attempt; 0: there was none */
    raft_id tried;     /* in the last attempt; 0: likewise */
    bool told_alone;   /* that too few have room */
};

/* Why a call of this node's own is refused. */
#define ROOM_REFUSAL "the disk of this node is full; another node may have room"

/* The log cannot grow here. What would have to be answered from entries that are to come must be
 * refused: whoever asks may find another node that has room. */
bool room_is_full(const struct node *n);
/* Entries up to here are, or will be, applied without any room. */
raft_index room_last_index(struct node *n);
/* A peer says that its disk is full. */
void room_peer_is_full(struct node *n, raft_id peer);
void room_tick(struct node *n, uint64_t now_us);
uint64_t room_deadline(const struct node *n);

#endif
