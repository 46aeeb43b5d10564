#include "state/record.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "state/lifetime.h"

struct record *record_new(struct lifetime *l, struct bytes key, struct bytes value)
{
    ASSERT(key.size <= STATE_KEY_BYTES_MAX);
    ASSERT(value.size <= STATE_VALUE_BYTES_MAX);
    size_t size = offsetof(struct record, bytes) + key.size + value.size;
    struct record *r = lifetime_alloc(l, size);
    r->key_size = (uint16_t)key.size;
    if (key.size > 0) {
        memcpy(r->bytes, key.data, key.size);
    }
    if (value.size > 0) {
        memcpy(r->bytes + key.size, value.data, value.size);
    }
    return r;
}

/* The seed stands for the length prefix: it tells ("ab", "c") from ("a", "bc"), which are the same
 * bytes here. */
struct state_hash record_hash(const struct record *r)
{
    size_t size = r->object.size_bytes - offsetof(struct record, bytes);
    XXH128_hash_t h = XXH3_128bits_withSeed(r->bytes, size, r->key_size);
    return (struct state_hash){.lo = h.low64, .hi = h.high64};
}
