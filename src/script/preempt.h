/* Taking the processor away from scripts.
 *
 * Real time: preempt_tick() is called every slice from a signal on the host's thread. It arms a
 * count hook of one instruction on the lua_State that runs; an always-on hook would cost a factor
 * of two. Simulation: no port; a count hook is always on, and an instruction counts as ten
 * nanoseconds.
 *
 * The hook looks at the processor time that the task has used since it last waited:
 *   - a slice: it yields to the scheduler (YIELD_TURN), through all coroutines in between;
 *   - its budget: it yields and is never resumed (YIELD_KILL); its threads are closed;
 *   - where a frame on the way cannot yield (a comparator of table.sort, a metamethod called from
 * C, a message handler), an error is raised, again at every instruction, until it is gone. pcall,
 * xpcall, coroutine.resume and wrap pass that error on (guard.c, coroutine.c). A long C function
 * cannot be interrupted; it holds up other scripts, nothing else. */
#ifndef MK_SCRIPT_PREEMPT_H
#define MK_SCRIPT_PREEMPT_H

#include "script/task.h"

/* Scripts are about to run, or have run: between these the port ticks. */
void preempt_start(struct script_host *host);
void preempt_stop(struct script_host *host);

/* A slice of task begins, ends. */
void preempt_begin(struct task *task);
void preempt_end(struct task *task);
/* From now on L is what runs. */
void preempt_enter(struct task *task, lua_State *L);
/* Processor time since the task last waited. */
uint64_t preempt_used_us(const struct task *task);

/* The task has caught an error. To unwind a deep stack takes long, and no instructions: where these
 * are counted, it is charged. */
void preempt_charge_error(struct task *task);

/* Close the <close> variables of L, which is suspended or dead. They may use a fifth of the budget.
 */
void preempt_close_thread(struct task *task, lua_State *L);

#endif
