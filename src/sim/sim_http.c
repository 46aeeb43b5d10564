#include "sim/sim_http.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "script/script.h"
#include "sim/http_servers.h"
#include "sim/sim_process_internal.h"
#include "wire/http_answer.h"

/* How long it takes to be refused, or to find out that there is nobody. */
enum { REFUSAL_US_MIN = 100, REFUSAL_US_MAX = 3000 };

/* On its way to the server: the world's, not the process's. */
struct sim_http_flight {
    struct sim_process *process; /* which lives as long as the world */
    uint64_t key;                /* of the exchange; it may be over by then */
    struct http_incoming request;
    char *method, *url;
    struct slice fields, body;
    enum http_fate fate;
    uint64_t answer_us; /* true time; before it leaves: how long it takes from then on */
    LIST_ENTRY(sim_http_flight) link;
};

struct exchange {
    struct sim_http *http;
    uint64_t number, call;
    struct sim_http_flight *flight; /* until it has left */
    uint64_t received;              /* its number among what servers received, once it is */
    size_t answer_bytes_max;
    uint64_t timeout_us; /* true time */
    /* What is due, and held up by a pause: the first of these counts. */
    enum step { STEP_NONE, STEP_LEAVE, STEP_ANSWER, STEP_BREAK, STEP_TIMEOUT } held;
    LIST_ENTRY(exchange) link;
};

struct sim_http {
    struct sim_process *process;
    uint64_t incarnation;
    struct script_host *host;
    struct rng rng;
    struct http_port port;
    uint64_t numbers;
    LIST_HEAD(, exchange) exchanges;
};

/* ---- finding, answering -------------------------------------------------------------------------
 */

static struct world *world_of(const struct sim_http *http)
{
    return http->process->world;
}

static uint64_t key_of(const struct exchange *x)
{
    return x->http->incarnation << 32 | (x->number & UINT32_MAX);
}

/* NULL: it is over, or its process has ended. */
static struct exchange *find(struct sim_process *p, uint64_t key)
{
    struct sim_http *http = sim_scripts_http(p->scripts);
    struct exchange *x;
    if (http == NULL || http->incarnation != key >> 32) {
        return NULL;
    }
    LIST_FOREACH (x, &http->exchanges, link) {
        if ((x->number & UINT32_MAX) == (key & UINT32_MAX)) {
            return x;
        }
    }
    return NULL;
}

static void flight_free(struct sim_http_flight *f)
{
    LIST_REMOVE(f, link);
    free(f->method);
    free(f->url);
    slice_close(&f->fields);
    slice_close(&f->body);
    free(f);
}

static void exchange_free(struct exchange *x)
{
    if (x->flight != NULL) {
        flight_free(x->flight);
    }
    LIST_REMOVE(x, link);
    free(x);
}

static void end(struct exchange *x, enum err err, const char *message, struct buffer *answer)
{
    script_host_reply(x->http->host, x->call, err, message,
                      answer != NULL ? slice_copy(buffer_bytes(answer)) : (struct slice){0});
    exchange_free(x);
}

static void answer(struct exchange *x)
{
    struct http_servers *servers = x->http->process->options.http_servers;
    struct buffer out = {0};
    struct http_answer a;
    http_servers_answer(servers, x->received, &out);
    if (read_http_answer(buffer_bytes(&out), &a) == ERR_OK && a.body.size > x->answer_bytes_max) {
        end(x, ERR_TOO_LARGE, "the answer has more bytes than max_body allows", NULL);
    } else {
        http_servers_answered(servers, x->received);
        end(x, ERR_OK, NULL, &out);
    }
    buffer_close(&out);
}

/* ---- a life -------------------------------------------------------------------------------------
 */

static void at(struct exchange *x, uint64_t time_us, world_fn fn)
{
    world_at(world_of(x->http), time_us, fn, x->http->process, key_of(x));
}

static void on_answer(void *ctx, uint64_t key);
static void on_break(void *ctx, uint64_t key);

/* What has left its host arrives, or is lost, whatever becomes of the host. */
static void on_arrival(void *ctx, uint64_t arg)
{
    struct sim_http_flight *f = ctx;
    struct sim_process *p = f->process;
    struct exchange *x = find(p, f->key);
    (void)arg;
    if (f->fate != HTTP_LOST) {
        uint64_t now_us = world_now_us(p->world);
        uint64_t number =
            http_servers_receive(p->options.http_servers, &f->request, f->fate, now_us);
        world_mix(p->world, UINT64_C(0x700) | p->options.host, number);
        if (x != NULL) {
            x->received = number;
        }
    }
    if (x != NULL && (f->fate == HTTP_ANSWERED || f->fate == HTTP_ERROR)) {
        at(x, f->answer_us, on_answer);
    } else if (x != NULL && f->fate != HTTP_NOT_ANSWERED) {
        at(x, f->answer_us, on_break);
    }
    flight_free(f);
}

static void take_step(struct exchange *x, enum step step)
{
    struct sim_http_flight *f = x->flight;
    switch (step) {
    case STEP_LEAVE:
        if (f->fate == HTTP_REFUSED) {
            end(x, ERR_UNREACHABLE, "cannot connect: the scenario's server refuses", NULL);
            return;
        }
        x->flight = NULL;
        f->answer_us += world_now_us(world_of(x->http));
        world_after(world_of(x->http), (f->answer_us - world_now_us(world_of(x->http))) / 2,
                    on_arrival, f, 0);
        return;
    case STEP_ANSWER:
        answer(x);
        return;
    case STEP_BREAK:
        end(x, ERR_UNREACHABLE, "the connection broke before the whole answer was there", NULL);
        return;
    default:
        end(x, ERR_TIMEOUT, "the server did not answer in time", NULL);
    }
}

