#include "guardian/backoff.h"

uint64_t backoff_next(uint64_t *delay_us, uint64_t lived_us)
{
    if (lived_us >= BACKOFF_FORGIVEN_US || *delay_us == 0) {
        *delay_us = BACKOFF_FIRST_US;
    } else if (*delay_us > BACKOFF_LAST_US / 2) {
        *delay_us = BACKOFF_LAST_US;
    } else {
        *delay_us *= 2;
    }
    return *delay_us;
}
