#include "script/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script/value.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- from JSON ----------------------------------------------------------------------------- */

struct position {
    unsigned line;
    unsigned column;
};

static struct position position_of(struct bytes text, size_t offset)
{
    struct position p = {.line = 1, .column = 1};
    for (size_t i = 0; i < offset; i++) {
        if (text.data[i] == '\n') {
            p.line++;
            p.column = 1;
        } else {
            p.column += (text.data[i] & 0xc0) != 0x80 ? 1 : 0;
        }
    }
    return p;
}

/* Past a string that begins at offset. */
static size_t skip_string(struct bytes text, size_t offset)
{
    for (offset++; offset < text.size && text.data[offset] != '"'; offset++) {
        offset += text.data[offset] == '\\' ? 1 : 0;
    }
    return offset;
}

/* Nesting and number of containers, before the parser takes memory and stack for them. */
static enum err check_containers(struct bytes text, struct why *why)
{
    size_t depth = 0;
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '"') {
            i = skip_string(text, i);
        } else if (c == '[' || c == '{') {
            depth++;
            count++;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
        if (depth > JSON_DEPTH_MAX || count > JSON_CONTAINERS_MAX) {
            struct position p = position_of(text, i);
            return depth > JSON_DEPTH_MAX
                       ? err_why(why, ERR_INVALID,
                                 "JSON, line %u, column %u: nested deeper than %d levels", p.line,
                                 p.column, (int)JSON_DEPTH_MAX)
                       : err_why(why, ERR_TOO_LARGE,
                                 "JSON, line %u, column %u: more than %d objects and arrays",
                                 p.line, p.column, (int)JSON_CONTAINERS_MAX);
        }
    }
    return ERR_OK;
}

static void add_json(const json_t *json, struct buffer *out)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: {
        write_map(out, (uint32_t)json_object_size(json));
        /* jansson's iterators are not const-correct. */
        json_t *object = (json_t *)(uintptr_t)json;
        for (void *at = json_object_iter(object); at != NULL;
             at = json_object_iter_next(object, at)) {
            write_str(out, bytes_of(json_object_iter_key(at), json_object_iter_key_len(at)));
            add_json(json_object_iter_value(at), out);
        }
        return;
    }
    case JSON_ARRAY:
        write_array(out, (uint32_t)json_array_size(json));
        for (size_t i = 0; i < json_array_size(json); i++) {
            add_json(json_array_get(json, i), out);
        }
        return;
    case JSON_STRING:
        write_str(out, bytes_of(json_string_value(json), json_string_length(json)));
        return;
    case JSON_INTEGER:
        write_i64(out, json_integer_value(json));
        return;
    case JSON_REAL:
        write_f64(out, json_real_value(json));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        write_bool(out, json_is_true(json));
        return;
    case JSON_NULL:
        write_nil(out);
        return;
    }
}

enum err json_to_msgpack(struct bytes text, struct buffer *out, struct why *why)
{
    if (text.size > JSON_BYTES_MAX) {
        return err_why(why, ERR_TOO_LARGE, "JSON of %zu bytes: the limit is %d", text.size,
                       (int)JSON_BYTES_MAX);
    }
    enum err e = check_containers(text, why);
    if (e != ERR_OK) {
        return e;
    }
    json_error_t error;
    const char *start = text.size > 0 ? (const char *)text.data : "";
    json_t *json = json_loadb(start, text.size,
                              JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (json == NULL) {
        return err_why(why, ERR_INVALID, "JSON, line %d, column %d: %s", error.line, error.column,
                       error.text);
    }
    add_json(json, out);
    json_decref(json);
    return ERR_OK;
}

/* ---- to JSON ------------------------------------------------------------------------------- */

struct writing {
    struct reader reader;
    struct buffer *out;
    unsigned indent;
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

static void add_escaped(struct buffer *out, uint8_t c)
{
    static const char shorts[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                  ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    if (c < sizeof shorts && shorts[c] != 0) {
        buffer_add_u8(out, '\\');
        buffer_add_u8(out, (uint8_t)shorts[c]);
    } else {
        buffer_add_format(out, "\\u%04x", c);
    }
}

static enum err write_string(struct writing *w)
{
    struct bytes text = read_str_or_bin(&w->reader, SIZE_MAX);
    if (w->reader.err != ERR_OK) {
        return malformed(w);
    }
    if (!value_is_utf8(text)) {
        return refuse(w, "a string that is not UTF-8");
    }
    buffer_add_u8(w->out, '"');
    size_t plain = 0; /* where the run of bytes that stand for themselves began */
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            buffer_add(w->out, text.data + plain, i - plain);
            add_escaped(w->out, c);
            plain = i + 1;
        }
    }
    if (text.size > plain) {
        buffer_add(w->out, text.data + plain, text.size - plain);
    }
    buffer_add_u8(w->out, '"');
    return ERR_OK;
}

static enum err write_float(struct writing *w)
{
    double number = read_f64(&w->reader);
    if (w->reader.err != ERR_OK) {
        return malformed(w);
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
            enum wire_type key = reader_peek(&w->reader);
            if (key != WIRE_STR && key != WIRE_BIN) {
                return refuse(w, "keys that are no strings");
            }
            enum err e = write_string(w);
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
        return write_string(w);
    case WIRE_ARRAY:
        return write_elements(w, read_array(&w->reader), false);
    case WIRE_MAP:
        return write_elements(w, read_map(&w->reader), true);
    case WIRE_EXT:
        return refuse(w, "MessagePack extensions");
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
