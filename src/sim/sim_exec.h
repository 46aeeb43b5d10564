/* The programs that the scripts of one simulated process run (port/process.h), as sim_programs.h
 * describes them. They are the host's: they run while the process is paused, and the guardian kills
 * them when it dies, before it tells anybody, and when their lease ends. */
#ifndef MK_SIM_SIM_EXEC_H
#define MK_SIM_SIM_EXEC_H

#include "base/rng.h"
#include "port/process.h"

struct script_host;
struct sim_exec;
struct sim_process;

/* Of the process's present incarnation. */
struct sim_exec *sim_exec_new(struct sim_process *p, uint64_t seed);
/* Whom it answers. Before the first call. */
void sim_exec_answer_to(struct sim_exec *exec, struct script_host *host);
const struct process_port *sim_exec_port(const struct sim_exec *exec);
/* The process has died, or is stopping: kills all that runs. */
void sim_exec_kill_all(struct sim_exec *exec);
void sim_exec_free(struct sim_exec *exec);
/* The host's clock was changed: deadlines may have come. */
void sim_exec_clock_changed(struct sim_exec *exec);

#endif
