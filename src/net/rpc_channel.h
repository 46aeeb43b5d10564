/* A MessagePack-RPC client on the loop: requests in any number, answered as they come; and the
 * notifications of the server. Connects by itself; for one connection only. */
#ifndef MK_NET_RPC_CHANNEL_H
#define MK_NET_RPC_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "net/address.h"
#include "net/loop.h"

struct rpc_channel;

/* Borrowed for the call. */
struct rpc_answer {
    enum err err;
    const char *message; /* for people; NULL with ERR_OK */
    const char *leader;  /* where to go instead, or NULL */
    struct bytes result; /* an encoded value; empty with an error */
};
typedef void rpc_answer_fn(void *ctx, const struct rpc_answer *answer);

struct rpc_channel_callbacks {
    void *ctx;
    /* Both may be NULL, and may close the channel. */
    void (*on_connected)(void *ctx);
    void (*on_notify)(void *ctx, struct bytes method, struct bytes params);
    /* It broke, or never came about. Every call has been answered. */
    void (*on_broken)(void *ctx);
};

/* to: a number or a path. What cannot be reached is reported by on_broken. */
struct rpc_channel *rpc_channel_open(struct loop *loop, const struct address *to,
                                     const struct rpc_channel_callbacks *callbacks);
/* Answers what is open with UNREACHABLE, from inside. Accepts NULL. */
void rpc_channel_close(struct rpc_channel *c);

/* answer is called exactly once, never from inside. params: an encoded array, empty bytes for [].
 * timeout_us 0: none. Errors: what the server answered (INVALID for a code that is not known
 * here), UNREACHABLE (the connection broke, before or after the request was sent), TIMEOUT. */
void rpc_channel_call(struct rpc_channel *c, const char *method, struct bytes params,
                      uint64_t timeout_us, rpc_answer_fn *answer, void *ctx);

#endif
