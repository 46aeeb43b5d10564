/* Looking into an encoded MessagePack value without decoding the whole: for answers of the node. A
 * value that is missing or of another type reads as empty, 0 or false. */
#ifndef MK_CLI_VIEW_H
#define MK_CLI_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* The value of key in a map; empty bytes if it is not there. */
struct bytes view_get(struct bytes map, const char *key);
bool view_is_nil(struct bytes value);

uint64_t view_u64(struct bytes map, const char *key);
/* The same of a value itself. */
uint64_t view_as_u64(struct bytes value);
bool view_bool(struct bytes map, const char *key);
/* Copies text into out, cut to capacity; "" if there is none. Returns out. */
const char *view_text(struct bytes map, const char *key, char *out, size_t capacity);
/* The same of a value itself. */
const char *view_as_text(struct bytes value, char *out, size_t capacity);

/* Elements of an array, or values of a map. */
uint32_t view_count(struct bytes array);
/* The i-th element; empty bytes if there is none. */
struct bytes view_at(struct bytes array, uint32_t i);

#endif
