#include "net/script_timer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct script_timer {
    struct preempt_port port;
    timer_t timer;
    bool created; /* by the thread that runs scripts: the signal is directed at it */
    pthread_t thread;
    void (*tick)(void *arg);
    void *arg;
    atomic_bool started;
};

/* One that nothing else uses, and that debuggers pass on without stopping. */
static int preempt_signal(void)
{
    return SIGRTMIN + 5;
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    if (info->si_code == SI_TIMER) {
        struct script_timer *t = info->si_value.sival_ptr;
        /* A signal that was under way when the timer was stopped finds it so. */
        if (atomic_load_explicit(&t->started, memory_order_relaxed)) {
            t->tick(t->arg);
        }
    }
    errno = saved;
}

/* The thread may have all signals blocked: those of this timer are its own. */
static void create(struct script_timer *t)
{
    sigset_t mine;
    sigemptyset(&mine);
    sigaddset(&mine, preempt_signal());
    pthread_sigmask(SIG_UNBLOCK, &mine, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = preempt_signal(),
                             .sigev_value.sival_ptr = t};
    event.sigev_notify_thread_id = gettid();
    int failed = timer_create(CLOCK_MONOTONIC, &event, &t->timer);
    ASSERT(failed == 0); /* needs one of the process's queued signals: reserved by none here */
    t->created = true;
    t->thread = pthread_self();
}

static void set_period(struct script_timer *t, uint64_t period_us)
{
    struct timespec period = {.tv_sec = (time_t)(period_us / 1000000),
                              .tv_nsec = (long)(period_us % 1000000) * 1000};
    struct itimerspec spec = {.it_interval = period, .it_value = period};
    int failed = timer_settime(t->timer, 0, &spec, NULL);
    ASSERT(failed == 0);
}

static void start(void *ctx, uint64_t period_us, void (*tick)(void *arg), void *arg)
{
    struct script_timer *t = ctx;
    if (!t->created) {
        create(t);
    }
    ASSERT(pthread_equal(t->thread, pthread_self()));
    t->tick = tick;
    t->arg = arg;
    atomic_store_explicit(&t->started, true, memory_order_relaxed);
    set_period(t, period_us);
}

static void stop(void *ctx)
{
    struct script_timer *t = ctx;
    atomic_store_explicit(&t->started, false, memory_order_relaxed);
    set_period(t, 0);
}

static uint64_t cpu_us(void *ctx)
{
    (void)ctx;
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

enum err script_timer_new(struct script_timer **out, struct why *why)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(preempt_signal(), &action, NULL) != 0) {
        return err_why(why, ERR_IO, "cannot handle the signal of preemption: %s", strerror(errno));
    }
    struct script_timer *t = NEW(struct script_timer);
    t->port = (struct preempt_port){.ctx = t, .start = start, .stop = stop, .cpu_us = cpu_us};
    *out = t;
    return ERR_OK;
}

void script_timer_free(struct script_timer *t)
{
    if (t != NULL) {
        if (t->created) {
            timer_delete(t->timer);
        }
        free(t);
    }
}

const struct preempt_port *script_timer_port(const struct script_timer *t)
{
    return &t->port;
}
