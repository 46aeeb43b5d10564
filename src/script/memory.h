/* The allocator of one Lua state: it counts, and refuses what would go beyond its limit. Lua turns
 * a refusal into a full collection, then into the error "not enough memory". */
#ifndef MK_SCRIPT_MEMORY_H
#define MK_SCRIPT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct memory {
    size_t used_bytes;
    size_t limit_bytes;
    /* For tests: n + 1 has the n-th allocation from now refused, and the retry that follows Lua's
     * emergency collection with it. 0: none. */
    uint64_t fail_after;
};

/* A lua_Alloc; ud is a struct memory. */
void *memory_resize(void *ud, void *old, size_t old_size, size_t new_size);

#endif
