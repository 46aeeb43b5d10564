/* The memory of the machines' lua_State. A command makes and drops a dozen small blocks, so those
 * come from pools: a free list for each size, filled from pages that are kept until the end. Larger
 * blocks come from malloc. Everything counts against the cap, pages as a whole. */
#ifndef MK_SCRIPT_MACHINE_MEMORY_H
#define MK_SCRIPT_MACHINE_MEMORY_H

#include <stddef.h>

enum { MACHINE_POOL_STEP = 16, MACHINE_POOL_BYTES_MAX = 512 };

struct machine_memory {
    size_t limit_bytes;
    size_t used_bytes;
    void *free[MACHINE_POOL_BYTES_MAX / MACHINE_POOL_STEP]; /* [i]: blocks of (i + 1) steps */
    void *pages;
};

/* As realloc: size 0 frees. NULL if the cap or the system refuses; shrinking never fails. */
void *machine_memory_resize(struct machine_memory *m, void *old, size_t old_bytes,
                            size_t new_bytes);
/* Every block has been freed. */
void machine_memory_close(struct machine_memory *m);

#endif
