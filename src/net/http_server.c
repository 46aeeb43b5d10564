#include "net/http_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/json_text.h"
#include "net/http_streams.h"
#include "net/wrong_port.h"
#include "wire/writer.h"

/* When the connection goes, the request goes: from then on request is NULL, and the call only waits
 * for its owner to end it. */
struct http_call {
    LIST_ENTRY(http_call) entry;
    struct http_server *server;     /* NULL: closed */
    struct evhttp_request *request; /* NULL: the connection is gone */
    bool streaming;
    bool broken; /* over for its owner: it goes with its connection */
    void (*on_disconnect)(void *ctx, struct http_call *call);
    void *ctx;
};

struct http_server {
    struct http_server_options options;
    struct http_server_callbacks callbacks;
    const struct log *log;
    struct evhttp *http;
    struct evconnlistener *listener; /* evhttp's */
    struct http_streams *streams;
    struct address address;
    LIST_HEAD(, http_call) calls;
    bool closing;
};

/* ---- requests ---- */

static const struct {
    enum evhttp_cmd_type theirs;
    enum http_method ours;
} methods[] = {
    {EVHTTP_REQ_GET, HTTP_GET},       {EVHTTP_REQ_HEAD, HTTP_HEAD},
    {EVHTTP_REQ_POST, HTTP_POST},     {EVHTTP_REQ_PUT, HTTP_PUT},
    {EVHTTP_REQ_DELETE, HTTP_DELETE}, {EVHTTP_REQ_OPTIONS, HTTP_OPTIONS},
    {EVHTTP_REQ_PATCH, HTTP_PATCH},
};
enum { METHODS = sizeof methods / sizeof methods[0] };

static enum http_method method_of(struct evhttp_request *request)
{
    unsigned i = 0;
    while (i < METHODS && methods[i].theirs != evhttp_request_get_command(request)) {
        i++;
    }
    ASSERT(i < METHODS); /* evhttp lets only those through that new_http() allows */
    return methods[i].ours;
}

const char *http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
        [HTTP_PATCH] = "PATCH",
    };
    return names[method];
}

static struct bufferevent *stream_of(struct evhttp_request *request)
{
    return evhttp_connection_get_bufferevent(evhttp_request_get_connection(request));
}

static void end_call(struct http_call *call)
{
    if (call->server != NULL) {
        LIST_REMOVE(call, entry);
    }
    free(call);
}

static void on_gone(void *ctx, void *gone)
{
    struct http_server *s = ctx;
    struct http_call *call = gone;
    if (!s->closing) {
        /* A connection that breaks lets go of the request that its owner has not answered, for the
         * owner to free; evhttp_free() frees it itself. */
        evhttp_request_free(call->request);
    }
    call->request = NULL;
    if (call->streaming && call->on_disconnect != NULL) {
        call->on_disconnect(call->ctx, call);
    }
    if (call->broken) {
        end_call(call);
    }
}

static void hand_on(struct http_server *s, struct evhttp_request *request, const char *path,
                    const char *query)
{
    struct http_call *call = NEW(struct http_call);
    call->server = s;
    call->request = request;
    LIST_INSERT_HEAD(&s->calls, call, entry);
    http_streams_asked(s->streams, stream_of(request), call);
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t size = evbuffer_get_length(body);
    struct http_request r = {
        .method = method_of(request),
        .path = path,
        .query = query == NULL ? "" : query,
        .body = bytes_of(size == 0 ? NULL : evbuffer_pullup(body, -1), size),
    };
    s->callbacks.on_request(s->callbacks.ctx, call, &r);
}

static void on_request(struct evhttp_request *request, void *ctx)
{
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *encoded = uri == NULL ? NULL : evhttp_uri_get_path(uri);
    size_t size = 0;
    char *path =
        encoded == NULL || *encoded == 0 ? alloc_string("/") : evhttp_uridecode(encoded, 0, &size);
    /* A zero byte in the middle would make a different path of what is checked and what is used. */
    if (path == NULL || path[0] != '/' || (size > 0 && strlen(path) != size)) {
        evhttp_send_error(request, HTTP_BADREQUEST, NULL);
    } else {
        hand_on(ctx, request, path, evhttp_uri_get_query(uri));
    }
    free(path);
}

const char *http_target(const struct http_call *call)
{
    const char *target = call->request == NULL ? NULL : evhttp_request_get_uri(call->request);
    return target != NULL && *target == '/' ? target : "/";
}

const char *http_header(const struct http_call *call, const char *name)
{
    if (call->request == NULL) {
        return NULL;
    }
    return evhttp_find_header(evhttp_request_get_input_headers(call->request), name);
}

bool http_query(const struct http_request *request, const char *key, char *out, size_t capacity)
{
    struct evkeyvalq pairs = {0};
    if (evhttp_parse_query_str(request->query, &pairs) != 0) {
        return false;
    }
    const char *value = evhttp_find_header(&pairs, key);
    bool fits = value != NULL && strlen(value) < capacity;
    if (fits) {
        memcpy(out, value, strlen(value) + 1);
    }
    evhttp_clear_headers(&pairs);
    return fits;
}

