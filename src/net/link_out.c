/* A connection that we dialled. Its life is a circle: wait, resolve, connect, greet, up, wait ...
 */
#include "net/links_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/socket.h"

enum {
    /* Frames of this size or less are heartbeats, votes and answers: they may exceed the queue's
     * limit by the reserve, so that a queue full of entries does not silence a node. */
    SMALL_FRAME_BYTES = 4096,
    SMALL_RESERVE_BYTES = 256 * 1024,
    /* Frames that give way to the others: so much of them waits, and so much of what was written
     * may be unsent in the kernel before the next of them go there: so much at a time, or one. */
    BEHIND_BYTES_MAX = 4 << 20,
    BEHIND_UNSENT_BYTES = 64 * 1024,
    BEHIND_BATCH_BYTES = 16 * 1024,
    ROUND_TRIP_WEIGHT = 8, /* each new measurement counts for one in so many */
};

static void on_timer(void *ctx);
static void on_readable(evutil_socket_t fd, short what, void *ctx);
static void on_writable(evutil_socket_t fd, short what, void *ctx);

struct link_out *link_out_new(struct links *l, const struct transport_peer *peer)
{
    struct link_out *o = NEW(struct link_out);
    o->links = l;
    o->peer = peer->id;
    o->name = alloc_string(peer->name);
    o->address = alloc_string(dial_map_address(l->options.dial, peer->name, peer->address));
    o->fd = -1;
    o->state = LINK_WAITING;
    o->timer = loop_timer_new(l->loop, on_timer, o);
    loop_timer_set(o->timer, 0);
    return o;
}

/* Give up the connection and what was queued for it. */
static void disconnect(struct link_out *o)
{
    resolver_cancel(o->resolver);
    o->resolver = NULL;
    if (o->dirty) {
        TAILQ_REMOVE(&o->links->dirty, o, dirty_entry);
        o->dirty = false;
    }
    if (o->readable != NULL) {
        event_free(o->readable);
        event_free(o->writable);
        o->readable = o->writable = NULL;
    }
    if (o->fd >= 0) {
        close(o->fd);
        o->fd = -1;
    }
    o->stats.dropped_frames += o->queue.count + o->behind.count;
    frame_queue_close(&o->queue);
    frame_queue_close(&o->behind);
    frame_reader_close(&o->reader);
    o->blocked = false;
    o->ping_us = 0;
    o->state = LINK_WAITING;
}

void link_out_drop(struct link_out *o)
{
    disconnect(o);
    loop_timer_stop(o->timer);
    o->gone = true;
    TAILQ_REMOVE(&o->links->outs, o, entry);
    TAILQ_INSERT_TAIL(&o->links->gone, o, entry);
}

void link_out_free(struct link_out *o)
{
    ASSERT(o->gone);
    loop_timer_free(o->timer);
    free(o->name);
    free(o->address);
    free(o);
}

static void report_down(struct link_out *o)
{
    if (o->reported) {
        o->reported = false;
        o->links->callbacks.on_down(o->links->callbacks.ctx, o->peer);
    }
}

/* Doubles from attempt to attempt, with half of it random: nodes that lost the same peer do not
 * return to it in step. */
static uint32_t next_backoff_us(struct link_out *o)
{
    const struct links_options *options = &o->links->options;
    uint32_t max_us = options->backoff_max_ms * 1000;
    uint32_t wait_us = o->backoff_us == 0 ? options->backoff_min_ms * 1000 : o->backoff_us;
    o->backoff_us = wait_us > max_us / 2 ? max_us : 2 * wait_us;
    return (uint32_t)rng_range(&o->links->rng, wait_us / 2, wait_us + 1);
}

static void retry_later(struct link_out *o)
{
    disconnect(o);
    loop_timer_set(o->timer, next_backoff_us(o));
}

/* The connection broke. One that was up for a while is dialled again at once: its peer may only
 * have restarted. One that breaks as soon as it is up keeps backing off. */
static void lose(struct link_out *o, const char *reason)
{
    uint64_t stable_us = (uint64_t)o->links->options.backoff_max_ms * 1000;
    bool was_stable = o->state == LINK_UP && links_now_us(o->links) - o->up_us >= stable_us;
    if (o->state == LINK_UP) {
        log_info(o->links->log, "link to peer lost", log_text("peer", o->name),
                 log_text("reason", reason));
    }
    if (was_stable) {
        disconnect(o);
        o->backoff_us = 0;
        loop_timer_set(o->timer, 0);
    } else {
        retry_later(o);
    }
    report_down(o);
}

void link_out_set_address(struct link_out *o, const char *address)
{
    free(o->address);
    o->address = alloc_string(address);
    disconnect(o);
    o->backoff_us = 0;
    loop_timer_set(o->timer, 0); /* which also reports it down, from the loop */
}

void link_out_hurry(struct link_out *o)
{
    if (o->state == LINK_WAITING && o->stats.refused == ERR_OK) {
        o->backoff_us = 0;
        loop_timer_set(o->timer, 0);
    }
}

