/* Pieces of Lua run on request in the state of an application (script_host_eval). */
#ifndef MK_SCRIPT_EVAL_H
#define MK_SCRIPT_EVAL_H

#include "script/host.h"

struct eval {
    STAILQ_ENTRY(eval) waiting; /* in the inbox */
    LIST_ENTRY(eval) link;      /* host->evals, once it is under way */
    char *app;
    struct slice source;
    struct slice args;
    void (*done)(void *ctx, enum err err, const char *message, struct bytes results);
    void *ctx;
    enum err err;
    struct why why;
    struct buffer results;
};

/* A copy, on the heap. [any thread] */
struct eval *eval_new(const struct script_eval *spec);
/* Begin those that came in. */
void eval_take(struct script_host *host, struct eval_items *items);
/* Those that wait and those under way are answered with ERR_SHUTDOWN. */
void eval_close(struct script_host *host);

#endif
