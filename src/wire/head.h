/* The first bytes of a MessagePack value: what it is and how much it declares to hold. Private to
 * wire/: the reader and the scan of incomplete messages share it. */
#ifndef MK_WIRE_HEAD_H
#define MK_WIRE_HEAD_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/reader.h"

struct head {
    enum wire_type type;
    uint32_t head_bytes; /* with the number's own bytes, for fixed-size values */
    /* BOOL, UINT: the value. INT, FLOAT (as a double): its bits. STR, BIN, EXT: bytes that follow.
     * ARRAY: values that follow; MAP: pairs. */
    uint64_t argument;
};

/* Errors: TRUNCATED, the bytes end inside the head; INVALID, the unused code. */
enum err head_parse(const uint8_t *at, const uint8_t *end, struct head *out);
enum wire_type head_type(uint8_t code);

/* Bytes that follow the head and belong to the value itself. */
static inline uint64_t head_body_bytes(const struct head *h)
{
    return h->type == WIRE_STR || h->type == WIRE_BIN || h->type == WIRE_EXT ? h->argument : 0;
}

/* Values that follow the head and are held by this one. */
static inline uint64_t head_children(const struct head *h)
{
    if (h->type == WIRE_ARRAY) {
        return h->argument;
    }
    return h->type == WIRE_MAP ? 2 * h->argument : 0;
}

#endif
