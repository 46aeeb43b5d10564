/* What only tests may ask of a node, on a Unix socket in its data directory that nobody but its
 * user can open, and that is there only under `start --test-control` (src/scenario/README.md).
 *
 * MessagePack-RPC. The answers are those of "control" in src/scenario/target.h; besides,
 *
 *     events  []       -> never: each event that hooks are told is a notification
 *                         "event" [time_us (CLOCK_BOOTTIME), name, term, fields] from now on
 *
 * Under --test-control the guardian does not start a node that died again by itself: it waits for
 * SIGHUP. */
#ifndef MK_CLI_DAEMON_CONTROL_H
#define MK_CLI_DAEMON_CONTROL_H

#include "base/err.h"
#include "base/log.h"
#include "net/loop.h"
#include "node/config.h"
#include "node/node.h"
#include "port/guardian_page.h"
#include "script/script.h"

#define DAEMON_CONTROL_SOCKET "control"

struct daemon_control;

struct daemon_control_options {
    struct loop *loop;
    const struct clock_port *clock;
    const char *data_dir;
    struct node *node;
    struct script_host *host;
    struct guardian_page *page;
    const struct log *log;
};

/* Errors: as address_listen(). */
enum err daemon_control_open(const struct daemon_control_options *options,
                             struct daemon_control **out, struct why *why);
/* After the host's thread has ended, before the node is freed. Accepts NULL. */
void daemon_control_close(struct daemon_control *c);

/* Of struct node_observer. Accept NULL. */
void daemon_control_applied(struct daemon_control *c, struct raft_pos pos,
                            const struct entry *entry);
void daemon_control_event(struct daemon_control *c, const char *name, raft_term term,
                          struct bytes fields);

#endif
