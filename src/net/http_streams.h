/* The connections of the HTTP server: how many there are and what they hold of memory, in total.
 * evhttp bounds a single request; it counts no connections, and lets each take a minute for every
 * byte.
 *
 *   too many connections       the one that has been idle or incomplete for longest goes; when all
 * are being served, no more are accepted for the moment too much received          requests that
 * are not complete go, the oldest first too much unsent            connections that do not read go,
 * the one that stands longest first a request takes too long   to arrive: its connection goes
 *
 * A connection is ended by shutting its socket down: evhttp, whose it is, notices and frees it. */
#ifndef MK_NET_HTTP_STREAMS_H
#define MK_NET_HTTP_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/bufferevent.h>

#include "base/log.h"
#include "net/loop.h"

struct http_streams;

struct http_streams_options {
    uint32_t connections_max;
    size_t received_bytes_max; /* of all requests, from their first byte until they are answered */
    size_t unsent_bytes_max;   /* of all answers */
    uint32_t request_ms;       /* for a request to arrive as a whole */
    /* Are more connections wanted? May be called repeatedly. */
    void (*accept)(void *ctx, bool wanted);
    /* The connection of this call, which has not got its answer, is gone. */
    void (*gone)(void *ctx, void *call);
    void *ctx;
};

struct http_streams *http_streams_new(struct loop *loop, const struct http_streams_options *options,
                                      const struct log *log);
/* After evhttp was freed, and the connections with it. */
void http_streams_free(struct http_streams *set);

/* A connection that evhttp is about to take over. */
void http_streams_add(struct http_streams *set, struct bufferevent *stream);
/* Its request is complete, and waits for its answer. */
void http_streams_asked(struct http_streams *set, struct bufferevent *stream, void *call);
/* It has got its answer. */
void http_streams_answered(struct http_streams *set, struct bufferevent *stream);

#endif
