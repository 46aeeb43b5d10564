#include "net/rpc_channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/socket.h"
#include "wire/rpc.h"

enum { READ_BYTES = 64 * 1024, MESSAGE_BYTES_MAX = 256 << 20 };

struct open_call {
    TAILQ_ENTRY(open_call) entry;
    struct rpc_channel *channel;
    uint32_t msgid;
    rpc_answer_fn *answer;
    void *ctx;
    struct loop_timer *timeout; /* NULL: none */
};

struct rpc_channel {
    struct loop *loop;
    struct rpc_channel_callbacks callbacks;
    int fd; /* -1: it could not even begin to connect, or is broken */
    bool connected;
    bool broken;
    bool told;   /* on_broken() was called */
    bool closed; /* by the owner: freed when nothing of it is under way */
    uint32_t busy;
    struct event *readable;
    struct event *writable;
    struct loop_timer *failed; /* tells of a failure to begin */
    struct rpc_scan scan;
    struct buffer in, out;
    uint32_t next_msgid;
    TAILQ_HEAD(, open_call) calls;
};

/* ---- life ----------------------------------------------------------------------------------- */

static void free_if_unused(struct rpc_channel *c)
{
    if (!c->closed || c->busy > 0) {
        return;
    }
    ASSERT(TAILQ_EMPTY(&c->calls));
    loop_timer_free(c->failed);
    buffer_close(&c->in);
    buffer_close(&c->out);
    free(c);
}

static void answer_call(struct open_call *call, const struct rpc_answer *answer)
{
    TAILQ_REMOVE(&call->channel->calls, call, entry);
    loop_timer_free(call->timeout);
    call->answer(call->ctx, answer);
    free(call);
}

static void disconnect(struct rpc_channel *c)
{
    if (c->fd >= 0) {
        event_free(c->readable);
        event_free(c->writable);
        close(c->fd);
        c->fd = -1;
    }
    c->broken = true;
    const struct rpc_answer gone = {.err = ERR_UNREACHABLE, .message = "the connection broke"};
    /* What is asked from inside of an answer is answered later: not for ever in here. */
    uint32_t end = c->next_msgid;
    struct open_call *call;
    /* The analyzer does not see that TAILQ_REMOVE changes what TAILQ_FIRST finds. */
    while ((call = TAILQ_FIRST(&c->calls)) != NULL &&
           call->msgid != end) { /* NOLINT(clang-analyzer-unix.Malloc) */
        answer_call(call, &gone);
    }
}

static void break_off(struct rpc_channel *c)
{
    c->busy++;
    disconnect(c);
    if (!c->closed && !c->told && c->callbacks.on_broken != NULL) {
        c->told = true;
        c->callbacks.on_broken(c->callbacks.ctx);
    }
    c->busy--;
    free_if_unused(c);
}

void rpc_channel_close(struct rpc_channel *c)
{
    if (c == NULL) {
        return;
    }
    c->closed = true;
    c->busy++;
    disconnect(c);
    c->busy--;
    free_if_unused(c);
}

/* ---- in ------------------------------------------------------------------------------------- */

static const char *text_of(struct bytes text, char *out, size_t capacity)
{
    snprintf(out, capacity, "%.*s", (int)text.size, text.size > 0 ? (const char *)text.data : "");
    return out;
}

static void take_response(struct rpc_channel *c, const struct rpc_message *m)
{
    struct open_call *call;
    TAILQ_FOREACH (call, &c->calls, entry) {
        if (call->msgid == m->msgid) {
            break;
        }
    }
    if (call == NULL) {
        return; /* it came too late */
    }
    struct rpc_answer answer = {.result = m->result};
    struct rpc_error error;
    char code[64], message[512], leader[ADDRESS_TEXT_MAX];
    if (!rpc_is_nil(m->error)) {
        answer = (struct rpc_answer){.err = ERR_INVALID, .message = "an error that is none"};
        if (rpc_error_decode(m->error, &error) == ERR_OK) {
            enum err e = err_from_name(text_of(error.code, code, sizeof code));
            answer.err = e == ERR_OK || e == ERR_COUNT ? ERR_INVALID : e;
            answer.message = text_of(error.message, message, sizeof message);
            answer.leader =
                error.leader.size > 0 ? text_of(error.leader, leader, sizeof leader) : NULL;
        }
    }
    answer_call(call, &answer);
}

static void take_message(struct rpc_channel *c, const struct rpc_message *m)
{
    if (m->type == RPC_RESPONSE) {
        take_response(c, m);
    } else if (m->type == RPC_NOTIFY && c->callbacks.on_notify != NULL) {
        c->callbacks.on_notify(c->callbacks.ctx, m->method, m->params);
    }
}

