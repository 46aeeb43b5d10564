/* HTTP requests that are for the scripts of a node: on their way from the listener, on the loop, to
 * the script thread and back. */
#ifndef MK_CLI_DAEMON_ROUTES_H
#define MK_CLI_DAEMON_ROUTES_H

#include "net/http_server.h"
#include "net/loop.h"
#include "script/script.h"

struct daemon_routes;

struct daemon_routes *daemon_routes_new(struct loop *loop, struct script_host *host);
/* Answers what is still open with 503. The host may still be there, and answer: to nobody. Accepts
 * NULL. */
void daemon_routes_free(struct daemon_routes *d);
/* Takes over the call. */
void daemon_routes_ask(struct daemon_routes *d, struct http_call *call,
                       const struct http_request *request);

#endif
