/* A blocking MessagePack-RPC client, for the command line and for tests. Not for the loop. */
#ifndef MK_NET_RPC_CLIENT_H
#define MK_NET_RPC_CLIENT_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "net/address.h"
#include "wire/rpc.h"

struct rpc_client;

/* Errors: UNREACHABLE, TIMEOUT. */
enum err rpc_client_open(const struct address *address, uint64_t timeout_us,
                         struct rpc_client **out, struct why *why);
/* From now on a call that waits returns CANCELLED when fd is readable. What it had asked for may
 * still be done: close the client. -1: no longer. */
void rpc_client_give_up_on(struct rpc_client *c, int fd);
/* Accepts NULL. */
void rpc_client_close(struct rpc_client *c);

/* What came back: views that are valid until the next call on this client. */
struct rpc_outcome {
    struct bytes result;    /* an encoded value */
    struct rpc_error error; /* when the call returned an error that the server sent */
};

/* Send a request and wait for its response. params: an encoded array, empty bytes for [].
 * Errors: those that the server answered with (ERR_INVALID for a code that is not known here; see
 * out->error), UNREACHABLE before anything was sent or if that is no client port, OUTCOME_UNKNOWN
 * when the connection broke after that, TIMEOUT (the outcome is not known either). */
enum err rpc_client_call(struct rpc_client *c, const char *method, struct bytes params,
                         uint64_t timeout_us, struct rpc_outcome *out, struct why *why);

/* Pipelining: queue requests, send them all, take messages as they come (responses in any order,
 * and notifications). */
uint32_t rpc_client_queue(struct rpc_client *c, const char *method, struct bytes params);
enum err rpc_client_flush(struct rpc_client *c, uint64_t timeout_us, struct why *why);
/* The views are valid until the next call on this client. Errors: TIMEOUT, UNREACHABLE, INVALID. */
enum err rpc_client_receive(struct rpc_client *c, uint64_t timeout_us, struct rpc_message *out,
                            struct why *why);

#endif
