/* Starting a program as a process group of its own. */
#ifndef MK_NET_SPAWN_H
#define MK_NET_SPAWN_H

#include "net/processes.h"

/* A process that runs its program. The descriptors are -1 where there is no pipe; those that are
 * there do not block. */
struct spawned {
    pid_t pid;
    bool has_slot;
    uint32_t slot; /* in the registry */
    uint64_t tag;
    int input;
    int output[PROCESS_STREAMS];
};

/* Called by the thread whose end is to end the process. Blocks until the program was loaded.
 * Errors: NOT_FOUND (no such program or directory), IO, BUSY (no room in the registry),
 * NOT_LEADER (its lease is over), FENCED (what it is held under is over). */
enum err spawn(const struct process_spec *spec, const struct processes_registry *registry,
               struct spawned *out, struct why *why);

#endif
