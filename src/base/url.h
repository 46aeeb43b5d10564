/* http and https URLs, taken apart and checked (RFC 3986 §3, RFC 9110 §4.2). */
#ifndef MK_BASE_URL_H
#define MK_BASE_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum { URL_HOST_MAX = 253, URL_TARGET_MAX = 8000, URL_TEXT_MAX = URL_TARGET_MAX + 300 };

struct url {
    bool tls;
    char host[URL_HOST_MAX + 1]; /* in lower case; a number of IPv6 without its brackets */
    uint16_t port;
    char target[URL_TARGET_MAX + 1]; /* path and query, as they go over the wire: "/" at least */
};

/* text is ASCII: what is not must be percent-encoded by whoever made it. A fragment is dropped.
 * Errors: INVALID; why says what is wrong with it. */
enum err url_parse(const char *text, struct url *out, struct why *why);
/* "hook.example", "[::1]:8080": for the Host field. The scheme's own port is left out. */
const char *url_host_text(const struct url *u, char out[URL_TEXT_MAX]);
/* The whole of it in one way of writing. Returns out. */
const char *url_text(const struct url *u, char out[URL_TEXT_MAX]);
/* Append a path with its percent-encoding undone. False: it does not begin with a slash, or has a
 * zero byte in it. */
bool url_decode_path(struct bytes path, struct buffer *out);

#endif
