/* Reading MessagePack without copying or allocating.
 *
 * A reader walks over borrowed bytes. Errors stick: after the first one every read returns zero or
 * nothing, so a decoder reads all its fields in a row and asks once, at the end:
 *
 *     struct reader r = reader_of(bytes);
 *     read_array_of(&r, 3);
 *     out->term = read_u64(&r);
 *     ...
 *     return reader_end(&r);
 *
 * Declared sizes and counts are held against the bytes that are there before they are believed: a
 * count returned by read_array or read_map is never larger than the bytes that remain, so memory
 * taken in proportion to it is bounded by the input.
 *
 * Errors: ERR_TRUNCATED, the bytes end inside a value; ERR_INVALID, another type than asked for, a
 * number out of range, bytes left over, or nesting beyond READER_DEPTH_MAX; ERR_TOO_LARGE, a string
 * beyond the caller's limit. */
#ifndef MK_WIRE_READER_H
#define MK_WIRE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum { READER_DEPTH_MAX = 32 };

enum wire_type {
    WIRE_NONE, /* no more bytes, an error, or the unused code 0xc1 */
    WIRE_NIL,
    WIRE_BOOL,
    WIRE_UINT,
    WIRE_INT, /* negative */
    WIRE_FLOAT,
    WIRE_STR,
    WIRE_BIN,
    WIRE_ARRAY,
    WIRE_MAP,
    WIRE_EXT,
};

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    enum err err; /* the first error */
};

static inline struct reader reader_of(struct bytes input)
{
    const uint8_t *end = input.size == 0 ? input.data : input.data + input.size;
    return (struct reader){.at = input.data, .end = end, .err = ERR_OK};
}
/* Record an error of the caller's own; the first one stays. */
void reader_fail(struct reader *r, enum err e);
/* The verdict: the first error, or ERR_INVALID if bytes are left over. */
enum err reader_end(struct reader *r);
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* What the next value is, without taking it. */
enum wire_type reader_peek(const struct reader *r);

void read_nil(struct reader *r);
bool read_bool(struct reader *r);
uint64_t read_u64(struct reader *r);
/* ERR_INVALID above max. */
uint32_t read_u32_max(struct reader *r, uint32_t max);
int64_t read_i64(struct reader *r);
/* Floats, and integers as floats. */
double read_f64(struct reader *r);
/* ERR_TOO_LARGE above max_bytes. */
struct bytes read_str(struct reader *r, size_t max_bytes);
struct bytes read_bin(struct reader *r, size_t max_bytes);
/* Text or bytes: many clients know only one of the two. */
struct bytes read_str_or_bin(struct reader *r, size_t max_bytes);
/* A string into a zero-terminated array; ERR_INVALID if it holds a zero byte. */
void read_text(struct reader *r, char *out, size_t capacity);
/* Exactly size_bytes of binary data. */
void read_fixed_bin(struct reader *r, void *out, size_t size_bytes);
uint32_t read_array(struct reader *r);
uint32_t read_map(struct reader *r);
/* ERR_INVALID unless the array has exactly count elements. */
void read_array_of(struct reader *r, uint32_t count);
/* The next whole value, however nested, as it stands. */
struct bytes read_raw(struct reader *r);
void read_skip(struct reader *r);

#endif
