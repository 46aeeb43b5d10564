/* Tables as canonical MessagePack: reading and changing one that is stored as a single value.
 * Bytes come from the state, which holds what value_encode() wrote; anything else reads as if it
 * ended early. */
#ifndef MK_SCRIPT_ST_INLINE_H
#define MK_SCRIPT_ST_INLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "script/value.h"
#include "wire/reader.h"

/* Is the value a map or an array? */
bool st_inline_is_table(struct bytes value);
bool st_inline_is_array(struct bytes value);

/* The elements of a table, in order. */
struct st_elements {
    struct reader reader;
    bool array;
    uint32_t left;
    int64_t index; /* of the last element of an array */
};
struct st_elements st_elements_of(struct bytes table);
/* False at the end. Both borrow from the table. */
bool st_elements_next(struct st_elements *e, struct value_key *key, struct bytes *value);

bool st_inline_get(struct bytes table, const struct value_key *key, struct bytes *value);
/* Append the table with value at key (empty: without key) to out. An array that loses its last
 * element is an empty map, as in Lua, where only the keys make an array. */
void st_inline_put(struct bytes table, const struct value_key *key, struct bytes value,
                   struct buffer *out);

#endif
