/* The world outside of a real cluster: each node's HTTP requests reach a listener of its own here,
 * whatever their URL, which answers as the servers of the scenario (sim/http_servers.h) do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/text.h"
#include "net/http_client.h"
#include "scenario/target_real_internal.h"
#include "wire/http_answer.h"

enum { NAME_MAX_BYTES = 256, VALUE_MAX_BYTES = 8192 };

/* One that is to be answered, or not. */
struct real_http {
    struct host *host;
    struct http_call *call;
    enum http_fate fate;
    uint64_t number; /* among what was received */
    struct loop_timer *timer;
    LIST_ENTRY(real_http) link;
};

static void drop(struct real_http *x)
{
    LIST_REMOVE(x, link);
    loop_timer_free(x->timer);
    free(x);
}

static void set_headers(struct http_call *call, const struct http_answer *answer, char *type)
{
    struct reader r;
    uint32_t count = http_answer_fields(answer, &r);
    for (uint32_t i = 0; i < count; i++) {
        char name[NAME_MAX_BYTES], value[VALUE_MAX_BYTES];
        read_text(&r, name, sizeof name);
        read_text(&r, value, sizeof value);
        if (r.err == ERR_OK && strcasecmp(name, "content-type") == 0) {
            text_copy(type, NAME_MAX_BYTES, value);
        } else if (r.err == ERR_OK) {
            http_add_header(call, name, value);
        }
    }
}

static void answer(struct real_http *x)
{
    struct target_real *t = x->host->target;
    struct buffer out = {0};
    struct http_answer a;
    char type[NAME_MAX_BYTES] = "text/plain";
    http_servers_answer(t->http_servers, x->number, &out);
    if (http_is_open(x->call)) {
        http_servers_answered(t->http_servers, x->number);
    }
    if (read_http_answer(buffer_bytes(&out), &a) == ERR_OK) {
        set_headers(x->call, &a, type);
        http_reply(x->call, a.status, type, a.body);
    } else {
        http_break(x->call);
    }
    buffer_close(&out);
}

static void on_timer(void *ctx)
{
    struct real_http *x = ctx;
    if (x->fate == HTTP_ANSWER_LOST) {
        http_break(x->call);
    } else {
        answer(x);
    }
    drop(x);
}

/* What the client was given as its URL: https does not come here. False: there is no telling. */
static bool url_of(const struct http_call *call, char out[URL_TEXT_MAX])
{
    struct buffer text = {0};
    struct url url;
    const char *host = http_header(call, "Host");
    buffer_add_format(&text, "http://%s%s", host != NULL ? host : "", http_target(call));
    bool ok = url_parse(buffer_text(&text), &url, NULL) == ERR_OK;
    buffer_close(&text);
    if (ok) {
        url_text(&url, out);
    }
    return ok;
}

static uint64_t receive(struct host *h, struct http_call *call, const struct http_request *request,
                        const char *url, enum http_fate fate)
{
    struct target_real *t = h->target;
    struct buffer fields = {0};
    http_write_headers(call, &fields);
    uint64_t number = http_servers_receive(t->http_servers,
                                           &(struct http_incoming){
                                               .host = h->node - 1,
                                               .method = http_method_name(request->method),
                                               .url = url,
                                               .fields = buffer_bytes(&fields),
                                               .body = request->body,
                                           },
                                           fate, target_real_now_us(t));
    buffer_close(&fields);
    t->stage->happened = true;
    return number;
}

