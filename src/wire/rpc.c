#include "wire/rpc.h"

#include <string.h>

#include "base/assert.h"
#include "wire/head.h"
#include "wire/writer.h"

enum { REQUEST_FIELDS = 4, RESPONSE_FIELDS = 4, NOTIFY_FIELDS = 3 };

/* ---- the end of a message ---- */

/* What may stand first: an array of three or four. */
static bool head_begins_message(const struct head *h)
{
    return h->type == WIRE_ARRAY && (h->argument == NOTIFY_FIELDS || h->argument == REQUEST_FIELDS);
}

/* Leave the levels that are complete; at depth 0 the whole message is. */
static void ascend(struct rpc_scan *s)
{
    while (s->depth > 0 && s->remaining[s->depth - 1] == 0) {
        s->depth--;
    }
}

/* Step over the value that h heads. */
static enum err descend(struct rpc_scan *s, const struct head *h, size_t max_bytes,
                        uint32_t max_depth)
{
    uint64_t body = head_body_bytes(h);
    uint64_t children = head_children(h);
    /* Every value takes a byte: what is declared is held against the limit before it comes. */
    if (s->position + h->head_bytes + body + children > max_bytes) {
        return ERR_TOO_LARGE;
    }
    if (children > 0 && s->depth == max_depth) {
        return ERR_INVALID;
    }
    s->position += h->head_bytes + (size_t)body;
    if (s->depth > 0) {
        s->remaining[s->depth - 1]--;
    }
    if (children > 0) {
        s->remaining[s->depth++] = (uint32_t)children;
    }
    return ERR_OK;
}

enum err rpc_scan(struct rpc_scan *s, struct bytes input, size_t max_bytes, uint32_t max_depth,
                  size_t *size)
{
    ASSERT(max_depth > 0);
    ASSERT(max_depth <= READER_DEPTH_MAX);
    ASSERT(max_bytes <= UINT32_MAX);
    while (s->position == 0 || s->depth > 0) {
        if (s->position >= input.size) { /* a string may reach beyond what is here */
            return ERR_TRUNCATED;
        }
        struct head h;
        enum err e = head_parse(input.data + s->position, input.data + input.size, &h);
        if (e == ERR_OK && s->position == 0 && !head_begins_message(&h)) {
            e = ERR_INVALID;
        }
        if (e == ERR_OK) {
            e = descend(s, &h, max_bytes, max_depth);
        }
        if (e != ERR_OK) {
            return e;
        }
        ascend(s);
    }
    if (s->position > input.size) {
        return ERR_TRUNCATED;
    }
    *size = s->position;
    s->position = 0;
    return ERR_OK;
}

/* ---- messages ---- */

static struct bytes read_params(struct reader *r)
{
    if (reader_peek(r) != WIRE_ARRAY) {
        reader_fail(r, ERR_INVALID);
    }
    return read_raw(r);
}

enum err rpc_decode(struct bytes message, struct rpc_message *out)
{
    struct reader r = reader_of(message);
    *out = (struct rpc_message){0};
    uint32_t fields = read_array(&r);
    out->type = (enum rpc_type)read_u32_max(&r, RPC_NOTIFY);
    if (r.err == ERR_OK && fields != (out->type == RPC_NOTIFY ? NOTIFY_FIELDS : REQUEST_FIELDS)) {
        reader_fail(&r, ERR_INVALID);
    }
    if (out->type != RPC_NOTIFY) {
        out->msgid = read_u32_max(&r, UINT32_MAX);
    }
    if (out->type == RPC_RESPONSE) {
        out->error = read_raw(&r);
        out->result = read_raw(&r);
    } else {
        out->method = read_str_or_bin(&r, RPC_METHOD_MAX);
        out->params = read_params(&r);
    }
    return reader_end(&r);
}

bool rpc_is_nil(struct bytes value)
{
    return value.size == 0 || (value.size == 1 && value.data[0] == 0xc0);
}

static void write_params(struct buffer *out, struct bytes params)
{
    if (params.size == 0) {
        write_array(out, 0);
    } else {
        write_raw(out, params);
    }
}

void rpc_write_request(struct buffer *out, uint32_t msgid, struct bytes method, struct bytes params)
{
    write_array(out, REQUEST_FIELDS);
    write_u64(out, RPC_REQUEST);
    write_u64(out, msgid);
    write_str(out, method);
    write_params(out, params);
}

void rpc_write_notify(struct buffer *out, struct bytes method, struct bytes params)
{
    write_array(out, NOTIFY_FIELDS);
    write_u64(out, RPC_NOTIFY);
    write_str(out, method);
    write_params(out, params);
}

void rpc_write_result(struct buffer *out, uint32_t msgid, struct bytes result)
{
    write_array(out, RESPONSE_FIELDS);
    write_u64(out, RPC_RESPONSE);
    write_u64(out, msgid);
    write_nil(out);
    if (result.size == 0) {
        write_nil(out);
    } else {
        write_raw(out, result);
    }
}

/* ---- errors ---- */

void rpc_write_error(struct buffer *out, uint32_t msgid, const struct rpc_error *error)
{
    write_array(out, RESPONSE_FIELDS);
    write_u64(out, RPC_RESPONSE);
    write_u64(out, msgid);
    write_map(out, 2u + (error->leader.size > 0) + (error->data.size > 0));
    write_text(out, "code");
    write_str(out, error->code);
    write_text(out, "message");
    write_str(out, error->message);
    if (error->leader.size > 0) {
        write_text(out, "leader");
        write_str(out, error->leader);
    }
    if (error->data.size > 0) {
        write_text(out, "data");
        write_raw(out, error->data);
    }
    write_nil(out);
}

static void read_error_pair(struct reader *r, struct rpc_error *out)
{
    if (reader_peek(r) != WIRE_STR) {
        read_skip(r);
        read_skip(r);
        return;
    }
    struct bytes key = read_str(r, SIZE_MAX);
    if (bytes_is(key, "code")) {
        out->code = read_str_or_bin(r, SIZE_MAX);
    } else if (bytes_is(key, "message")) {
        out->message = read_str_or_bin(r, SIZE_MAX);
    } else if (bytes_is(key, "leader")) {
        out->leader = read_str_or_bin(r, SIZE_MAX);
    } else if (bytes_is(key, "data")) {
        out->data = read_raw(r);
    } else {
        read_skip(r);
    }
}

enum err rpc_error_decode(struct bytes error, struct rpc_error *out)
{
    struct reader r = reader_of(error);
    *out = (struct rpc_error){0};
    if (reader_peek(&r) != WIRE_MAP) {
        out->message = read_str_or_bin(&r, SIZE_MAX);
        return reader_end(&r);
    }
    uint32_t pairs = read_map(&r);
    for (uint32_t i = 0; i < pairs && r.err == ERR_OK; i++) {
        read_error_pair(&r, out);
    }
    return reader_end(&r);
}
