/* MessagePack to JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/json.h"
#include "script/value.h"
#include "wire/reader.h"

struct writing {
    struct reader reader;
    struct buffer *out;
    unsigned indent;
    bool lenient;
    unsigned depth;
    struct why *why;
};

static enum err write_value(struct writing *w);

static enum err refuse(struct writing *w, const char *what)
{
    return err_why(w->why, ERR_INVALID, "JSON has no form for %s", what);
}

static enum err malformed(struct writing *w)
{
    return err_why(w->why, ERR_INVALID, "malformed MessagePack");
}

static void add_text(struct writing *w, const char *text)
{
    buffer_add(w->out, text, strlen(text));
}

static void new_line(struct writing *w)
{
    if (w->indent > 0) {
        buffer_add_format(w->out, "\n%*s", (int)(w->indent * w->depth), "");
    }
}

static void add_base64(struct buffer *out, struct bytes data)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    buffer_add_format(out, "{\"base64\":\"");
    for (size_t i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t word = (uint32_t)data.data[i] << 16;
        word |= left > 1 ? (uint32_t)data.data[i + 1] << 8 : 0;
        word |= left > 2 ? data.data[i + 2] : 0;
        buffer_add_u8(out, (uint8_t)digits[word >> 18]);
        buffer_add_u8(out, (uint8_t)digits[word >> 12 & 63]);
        buffer_add_u8(out, (uint8_t)(left > 1 ? digits[word >> 6 & 63] : '='));
        buffer_add_u8(out, (uint8_t)(left > 2 ? digits[word & 63] : '='));
    }
    buffer_add_format(out, "\"}");
}

/* A string, text or binary. */
static enum err write_string(struct writing *w, bool is_key)
{
    bool binary = reader_peek(&w->reader) == WIRE_BIN;
    struct bytes text = read_str_or_bin(&w->reader, SIZE_MAX);
    if (w->reader.err != ERR_OK) {
        return malformed(w);
    }
    bool valid = text_is_utf8(text);
    if (!valid && !w->lenient) {
        return refuse(w, "a string that is not UTF-8");
    }
    if (valid || !binary || is_key) {
        json_add_text(w->out, text);
    } else {
        add_base64(w->out, text);
    }
    return ERR_OK;
}

static enum err write_float(struct writing *w)
{
    double number = read_f64(&w->reader);
    if (w->reader.err != ERR_OK) {
        return malformed(w);
    }
    if (!isfinite(number) && w->lenient) {
        add_text(w, "null");
        return ERR_OK;
    }
    if (!isfinite(number)) {
        return refuse(w, "NaN and infinities");
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    add_text(w, text);
    if (strpbrk(text, ".e") == NULL) {
        add_text(w, ".0"); /* it was a float and shall read back as one */
    }
    return ERR_OK;
}

/* A key is a string. */
static enum err write_key(struct writing *w)
{
    enum wire_type type = reader_peek(&w->reader);
    if (type == WIRE_STR || type == WIRE_BIN) {
        return write_string(w, true);
    }
    if (!w->lenient) {
        return refuse(w, "keys that are no strings");
    }
    struct bytes raw = read_raw(&w->reader);
    struct buffer text = {0};
    struct writing key = {.reader = reader_of(raw), .out = &text, .lenient = true, .why = w->why};
    enum err e = w->reader.err != ERR_OK ? malformed(w) : write_value(&key);
    json_add_text(w->out, buffer_bytes(&text));
    buffer_close(&text);
    return e;
}

/* The elements of an array, or the pairs of a map, of which there are count. */
static enum err write_elements(struct writing *w, uint32_t count, bool pairs)
{
    if (w->depth >= READER_DEPTH_MAX) {
        return refuse(w, "values nested so deep");
    }
    if (w->reader.err != ERR_OK) {
        return malformed(w);
    }
    buffer_add_u8(w->out, pairs ? '{' : '[');
    w->depth++;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            buffer_add_u8(w->out, ',');
        }
        new_line(w);
        if (pairs) {
            enum err e = write_key(w);
            if (e != ERR_OK) {
                return e;
            }
            add_text(w, w->indent > 0 ? ": " : ":");
        }
        enum err e = write_value(w);
        if (e != ERR_OK) {
            return e;
        }
    }
    w->depth--;
    if (count > 0) {
        new_line(w);
    }
    buffer_add_u8(w->out, pairs ? '}' : ']');
    return ERR_OK;
}

static enum err write_value(struct writing *w)
{
    switch (reader_peek(&w->reader)) {
    case WIRE_NIL:
        read_nil(&w->reader);
        add_text(w, "null");
        return ERR_OK;
    case WIRE_BOOL:
        add_text(w, read_bool(&w->reader) ? "true" : "false");
        return ERR_OK;
    case WIRE_UINT:
        buffer_add_format(w->out, "%llu", (unsigned long long)read_u64(&w->reader));
        break;
    case WIRE_INT:
        buffer_add_format(w->out, "%lld", (long long)read_i64(&w->reader));
        break;
    case WIRE_FLOAT:
        return write_float(w);
    case WIRE_STR:
    case WIRE_BIN:
        return write_string(w, false);
    case WIRE_ARRAY:
        return write_elements(w, read_array(&w->reader), false);
    case WIRE_MAP:
        return write_elements(w, read_map(&w->reader), true);
    case WIRE_EXT:
        if (!w->lenient) {
            return refuse(w, "MessagePack extensions");
        }
        read_skip(&w->reader);
        add_text(w, "null");
        break;
    default:
        return malformed(w);
    }
    return w->reader.err == ERR_OK ? ERR_OK : malformed(w);
}

enum err json_from_msgpack(struct bytes value, const struct json_style *style, struct buffer *out,
                           struct why *why)
{
    size_t start = out->size;
    struct writing w = {
        .reader = reader_of(value),
        .out = out,
        .indent = style != NULL ? style->indent : 0,
        .lenient = style != NULL && style->lenient,
        .why = why,
    };
    enum err e = write_value(&w);
    if (e == ERR_OK && reader_end(&w.reader) != ERR_OK) {
        e = err_why(why, ERR_INVALID, "bytes follow the MessagePack value");
    }
    if (e != ERR_OK) {
        out->size = start;
    }
    return e;
}
