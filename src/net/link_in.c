/* A connection that we accepted: first a hello and our answer, then frames, or a certificate. */
#include "net/links_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/wrong_port.h"

enum { CERTIFICATE_BYTES = 16, PONGS_MAX = 64 };

static void on_readable(evutil_socket_t fd, short what, void *ctx);
static void on_writable(evutil_socket_t fd, short what, void *ctx);
static void on_timer(void *ctx);

void link_in_new(struct links *l, int fd)
{
    if (l->ins_count >= l->options.connections_max) {
        close(fd);
        return;
    }
    struct link_in *i = NEW(struct link_in);
    i->links = l;
    i->fd = fd;
    i->readable = links_event(l, fd, EV_READ | EV_PERSIST, on_readable, i);
    i->writable = links_event(l, fd, EV_WRITE, on_writable, i);
    i->timer = loop_timer_new(l->loop, on_timer, i);
    event_add(i->readable, NULL);
    loop_timer_set(i->timer, (uint64_t)l->options.handshake_timeout_ms * 1000);
    TAILQ_INSERT_TAIL(&l->ins, i, entry);
    l->ins_count++;
}

void link_in_close(struct link_in *i)
{
    if (i->closed) {
        return;
    }
    i->closed = true;
    event_free(i->readable);
    event_free(i->writable);
    loop_timer_free(i->timer);
    close(i->fd);
    TAILQ_REMOVE(&i->links->ins, i, entry);
    i->links->ins_count--;
    TAILQ_INSERT_TAIL(&i->links->closed, i, entry);
}

void link_in_free(struct link_in *i)
{
    ASSERT(i->closed);
    frame_reader_close(&i->reader);
    frame_queue_close(&i->queue);
    free(i);
}

/* One line in a while for all strangers together: anybody can connect as often as they like. */
static void complain(struct link_in *i, const char *message, enum err e, const char *reason)
{
    struct links *l = i->links;
    if (quiet_allows(&l->quiet, links_now_us(l))) {
        log_warn(l->log, message, log_text("peer", i->peer.node[0] != 0 ? i->peer.node : "?"),
                 log_text("err", err_name(e)), log_text("reason", reason),
                 log_u64("not_logged", l->quiet.mentioned));
    }
}

static void write_queue(struct link_in *i)
{
    enum err e = frame_queue_write(&i->queue, i->fd);
    if (e == ERR_BUSY) {
        event_add(i->writable, NULL);
    } else if (e != ERR_OK) {
        link_in_close(i);
    }
}

static void answer(struct link_in *i, enum err verdict, const struct why *why)
{
    struct handshake_answer a = {.verdict = verdict, .self = *links_self(i->links)};
    memcpy(a.sentence, why->text, strnlen(why->text, HANDSHAKE_SENTENCE_MAX));
    struct buffer encoded = {0};
    handshake_answer_encode(&a, &encoded);
    struct slice frame = slice_copy(buffer_bytes(&encoded));
    buffer_close(&encoded);
    frame_queue_push(&i->queue, frame);
    slice_close(&frame);
    write_queue(i);
}

/* A peer has one process, which dials us once: an older connection is a dead one that nobody told
 * us of, and frames on it are from the past. */
static void close_predecessor(struct link_in *i)
{
    struct link_in *other, *next;
    for (other = TAILQ_FIRST(&i->links->ins); other != NULL; other = next) {
        next = TAILQ_NEXT(other, entry);
        if (other != i && other->greeted && other->peer.node_id == i->peer.node_id &&
            other->peer.role == i->peer.role) {
            link_in_close(other);
        }
    }
}

static void take_hello(struct link_in *i, struct bytes frame)
{
    struct why why = {0};
    enum err e = handshake_decode(frame, &i->peer);
    if (e == ERR_VERSION) {
        err_why(&why, e,
                "%s speaks version %d of the protocol between nodes, the other side another",
                i->links->options.self.node, HANDSHAKE_VERSION);
    } else if (e != ERR_OK) {
        complain(i, "connection closed: not a node's greeting", e, err_message(e));
        link_in_close(i);
        return;
    } else {
        e = links_judge(i->links, &i->peer, &why);
    }
    if (e != ERR_OK) {
        complain(i, "handshake refused", e, why.text);
        answer(i, e, &why);
        link_in_close(i);
        return;
    }
    i->greeted = true;
    close_predecessor(i);
    loop_timer_set(i->timer, (uint64_t)i->links->options.dead_after_ms * 1000);
    answer(i, ERR_OK, &why);
    struct link_out *back = links_find(i->links, i->peer.node_id);
    if (back != NULL && i->peer.role == HANDSHAKE_NODE) {
        link_out_hurry(back);
    }
}

static void take_certificate(struct link_in *i, struct bytes frame)
{
    const struct links_callbacks *callbacks = &i->links->callbacks;
    if (frame.size != CERTIFICATE_BYTES) {
        complain(i, "connection closed: not a certificate", ERR_INVALID, "wrong size");
        link_in_close(i);
    } else if (callbacks->on_certificate != NULL) {
        callbacks->on_certificate(callbacks->ctx, i->peer.node_id, frame.data);
    }
}

static bool take_frame(void *ctx, struct slice frame)
{
    struct link_in *i = ctx;
    struct links *l = i->links;
    if (!i->greeted) {
        take_hello(i, slice_bytes(frame));
    } else if (frame.size == 0) {
        if (i->queue.count >= PONGS_MAX) { /* it pings without listening */
            link_in_close(i);
        } else {
            frame_queue_push(&i->queue, (struct slice){0});
            write_queue(i);
        }
    } else if (i->peer.role == HANDSHAKE_GUARDIAN) {
        take_certificate(i, slice_bytes(frame));
    } else {
        struct link_out *back = links_find(l, i->peer.node_id);
        if (back != NULL) {
            back->stats.received_frames++;
            back->stats.received_bytes += frame.size;
        }
        l->callbacks.on_frame(l->callbacks.ctx, i->peer.node_id, &i->peer.incarnation, frame);
    }
    return !i->closed;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct link_in *i = ctx;
    i->heard_us = links_now_us(i->links);
    size_t limit = i->greeted && i->peer.role == HANDSHAKE_NODE ? i->links->options.frame_bytes_max
                                                                : HANDSHAKE_BYTES_MAX;
    enum err e = frame_reader_read(&i->reader, fd, i->links->scratch, limit, take_frame, i);
    if (e == ERR_TOO_LARGE) {
        struct bytes head = bytes_of(i->reader.head, sizeof i->reader.head);
        bool stranger = !i->greeted; /* its first bytes are no length */
        complain(i, "connection closed: oversized frame", e,
                 stranger ? wrong_port_guess(head, err_message(e)) : err_message(e));
        if (stranger) {
            wrong_port_tell(fd, head,
                            "this is the port of a moonkeeper node for other nodes; clients and "
                            "HTTP have ports of their own");
        }
    }
    if (e != ERR_OK) {
        link_in_close(i);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    write_queue(ctx);
}

static void on_timer(void *ctx)
{
    struct link_in *i = ctx;
    uint64_t dead_us = (uint64_t)i->links->options.dead_after_ms * 1000;
    uint64_t silent_us = links_now_us(i->links) - i->heard_us;
    if (i->greeted && silent_us < dead_us) {
        loop_timer_set(i->timer, dead_us - silent_us);
        return;
    }
    if (!i->greeted) {
        complain(i, "connection closed: no greeting", ERR_TIMEOUT, "it said nothing in time");
    }
    link_in_close(i);
}