/* Hand on the whole messages that are in. Errors: INVALID, TOO_LARGE. */
static enum err parse(struct rpc_channel *c)
{
    size_t used = 0;
    enum err e = ERR_OK;
    while (used < c->in.size && !c->closed && !c->broken) {
        struct bytes rest = bytes_of(c->in.data + used, c->in.size - used);
        size_t size = 0;
        struct rpc_message m;
        e = rpc_scan(&c->scan, rest, MESSAGE_BYTES_MAX, READER_DEPTH_MAX, &size);
        e = e != ERR_OK ? e : rpc_decode(bytes_of(rest.data, size), &m);
        if (e != ERR_OK) {
            break;
        }
        used += size;
        take_message(c, &m);
    }
    buffer_consume(&c->in, used);
    return e == ERR_TRUNCATED ? ERR_OK : e;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct rpc_channel *c = ctx;
    ssize_t got = recv(fd, buffer_reserve(&c->in, READ_BYTES), READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        break_off(c);
        return;
    }
    c->in.size += (size_t)got;
    c->busy++;
    enum err e = parse(c);
    c->busy--;
    if (e != ERR_OK && !c->closed && !c->broken) {
        break_off(c);
    } else {
        free_if_unused(c);
    }
}

/* ---- out ------------------------------------------------------------------------------------ */

static void connected(struct rpc_channel *c)
{
    c->connected = true;
    event_add(c->readable, NULL);
    c->busy++;
    if (c->callbacks.on_connected != NULL) {
        c->callbacks.on_connected(c->callbacks.ctx);
    }
    c->busy--;
    free_if_unused(c);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct rpc_channel *c = ctx;
    if (!c->connected) {
        if (socket_connect_result(fd) != 0) {
            break_off(c);
            return;
        }
        if (c->out.size > 0) {
            event_add(c->writable, NULL);
        }
        connected(c); /* the last thing: it may free the channel */
        return;
    }
    ssize_t sent = send(fd, c->out.data, c->out.size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        break_off(c);
        return;
    }
    buffer_consume(&c->out, sent > 0 ? (size_t)sent : 0);
    if (c->out.size > 0) {
        event_add(c->writable, NULL);
    }
}

static void on_failed(void *ctx)
{
    break_off(ctx);
}

static struct event *new_event(struct rpc_channel *c, short what, event_callback_fn cb)
{
    struct event *event = event_new(loop_base(c->loop), c->fd, what, cb, c);
    ASSERT(event != NULL);
    return event;
}

struct rpc_channel *rpc_channel_open(struct loop *loop, const struct address *to,
                                     const struct rpc_channel_callbacks *callbacks)
{
    struct rpc_channel *c = NEW(struct rpc_channel);
    c->loop = loop;
    c->callbacks = *callbacks;
    TAILQ_INIT(&c->calls);
    c->failed = loop_timer_new(loop, on_failed, c);
    struct socket_address where;
    c->fd = address_resolve_numeric(to, &where) == ERR_OK ? socket_connect(&where) : -1;
    if (c->fd < 0) {
        c->broken = true;
        loop_timer_set(c->failed, 0);
    } else {
        c->readable = new_event(c, EV_READ | EV_PERSIST, on_readable);
        c->writable = new_event(c, EV_WRITE, on_writable);
        event_add(c->writable, NULL);
    }
    return c;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void on_timeout(void *ctx)
{
    struct open_call *call = ctx;
    struct rpc_channel *c = call->channel;
    const struct rpc_answer late = {.err = ERR_TIMEOUT, .message = "no answer in time"};
    c->busy++;
    answer_call(call, &late);
    c->busy--;
    free_if_unused(c);
}

void rpc_channel_call(struct rpc_channel *c, const char *method, struct bytes params,
                      uint64_t timeout_us, rpc_answer_fn *answer, void *ctx)
{
    ASSERT(!c->closed);
    struct open_call *call = NEW(struct open_call);
    call->channel = c;
    call->msgid = c->next_msgid++;
    call->answer = answer;
    call->ctx = ctx;
    if (timeout_us > 0) {
        call->timeout = loop_timer_new(c->loop, on_timeout, call);
        loop_timer_set(call->timeout, timeout_us);
    }
    TAILQ_INSERT_TAIL(&c->calls, call, entry);
    if (c->broken) {
        loop_timer_set(c->failed, 0);
        return;
    }
    rpc_write_request(&c->out, call->msgid, bytes_of_string(method), params);
    if (c->connected) {
        event_add(c->writable, NULL);
    }
}
