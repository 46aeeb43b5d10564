/* Files of the tz database: data that is brought in, so that a simulated run is given it like its
 * other input. What is in them is read by calendar/time_zone.h. */
#ifndef MK_PORT_ZONES_H
#define MK_PORT_ZONES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct zones_port {
    void *ctx;
    /* Read the file of zone name ("Europe/Berlin"; "local": what this host's clocks show). Blocks
     * for the time it takes to read a small file. Any thread. Errors: NOT_FOUND, TOO_LARGE (for
     * capacity_bytes), IO, INVALID (no name of a zone); why says which and what to do. */
    enum err (*read)(void *ctx, const char *name, void *out, size_t capacity_bytes,
                     size_t *size_bytes, struct why *why);
};

#endif
