/* Routes of scripts (mk.http.route), and the requests that come to them (script_host_http). */
#ifndef MK_SCRIPT_SERVE_H
#define MK_SCRIPT_SERVE_H

#include "script/host.h"
#include "script/route.h"

/* Requests of other web pages: which are refused? */
enum route_pages {
    ROUTE_PAGES_READ,  /* all but GET and HEAD */
    ROUTE_PAGES_OWN,   /* all */
    ROUTE_PAGES_OTHER, /* none */
};

struct route {
    uint64_t id;
    struct app *app;
    char *method; /* "*": any */
    char *pattern;
    uint64_t timeout_us;
    enum route_pages pages;
    LIST_ENTRY(route) link;
};

/* Requests under way, and waiting to be, in one host. */
enum { SERVED_MAX = 256 };

struct served {
    STAILQ_ENTRY(served) waiting; /* in the inbox */
    LIST_ENTRY(served) link;      /* host->served, once it is under way */
    struct script_host *host;
    char *method, *path, *query, *remote;
    struct slice fields, body;
    void (*done)(void *ctx, struct bytes answer);
    void *ctx;
    const struct route *route; /* until its task has begun */
    struct task *task;         /* NULL: over */
    struct app *app;
    struct deadline timeout;
};

/* A copy, on the heap. [any thread] */
struct served *served_new(struct script_host *host, const struct script_http_request *request);
/* Begin those that came in. */
void serve_take(struct script_host *host, struct served_items *items);
/* Begin those that were held because their app changed hands. */
void serve_held(struct script_host *host);
/* The app ends: its routes go, and what it was to answer is answered with 503. */
void serve_drop_app(struct app *app);
/* Those that wait are answered with 503. */
void serve_close(struct script_host *host);

/* Errors: EXISTS, another app has the same; INVALID. The function is kept by the caller under the
 * number. The same app's own is replaced: *replaced is its number, else 0. */
enum err route_add(struct app *app, const struct route *spec, uint64_t *id, uint64_t *replaced,
                   struct why *why);
/* Nothing happens if there is no such route. */
void route_remove(struct app *app, uint64_t id);

#endif