void http_write_headers(const struct http_call *call, struct buffer *out)
{
    const struct evkeyval *header;
    uint32_t count = 0;
    if (call->request == NULL) {
        write_array(out, 0);
        return;
    }
    const struct evkeyvalq *headers = evhttp_request_get_input_headers(call->request);
    TAILQ_FOREACH (header, headers, next) {
        count++;
    }
    write_array(out, 2 * count);
    TAILQ_FOREACH (header, headers, next) {
        write_text(out, header->key);
        write_text(out, header->value);
    }
}

const char *http_remote(const struct http_call *call, char out[ADDRESS_TEXT_MAX])
{
    struct socket_address a = {.size = sizeof a.storage};
    out[0] = 0;
    if (call->request != NULL && getpeername(bufferevent_getfd(stream_of(call->request)),
                                             (struct sockaddr *)&a.storage, &a.size) == 0) {
        socket_address_text(&a, out);
    }
    return out;
}

bool http_is_open(const struct http_call *call)
{
    char next;
    return call->request != NULL && recv(bufferevent_getfd(stream_of(call->request)), &next, 1,
                                         MSG_PEEK | MSG_DONTWAIT) != 0;
}

/* ---- answers ---- */

/* The connection may serve another request from here on: it must not tell this call that it closes.
 */
static struct evhttp_request *release(struct http_call *call)
{
    struct evhttp_request *request = call->request;
    if (request != NULL) {
        http_streams_answered(call->server->streams, stream_of(request));
        call->request = NULL;
    }
    return request;
}

void http_set_header(struct http_call *call, const char *name, const char *value)
{
    if (call->request != NULL) {
        struct evkeyvalq *headers = evhttp_request_get_output_headers(call->request);
        evhttp_remove_header(headers, name);
        evhttp_add_header(headers, name, value);
    }
}

void http_add_header(struct http_call *call, const char *name, const char *value)
{
    if (call->request != NULL) {
        evhttp_add_header(evhttp_request_get_output_headers(call->request), name, value);
    }
}

static void set_length(struct http_call *call, size_t size)
{
    char length[32];
    snprintf(length, sizeof length, "%zu", size);
    http_set_header(call, "Content-Length", length);
}

void http_reply(struct http_call *call, int status, const char *content_type, struct bytes body)
{
    ASSERT(!call->streaming);
    http_set_header(call, "Content-Type", content_type);
    set_length(call, body.size); /* for HEAD too: it tells what GET would send */
    struct evhttp_request *request = release(call);
    if (request != NULL) {
        struct evbuffer *out = evhttp_request_get_output_buffer(request);
        if (evhttp_request_get_command(request) != EVHTTP_REQ_HEAD) {
            evbuffer_add(out, body.data, body.size);
        }
        evhttp_send_reply(request, status, NULL, NULL);
    }
    end_call(call);
}

void http_fail(struct http_call *call, int status, enum err e, const char *message)
{
    struct buffer body = {0};
    buffer_add_format(&body, "{\"error\":{\"code\":\"%s\",\"message\":", err_name(e));
    json_add_text(&body, bytes_of_string(message == NULL ? err_message(e) : message));
    buffer_add_format(&body, "}}\n");
    http_reply(call, status, "application/json", buffer_bytes(&body));
    buffer_close(&body);
}

void http_break(struct http_call *call)
{
    ASSERT(!call->streaming);
    if (call->request == NULL) {
        end_call(call);
        return;
    }
    call->broken = true;
    shutdown(bufferevent_getfd(stream_of(call->request)), SHUT_RDWR); /* evhttp notices */
}

/* ---- streams ---- */

void http_stream(struct http_call *call, int status, const char *content_type,
                 void (*on_disconnect)(void *ctx, struct http_call *call), void *ctx)
{
    ASSERT(!call->streaming);
    call->streaming = true;
    call->on_disconnect = on_disconnect;
    call->ctx = ctx;
    http_set_header(call, "Content-Type", content_type);
    if (call->request != NULL) {
        /* Silence is no reason to end a stream. */
        evhttp_connection_set_timeout(evhttp_request_get_connection(call->request), 0);
        evhttp_send_reply_start(call->request, status, NULL);
    }
}

bool http_stream_write(struct http_call *call, struct bytes piece)
{
    ASSERT(call->streaming);
    if (call->request == NULL) {
        return false;
    }
    struct evhttp_connection *connection = evhttp_request_get_connection(call->request);
    struct bufferevent *stream = evhttp_connection_get_bufferevent(connection);
    if (evbuffer_get_length(bufferevent_get_output(stream)) >
        call->server->options.body_bytes_max) {
        return false;
    }
    struct evbuffer *out = evbuffer_new();
    ASSERT(out != NULL);
    evbuffer_add(out, piece.data, piece.size);
    evhttp_send_reply_chunk(call->request, out);
    evbuffer_free(out);
    return true;
}

void http_stream_end(struct http_call *call)
{
    ASSERT(call->streaming);
    struct evhttp_request *request = release(call);
    if (request != NULL) {
        evhttp_send_reply_end(request);
    }
    end_call(call);
}

