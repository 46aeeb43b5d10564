#include "net/worker.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/alarm.h"

struct worker {
    pthread_t thread;
    struct worker_job job;
    struct clock_port clock;
    int wake_fd;
    struct alarm alarm;
    atomic_bool woken;
    atomic_bool stopping;
};

static void sleep_until(struct worker *w, uint64_t at_us)
{
    if (at_us != UINT64_MAX) {
        alarm_by(&w->alarm, at_us);
    }
    struct pollfd fds[] = {{.fd = w->wake_fd, .events = POLLIN},
                           {.fd = w->alarm.fd, .events = POLLIN}};
    poll(fds, 2, -1);
    if (fds[1].revents != 0) {
        alarm_clear(&w->alarm);
    }
    if (fds[0].revents != 0) {
        uint64_t count;
        ssize_t size = read(w->wake_fd, &count, sizeof count);
        (void)size;
        /* Before run() looks at what there is to do: a later wake makes it look again. */
        atomic_store(&w->woken, false);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&w->stopping)) {
        uint64_t next_us = w->job.run(w->job.ctx, clock_now_us(&w->clock));
        if (next_us > clock_now_us(&w->clock) && !atomic_load(&w->stopping)) {
            sleep_until(w, next_us);
        }
    }
    return NULL;
}

enum err worker_start(const struct worker_job *job, const struct clock_port *clock,
                      const char *name, struct worker **out, struct why *why)
{
    ASSERT(strlen(name) <= 15);
    struct worker *w = NEW(struct worker);
    w->job = *job;
    w->clock = *clock;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(w->wake_fd >= 0);
    alarm_init(&w->alarm);

    sigset_t all, before; /* the new thread inherits the mask: signals are the main thread's */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        close(w->wake_fd);
        alarm_close(&w->alarm);
        free(w);
        return err_why(why, ERR_IO, "cannot start thread %s: %s", name, strerror(failed));
    }
    pthread_setname_np(w->thread, name);
    *out = w;
    return ERR_OK;
}

void worker_wake(struct worker *w)
{
    if (!atomic_exchange(&w->woken, true)) {
        uint64_t one = 1;
        ssize_t size = write(w->wake_fd, &one, sizeof one);
        ASSERT(size == (ssize_t)sizeof one);
    }
}

void worker_stop(struct worker *w)
{
    if (w == NULL) {
        return;
    }
    atomic_store(&w->stopping, true);
    worker_wake(w);
    pthread_join(w->thread, NULL);
    close(w->wake_fd);
    alarm_close(&w->alarm);
    free(w);
}
