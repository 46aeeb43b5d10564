#include "cli/daemon_reload.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/queue.h"
#include "cli/daemon_scripts.h"
#include "wire/writer.h"

enum { DONE_MAX = 1 << 16 };

struct asked {
    LIST_ENTRY(asked) link;
    struct daemon_reload *owner; /* NULL: it is gone, and the call was answered */
    struct rpc_call *call;       /* NULL: a signal */
    struct buffer restart;       /* MessagePack array */
    enum err err;
    char *message; /* or NULL */
    struct buffer apps;
};

struct daemon_reload {
    struct daemon_reload_options options;
    LIST_HEAD(, asked) all;
    struct queue done; /* of struct asked, from the host's thread to the loop's */
};

static void free_asked(struct asked *a)
{
    free(a->message);
    buffer_close(&a->restart);
    buffer_close(&a->apps);
    free(a);
}

static void answer(struct daemon_reload *r, const struct asked *a)
{
    if (a->err != ERR_OK) {
        log_error(r->options.log, "reload refused",
                  log_text("err", a->message != NULL ? a->message : err_message(a->err)));
    }
    if (a->call == NULL) {
        return;
    }
    if (a->err != ERR_OK) {
        rpc_fail(a->call, a->err, a->message, NULL, (struct bytes){0});
        return;
    }
    struct buffer result = {0};
    write_map(&result, 2);
    write_text(&result, "apps");
    write_raw(&result, buffer_bytes(&a->apps));
    write_text(&result, "restart");
    write_raw(&result, buffer_bytes(&a->restart));
    rpc_reply(a->call, buffer_bytes(&result));
    buffer_close(&result);
}

/* On the host's thread; when the host is freed, on the loop's, after daemon_reload_free(). */
static void on_done(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct asked *a = ctx;
    if (a->owner == NULL) {
        free_asked(a);
        return;
    }
    a->err = err;
    a->message = message != NULL ? alloc_string(message) : NULL;
    buffer_add_bytes(&a->apps, results);
    bool queued = queue_push(&a->owner->done, a);
    ASSERT(queued); /* the RPC server hands out fewer calls than that at a time */
}

static void done_came(void *ctx)
{
    struct daemon_reload *r = ctx;
    loop_wake(r->options.loop);
}

static void drain(void *ctx)
{
    struct daemon_reload *r = ctx;
    struct asked *a;
    while ((a = queue_pop(&r->done)) != NULL) {
        LIST_REMOVE(a, link);
        answer(r, a);
        free_asked(a);
    }
}

struct daemon_reload *daemon_reload_new(const struct daemon_reload_options *options)
{
    struct daemon_reload *r = NEW(struct daemon_reload);
    r->options = *options;
    LIST_INIT(&r->all);
    queue_init(&r->done, DONE_MAX, done_came, r);
    loop_on_wake(options->loop, drain, r);
    return r;
}

void daemon_reload_free(struct daemon_reload *r)
{
    if (r == NULL) {
        return;
    }
    drain(r);
    struct asked *a;
    while ((a = LIST_FIRST(&r->all)) != NULL) {
        LIST_REMOVE(a, link);
        if (a->call != NULL) {
            rpc_fail(a->call, ERR_SHUTDOWN, NULL, NULL, (struct bytes){0});
        }
        a->owner = NULL; /* the host still knows it, and ends it */
    }
    loop_on_wake_remove(r->options.loop, drain, r);
    queue_close(&r->done);
    free(r);
}

/* Settings that take effect with the next start, as an array of their names. */
static void find_changes(struct daemon_reload *r, const struct config *fresh, struct buffer *out)
{
    const char *names[CONFIG_CHANGES_MAX];
    uint32_t count = config_changes(r->options.config, fresh, names);
    if (r->options.scripts == NULL && fresh->apps_count > 0) {
        names[count++] = "apps"; /* there is nothing yet that could run them */
    }
    write_array(out, count);
    for (uint32_t i = 0; i < count; i++) {
        write_text(out, names[i]);
        log_warn(r->options.log,
                 "changed in the configuration file; it takes effect when the node is restarted",
                 log_text("key", names[i]));
    }
}

void daemon_reload_ask(struct daemon_reload *r, struct rpc_call *call)
{
    struct asked *a = NEW(struct asked);
    struct config fresh = {0};
    struct why why = {""};
    a->owner = r;
    a->call = call;
    a->err = r->options.source->read(r->options.source->ctx, &fresh, &why);
    if (a->err == ERR_OK) {
        find_changes(r, &fresh, &a->restart);
    } else {
        a->message = alloc_string(why.text);
    }
    if (a->err == ERR_OK && r->options.scripts != NULL) {
        LIST_INSERT_HEAD(&r->all, a, link);
        daemon_scripts_reload(r->options.scripts, &fresh, on_done, a);
    } else {
        write_array(&a->apps, 0);
        answer(r, a);
        free_asked(a);
    }
    config_close(&fresh);
}
