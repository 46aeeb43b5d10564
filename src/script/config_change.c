#include "script/config_change.h"

#include <string.h>

#include "wire/reader.h"
#include "wire/writer.h"

static bool same(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static uint32_t begin(struct reader *r, struct bytes map)
{
    *r = reader_of(map);
    return map.size > 0 && reader_peek(r) == WIRE_MAP ? read_map(r) : 0;
}

/* The value of an encoded key; no bytes if there is none. */
static struct bytes find(struct bytes map, struct bytes key)
{
    struct reader r;
    uint32_t count = begin(&r, map);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes other = read_raw(&r), value = read_raw(&r);
        if (same(other, key)) {
            return value;
        }
    }
    return (struct bytes){0};
}

uint32_t config_change_keys(struct bytes before, struct bytes after, struct buffer *out)
{
    struct reader r;
    uint32_t keys = 0, count = begin(&r, before);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_raw(&r), value = read_raw(&r);
        if (r.err == ERR_OK && !same(value, find(after, key))) {
            write_raw(out, key);
            keys++;
        }
    }
    count = begin(&r, after);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_raw(&r);
        read_skip(&r);
        if (r.err == ERR_OK && find(before, key).size == 0) {
            write_raw(out, key);
            keys++;
        }
    }
    return keys;
}
