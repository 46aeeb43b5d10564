/* The parent process of a node. Small on purpose: it forks the node before anything big exists, has
 * no Lua state, no log and no thread, and waits in one poll(2).
 *
 * What it does for its node (architecture, "Guardian"):
 *   - gives each process of it an incarnation, and keeps its promises in a page that outlives it;
 *   - when it dies of anything: kills and reaps what its scripts left, *then* tells every peer (the
 *     death certificate), then starts it again with back-off;
 *   - kills children of scripts whose deadline has passed, even while the node is stopped;
 *   - passes signals on: TERM and INT ask for a planned stop, the second one ends at once; HUP
 *     reaches the node, or starts it at once while it does not run.
 * If the guardian dies, the node dies with it. Safety of the log depends on none of this. */
#ifndef MK_GUARDIAN_GUARDIAN_H
#define MK_GUARDIAN_GUARDIAN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "port/guardian_page.h"

/* Exit status of a node whose disk failed. It is not started again: a disk that lost a write cannot
 * be trusted until somebody has looked at it. */
enum { GUARDIAN_EXIT_STORAGE = 8 };

/* What the node gets from its guardian. */
struct guardian_host {
    struct guardian_page *page;
    int wake_fd;     /* for guardian_wake() */
    pid_t subreaper; /* to whom all orphans below it are passed: the guardian. 0: there is none */
};

struct dial_map;

struct guardian_options {
    const char *data_dir;
    bool core_dumps;             /* off: RLIMIT_CORE is 0, for a core dump delays death */
    const struct log *log;       /* may be NULL */
    const struct dial_map *dial; /* of guardian_links_options */
    /* The node, in the child process. Returns its exit status. */
    int (*node)(void *ctx, const struct guardian_host *host);
    void *ctx;
};

/* Runs until the node has ended for good. Returns the exit status for the process: that of a node
 * that ended by itself (planned, or because it could not start), 1 if it was stopped by force. */
int guardian_run(const struct guardian_options *options);

/* Have the guardian look at the page: it is ready, its peers changed, a child was added. The node's
 * side; any thread. */
void guardian_wake(int wake_fd);

#endif
