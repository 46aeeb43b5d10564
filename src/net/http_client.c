#include "net/http_client.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/resolver.h"
#include "net/tls_client.h"
#include "wire/http_answer.h"

enum { HEADER_BYTES_MAX = 64 << 10 };

/* evhttp's objects are never freed from inside a callback of theirs: an exchange that is over waits
 * for its timer, and everything ends there. */
struct http_exchange {
    struct http_client *client;
    struct url url;
    size_t answer_bytes_max;
    struct loop_timer *timer; /* its time is up; or it is over */
    struct resolver *resolver;
    struct evhttp_connection *connection;
    struct evhttp_request *request; /* until the connection has it; then the connection's */
    enum evhttp_cmd_type method;
    enum evhttp_request_error trouble; /* the last that evhttp told */
    bool in_trouble;
    long tls_trouble;

    bool over;
    enum err err;
    struct why why;
    struct buffer answer;
    http_client_done *done;
    void *ctx;
    LIST_ENTRY(http_exchange) link;
};

struct http_client {
    struct loop *loop;
    char *agent;
    struct address instead;
    bool has_instead;
    struct tls_client *tls; /* NULL: not needed so far */
    LIST_HEAD(, http_exchange) exchanges;
};

/* ---- the end ------------------------------------------------------------------------------------
 */

static void close_exchange(struct http_exchange *x)
{
    LIST_REMOVE(x, link);
    resolver_cancel(x->resolver);
    if (x->connection != NULL) {
        evhttp_connection_free(x->connection);
    }
    if (x->request != NULL) {
        evhttp_request_free(x->request);
    }
    loop_timer_free(x->timer);
    buffer_close(&x->answer);
    free(x);
}

/* The first outcome counts. */
static void end_soon(struct http_exchange *x, enum err err)
{
    if (!x->over) {
        x->over = true;
        x->err = err;
        loop_timer_set(x->timer, 0);
    }
}

static void on_timer(void *ctx)
{
    struct http_exchange *x = ctx;
    if (!x->over) {
        x->err = err_why(&x->why, ERR_TIMEOUT, "%s did not answer in time", x->url.host);
    }
    const char *message = x->err != ERR_OK && x->why.text[0] != 0 ? x->why.text : NULL;
    struct bytes answer = x->err == ERR_OK ? buffer_bytes(&x->answer) : (struct bytes){0};
    x->done(x->ctx, x->err, message, answer);
    close_exchange(x);
}

void http_client_cancel(struct http_exchange *x)
{
    close_exchange(x);
}

/* ---- what evhttp tells --------------------------------------------------------------------------
 */

static void write_answer(struct http_exchange *x, struct evhttp_request *request)
{
    struct buffer fields = {0};
    const struct evkeyvalq *headers = evhttp_request_get_input_headers(request);
    const struct evkeyval *header;
    uint32_t count = 0;
    TAILQ_FOREACH (header, headers, next) {
        count++;
    }
    write_array(&fields, count * 2);
    TAILQ_FOREACH (header, headers, next) {
        write_text(&fields, header->key);
        write_text(&fields, header->value);
    }
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t size = evbuffer_get_length(body);
    const struct http_answer answer = {
        .status = evhttp_request_get_response_code(request),
        .fields = buffer_bytes(&fields),
        .body = bytes_of(size > 0 ? evbuffer_pullup(body, -1) : NULL, size),
    };
    write_http_answer(&x->answer, &answer);
    buffer_close(&fields);
}

static enum err trouble_of(struct http_exchange *x)
{
    char host[URL_TEXT_MAX];
    url_host_text(&x->url, host);
    switch (x->trouble) {
    case EVREQ_HTTP_TIMEOUT:
        return err_why(&x->why, ERR_TIMEOUT, "%.300s did not answer in time", host);
    case EVREQ_HTTP_INVALID_HEADER:
        return err_why(&x->why, ERR_IO, "%.300s answered with something that is not HTTP", host);
    case EVREQ_HTTP_DATA_TOO_LONG:
        return err_why(&x->why, ERR_TOO_LARGE, "the answer of %.300s has more than %zu bytes", host,
                       x->answer_bytes_max);
    default:
        return err_why(&x->why, ERR_UNREACHABLE,
                       "the connection to %.300s broke before the whole answer was there", host);
    }
}

