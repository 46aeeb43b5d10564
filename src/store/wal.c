#include "store/wal.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

enum {
    SEGMENT_BYTES_DEFAULT = 8 << 20,
    SEGMENT_BYTES_MIN = 2 * SEGMENT_HEADER_BYTES,
    /* A longer batch delays the acknowledgement of its first write more than one sync less gains.
     */
    BATCH_BYTES_MAX = 2 << 20,
    /* Smaller bodies are copied: cheaper than a piece of their own in the write. */
    BODY_BYTES_COPIED = 4096,
};

void wal_init(struct wal *w, const struct store_options *options,
              const uint8_t uuid[STORE_UUID_BYTES])
{
    uint64_t size = options->segment_bytes > 0 ? options->segment_bytes : SEGMENT_BYTES_DEFAULT;
    size = size < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : size;
    size = (size + SEGMENT_HEADER_BYTES - 1) / SEGMENT_HEADER_BYTES * SEGMENT_HEADER_BYTES;
    ASSERT(size <= UINT32_MAX / 2); /* places within a segment have 32 bits */
    *w = (struct wal){.fs = options->fs,
                      .entropy = options->entropy,
                      .log = options->log,
                      .segment_bytes = size,
                      .spare_number = 1};
    memcpy(w->uuid, uuid, STORE_UUID_BYTES);
}

void wal_close(struct wal *w)
{
    if (w->file != NULL) {
        w->fs->v->close(w->file);
    }
    for (size_t i = 0; i < w->segments_count; i++) {
        free(w->segments[i].offsets);
    }
    free(w->segments);
    free(w->runs);
    free(w->pieces);
    buffer_close(&w->staging);
    *w = (struct wal){0};
}

static uint64_t write_bytes(const struct wal_write *write)
{
    const struct store_write *content = &write->content;
    uint64_t bytes = content->hard_state ? record_bytes(0) : 0;
    bytes += content->truncate_from > 0 ? record_bytes(0) : 0;
    bytes += write->base.index > 0 ? record_bytes(0) : 0;
    bytes += write->restart.index > 0 ? record_bytes(0) : 0;
    for (uint32_t i = 0; i < content->count; i++) {
        bytes += record_bytes(content->entries[i].body.size);
    }
    return bytes;
}

/* How many of the writes make the next batch, and its size: what is left of the segment, or, of a
 * new one (*rotate), as much as there is for it. A write is never split; a restart is alone. */
