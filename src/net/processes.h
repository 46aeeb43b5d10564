/* Processes of scripts, for real (port/process.h): started, fed, read and reaped on a thread of
 * their own, so that neither the consensus loop nor a script waits for a fork or a pipe.
 *
 * Each is entered with the guardian, by the new process itself before it becomes its program: there
 * is no moment at which it runs unknown. It also gets SIGKILL from the kernel when this process
 * dies (PR_SET_PDEATHSIG). What it has started is known by a tag (net/program_tag.h), in whatever
 * process group that is; if it worked for a leadership or under a lock, all of it is gone before
 * its end is told. */
#ifndef MK_NET_PROCESSES_H
#define MK_NET_PROCESSES_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "port/guardian_page.h"
#include "port/process.h"

/* The guardian's table (guardian/children.h); all NULL: there is none. */
struct processes_registry {
    void *ctx;
    /* Called in the new process, which shares the memory of this one and stops its thread
     * (vfork(2)): no allocation, no locks. */
    enum err (*add)(void *ctx, const struct guardian_entry *entry, uint32_t *slot);
    void (*set_deadline)(void *ctx, uint32_t slot, uint64_t deadline_us);
    void (*remove)(void *ctx, uint32_t slot);
};

struct processes_options {
    struct processes_registry registry;
    const struct log *log; /* borrowed */
    /* To whom orphans of programs are passed: the guardian. 0: to whoever they may be. */
    pid_t subreaper;
    /* Answers a call of the port; takes over result. On the thread of processes. */
    void (*answer)(void *ctx, uint64_t call, enum err err, const char *message,
                   struct slice result_take);
    void *ctx;
};

struct processes;

/* Errors: IO. */
enum err processes_open(const struct processes_options *options, struct processes **out,
                        struct why *why);
/* Kills and reaps all, ends the thread: nothing is answered any more, what is asked for is ignored.
 * Accepts NULL. */
void processes_stop(struct processes *all);
/* Stops it first, if need be. Accepts NULL. */
void processes_close(struct processes *all);
const struct process_port *processes_port(const struct processes *all);

#endif
