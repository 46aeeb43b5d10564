/* The HTTP face of a node: health checks, role checks for load balancers, status, metrics, kv and
 * proposals, live events and the status page (README.md lists the routes). */
#ifndef MK_CLI_DAEMON_HTTP_H
#define MK_CLI_DAEMON_HTTP_H

#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/posix_fs.h"
#include "node/node.h"
#include "script/script.h"

struct daemon_http;

/* Borrowed until daemon_http_close(). */
struct daemon_http_options {
    struct loop *loop;
    const struct address *listen;
    uint32_t body_bytes_max; /* of a request */
    struct node *node;
    struct script_host *scripts; /* NULL: none */
    struct posix_fs *fs;
    const struct log *log;
};

/* Errors: as address_listen(). */
enum err daemon_http_open(const struct daemon_http_options *options, struct daemon_http **out,
                          struct why *why);
/* Accepts NULL. */
void daemon_http_close(struct daemon_http *h);
const struct address *daemon_http_address(const struct daemon_http *h);
/* As node_observer.event: for those who watch /events. Accepts NULL. */
void daemon_http_note(struct daemon_http *h, const char *name, raft_term term, struct bytes fields);

#endif
