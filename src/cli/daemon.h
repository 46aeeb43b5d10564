/* A node as a process: the one place that knows all parts and joins them. Disk and scripts run on
 * threads of their own; everything else is on the loop of the calling thread. */
#ifndef MK_CLI_DAEMON_H
#define MK_CLI_DAEMON_H

#include "base/log.h"
#include "guardian/guardian.h"
#include "net/dial_map.h"
#include "node/config.h"

/* What only tests ask for. Zeroed: nothing. */
struct daemon_test {
    bool control;         /* open the control socket (daemon_control.h) */
    struct dial_map dial; /* where to dial peers */
    struct address http;  /* where the HTTP requests of scripts go, whatever their URL */
    bool has_http;
};

/* The configuration once more, as file, environment and flags are now; checked. Errors: those of
 * config_load(), config_check(). */
struct daemon_source {
    void *ctx;
    enum err (*read)(void *ctx, struct config *out, struct why *why);
};

/* Runs until the node has ended: by SIGTERM, at a script's wish, or because it cannot go on.
 * Returns the exit status. config is checked (config_check). */
int daemon_run(const struct config *config, const struct daemon_source *source,
               const struct daemon_test *test, const struct log *log,
               const struct guardian_host *host);

#endif
