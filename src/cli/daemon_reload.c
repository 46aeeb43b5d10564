#include "cli/daemon_reload.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "cli/daemon_scripts.h"
#include "cli/mailbox.h"
#include "wire/writer.h"

struct asked {
    struct letter letter;  /* first */
    struct rpc_call *call; /* NULL: a signal */
    struct buffer restart; /* MessagePack array */
    enum err err;
    char *message; /* or NULL */
    struct buffer apps;
};

struct daemon_reload {
    struct daemon_reload_options options;
    struct mailbox *answers; /* of the host */
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
    a->err = err;
    a->message = message != NULL ? alloc_string(message) : NULL;
    buffer_add_bytes(&a->apps, results);
    if (!mailbox_put(&a->letter)) {
        free_asked(a);
    }
}

static void take(void *ctx, struct letter *letter_take)
{
    struct daemon_reload *r = ctx;
    struct asked *a = (struct asked *)letter_take;
    answer(r, a);
    free_asked(a);
}

static void give_up(void *ctx, struct letter *letter)
{
    (void)ctx;
    struct rpc_call *call = ((struct asked *)letter)->call;
    if (call != NULL) {
        rpc_fail(call, ERR_SHUTDOWN, NULL, NULL, (struct bytes){0});
    }
}

struct daemon_reload *daemon_reload_new(const struct daemon_reload_options *options)
{
    struct daemon_reload *r = NEW(struct daemon_reload);
    r->options = *options;
    r->answers = mailbox_new(
        options->loop, &(struct mailbox_callbacks){.ctx = r, .take = take, .give_up = give_up});
    return r;
}

void daemon_reload_free(struct daemon_reload *r)
{
    if (r != NULL) {
        mailbox_free(r->answers);
        free(r);
    }
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
    a->call = call;
    a->err = r->options.source->read(r->options.source->ctx, &fresh, &why);
    if (a->err == ERR_OK) {
        find_changes(r, &fresh, &a->restart);
    } else {
        a->message = alloc_string(why.text);
    }
    if (a->err == ERR_OK && r->options.scripts != NULL) {
        mailbox_expect(r->answers, &a->letter);
        daemon_scripts_reload(r->options.scripts, &fresh, on_done, a);
    } else {
        write_array(&a->apps, 0);
        answer(r, a);
        free_asked(a);
    }
    config_close(&fresh);
}
