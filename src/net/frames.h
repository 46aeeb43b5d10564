/* Frames on a stream: a length of four bytes, big-endian, and that many bytes. A length of 0 is a
 * ping (or the answer to one). Both halves work on a non-blocking descriptor. */
#ifndef MK_NET_FRAMES_H
#define MK_NET_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum { FRAME_HEAD_BYTES = 4, FRAME_SCRATCH_BYTES = 64 * 1024 };

/* ---- receiving ---- */

/* Zeroed: at the start of a stream. Holds no memory between frames. */
struct frame_reader {
    uint8_t head[FRAME_HEAD_BYTES];
    uint32_t head_size;
    struct blob *blob; /* the frame that is coming in; NULL between frames */
    size_t filled;
};

/* A whole frame, or an empty slice for a ping; borrowed. False: read no further (whatever frames is
 * part of may be closed after the reader has returned, not in here). */
typedef bool frame_take(void *ctx, struct slice frame);

/* Read what is there (a bounded amount) and hand on the frames in it, each in a blob of its own.
 * scratch has FRAME_SCRATCH_BYTES and may be shared by all readers of a thread.
 * Errors: UNREACHABLE, the stream has ended or broke; TOO_LARGE, a frame declares more than
 * frame_bytes_max (before any memory is taken for it); CANCELLED, take() said so. */
enum err frame_reader_read(struct frame_reader *r, int fd, uint8_t *scratch, size_t frame_bytes_max,
                           frame_take *take, void *ctx);
/* Accepts a zeroed object. */
void frame_reader_close(struct frame_reader *r);

/* ---- sending ---- */

/* Frames wait here by reference until the descriptor takes them. Zeroed: empty. */
struct frame_queue {
    struct frame_queued *ring;
    uint32_t capacity; /* power of two */
    uint32_t first;
    uint32_t count;
    size_t sent_bytes; /* of the first one, head included */
    size_t bytes;      /* of all, heads included, less sent_bytes */
};

/* Takes its own reference. An empty slice is a ping. */
void frame_queue_push(struct frame_queue *q, struct slice frame);
/* Move the first frame of one queue, of which nothing is written yet, to the end of another. */
void frame_queue_move(struct frame_queue *from, struct frame_queue *to);
/* Write as much as the descriptor takes, many frames in one call.
 * Errors: BUSY, it takes no more for now; UNREACHABLE, it is broken. */
enum err frame_queue_write(struct frame_queue *q, int fd);
/* Drop all. Accepts a zeroed object. */
void frame_queue_close(struct frame_queue *q);

#endif
