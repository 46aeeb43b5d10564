#include "script/st_path.h"

#include <string.h>

enum { TAG_INTEGER = 0x02, TAG_FLOAT = 0x03, TAG_STRING = 0x04, NUMBER_BYTES = 9 };
/* What follows a zero byte in a string. */
enum { END_OF_STRING = 0x01, ESCAPED_ZERO = 0xff };

#define SIGN_BIT (UINT64_C(1) << 63)

static void add_number(struct buffer *path, uint8_t tag, uint64_t sortable)
{
    uint8_t *at = buffer_reserve(path, NUMBER_BYTES);
    at[0] = tag;
    for (int i = 0; i < 8; i++) {
        at[1 + i] = (uint8_t)(sortable >> (56 - 8 * i));
    }
    path->size += NUMBER_BYTES;
}

static uint64_t number_at(const uint8_t *at)
{
    uint64_t sortable = 0;
    for (int i = 0; i < 8; i++) {
        sortable = sortable << 8 | at[i];
    }
    return sortable;
}

static void add_string(struct buffer *path, struct bytes text)
{
    buffer_add_u8(path, TAG_STRING);
    const uint8_t *at = text.data;
    const uint8_t *end = text.data + text.size;
    const uint8_t *zero;
    while (at < end && (zero = memchr(at, 0, (size_t)(end - at))) != NULL) {
        buffer_add(path, at, (size_t)(zero + 1 - at));
        buffer_add_u8(path, ESCAPED_ZERO);
        at = zero + 1;
    }
    buffer_add(path, at, (size_t)(end - at));
    buffer_add_u8(path, 0);
    buffer_add_u8(path, END_OF_STRING);
}

void st_path_add(struct buffer *path, const struct value_key *key)
{
    switch (key->kind) {
    case VALUE_KEY_INTEGER:
        add_number(path, TAG_INTEGER, (uint64_t)key->integer ^ SIGN_BIT);
        return;
    case VALUE_KEY_FLOAT: {
        uint64_t bits;
        memcpy(&bits, &key->number, sizeof bits);
        /* Negative floats sort backwards by their bits. */
        add_number(path, TAG_FLOAT, (bits & SIGN_BIT) != 0 ? ~bits : bits | SIGN_BIT);
        return;
    }
    case VALUE_KEY_STRING:
        add_string(path, key->string);
        return;
    }
}

static size_t parse_string(struct bytes rest, struct value_key *out, struct buffer *scratch)
{
    const uint8_t *start = rest.data + 1;
    const uint8_t *end = rest.data + rest.size;
    bool unescaped = false;
    for (;;) {
        const uint8_t *zero = memchr(start, 0, (size_t)(end - start));
        if (zero == NULL || zero + 1 == end) {
            return 0;
        }
        if (zero[1] == END_OF_STRING && !unescaped) {
            out->string = bytes_of(start, (size_t)(zero - start));
            return (size_t)(zero + 2 - rest.data);
        }
        if (!unescaped) {
            buffer_clear(scratch);
            unescaped = true;
        }
        if (zero[1] == END_OF_STRING) {
            buffer_add(scratch, start, (size_t)(zero - start));
            out->string = buffer_bytes(scratch);
            return (size_t)(zero + 2 - rest.data);
        }
        if (zero[1] != ESCAPED_ZERO) {
            return 0;
        }
        buffer_add(scratch, start, (size_t)(zero + 1 - start));
        start = zero + 2;
    }
}

size_t st_path_parse(struct bytes rest, struct value_key *out, struct buffer *scratch)
{
    if (rest.size == 0) {
        return 0;
    }
    if (rest.data[0] == TAG_STRING) {
        out->kind = VALUE_KEY_STRING;
        return parse_string(rest, out, scratch);
    }
    if (rest.size < NUMBER_BYTES) {
        return 0;
    }
    uint64_t sortable = number_at(rest.data + 1);
    if (rest.data[0] == TAG_INTEGER) {
        out->kind = VALUE_KEY_INTEGER;
        out->integer = (int64_t)(sortable ^ SIGN_BIT);
        return NUMBER_BYTES;
    }
    if (rest.data[0] == TAG_FLOAT) {
        uint64_t bits = (sortable & SIGN_BIT) != 0 ? sortable ^ SIGN_BIT : ~sortable;
        out->kind = VALUE_KEY_FLOAT;
        memcpy(&out->number, &bits, sizeof bits);
        return NUMBER_BYTES;
    }
    return 0;
}