/* ---- life ---- */

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0) {
        *option = value;
    }
}

/* What begins like no request would be waited for until it has a whole line, and MessagePack has no
 * lines: end this one. evhttp then refuses it, as HTTP has it. */
static void refuse_strangers(struct evbuffer *in, const struct evbuffer_cb_info *info, void *ctx)
{
    struct bufferevent *stream = ctx;
    uint8_t first[4];
    ev_ssize_t size = evbuffer_copyout(in, first, sizeof first);
    if (info->n_added == 0 || size < 1) {
        return;
    }
    evbuffer_remove_cb(in, refuse_strangers, stream);
    if (first[0] < 'A' || first[0] > 'Z') {
        wrong_port_tell(bufferevent_getfd(stream), bytes_of(first, (size_t)size),
                        "this is the HTTP port of a moonkeeper node; clients have a port of their "
                        "own");
        evbuffer_add(in, "\r\n\r\n", 4);
    }
}

static struct bufferevent *new_stream(struct event_base *base, void *ctx)
{
    struct http_server *s = ctx;
    struct bufferevent *stream = bufferevent_socket_new(base, -1, 0);
    ASSERT(stream != NULL);
    evbuffer_add_cb(bufferevent_get_input(stream), refuse_strangers, stream);
    /* evhttp goes on reading while an answer is under way. A request fits, whole. */
    bufferevent_setwatermark(stream, EV_READ, 0,
                             (size_t)s->options.header_bytes_max + s->options.body_bytes_max);
    http_streams_add(s->streams, stream);
    return stream;
}

static void want_connections(void *ctx, bool wanted)
{
    struct http_server *s = ctx;
    if (wanted) {
        evconnlistener_enable(s->listener);
    } else {
        evconnlistener_disable(s->listener);
    }
}

static struct http_streams *new_streams(struct loop *loop, struct http_server *s)
{
    const struct http_streams_options options = {
        .connections_max = s->options.connections_max,
        .received_bytes_max = s->options.received_bytes_max,
        .unsent_bytes_max = s->options.unsent_bytes_max,
        .request_ms = s->options.request_ms,
        .accept = want_connections,
        .gone = on_gone,
        .ctx = s,
    };
    return http_streams_new(loop, &options, s->log);
}

static struct evhttp *new_http(struct loop *loop, struct http_server *s)
{
    struct evhttp *http = evhttp_new(loop_base(loop));
    ASSERT(http != NULL);
    ev_uint16_t allowed = 0;
    for (unsigned i = 0; i < METHODS; i++) {
        allowed = (ev_uint16_t)(allowed | methods[i].theirs);
    }
    evhttp_set_allowed_methods(http, allowed);
    evhttp_set_max_headers_size(http, (ev_ssize_t)s->options.header_bytes_max);
    evhttp_set_max_body_size(http, (ev_ssize_t)s->options.body_bytes_max);
    evhttp_set_timeout(http, (int)s->options.timeout_s);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_gencb(http, on_request, s);
    evhttp_set_bevcb(http, new_stream, s);
    return http;
}

enum err http_server_open(struct loop *loop, const struct http_server_options *options,
                          const struct http_server_callbacks *callbacks, const struct log *log,
                          struct http_server **out, struct why *why)
{
    int fd;
    struct address bound;
    enum err e = address_listen(&options->listen, &fd, &bound, why);
    if (e != ERR_OK) {
        return e;
    }
    struct http_server *s = NEW(struct http_server);
    s->options = *options;
    set_default(&s->options.header_bytes_max, 16u << 10);
    set_default(&s->options.body_bytes_max, 4u << 20);
    set_default(&s->options.timeout_s, 60);
    set_default(&s->options.connections_max, 512);
    set_default(&s->options.received_bytes_max, 32u << 20);
    set_default(&s->options.unsent_bytes_max, 32u << 20);
    set_default(&s->options.request_ms, 30000);
    s->callbacks = *callbacks;
    s->log = log;
    s->address = bound;
    LIST_INIT(&s->calls);
    s->streams = new_streams(loop, s);
    s->http = new_http(loop, s);
    struct evhttp_bound_socket *socket = evhttp_accept_socket_with_handle(s->http, fd);
    if (socket == NULL) {
        char text[ADDRESS_TEXT_MAX];
        e = err_why(why, ERR_IO, "cannot accept HTTP connections on %s",
                    address_text(&bound, text));
        evhttp_free(s->http);
        http_streams_free(s->streams);
        close(fd);
        free(s);
        return e;
    }
    s->listener = evhttp_bound_socket_get_listener(socket);
    *out = s;
    return ERR_OK;
}

void http_server_close(struct http_server *s)
{
    if (s == NULL) {
        return;
    }
    s->closing = true;
    evhttp_free(s->http); /* tells the calls that are open */
    struct http_call *call;
    while ((call = LIST_FIRST(&s->calls)) != NULL) {
        LIST_REMOVE(call, entry);
        call->server = NULL; /* left to their owners to end */
    }
    http_streams_free(s->streams);
    free(s);
}

const struct address *http_server_address(const struct http_server *s)
{
    return &s->address;
}
