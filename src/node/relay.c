/* Requests from node to node, as MessagePack-RPC in frames of the peer links. They ask what a
 * client could ask (the receiver answers with its node_call()), and what only nodes say:
 *
 *     notify  about   [client_address, http_address, name, peer_address]     on each new link
 *     notify  append  [entry, ...]                       commands for the leader's log
 *     notify  refused [session, seq, error]              the leader will not take that one
 *     notify  disk_full []                               the sender's is: room.c
 *     notify  online  [term, number, members]            presence.c
 *     notify  message [topic, payload]                   to scripts: messages.c
 *     request message_call [topic, payload, timeout_ms]  likewise
 *
 * A frame may be lost: a request then times out, and whoever sends commands sends them again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum {
    ENTRY_BYTES_MAX = 64 << 20,
    WAITING_MAX = 1024, /* each round looks at all of them */
};

void relay_init(struct node *n)
{
    TAILQ_INIT(&n->relay.waiting);
    /* Numbers of this process alone: an answer that was meant for its predecessor, and comes late,
     * must not pass for the answer to a question of this one (a read would be stale). */
    n->relay.next_msgid = (uint32_t)entropy_u64(n->ports.entropy);
}

static void finish(struct node *n, struct relayed *r, const struct node_reply *reply)
{
    TAILQ_REMOVE(&n->relay.waiting, r, link);
    n->relay.count--;
    node_answer_later(n, r->reply, r->ctx, reply);
    free(r);
}

static void fail(struct node *n, struct relayed *r, enum err err)
{
    finish(n, r, &(struct node_reply){.err = err});
}

void relay_close(struct node *n)
{
    struct relayed *r;
    while ((r = TAILQ_FIRST(&n->relay.waiting)) != NULL) {
        fail(n, r, ERR_SHUTDOWN);
    }
}

bool relay_is_full(const struct node *n)
{
    return n->relay.count >= WAITING_MAX;
}

/* Await the answer; the request is in scratch. */
static void await(struct node *n, const struct relay_question *q, struct bytes params)
{
    struct relayed *r = NEW(struct relayed);
    *r = (struct relayed){.msgid = ++n->relay.next_msgid,
                          .to = q->to,
                          .deadline_us = node_now(n) + q->timeout_us,
                          .reply = q->reply,
                          .ctx = q->ctx};
    TAILQ_INSERT_TAIL(&n->relay.waiting, r, link);
    n->relay.count++;
    buffer_clear(&n->scratch);
    rpc_write_request(&n->scratch, r->msgid, bytes_of_string(q->method), params);
}

void relay_request(struct node *n, raft_id to, const char *method, struct bytes params,
                   uint64_t timeout_us, node_reply_fn reply, void *ctx)
{
    const struct relay_question q = {
        .to = to, .method = method, .timeout_us = timeout_us, .reply = reply, .ctx = ctx};
    await(n, &q, params);
    sender_send_frame(n, to, buffer_bytes(&n->scratch));
}

enum err relay_request_behind(struct node *n, const struct relay_question *q, struct bytes params)
{
    if (n->relay.count >= WAITING_MAX / 2) { /* the rest is for what the cluster needs */
        return ERR_BUSY;
    }
    await(n, q, params);
    if (sender_send_behind(n, q->to, buffer_bytes(&n->scratch))) {
        return ERR_OK;
    }
    struct relayed *r = TAILQ_LAST(&n->relay.waiting, relayed_list);
    TAILQ_REMOVE(&n->relay.waiting, r, link);
    n->relay.count--;
    free(r);
    return ERR_BUSY;
}

enum err relay_notify_behind(struct node *n, raft_id to, const char *method, struct bytes params)
{
    buffer_clear(&n->scratch);
    rpc_write_notify(&n->scratch, bytes_of_string(method), params);
    return sender_send_behind(n, to, buffer_bytes(&n->scratch)) ? ERR_OK : ERR_BUSY;
}

