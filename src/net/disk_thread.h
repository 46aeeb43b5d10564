/* The disk thread: struct executor_port on one pthread. Jobs run there one at a time, in order;
 * those done wait in a queue for the loop.
 *
 * wake() is called on the disk thread when something came to be done and the loop may not know: it
 * must get the loop to call disk_thread_drain() soon (an event that is activated, an eventfd). */
#ifndef MK_NET_DISK_THREAD_H
#define MK_NET_DISK_THREAD_H

#include <stdbool.h>

#include "base/err.h"
#include "port/executor.h"

struct disk_thread;

/* Errors: ERR_IO (no thread could be started). */
enum err disk_thread_start(void (*wake)(void *ctx), void *wake_ctx, struct disk_thread **out);

const struct executor_port *disk_thread_port(struct disk_thread *disk);

/* Calls done() of the jobs that have run. On the thread that submits, from its loop. True if there
 * were any. */
bool disk_thread_drain(struct disk_thread *disk);

/* Waits until all jobs, and those that their done() submit, are run and done; then ends the thread.
 * On the thread that submits. Accepts NULL. */
void disk_thread_stop(struct disk_thread *disk);

#endif
