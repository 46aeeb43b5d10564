/* Inside the RPC server: what rpc_server.c (the listener, the rounds, the calls) and
 * rpc_connection.c (bytes in, bytes out) know of each other.
 *
 * Lifetime. A connection is freed when it is closed, none of its calls is open and none of its
 * functions is under way (busy); the server, when it is closed and its last connection is freed. */
#ifndef MK_NET_RPC_SERVER_INTERNAL_H
#define MK_NET_RPC_SERVER_INTERNAL_H

#include <sys/queue.h>

#include <event2/event.h>

#include "base/quiet.h"
#include "net/listener.h"
#include "net/rpc_server.h"
#include "wire/rpc.h"

enum { RPC_SCRATCH_BYTES = 32 * 1024 };

struct rpc_connection;

struct rpc_call {
    LIST_ENTRY(rpc_call) entry;
    struct rpc_connection *connection;
    uint32_t msgid;
    bool is_notification;
    void (*on_disconnect)(void *ctx, struct rpc_call *call);
    void *ctx;
};

struct rpc_connection {
    TAILQ_ENTRY(rpc_connection) entry;
    TAILQ_ENTRY(rpc_connection) ready_entry;
    TAILQ_ENTRY(rpc_connection) dirty_entry;
    struct rpc_server *server;
    struct socket_address from;
    char *client; /* text of from, made when asked for */

    int fd;
    bool closed;
    bool ended;   /* the client says no more, and may wait for answers */
    bool ready;   /* on server->ready: has something to say */
    bool dirty;   /* on server->dirty: has output for the end of this round */
    bool blocked; /* waits for the descriptor to take more */
    bool paused;  /* not read: too many calls open, or too much output waiting */
    bool backlog; /* in may hold whole messages, left over by a pause */
    uint32_t busy;

    struct event *readable;
    struct event *writable;
    struct rpc_scan scan;
    struct buffer in; /* an incomplete message */
    struct buffer out;
    size_t out_sent; /* bytes of out that are written */
    size_t counted;  /* what server->unsent holds of this connection */
    bool refused;    /* rpc_call_takes_answer() was false */
    LIST_HEAD(, rpc_call) calls;
    uint32_t in_flight;
    uint64_t active_us; /* last time that bytes moved */
};

struct rpc_server {
    struct loop *loop;
    struct clock_port clock;
    struct rpc_server_options options;
    struct rpc_server_callbacks callbacks;
    const struct log *log;
    struct listener *listener;
    struct address address;
    struct loop_timer *tick;
    bool closed;
    bool draining;
    TAILQ_HEAD(, rpc_connection) connections;
    TAILQ_HEAD(, rpc_connection) ready;
    TAILQ_HEAD(, rpc_connection) dirty;
    uint32_t connections_count; /* open */
    uint32_t in_flight;
    uint64_t unsent; /* bytes of replies, of all connections */
    bool crowded;    /* somebody was kept waiting for that sum to fall */
    uint64_t requests_total;
    LIST_HEAD(, rpc_call) spare; /* calls to be used again */
    uint32_t spare_count;
    struct quiet quiet;
    uint8_t scratch[RPC_SCRATCH_BYTES];
};

/* ---- rpc_connection.c ---- */

void rpc_connection_new(struct rpc_server *s, int fd, const struct socket_address *from);
/* Read once and hand on what is whole. */
void rpc_connection_intake(struct rpc_connection *c);
void rpc_connection_flush(struct rpc_connection *c);
/* There is output: flush at the end of the round. */
void rpc_connection_mark_dirty(struct rpc_connection *c);
/* May more answers wait for it, and so: may more of its requests be handed on? */
bool rpc_connection_has_room(struct rpc_connection *c);
/* Read it again if it was paused and there is room. */
void rpc_connection_resume(struct rpc_connection *c);
void rpc_connection_close(struct rpc_connection *c);
/* Close it if its client says no more and has all its answers; and free it if it is unused. */
void rpc_connection_close_if_served(struct rpc_connection *c);
void rpc_connection_free_if_unused(struct rpc_connection *c);
static inline size_t rpc_connection_unsent(const struct rpc_connection *c)
{
    return c->out.size - c->out_sent;
}

/* ---- rpc_server.c ---- */

void rpc_server_dispatch(struct rpc_connection *c, const struct rpc_message *m);
void rpc_server_free_if_unused(struct rpc_server *s);
/* The unsent bytes of c have changed. */
void rpc_server_count(struct rpc_connection *c);

#endif
