#include "net/http_calls.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "net/http_client.h"

/* Under way at a time, and what they may hold of memory; and waiting for the thread to begin them,
 * with cancellations. */
enum { CALLS_MAX = 256, CALLS_BYTES_MAX = 256 << 20, ORDERS_MAX = 4096 };

/* From the scripts' thread to ours: a request, or to give one up. */
struct order {
    uint64_t call;
    bool cancels;
    struct http_spec spec; /* all that it points to is in what follows */
    struct url url;
    struct http_field *fields;
    struct slice body;
};

struct call {
    struct http_calls *all;
    uint64_t number;
    size_t bytes_max; /* of its body and its answer's */
    struct http_exchange *exchange;
    LIST_ENTRY(call) link;
};

struct http_calls {
    struct http_calls_options options;
    struct http_port port;
    struct address instead;
    char *agent;
    struct loop *loop;
    struct http_client *client;
    struct queue orders;
    pthread_t thread;
    pthread_mutex_t lock; /* of the two flags */
    bool started, stopped;
    LIST_HEAD(, call) calls; /* of the thread, as is what follows */
    uint32_t count;
    size_t bytes_max; /* of all */
};

/* ---- orders -------------------------------------------------------------------------------------
 */

static void order_free(struct order *o)
{
    for (size_t i = 0; i < o->spec.fields_count; i++) {
        free((void *)(uintptr_t)o->fields[i].name);
        free((void *)(uintptr_t)o->fields[i].value);
    }
    free(o->fields);
    slice_close(&o->body);
    free(o);
}

static struct order *order_new(uint64_t call, const struct http_spec *spec)
{
    struct order *o = NEW(struct order);
    o->call = call;
    o->spec = *spec;
    o->url = *spec->url;
    o->spec.url = &o->url;
    o->fields = alloc_zeroed(spec->fields_count + 1, sizeof *o->fields);
    for (size_t i = 0; i < spec->fields_count; i++) {
        o->fields[i].name = alloc_string(spec->fields[i].name);
        o->fields[i].value = alloc_string(spec->fields[i].value);
    }
    o->spec.fields = o->fields;
    o->body = slice_copy(spec->body);
    o->spec.body = slice_bytes(o->body);
    return o;
}

/* ---- on the thread ------------------------------------------------------------------------------
 */

static void call_free(struct call *c)
{
    LIST_REMOVE(c, link);
    c->all->count--;
    c->all->bytes_max -= c->bytes_max;
    free(c);
}

static void on_done(void *ctx, enum err err, const char *message, struct bytes answer)
{
    struct call *c = ctx;
    const struct http_calls_options *o = &c->all->options;
    o->answer(o->ctx, c->number, err, message, slice_copy(answer));
    call_free(c);
}

static void refuse(struct http_calls *all, uint64_t call)
{
    all->options.answer(all->options.ctx, call, ERR_BUSY, "too many HTTP requests are under way",
                        (struct slice){0});
}

static void begin(struct http_calls *all, const struct order *o)
{
    size_t bytes_max = o->body.size + o->spec.answer_bytes_max;
    if (all->count == CALLS_MAX || bytes_max > CALLS_BYTES_MAX - all->bytes_max) {
        refuse(all, o->call);
        return;
    }
    struct call *c = NEW(struct call);
    c->all = all;
    c->number = o->call;
    LIST_INSERT_HEAD(&all->calls, c, link);
    all->count++;
    c->bytes_max = bytes_max;
    all->bytes_max += bytes_max;
    c->exchange = http_client_ask(all->client, &o->spec, on_done, c);
}

static void cancel(struct http_calls *all, uint64_t number)
{
    struct call *c;
    LIST_FOREACH (c, &all->calls, link) {
        if (c->number == number) {
            http_client_cancel(c->exchange);
            call_free(c);
            return;
        }
    }
}

static void carry_out_orders(void *ctx)
{
    struct http_calls *all = ctx;
    struct order *o;
    while ((o = queue_pop(&all->orders)) != NULL) {
        if (o->cancels) {
            cancel(all, o->call);
        } else {
            begin(all, o);
        }
        order_free(o);
    }
}

static void *run(void *ctx)
{
    struct http_calls *all = ctx;
    loop_run(all->loop);
    return NULL;
}

/* ---- on the scripts' thread ---------------------------------------------------------------------
 */

static void orders_came(void *ctx)
{
    struct http_calls *all = ctx;
    loop_wake(all->loop);
}

static bool start(struct http_calls *all)
{
    sigset_t every, before;
    all->loop = loop_new();
    all->client = http_client_new(&(struct http_client_options){
        .loop = all->loop, .agent = all->agent, .instead = all->options.instead});
    loop_on_wake(all->loop, carry_out_orders, all);
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    all->started = pthread_create(&all->thread, NULL, run, all) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (all->started) {
        pthread_setname_np(all->thread, "http");
    } else {
        http_client_free(all->client);
        loop_free(all->loop);
    }
    return all->started;
}

/* False: the order is still the caller's. */
static bool hand_over(struct http_calls *all, struct order *o)
{
    pthread_mutex_lock(&all->lock);
    bool taken = !all->stopped && (all->started || start(all)) && queue_push(&all->orders, o);
    pthread_mutex_unlock(&all->lock);
    return taken;
}

static void port_request(void *ctx, uint64_t call, const struct http_spec *spec)
{
    struct http_calls *all = ctx;
    struct order *o = order_new(call, spec);
    if (!hand_over(all, o)) {
        order_free(o);
        refuse(all, call);
    }
}

/* A full queue loses it: then the request ends by its timeout. */
static void port_cancel(void *ctx, uint64_t call)
{
    struct http_calls *all = ctx;
    struct order *o = NEW(struct order);
    o->call = call;
    o->cancels = true;
    if (!hand_over(all, o)) {
        order_free(o);
    }
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct http_calls *http_calls_new(const struct http_calls_options *options)
{
    struct http_calls *all = NEW(struct http_calls);
    all->options = *options;
    all->agent = alloc_string(options->agent);
    if (options->instead != NULL) {
        all->instead = *options->instead;
        all->options.instead = &all->instead;
    }
    all->port = (struct http_port){.ctx = all, .request = port_request, .cancel = port_cancel};
    pthread_mutex_init(&all->lock, NULL);
    queue_init(&all->orders, ORDERS_MAX, orders_came, all);
    LIST_INIT(&all->calls);
    return all;
}

void http_calls_stop(struct http_calls *all)
{
    if (all == NULL) {
        return;
    }
    pthread_mutex_lock(&all->lock);
    bool stopped = all->stopped;
    all->stopped = true;
    pthread_mutex_unlock(&all->lock);
    if (stopped) {
        return;
    }
    if (all->started) {
        loop_stop(all->loop);
        pthread_join(all->thread, NULL);
        for (struct call *c = LIST_FIRST(&all->calls), *next; c != NULL; c = next) {
            next = LIST_NEXT(c, link);
            call_free(c);
        }
        http_client_free(all->client);
    }
    struct order *o;
    while ((o = queue_pop(&all->orders)) != NULL) {
        order_free(o);
    }
}

void http_calls_free(struct http_calls *all)
{
    if (all == NULL) {
        return;
    }
    http_calls_stop(all);
    if (all->started) {
        loop_free(all->loop);
    }
    queue_close(&all->orders);
    pthread_mutex_destroy(&all->lock);
    free(all->agent);
    free(all);
}

const struct http_port *http_calls_port(const struct http_calls *all)
{
    return &all->port;
}