static size_t choose(const struct wal *w, const struct wal_write *writes, size_t writes_count,
                     uint64_t room, uint64_t *bytes, bool *rotate)
{
    uint64_t first = write_bytes(&writes[0]);
    *rotate = first > room;
    if (*rotate) {
        room = w->segment_bytes - SEGMENT_HEADER_BYTES;
    }
    uint64_t limit = room < BATCH_BYTES_MAX ? room : BATCH_BYTES_MAX;
    size_t count = 1;
    *bytes = first;
    while (count < writes_count && writes[0].restart.index == 0 &&
           writes[count].restart.index == 0) {
        uint64_t next = write_bytes(&writes[count]);
        if (next > limit || *bytes > limit - next) {
            break;
        }
        *bytes += next;
        count++;
    }
    return count;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* A batch in the making. The staging buffer has all its room from the start, so that pieces and
 * `last` can point into it. */
struct batch {
    struct wal *w;
    uint64_t salt;
    uint64_t bytes;
    uint8_t *last_at; /* header of the last record */
    struct record last;
    struct bytes last_body;
};

static void add_piece(struct wal *w, const uint8_t *data, size_t size)
{
    if (w->pieces_count > 0) {
        struct bytes *piece = &w->pieces[w->pieces_count - 1];
        if (piece->data + piece->size == data) {
            piece->size += size;
            return;
        }
    }
    if (w->pieces_count == w->pieces_capacity) {
        w->pieces_capacity = w->pieces_capacity == 0 ? 16 : w->pieces_capacity * 2;
        w->pieces = alloc_resize(w->pieces, w->pieces_capacity, sizeof *w->pieces);
    }
    w->pieces[w->pieces_count++] = bytes_of(data, size);
}

static void add_staged(struct wal *w, const void *data, size_t size)
{
    ASSERT(w->staging.capacity - w->staging.size >= size);
    uint8_t *at = w->staging.data + w->staging.size;
    buffer_add(&w->staging, data, size);
    add_piece(w, at, size);
}

static void add_record(struct batch *b, struct record r, struct bytes body)
{
    static const uint8_t zeroes[RECORD_ALIGNMENT];
    struct wal *w = b->w;
    uint8_t header[RECORD_HEADER_BYTES];
    r.batch = w->batch + 1;
    r.body_bytes = (uint32_t)body.size;
    record_encode(b->salt, &r, body, header);
    b->last_at = w->staging.data + w->staging.size;
    b->last = r;
    b->last_body = body;
    add_staged(w, header, sizeof header);
    if (body.size > BODY_BYTES_COPIED) {
        add_piece(w, body.data, body.size);
    } else if (body.size > 0) {
        add_staged(w, body.data, body.size);
    }
    size_t padding = (size_t)(record_bytes(body.size) - RECORD_HEADER_BYTES - body.size);
    if (padding > 0) {
        add_staged(w, zeroes, padding);
    }
    b->bytes += record_bytes(body.size);
}

/* The order matters: after a crash a prefix may be found, and no prefix may break a rule of Raft
 * (an entry of a term later than the node's own, say). */
static void add_write(struct batch *b, const struct wal_write *write)
{
    const struct store_write *content = &write->content;
    const struct bytes none = {0};
    if (content->hard_state) {
        add_record(b,
                   (struct record){
                       .kind = RECORD_HARD_STATE, .term = content->term, .index = content->vote},
                   none);
    }
    if (content->truncate_from > 0) {
        add_record(b, (struct record){.kind = RECORD_TRUNCATE, .index = content->truncate_from},
                   none);
    }
    for (uint32_t i = 0; i < content->count; i++) {
        add_record(b,
                   (struct record){.kind = RECORD_ENTRY,
                                   .index = content->lo + i,
                                   .term = content->entries[i].term},
                   slice_bytes(content->entries[i].body));
    }
    if (write->base.index > 0) {
        add_record(b,
                   (struct record){
                       .kind = RECORD_BASE, .index = write->base.index, .term = write->base.term},
                   none);
    }
    if (write->restart.index > 0) {
        add_record(b,
                   (struct record){.kind = RECORD_RESTART,
                                   .index = write->restart.index,
                                   .term = write->restart.term},
                   none);
    }
}

static void encode(struct batch *b, const struct wal_write *writes, size_t count, uint64_t bytes)
{
    struct wal *w = b->w;
    buffer_clear(&w->staging);
    buffer_reserve(&w->staging, (size_t)bytes);
    w->pieces_count = 0;
    for (size_t i = 0; i < count; i++) {
        add_write(b, &writes[i]);
    }
    ASSERT(b->bytes == bytes);
    b->last.ends_batch = true;
    record_encode(b->salt, &b->last, b->last_body, b->last_at);
}

/* ---- taking in what was written ------------------------------------------------------------- */

static void apply(struct wal *w, const struct wal_write *write, uint64_t *offset)
{
    const struct store_write *content = &write->content;
    if (content->hard_state) {
        w->term = content->term;
        w->vote = content->vote;
        *offset += record_bytes(0);
    }
    if (content->truncate_from > 0) {
        ASSERT(content->truncate_from <= w->last.index + 1);
        wal_index_truncate(w, content->truncate_from);
        *offset += record_bytes(0);
    }
    ASSERT(content->count == 0 || content->lo == w->last.index + 1);
    for (uint32_t i = 0; i < content->count; i++) {
        wal_index_add(w, content->entries[i].term, *offset);
        *offset += record_bytes(content->entries[i].body.size);
    }
    if (write->base.index > 0) {
        wal_index_base(w, write->base);
        *offset += record_bytes(0);
    }
    if (write->restart.index > 0) {
        wal_index_restart(w, write->restart);
        *offset += record_bytes(0);
    }
}

static enum err write_and_sync(struct wal *w, uint64_t offset, struct why *why)
{
    enum err err = w->fs->v->write(w->file, offset, w->pieces, w->pieces_count);
    /* File systems that never overwrite in place need space even here. Nothing was synced and the
     * same bytes will go to the same place. */
    bool full = err == ERR_NO_SPACE;
    if (err == ERR_OK) {
        err = w->fs->v->sync(w->file);
        err = err == ERR_NO_SPACE ? ERR_IO : err; /* what it lost cannot be told */
    }
    if (err == ERR_OK) {
        return ERR_OK;
    }
    char name[SEGMENT_NAME_BYTES];
    segment_name(wal_active(w)->header.sequence, name);
    return err_why(why, err,
                   full ? "no space to write to %s/%s" : "writing to %s/%s failed: check the disk",
                   w->fs->v->path(w->fs->ctx), name);
}

enum err wal_append(struct wal *w, const struct wal_write *writes, size_t writes_count,
                    size_t *done, uint64_t *bytes, struct why *why)
{
    ASSERT(writes_count > 0);
    const struct wal_segment *s = wal_active(w);
    uint64_t room = s->end_bytes < s->size_bytes ? s->size_bytes - s->end_bytes : 0;
    bool rotate;
    size_t count = choose(w, writes, writes_count, room, bytes, &rotate);
    *done = 0;
    if (rotate) {
        enum err err = wal_rotate(w, *bytes, why);
        if (err != ERR_OK) {
            return err;
        }
        s = wal_active(w);
    }
    struct batch batch = {.w = w, .salt = s->header.salt};
    encode(&batch, writes, count, *bytes);
    uint64_t offset = s->end_bytes;
    enum err err = write_and_sync(w, offset, why);
    if (err != ERR_OK) {
        return err;
    }
    w->batch++;
    for (size_t i = 0; i < count; i++) {
        apply(w, &writes[i], &offset);
    }
    ASSERT(offset == s->end_bytes + *bytes);
    wal_active(w)->end_bytes = offset;
    *done = count;
    return ERR_OK;
}
