/* A child process on the loop: what it prints comes line by line, its end is told. It does not
 * outlive this process (PR_SET_PDEATHSIG), whatever that dies of; it has a process group of its
 * own, nothing on stdin, and none of our MOONKEEPER_ variables but the tag of a
 * script's program (program_tag.h). */
#ifndef MK_NET_CHILD_H
#define MK_NET_CHILD_H

#include <sys/types.h>

#include "base/err.h"
#include "net/loop.h"

struct child;

struct child_options {
    const char *const *argv; /* argv[0] is its path; NULL at the end */
    void *ctx;
    /* A line of its stdout or stderr, or of those whom it passed them on to; without newline. */
    void (*line)(void *ctx, const char *text);
    /* It has ended and is reaped; all its lines were told. status as of wait(2). The child may be
     * freed. */
    void (*ended)(void *ctx, int status);
};

/* Errors: IO. That argv[0] cannot be run is told by a line and status 127. */
enum err child_start(struct loop *loop, const struct child_options *options, struct child **out,
                     struct why *why);
/* Kills it if it still runs. No callbacks. Accepts NULL. */
void child_free(struct child *c);
pid_t child_pid(const struct child *c);

/* The first child of a process; 0 if it has none. */
pid_t child_of_process(pid_t parent);

/* SIGKILL a process, whoever's it is, and wait for its death, for two seconds at most. */
void process_end(pid_t pid);

/* Tells when a process, whoever's it is, has died (it may be a zombie still). */
struct process_watch;
/* NULL if there is no such process. died is called once, from the loop. */
struct process_watch *process_watch_new(struct loop *loop, pid_t pid, void (*died)(void *ctx),
                                        void *ctx);
/* Accepts NULL. */
void process_watch_free(struct process_watch *w);

#endif
