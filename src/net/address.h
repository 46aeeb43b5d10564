/* "host:port", "[::1]:7118", ":7117" (loopback): parsing, resolving, listening. And the sockets of
 * this machine that have a path. */
#ifndef MK_NET_ADDRESS_H
#define MK_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { ADDRESS_HOST_MAX = 255, ADDRESS_TEXT_MAX = 300 };

struct address {
    /* Without brackets; "127.0.0.1" when none was given. A path (it begins with a slash): a Unix
     * socket, which address_of_path() makes and address_parse() never does. */
    char host[ADDRESS_HOST_MAX + 1];
    uint16_t port; /* 0: any free one (listening only) */
};

/* default_port: for text without one; 0: a port must be given. Errors: INVALID. */
enum err address_parse(const char *text, uint16_t default_port, struct address *out,
                       struct why *why);
/* A Unix socket. path is absolute. Errors: INVALID, it is too long for the system. */
enum err address_of_path(const char *path, struct address *out, struct why *why);
/* "host:port", with brackets where needed; or the path. Returns out. */
const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX]);
/* Is it (by number or as "localhost") only reachable from this machine? */
bool address_is_loopback(const struct address *a);

struct socket_address {
    struct sockaddr_storage storage;
    socklen_t size;
};

/* Numbers and "localhost" only: never waits. ERR_NOT_FOUND if it takes a name server. */
enum err address_resolve_numeric(const struct address *a, struct socket_address *out);
/* May wait for a name server: not on the loop's thread. Errors: UNREACHABLE. */
enum err address_resolve(const struct address *a, struct socket_address *out, struct why *why);
/* "127.0.0.1:7117" */
const char *socket_address_text(const struct socket_address *a, char out[ADDRESS_TEXT_MAX]);

/* A listening socket, non-blocking and close-on-exec. *bound (may be NULL) is where it listens:
 * with port 0, the port that the system chose. A Unix socket is made anew, for its user alone (mode
 * 0600): what has its path is removed. Errors: LOCKED, the port is in use; INVALID;
 * UNREACHABLE, no such local address; IO. why names the address and what to do. */
enum err address_listen(const struct address *a, int *fd, struct address *bound, struct why *why);

/* Take a free port of the loopback for another process of ours: nobody else gets it while *fd is
 * open, and that process can listen on it all the same. Errors: IO. */
enum err address_reserve(struct address *out, int *fd, struct why *why);

#endif
