#include "cli/daemon_eval.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/queue.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { DONE_MAX = 1 << 16, SOURCE_BYTES_MAX = 1 << 20 };

struct evaluation {
    LIST_ENTRY(evaluation) link;
    struct daemon_eval *owner; /* NULL: it is gone, and the call was answered */
    struct rpc_call *call;
    enum err err;
    char *message; /* or NULL */
    struct buffer results;
};

struct daemon_eval {
    struct loop *loop;
    struct script_host *host;
    LIST_HEAD(, evaluation) all;
    struct queue done; /* of struct evaluation, from the host's thread to the loop's */
};

static void free_evaluation(struct evaluation *e)
{
    free(e->message);
    buffer_close(&e->results);
    free(e);
}

/* On the host's thread; when the host is freed, on the loop's, after daemon_eval_free(). */
static void on_done(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct evaluation *e = ctx;
    if (e->owner == NULL) {
        free_evaluation(e);
        return;
    }
    e->err = err;
    e->message = message != NULL ? alloc_string(message) : NULL;
    buffer_add_bytes(&e->results, results);
    bool queued = queue_push(&e->owner->done, e);
    ASSERT(queued); /* the RPC server hands out fewer calls than that at a time */
}

static void done_came(void *ctx)
{
    struct daemon_eval *d = ctx;
    loop_wake(d->loop);
}

static void drain(void *ctx)
{
    struct daemon_eval *d = ctx;
    struct evaluation *e;
    while ((e = queue_pop(&d->done)) != NULL) {
        LIST_REMOVE(e, link);
        if (e->err == ERR_OK) {
            rpc_reply(e->call, buffer_bytes(&e->results));
        } else {
            rpc_fail(e->call, e->err, e->message, NULL, (struct bytes){0});
        }
        free_evaluation(e);
    }
}

struct daemon_eval *daemon_eval_new(struct loop *loop, struct script_host *host)
{
    struct daemon_eval *d = NEW(struct daemon_eval);
    d->loop = loop;
    d->host = host;
    LIST_INIT(&d->all);
    queue_init(&d->done, DONE_MAX, done_came, d);
    loop_on_wake(loop, drain, d);
    return d;
}

void daemon_eval_free(struct daemon_eval *d)
{
    if (d == NULL) {
        return;
    }
    drain(d);
    struct evaluation *e;
    while ((e = LIST_FIRST(&d->all)) != NULL) {
        LIST_REMOVE(e, link);
        rpc_fail(e->call, ERR_SHUTDOWN, NULL, NULL, (struct bytes){0});
        e->owner = NULL; /* the host still knows it, and ends it */
    }
    loop_on_wake_remove(d->loop, drain, d);
    queue_close(&d->done);
    free(d);
}

void daemon_eval_ask(struct daemon_eval *d, struct rpc_call *call, struct bytes params)
{
    struct reader r = reader_of(params);
    uint32_t count = read_array(&r);
    struct bytes source = read_str_or_bin(&r, SOURCE_BYTES_MAX);
    if (count == 0 || r.err != ERR_OK) {
        rpc_fail(call, ERR_INVALID, "eval takes a piece of Lua, and its arguments", NULL,
                 (struct bytes){0});
        return;
    }
    struct buffer args = {0};
    write_array(&args, count - 1);
    write_raw(&args, bytes_of(r.at, reader_left(&r)));
    struct evaluation *e = NEW(struct evaluation);
    e->owner = d;
    e->call = call;
    LIST_INSERT_HEAD(&d->all, e, link);
    const struct script_eval eval = {
        .source = source, .args = buffer_bytes(&args), .done = on_done, .ctx = e};
    script_host_eval(d->host, &eval);
    buffer_close(&args);
}
