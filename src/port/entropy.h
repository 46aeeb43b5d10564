/* Random bytes fit for secrets (getrandom); in simulation, from the seed. */
#ifndef MK_PORT_ENTROPY_H
#define MK_PORT_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

struct entropy_port {
    void *ctx;
    void (*fill)(void *ctx, void *out, size_t size_bytes);
};

static inline void entropy_fill(const struct entropy_port *e, void *out, size_t size_bytes)
{
    e->fill(e->ctx, out, size_bytes);
}
static inline uint64_t entropy_u64(const struct entropy_port *e)
{
    uint64_t value;
    e->fill(e->ctx, &value, sizeof value);
    return value;
}

#endif