void relay_notify(struct node *n, raft_id to, const char *method, struct bytes params)
{
    buffer_clear(&n->scratch);
    rpc_write_notify(&n->scratch, bytes_of_string(method), params);
    sender_send_frame(n, to, buffer_bytes(&n->scratch));
}

void relay_introduce(struct node *n, raft_id peer)
{
    struct buffer params = {0};
    const char *address = members_address(n, n->id);
    write_array(&params, 4);
    write_text(&params, n->client_address);
    write_text(&params, n->http_address);
    write_text(&params, n->name);
    write_text(&params, address[0] != 0 ? address : n->peer_address);
    relay_notify(n, peer, "about", buffer_bytes(&params));
    buffer_close(&params);
}

/* ---- receiving ------------------------------------------------------------------------------ */

static void learn_about(struct node *n, raft_id from, struct bytes params)
{
    struct outlet *o;
    char client[sizeof o->client_address], http[sizeof o->http_address];
    struct guest guest = {.id = from,
                          .returned = membership_was_removed(members_committed(n), from),
                          .config_index = members_committed_index(n)};
    struct reader r = reader_of(params);
    read_array_of(&r, 4);
    read_text(&r, client, sizeof client);
    read_text(&r, http, sizeof http);
    read_text(&r, guest.name, sizeof guest.name);
    read_text(&r, guest.address, sizeof guest.address);
    if (reader_end(&r) != ERR_OK) {
        return;
    }
    if (membership_find(members_now(n), from) == NULL && guest.name[0] != 0) {
        sender_welcome(n, &guest);
    }
    o = sender_outlet(n, from);
    if (o != NULL) {
        memcpy(o->client_address, client, sizeof client);
        memcpy(o->http_address, http, sizeof http);
    }
}

static void take_entries(struct node *n, raft_id from, struct bytes params)
{
    struct reader r = reader_of(params);
    uint32_t count = read_array(&r);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes body = read_bin(&r, ENTRY_BYTES_MAX);
        if (r.err != ERR_OK) {
            return;
        }
        proposals_add_forwarded(n, from, body);
    }
}

static void learn_refusal(struct node *n, struct bytes params)
{
    uint8_t session[ENTRY_SESSION_BYTES];
    char code[32];
    struct reader r = reader_of(params);
    read_array_of(&r, 3);
    read_fixed_bin(&r, session, sizeof session);
    uint64_t seq = read_u64(&r);
    read_text(&r, code, sizeof code);
    if (reader_end(&r) == ERR_OK && err_from_name(code) != ERR_COUNT &&
        err_from_name(code) != ERR_OK) {
        proposals_refused(n, session, seq, err_from_name(code));
    }
}

struct incoming { /* a request of another node, until it is answered */
    struct node *n;
    raft_id from;
    uint32_t msgid;
    bool behind; /* its answer gives way to what Raft sends */
};

static void answer_peer(void *ctx, const struct node_reply *reply)
{
    struct incoming *in = ctx;
    struct buffer frame = {0};
    if (reply->err == ERR_OK) {
        rpc_write_result(&frame, in->msgid, reply->result);
    } else {
        struct rpc_error error = {.code = bytes_of_string(err_name(reply->err)),
                                  .message = bytes_of_string(reply->message),
                                  .data = reply->result};
        rpc_write_error(&frame, in->msgid, &error);
    }
    if (in->behind) {
        sender_send_behind(in->n, in->from, buffer_bytes(&frame));
    } else {
        sender_send_frame(in->n, in->from, buffer_bytes(&frame));
    }
    buffer_close(&frame);
    free(in);
}

/* What only the leader can answer is not passed on: two nodes that take each other for it would
 * send a request to and fro. */
static bool is_for_leader(struct bytes method)
{
    return bytes_is(method, "read_index") || bytes_is(method, "transfer") ||
           bytes_is(method, "members_add") || bytes_is(method, "members_promote") ||
           bytes_is(method, "members_remove");
}

