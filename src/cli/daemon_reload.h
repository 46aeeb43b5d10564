/* Loading a node's scripts anew while it runs: SIGHUP, and the method "reload" of its clients. The
 * configuration file is read again; of that, the applications take effect (script/reload.h says
 * how), and what else has changed is named. */
#ifndef MK_CLI_DAEMON_RELOAD_H
#define MK_CLI_DAEMON_RELOAD_H

#include "base/log.h"
#include "cli/daemon.h"
#include "net/loop.h"
#include "net/rpc_server.h"

struct daemon_reload;
struct daemon_scripts;

struct daemon_reload_options {
    struct loop *loop;
    const struct config *config; /* the one in effect */
    const struct daemon_source *source;
    struct daemon_scripts *scripts; /* NULL: the node was started without any */
    const struct log *log;
};

struct daemon_reload *daemon_reload_new(const struct daemon_reload_options *options);
/* Answers who waits, with SHUTDOWN. Before the scripts and the RPC server are closed. Accepts NULL.
 */
void daemon_reload_free(struct daemon_reload *r);
/* Begin. call is answered with {apps = {{app, generation, outcome, error}, ...}, restart = {"http",
 * ...}}, the latter being settings that only a restart brings into effect; NULL: nobody asked but a
 * signal. What went wrong is logged in any case. */
void daemon_reload_ask(struct daemon_reload *r, struct rpc_call *call);

#endif
