/* JSON text <-> MessagePack. Together with value.h that is JSON <-> Lua; the HTTP interface needs
 * no Lua for it.
 *
 * Integers stay exact within 64 bits, and a float stays a float (1.0 is written 1.0, and the
 * shortest text that reads back as the same number). null is nil, both ways. Decoding is jansson's
 * (RFC 8259: UTF-8 only), with duplicate keys, zero bytes in keys and integers beyond 64 bits
 * refused. */
#ifndef MK_SCRIPT_JSON_H
#define MK_SCRIPT_JSON_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/json_text.h"

enum {
    JSON_BYTES_MAX = 8 * 1024 * 1024,
    JSON_DEPTH_MAX = 24,           /* as VALUE_DEPTH_MAX */
    JSON_CONTAINERS_MAX = 1 << 18, /* objects and arrays of one text */
};

/* Append the one value that text holds to out.
 * Errors: INVALID, TOO_LARGE; why names line and column; out is then as before. */
enum err json_to_msgpack(struct bytes text, struct buffer *out, struct why *why);

struct json_style {
    unsigned indent; /* spaces per level; 0: all on one line, without blanks */
    /* Show what JSON has no form for as near as can be, for people: binary strings as {"base64":
     * ...}, other bytes that are not UTF-8 as U+FFFD, keys as their JSON text, the rest as null. */
    bool lenient;
};

/* Append value as JSON. style may be NULL.
 * Errors: INVALID: malformed, or what JSON has no form for (NaN and infinities, binary strings,
 * keys that are no strings, extensions) and style is not lenient; out is then as before. */
enum err json_from_msgpack(struct bytes value, const struct json_style *style, struct buffer *out,
                           struct why *why);

#endif
