/* Bytes and who owns them.
 *
 *   struct bytes   a borrowed view: valid as long as whatever it looks at
 *   struct blob    immutable bytes shared by reference count (across threads)
 *   struct slice   a view that holds a reference to its blob: owned, cheap to copy
 *   struct buffer  a growing array, for building
 *
 * A received frame is one blob; the log entries in it are slices of it, and so are the log cache,
 * the write to disk and what goes to a slow follower: the body of an entry is not copied again. */
#ifndef MK_BASE_BYTES_H
#define MK_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of(const void *data, size_t size_bytes)
{
    return (struct bytes){.data = (const uint8_t *)data, .size = size_bytes};
}
struct bytes bytes_of_string(const char *text);
bool bytes_equal(struct bytes a, struct bytes b);
/* Is it this word? */
bool bytes_is(struct bytes b, const char *text);
/* Order by unsigned bytes, then by length: <0, 0, >0. */
int bytes_compare(struct bytes a, struct bytes b);

struct blob {
    _Atomic uint32_t references;
    size_t size;
    uint8_t data[];
};

/* One reference, contents undefined. */
struct blob *blob_new(size_t size_bytes);
struct blob *blob_copy(struct bytes from);
struct blob *blob_ref(struct blob *b);
/* Accepts NULL. */
void blob_unref(struct blob *b);

/* Zeroed: empty, owns nothing. */
struct slice {
    struct blob *owner;
    const uint8_t *data;
    size_t size;
};

/* A slice of b; takes a further reference. [offset, offset + size) must lie within b. */
struct slice slice_of(struct blob *b, size_t offset_bytes, size_t size_bytes);
/* The whole of b; takes over the caller's reference. */
struct slice slice_of_take(struct blob *b);
struct slice slice_copy(struct bytes from);
struct slice slice_ref(struct slice s);
/* Drops the reference and zeroes *s. */
void slice_close(struct slice *s);
static inline struct bytes slice_bytes(struct slice s)
{
    return (struct bytes){.data = s.data, .size = s.size};
}

/* Zeroed: empty. Owned by whoever declared it; buffer_close frees. */
struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void buffer_close(struct buffer *b);
/* Room for size_bytes more, at the returned place; size is not changed. */
uint8_t *buffer_reserve(struct buffer *b, size_t size_bytes);
void buffer_add(struct buffer *b, const void *data, size_t size_bytes);
void buffer_add_bytes(struct buffer *b, struct bytes from);
void buffer_add_u8(struct buffer *b, uint8_t value);
void buffer_add_format(struct buffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drop the first size_bytes. */
void buffer_consume(struct buffer *b, size_t size_bytes);
static inline void buffer_clear(struct buffer *b)
{
    b->size = 0;
}
static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return (struct bytes){.data = b->data, .size = b->size};
}
/* The contents terminated by a zero byte that does not count. Borrowed. */
const char *buffer_text(struct buffer *b);

#endif
