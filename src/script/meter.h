/* What a command may still do. Spending is deterministic: VM instructions, and for library
 * functions the bytes and entries that they handle. Once it is exhausted it stays so until it is
 * filled. */
#ifndef MK_SCRIPT_METER_H
#define MK_SCRIPT_METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
    uint64_t left;
    bool exhausted;
};

static inline void meter_fill(struct meter *m, uint64_t units)
{
    *m = (struct meter){.left = units};
}

/* False: there is not that much left. */
static inline bool meter_spend(struct meter *m, uint64_t units)
{
    if (units > m->left || m->exhausted) {
        m->exhausted = true;
        m->left = 0;
        return false;
    }
    m->left -= units;
    return true;
}

#endif
