/* HTTP requests of scripts, for real (port/http.h): on a thread with a loop of its own, which is
 * started by the first request. Handshakes, certificates and large answers hold up neither the
 * consensus loop nor a script. */
#ifndef MK_NET_HTTP_CALLS_H
#define MK_NET_HTTP_CALLS_H

#include "base/bytes.h"
#include "net/address.h"
#include "port/http.h"

struct http_calls;

struct http_calls_options {
    const char *agent;             /* copied */
    const struct address *instead; /* for tests, as in net/http_client.h; NULL: none; copied */
    /* Answers a call of the port; takes over result. On the thread of calls, or on the one that
     * asks. */
    void (*answer)(void *ctx, uint64_t call, enum err err, const char *message,
                   struct slice result_take);
    void *ctx;
};

struct http_calls *http_calls_new(const struct http_calls_options *options);
/* Ends what is under way and the thread: nothing is answered any more, what is asked for is
 * ignored. Accepts NULL. */
void http_calls_stop(struct http_calls *all);
/* Stops it first, if need be. Accepts NULL. */
void http_calls_free(struct http_calls *all);
const struct http_port *http_calls_port(const struct http_calls *all);

#endif
