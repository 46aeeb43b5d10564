#include "raft/outbox.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "raft/raft_internal.h"

enum { CAPACITY_MIN = 16 };

void outbox_init(struct outbox *o)
{
    *o = (struct outbox){.messages_capacity = CAPACITY_MIN,
                         .notes_capacity = CAPACITY_MIN,
                         .reads_capacity = CAPACITY_MIN};
    o->messages = alloc_zeroed(o->messages_capacity, sizeof *o->messages);
    o->notes = alloc_zeroed(o->notes_capacity, sizeof *o->notes);
    o->reads = alloc_zeroed(o->reads_capacity, sizeof *o->reads);
    o->held = alloc_zeroed(OUTBOX_HELD_MAX, sizeof *o->held);
}

void outbox_close(struct outbox *o)
{
    free(o->messages);
    free(o->notes);
    free(o->reads);
    free(o->held);
    *o = (struct outbox){0};
}

void outbox_clear(struct outbox *o)
{
    o->messages_count = 0;
    o->notes_count = 0;
    o->reads_count = 0;
    o->hard_state = false;
    o->truncate_from = 0;
    o->lo = 0;
    o->hi = 0;
    o->promise_changed = false;
    o->snapshot_needed_by = 0;
    o->snapshot_store = false;
    o->result = ERR_OK;
    o->propose_first = 0;
}

/* The next free slot for a message that leaves now. */
static struct raft_message *open_slot(struct outbox *o)
{
    if (o->messages_count == o->messages_capacity) {
        o->messages_capacity *= 2;
        o->messages = alloc_resize(o->messages, o->messages_capacity, sizeof *o->messages);
    }
    return &o->messages[o->messages_count++];
}

/* A slot among the held: that of an older one of the same kind, or a new one. When all are taken
 * (only strangers can do that) the last is given up: any message may be lost. */
static struct raft_message *held_slot(struct outbox *o, enum raft_message_type type, raft_id to)
{
    for (uint32_t i = 0; i < o->held_count; i++) {
        if (o->held[i].type == type && o->held[i].to == to) {
            return &o->held[i];
        }
    }
    if (o->held_count < OUTBOX_HELD_MAX) {
        o->held_count++;
    }
    return &o->held[o->held_count - 1];
}

static struct raft_message *address(struct raft *r, struct raft_message *m,
                                    enum raft_message_type type, raft_id to)
{
    m->type = type;
    m->from = r->options.self;
    m->to = to;
    m->term = r->term;
    return m;
}

struct raft_message *outbox_send(struct raft *r, enum raft_message_type type, raft_id to)
{
    ASSERT(to != 0);
    ASSERT(to != r->options.self);
    bool durable = r->durable_term == r->term;
    struct raft_message *slot = durable ? open_slot(&r->out) : held_slot(&r->out, type, to);
    return address(r, slot, type, to);
}

struct raft_message *outbox_send_grant(struct raft *r, raft_id to)
{
    ASSERT(r->vote == to);
    enum raft_message_type type = RAFT_MESSAGE_VOTE_REPLY;
    bool durable = r->durable_term == r->term && r->durable_vote == r->vote;
    struct raft_message *slot = durable ? open_slot(&r->out) : held_slot(&r->out, type, to);
    return address(r, slot, type, to);
}

static bool is_grant(const struct raft_message *m)
{
    return m->type == RAFT_MESSAGE_VOTE_REPLY && m->vote_reply.granted && !m->vote_reply.prevote;
}

void outbox_release(struct raft *r)
{
    struct outbox *o = &r->out;
    if (o->held_count == 0 || r->durable_term != r->term) {
        return;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->held_count; i++) {
        if (is_grant(&o->held[i]) && r->durable_vote != r->vote) {
            o->held[kept++] = o->held[i];
        } else {
            *open_slot(o) = o->held[i];
        }
    }
    o->held_count = kept;
}

void outbox_drop_held(struct raft *r)
{
    r->out.held_count = 0;
}

void outbox_drop_requests(struct raft *r)
{
    struct outbox *o = &r->out;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->held_count; i++) {
        if (o->held[i].type != RAFT_MESSAGE_VOTE) {
            o->held[kept++] = o->held[i];
        }
    }
    o->held_count = kept;
}

struct raft_note *outbox_note(struct raft *r, enum raft_note_type type)
{
    struct outbox *o = &r->out;
    if (o->notes_count == o->notes_capacity) {
        o->notes_capacity *= 2;
        o->notes = alloc_resize(o->notes, o->notes_capacity, sizeof *o->notes);
    }
    struct raft_note *note = &o->notes[o->notes_count++];
    *note = (struct raft_note){.type = type, .term = r->term};
    return note;
}

void outbox_read(struct raft *r, struct raft_read_result result)
{
    struct outbox *o = &r->out;
    if (o->reads_count == o->reads_capacity) {
        o->reads_capacity *= 2;
        o->reads = alloc_resize(o->reads, o->reads_capacity, sizeof *o->reads);
    }
    o->reads[o->reads_count++] = result;
}
