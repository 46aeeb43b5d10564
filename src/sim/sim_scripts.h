/* The scripts of a simulated process: a script host driven on the world's time, as its thread
 * drives the real one (cli/daemon_scripts.c). What it asks of the node, and what the node tells it,
 * cross as calls of the world, a moment later. It stands still while the process is paused, and is
 * as busy as its scripts are: a script that spins delays others, and nothing else.
 *
 * Functions accept NULL: a process without scripts. */
#ifndef MK_SIM_SIM_SCRIPTS_H
#define MK_SIM_SIM_SCRIPTS_H

#include <stdbool.h>

#include "base/err.h"
#include "script/script.h"

struct sim_process;
struct sim_scripts;

/* Of the process that is about to start; *out is NULL if it is to have none. Errors: those of
 * script_host_load(); why names the script and the line. */
enum err sim_scripts_open(struct sim_process *p, struct sim_scripts **out, struct why *why);
/* After the node is freed. planned: the process ended in good order, and <close> variables are
 * closed; otherwise nothing of the scripts runs any more. */
void sim_scripts_close(struct sim_scripts *s, bool planned);
/* The programs that they run. */
struct sim_exec *sim_scripts_exec(struct sim_scripts *s);
/* Their HTTP requests. */
struct sim_http *sim_scripts_http(struct sim_scripts *s);
/* Not NULL. */
struct script_host *sim_scripts_host(struct sim_scripts *s);

/* The node has started: run. */
void sim_scripts_start(struct sim_scripts *s);
/* On the process's loop: pass on to the node what they ask for. */
void sim_scripts_drain(struct sim_scripts *s);
/* The process goes on after a pause. */
void sim_scripts_resume(struct sim_scripts *s);
/* Deadlines are at other true times now. */
void sim_scripts_clock_changed(struct sim_scripts *s);

#endif
