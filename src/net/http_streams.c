#include "net/http_streams.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <uthash.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/quiet.h"

enum { SWEEP_US = 1000000 };

struct stream {
    struct http_streams *set;
    struct bufferevent *bev; /* the connection's; it tells us when it goes */
    UT_hash_handle hh;       /* by bev, in order of arrival */
    bool adopted;            /* its connection is there, and will tell */
    void *call;              /* the request that is being served; NULL: none */
    bool ended;              /* by us: its bytes do not count any more */
    uint64_t since_us;       /* since when it is idle, or its request incomplete */
    uint64_t stands_us;      /* since when nothing of its answer was taken */
    size_t received_bytes;   /* of its request */
    size_t unsent_bytes;
};

struct http_streams {
    struct http_streams_options options;
    struct clock_port clock;
    const struct log *log;
    struct stream *streams;
    struct loop_timer *timer;
    struct event *adoption;
    size_t received_bytes;
    size_t unsent_bytes;
    struct quiet quiet;
};

static uint64_t now_us(const struct http_streams *set)
{
    return clock_now_us(&set->clock);
}

static uint32_t stream_count(const struct http_streams *set)
{
    return HASH_COUNT(set->streams);
}

static struct stream *find(struct http_streams *set, struct bufferevent *bev)
{
    struct stream *s;
    HASH_FIND_PTR(set->streams, &bev, s);
    return s;
}

/* ---- ending them ---------------------------------------------------------------------------- */

static void forget_bytes(struct stream *s)
{
    s->set->received_bytes -= s->received_bytes;
    s->set->unsent_bytes -= s->unsent_bytes;
    s->received_bytes = s->unsent_bytes = 0;
}

static void end(struct stream *s, const char *why)
{
    struct http_streams *set = s->set;
    forget_bytes(s);
    s->ended = true;
    shutdown(bufferevent_getfd(s->bev), SHUT_RDWR);
    if (quiet_allows(&set->quiet, now_us(set))) {
        log_warn(set->log, "closed an HTTP connection", log_text("reason", why),
                 log_u64("connections", stream_count(set)),
                 log_u64("suppressed", set->quiet.mentioned));
    }
}

/* The one that has waited for longest, by the time that since() gives; 0: not this one. */
static struct stream *oldest(struct http_streams *set, uint64_t (*since)(const struct stream *s))
{
    struct stream *found = NULL;
    for (struct stream *s = set->streams; s != NULL; s = s->hh.next) {
        uint64_t at = s->ended || !s->adopted ? 0 : since(s);
        if (at != 0 && (found == NULL || at < since(found))) {
            found = s;
        }
    }
    return found;
}

static uint64_t unserved_since(const struct stream *s)
{
    return s->call != NULL ? 0 : s->since_us;
}

static uint64_t incomplete_since(const struct stream *s)
{
    return s->call != NULL || s->received_bytes == 0 ? 0 : s->since_us;
}

static uint64_t unread_since(const struct stream *s)
{
    return s->unsent_bytes == 0 ? 0 : s->stands_us;
}

static void shed(struct http_streams *set)
{
    struct stream *s;
    while (set->received_bytes > set->options.received_bytes_max &&
           (s = oldest(set, incomplete_since)) != NULL) {
        end(s, "incomplete requests take too much memory");
    }
    while (set->unsent_bytes > set->options.unsent_bytes_max &&
           (s = oldest(set, unread_since)) != NULL) {
        end(s, "answers that are not read take too much memory");
    }
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *ctx)
{
    (void)in;
    struct stream *s = ctx;
    if (s->ended || info->n_added == 0) {
        return;
    }
    if (s->received_bytes == 0) {
        s->since_us = now_us(s->set);
    }
    s->received_bytes += info->n_added;
    s->set->received_bytes += info->n_added;
    shed(s->set);
}

static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *ctx)
{
    struct stream *s = ctx;
    struct http_streams *set = s->set;
    if (s->ended) {
        return;
    }
    if (s->unsent_bytes == 0 || info->n_deleted > 0) {
        s->stands_us = now_us(set);
    }
    size_t left = evbuffer_get_length(out);
    set->unsent_bytes += left - s->unsent_bytes;
    s->unsent_bytes = left;
    shed(set);
}

/* ---- coming and going ----------------------------------------------------------------------- */

