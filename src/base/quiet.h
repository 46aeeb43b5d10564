/* Says when a line may be logged again, so that hostile or broken peers cannot fill a disk. */
#ifndef MK_BASE_QUIET_H
#define MK_BASE_QUIET_H

#include <stdbool.h>
#include <stdint.h>

enum { QUIET_US = 10000000 };

/* Zeroed: allows the next one. */
struct quiet {
    uint64_t until_us;
    uint64_t suppressed; /* since the last line; for the caller to mention in the next */
    uint64_t mentioned;  /* how many the line that is allowed now stands for */
};

static inline bool quiet_allows(struct quiet *q, uint64_t now_us)
{
    if (now_us < q->until_us) {
        q->suppressed++;
        return false;
    }
    q->mentioned = q->suppressed;
    q->suppressed = 0;
    q->until_us = now_us + QUIET_US;
    return true;
}

#endif
