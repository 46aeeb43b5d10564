/* HTTP/1.1 requests, by libevent's evhttp, on a loop. A connection of its own for each, closed
 * after it; redirects are answers like any other; https is verified against the certificates of the
 * system and the name of the host (net/tls_client.h). */
#ifndef MK_NET_HTTP_CLIENT_H
#define MK_NET_HTTP_CLIENT_H

#include "net/address.h"
#include "net/loop.h"
#include "port/http.h"

struct http_client;
struct http_exchange;

struct http_client_options {
    struct loop *loop;
    const char *agent; /* the User-Agent unless a request has one; copied */
    /* For tests: connect there, whatever the host of a URL. NULL: to the host. Copied. */
    const struct address *instead;
};

struct http_client *http_client_new(const struct http_client_options *options);
/* Ends what is under way; nobody is told. Accepts NULL. */
void http_client_free(struct http_client *c);

/* Called once, on the loop, never from inside http_client_ask(). answer is as in wire/http_answer.h
 * when err is OK; message says more when it is not. Both are borrowed. Errors: those of port/http.h
 * but BUSY. */
typedef void http_client_done(void *ctx, enum err err, const char *message, struct bytes answer);

/* spec is borrowed for the call; the exchange is valid until done is called. */
struct http_exchange *http_client_ask(struct http_client *c, const struct http_spec *spec,
                                      http_client_done *done, void *ctx);
/* done is not called. */
void http_client_cancel(struct http_exchange *x);

#endif
