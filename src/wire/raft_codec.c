#include "wire/raft_codec.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/entry.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* Elements of each message's array, with the four that all have: type, from, to, term. */
enum {
    COMMON_FIELDS = 4,
    APPEND_FIELDS = COMMON_FIELDS + 7,
    APPEND_REPLY_FIELDS = COMMON_FIELDS + 6,
    VOTE_FIELDS = COMMON_FIELDS + 8,
    VOTE_REPLY_FIELDS = COMMON_FIELDS + 2,
    TIMEOUT_NOW_FIELDS = COMMON_FIELDS + 2,
    INSTALL_SNAPSHOT_FIELDS = COMMON_FIELDS + 8,
    INSTALL_SNAPSHOT_REPLY_FIELDS = COMMON_FIELDS + 6,
};

/* More than any message's array takes without bodies: its head, 12 numbers of up to 9 bytes, and
 * the 51 bytes of a certificate's two strings. */
enum { MESSAGE_HEAD_BYTES_MAX = 192, ENTRY_HEAD_BYTES_MAX = 9 + 5 };

size_t raft_message_overhead_bytes(const struct raft_message *m)
{
    size_t entries = m->type == RAFT_MESSAGE_APPEND ? m->append.count : 0;
    return MESSAGE_HEAD_BYTES_MAX + entries * ENTRY_HEAD_BYTES_MAX;
}

/* ---- encoding ---- */

static void write_pos(struct buffer *out, struct raft_pos pos)
{
    write_u64(out, pos.index);
    write_u64(out, pos.term);
}

static void write_common(struct buffer *out, const struct raft_message *m, uint32_t fields)
{
    write_array(out, fields);
    write_u64(out, (uint64_t)m->type + RAFT_WIRE_TYPE_BASE);
    write_u64(out, m->from);
    write_u64(out, m->to);
    write_u64(out, m->term);
}

static void write_append(struct buffer *out, const struct raft_append *a,
                         const struct wire_entry *entries)
{
    write_pos(out, a->prev);
    write_u64(out, a->commit_index);
    write_u64(out, a->lease_us);
    write_u64(out, a->round);
    write_u64(out, a->sent_us);
    write_array(out, 2 * a->count);
    for (uint32_t i = 0; i < a->count; i++) {
        write_u64(out, entries[i].term);
        write_bin(out, entries[i].body);
    }
}

static void write_append_reply(struct buffer *out, const struct raft_append_reply *a)
{
    write_bool(out, a->rejected);
    write_u64(out, a->match);
    write_u64(out, a->hint_term);
    write_u64(out, a->prev_index);
    write_u64(out, a->round);
    write_u64(out, a->sent_us);
}

static void write_vote(struct buffer *out, const struct raft_vote *v)
{
    bool certified = v->certificate.dead != 0;
    write_pos(out, v->last);
    write_bool(out, v->prevote);
    write_bool(out, v->transfer);
    write_u64(out, v->transfer_from);
    write_u64(out, v->certificate.dead);
    write_bin(out, bytes_of(v->certificate.revealed, certified ? 16 : 0));
    write_bin(out, bytes_of(v->certificate.incarnation.hash, certified ? 32 : 0));
}

static void write_install_snapshot(struct buffer *out, const struct raft_install_snapshot *s,
                                   struct bytes chunk)
{
    ASSERT(chunk.size == s->size_bytes);
    write_pos(out, s->last);
    write_u64(out, s->offset_bytes);
    write_bool(out, s->done);
    write_u64(out, s->lease_us);
    write_u64(out, s->round);
    write_u64(out, s->sent_us);
    write_bin(out, chunk);
}

static void write_install_snapshot_reply(struct buffer *out,
                                         const struct raft_install_snapshot_reply *s)
{
    write_pos(out, s->last);
    write_u64(out, s->offset_bytes);
    write_bool(out, s->installed);
    write_u64(out, s->round);
    write_u64(out, s->sent_us);
}

/* Grow once: the size is known up front. */
static void reserve(struct buffer *out, const struct raft_message *m,
                    const struct wire_entry *entries, struct bytes chunk)
{
    size_t size = raft_message_overhead_bytes(m) + chunk.size;
    if (m->type == RAFT_MESSAGE_APPEND) {
        for (uint32_t i = 0; i < m->append.count; i++) {
            size += entries[i].body.size;
        }
    }
    buffer_reserve(out, size);
}

