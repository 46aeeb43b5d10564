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
    /* The same for a frame that gives way to those of send(), with a bound of its own. False: it
     * was dropped, because the link is down or too much waits. NULL: send() takes them. */
    bool (*send_behind)(void *ctx, uint64_t peer, struct slice frame);
    /* The set of peers to keep links to, and where; replaces the previous set. */
    void (*set_peers)(void *ctx, const struct transport_peer *peers, uint32_t peers_count);
    /* To peer and back, as pings measure it, in µs; 0: unknown. May be NULL. */
    uint64_t (*round_trip_us)(void *ctx, uint64_t peer);
};

static inline bool transport_send_behind(const struct transport_port *t, uint64_t peer,
                                         struct slice frame)
{
    if (t->send_behind != NULL) {
        return t->send_behind(t->ctx, peer, frame);
    }
    t->send(t->ctx, peer, frame);
    return true;
}

static inline uint64_t transport_round_trip_us(const struct transport_port *t, uint64_t peer)
{
    return t->round_trip_us != NULL ? t->round_trip_us(t->ctx, peer) : 0;
}

#endif
