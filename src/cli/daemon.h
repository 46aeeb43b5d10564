/* A node as a process: the one place that knows all parts and joins them. Disk and scripts run on
 * threads of their own; everything else is on the loop of the calling thread. */
#ifndef MK_CLI_DAEMON_H
#define MK_CLI_DAEMON_H

#include "base/log.h"
#include "guardian/guardian.h"
#include "node/config.h"

/* Runs until the node has ended: by SIGTERM, at a script's wish, or because it cannot go on.
 * Returns the exit status. config is checked (config_check). */
int daemon_run(const struct config *config, const struct log *log,
               const struct guardian_host *host);

#endif
