#include "scenario/proxy.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/frames.h"
#include "net/listener.h"
#include "net/socket.h"
#include "wire/handshake.h"

enum {
    FRAME_BYTES_MAX = 64 << 20, /* the nodes have limits of their own */
    LANE_BYTES_MAX = 16 << 20,  /* held back; then the sender is not read */
    MESSAGE_TYPES = 8,
};

/* A frame on its way. */
struct flight {
    TAILQ_ENTRY(flight) entry;
    uint64_t due_us;
    struct slice frame; /* empty: a ping */
};

/* One end of a connection through the proxy. */
struct end {
    int fd; /* -1: none */
    struct event *readable, *writable;
};

/* One direction of it. */
struct lane {
    struct relay *relay;
    struct end *from, *to;
    struct frame_reader reader;
    uint64_t frames;                     /* taken in */
    TAILQ_HEAD(flights, flight) flights; /* in order of due_us */
    uint64_t last_due_us[LINK_STREAMS];  /* of each stream: its order is kept */
    size_t flights_bytes;
    struct frame_queue queue; /* due, and not yet taken by the descriptor */
    struct loop_timer *timer; /* for the first of the flights */
    bool unread;              /* held back too much */
    bool blocked;             /* waits for the descriptor to take more */
    bool ended;               /* its sender has closed */
};

/* A connection that was dialled, and the one that goes on to the target. */
struct relay {
    TAILQ_ENTRY(relay) entry;
    struct proxy *proxy;
    struct end dialler, target;
    bool reached;     /* the target is connected */
    bool of_guardian; /* as its greeting says */
    struct lane forth, back;
};

struct proxy {
    struct loop *loop;
    struct clock_port clock;
    struct socket_address target;
    struct listener *listener;
    struct link_rules rules;
    bool cut_forth, cut_back;
    struct target_rpcs rpcs[MESSAGE_TYPES];
    TAILQ_HEAD(, relay) relays;
    uint32_t relays_count;
    uint8_t scratch[FRAME_SCRATCH_BYTES];
};

static bool is_cut(const struct lane *l)
{
    const struct relay *r = l->relay;
    return l == &r->forth ? r->proxy->cut_forth : r->proxy->cut_back;
}

/* ---- frames in ------------------------------------------------------------------------------ */

static void take_off(struct lane *l, struct slice frame, const struct link_travel *travel)
{
    uint64_t due_us = clock_now_us(&l->relay->proxy->clock) + travel->delay_us;
    if (travel->stream != LINK_UNORDERED) {
        uint64_t *last_us = &l->last_due_us[travel->stream];
        due_us = due_us < *last_us ? *last_us : due_us;
        *last_us = due_us;
    }
    struct flight *f = NEW(struct flight);
    f->due_us = due_us;
    f->frame = slice_ref(frame);
    l->flights_bytes += FRAME_HEAD_BYTES + frame.size;
    struct flight *before = TAILQ_LAST(&l->flights, flights);
    while (before != NULL && before->due_us > due_us) {
        before = TAILQ_PREV(before, flights, entry);
    }
    if (before == NULL) {
        TAILQ_INSERT_HEAD(&l->flights, f, entry);
    } else {
        TAILQ_INSERT_AFTER(&l->flights, before, f, entry);
    }
}

static void count(struct proxy *p, enum target_message type, size_t bytes)
{
    for (int i = 0; i < MESSAGE_TYPES; i++) {
        if ((unsigned)type == 1u << i) {
            p->rpcs[i].count++;
            p->rpcs[i].bytes += bytes;
        }
    }
}

static void take_greeting(struct relay *r, struct slice frame)
{
    struct handshake hello;
    r->of_guardian =
        handshake_decode(slice_bytes(frame), &hello) == ERR_OK && hello.role == HANDSHAKE_GUARDIAN;
}

static bool take_frame(void *ctx, struct slice frame)
{
    struct lane *l = ctx;
    struct relay *r = l->relay;
    struct proxy *p = r->proxy;
    bool first = l->frames++ == 0;
    if (l == &r->forth && first) {
        take_greeting(r, frame);
    }
    if (l == &r->back || first || frame.size == 0 || r->of_guardian) {
        struct link_travel plain = link_rules_plain(&p->rules);
        take_off(l, frame, &plain);
        return true;
    }
    enum target_message type = link_message_of(slice_bytes(frame));
    count(p, type, frame.size);
    struct link_travel travels[LINK_COPIES_MAX];
    uint32_t copies = link_rules_decide(&p->rules, type, travels);
    for (uint32_t i = 0; i < copies; i++) {
        take_off(l, frame, &travels[i]);
    }
    return true;
}

