/* Interrupting a computation that does not return: while it is started, tick() is called every
 * period on the thread that called start(), between two of its machine instructions (from a signal
 * handler: tick() may only do what is safe there).
 *
 * The script host uses it to take the processor away from a Lua function. In simulation there is no
 * such port: instructions are counted instead. */
#ifndef MK_PORT_PREEMPT_H
#define MK_PORT_PREEMPT_H

#include <stdint.h>

struct preempt_port {
    void *ctx;
    void (*start)(void *ctx, uint64_t period_us, void (*tick)(void *arg), void *arg);
    /* No tick() runs after it returned. Same thread as start(). */
    void (*stop)(void *ctx);
    /* Processor time that the calling thread has used. Called from tick() too. */
    uint64_t (*cpu_us)(void *ctx);
};

#endif
