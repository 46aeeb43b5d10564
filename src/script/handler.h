/* Handlers of scripts (mk.cluster.handle) and the calls of other nodes that they answer. One topic
 * has one handler on a node; each call is a task of the handler's application, which is cancelled
 * when whoever called waits no longer. */
#ifndef MK_SCRIPT_HANDLER_H
#define MK_SCRIPT_HANDLER_H

#include <lua.h>
#include <sys/queue.h>

#include "script/deadlines.h"
#include "script/inbox.h"

struct app;
struct handler;
struct script_host;
struct task;

#define HANDLER_TYPE "moonkeeper.handler"

/* A call on its way to a handler, or under way in one. */
struct call {
    STAILQ_ENTRY(call) waiting; /* in the inbox */
    LIST_ENTRY(call) link;      /* host->calls, once it is under way */
    struct script_host *host;
    struct script_call what; /* the payload is a reference of its own */
    struct task *task;
    struct deadline deadline;
};
LIST_HEAD(call_list, call);

struct handler {
    struct app *app; /* NULL: removed */
    char topic[SCRIPT_TOPIC_MAX];
    LIST_ENTRY(handler) link;
};
LIST_HEAD(handler_list, handler);

/* Register the function on top of L: [-1, +1 (the handler, a userdata)]. It takes the place of an
 * earlier one of this application. Raises: another application has one; out of memory. */
struct handler *handler_add(lua_State *L, const char *topic);
/* Calls under way go on. */
void handler_remove(lua_State *L, struct handler *handler);
/* Of an app whose state is about to be closed. Its calls are not answered any more. */
void handlers_drop_all(struct app *app);

/* One on the heap; takes its own reference of the payload. [any thread] */
struct call *call_new(const struct script_call *what);
void call_free(struct call *call);
/* Begin those that came in. */
void calls_take(struct script_host *host, struct call_items *items);

#endif
