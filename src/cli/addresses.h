/* Where a node listens and whom it dials, from the text of its configuration. */
#ifndef MK_CLI_ADDRESSES_H
#define MK_CLI_ADDRESSES_H

#include <stdbool.h>

#include "base/err.h"
#include "net/address.h"
#include "node/config.h"

enum { DEFAULT_CLIENT_PORT = 7117, DEFAULT_PEER_PORT = 7118, DEFAULT_HTTP_PORT = 7119 };

struct addresses {
    struct address peer;
    struct address client;
    struct address http;
    bool has_http;
};

/* Parses all addresses of a checked configuration, those of the other members too, and refuses what
 * cannot work: two listeners on one port, or (unless `insecure`) one that others than this machine
 * can reach. Errors: INVALID. */
enum err addresses_of(const struct config *c, struct addresses *out, struct why *why);

#endif
