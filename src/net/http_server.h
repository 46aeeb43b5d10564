/* The listener for people: HTTP/1.1 by libevent's evhttp.
 *
 * A call may be answered later; it stays valid until then even if its connection is gone. Each is
 * answered exactly once, with http_reply() or http_break(), or with http_stream() ...
 * http_stream_end(). */
#ifndef MK_NET_HTTP_SERVER_H
#define MK_NET_HTTP_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"

struct http_server;
struct http_call;

struct http_server_options {
    struct address listen; /* port 0: any */
    /* 0 stands for the default in brackets. */
    uint32_t header_bytes_max; /* [16 KiB] */
    uint32_t body_bytes_max;   /* [4 MiB] */
    uint32_t timeout_s;        /* [60] without a byte */
    uint32_t request_ms;       /* [30000] for a request to arrive as a whole */
    /* Of all connections together: http_streams.h says who goes when there is more. */
    uint32_t connections_max;    /* [512] */
    uint32_t received_bytes_max; /* [32 MiB] of requests that have no answer yet */
    uint32_t unsent_bytes_max;   /* [32 MiB] of answers that are not read */
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH
};

/* "GET" */
const char *http_method_name(enum http_method method);

/* Views borrowed for the call of on_request. */
struct http_request {
    enum http_method method;
    const char *path;  /* percent-decoded, begins with '/' */
    const char *query; /* as sent, without the '?'; "" when there is none */
    struct bytes body;
};

struct http_server_callbacks {
    void *ctx;
    void (*on_request)(void *ctx, struct http_call *call, const struct http_request *request);
};

/* Errors: as address_listen(). */
enum err http_server_open(struct loop *loop, const struct http_server_options *options,
                          const struct http_server_callbacks *callbacks, const struct log *log,
                          struct http_server **out, struct why *why);
/* Calls that are still open may be answered afterwards, to no effect. Accepts NULL. */
void http_server_close(struct http_server *s);
const struct address *http_server_address(const struct http_server *s);

/* Path and query of the request as they were sent; "/" when the connection is gone. */
const char *http_target(const struct http_call *call);
/* A request header's value, by name in any case; NULL if there is none. */
const char *http_header(const struct http_call *call, const char *name);
/* Copy the decoded value of a query parameter. False if it is not there or does not fit. */
bool http_query(const struct http_request *request, const char *key, char *out, size_t capacity);

/* All of them, as a MessagePack array [name, value, name, value, ...]. */
void http_write_headers(const struct http_call *call, struct buffer *out);
/* "192.0.2.1:43210"; "" when the connection is gone. Returns out. */
const char *http_remote(const struct http_call *call, char out[ADDRESS_TEXT_MAX]);
/* Is there still anybody to answer? Who has closed one half of a connection counts as gone. */
bool http_is_open(const struct http_call *call);

/* Before the answer: the one value of a header, or one more of it. */
void http_set_header(struct http_call *call, const char *name, const char *value);
void http_add_header(struct http_call *call, const char *name, const char *value);
/* Ends the call. The body of an answer to HEAD is not sent. */
void http_reply(struct http_call *call, int status, const char *content_type, struct bytes body);
/* Close the connection without an answer. Ends the call. For tests of those who ask. */
void http_break(struct http_call *call);
/* {"error":{"code":...,"message":...}}. message: NULL stands for err_message(e). Ends the call. */
void http_fail(struct http_call *call, int status, enum err e, const char *message);

/* An answer in pieces (server-sent events). on_disconnect may be NULL; after it, http_stream_end()
 * is still due. */
void http_stream(struct http_call *call, int status, const char *content_type,
                 void (*on_disconnect)(void *ctx, struct http_call *call), void *ctx);
/* False if the connection is gone or has more than body_bytes_max unsent. */
bool http_stream_write(struct http_call *call, struct bytes piece);
/* Ends the call. */
void http_stream_end(struct http_call *call);

#endif
