/* Links between nodes: the transport_port for real.
 *
 * Every node listens for its peers and dials every peer. It sends on the connection that it dialled
 * and receives on those that it accepted, so two nodes have two connections and no rule is needed
 * for who dials whom.
 *
 * First a handshake (wire/handshake.h), then frames: a length of four bytes, big-endian, and that
 * many bytes. A frame of length 0 is a ping, answered with the same: it finds dead links within
 * dead_after_ms, and measures the round trip.
 *
 * Frames of send_behind() wait in a queue of their own (4 MiB), and go when there is nothing else.
 *
 * Everything is called back on the loop's thread, never from inside send() or set_peers(). */
#ifndef MK_NET_LINKS_H
#define MK_NET_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/dial_map.h"
#include "net/loop.h"
#include "port/transport.h"
#include "wire/handshake.h"

struct links;

struct links_options {
    struct handshake self;       /* role HANDSHAKE_NODE */
    struct address listen;       /* port 0: any */
    const struct dial_map *dial; /* NULL: peers are dialled where they say */
    uint64_t seed;               /* for the jitter of back-off */
    /* 0 stands for the default in brackets. */
    uint32_t frame_bytes_max;      /* [16 MiB] a larger frame ends the connection */
    uint32_t queue_bytes_max;      /* [8 MiB] per link; what does not fit is dropped (small frames,
                                      heartbeats among them, have a reserve of their own) */
    uint32_t connections_max;      /* [256] accepted ones */
    uint32_t handshake_timeout_ms; /* [2000] */
    uint32_t ping_after_ms;        /* [500] between pings */
    uint32_t dead_after_ms;        /* [3000] without an answer to a ping */
    uint32_t backoff_min_ms;       /* [10] */
    uint32_t backoff_max_ms;       /* [1000] */
};

struct links_callbacks {
    void *ctx;
    /* A frame from peer; sender is the hash of that process's incarnation. frame is borrowed. */
    void (*on_frame)(void *ctx, uint64_t peer, const struct raft_incarnation *sender,
                     struct slice frame);
    /* What is sent to peer goes out from now on, or is lost from now on. */
    void (*on_up)(void *ctx, uint64_t peer);
    void (*on_down)(void *ctx, uint64_t peer);
    /* May this node or guardian take part? Its cluster id, protocol version and (when we dialled
     * it) node id have been checked. Anything but ERR_OK refuses it; why goes to its log. NULL: all
     * may. */
    enum err (*check_peer)(void *ctx, const struct handshake *peer, struct why *why);
    /* The peer itself, with the identity that it should have, does not let us in: its verdict, at
     * every attempt. May be NULL. */
    void (*on_refused)(void *ctx, uint64_t peer, enum err verdict);
    /* The end of this node's log, for a handshake (struct handshake.last). NULL: as in options. */
    struct raft_pos (*last)(void *ctx);
    /* A guardian says that its node is dead. May be NULL. */
    void (*on_certificate)(void *ctx, uint64_t dead, const uint8_t revealed[16]);
};

/* Listens; dials nobody before set_peers(). Errors: as address_listen(). */
enum err links_open(struct loop *loop, const struct links_options *options,
                    const struct links_callbacks *callbacks, const struct log *log,
                    struct links **out, struct why *why);
/* Accepts NULL. No callbacks. */
void links_close(struct links *l);

struct transport_port links_transport(struct links *l);
/* Where it listens. */
const struct address *links_address(const struct links *l);

struct links_peer_stats {
    bool up;
    uint64_t round_trip_us; /* smoothed; 0: unknown */
    uint64_t sent_frames, sent_bytes;
    uint64_t received_frames, received_bytes;
    uint64_t dropped_frames; /* down, or the queue was full */
    uint64_t connects;
    uint32_t queued_bytes;
    enum err refused; /* why the peer refuses us, as of its last answer; ERR_OK: it does not */
};
/* False if peer is none. */
bool links_peer_stats(const struct links *l, uint64_t peer, struct links_peer_stats *out);

#endif
