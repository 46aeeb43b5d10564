#include "net/frames.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"

enum { READS_PER_EVENT = 4, FRAMES_PER_WRITE = 64 };

/* ---- receiving ---- */

static uint32_t head_value(const uint8_t head[FRAME_HEAD_BYTES])
{
    uint32_t value;
    memcpy(&value, head, sizeof value);
    return be32toh(value);
}

static bool deliver(struct frame_reader *r, frame_take *take, void *ctx)
{
    struct slice frame = slice_of_take(r->blob);
    r->blob = NULL;
    bool go_on = take(ctx, frame);
    slice_close(&frame);
    return go_on;
}

/* Begin the frame whose head is complete. */
static enum err begin(struct frame_reader *r, size_t frame_bytes_max, frame_take *take, void *ctx)
{
    uint32_t size = head_value(r->head);
    r->head_size = 0;
    if (size > frame_bytes_max) {
        return ERR_TOO_LARGE;
    }
    if (size == 0) {
        return take(ctx, (struct slice){0}) ? ERR_OK : ERR_CANCELLED;
    }
    r->blob = blob_new(size);
    r->filled = 0;
    return ERR_OK;
}

/* Move bytes from *in to the frame at hand. */
static void fill(struct frame_reader *r, struct bytes *in)
{
    size_t wanted = r->blob->size - r->filled;
    size_t size = in->size < wanted ? in->size : wanted;
    memcpy(r->blob->data + r->filled, in->data, size);
    r->filled += size;
    in->data += size;
    in->size -= size;
}

static enum err feed(struct frame_reader *r, struct bytes in, size_t frame_bytes_max,
                     frame_take *take, void *ctx)
{
    for (;;) {
        if (r->blob != NULL) {
            fill(r, &in);
            if (r->filled < r->blob->size) {
                return ERR_OK;
            }
            if (!deliver(r, take, ctx)) {
                return ERR_CANCELLED;
            }
        }
        while (r->head_size < FRAME_HEAD_BYTES && in.size > 0) {
            r->head[r->head_size++] = *in.data++;
            in.size--;
        }
        if (r->head_size < FRAME_HEAD_BYTES) {
            return ERR_OK;
        }
        enum err e = begin(r, frame_bytes_max, take, ctx);
        if (e != ERR_OK) {
            return e;
        }
    }
}

/* The rest of a large frame goes straight to its place; what follows it, to the scratch. */
static ssize_t read_into(struct frame_reader *r, int fd, uint8_t *scratch, size_t *direct)
{
    *direct = r->blob == NULL ? 0 : r->blob->size - r->filled;
    if (*direct == 0) {
        return read(fd, scratch, FRAME_SCRATCH_BYTES);
    }
    struct iovec parts[] = {{.iov_base = r->blob->data + r->filled, .iov_len = *direct},
                            {.iov_base = scratch, .iov_len = FRAME_SCRATCH_BYTES}};
    return readv(fd, parts, 2);
}

enum err frame_reader_read(struct frame_reader *r, int fd, uint8_t *scratch, size_t frame_bytes_max,
                           frame_take *take, void *ctx)
{
    for (int i = 0; i < READS_PER_EVENT; i++) {
        size_t direct;
        ssize_t got = read_into(r, fd, scratch, &direct);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return ERR_OK;
        }
        if (got <= 0) {
            return ERR_UNREACHABLE;
        }
        size_t size = (size_t)got;
        size_t placed = size < direct ? size : direct;
        r->filled += placed;
        enum err e = feed(r, bytes_of(scratch, size - placed), frame_bytes_max, take, ctx);
        if (e != ERR_OK || size < direct + FRAME_SCRATCH_BYTES) {
            return e;
        }
    }
    return ERR_OK; /* there may be more: the loop reports it again, after others had their turn */
}

void frame_reader_close(struct frame_reader *r)
{
    blob_unref(r->blob);
    *r = (struct frame_reader){0};
}

