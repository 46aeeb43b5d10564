/* Looking at processes (proc(5)) and ending them. Process ids are reused; a process is known by its
 * id and its start time together.
 *
 * To look takes a descriptor or two, and the machine or we may have none left: one is blind then,
 * which is another thing than to see nothing. */
#ifndef MK_NET_PROC_H
#define MK_NET_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"

/* In clock ticks since boot; 0 if there is no such process (a zombie still is one). */
uint64_t process_start_time(pid_t pid);
enum { PROCESS_GROUP_BLIND = -1 };
/* 0 if there is no such process. */
pid_t process_group_of(pid_t pid);
/* There is such a process, and it is no zombie; or so it may be, where one is blind. */
bool process_lives(pid_t pid);

/* Append its environment: strings, each with a zero byte after it. Nothing comes if it has none, is
 * a zombie, is just becoming another program, or we may not look. False: blind. */
bool process_environment(pid_t pid, struct buffer *out);

/* Call visit for every process, until it returns false. False: blind. */
bool process_each(bool (*visit)(pid_t pid, void *ctx), void *ctx);

enum process_walk {
    PROCESS_WALKED,
    PROCESS_UNTOLD, /* the kernel does not tell (CONFIG_PROC_CHILDREN) */
    PROCESS_BLIND,  /* at times */
};
/* For every process below root: its children, theirs, and so on. What is born or is passed on to
 * root meanwhile may be left out. It costs what is below root, not what is on the machine. */
enum process_walk process_each_below(pid_t root, bool (*visit)(pid_t pid, void *ctx), void *ctx);

/* Kill all processes of a group, if its leader is the process that started at start_time, or is
 * gone (its id cannot have been given to another while its group exists). False if there is nothing
 * left to kill. */
bool process_kill_group(pid_t group, uint64_t start_time);

/* Kill every child of this process but one (0: none is spared). Returns how many it found. */
unsigned process_kill_children(pid_t spare);

/* "6d2c...": changes with every boot. False if it cannot be read. */
bool process_boot_id(char out[37]);

#endif