static void receive_request(struct node *n, raft_id from, const struct rpc_message *m)
{
    struct incoming *in = NEW(struct incoming);
    *in = (struct incoming){.n = n, .from = from, .msgid = m->msgid};
    if (bytes_is(m->method, "message_call")) {
        in->behind = true;
        messages_take_call(n, from, m->params, answer_peer, in);
        return;
    }
    if (!node_is_leader(n) && is_for_leader(m->method)) {
        node_answer_later(n, answer_peer, in, &(struct node_reply){.err = ERR_NOT_LEADER});
        return;
    }
    node_call(n, m->method, m->params, answer_peer, in);
}

static void receive_response(struct node *n, raft_id from, const struct rpc_message *m)
{
    struct relayed *r;
    TAILQ_FOREACH (r, &n->relay.waiting, link) {
        if (r->msgid == m->msgid && r->to == from) {
            break;
        }
    }
    if (r == NULL) {
        return; /* It has timed out. */
    }
    if (rpc_is_nil(m->error)) {
        finish(n, r, &(struct node_reply){.err = ERR_OK, .result = m->result});
        return;
    }
    struct rpc_error error;
    char code[32] = "";
    char message[256] = "";
    if (rpc_error_decode(m->error, &error) == ERR_OK) {
        snprintf(code, sizeof code, "%.*s", (int)error.code.size, (const char *)error.code.data);
        snprintf(message, sizeof message, "%.*s", (int)error.message.size,
                 (const char *)error.message.data);
    }
    enum err err = err_from_name(code);
    bool known = err != ERR_COUNT && err != ERR_OK;
    finish(n, r,
           &(struct node_reply){.err = known ? err : ERR_INVALID,
                                .message = message[0] != 0 ? message : NULL});
}

void relay_receive(struct node *n, raft_id from, struct slice frame)
{
    struct rpc_message m;
    enum err e = rpc_decode(slice_bytes(frame), &m);
    if (e != ERR_OK) {
        node_dropped(n, from, "malformed request", e);
        return;
    }
    switch (m.type) {
    case RPC_REQUEST:
        receive_request(n, from, &m);
        break;
    case RPC_RESPONSE:
        receive_response(n, from, &m);
        break;
    case RPC_NOTIFY:
        if (bytes_is(m.method, "about")) {
            learn_about(n, from, m.params);
        } else if (bytes_is(m.method, "append")) {
            take_entries(n, from, m.params);
        } else if (bytes_is(m.method, "refused")) {
            learn_refusal(n, m.params);
        } else if (bytes_is(m.method, "disk_full")) {
            room_peer_is_full(n, from);
        } else if (bytes_is(m.method, "online")) {
            presence_stated(n, from, m.params);
        } else if (bytes_is(m.method, "message")) {
            messages_take(n, from, m.params);
        }
        break;
    }
}

/* ---- time and loss -------------------------------------------------------------------------- */

void relay_link_down(struct node *n, raft_id peer)
{
    struct relayed *r = TAILQ_FIRST(&n->relay.waiting);
    while (r != NULL) {
        struct relayed *next = TAILQ_NEXT(r, link);
        if (r->to == peer) {
            fail(n, r, ERR_UNREACHABLE);
        }
        r = next;
    }
}

void relay_tick(struct node *n, uint64_t now_us)
{
    struct relayed *r = TAILQ_FIRST(&n->relay.waiting);
    while (r != NULL) {
        struct relayed *next = TAILQ_NEXT(r, link);
        if (now_us >= r->deadline_us) {
            fail(n, r, ERR_TIMEOUT);
        }
        r = next;
    }
}

uint64_t relay_deadline(const struct node *n)
{
    uint64_t at = UINT64_MAX;
    const struct relayed *r;
    TAILQ_FOREACH (r, &n->relay.waiting, link) {
        if (r->deadline_us < at) {
            at = r->deadline_us;
        }
    }
    return at;
}
