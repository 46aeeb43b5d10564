/* What one step gives back: the scratch behind struct raft_effects, and the gate of rule 2.
 *
 * A message may speak of a term or a vote only once that is durable. One that is sent earlier is
 * held, and leaves in the step that takes the covering RAFT_PERSISTED, unless the term or the role
 * it was sent in has ended. Per receiver and type only the latest is held, so there is a bound.
 *
 * Owned by struct raft. Arrays are reused from step to step and grow only at a new maximum. */
#ifndef MK_RAFT_OUTBOX_H
#define MK_RAFT_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "raft/raft.h"

enum { OUTBOX_HELD_MAX = 2 * RAFT_MEMBERS_MAX };

struct outbox {
    struct raft_message *messages;
    uint32_t messages_count;
    uint32_t messages_capacity;
    struct raft_note *notes;
    uint32_t notes_count;
    uint32_t notes_capacity;
    struct raft_read_result *reads;
    uint32_t reads_count;
    uint32_t reads_capacity;

    struct raft_message *held;
    uint32_t held_count;

    /* This step's write. */
    bool hard_state;
    raft_index truncate_from;
    raft_index lo;
    raft_index hi;

    bool promise_changed;
    raft_id snapshot_needed_by;
    bool snapshot_store;
    enum err result;
    raft_index propose_first;
};

void outbox_init(struct outbox *o);
void outbox_close(struct outbox *o);
/* Forget the previous step. What is held stays. */
void outbox_clear(struct outbox *o);

struct raft; /* raft_internal.h */

/* A message to be filled in by the caller, from this node, in its term. It leaves at once if the
 * term is durable, and is held otherwise. Valid until the next call. */
struct raft_message *outbox_send(struct raft *r, enum raft_message_type type, raft_id to);
/* The same for a granted vote: held until the vote is durable too. */
struct raft_message *outbox_send_grant(struct raft *r, raft_id to);
/* Term or vote became durable: let go what they cover. */
void outbox_release(struct raft *r);
/* The term ended: nothing that is held is true any more. */
void outbox_drop_held(struct raft *r);
/* The candidacy ended within its term: its requests are void, its replies are not. */
void outbox_drop_requests(struct raft *r);

struct raft_note *outbox_note(struct raft *r, enum raft_note_type type);
void outbox_read(struct raft *r, struct raft_read_result result);

#endif
