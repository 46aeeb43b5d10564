#include "cli/view.h"

#include <stdio.h>
#include <string.h>

#include "wire/reader.h"

struct bytes view_get(struct bytes map, const char *key)
{
    struct reader r = reader_of(map);
    if (reader_peek(&r) != WIRE_MAP) {
        return bytes_of(NULL, 0);
    }
    uint32_t count = read_map(&r);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes name = read_raw(&r), value = read_raw(&r);
        struct reader n = reader_of(name);
        if (r.err == ERR_OK && bytes_is(read_str_or_bin(&n, name.size), key) && n.err == ERR_OK) {
            return value;
        }
    }
    return bytes_of(NULL, 0);
}

bool view_is_nil(struct bytes value)
{
    struct reader r = reader_of(value);
    return value.size == 0 || reader_peek(&r) == WIRE_NIL;
}

uint64_t view_as_u64(struct bytes value)
{
    struct reader r = reader_of(value);
    enum wire_type type = reader_peek(&r);
    if (type == WIRE_FLOAT) {
        double number = read_f64(&r);
        return number >= 0 && number < 1e19 ? (uint64_t)number : 0;
    }
    return type == WIRE_UINT ? read_u64(&r) : 0;
}

uint64_t view_u64(struct bytes map, const char *key)
{
    return view_as_u64(view_get(map, key));
}

bool view_bool(struct bytes map, const char *key)
{
    struct reader r = reader_of(view_get(map, key));
    return reader_peek(&r) == WIRE_BOOL && read_bool(&r);
}

const char *view_as_text(struct bytes value, char *out, size_t capacity)
{
    struct reader r = reader_of(value);
    enum wire_type type = reader_peek(&r);
    struct bytes text = {0};
    if (type == WIRE_STR || type == WIRE_BIN) {
        text = read_str_or_bin(&r, value.size);
    }
    size_t size = text.size < capacity - 1 ? text.size : capacity - 1;
    if (size > 0) {
        memcpy(out, text.data, size);
    }
    out[size] = 0;
    return out;
}

const char *view_text(struct bytes map, const char *key, char *out, size_t capacity)
{
    return view_as_text(view_get(map, key), out, capacity);
}

uint32_t view_count(struct bytes array)
{
    struct reader r = reader_of(array);
    enum wire_type type = reader_peek(&r);
    return type == WIRE_ARRAY ? read_array(&r) : type == WIRE_MAP ? read_map(&r) : 0;
}

struct bytes view_at(struct bytes array, uint32_t i)
{
    struct reader r = reader_of(array);
    if (reader_peek(&r) != WIRE_ARRAY || i >= read_array(&r)) {
        return bytes_of(NULL, 0);
    }
    while (i-- > 0) {
        read_skip(&r);
    }
    struct bytes value = read_raw(&r);
    return r.err == ERR_OK ? value : bytes_of(NULL, 0);
}
