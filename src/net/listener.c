#include "net/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/quiet.h"
#include "net/socket.h"

enum { ACCEPTS_PER_EVENT = 32, PAUSE_US = 100000 };

struct listener {
    int fd;
    struct address address;
    struct event *event;
    struct loop_timer *pause;
    struct quiet quiet;
    listener_accept *accept;
    void *ctx;
    const struct log *log;
};

/* Out of descriptors or memory: the connection stays in the kernel's queue, where epoll would
 * report it again and again. */
static void pause_accepting(struct listener *l, int number)
{
    struct clock_port clock = loop_clock();
    if (quiet_allows(&l->quiet, clock_now_us(&clock))) {
        char text[ADDRESS_TEXT_MAX];
        log_error(l->log, "cannot accept connections; retrying",
                  log_text("listen", address_text(&l->address, text)),
                  log_text("err", strerror(number)));
    }
    event_del(l->event);
    loop_timer_set(l->pause, PAUSE_US);
}

static void on_pause_over(void *ctx)
{
    struct listener *l = ctx;
    event_add(l->event, NULL);
}

static void on_readable(evutil_socket_t listening, short what, void *ctx)
{
    (void)what;
    struct listener *l = ctx;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct socket_address from = {.size = sizeof from.storage};
        int fd = accept4(listening, (struct sockaddr *)&from.storage, &from.size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            socket_set_no_delay(fd);
            l->accept(l->ctx, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(l, errno);
            return;
        } else if (errno == EAGAIN) {
            return;
        } /* else that connection is gone already: the next one */
    }
}

enum err listener_open(struct loop *loop, const struct address *address, listener_accept *accept,
                       void *ctx, const struct log *log, struct listener **out, struct why *why)
{
    int fd;
    struct address bound;
    enum err e = address_listen(address, &fd, &bound, why);
    if (e != ERR_OK) {
        return e;
    }
    struct listener *l = NEW(struct listener);
    l->fd = fd;
    l->address = bound;
    l->accept = accept;
    l->ctx = ctx;
    l->log = log;
    l->pause = loop_timer_new(loop, on_pause_over, l);
    l->event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, l);
    ASSERT(l->event != NULL);
    event_add(l->event, NULL);
    *out = l;
    return ERR_OK;
}

void listener_close(struct listener *l)
{
    if (l == NULL) {
        return;
    }
    event_free(l->event);
    loop_timer_free(l->pause);
    close(l->fd);
    free(l);
}

const struct address *listener_address(const struct listener *l)
{
    return &l->address;
}