/* ---- dialling ---- */

static void complain(struct link_out *o, const char *message, enum err e, const char *reason)
{
    if (quiet_allows(&o->quiet, links_now_us(o->links))) {
        log_warn(o->links->log, message, log_text("peer", o->name), log_text("address", o->address),
                 log_text("err", err_name(e)), log_text("reason", reason));
    }
}

static void connect_to(struct link_out *o, const struct socket_address *to)
{
    int fd = socket_connect(to);
    if (fd < 0) {
        complain(o, "cannot dial peer", ERR_UNREACHABLE, strerror(errno));
        retry_later(o);
        return;
    }
    o->fd = fd;
    o->state = LINK_CONNECTING;
    socket_set_user_timeout(fd, o->links->options.dead_after_ms);
    socket_set_unsent_low(fd, BEHIND_UNSENT_BYTES);
    o->readable = links_event(o->links, fd, EV_READ | EV_PERSIST, on_readable, o);
    o->writable = links_event(o->links, fd, EV_WRITE, on_writable, o);
    event_add(o->writable, NULL);
    loop_timer_set(o->timer, (uint64_t)o->links->options.handshake_timeout_ms * 1000);
}

static void on_resolved(void *ctx, const struct socket_address *to, const struct why *why)
{
    struct link_out *o = ctx;
    o->resolver = NULL;
    if (to == NULL) {
        complain(o, "cannot dial peer", ERR_UNREACHABLE, why->text);
        retry_later(o);
    } else {
        connect_to(o, to);
    }
}

static void dial(struct link_out *o)
{
    struct address address;
    struct why why = {0};
    struct socket_address to;
    if (address_parse(o->address, 0, &address, &why) != ERR_OK) {
        complain(o, "cannot dial peer", ERR_INVALID, why.text);
        retry_later(o);
    } else if (address_resolve_numeric(&address, &to) == ERR_OK) {
        connect_to(o, &to);
    } else {
        o->state = LINK_RESOLVING; /* takes as long as it takes: no timer */
        o->resolver = resolver_start(o->links->loop, &address, on_resolved, o);
    }
}

/* ---- greeting ---- */

/* There is nothing else to write: some of those that give way may go, and the next when the kernel
 * has sent most of what it holds (BEHIND_UNSENT_BYTES). What comes meanwhile waits for no more than
 * that, a batch and one frame. More than one of them, for a busy machine comes by here seldom. */
static void let_some_through(struct link_out *o)
{
    if (o->behind.count == 0 || o->state != LINK_UP) {
        return;
    }
    do {
        frame_queue_move(&o->behind, &o->queue);
    } while (o->behind.count > 0 && o->queue.bytes < BEHIND_BATCH_BYTES);
    event_add(o->writable, NULL);
}

static void write_queue(struct link_out *o)
{
    switch (frame_queue_write(&o->queue, o->fd)) {
    case ERR_OK:
        o->blocked = false;
        let_some_through(o);
        break;
    case ERR_BUSY:
        o->blocked = true;
        event_add(o->writable, NULL);
        break;
    default:
        lose(o, "write failed");
        break;
    }
}

static void greet(struct link_out *o)
{
    int failed = socket_connect_result(o->fd);
    if (failed != 0) {
        lose(o, strerror(failed)); /* a peer that is down is news only when it was up */
        return;
    }
    struct buffer hello = {0};
    handshake_encode(links_self(o->links), &hello);
    struct slice frame = slice_copy(buffer_bytes(&hello));
    buffer_close(&hello);
    frame_queue_push(&o->queue, frame);
    slice_close(&frame);
    o->state = LINK_GREETING;
    event_add(o->readable, NULL);
    write_queue(o);
}

static enum err judge(struct link_out *o, struct slice frame, struct why *why)
{
    const struct links_callbacks *callbacks = &o->links->callbacks;
    struct handshake_answer answer;
    enum err e = handshake_answer_decode(slice_bytes(frame), &answer);
    if (e != ERR_OK) {
        return err_why(why, e, "it answers like no node of this version");
    }
    if (answer.verdict != ERR_OK) {
        if (callbacks->on_refused != NULL && answer.self.node_id == o->peer) {
            callbacks->on_refused(callbacks->ctx, o->peer, answer.verdict);
        }
        return err_why(why, answer.verdict, "%s", answer.sentence);
    }
    if (answer.self.node_id != o->peer) {
        return err_why(why, ERR_WRONG_NODE, "%s answers at %s, where %s should be",
                       answer.self.node, o->address, o->name);
    }
    return links_judge(o->links, &answer.self, why);
}

/* A node that does not want us, or that we do not want, gets time to change its mind. */
static void refuse(struct link_out *o, enum err e, const char *reason)
{
    o->stats.refused = e;
    o->backoff_us = o->links->options.backoff_max_ms * 1000;
    complain(o, "no link to peer: handshake refused", e, reason);
    retry_later(o);
}

