/* Looking at processes and ending them. Process ids are reused; a process is known by its id and
 * its start time together. */
#ifndef MK_GUARDIAN_PROCESS_H
#define MK_GUARDIAN_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* In clock ticks since boot; 0 if there is no such process (a zombie still is one). */
uint64_t process_start_time(pid_t pid);

/* Kill all processes of a group, if its leader is the process that started at start_time, or is
 * gone (its id cannot have been given to another while its group exists). False if there is nothing
 * left to kill. */
bool process_kill_group(pid_t group, uint64_t start_time);

/* Kill every child of this process but one (0: none is spared). Returns how many it found. */
unsigned process_kill_children(pid_t spare);

/* Has any process of this group the environment variable? (Of processes that we may look at.) */
bool process_group_has_variable(pid_t group, const char *name);

/* "6d2c...": changes with every boot. False if it cannot be read. */
bool process_boot_id(char out[37]);

#endif