static void forget(struct stream *s)
{
    forget_bytes(s);
    HASH_DEL(s->set->streams, s);
    free(s);
}

static void on_closed(struct evhttp_connection *connection, void *ctx)
{
    (void)connection;
    struct stream *s = ctx;
    struct http_streams *set = s->set;
    void *call = s->call;
    evbuffer_remove_cb(bufferevent_get_input(s->bev), on_input, s);
    evbuffer_remove_cb(bufferevent_get_output(s->bev), on_output, s);
    forget(s);
    loop_timer_set(set->timer, 0);
    if (call != NULL) {
        set->options.gone(set->options.ctx, call);
    }
}

/* evhttp makes its connection after it has asked for the stream, and is then what the stream's
 * callbacks are given. This runs before anything can have come in. */
static void adopt(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct http_streams *set = ctx;
    for (struct stream *s = set->streams; s != NULL; s = s->hh.next) {
        void *connection = NULL;
        if (!s->adopted) {
            bufferevent_getcb(s->bev, NULL, NULL, NULL, &connection);
            ASSERT(connection != NULL);
            evhttp_connection_set_closecb(connection, on_closed, s);
            s->adopted = true;
        }
    }
}

/* There is always room for one more where another can go for it. */
static void look_for_room(struct http_streams *set)
{
    bool room =
        stream_count(set) < set->options.connections_max || oldest(set, unserved_since) != NULL;
    set->options.accept(set->options.ctx, room);
}

static void sweep(void *ctx)
{
    struct http_streams *set = ctx;
    uint64_t now = now_us(set), patience_us = (uint64_t)set->options.request_ms * 1000;
    for (struct stream *s = set->streams; s != NULL; s = s->hh.next) {
        uint64_t since_us = incomplete_since(s);
        if (since_us != 0 && now - since_us > patience_us) {
            end(s, "a request took too long to arrive");
        }
    }
    look_for_room(set);
    if (stream_count(set) > 0) {
        loop_timer_set(set->timer, SWEEP_US);
    }
}

void http_streams_add(struct http_streams *set, struct bufferevent *bev)
{
    if (stream_count(set) == 0) {
        loop_timer_set(set->timer, SWEEP_US);
    }
    struct stream *s = NEW(struct stream);
    s->set = set;
    s->bev = bev;
    s->since_us = now_us(set);
    evbuffer_add_cb(bufferevent_get_input(bev), on_input, s);
    evbuffer_add_cb(bufferevent_get_output(bev), on_output, s);
    if (stream_count(set) >= set->options.connections_max) {
        struct stream *old = oldest(set, unserved_since);
        if (old != NULL) {
            end(old, "there are too many connections");
        }
    }
    HASH_ADD_PTR(set->streams, bev, s);
    event_active(set->adoption, EV_TIMEOUT, 0);
    look_for_room(set);
}

void http_streams_asked(struct http_streams *set, struct bufferevent *bev, void *call)
{
    struct stream *s = find(set, bev);
    if (s != NULL) {
        s->call = call;
    }
}

void http_streams_answered(struct http_streams *set, struct bufferevent *bev)
{
    struct stream *s = find(set, bev);
    if (s == NULL) {
        return;
    }
    s->call = NULL;
    s->since_us = now_us(set);
    if (!s->ended) { /* what is there already is of its next request */
        size_t next = evbuffer_get_length(bufferevent_get_input(bev));
        set->received_bytes += next - s->received_bytes;
        s->received_bytes = next;
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

struct http_streams *http_streams_new(struct loop *loop, const struct http_streams_options *options,
                                      const struct log *log)
{
    struct http_streams *set = NEW(struct http_streams);
    set->options = *options;
    set->clock = loop_clock();
    set->log = log;
    set->timer = loop_timer_new(loop, sweep, set);
    set->adoption = event_new(loop_base(loop), -1, 0, adopt, set);
    ASSERT(set->adoption != NULL);
    event_priority_set(set->adoption, 0);
    return set;
}

void http_streams_free(struct http_streams *set)
{
    if (set == NULL) {
        return;
    }
    struct stream *s, *next;
    HASH_ITER (hh, set->streams, s, next) {
        forget(s);
    }
    loop_timer_free(set->timer);
    event_free(set->adoption);
    free(set);
}