/* ---- life of a relay ------------------------------------------------------------------------ */

static void close_end(struct end *e)
{
    if (e->fd >= 0) {
        event_free(e->readable);
        event_free(e->writable);
        close(e->fd);
    }
    *e = (struct end){.fd = -1};
}

static void close_lane(struct lane *l)
{
    struct flight *f;
    while ((f = TAILQ_FIRST(&l->flights)) != NULL) {
        TAILQ_REMOVE(&l->flights, f, entry);
        slice_close(&f->frame);
        free(f);
    }
    frame_reader_close(&l->reader);
    frame_queue_close(&l->queue);
    loop_timer_free(l->timer);
}

static void close_relay(struct relay *r)
{
    close_end(&r->dialler);
    close_end(&r->target);
    close_lane(&r->forth);
    close_lane(&r->back);
    TAILQ_REMOVE(&r->proxy->relays, r, entry);
    r->proxy->relays_count--;
    free(r);
}

/* ---- frames out ----------------------------------------------------------------------------- */

static void release_due(struct lane *l)
{
    uint64_t now_us = clock_now_us(&l->relay->proxy->clock);
    struct flight *f;
    while ((f = TAILQ_FIRST(&l->flights)) != NULL && f->due_us <= now_us) {
        TAILQ_REMOVE(&l->flights, f, entry);
        l->flights_bytes -= FRAME_HEAD_BYTES + f->frame.size;
        frame_queue_push(&l->queue, f->frame);
        slice_close(&f->frame);
        free(f);
    }
    if (f != NULL) {
        loop_timer_set(l->timer, f->due_us - now_us);
    }
}

static size_t held_bytes(const struct lane *l)
{
    return l->flights_bytes + l->queue.bytes;
}

static void mind_the_reading(struct lane *l)
{
    if (l->ended || l->from->fd < 0) {
        return;
    }
    if (!l->unread && held_bytes(l) > LANE_BYTES_MAX) {
        l->unread = true;
        event_del(l->from->readable);
    } else if (l->unread && held_bytes(l) < LANE_BYTES_MAX / 2) {
        l->unread = false;
        event_add(l->from->readable, NULL);
    }
}

/* Pass on what may pass. back is the lane in the other direction. */
static void move(struct lane *l, struct lane *back)
{
    if (l->relay->reached && !is_cut(l) && !back->ended) {
        release_due(l);
        if (!l->blocked) {
            enum err e = frame_queue_write(&l->queue, l->to->fd);
            if (e == ERR_BUSY) {
                l->blocked = true;
                event_add(l->to->writable, NULL);
            } else if (e != ERR_OK) { /* the receiver is gone: it will not say anything more */
                back->ended = true;
            }
        }
    }
    mind_the_reading(l);
}

/* Has its sender closed, and does the receiver know all that was sent before? */
static bool is_through(const struct lane *l)
{
    return l->ended && !is_cut(l) && TAILQ_EMPTY(&l->flights) && l->queue.count == 0;
}

/* After anything that happened to it: the last thing a callback does, for the relay may be gone. */
static void settle(struct relay *r)
{
    move(&r->forth, &r->back);
    move(&r->back, &r->forth);
    bool unheard_of = r->forth.ended && r->target.fd < 0;
    if (unheard_of || is_through(&r->forth) || is_through(&r->back) ||
        (r->forth.ended && r->back.ended)) {
        close_relay(r);
    }
}

static void on_due(void *ctx)
{
    struct lane *l = ctx;
    settle(l->relay);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct lane *l = ctx;
    enum err e =
        frame_reader_read(&l->reader, fd, l->relay->proxy->scratch, FRAME_BYTES_MAX, take_frame, l);
    if (e != ERR_OK) {
        l->ended = true;
        event_del(l->from->readable);
    }
    settle(l->relay);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct lane *l = ctx;
    struct relay *r = l->relay;
    l->blocked = false;
    if (l == &r->forth && !r->reached) {
        if (socket_connect_result(fd) != 0) {
            close_relay(r);
            return;
        }
        r->reached = true;
        event_add(r->target.readable, NULL);
    }
    settle(r);
}

