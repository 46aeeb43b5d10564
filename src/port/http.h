/* HTTP requests that scripts make.
 *
 * The caller numbers its calls (never 0, never twice). Each is answered exactly once, on any
 * thread, through what the implementation was given for that, unless it is cancelled before: then
 * it may be answered or not. The answer is an array [status, [name, value, name, value, ...], body]
 * (wire/http_answer.h). Redirects are answers like any other. Errors:
 *
 *     UNREACHABLE  no such host, refused, the certificate is not right, the connection broke before
 *                  the whole answer was there: the server may have got the request, or not
 *     TIMEOUT      likewise
 *     TOO_LARGE    the answer is
 *     IO           what came is not HTTP
 *     BUSY         too many requests are under way
 *
 * Nothing outlives the node: requests end with its process, or with this port. Functions may be
 * called from the script host's thread. None calls back. */
#ifndef MK_PORT_HTTP_H
#define MK_PORT_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/url.h"

struct http_field {
    const char *name;  /* a token (RFC 9110 §5.1) */
    const char *value; /* without control characters */
};

enum { HTTP_FIELDS_MAX = 100, HTTP_FIELD_BYTES_MAX = 16 << 10, HTTP_BODY_BYTES_MAX = 16 << 20 };

/* All of it is borrowed for the call. */
struct http_spec {
    const char *method; /* GET, HEAD, POST, PUT, DELETE, OPTIONS or PATCH */
    const struct url *url;
    const struct http_field *fields;
    size_t fields_count;
    struct bytes body;
    uint64_t timeout_us;     /* from the call to the end of the answer */
    size_t answer_bytes_max; /* of the answer's body */
};

struct http_port {
    void *ctx;
    void (*request)(void *ctx, uint64_t call, const struct http_spec *spec);
    /* Nobody waits for it any more: its connection is closed. Nothing happens if it is over. */
    void (*cancel)(void *ctx, uint64_t call);
};

#endif
