/* Building MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md) in a struct buffer.
 *
 * A thin skin over msgpack-c's packing templates, instantiated for struct buffer so that a value
 * costs a bounds check and a store, not an indirect call. Numbers take their shortest form. Nothing
 * here fails: what is built comes from this process. */
#ifndef MK_WIRE_WRITER_H
#define MK_WIRE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

void write_nil(struct buffer *b);
void write_bool(struct buffer *b, bool value);
void write_u64(struct buffer *b, uint64_t value);
void write_i64(struct buffer *b, int64_t value);
void write_f64(struct buffer *b, double value);
/* text.size < 4 GiB. */
void write_str(struct buffer *b, struct bytes text);
void write_text(struct buffer *b, const char *text);
void write_bin(struct buffer *b, struct bytes data);
/* Headers: count values (array), or count pairs (map) follow. */
void write_array(struct buffer *b, uint32_t count);
void write_map(struct buffer *b, uint32_t count);
/* A pair of a map: its key, and its value. */
void write_text_field(struct buffer *b, const char *key, const char *value);
void write_u64_field(struct buffer *b, const char *key, uint64_t value);
void write_bool_field(struct buffer *b, const char *key, bool value);
/* One value, or several, already encoded. */
void write_raw(struct buffer *b, struct bytes values);

#endif