/* ---- connections ---------------------------------------------------------------------------- */

/* in: the lane that is read from it; out: the one that is written to it. */
static void open_end(struct end *e, int fd, struct lane *in, struct lane *out)
{
    struct event_base *base = loop_base(in->relay->proxy->loop);
    e->fd = fd;
    e->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, in);
    e->writable = event_new(base, fd, EV_WRITE, on_writable, out);
    ASSERT(e->readable != NULL && e->writable != NULL);
}

static void init_lane(struct relay *r, struct lane *l, struct end *from, struct end *to)
{
    l->relay = r;
    l->from = from;
    l->to = to;
    TAILQ_INIT(&l->flights);
    l->timer = loop_timer_new(r->proxy->loop, on_due, l);
}

/* Connect to the target, if a connection could come about now. False: the relay is gone. */
static bool reach(struct relay *r)
{
    const struct proxy *p = r->proxy;
    if (r->target.fd >= 0 || p->cut_forth || p->cut_back) {
        return true;
    }
    int fd = socket_connect(&p->target);
    if (fd < 0) {
        close_relay(r);
        return false;
    }
    open_end(&r->target, fd, &r->back, &r->forth);
    event_add(r->target.writable, NULL);
    return true;
}

static void on_accept(void *ctx, int fd, const struct socket_address *from)
{
    (void)from;
    struct proxy *p = ctx;
    struct relay *r = NEW(struct relay);
    r->proxy = p;
    r->target.fd = -1;
    init_lane(r, &r->forth, &r->dialler, &r->target);
    init_lane(r, &r->back, &r->target, &r->dialler);
    open_end(&r->dialler, fd, &r->forth, &r->back);
    event_add(r->dialler.readable, NULL);
    TAILQ_INSERT_TAIL(&p->relays, r, entry);
    p->relays_count++;
    reach(r);
}

/* ---- the proxy ------------------------------------------------------------------------------ */

enum err proxy_open(struct loop *loop, const struct address *target,
                    const struct link_quality *quality, uint64_t seed, const struct log *log,
                    struct proxy **out, struct why *why)
{
    struct proxy *p = NEW(struct proxy);
    p->loop = loop;
    p->clock = loop_clock();
    TAILQ_INIT(&p->relays);
    link_rules_init(&p->rules, quality, seed);
    const struct address here = {.host = "127.0.0.1"};
    enum err e = address_resolve_numeric(target, &p->target);
    e = e != ERR_OK ? e : listener_open(loop, &here, on_accept, p, log, &p->listener, why);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

void proxy_reset(struct proxy *p)
{
    struct relay *next;
    for (struct relay *r = TAILQ_FIRST(&p->relays); r != NULL; r = next) {
        next = TAILQ_NEXT(r, entry);
        close_relay(r);
    }
}

void proxy_close(struct proxy *p)
{
    if (p == NULL) {
        return;
    }
    proxy_reset(p);
    listener_close(p->listener);
    free(p);
}

const struct address *proxy_address(const struct proxy *p)
{
    return listener_address(p->listener);
}

void proxy_cut(struct proxy *p, bool forth, bool back)
{
    p->cut_forth = forth;
    p->cut_back = back;
    struct relay *next;
    for (struct relay *r = TAILQ_FIRST(&p->relays); r != NULL; r = next) {
        next = TAILQ_NEXT(r, entry);
        if (reach(r)) {
            settle(r);
        }
    }
}

void proxy_drop(struct proxy *p, const struct target_drop *rule)
{
    link_rules_drop(&p->rules, rule);
}

void proxy_delay(struct proxy *p, const struct target_delay *rule)
{
    link_rules_delay(&p->rules, rule);
}

void proxy_heal(struct proxy *p)
{
    link_rules_heal(&p->rules);
}

struct target_rpcs proxy_rpcs(const struct proxy *p, unsigned types)
{
    struct target_rpcs sum = {0};
    for (int i = 0; i < MESSAGE_TYPES; i++) {
        if ((types & 1u << i) != 0) {
            sum.count += p->rpcs[i].count;
            sum.bytes += p->rpcs[i].bytes;
        }
    }
    return sum;
}

uint32_t proxy_connections(const struct proxy *p)
{
    return p->relays_count;
}