static void come_up(struct link_out *o)
{
    o->state = LINK_UP;
    o->stats.refused = ERR_OK;
    o->stats.connects++;
    o->up_us = links_now_us(o->links);
    loop_timer_set(o->timer, (uint64_t)o->links->options.ping_after_ms * 1000);
    log_info(o->links->log, "link to peer up", log_text("peer", o->name),
             log_text("address", o->address));
    report_down(o); /* of a connection before: its frames are lost, this one's are not */
    o->reported = true;
    o->links->callbacks.on_up(o->links->callbacks.ctx, o->peer);
}

/* ---- up ---- */

static void take_pong(struct link_out *o)
{
    if (o->ping_us == 0) {
        return;
    }
    uint64_t took_us = links_now_us(o->links) - o->ping_us;
    uint64_t *smoothed = &o->stats.round_trip_us;
    *smoothed = *smoothed == 0
                    ? took_us
                    : (*smoothed * (ROUND_TRIP_WEIGHT - 1) + took_us) / ROUND_TRIP_WEIGHT;
    o->ping_us = 0;
}

static bool take_frame(void *ctx, struct slice frame)
{
    struct link_out *o = ctx;
    if (o->state == LINK_UP) {
        if (frame.size == 0) {
            take_pong(o);
            return true;
        }
        lose(o, "it sent a frame on a link of ours");
        return false;
    }
    struct why why = {0};
    enum err e = judge(o, frame, &why);
    if (e != ERR_OK) {
        refuse(o, e, why.text);
        return false;
    }
    come_up(o);
    return o->state == LINK_UP;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct link_out *o = ctx;
    enum err e =
        frame_reader_read(&o->reader, fd, o->links->scratch, HANDSHAKE_BYTES_MAX, take_frame, o);
    if (e == ERR_UNREACHABLE) {
        lose(o, "closed by peer");
    } else if (e == ERR_TOO_LARGE) {
        lose(o, "oversized frame");
    }
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct link_out *o = ctx;
    if (o->state == LINK_CONNECTING) {
        greet(o);
    } else {
        write_queue(o);
    }
}

static void mark_dirty(struct link_out *o)
{
    if (!o->dirty && !o->blocked) {
        o->dirty = true;
        TAILQ_INSERT_TAIL(&o->links->dirty, o, dirty_entry);
        loop_want(o->links->loop, LOOP_FLUSH);
    }
}

static void look_after(struct link_out *o)
{
    const struct links_options *options = &o->links->options;
    uint64_t now_us = links_now_us(o->links);
    if (o->ping_us != 0 && now_us - o->ping_us >= (uint64_t)options->dead_after_ms * 1000) {
        lose(o, "silent");
        return;
    }
    if (o->ping_us == 0) {
        o->ping_us = now_us;
        frame_queue_push(&o->queue, (struct slice){0});
        mark_dirty(o);
    }
    loop_timer_set(o->timer, (uint64_t)options->ping_after_ms * 1000);
}

static void on_timer(void *ctx)
{
    struct link_out *o = ctx;
    switch (o->state) {
    case LINK_WAITING:
        report_down(o);
        if (!o->gone) {
            dial(o);
        }
        break;
    case LINK_CONNECTING:
    case LINK_GREETING:
        complain(o, "cannot reach peer", ERR_TIMEOUT, "no answer");
        retry_later(o);
        break;
    case LINK_UP:
        look_after(o);
        break;
    case LINK_RESOLVING:
        break;
    }
}

/* ---- sending ---- */

static bool has_room(const struct link_out *o, size_t size_bytes)
{
    size_t limit = o->links->options.queue_bytes_max;
    if (size_bytes <= SMALL_FRAME_BYTES) {
        limit += SMALL_RESERVE_BYTES;
    }
    return o->queue.count == 0 || o->queue.bytes + size_bytes <= limit;
}

void link_out_send(struct link_out *o, struct slice frame)
{
    ASSERT(frame.size > 0);
    ASSERT(frame.size <= o->links->options.frame_bytes_max);
    if (o->state != LINK_UP || !has_room(o, frame.size)) {
        o->stats.dropped_frames++;
        return;
    }
    frame_queue_push(&o->queue, frame);
    o->stats.sent_frames++;
    o->stats.sent_bytes += frame.size;
    mark_dirty(o);
}

bool link_out_send_behind(struct link_out *o, struct slice frame)
{
    ASSERT(frame.size > 0);
    ASSERT(frame.size <= o->links->options.frame_bytes_max);
    if (o->state != LINK_UP || o->behind.bytes + frame.size > BEHIND_BYTES_MAX) {
        o->stats.dropped_frames++;
        return false;
    }
    frame_queue_push(&o->behind, frame);
    o->stats.sent_frames++;
    o->stats.sent_bytes += frame.size;
    mark_dirty(o);
    return true;
}

void link_out_flush(struct link_out *o)
{
    if (o->fd >= 0 && !o->blocked) {
        write_queue(o);
    }
}
