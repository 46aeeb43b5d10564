#include "net/loop.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/alarm.h"

enum { SIGNALS_MAX = 8 };

struct hook {
    loop_callback *cb; /* NULL: removed */
    void *ctx;
};

struct hooks {
    struct hook *at;
    uint32_t count;
    uint32_t capacity;
    bool running;
    bool has_holes;
};

struct loop {
    struct event_base *base;
    struct clock_port clock;

    int wake_fd;
    struct event *wake_event;
    atomic_bool wake_pending; /* the descriptor has been written and not read yet */
    atomic_bool stopping;

    struct alarm alarm;
    struct event *alarm_event;
    struct hook deadline;
    uint64_t deadline_us;

    bool again;
    enum loop_phase phase; /* hooks of this phase and later ones are still to come in this round */
    struct hooks on_wake;
    struct hooks at_round_end[LOOP_PHASES];

    struct loop_signal {
        struct hook hook;
        struct event *event;
    } signals[SIGNALS_MAX];
    uint32_t signals_count;
};

/* ---- hooks: may be added and removed while they run ---- */

static void hooks_add(struct hooks *h, loop_callback *cb, void *ctx)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity == 0 ? 4 : 2 * h->capacity;
        h->at = alloc_resize(h->at, h->capacity, sizeof *h->at);
    }
    h->at[h->count++] = (struct hook){.cb = cb, .ctx = ctx};
}

static void hooks_compact(struct hooks *h)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->at[i].cb != NULL) {
            h->at[kept++] = h->at[i];
        }
    }
    h->count = kept;
    h->has_holes = false;
}

static void hooks_remove(struct hooks *h, loop_callback *cb, void *ctx)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->at[i].cb == cb && h->at[i].ctx == ctx) {
            h->at[i].cb = NULL;
            h->has_holes = true;
            break;
        }
    }
    if (!h->running) {
        hooks_compact(h);
    }
}

static void hooks_run(struct hooks *h)
{
    h->running = true;
    for (uint32_t i = 0; i < h->count; i++) {
        struct hook hook = h->at[i]; /* the array may move */
        if (hook.cb != NULL) {
            hook.cb(hook.ctx);
        }
    }
    h->running = false;
    if (h->has_holes) {
        hooks_compact(h);
    }
}

/* ---- events of the loop's own ---- */

static void on_wake_fd(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct loop *l = ctx;
    uint64_t count;
    ssize_t size = read(fd, &count, sizeof count);
    (void)size;
    /* Before the callbacks look: who wakes from here on is looked at in a further round. */
    atomic_store(&l->wake_pending, false);
    hooks_run(&l->on_wake);
}

static void on_alarm_fd(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct loop *l = ctx;
    alarm_clear(&l->alarm);
}

static struct event *watch(struct loop *l, int fd, event_callback_fn cb)
{
    struct event *event = event_new(l->base, fd, EV_READ | EV_PERSIST, cb, l);
    ASSERT(event != NULL);
    event_priority_set(event, LOOP_PRIORITY_PEERS);
    event_add(event, NULL);
    return event;
}

struct loop *loop_new(void)
{
    struct loop *l = NEW(struct loop);
    struct event_config *config = event_config_new();
    ASSERT(config != NULL);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    l->base = event_base_new_with_config(config);
    event_config_free(config);
    ASSERT(l->base != NULL);
    event_base_priority_init(l->base, LOOP_PRIORITIES);

    l->clock = loop_clock();
    l->deadline_us = UINT64_MAX;
    l->phase = LOOP_PHASES; /* outside a round nothing is to come */
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(l->wake_fd >= 0);
    alarm_init(&l->alarm);
    l->wake_event = watch(l, l->wake_fd, on_wake_fd);
    l->alarm_event = watch(l, l->alarm.fd, on_alarm_fd);
    return l;
}