/* It has got nowhere: refused, or the other side is not who it should be. */
static enum err not_connected(struct http_exchange *x)
{
    char host[URL_TEXT_MAX];
    const char *refusal = tls_client_trouble(x->tls_trouble);
    url_host_text(&x->url, host);
    return err_why(&x->why, ERR_UNREACHABLE, "cannot connect to %.250s%s%s", host,
                   refusal != NULL ? ": its certificate is refused: " : "",
                   refusal != NULL ? refusal : "");
}

static void on_trouble(enum evhttp_request_error trouble, void *ctx)
{
    struct http_exchange *x = ctx;
    x->trouble = trouble;
    x->in_trouble = true;
}

static void on_answer(struct evhttp_request *request, void *ctx)
{
    struct http_exchange *x = ctx;
    if (x->in_trouble && x->tls_trouble == 0) {
        end_soon(x, trouble_of(x));
    } else if (request == NULL || evhttp_request_get_response_code(request) == 0) {
        end_soon(x, not_connected(x));
    } else {
        write_answer(x, request);
        end_soon(x, ERR_OK);
    }
}

/* ---- the beginning ------------------------------------------------------------------------------
 */

static enum err new_stream(struct http_exchange *x, struct bufferevent **out)
{
    struct http_client *c = x->client;
    struct event_base *base = loop_base(c->loop);
    *out = NULL;
    if (x->url.tls) {
        enum err e = c->tls == NULL ? tls_client_new(&c->tls, &x->why) : ERR_OK;
        if (e != ERR_OK) {
            return e;
        }
        *out = tls_client_stream(c->tls, base, x->url.host, &x->tls_trouble);
    } else {
        *out = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    }
    return *out != NULL ? ERR_OK : err_why(&x->why, ERR_IO, "cannot make a connection");
}

/* To a number: evhttp would wait for a name server. */
static void connect_to(struct http_exchange *x, const struct socket_address *to)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];
    struct bufferevent *stream;
    enum err e = new_stream(x, &stream);
    if (e != ERR_OK) {
        end_soon(x, e);
        return;
    }
    int failed = getnameinfo((const struct sockaddr *)&to->storage, to->size, host, sizeof host,
                             port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    ASSERT(failed == 0); /* an address that was looked up */
    x->connection = evhttp_connection_base_bufferevent_new(
        loop_base(x->client->loop), NULL, stream, host, (unsigned short)strtoul(port, NULL, 10));
    ASSERT(x->connection != NULL);
    evhttp_connection_set_max_headers_size(x->connection, HEADER_BYTES_MAX);
    evhttp_connection_set_max_body_size(x->connection, (ev_ssize_t)x->answer_bytes_max);
    evhttp_connection_set_timeout(x->connection, INT32_MAX / 2); /* x->timer sees to that */
    struct evhttp_request *request = x->request;
    x->request = NULL;
    if (evhttp_make_request(x->connection, request, x->method, x->url.target) != 0) {
        end_soon(x, not_connected(x));
    }
}

static void on_resolved(void *ctx, const struct socket_address *address, const struct why *why)
{
    struct http_exchange *x = ctx;
    x->resolver = NULL;
    if (address != NULL) {
        connect_to(x, address);
    } else {
        end_soon(x, err_why(&x->why, ERR_UNREACHABLE, "%s", why->text));
    }
}

static void look_up(struct http_exchange *x)
{
    const struct http_client *c = x->client;
    struct address address = {.port = x->url.port};
    struct socket_address found;
    memcpy(address.host, x->url.host, sizeof x->url.host);
    if (c->has_instead) {
        address = c->instead;
    }
    if (address_resolve_numeric(&address, &found) == ERR_OK) {
        connect_to(x, &found);
    } else {
        x->resolver = resolver_start(c->loop, &address, on_resolved, x);
    }
}

