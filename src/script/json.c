/* JSON to MessagePack: jansson parses, after a look at how deep and how many. */
#include "script/json.h"

#include <jansson.h>
#include <stdint.h>

#include "wire/writer.h"

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