static void step(struct sim_process *p, uint64_t key, enum step what)
{
    struct exchange *x = find(p, key);
    if (x == NULL) {
        return;
    }
    if (!p->paused) {
        take_step(x, what);
    } else if (x->held == STEP_NONE) {
        x->held = what;
    }
}

static void on_leave(void *ctx, uint64_t key)
{
    step(ctx, key, STEP_LEAVE);
}

static void on_answer(void *ctx, uint64_t key)
{
    step(ctx, key, STEP_ANSWER);
}

static void on_break(void *ctx, uint64_t key)
{
    step(ctx, key, STEP_BREAK);
}

static void on_timeout(void *ctx, uint64_t key)
{
    step(ctx, key, STEP_TIMEOUT);
}

void sim_http_resume(struct sim_http *http)
{
    for (struct exchange *x = LIST_FIRST(&http->exchanges), *next; x != NULL; x = next) {
        next = LIST_NEXT(x, link);
        if (x->held != STEP_NONE) {
            bool late = world_now_us(world_of(http)) >= x->timeout_us;
            enum step held = x->held == STEP_LEAVE && late ? STEP_TIMEOUT : x->held;
            x->held = STEP_NONE;
            take_step(x, held);
        }
    }
}

/* ---- the port -----------------------------------------------------------------------------------
 */

static struct slice encode_fields(const struct http_spec *spec)
{
    struct buffer out = {0};
    write_array(&out, (uint32_t)(2 * spec->fields_count));
    for (size_t i = 0; i < spec->fields_count; i++) {
        write_text(&out, spec->fields[i].name);
        write_text(&out, spec->fields[i].value);
    }
    struct slice encoded = slice_copy(buffer_bytes(&out));
    buffer_close(&out);
    return encoded;
}

static struct sim_http_flight *flight_new(struct exchange *x, const char *url,
                                          const struct http_spec *spec)
{
    struct sim_http_flight *f = NEW(struct sim_http_flight);
    f->process = x->http->process;
    LIST_INSERT_HEAD(&f->process->flights, f, link);
    f->key = key_of(x);
    f->method = alloc_string(spec->method);
    f->url = alloc_string(url);
    f->fields = encode_fields(spec);
    f->body = slice_copy(spec->body);
    f->request = (struct http_incoming){.host = f->process->options.host,
                                        .method = f->method,
                                        .url = f->url,
                                        .fields = slice_bytes(f->fields),
                                        .body = slice_bytes(f->body)};
    return f;
}

static void request(void *ctx, uint64_t call, const struct http_spec *spec)
{
    struct sim_http *http = ctx;
    struct sim_process *p = http->process;
    uint64_t now_us = world_now_us(p->world);
    char url[URL_TEXT_MAX];
    const struct http_server_rule *rule =
        http_servers_find(p->options.http_servers, url_text(spec->url, url));
    if (rule == NULL) {
        struct why why;
        err_why(&why, ERR_UNREACHABLE,
                "cannot connect to %.100s: the scenario has no such server (c:http_server(url, "
                "{ ... }))",
                url);
        script_host_reply(http->host, call, ERR_UNREACHABLE, why.text, (struct slice){0});
        return;
    }
    struct exchange *x = NEW(struct exchange);
    x->http = http;
    x->number = ++http->numbers;
    x->call = call;
    x->answer_bytes_max = spec->answer_bytes_max;
    LIST_INSERT_HEAD(&http->exchanges, x, link);
    x->flight = flight_new(x, url, spec);
    x->flight->fate = http_servers_draw(rule, p->options.host, &http->rng);
    if (x->flight->fate == HTTP_REFUSED) {
        at(x, now_us + rng_range(&http->rng, REFUSAL_US_MIN, REFUSAL_US_MAX), on_leave);
    } else {
        uint64_t latency_us = sim_span_draw(rule->latency, &http->rng);
        uint64_t connect_us = rng_range(&http->rng, 0, latency_us / 2 + 1);
        x->flight->answer_us = latency_us - connect_us; /* from when it leaves on */
        at(x, now_us + connect_us, on_leave);
    }
    x->timeout_us = now_us + spec->timeout_us;
    at(x, x->timeout_us, on_timeout);
}

static void cancel(void *ctx, uint64_t call)
{
    struct sim_http *http = ctx;
    struct exchange *x;
    LIST_FOREACH (x, &http->exchanges, link) {
        if (x->call == call) {
            exchange_free(x);
            return;
        }
    }
}

/* ---- life of them all ---------------------------------------------------------------------------
 */

struct sim_http *sim_http_new(struct sim_process *p, uint64_t seed)
{
    struct sim_http *http = NEW(struct sim_http);
    http->process = p;
    http->incarnation = p->incarnations;
    rng_seed(&http->rng, seed);
    LIST_INIT(&http->exchanges);
    http->port = (struct http_port){.ctx = http, .request = request, .cancel = cancel};
    return http;
}

void sim_http_answer_to(struct sim_http *http, struct script_host *host)
{
    http->host = host;
}

const struct http_port *sim_http_port(const struct sim_http *http)
{
    return &http->port;
}

void sim_http_free(struct sim_http *http)
{
    for (struct exchange *x = LIST_FIRST(&http->exchanges), *next; x != NULL; x = next) {
        next = LIST_NEXT(x, link);
        exchange_free(x);
    }
    free(http);
}

void sim_http_drop_flights(struct sim_process *p)
{
    for (struct sim_http_flight *f = LIST_FIRST(&p->flights), *next; f != NULL; f = next) {
        next = LIST_NEXT(f, link);
        flight_free(f);
    }
}
