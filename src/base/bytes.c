#include "base/bytes.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

struct bytes bytes_of_string(const char *text)
{
    return bytes_of(text, strlen(text));
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bytes_is(struct bytes b, const char *text)
{
    return bytes_equal(b, bytes_of_string(text));
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return a.size < b.size ? -1 : a.size > b.size;
}

struct blob *blob_new(size_t size_bytes)
{
    struct blob *b = alloc_bytes(sizeof *b + size_bytes);
    atomic_init(&b->references, 1);
    b->size = size_bytes;
    return b;
}

struct blob *blob_copy(struct bytes from)
{
    struct blob *b = blob_new(from.size);
    if (from.size > 0) {
        memcpy(b->data, from.data, from.size);
    }
    return b;
}

struct blob *blob_ref(struct blob *b)
{
    atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

void blob_unref(struct blob *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1) {
        free(b);
    }
}

struct slice slice_of(struct blob *b, size_t offset_bytes, size_t size_bytes)
{
    ASSERT(offset_bytes <= b->size);
    ASSERT(size_bytes <= b->size - offset_bytes);
    return (struct slice){.owner = blob_ref(b), .data = b->data + offset_bytes, .size = size_bytes};
}

struct slice slice_of_take(struct blob *b)
{
    return (struct slice){.owner = b, .data = b->data, .size = b->size};
}

struct slice slice_copy(struct bytes from)
{
    return slice_of_take(blob_copy(from));
}

struct slice slice_ref(struct slice s)
{
    if (s.owner != NULL) {
        blob_ref(s.owner);
    }
    return s;
}

void slice_close(struct slice *s)
{
    blob_unref(s->owner);
    *s = (struct slice){0};
}

void buffer_close(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

uint8_t *buffer_reserve(struct buffer *b, size_t size_bytes)
{
    size_t needed;
    bool overflow = __builtin_add_overflow(b->size, size_bytes, &needed);
    ASSERT(!overflow);
    if (needed > b->capacity) {
        size_t capacity = b->capacity < 64 ? 64 : b->capacity;
        while (capacity < needed) {
            capacity += capacity / 2;
        }
        b->data = alloc_resize(b->data, capacity, 1);
        b->capacity = capacity;
    }
    return b->data + b->size;
}

void buffer_add(struct buffer *b, const void *data, size_t size_bytes)
{
    if (size_bytes > 0) {
        memcpy(buffer_reserve(b, size_bytes), data, size_bytes);
        b->size += size_bytes;
    }
}

void buffer_add_bytes(struct buffer *b, struct bytes from)
{
    buffer_add(b, from.data, from.size);
}

void buffer_add_u8(struct buffer *b, uint8_t value)
{
    buffer_add(b, &value, 1);
}

void buffer_add_format(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(length >= 0);
    char *place = (char *)buffer_reserve(b, (size_t)length + 1);
    vsnprintf(place, (size_t)length + 1, format, again);
    va_end(again);
    b->size += (size_t)length;
}

void buffer_consume(struct buffer *b, size_t size_bytes)
{
    ASSERT(size_bytes <= b->size);
    b->size -= size_bytes;
    if (b->size > 0 && size_bytes > 0) {
        memmove(b->data, b->data + size_bytes, b->size);
    }
}

const char *buffer_text(struct buffer *b)
{
    *buffer_reserve(b, 1) = 0;
    return (const char *)b->data;
}
