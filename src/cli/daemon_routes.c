#include "cli/daemon_routes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "cli/mailbox.h"
#include "wire/http_answer.h"

enum { NAME_BYTES_MAX = 256 };

struct asked {
    struct letter letter; /* first */
    struct http_call *call;
    struct slice answer;
};

struct daemon_routes {
    struct script_host *host;
    struct mailbox *answers; /* of the host */
};

static void free_asked(struct asked *a)
{
    slice_close(&a->answer);
    free(a);
}

/* On the host's thread; when the host is freed, on the loop's, after daemon_routes_free(). */
static void on_done(void *ctx, struct bytes answer)
{
    struct asked *a = ctx;
    a->answer = slice_copy(answer);
    if (!mailbox_put(&a->letter)) {
        free_asked(a);
    }
}

/* How the connection is used, and how long a body is, is not the script's to say. */
static bool is_ours(const char *name)
{
    return strcasecmp(name, "connection") == 0 || strcasecmp(name, "content-length") == 0 ||
           strcasecmp(name, "transfer-encoding") == 0;
}

static void set_headers(struct http_call *call, const struct http_answer *answer,
                        struct buffer *type)
{
    struct reader r;
    uint32_t count = http_answer_fields(answer, &r);
    for (uint32_t i = 0; i < count; i++) {
        char name[NAME_BYTES_MAX];
        struct buffer value = {0};
        read_text(&r, name, sizeof name);
        buffer_add_bytes(&value, read_str_or_bin(&r, UINT32_MAX));
        if (r.err == ERR_OK && strcasecmp(name, "content-type") == 0) {
            buffer_clear(type);
            buffer_add_bytes(type, buffer_bytes(&value));
        } else if (r.err == ERR_OK && !is_ours(name)) {
            http_add_header(call, name, buffer_text(&value));
        }
        buffer_close(&value);
    }
}

static void reply(struct asked *a)
{
    struct http_answer answer;
    struct buffer type = {0};
    if (read_http_answer(slice_bytes(a->answer), &answer) != ERR_OK) {
        http_fail(a->call, 500, ERR_IO, "the script's answer cannot be sent");
        return;
    }
    buffer_add_format(&type, "text/plain; charset=utf-8");
    set_headers(a->call, &answer, &type);
    http_reply(a->call, answer.status, buffer_text(&type), answer.body);
    buffer_close(&type);
}

static void take(void *ctx, struct letter *letter_take)
{
    (void)ctx;
    struct asked *a = (struct asked *)letter_take;
    reply(a);
    free_asked(a);
}

static void give_up(void *ctx, struct letter *letter)
{
    (void)ctx;
    http_fail(((struct asked *)letter)->call, 503, ERR_SHUTDOWN, NULL);
}

struct daemon_routes *daemon_routes_new(struct loop *loop, struct script_host *host)
{
    struct daemon_routes *d = NEW(struct daemon_routes);
    d->host = host;
    d->answers = mailbox_new(loop, &(struct mailbox_callbacks){.take = take, .give_up = give_up});
    return d;
}

void daemon_routes_free(struct daemon_routes *d)
{
    if (d != NULL) {
        mailbox_free(d->answers);
        free(d);
    }
}

void daemon_routes_ask(struct daemon_routes *d, struct http_call *call,
                       const struct http_request *request)
{
    char remote[ADDRESS_TEXT_MAX];
    struct buffer fields = {0};
    http_write_headers(call, &fields);
    struct asked *a = NEW(struct asked);
    a->call = call;
    mailbox_expect(d->answers, &a->letter);
    bool taken = script_host_http(d->host, &(struct script_http_request){
                                               .method = http_method_name(request->method),
                                               .path = request->path,
                                               .query = request->query,
                                               .remote = http_remote(call, remote),
                                               .fields = buffer_bytes(&fields),
                                               .body = request->body,
                                               .done = on_done,
                                               .ctx = a,
                                           });
    buffer_close(&fields);
    if (!taken) {
        mailbox_forget(&a->letter);
        free_asked(a);
        http_fail(call, 503, ERR_BUSY, "the scripts of this node have too many requests to answer");
    }
}
