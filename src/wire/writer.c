#include "wire/writer.h"

#include <string.h>

#include <msgpack/pack_define.h>
#include <msgpack/timestamp.h>

#include "base/assert.h"

static inline int append(struct buffer *b, const void *data, size_t size_bytes)
{
    uint8_t *place =
        b->capacity - b->size >= size_bytes ? b->data + b->size : buffer_reserve(b, size_bytes);
    if (size_bytes > 0) {
        memcpy(place, data, size_bytes);
        b->size += size_bytes;
    }
    return 0;
}

/* msgpack-c's templates, expanded here for struct buffer: pack_u64() and so on are theirs. */
#define msgpack_pack_inline_func(name)            static inline int pack##name
#define msgpack_pack_inline_func_cint(name)       static inline int pack##name
#define msgpack_pack_user                         struct buffer *
#define msgpack_pack_append_buffer(b, data, size) return append((b), (data), (size))
#include <msgpack/pack_template.h>

void write_nil(struct buffer *b)
{
    pack_nil(b);
}

void write_bool(struct buffer *b, bool value)
{
    value ? pack_true(b) : pack_false(b);
}

void write_u64(struct buffer *b, uint64_t value)
{
    pack_uint64(b, value);
}

void write_i64(struct buffer *b, int64_t value)
{
    pack_int64(b, value);
}

void write_f64(struct buffer *b, double value)
{
    pack_double(b, value);
}

void write_str(struct buffer *b, struct bytes text)
{
    ASSERT(text.size <= UINT32_MAX);
    pack_str(b, text.size);
    append(b, text.data, text.size);
}

void write_text(struct buffer *b, const char *text)
{
    write_str(b, bytes_of_string(text));
}

void write_bin(struct buffer *b, struct bytes data)
{
    ASSERT(data.size <= UINT32_MAX);
    pack_bin(b, data.size);
    append(b, data.data, data.size);
}

void write_array(struct buffer *b, uint32_t count)
{
    pack_array(b, count);
}

void write_map(struct buffer *b, uint32_t count)
{
    pack_map(b, count);
}

void write_raw(struct buffer *b, struct bytes values)
{
    append(b, values.data, values.size);
}

void write_text_field(struct buffer *b, const char *key, const char *value)
{
    write_text(b, key);
    write_text(b, value);
}

void write_u64_field(struct buffer *b, const char *key, uint64_t value)
{
    write_text(b, key);
    write_u64(b, value);
}

void write_bool_field(struct buffer *b, const char *key, bool value)
{
    write_text(b, key);
    write_bool(b, value);
}
