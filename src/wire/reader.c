#include "wire/reader.h"

#include <string.h>

#include "base/assert.h"
#include "wire/head.h"

void reader_fail(struct reader *r, enum err e)
{
    ASSERT(e != ERR_OK);
    if (r->err == ERR_OK) {
        r->err = e;
    }
    r->at = r->end; /* whatever is read next finds nothing */
}

enum err reader_end(struct reader *r)
{
    if (r->err == ERR_OK && r->at != r->end) {
        r->err = ERR_INVALID;
    }
    return r->err;
}

enum wire_type reader_peek(const struct reader *r)
{
    return r->at == r->end ? WIRE_NONE : head_type(*r->at);
}

/* The heads of one byte below 0xc0: small unsigned integers, short maps, arrays and strings. Most
 * heads are among them, which makes this worth having twice. */
static inline bool parse_short(uint8_t code, struct head *out)
{
    if (code >= 0xc0) {
        return false;
    }
    *out = code < 0x80   ? (struct head){.type = WIRE_UINT, .argument = code}
           : code < 0x90 ? (struct head){.type = WIRE_MAP, .argument = code & 0x0f}
           : code < 0xa0 ? (struct head){.type = WIRE_ARRAY, .argument = code & 0x0f}
                         : (struct head){.type = WIRE_STR, .argument = code & 0x1f};
    out->head_bytes = 1;
    return true;
}

/* Take a head; false after an error. */
static inline bool take(struct reader *r, struct head *out)
{
    if (r->at != r->end && parse_short(*r->at, out)) {
        r->at++; /* after an error nothing is left */
        return true;
    }
    if (r->err != ERR_OK) {
        return false;
    }
    enum err e = head_parse(r->at, r->end, out);
    if (e != ERR_OK) {
        reader_fail(r, e);
        return false;
    }
    r->at += out->head_bytes;
    return true;
}

static inline bool take_of(struct reader *r, enum wire_type type, struct head *out)
{
    if (!take(r, out)) {
        return false;
    }
    if (out->type != type) {
        reader_fail(r, ERR_INVALID);
        return false;
    }
    return true;
}

void read_nil(struct reader *r)
{
    struct head h;
    take_of(r, WIRE_NIL, &h);
}

bool read_bool(struct reader *r)
{
    struct head h;
    return take_of(r, WIRE_BOOL, &h) && h.argument != 0;
}

uint64_t read_u64(struct reader *r)
{
    struct head h;
    return take_of(r, WIRE_UINT, &h) ? h.argument : 0;
}

uint32_t read_u32_max(struct reader *r, uint32_t max)
{
    uint64_t value = read_u64(r);
    if (value > max) {
        reader_fail(r, ERR_INVALID);
        return 0;
    }
    return (uint32_t)value;
}

int64_t read_i64(struct reader *r)
{
    struct head h;
    if (!take(r, &h)) {
        return 0;
    }
    if (h.type != WIRE_INT && (h.type != WIRE_UINT || h.argument > INT64_MAX)) {
        reader_fail(r, ERR_INVALID);
        return 0;
    }
    return (int64_t)h.argument;
}

double read_f64(struct reader *r)
{
    struct head h;
    if (!take(r, &h)) {
        return 0;
    }
    switch (h.type) {
    case WIRE_UINT:
        return (double)h.argument;
    case WIRE_INT:
        return (double)(int64_t)h.argument;
    case WIRE_FLOAT: {
        double value;
        memcpy(&value, &h.argument, sizeof value);
        return value;
    }
    default:
        reader_fail(r, ERR_INVALID);
        return 0;
    }
}

static struct bytes take_body(struct reader *r, uint64_t size_bytes, size_t max_bytes)
{
    if (size_bytes > max_bytes) {
        reader_fail(r, ERR_TOO_LARGE);
        return (struct bytes){0};
    }
    if (size_bytes > reader_left(r)) {
        reader_fail(r, ERR_TRUNCATED);
        return (struct bytes){0};
    }
    struct bytes body = bytes_of(r->at, (size_t)size_bytes);
    r->at += size_bytes;
    return body;
}

struct bytes read_str(struct reader *r, size_t max_bytes)
{
    struct head h;
    return take_of(r, WIRE_STR, &h) ? take_body(r, h.argument, max_bytes) : (struct bytes){0};
}

struct bytes read_bin(struct reader *r, size_t max_bytes)
{
    struct head h;
    return take_of(r, WIRE_BIN, &h) ? take_body(r, h.argument, max_bytes) : (struct bytes){0};
}

struct bytes read_str_or_bin(struct reader *r, size_t max_bytes)
{
    return reader_peek(r) == WIRE_BIN ? read_bin(r, max_bytes) : read_str(r, max_bytes);
}

void read_text(struct reader *r, char *out, size_t capacity)
{
    ASSERT(capacity > 0);
    struct bytes text = read_str(r, capacity - 1);
    if (text.size > 0 && memchr(text.data, 0, text.size) != NULL) {
        reader_fail(r, ERR_INVALID);
        text.size = 0;
    }
    if (text.size > 0) {
        memcpy(out, text.data, text.size);
    }
    out[text.size] = 0;
}

void read_fixed_bin(struct reader *r, void *out, size_t size_bytes)
{
    struct bytes data = read_bin(r, SIZE_MAX);
    if (r->err == ERR_OK && data.size == size_bytes) {
        memcpy(out, data.data, size_bytes);
        return;
    }
    memset(out, 0, size_bytes);
    reader_fail(r, ERR_INVALID);
}

/* Every element takes at least min_bytes, so a count beyond what is left is a lie or a fragment. */
static uint32_t take_count(struct reader *r, enum wire_type type, uint32_t min_bytes)
{
    struct head h;
    if (!take_of(r, type, &h)) {
        return 0;
    }
    if (h.argument > reader_left(r) / min_bytes) {
        reader_fail(r, ERR_TRUNCATED);
        return 0;
    }
    return (uint32_t)h.argument;
}

uint32_t read_array(struct reader *r)
{
    return take_count(r, WIRE_ARRAY, 1);
}

uint32_t read_map(struct reader *r)
{
    return take_count(r, WIRE_MAP, 2);
}

void read_array_of(struct reader *r, uint32_t count)
{
    struct head h;
    if (take_of(r, WIRE_ARRAY, &h) && h.argument != count) {
        reader_fail(r, ERR_INVALID);
    }
}

void read_skip(struct reader *r)
{
    /* Values to come, per level: a counter each, no recursion, whatever the input. */
    uint64_t remaining[READER_DEPTH_MAX + 1];
    uint32_t depth = 0;
    remaining[0] = 1;
    for (;;) {
        while (remaining[depth] == 0) {
            if (depth == 0) {
                return;
            }
            depth--;
        }
        remaining[depth]--;
        struct head h;
        if (!take(r, &h)) {
            return;
        }
        take_body(r, head_body_bytes(&h), SIZE_MAX);
        uint64_t children = head_children(&h);
        if (children == 0) {
            continue;
        }
        if (depth == READER_DEPTH_MAX || children > reader_left(r)) {
            reader_fail(r, depth == READER_DEPTH_MAX ? ERR_INVALID : ERR_TRUNCATED);
            return;
        }
        remaining[++depth] = children;
    }
}

struct bytes read_raw(struct reader *r)
{
    const uint8_t *start = r->at;
    read_skip(r);
    return r->err == ERR_OK ? bytes_of(start, (size_t)(r->at - start)) : (struct bytes){0};
}
