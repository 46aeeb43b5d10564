/* The files of a simulated node's scripts (port/files.h): on a disk of their own, beside the
 * node's. What was written survives its process; of a machine that loses power, what was synced, as
 * sim_fs.h has it. A call takes the time of a disk job; a process that dies meanwhile leaves the
 * old file or the new one. */
#ifndef MK_SIM_SIM_FILES_H
#define MK_SIM_SIM_FILES_H

#include <stdbool.h>

#include "port/files.h"

struct script_host;
struct sim_executor;
struct sim_files;
struct sim_fs;
struct sim_process;

/* Of a host. Its disk is there with the first call. */
struct sim_files *sim_files_new(struct sim_process *p);
/* Accepts NULL. */
void sim_files_free(struct sim_files *f);
/* Whom it answers, from now on. */
void sim_files_answer_to(struct sim_files *f, struct script_host *host);
const struct files_port *sim_files_port(const struct sim_files *f);
/* Is there a disk yet? */
bool sim_files_used(const struct sim_files *f);
/* For faults: makes it, if need be. */
struct sim_fs *sim_files_disk(struct sim_files *f);
struct sim_executor *sim_files_executor(struct sim_files *f);
/* The process is gone, or the whole machine: nothing under way is answered. */
void sim_files_crash(struct sim_files *f, bool host);
/* A new, empty disk. */
void sim_files_wipe(struct sim_files *f);

#endif
