#include "state/record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* The seed stands for the length prefix: it tells ("ab", "c") from ("a", "bc"), which are the same
 * bytes here. */
struct state_hash record_hash(const struct record *r)
{
    size_t size = r->object.size_bytes - offsetof(struct record, bytes);
    XXH128_hash_t h = XXH3_128bits_withSeed(r->bytes, size, r->key_size);
    return (struct state_hash){.lo = h.low64, .hi = h.high64};
}