void loop_free(struct loop *l)
{
    if (l == NULL) {
        return;
    }
    for (uint32_t i = 0; i < l->signals_count; i++) {
        event_free(l->signals[i].event);
    }
    event_free(l->wake_event);
    event_free(l->alarm_event);
    close(l->wake_fd);
    alarm_close(&l->alarm);
    free(l->on_wake.at);
    for (int phase = 0; phase < LOOP_PHASES; phase++) {
        free(l->at_round_end[phase].at);
    }
    event_base_free(l->base);
    free(l);
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

/* ---- rounds ---- */

/* When the wait must end at the latest. */
static uint64_t wait_until(const struct loop *l, uint64_t now_us, uint64_t max_wait_us)
{
    uint64_t until_us = max_wait_us > UINT64_MAX - now_us ? UINT64_MAX : now_us + max_wait_us;
    return l->deadline_us < until_us ? l->deadline_us : until_us;
}

static void wait_for_events(struct loop *l, uint64_t max_wait_us)
{
    uint64_t now_us = clock_now_us(&l->clock);
    uint64_t until_us = l->again ? 0 : wait_until(l, now_us, max_wait_us);
    l->again = false;
    l->phase = LOOP_INTAKE;
    if (until_us <= now_us) {
        event_base_loop(l->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        return;
    }
    if (until_us != UINT64_MAX) {
        alarm_by(&l->alarm, until_us);
    }
    event_base_loop(l->base, EVLOOP_ONCE);
}

void loop_round(struct loop *l, uint64_t max_wait_us)
{
    wait_for_events(l, max_wait_us);
    if (l->deadline_us != UINT64_MAX && l->deadline_us <= clock_now_us(&l->clock)) {
        l->deadline_us = UINT64_MAX;
        l->deadline.cb(l->deadline.ctx);
    }
    for (int phase = 0; phase < LOOP_PHASES; phase++) {
        l->phase = (enum loop_phase)(phase + 1);
        hooks_run(&l->at_round_end[phase]);
    }
}

void loop_run(struct loop *l)
{
    while (!atomic_load(&l->stopping)) {
        loop_round(l, UINT64_MAX);
    }
    atomic_store(&l->stopping, false);
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    loop_wake(l);
}

void loop_again(struct loop *l)
{
    l->again = true;
}

void loop_want(struct loop *l, enum loop_phase phase)
{
    if (phase < l->phase) {
        l->again = true;
    }
}

void loop_wake(struct loop *l)
{
    if (!atomic_exchange(&l->wake_pending, true)) {
        uint64_t one = 1;
        ssize_t size = write(l->wake_fd, &one, sizeof one);
        ASSERT(size == (ssize_t)sizeof one);
    }
}

void loop_on_wake(struct loop *l, loop_callback *cb, void *ctx)
{
    hooks_add(&l->on_wake, cb, ctx);
}

void loop_on_wake_remove(struct loop *l, loop_callback *cb, void *ctx)
{
    hooks_remove(&l->on_wake, cb, ctx);
}

void loop_at_round_end(struct loop *l, enum loop_phase phase, loop_callback *cb, void *ctx)
{
    ASSERT(phase < LOOP_PHASES);
    hooks_add(&l->at_round_end[phase], cb, ctx);
}

void loop_at_round_end_remove(struct loop *l, enum loop_phase phase, loop_callback *cb, void *ctx)
{
    ASSERT(phase < LOOP_PHASES);
    hooks_remove(&l->at_round_end[phase], cb, ctx);
}

void loop_on_deadline(struct loop *l, loop_callback *cb, void *ctx)
{
    l->deadline = (struct hook){.cb = cb, .ctx = ctx};
}

void loop_set_deadline(struct loop *l, uint64_t at_us)
{
    ASSERT(l->deadline.cb != NULL);
    l->deadline_us = at_us;
}

/* ---- timers and signals ---- */

struct loop_timer {
    struct hook hook;
    struct event *event;
};

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct loop_timer *t = ctx;
    t->hook.cb(t->hook.ctx);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_callback *cb, void *ctx)
{
    struct loop_timer *t = NEW(struct loop_timer);
    t->hook = (struct hook){.cb = cb, .ctx = ctx};
    t->event = event_new(l->base, -1, 0, on_timer, t);
    ASSERT(t->event != NULL);
    event_priority_set(t->event, LOOP_PRIORITY_PEERS);
    return t;
}

void loop_timer_free(struct loop_timer *t)
{
    if (t != NULL) {
        event_free(t->event);
        free(t);
    }
}

void loop_timer_set(struct loop_timer *t, uint64_t delay_us)
{
    struct timeval delay = {.tv_sec = (time_t)(delay_us / 1000000),
                            .tv_usec = (suseconds_t)(delay_us % 1000000)};
    event_add(t->event, &delay);
}

void loop_timer_stop(struct loop_timer *t)
{
    event_del(t->event);
}

static void on_signal(evutil_socket_t number, short what, void *ctx)
{
    (void)number, (void)what;
    struct loop_signal *s = ctx;
    s->hook.cb(s->hook.ctx);
}

void loop_on_signal(struct loop *l, int signal_number, loop_callback *cb, void *ctx)
{
    ASSERT(l->signals_count < SIGNALS_MAX);
    struct loop_signal *s = &l->signals[l->signals_count++];
    s->hook = (struct hook){.cb = cb, .ctx = ctx};
    s->event = evsignal_new(l->base, signal_number, on_signal, s);
    ASSERT(s->event != NULL);
    event_priority_set(s->event, LOOP_PRIORITY_PEERS);
    event_add(s->event, NULL);
}
