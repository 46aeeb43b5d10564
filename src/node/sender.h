/* Core messages become frames to the peers; old entries are read back from disk for slow followers.
 * Private to this folder. */
#ifndef MK_NODE_SENDER_H
#define MK_NODE_SENDER_H

#include <sys/queue.h>

#include "base/bytes.h"
#include "base/err.h"
#include "node/snapshots.h"
#include "raft/raft.h"
#include "store/store.h"
#include "wire/membership.h"
#include "wire/raft_codec.h"

struct node;

/* An append that waits for its entries to be read back from disk. */
struct held_append {
    STAILQ_ENTRY(held_append) link;
    struct raft_message message;
};

struct outlet { /* to one peer */
    raft_id id;
    bool up;
    uint64_t full_until_us; /* what it said of its disk holds until then */
    enum err refuses;       /* us: why, as of its last answer; OK: it does not */
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

#endif
