/* The listener for clients: MessagePack-RPC (wire/rpc.h) over TCP.
 *
 * Requests of one connection may be answered later and in any order. A struct rpc_call stays valid
 * until it is answered, even when its connection is gone by then; each is answered exactly once,
 * with rpc_reply() or rpc_fail(), notifications too (for those it only releases the call). Replies
 * of one round leave in one write per connection. */
#ifndef MK_NET_RPC_SERVER_H
#define MK_NET_RPC_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"

struct rpc_server;
struct rpc_call;

struct rpc_server_options {
    struct address listen; /* port 0: any */
    /* 0 stands for the default in brackets. */
    uint32_t frame_bytes_max;  /* [4 MiB] a larger message ends the connection */
    uint32_t in_flight_max;    /* [4096] unanswered requests per connection; then it is not read */
    uint32_t output_bytes_max; /* [1 MiB] unsent replies per connection; then it is not read */
    uint32_t output_bytes_all; /* [64 MiB] of all connections; then only those are read that take
                                  what they are sent */
    uint32_t connections_max;  /* [1024] in all; the next one is closed at once */
    uint32_t stall_timeout_ms; /* [30000] a client that takes no bytes for so long is dropped */
    uint32_t idle_timeout_ms;  /* [0: never] without a request, an open call or output */
};

struct rpc_server_callbacks {
    void *ctx;
    /* method and params (an encoded array) are borrowed for the call of this function. */
    void (*on_request)(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params);
    /* A call of which rpc_call_takes_answer() was false takes one now, or is gone. May be NULL. */
    void (*on_takes_again)(void *ctx);
};

/* Errors: as address_listen(). */
enum err rpc_server_open(struct loop *loop, const struct rpc_server_options *options,
                         const struct rpc_server_callbacks *callbacks, const struct log *log,
                         struct rpc_server **out, struct why *why);
/* Flushes what can be written at once and closes all connections. Calls that are still open may be
 * answered afterwards, to no effect. Accepts NULL. */
void rpc_server_close(struct rpc_server *s);
const struct address *rpc_server_address(const struct rpc_server *s);
/* No further connections and requests; those under way can be answered. */
void rpc_server_stop_accepting(struct rpc_server *s);
uint32_t rpc_server_connections(const struct rpc_server *s);
uint64_t rpc_server_requests_total(const struct rpc_server *s);
/* Requests that were handed out and not answered yet. */
uint32_t rpc_server_in_flight(const struct rpc_server *s);

/* result: an encoded value; empty bytes stand for nil. Borrowed. Ends the call. Results that could
 * not wait for rpc_call_takes_answer(), and far too many of them for the client to have room, are
 * replaced by ERR_OUTCOME_UNKNOWN. */
void rpc_reply(struct rpc_call *call, struct bytes result);
/* message: NULL stands for err_message(e). leader: client address of the leader or NULL. data: an
 * encoded value, or empty. Ends the call. */
void rpc_fail(struct rpc_call *call, enum err e, const char *message, const char *leader,
              struct bytes data);

bool rpc_call_is_notification(const struct rpc_call *call);
/* Has the client taken so much of the answers before that this one should be worked out now? */
bool rpc_call_takes_answer(struct rpc_call *call);
/* Is the connection still there? A client that said it will send no more may be gone or wait for
 * its answers: that counts as there. */
bool rpc_call_connected(const struct rpc_call *call);
/* cb is called when the connection goes, or the client says that it sends no more, before the call
 * is answered (answer it then, or later). */
void rpc_call_on_disconnect(struct rpc_call *call, void (*cb)(void *ctx, struct rpc_call *call),
                            void *ctx);
/* Send the client a notification on the call's connection (a watch). False if it is gone or takes
 * nothing at the moment. */
bool rpc_call_notify(struct rpc_call *call, struct bytes method, struct bytes params);
/* "127.0.0.1:53412" */
const char *rpc_call_client(const struct rpc_call *call);

#endif
