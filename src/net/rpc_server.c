#include "net/rpc_server.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/rpc_server_internal.h"

enum {
    INTAKE_US =
        1000, /* clients are listened to for so long in a round; then it is the peers' turn */
    TICK_US = 1000000,
    SPARE_CALLS_MAX = 4096,
    SMALL_BYTES = 4096,
    FLOOD = 16, /* times what a connection may have unsent */
};

/* ---- calls ---- */

static struct rpc_call *take_call(struct rpc_server *s)
{
    struct rpc_call *call = LIST_FIRST(&s->spare);
    if (call == NULL) {
        return NEW(struct rpc_call);
    }
    LIST_REMOVE(call, entry);
    s->spare_count--;
    *call = (struct rpc_call){0};
    return call;
}

void rpc_server_dispatch(struct rpc_connection *c, const struct rpc_message *m)
{
    struct rpc_server *s = c->server;
    struct rpc_call *call = take_call(s);
    call->connection = c;
    call->msgid = m->msgid;
    call->is_notification = m->type == RPC_NOTIFY;
    LIST_INSERT_HEAD(&c->calls, call, entry);
    c->in_flight++;
    s->in_flight++;
    s->requests_total++;
    s->callbacks.on_request(s->callbacks.ctx, call, m->method, m->params);
}

static void end_call(struct rpc_call *call)
{
    struct rpc_connection *c = call->connection;
    struct rpc_server *s = c->server;
    ASSERT(c->in_flight > 0);
    LIST_REMOVE(call, entry);
    c->in_flight--;
    s->in_flight--;
    call->connection = NULL; /* a second answer is a programmer's error and is caught */
    if (s->spare_count < SPARE_CALLS_MAX && !s->closed) {
        LIST_INSERT_HEAD(&s->spare, call, entry);
        s->spare_count++;
    } else {
        free(call);
    }
    rpc_connection_resume(c);
    rpc_connection_close_if_served(c);
}

/* ---- how much waits to be read ---- */

/* Those that were paused because of the others. */
static void resume_all(struct rpc_server *s)
{
    s->crowded = false;
    struct rpc_connection *c;
    TAILQ_FOREACH (c, &s->connections, entry) {
        rpc_connection_resume(c);
    }
}

void rpc_server_count(struct rpc_connection *c)
{
    struct rpc_server *s = c->server;
    const struct rpc_server_options *o = &s->options;
    size_t unsent = rpc_connection_unsent(c);
    s->unsent = s->unsent - c->counted + unsent;
    c->counted = unsent;
    bool again = c->refused && unsent <= o->output_bytes_max / 2;
    if (again) {
        c->refused = false;
    }
    if (s->crowded && s->unsent <= o->output_bytes_all / 2) {
        resume_all(s);
        again = true;
    }
    if (again && s->callbacks.on_takes_again != NULL) {
        s->callbacks.on_takes_again(s->callbacks.ctx);
    }
}

bool rpc_call_takes_answer(struct rpc_call *call)
{
    struct rpc_connection *c = call->connection;
    if (c->closed || rpc_connection_has_room(c)) {
        return true;
    }
    c->refused = true;
    return false;
}

/* Is there somebody to answer to? */
static bool wants_answer(const struct rpc_call *call)
{
    ASSERT(call->connection != NULL);
    return !call->connection->closed && !call->is_notification;
}

/* Commands are carried out when they are committed, whether or not their results are being read. */
static bool is_flooded(const struct rpc_call *call, size_t size)
{
    const struct rpc_connection *c = call->connection;
    return size > SMALL_BYTES &&
           rpc_connection_unsent(c) > (size_t)FLOOD * c->server->options.output_bytes_max;
}

void rpc_reply(struct rpc_call *call, struct bytes result)
{
    if (wants_answer(call) && is_flooded(call, result.size)) {
        rpc_fail(call, ERR_OUTCOME_UNKNOWN,
                 "it was done, but there was no room for the result beside others that were not "
                 "read yet",
                 NULL, (struct bytes){0});
        return;
    }
    if (wants_answer(call)) {
        rpc_write_result(&call->connection->out, call->msgid, result);
        rpc_connection_mark_dirty(call->connection);
    }
    end_call(call);
}

void rpc_fail(struct rpc_call *call, enum err e, const char *message, const char *leader,
              struct bytes data)
{
    if (wants_answer(call)) {
        struct rpc_error error = {
            .code = bytes_of_string(err_name(e)),
            .message = bytes_of_string(message == NULL ? err_message(e) : message),
            .leader = leader == NULL ? (struct bytes){0} : bytes_of_string(leader),
            .data = data,
        };
        rpc_write_error(&call->connection->out, call->msgid, &error);
        rpc_connection_mark_dirty(call->connection);
    }
    end_call(call);
}

bool rpc_call_is_notification(const struct rpc_call *call)
{
    return call->is_notification;
}

bool rpc_call_connected(const struct rpc_call *call)
{
    return !call->connection->closed;
}

void rpc_call_on_disconnect(struct rpc_call *call, void (*cb)(void *ctx, struct rpc_call *call),
                            void *ctx)
{
    call->on_disconnect = cb;
    call->ctx = ctx;
}

bool rpc_call_notify(struct rpc_call *call, struct bytes method, struct bytes params)
{
    struct rpc_connection *c = call->connection;
    if (c->closed || rpc_connection_unsent(c) >= c->server->options.output_bytes_max) {
        return false;
    }
    rpc_write_notify(&c->out, method, params);
    rpc_connection_mark_dirty(c);
    return true;
}

const char *rpc_call_client(const struct rpc_call *call)
{
    struct rpc_connection *c = call->connection;
    if (c->client == NULL) {
        char text[ADDRESS_TEXT_MAX];
        c->client = alloc_string(socket_address_text(&c->from, text));
    }
    return c->client;
}