void raft_message_encode(const struct raft_message *m, const struct wire_entry *entries,
                         struct bytes chunk, struct buffer *out)
{
    ASSERT(m->type < RAFT_MESSAGE_COUNT);
    reserve(out, m, entries, chunk);
    switch (m->type) {
    case RAFT_MESSAGE_APPEND:
        ASSERT(m->append.count <= RAFT_WIRE_ENTRIES_MAX);
        write_common(out, m, APPEND_FIELDS);
        write_append(out, &m->append, entries);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        write_common(out, m, APPEND_REPLY_FIELDS);
        write_append_reply(out, &m->append_reply);
        break;
    case RAFT_MESSAGE_VOTE:
        write_common(out, m, VOTE_FIELDS);
        write_vote(out, &m->vote);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        write_common(out, m, VOTE_REPLY_FIELDS);
        write_bool(out, m->vote_reply.granted);
        write_bool(out, m->vote_reply.prevote);
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        write_common(out, m, TIMEOUT_NOW_FIELDS);
        write_pos(out, m->timeout_now.last);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        write_common(out, m, INSTALL_SNAPSHOT_FIELDS);
        write_install_snapshot(out, &m->install_snapshot, chunk);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        write_common(out, m, INSTALL_SNAPSHOT_REPLY_FIELDS);
        write_install_snapshot_reply(out, &m->install_snapshot_reply);
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
}

/* ---- decoding ---- */

static struct raft_pos read_pos(struct reader *r)
{
    raft_index index = read_u64(r);
    raft_term term = read_u64(r);
    return (struct raft_pos){.index = index, .term = term};
}

/* The members that a configuration entry installs. */
static void take_config(struct reader *r, struct bytes payload, struct raft_decoded *out)
{
    struct membership membership;
    enum err e = membership_decode(payload, &membership);
    if (e != ERR_OK) {
        reader_fail(r, e);
        return;
    }
    if (out->configs_count == out->configs_capacity) {
        out->configs_capacity = out->configs_capacity == 0 ? 2 : 2 * out->configs_capacity;
        out->configs = alloc_resize(out->configs, out->configs_capacity, sizeof *out->configs);
    }
    membership_to_raft(&membership, &out->configs[out->configs_count++]);
}

static void read_entry(struct reader *r, struct raft_decoded *out, uint32_t i)
{
    raft_term term = read_u64(r);
    struct bytes body = read_bin(r, UINT32_MAX);
    if (r->err != ERR_OK) {
        return;
    }
    struct entry entry;
    enum err e = entry_decode(body, &entry);
    if (e != ERR_OK) {
        reader_fail(r, e);
        return;
    }
    out->bodies[i] = body;
    out->metas[i] = (struct raft_entry){
        .term = term, .size_bytes = (uint32_t)body.size, .is_config = entry.kind == ENTRY_CONFIG};
    if (entry.kind == ENTRY_CONFIG) {
        take_config(r, entry.payload, out);
    }
}

static void read_append(struct reader *r, struct raft_decoded *out)
{
    struct raft_append *a = &out->message.append;
    a->prev = read_pos(r);
    a->commit_index = read_u64(r);
    a->lease_us = read_u64(r);
    a->round = read_u64(r);
    a->sent_us = read_u64(r);
    uint32_t values = read_array(r);
    uint32_t count = values / 2;
    if (values % 2 != 0 || count > RAFT_WIRE_ENTRIES_MAX) {
        reader_fail(r, ERR_INVALID);
        return;
    }
    if (count > out->entries_capacity) {
        out->bodies = alloc_resize(out->bodies, count, sizeof *out->bodies);
        out->metas = alloc_resize(out->metas, count, sizeof *out->metas);
        out->entries_capacity = count;
    }
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        read_entry(r, out, i);
    }
    a->count = count;
    a->entries = out->metas;
}

static void read_append_reply(struct reader *r, struct raft_append_reply *a)
{
    a->rejected = read_bool(r);
    a->match = read_u64(r);
    a->hint_term = read_u64(r);
    a->prev_index = read_u64(r);
    a->round = read_u64(r);
    a->sent_us = read_u64(r);
}

static void read_vote(struct reader *r, struct raft_vote *v)
{
    v->last = read_pos(r);
    v->prevote = read_bool(r);
    v->transfer = read_bool(r);
    v->transfer_from = read_u64(r);
    v->certificate.dead = read_u64(r);
    bool certified = v->certificate.dead != 0;
    read_fixed_bin(r, v->certificate.revealed, certified ? 16 : 0);
    read_fixed_bin(r, v->certificate.incarnation.hash, certified ? 32 : 0);
}

static void read_install_snapshot(struct reader *r, struct raft_decoded *out)
{
    struct raft_install_snapshot *s = &out->message.install_snapshot;
    s->last = read_pos(r);
    s->offset_bytes = read_u64(r);
    s->done = read_bool(r);
    s->lease_us = read_u64(r);
    s->round = read_u64(r);
    s->sent_us = read_u64(r);
    out->chunk = read_bin(r, UINT32_MAX);
    s->size_bytes = (uint32_t)out->chunk.size;
}

static void read_install_snapshot_reply(struct reader *r, struct raft_install_snapshot_reply *s)
{
    s->last = read_pos(r);
    s->offset_bytes = read_u64(r);
    s->installed = read_bool(r);
    s->round = read_u64(r);
    s->sent_us = read_u64(r);
}

