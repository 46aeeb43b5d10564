/* MessagePack-RPC (https://github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md):
 *
 *     [0, msgid, method, params]    request
 *     [1, msgid, error, result]     response
 *     [2, method, params]           notification
 *
 * Messages follow each other on the stream without framing. msgid is a 32-bit number, params an
 * array. An error is a map, see struct rpc_error. */
#ifndef MK_WIRE_RPC_H
#define MK_WIRE_RPC_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "wire/reader.h"

enum { RPC_METHOD_MAX = 128 };

/* Where a scan of an incomplete message stands. Zeroed: at its start. */
struct rpc_scan {
    size_t position; /* bytes looked at */
    uint32_t depth;
    uint32_t remaining[READER_DEPTH_MAX]; /* values to come, per level */
};

/* Find the end of the message that input begins with. input starts at the same byte in every call
 * until the message is complete and grows in between; no byte is looked at twice.
 * Errors: TRUNCATED, more bytes are needed; INVALID, this is not MessagePack-RPC (told from the
 * first byte where possible) or it nests deeper than max_depth (<= READER_DEPTH_MAX); TOO_LARGE,
 * the message is, or by what it declares must become, larger than max_bytes. On success *size is
 * its length and s is ready for the next message. */
enum err rpc_scan(struct rpc_scan *s, struct bytes input, size_t max_bytes, uint32_t max_depth,
                  size_t *size);

enum rpc_type { RPC_REQUEST = 0, RPC_RESPONSE = 1, RPC_NOTIFY = 2 };

/* Views into the decoded bytes. */
struct rpc_message {
    enum rpc_type type;
    uint32_t msgid;
    struct bytes method; /* text; request, notify */
    struct bytes params; /* an encoded array; request, notify */
    struct bytes error;  /* an encoded value, nil when there was none; response */
    struct bytes result; /* an encoded value; response */
};

/* Errors: TRUNCATED, INVALID, TOO_LARGE (the method's name). */
enum err rpc_decode(struct bytes message, struct rpc_message *out);
/* Is this encoded value nil (or nothing at all)? */
bool rpc_is_nil(struct bytes value);

/* Append a message. params: an encoded array; empty bytes stand for []. result: an encoded value;
 * empty bytes stand for nil. */
void rpc_write_request(struct buffer *out, uint32_t msgid, struct bytes method,
                       struct bytes params);
void rpc_write_notify(struct buffer *out, struct bytes method, struct bytes params);
void rpc_write_result(struct buffer *out, uint32_t msgid, struct bytes result);

/* What a failed request is answered with: the map {code, message, leader?, data?}. */
struct rpc_error {
    struct bytes code;    /* err_name(): "not_leader" */
    struct bytes message; /* one sentence for people */
    struct bytes leader;  /* client address of the leader, when it is known; else empty */
    struct bytes data;    /* an encoded value with more about it; else empty */
};
void rpc_write_error(struct buffer *out, uint32_t msgid, const struct rpc_error *error);
/* Reads the error of any server: a map as above, or else a plain string, which becomes the message.
 * Unknown keys are skipped. Errors: TRUNCATED, INVALID. */
enum err rpc_error_decode(struct bytes error, struct rpc_error *out);

#endif
