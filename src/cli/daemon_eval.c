#include "cli/daemon_eval.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "cli/mailbox.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { SOURCE_BYTES_MAX = 1 << 20 };

struct evaluation {
    struct letter letter; /* first */
    struct rpc_call *call;
    enum err err;
    char *message; /* or NULL */
    struct buffer results;
};

struct daemon_eval {
    struct script_host *host;
    struct mailbox *answers; /* of the host */
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
    e->err = err;
    e->message = message != NULL ? alloc_string(message) : NULL;
    buffer_add_bytes(&e->results, results);
    if (!mailbox_put(&e->letter)) {
        free_evaluation(e);
    }
}

static void take(void *ctx, struct letter *letter_take)
{
    (void)ctx;
    struct evaluation *e = (struct evaluation *)letter_take;
    if (e->err == ERR_OK) {
        rpc_reply(e->call, buffer_bytes(&e->results));
    } else {
        rpc_fail(e->call, e->err, e->message, NULL, (struct bytes){0});
    }
    free_evaluation(e);
}

static void give_up(void *ctx, struct letter *letter)
{
    (void)ctx;
    rpc_fail(((struct evaluation *)letter)->call, ERR_SHUTDOWN, NULL, NULL, (struct bytes){0});
}

struct daemon_eval *daemon_eval_new(struct loop *loop, struct script_host *host)
{
    struct daemon_eval *d = NEW(struct daemon_eval);
    d->host = host;
    d->answers = mailbox_new(loop, &(struct mailbox_callbacks){.take = take, .give_up = give_up});
    return d;
}

void daemon_eval_free(struct daemon_eval *d)
{
    if (d != NULL) {
        mailbox_free(d->answers);
        free(d);
    }
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
    e->call = call;
    mailbox_expect(d->answers, &e->letter);
    const struct script_eval eval = {
        .source = source, .args = buffer_bytes(&args), .done = on_done, .ctx = e};
    script_host_eval(d->host, &eval);
    buffer_close(&args);
}
