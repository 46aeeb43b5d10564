/* Time. Two clocks: one that never steps, for timeouts and leases; one that people read. */
#ifndef MK_PORT_CLOCK_H
#define MK_PORT_CLOCK_H

#include <stdint.h>

struct clock_port {
    void *ctx;
    /* Microseconds on a clock that never steps and counts time asleep (CLOCK_BOOTTIME). Any thread.
     */
    uint64_t (*now_us)(void *ctx);
    /* Milliseconds since 1970; may step. Any thread. */
    int64_t (*wall_ms)(void *ctx);
};

static inline uint64_t clock_now_us(const struct clock_port *c)
{
    return c->now_us(c->ctx);
}
static inline int64_t clock_wall_ms(const struct clock_port *c)
{
    return c->wall_ms(c->ctx);
}

#endif
