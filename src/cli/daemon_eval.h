/* Running a piece of Lua in a node, for tests (daemon_control.h): to the script host's thread and
 * back. */
#ifndef MK_CLI_DAEMON_EVAL_H
#define MK_CLI_DAEMON_EVAL_H

#include "net/loop.h"
#include "net/rpc_server.h"
#include "script/script.h"

struct daemon_eval;

struct daemon_eval *daemon_eval_new(struct loop *loop, struct script_host *host);
/* The host's thread has ended; what it has not answered is answered with SHUTDOWN. The host may
 * still be there. Accepts NULL. */
void daemon_eval_free(struct daemon_eval *e);

/* params: [source, arguments...]. Answers the call with an array of the results. */
void daemon_eval_ask(struct daemon_eval *e, struct rpc_call *call, struct bytes params);

#endif
