/* Frames between nodes. Unreliable on purpose: a frame may be lost, and is when its link is down or
 * its queue is full; Raft repeats what matters. A frame that arrives is whole and unaltered. */
#ifndef MK_PORT_TRANSPORT_H
#define MK_PORT_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct transport_peer {
    uint64_t id;
    const char *name;    /* "n2" */
    const char *address; /* "host:port" */
};

struct transport_port {
    void *ctx;
    /* Queue a frame for peer. The frame is borrowed: the transport takes its own reference. */
    void (*send)(void *ctx, uint64_t peer, struct slice frame);
    /* The set of peers to keep links to, and where; replaces the previous set. */
    void (*set_peers)(void *ctx, const struct transport_peer *peers, uint32_t peers_count);
};

#endif