/* ---- rounds ---- */

static void intake(void *ctx)
{
    struct rpc_server *s = ctx;
    if (TAILQ_EMPTY(&s->ready)) {
        return;
    }
    uint64_t end_us = clock_now_us(&s->clock) + INTAKE_US;
    struct rpc_connection *c;
    while ((c = TAILQ_FIRST(&s->ready)) != NULL) {
        TAILQ_REMOVE(&s->ready, c, ready_entry);
        c->ready = false;
        rpc_connection_intake(c);
        if (clock_now_us(&s->clock) >= end_us) {
            break;
        }
    }
    if (!TAILQ_EMPTY(&s->ready)) { /* they keep their place: first come, first served */
        loop_again(s->loop);
    }
}

static void flush(void *ctx)
{
    struct rpc_server *s = ctx;
    struct rpc_connection *c;
    while ((c = TAILQ_FIRST(&s->dirty)) != NULL) {
        TAILQ_REMOVE(&s->dirty, c, dirty_entry);
        c->dirty = false;
        rpc_connection_flush(c);
    }
}

/* Is it only taking up room? Sending half a message, or taking no answers, for too long is as bad
 * as saying nothing. */
static bool is_stale(const struct rpc_connection *c, uint64_t silent_us)
{
    const struct rpc_server_options *o = &c->server->options;
    bool stalled = rpc_connection_unsent(c) > 0 || (c->in.size > 0 && !c->paused);
    if (stalled) {
        return silent_us >= (uint64_t)o->stall_timeout_ms * 1000;
    }
    return o->idle_timeout_ms > 0 && c->in_flight == 0 &&
           silent_us >= (uint64_t)o->idle_timeout_ms * 1000;
}

static void tick(void *ctx)
{
    struct rpc_server *s = ctx;
    uint64_t now_us = clock_now_us(&s->clock);
    struct rpc_connection *next;
    for (struct rpc_connection *c = TAILQ_FIRST(&s->connections); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (!c->closed && is_stale(c, now_us - c->active_us)) {
            rpc_connection_close(c);
        }
    }
    loop_timer_set(s->tick, TICK_US);
}

static void on_accept(void *ctx, int fd, const struct socket_address *from)
{
    struct rpc_server *s = ctx;
    if (s->connections_count >= s->options.connections_max) {
        if (quiet_allows(&s->quiet, clock_now_us(&s->clock))) {
            log_warn(s->log, "client refused: too many connections",
                     log_u64("connections", s->connections_count));
        }
        close(fd);
        return;
    }
    rpc_connection_new(s, fd, from);
}

/* ---- life ---- */

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0) {
        *option = value;
    }
}

enum err rpc_server_open(struct loop *loop, const struct rpc_server_options *options,
                         const struct rpc_server_callbacks *callbacks, const struct log *log,
                         struct rpc_server **out, struct why *why)
{
    struct rpc_server *s = NEW(struct rpc_server);
    s->loop = loop;
    s->clock = loop_clock();
    s->options = *options;
    set_default(&s->options.frame_bytes_max, 4u << 20);
    set_default(&s->options.in_flight_max, 4096);
    set_default(&s->options.output_bytes_max, 1u << 20);
    set_default(&s->options.output_bytes_all, 64u << 20);
    set_default(&s->options.connections_max, 1024);
    set_default(&s->options.stall_timeout_ms, 30000);
    s->callbacks = *callbacks;
    s->log = log;
    TAILQ_INIT(&s->connections);
    TAILQ_INIT(&s->ready);
    TAILQ_INIT(&s->dirty);
    LIST_INIT(&s->spare);
    enum err e = listener_open(loop, &options->listen, on_accept, s, log, &s->listener, why);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    s->address = *listener_address(s->listener);
    s->tick = loop_timer_new(loop, tick, s);
    loop_timer_set(s->tick, TICK_US);
    loop_at_round_end(loop, LOOP_INTAKE, intake, s);
    loop_at_round_end(loop, LOOP_FLUSH, flush, s);
    *out = s;
    return ERR_OK;
}

void rpc_server_stop_accepting(struct rpc_server *s)
{
    s->draining = true;
    listener_close(s->listener);
    s->listener = NULL;
}

void rpc_server_free_if_unused(struct rpc_server *s)
{
    if (!s->closed || !TAILQ_EMPTY(&s->connections)) {
        return;
    }
    struct rpc_call *call;
    while ((call = LIST_FIRST(&s->spare)) != NULL) {
        LIST_REMOVE(call, entry);
        free(call);
    }
    free(s);
}

void rpc_server_close(struct rpc_server *s)
{
    if (s == NULL) {
        return;
    }
    s->callbacks.on_takes_again = NULL; /* whom that is for may be gone */
    rpc_server_stop_accepting(s);
    flush(s);
    loop_at_round_end_remove(s->loop, LOOP_INTAKE, intake, s);
    loop_at_round_end_remove(s->loop, LOOP_FLUSH, flush, s);
    loop_timer_free(s->tick);
    struct rpc_connection *next;
    for (struct rpc_connection *c = TAILQ_FIRST(&s->connections); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        rpc_connection_close(c);
    }
    s->closed = true;
    rpc_server_free_if_unused(s);
}

const struct address *rpc_server_address(const struct rpc_server *s)
{
    return &s->address;
}

uint32_t rpc_server_connections(const struct rpc_server *s)
{
    return s->connections_count;
}

uint64_t rpc_server_requests_total(const struct rpc_server *s)
{
    return s->requests_total;
}

uint32_t rpc_server_in_flight(const struct rpc_server *s)
{
    return s->in_flight;
}
