#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"

enum { LISTEN_BACKLOG = 512 };

/* ---- text ---- */

static enum err parse_port(const char *text, uint16_t *out)
{
    char *end;
    errno = 0;
    unsigned long port = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || errno != 0 || port > UINT16_MAX) {
        return ERR_INVALID;
    }
    *out = (uint16_t)port;
    return ERR_OK;
}

/* Where the port's text begins, and what is left of it as the host; NULL without a port. */
static const char *split(const char *text, const char **host, size_t *host_size)
{
    *host = text;
    if (*text == '[') {
        const char *close = strchr(text, ']');
        if (close == NULL || (close[1] != 0 && close[1] != ':')) {
            *host_size = 0;
            return "?"; /* no port: refused as such */
        }
        *host = text + 1;
        *host_size = (size_t)(close - *host);
        return close[1] == ':' ? close + 2 : NULL;
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL || strchr(text, ':') != colon) { /* none, or a bare IPv6 address */
        *host_size = strlen(text);
        return NULL;
    }
    *host_size = (size_t)(colon - text);
    return colon + 1;
}

enum err address_parse(const char *text, uint16_t default_port, struct address *out,
                       struct why *why)
{
    *out = (struct address){.port = default_port};
    const char *host;
    size_t host_size;
    const char *port = split(text, &host, &host_size);
    if (port == NULL && default_port == 0) {
        return err_why(why, ERR_INVALID, "\"%s\" has no port; write host:port", text);
    }
    if (port != NULL && parse_port(port, &out->port) != ERR_OK) {
        return err_why(why, ERR_INVALID,
                       "\"%s\" is not an address; write host:port, with a port up to 65535", text);
    }
    if (host_size > ADDRESS_HOST_MAX || memchr(host, ' ', host_size) != NULL || *host == '/') {
        return err_why(why, ERR_INVALID, "\"%.64s\" is not a host's name or number", text);
    }
    if (host_size == 0) {
        snprintf(out->host, sizeof out->host, "127.0.0.1");
    } else {
        memcpy(out->host, host, host_size);
    }
    return ERR_OK;
}

static bool is_path(const struct address *a)
{
    return a->host[0] == '/';
}

enum err address_of_path(const char *path, struct address *out, struct why *why)
{
    ASSERT(*path == '/');
    size_t size = strlen(path) + 1;
    if (size > sizeof((struct sockaddr_un){0}.sun_path)) {
        return err_why(why, ERR_INVALID,
                       "the path of a socket, \"%s\", is too long for the system (%zu bytes are "
                       "allowed); use a directory with a shorter name",
                       path, sizeof((struct sockaddr_un){0}.sun_path) - 1);
    }
    *out = (struct address){0};
    memcpy(out->host, path, size);
    return ERR_OK;
}

const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
    if (is_path(a)) {
        memcpy(out, a->host, strlen(a->host) + 1);
        return out;
    }
    bool brackets = strchr(a->host, ':') != NULL;
    snprintf(out, ADDRESS_TEXT_MAX, brackets ? "[%s]:%u" : "%s:%u", a->host, a->port);
    return out;
}

