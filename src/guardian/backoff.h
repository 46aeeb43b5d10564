/* When to start the node again: at once after a death that comes out of the blue, more and more
 * slowly when it keeps dying. */
#ifndef MK_GUARDIAN_BACKOFF_H
#define MK_GUARDIAN_BACKOFF_H

#include <stdint.h>

enum {
    BACKOFF_FIRST_US = 1000,
    BACKOFF_LAST_US = 5000000,
    BACKOFF_FORGIVEN_US = 10000000, /* a node that lived so long has done nothing wrong */
};

/* The delay before the next start. *delay_us is the one before the last start (0: none). */
uint64_t backoff_next(uint64_t *delay_us, uint64_t lived_us);

#endif