static void on_request(void *ctx, struct http_call *call, const struct http_request *request)
{
    struct host *h = ctx;
    struct target_real *t = h->target;
    char url[URL_TEXT_MAX];
    const struct http_server_rule *rule =
        url_of(call, url) ? http_servers_find(t->http_servers, url) : NULL;
    enum http_fate fate =
        rule != NULL ? http_servers_draw(rule, h->node - 1, &t->rng) : HTTP_REFUSED;
    if (fate == HTTP_REFUSED || fate == HTTP_LOST) {
        http_break(call);
        return;
    }
    struct real_http *x = NEW(struct real_http);
    x->host = h;
    x->call = call;
    x->fate = fate;
    x->number = receive(h, call, request, url, fate);
    x->timer = loop_timer_new(t->stage->loop, on_timer, x);
    LIST_INSERT_HEAD(&t->http_calls, x, link);
    if (fate != HTTP_NOT_ANSWERED) {
        loop_timer_set(x->timer, sim_span_draw(rule->latency, &t->rng));
    }
}

enum err target_real_http_open(struct host *h, struct why *why)
{
    struct http_server_options options = {.body_bytes_max = HTTP_BODY_BYTES_MAX};
    snprintf(options.listen.host, sizeof options.listen.host, "127.0.0.1");
    const struct http_server_callbacks callbacks = {.ctx = h, .on_request = on_request};
    return http_server_open(h->target->stage->loop, &options, &callbacks, NULL, &h->outside, why);
}

void target_real_http_close(struct host *h)
{
    struct real_http *x = LIST_FIRST(&h->target->http_calls);
    while (x != NULL) {
        struct real_http *next = LIST_NEXT(x, link);
        if (x->host == h) {
            http_break(x->call);
            drop(x);
        }
        x = next;
    }
    http_server_close(h->outside);
    h->outside = NULL;
}

struct http_servers *target_real_http_servers(struct target *t)
{
    return target_real_of(t)->http_servers;
}

/* ---- requests to nodes --------------------------------------------------------------------------
 */

enum { ANSWER_BYTES_MAX = 16 << 20 };

struct real_http_ask {
    struct target_real *target;
    struct http_exchange *exchange;
    node_reply_fn reply;
    void *ctx;
    LIST_ENTRY(real_http_ask) link;
};

static void end_ask(struct real_http_ask *a, const struct node_reply *reply)
{
    LIST_REMOVE(a, link);
    a->target->stage->happened = true;
    a->reply(a->ctx, reply);
    free(a);
}

static void on_answered(void *ctx, enum err err, const char *message, struct bytes result)
{
    end_ask(ctx, &(struct node_reply){.err = err, .message = message, .result = result});
}

void target_real_http(struct target *target, uint32_t node, const struct target_http *request,
                      node_reply_fn reply, void *ctx)
{
    struct target_real *t = target_real_of(target);
    char address[ADDRESS_TEXT_MAX];
    struct buffer text = {0};
    struct url url;
    struct why why = {""};
    buffer_add_format(&text, "http://%s%s", address_text(&t->hosts[node - 1].http, address),
                      request->target);
    enum err err = url_parse(buffer_text(&text), &url, &why);
    buffer_close(&text);
    if (err != ERR_OK) {
        reply(ctx, &(struct node_reply){.err = err, .message = why.text});
        return;
    }
    struct real_http_ask *a = NEW(struct real_http_ask);
    *a = (struct real_http_ask){.target = t, .reply = reply, .ctx = ctx};
    LIST_INSERT_HEAD(&t->http_asks, a, link);
    a->exchange = http_client_ask(t->http_client,
                                  &(struct http_spec){.method = request->method,
                                                      .url = &url,
                                                      .fields = request->fields,
                                                      .fields_count = request->fields_count,
                                                      .body = request->body,
                                                      .timeout_us = request->timeout_us,
                                                      .answer_bytes_max = ANSWER_BYTES_MAX},
                                  on_answered, a);
}

void target_real_http_give_up(struct target_real *t)
{
    for (struct real_http_ask *a = LIST_FIRST(&t->http_asks), *next; a != NULL; a = next) {
        next = LIST_NEXT(a, link);
        http_client_cancel(a->exchange);
        end_ask(a, &(struct node_reply){.err = ERR_SHUTDOWN});
    }
}
