/* The figures of a node as a page of /metrics. All that a node exports is listed in this one place;
 * the page itself says what each figure means. */
#ifndef MK_CLI_DAEMON_METRICS_H
#define MK_CLI_DAEMON_METRICS_H

#include "base/metrics.h"
#include "net/posix_fs.h"
#include "node/node.h"
#include "script/script.h"

/* scripts may be NULL. */
void daemon_metrics_write(struct node *node, const struct script_host *scripts, struct posix_fs *fs,
                          struct metrics *page);

#endif
