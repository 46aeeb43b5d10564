/* The real clocks. */
#include <time.h>

#include "net/loop.h"

static uint64_t now_us(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct clock_port loop_clock(void)
{
    return (struct clock_port){.now_us = now_us, .wall_ms = wall_ms};
}