static uint32_t fields_of(enum raft_message_type type)
{
    static const uint32_t fields[RAFT_MESSAGE_COUNT] = {
        [RAFT_MESSAGE_APPEND] = APPEND_FIELDS,
        [RAFT_MESSAGE_APPEND_REPLY] = APPEND_REPLY_FIELDS,
        [RAFT_MESSAGE_VOTE] = VOTE_FIELDS,
        [RAFT_MESSAGE_VOTE_REPLY] = VOTE_REPLY_FIELDS,
        [RAFT_MESSAGE_TIMEOUT_NOW] = TIMEOUT_NOW_FIELDS,
        [RAFT_MESSAGE_INSTALL_SNAPSHOT] = INSTALL_SNAPSHOT_FIELDS,
        [RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY] = INSTALL_SNAPSHOT_REPLY_FIELDS,
    };
    return fields[type];
}

/* The four fields that all messages begin with; the type decides how many follow. */
static void read_common(struct reader *r, struct raft_message *m)
{
    uint32_t fields = read_array(r);
    uint64_t type = read_u64(r);
    if (r->err == ERR_OK &&
        (type < RAFT_WIRE_TYPE_BASE || type >= RAFT_WIRE_TYPE_BASE + RAFT_MESSAGE_COUNT)) {
        reader_fail(r, ERR_INVALID);
    }
    if (r->err != ERR_OK) {
        return;
    }
    m->type = (enum raft_message_type)(type - RAFT_WIRE_TYPE_BASE);
    if (fields != fields_of(m->type)) {
        reader_fail(r, ERR_INVALID);
    }
    m->from = read_u64(r);
    m->to = read_u64(r);
    m->term = read_u64(r);
}

static void read_fields(struct reader *r, struct raft_decoded *out)
{
    struct raft_message *m = &out->message;
    switch (m->type) {
    case RAFT_MESSAGE_APPEND:
        read_append(r, out);
        break;
    case RAFT_MESSAGE_APPEND_REPLY:
        read_append_reply(r, &m->append_reply);
        break;
    case RAFT_MESSAGE_VOTE:
        read_vote(r, &m->vote);
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        m->vote_reply.granted = read_bool(r);
        m->vote_reply.prevote = read_bool(r);
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        m->timeout_now.last = read_pos(r);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        read_install_snapshot(r, out);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        read_install_snapshot_reply(r, &m->install_snapshot_reply);
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
}

static void forget(struct raft_decoded *d)
{
    slice_close(&d->frame);
    d->message = (struct raft_message){0};
    d->configs_count = 0;
    d->chunk = (struct bytes){0};
}

enum err raft_message_decode(struct slice frame, struct raft_decoded *out)
{
    struct slice next = slice_ref(frame); /* before the old one goes: it may be the same */
    forget(out);
    struct reader r = reader_of(slice_bytes(next));
    read_common(&r, &out->message);
    if (r.err == ERR_OK) {
        read_fields(&r, out);
    }
    out->frame = next;
    enum err e = reader_end(&r);
    if (e != ERR_OK) {
        forget(out);
    }
    return e;
}

struct slice raft_decoded_body(const struct raft_decoded *d, uint32_t i)
{
    ASSERT(d->message.type == RAFT_MESSAGE_APPEND);
    ASSERT(i < d->message.append.count);
    struct slice body = slice_ref(d->frame);
    body.data = d->bodies[i].data;
    body.size = d->bodies[i].size;
    return body;
}

struct slice raft_decoded_chunk(const struct raft_decoded *d)
{
    ASSERT(d->message.type == RAFT_MESSAGE_INSTALL_SNAPSHOT);
    struct slice chunk = slice_ref(d->frame);
    chunk.data = d->chunk.data;
    chunk.size = d->chunk.size;
    return chunk;
}

void raft_decoded_close(struct raft_decoded *d)
{
    slice_close(&d->frame);
    free(d->bodies);
    free(d->metas);
    free(d->configs);
    *d = (struct raft_decoded){0};
}

enum peer_frame peer_frame_of(struct bytes frame)
{
    if (frame.size < 2 || (frame.data[0] & 0xf0) != 0x90) {
        return PEER_FRAME_UNKNOWN;
    }
    if (frame.data[1] <= 2) {
        return PEER_FRAME_RPC;
    }
    return raft_frame_type(frame) != RAFT_MESSAGE_COUNT ? PEER_FRAME_RAFT : PEER_FRAME_UNKNOWN;
}

enum raft_message_type raft_frame_type(struct bytes frame)
{
    if (frame.size < 2 || (frame.data[0] & 0xf0) != 0x90 || frame.data[1] < RAFT_WIRE_TYPE_BASE ||
        frame.data[1] >= RAFT_WIRE_TYPE_BASE + RAFT_MESSAGE_COUNT) {
        return RAFT_MESSAGE_COUNT;
    }
    return (enum raft_message_type)(frame.data[1] - RAFT_WIRE_TYPE_BASE);
}
