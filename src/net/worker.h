/* A thread that runs when it is woken or when its time has come: the script thread's driver. */
#ifndef MK_NET_WORKER_H
#define MK_NET_WORKER_H

#include <stdint.h>

#include "base/err.h"
#include "port/clock.h"

struct worker;

struct worker_job {
    void *ctx;
    /* Do what there is to do and return when to be called again at the latest, on the clock (µs):
     * UINT64_MAX to wait for worker_wake(). Called on the worker's thread only. */
    uint64_t (*run)(void *ctx, uint64_t now_us);
};

/* name: at most 15 characters, as ps and gdb show it. All signals are blocked on the thread.
 * Errors: IO. */
enum err worker_start(const struct worker_job *job, const struct clock_port *clock,
                      const char *name, struct worker **out, struct why *why);
/* Have run() called soon. Any thread; calls that come before it is are one. */
void worker_wake(struct worker *w);
/* Lets a run() that is under way finish, joins the thread and frees w. Accepts NULL. */
void worker_stop(struct worker *w);

#endif
