#include "script/memory.h"

#include <stdlib.h>

static int refused_by_test(struct memory *m)
{
    /* 2: this one, 1: its retry. */
    if (m->fail_after == 0) {
        return 0;
    }
    m->fail_after--;
    return m->fail_after <= 1;
}

void *memory_resize(void *ud, void *old, size_t old_size, size_t new_size)
{
    struct memory *m = ud;
    /* Without a block, Lua passes a type tag as the old size. */
    size_t held = old == NULL ? 0 : old_size;
    if (new_size == 0) {
        free(old);
        m->used_bytes -= held;
        return NULL;
    }
    /* Shrinking must never fail (lua_Alloc). */
    if (new_size > held) {
        if (refused_by_test(m) || new_size - held > m->limit_bytes ||
            m->used_bytes > m->limit_bytes - (new_size - held)) {
            return NULL;
        }
    }
    void *block = realloc(old, new_size);
    if (block == NULL) {
        return NULL;
    }
    m->used_bytes = m->used_bytes - held + new_size;
    return block;
}
