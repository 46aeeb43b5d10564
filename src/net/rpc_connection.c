#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/rpc_server_internal.h"
#include "net/wrong_port.h"

enum { BUFFER_KEEP_BYTES = 64 * 1024 };

static void mark_ready(struct rpc_connection *c)
{
    if (!c->ready) {
        c->ready = true;
        TAILQ_INSERT_TAIL(&c->server->ready, c, ready_entry);
        loop_want(c->server->loop, LOOP_INTAKE);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    mark_ready(ctx);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct rpc_connection *c = ctx;
    c->blocked = false;
    rpc_connection_flush(c);
}

void rpc_connection_new(struct rpc_server *s, int fd, const struct socket_address *from)
{
    struct rpc_connection *c = NEW(struct rpc_connection);
    c->server = s;
    c->fd = fd;
    c->from = *from;
    c->active_us = clock_now_us(&s->clock);
    LIST_INIT(&c->calls);
    c->readable = event_new(loop_base(s->loop), fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(loop_base(s->loop), fd, EV_WRITE, on_writable, c);
    ASSERT(c->readable != NULL && c->writable != NULL);
    event_add(c->readable, NULL);
    TAILQ_INSERT_TAIL(&s->connections, c, entry);
    s->connections_count++;
}

void rpc_connection_free_if_unused(struct rpc_connection *c)
{
    if (!c->closed || c->in_flight > 0 || c->busy > 0) {
        return;
    }
    struct rpc_server *s = c->server;
    TAILQ_REMOVE(&s->connections, c, entry);
    buffer_close(&c->in);
    buffer_close(&c->out);
    free(c->client);
    free(c);
    rpc_server_free_if_unused(s);
}

void rpc_connection_close(struct rpc_connection *c)
{
    if (c->closed) {
        return;
    }
    c->closed = true;
    c->busy++;
    c->server->connections_count--;
    c->out_sent = c->out.size; /* nobody will read it */
    rpc_server_count(c);
    if (c->ready) {
        TAILQ_REMOVE(&c->server->ready, c, ready_entry);
    }
    if (c->dirty) {
        TAILQ_REMOVE(&c->server->dirty, c, dirty_entry);
    }
    event_free(c->readable);
    event_free(c->writable);
    close(c->fd);
    struct rpc_call *next;
    for (struct rpc_call *call = LIST_FIRST(&c->calls); call != NULL; call = next) {
        next = LIST_NEXT(call, entry);
        if (call->on_disconnect != NULL) {
            call->on_disconnect(call->ctx, call);
        }
    }
    c->busy--;
    rpc_connection_free_if_unused(c);
}

/* ---- in ---- */

static void refuse(struct rpc_connection *c, enum err e, struct bytes input)
{
    struct rpc_server *s = c->server;
    if (quiet_allows(&s->quiet, clock_now_us(&s->clock))) {
        char text[ADDRESS_TEXT_MAX];
        log_warn(s->log, "client connection closed", log_text("err", err_name(e)),
                 log_text("client", socket_address_text(&c->from, text)),
                 log_text("reason", e == ERR_TOO_LARGE
                                        ? "oversized message"
                                        : wrong_port_guess(input, "not MessagePack-RPC")),
                 log_u64("not_logged", s->quiet.mentioned));
    }
    wrong_port_tell(c->fd, input,
                    "this is the client port of a moonkeeper node, which speaks MessagePack-RPC; "
                    "HTTP has a port of its own");
    rpc_connection_close(c);
}

/* When too much is held for all together, those go on that take what they are sent. */
bool rpc_connection_has_room(struct rpc_connection *c)
{
    struct rpc_server *s = c->server;
    size_t unsent = rpc_connection_unsent(c);
    if (unsent > 0 && s->unsent >= s->options.output_bytes_all) {
        s->crowded = true;
        return false;
    }
    return unsent < s->options.output_bytes_max;
}

static bool has_room(struct rpc_connection *c)
{
    return c->in_flight < c->server->options.in_flight_max && rpc_connection_has_room(c);
}

static void pause_reading(struct rpc_connection *c)
{
    c->paused = true;
    event_del(c->readable);
}

void rpc_connection_resume(struct rpc_connection *c)
{
    const struct rpc_server_options *o = &c->server->options;
    if (!c->paused || c->closed || c->ended || c->server->draining) {
        return;
    }
    /* Not before half of it is free: turning reading on and off costs system calls. */
    if (c->in_flight > o->in_flight_max / 2 || rpc_connection_unsent(c) > o->output_bytes_max / 2 ||
        !rpc_connection_has_room(c)) {
        return;
    }
    c->paused = false;
    event_add(c->readable, NULL);
    if (c->in.size > 0) {
        c->backlog = true;
        mark_ready(c);
    }
}

/* Hand on the whole messages of input; returns the bytes that they took. */
static size_t parse(struct rpc_connection *c, struct bytes input)
{
    size_t used = 0;
    while (!c->closed && used < input.size) {
        if (!has_room(c) || c->server->draining) {
            pause_reading(c);
            break;
        }
        struct bytes rest = bytes_of(input.data + used, input.size - used);
        size_t size = 0;
        struct rpc_message m;
        enum err e =
            rpc_scan(&c->scan, rest, c->server->options.frame_bytes_max, READER_DEPTH_MAX, &size);
        if (e == ERR_TRUNCATED) {
            break;
        }
        if (e == ERR_OK) {
            e = rpc_decode(bytes_of(rest.data, size), &m);
        }
        if (e == ERR_OK && m.type == RPC_RESPONSE) { /* nobody asked it anything */
            e = ERR_INVALID;
        }
        if (e != ERR_OK) {
            refuse(c, e, rest);
            break;
        }
        used += size;
        rpc_server_dispatch(c, &m);
    }
    return used;
}

static void keep_rest(struct rpc_connection *c, struct bytes input, size_t used)
{
    if (input.data == c->in.data) {
        buffer_consume(&c->in, used);
    } else {
        buffer_add(&c->in, input.data + used, input.size - used);
    }
    if (c->in.size == 0 && c->in.capacity > 0) {
        buffer_close(&c->in); /* idle connections hold no memory */
    }
}

/* The client says no more. It may still listen: what it has asked is answered before the connection
 * is closed. Who left altogether is found out by the first answer. */
static void take_end(struct rpc_connection *c)
{
    c->ended = true;
    event_del(c->readable);
    c->busy++;
    struct rpc_call *next;
    for (struct rpc_call *call = LIST_FIRST(&c->calls); call != NULL; call = next) {
        next = LIST_NEXT(call, entry);
        if (call->on_disconnect != NULL) { /* it may go on for ever */
            call->on_disconnect(call->ctx, call);
        }
    }
    c->busy--;
    rpc_connection_close_if_served(c);
}

void rpc_connection_close_if_served(struct rpc_connection *c)
{
    if (c->ended && !c->closed && c->in_flight == 0 && rpc_connection_unsent(c) == 0) {
        rpc_connection_close(c);
    } else {
        rpc_connection_free_if_unused(c);
    }
}

void rpc_connection_intake(struct rpc_connection *c)
{
    struct bytes input = buffer_bytes(&c->in);
    if (c->backlog) {
        c->backlog = false;
    } else {
        ssize_t got = recv(c->fd, c->server->scratch, RPC_SCRATCH_BYTES, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (got == 0) {
            take_end(c);
            return;
        }
        if (got < 0) {
            rpc_connection_close(c);
            return;
        }
        input = bytes_of(c->server->scratch, (size_t)got);
        if (c->in.size > 0) {
            buffer_add_bytes(&c->in, input);
            input = buffer_bytes(&c->in);
        }
        c->active_us = clock_now_us(&c->server->clock);
    }
    c->busy++;
    size_t used = parse(c, input);
    if (!c->closed) { /* NOLINT(clang-analyzer-unix.Malloc): it is busy, so nobody freed it */
        keep_rest(c, input, used);
    }
    c->busy--;
    rpc_connection_free_if_unused(c);
}

/* ---- out ---- */

void rpc_connection_mark_dirty(struct rpc_connection *c)
{
    rpc_server_count(c);
    if (!c->dirty && !c->blocked) {
        c->dirty = true;
        TAILQ_INSERT_TAIL(&c->server->dirty, c, dirty_entry);
        loop_want(c->server->loop, LOOP_FLUSH);
    }
}

/* All is written. A buffer that was needed once for something large is not kept. */
static void forget_output(struct rpc_connection *c)
{
    c->out_sent = 0;
    if (c->out.capacity > BUFFER_KEEP_BYTES) {
        buffer_close(&c->out);
    } else {
        buffer_clear(&c->out);
    }
}

void rpc_connection_flush(struct rpc_connection *c)
{
    size_t unsent = rpc_connection_unsent(c);
    if (c->closed || c->blocked || unsent == 0) {
        return;
    }
    ssize_t sent = send(c->fd, c->out.data + c->out_sent, unsent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        rpc_connection_close(c);
        return;
    }
    if (sent > 0) {
        c->out_sent += (size_t)sent;
        c->active_us = clock_now_us(&c->server->clock);
    }
    if (c->out_sent == c->out.size) {
        forget_output(c);
    } else {
        if (c->out_sent > c->out.size / 2) {
            buffer_consume(&c->out, c->out_sent);
            c->out_sent = 0;
        }
        c->blocked = true;
        event_add(c->writable, NULL);
    }
    rpc_server_count(c);
    rpc_connection_resume(c);
    rpc_connection_close_if_served(c);
}
