/* The port of preemption (port/preempt.h) for real: a POSIX timer whose signal goes to the one
 * thread that runs scripts, so that the handler interrupts that thread and no other.
 *
 * One object serves one thread: the first to call start(). Free it when that thread has ended. */
#ifndef MK_NET_SCRIPT_TIMER_H
#define MK_NET_SCRIPT_TIMER_H

#include "base/err.h"
#include "port/preempt.h"

struct script_timer;

/* Errors: IO. */
enum err script_timer_new(struct script_timer **out, struct why *why);
/* Accepts NULL. */
void script_timer_free(struct script_timer *t);
/* Borrowed; lives as long as t. */
const struct preempt_port *script_timer_port(const struct script_timer *t);

#endif