static const struct {
    const char *name;
    enum evhttp_cmd_type type;
} methods[] = {
    {"GET", EVHTTP_REQ_GET},     {"HEAD", EVHTTP_REQ_HEAD},     {"POST", EVHTTP_REQ_POST},
    {"PUT", EVHTTP_REQ_PUT},     {"DELETE", EVHTTP_REQ_DELETE}, {"OPTIONS", EVHTTP_REQ_OPTIONS},
    {"PATCH", EVHTTP_REQ_PATCH},
};
enum { METHODS = sizeof methods / sizeof methods[0] };

static enum evhttp_cmd_type method_of(const char *name)
{
    size_t i = 0;
    while (i < METHODS && strcmp(methods[i].name, name) != 0) {
        i++;
    }
    ASSERT(i < METHODS);
    return methods[i].type;
}

static void set_default(struct evkeyvalq *headers, const char *name, const char *value)
{
    if (evhttp_find_header(headers, name) == NULL) {
        evhttp_add_header(headers, name, value);
    }
}

/* How a connection is used and a body ends is not a script's to say. */
static bool is_ours(const char *name)
{
    return strcasecmp(name, "connection") == 0 || strcasecmp(name, "content-length") == 0 ||
           strcasecmp(name, "transfer-encoding") == 0;
}

static struct evhttp_request *new_request(struct http_exchange *x, const struct http_spec *spec)
{
    char text[URL_TEXT_MAX];
    struct evhttp_request *request = evhttp_request_new(on_answer, x);
    ASSERT(request != NULL);
    evhttp_request_set_error_cb(request, on_trouble);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    for (size_t i = 0; i < spec->fields_count; i++) {
        if (!is_ours(spec->fields[i].name)) {
            evhttp_add_header(headers, spec->fields[i].name, spec->fields[i].value);
        }
    }
    set_default(headers, "Host", url_host_text(spec->url, text));
    set_default(headers, "User-Agent", x->client->agent);
    evhttp_add_header(headers, "Connection", "close");
    bool has_body = spec->body.size > 0 || x->method == EVHTTP_REQ_POST ||
                    x->method == EVHTTP_REQ_PUT || x->method == EVHTTP_REQ_PATCH;
    if (has_body) {
        snprintf(text, sizeof text, "%zu", spec->body.size);
        evhttp_add_header(headers, "Content-Length", text);
    }
    evbuffer_add(evhttp_request_get_output_buffer(request), spec->body.data, spec->body.size);
    return request;
}

struct http_exchange *http_client_ask(struct http_client *c, const struct http_spec *spec,
                                      http_client_done *done, void *ctx)
{
    struct http_exchange *x = NEW(struct http_exchange);
    x->client = c;
    x->url = *spec->url;
    x->answer_bytes_max = spec->answer_bytes_max;
    x->method = method_of(spec->method);
    x->done = done;
    x->ctx = ctx;
    x->timer = loop_timer_new(c->loop, on_timer, x);
    x->request = new_request(x, spec);
    LIST_INSERT_HEAD(&c->exchanges, x, link);
    loop_timer_set(x->timer, spec->timeout_us);
    look_up(x);
    return x;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct http_client *http_client_new(const struct http_client_options *options)
{
    struct http_client *c = NEW(struct http_client);
    c->loop = options->loop;
    c->agent = alloc_string(options->agent);
    c->has_instead = options->instead != NULL;
    if (c->has_instead) {
        c->instead = *options->instead;
    }
    LIST_INIT(&c->exchanges);
    return c;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL) {
        return;
    }
    for (struct http_exchange *x = LIST_FIRST(&c->exchanges), *next; x != NULL; x = next) {
        next = LIST_NEXT(x, link);
        close_exchange(x);
    }
    tls_client_free(c->tls);
    free(c->agent);
    free(c);
}