bool address_is_loopback(const struct address *a)
{
    struct socket_address s;
    if (is_path(a)) {
        return true;
    }
    if (address_resolve_numeric(a, &s) != ERR_OK) {
        return false;
    }
    if (s.storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&s.storage;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&s.storage;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* ---- resolving ---- */

static int look_up_path(const struct address *a, struct socket_address *out)
{
    struct sockaddr_un *local = (struct sockaddr_un *)&out->storage;
    *local = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(local->sun_path, a->host, strnlen(a->host, sizeof local->sun_path - 1));
    out->size = sizeof *local;
    return 0;
}

static int look_up(const struct address *a, int flags, struct socket_address *out)
{
    if (is_path(a)) {
        return look_up_path(a, out);
    }
    char port[8];
    snprintf(port, sizeof port, "%u", a->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(a->host, port, &hints, &found);
    if (failed == 0) {
        out->size = found->ai_addrlen;
        memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
    }
    return failed;
}

enum err address_resolve_numeric(const struct address *a, struct socket_address *out)
{
    struct address number = *a;
    if (strcmp(a->host, "localhost") == 0) {
        snprintf(number.host, sizeof number.host, "127.0.0.1");
    }
    return look_up(&number, AI_NUMERICHOST, out) == 0 ? ERR_OK : ERR_NOT_FOUND;
}

enum err address_resolve(const struct address *a, struct socket_address *out, struct why *why)
{
    if (address_resolve_numeric(a, out) == ERR_OK) {
        return ERR_OK;
    }
    int failed = look_up(a, 0, out);
    if (failed != 0) {
        return err_why(why, ERR_UNREACHABLE, "cannot find host \"%s\": %s", a->host,
                       gai_strerror(failed));
    }
    return ERR_OK;
}

const char *socket_address_text(const struct socket_address *a, char out[ADDRESS_TEXT_MAX])
{
    struct address text = {0};
    char port[8] = "0";
    if (getnameinfo((const struct sockaddr *)&a->storage, a->size, text.host, sizeof text.host,
                    port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        snprintf(text.host, sizeof text.host, "?");
    }
    text.port = (uint16_t)strtoul(port, NULL, 10);
    return address_text(&text, out);
}

/* ---- listening ---- */

static enum err explain_bind(const struct address *a, int number, struct why *why)
{
    char text[ADDRESS_TEXT_MAX];
    address_text(a, text);
    switch (number) {
    case EADDRINUSE:
        return err_why(why, ERR_LOCKED,
                       "cannot listen on %s: the port is in use; stop the program that has it "
                       "(ss -ltnp 'sport = :%u' names it) or choose another port",
                       text, a->port);
    case EADDRNOTAVAIL:
        return err_why(why, ERR_UNREACHABLE,
                       "cannot listen on %s: this machine has no such address (ip addr lists those "
                       "that it has)",
                       text);
    case EACCES:
        return err_why(why, ERR_INVALID,
                       "cannot listen on %s: not permitted; ports below 1024 need "
                       "CAP_NET_BIND_SERVICE, choose one above",
                       text);
    default:
        return err_why(why, ERR_IO, "cannot listen on %s: %s", text, strerror(number));
    }
}

static void fill_bound(int fd, const struct address *a, struct address *bound)
{
    *bound = *a;
    if (is_path(a)) {
        return;
    }
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } s = {.v6 = {0}};
    socklen_t size = sizeof s;
    if (getsockname(fd, &s.any, &size) == 0) {
        bound->port = ntohs(s.any.sa_family == AF_INET6 ? s.v6.sin6_port : s.v4.sin_port);
    }
}

enum err address_listen(const struct address *a, int *fd, struct address *bound, struct why *why)
{
    struct socket_address where = {0};
    enum err e = address_resolve(a, &where, why);
    if (e != ERR_OK) {
        return e;
    }
    int s = socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return explain_bind(a, errno, why);
    }
    int on = 1; /* a restarted node takes its port back at once */
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (is_path(a)) {
        unlink(a->host);
        fchmod(s, S_IRUSR | S_IWUSR); /* what bind() creates gets the mode of the socket */
    }
    if (bind(s, (const struct sockaddr *)&where.storage, where.size) != 0 ||
        listen(s, LISTEN_BACKLOG) != 0) {
        e = explain_bind(a, errno, why);
        close(s);
        return e;
    }
    if (bound != NULL) {
        fill_bound(s, a, bound);
    }
    *fd = s;
    return ERR_OK;
}

enum err address_reserve(struct address *out, int *fd, struct why *why)
{
    /* Bound with SO_REUSEADDR and not listening: others with SO_REUSEADDR may bind to it by number
     * and listen, but the system gives it to nobody by itself. */
    *out = (struct address){.host = "127.0.0.1"};
    struct socket_address where;
    enum err e = address_resolve_numeric(out, &where);
    ASSERT(e == ERR_OK);
    int on = 1;
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(*fd, (const struct sockaddr *)&where.storage, where.size) != 0) {
        e = err_why(why, ERR_IO, "cannot reserve a port: %s", strerror(errno));
        if (*fd >= 0) {
            close(*fd);
        }
        return e;
    }
    fill_bound(*fd, out, out);
    return ERR_OK;
}
