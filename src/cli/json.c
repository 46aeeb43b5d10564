#include "cli/json.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "script/value.h"
#include "wire/writer.h"

/* ---- MessagePack to JSON -------------------------------------------------------------------- */

/* The length of the UTF-8 sequence at text, 0 if it is none. */
static size_t sequence_size(const uint8_t *text, size_t left)
{
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    return size <= left && value_is_utf8(bytes_of(text, size)) ? size : 0;
}

void json_add_text(struct buffer *out, struct bytes text)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    buffer_add_u8(out, '"');
    for (size_t i = 0; i < text.size;) {
        uint8_t c = text.data[i];
        const char *escape = c != 0 ? strchr(escaped, c) : NULL;
        size_t size = sequence_size(text.data + i, text.size - i);
        if (escape != NULL) {
            buffer_add_u8(out, '\\');
            buffer_add_u8(out, (uint8_t)letters[escape - escaped]);
        } else if (c < 0x20) {
            buffer_add_format(out, "\\u%04x", c);
        } else if (size == 0) {
            buffer_add_format(out, "\\ufffd");
        } else {
            buffer_add(out, text.data + i, size);
        }
        i += size > 0 ? size : 1;
    }
    buffer_add_u8(out, '"');
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

static void add_f64(struct buffer *out, double number)
{
    if (!isfinite(number)) { /* JSON has no word for it */
        buffer_add_format(out, "null");
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    buffer_add_format(out, "%s%s", text, strpbrk(text, ".e") == NULL ? ".0" : "");
}

static void new_line(struct buffer *out, int indent)
{
    if (indent >= 0) {
        buffer_add_format(out, "\n%*s", indent * 2, "");
    }
}

/* indent: of the line that the value stands on; -1: everything on one line. */
static void add_next(struct buffer *out, struct reader *r, int indent);

static void add_array(struct buffer *out, struct reader *r, int indent)
{
    uint32_t count = read_array(r);
    int inner = indent >= 0 ? indent + 1 : -1;
    buffer_add_u8(out, '[');
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        buffer_add_format(out, "%s", i > 0 ? "," : "");
        new_line(out, inner);
        add_next(out, r, inner);
    }
    if (count > 0) {
        new_line(out, indent);
    }
    buffer_add_u8(out, ']');
}

/* A JSON key is text. */
static void add_key(struct buffer *out, struct reader *r)
{
    enum wire_type type = reader_peek(r);
    if (type == WIRE_STR || type == WIRE_BIN) {
        json_add_text(out, read_str_or_bin(r, SIZE_MAX));
        return;
    }
    struct buffer key = {0};
    add_next(&key, r, -1);
    json_add_text(out, buffer_bytes(&key));
    buffer_close(&key);
}

static void add_map(struct buffer *out, struct reader *r, int indent)
{
    uint32_t count = read_map(r);
    int inner = indent >= 0 ? indent + 1 : -1;
    buffer_add_u8(out, '{');
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        buffer_add_format(out, "%s", i > 0 ? "," : "");
        new_line(out, inner);
        add_key(out, r);
        buffer_add_format(out, indent >= 0 ? ": " : ":");
        add_next(out, r, inner);
    }
    if (count > 0) {
        new_line(out, indent);
    }
    buffer_add_u8(out, '}');
}

static void add_bin(struct buffer *out, struct reader *r)
{
    struct bytes data = read_bin(r, SIZE_MAX);
    if (value_is_utf8(data)) {
        json_add_text(out, data);
    } else {
        add_base64(out, data);
    }
}

static void add_next(struct buffer *out, struct reader *r, int indent)
{
    switch (reader_peek(r)) {
    case WIRE_BOOL:
        buffer_add_format(out, "%s", read_bool(r) ? "true" : "false");
        return;
    case WIRE_UINT:
        buffer_add_format(out, "%" PRIu64, read_u64(r));
        return;
    case WIRE_INT:
        buffer_add_format(out, "%" PRId64, read_i64(r));
        return;
    case WIRE_FLOAT:
        add_f64(out, read_f64(r));
        return;
    case WIRE_STR:
        json_add_text(out, read_str(r, SIZE_MAX));
        return;
    case WIRE_BIN:
        add_bin(out, r);
        return;
    case WIRE_ARRAY:
        add_array(out, r, indent);
        return;
    case WIRE_MAP:
        add_map(out, r, indent);
        return;
    case WIRE_NIL:
    case WIRE_EXT:
    case WIRE_NONE:
        read_skip(r);
        buffer_add_format(out, "null");
        return;
    }
}

enum err json_add_value(struct buffer *out, struct bytes value, bool pretty)
{
    struct reader r = reader_of(value);
    add_next(out, &r, pretty ? 0 : -1);
    return reader_end(&r);
}

/* ---- JSON to MessagePack -------------------------------------------------------------------- */

static void write_json(struct buffer *out, const json_t *json)
{
    size_t i;
    json_t *element;
    const char *key;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        write_map(out, (uint32_t)json_object_size(json));
        for (void *at = json_object_iter((json_t *)json); at != NULL;
             at = json_object_iter_next((json_t *)json, at)) {
            key = json_object_iter_key(at);
            write_text(out, key);
            write_json(out, json_object_iter_value(at));
        }
        return;
    case JSON_ARRAY:
        write_array(out, (uint32_t)json_array_size(json));
        json_array_foreach(json, i, element)
        {
            write_json(out, element);
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

enum err json_to_value(const char *text, struct buffer *out, struct why *why)
{
    json_error_t error;
    json_t *json = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        return err_why(why, ERR_INVALID, "this is not JSON (line %d, column %d): %s", error.line,
                       error.column, error.text);
    }
    write_json(out, json);
    json_decref(json);
    return ERR_OK;
}
