#include "net/resolver.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

/* Shared by the loop and the thread; the last of the two to leave frees it. */
struct resolver {
    pthread_mutex_t lock;
    struct address address;

    bool finished;  /* by the thread: the result is there */
    bool abandoned; /* by the loop: nobody wants it */
    enum err err;
    struct socket_address found;
    struct why why;

    struct loop *loop;
    resolver_done *done;
    void *ctx;
};

static void free_resolver(struct resolver *r)
{
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void *look_up(void *arg)
{
    struct resolver *r = arg;
    struct socket_address found;
    struct why why = {0};
    enum err e = address_resolve(&r->address, &found, &why);

    pthread_mutex_lock(&r->lock);
    bool abandoned = r->abandoned;
    r->finished = true;
    r->err = e;
    r->found = found;
    r->why = why;
    if (!abandoned) {
        loop_wake(r->loop); /* under the lock: the loop outlives what waits for it */
    }
    pthread_mutex_unlock(&r->lock);
    if (abandoned) {
        free_resolver(r);
    }
    return NULL;
}

static void collect(void *ctx)
{
    struct resolver *r = ctx;
    pthread_mutex_lock(&r->lock);
    bool finished = r->finished;
    pthread_mutex_unlock(&r->lock);
    if (finished) {
        loop_on_wake_remove(r->loop, collect, r);
        r->done(r->ctx, r->err == ERR_OK ? &r->found : NULL, &r->why);
        free_resolver(r);
    }
}

/* A thread that cannot be had is a failed look-up, reported like one. */
static void fail_to_start(struct resolver *r, int number)
{
    r->finished = true;
    r->err = err_why(&r->why, ERR_UNREACHABLE, "cannot start a thread to look up \"%s\": %s",
                     r->address.host, strerror(number));
    loop_wake(r->loop);
}

struct resolver *resolver_start(struct loop *l, const struct address *address, resolver_done *done,
                                void *ctx)
{
    struct resolver *r = NEW(struct resolver);
    pthread_mutex_init(&r->lock, NULL);
    r->address = *address;
    r->loop = l;
    r->done = done;
    r->ctx = ctx;
    loop_on_wake(l, collect, r);

    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int failed = pthread_create(&thread, &detached, look_up, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&detached);
    if (failed != 0) {
        fail_to_start(r, failed);
    }
    return r;
}

void resolver_cancel(struct resolver *r)
{
    if (r == NULL) {
        return;
    }
    loop_on_wake_remove(r->loop, collect, r);
    pthread_mutex_lock(&r->lock);
    bool finished = r->finished;
    r->abandoned = true;
    pthread_mutex_unlock(&r->lock);
    if (finished) {
        free_resolver(r);
    }
}
