/* Who is in the cluster, as the log says. Private to this folder. */
#ifndef MK_NODE_MEMBERS_H
#define MK_NODE_MEMBERS_H

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"
#include "wire/membership.h"

struct node;

struct config_entry {
    raft_index index; /* 0: the initial members */
    struct membership members;
};

struct members {
    struct config_entry *stack; /* in order of index; the last one is in effect */
    size_t count, capacity;
};

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

#endif
