/* Who is in the cluster: the payload of an ENTRY_CONFIG, and part of every snapshot.
 *
 *     [1, [[id, name, address, voter], ...], [id, ...]]      1 is the version of the format
 *
 * The last are the ids of members that were removed: whoever comes back under one is refused. */
#ifndef MK_WIRE_MEMBERSHIP_H
#define MK_WIRE_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "raft/raft.h"

enum { MEMBER_NAME_MAX = 63, MEMBER_ADDRESS_MAX = 127, MEMBERSHIP_REMOVED_MAX = 256 };

struct membership_member {
    raft_id id;                           /* membership_id(name) */
    char name[MEMBER_NAME_MAX + 1];       /* "n1"; not empty */
    char address[MEMBER_ADDRESS_MAX + 1]; /* of its peer listener, "host:port"; may be empty */
    bool voter;
};

struct membership {
    uint32_t count;
    struct membership_member at[RAFT_MEMBERS_MAX];
    uint32_t removed_count;
    raft_id removed[MEMBERSHIP_REMOVED_MAX]; /* the latest ones, oldest first */
};

/* Append the encoding of m to out. */
void membership_encode(const struct membership *m, struct buffer *out);
/* Errors: TRUNCATED; INVALID (also: an id of 0 or twice, a name that is empty or there twice, more
 * than RAFT_MEMBERS_MAX members); TOO_LARGE (a name or address); VERSION. */
enum err membership_decode(struct bytes payload, struct membership *out);

void membership_to_raft(const struct membership *m, struct raft_members *out);
/* NULL if there is none. */
const struct membership_member *membership_find(const struct membership *m, raft_id id);
const struct membership_member *membership_find_name(const struct membership *m, const char *name);
bool membership_was_removed(const struct membership *m, raft_id id);
/* id has been removed; of too many, the oldest is forgotten. */
void membership_remember(struct membership *m, raft_id id);
/* id may come back. Nothing if it was not removed. */
void membership_forgive(struct membership *m, raft_id id);
/* The id that a node's name stands for: its XXH3 hash, never 0. */
raft_id membership_id(const char *name);

#endif