/* ---- sending ---- */

struct frame_queued {
    uint8_t head[FRAME_HEAD_BYTES];
    struct slice frame;
};

static struct frame_queued *queued_at(struct frame_queue *q, uint32_t i)
{
    return &q->ring[(q->first + i) & (q->capacity - 1)];
}

static void grow(struct frame_queue *q)
{
    uint32_t capacity = q->capacity == 0 ? 16 : 2 * q->capacity;
    struct frame_queued *ring = alloc_zeroed(capacity, sizeof *ring);
    for (uint32_t i = 0; i < q->count; i++) {
        ring[i] = *queued_at(q, i);
    }
    free(q->ring);
    q->ring = ring;
    q->capacity = capacity;
    q->first = 0;
}

void frame_queue_push(struct frame_queue *q, struct slice frame)
{
    ASSERT(frame.size <= UINT32_MAX);
    if (q->count == q->capacity) {
        grow(q);
    }
    struct frame_queued *item = queued_at(q, q->count++);
    uint32_t size = htobe32((uint32_t)frame.size);
    memcpy(item->head, &size, sizeof size);
    item->frame = slice_ref(frame);
    q->bytes += FRAME_HEAD_BYTES + frame.size;
}

/* What of base is beyond the first *skip bytes, as a part of a write. */
static int add_part(struct iovec *part, const uint8_t *base, size_t size, size_t *skip)
{
    if (size <= *skip) {
        *skip -= size;
        return 0;
    }
    *part =
        (struct iovec){.iov_base = (uint8_t *)(uintptr_t)(base + *skip), .iov_len = size - *skip};
    *skip = 0;
    return 1;
}

static int gather(struct frame_queue *q, struct iovec parts[2 * FRAMES_PER_WRITE])
{
    int count = 0;
    size_t skip = q->sent_bytes;
    for (uint32_t i = 0; i < q->count && i < FRAMES_PER_WRITE; i++) {
        const struct frame_queued *item = queued_at(q, i);
        count += add_part(&parts[count], item->head, FRAME_HEAD_BYTES, &skip);
        count += add_part(&parts[count], item->frame.data, item->frame.size, &skip);
    }
    return count;
}

/* Drop the frames that are written. */
static void advance(struct frame_queue *q, size_t written)
{
    q->bytes -= written;
    q->sent_bytes += written;
    while (q->count > 0) {
        struct frame_queued *item = queued_at(q, 0);
        size_t size = FRAME_HEAD_BYTES + item->frame.size;
        if (q->sent_bytes < size) {
            return;
        }
        q->sent_bytes -= size;
        slice_close(&item->frame);
        q->first = (q->first + 1) & (q->capacity - 1);
        q->count--;
    }
}

void frame_queue_move(struct frame_queue *from, struct frame_queue *to)
{
    ASSERT(from->count > 0);
    ASSERT(from->sent_bytes == 0);
    struct slice frame = slice_ref(queued_at(from, 0)->frame);
    frame_queue_push(to, frame);
    advance(from, FRAME_HEAD_BYTES + frame.size);
    slice_close(&frame);
}

enum err frame_queue_write(struct frame_queue *q, int fd)
{
    while (q->count > 0) {
        struct iovec parts[2 * FRAMES_PER_WRITE];
        struct msghdr message = {.msg_iov = parts};
        message.msg_iovlen = (size_t)gather(q, parts);
        ssize_t written = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (written < 0) {
            return errno == EAGAIN || errno == EINTR ? ERR_BUSY : ERR_UNREACHABLE;
        }
        advance(q, (size_t)written);
    }
    return ERR_OK;
}

void frame_queue_close(struct frame_queue *q)
{
    while (q->count > 0) {
        slice_close(&queued_at(q, --q->count)->frame);
    }
    free(q->ring);
    *q = (struct frame_queue){0};
}
