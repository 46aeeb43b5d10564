/* One entry in one piece of memory, never changed once made. The tree's separators are records too,
 * with an empty value. */
#ifndef MK_STATE_RECORD_H
#define MK_STATE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "state/pool.h"
#include "state/state.h"

struct lifetime;

struct record {
    struct object object;
    uint16_t key_size;
    uint8_t bytes[]; /* key, then value */
};

/* Sizes are within the limits. */
struct record *record_new(struct lifetime *l, struct bytes key, struct bytes value);

static inline struct bytes record_key(const struct record *r)
{
    return bytes_of(r->bytes, r->key_size);
}

static inline struct bytes record_value(const struct record *r)
{
    size_t before = offsetof(struct record, bytes) + r->key_size;
    return bytes_of(r->bytes + r->key_size, r->object.size_bytes - before);
}

/* Hash of key and value, the same on machines of any byte order. */
struct state_hash record_hash(const struct record *r);

static inline struct state_hash hash_sum(struct state_hash a, struct state_hash b)
{
    uint64_t lo = a.lo + b.lo;
    return (struct state_hash){.lo = lo, .hi = a.hi + b.hi + (lo < a.lo ? 1 : 0)};
}

static inline struct state_hash hash_difference(struct state_hash a, struct state_hash b)
{
    return (struct state_hash){.lo = a.lo - b.lo, .hi = a.hi - b.hi - (a.lo < b.lo ? 1 : 0)};
}

#endif
