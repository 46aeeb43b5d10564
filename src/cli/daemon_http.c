#include "cli/daemon_http.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/daemon_events.h"
#include "cli/daemon_metrics.h"
#include "cli/daemon_routes.h"
#include "cli/view.h"
#include "net/http_server.h"
#include "script/embed.h"
#include "script/json.h"
#include "wire/http_page.h"
#include "wire/writer.h"

struct daemon_http {
    struct node *node;
    struct script_host *scripts;  /* NULL: none */
    struct daemon_routes *routes; /* theirs */
    struct posix_fs *fs;
    struct daemon_events *events;
    struct http_server *server;
};

static const char json_type[] = "application/json";
static const char text_type[] = "text/plain; charset=utf-8";

/* ---- answers -------------------------------------------------------------------------------- */

static int status_code_of(enum err e)
{
    switch (e) {
    case ERR_OK:
        return 200;
    case ERR_INVALID:
        return 400;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_CONFLICT:
    case ERR_FENCED:
        return 409;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_REJECTED:
        return 422;
    case ERR_NOT_LEADER:
    case ERR_NO_SPACE:
    case ERR_BUSY:
    case ERR_SHUTDOWN:
    case ERR_UNREACHABLE:
        return 503;
    case ERR_TIMEOUT:
    case ERR_OUTCOME_UNKNOWN:
        return 504;
    default:
        return 500;
    }
}

static void reply_text(struct http_call *call, int status, const char *text)
{
    http_reply(call, status, text_type, bytes_of_string(text));
}

static void reply_value(struct http_call *call, struct bytes value)
{
    static const uint8_t nil = 0xc0;
    struct buffer text = {0};
    const struct json_style style = {.indent = 2, .lenient = true};
    enum err e = json_from_msgpack(value.size > 0 ? value : bytes_of(&nil, 1), &style, &text, NULL);
    buffer_add_u8(&text, '\n');
    if (e == ERR_OK) {
        http_reply(call, 200, json_type, buffer_bytes(&text));
    } else {
        http_fail(call, 500, e, NULL);
    }
    buffer_close(&text);
}

static void answer(void *ctx, const struct node_reply *reply)
{
    struct http_call *call = ctx;
    if (reply->err == ERR_OK) {
        reply_value(call, reply->result);
    } else {
        http_fail(call, status_code_of(reply->err), reply->err, reply->message);
    }
}

/* A key that is not there is not found; the machine itself answers nil. */
static void answer_kv_get(void *ctx, const struct node_reply *reply)
{
    if (reply->err == ERR_OK && view_is_nil(reply->result)) {
        http_fail(ctx, 404, ERR_NOT_FOUND, "there is no such key");
    } else {
        answer(ctx, reply);
    }
}

static void call_node(struct daemon_http *h, struct http_call *call, const char *method,
                      struct buffer *params, node_reply_fn reply)
{
    node_call(h->node, bytes_of_string(method), buffer_bytes(params), reply, call);
    buffer_close(params);
}

/* ---- health and roles ----------------------------------------------------------------------- */

static void get_alive(struct daemon_http *h, struct http_call *call,
                      const struct http_request *request)
{
    (void)h;
    (void)request;
    reply_text(call, 200, "ok\n");
}

/* What a script of this node did not manage; false if there is no such thing. */
static bool find_trouble(const struct script_host *scripts, struct buffer *out)
{
    struct slice owned = script_host_apps(scripts);
    struct bytes apps = slice_bytes(owned);
    bool trouble = false;
    for (uint32_t i = 0; i < view_count(apps); i++) {
        char name[64], state[16], error[1024];
        struct bytes app = view_at(apps, i);
        view_text(app, "app", name, sizeof name);
        view_text(app, "state", state, sizeof state);
        view_text(app, "error", error, sizeof error);
        if (strcmp(state, "running") != 0) {
            trouble = true;
            buffer_add_format(out, "application \"%s\" %s%s%s\n", name,
                              error[0] != 0 ? "failed" : "is starting", error[0] != 0 ? ": " : "",
                              error);
        }
    }
    slice_close(&owned);
    return trouble;
}

/* Ready to be sent work: it knows a leader, has room for what is written, and its scripts run. */
static void get_ready(struct daemon_http *h, struct http_call *call,
                      const struct http_request *request)
{
    (void)request;
    struct buffer trouble = {0};
    if (raft_leader(node_raft(h->node)) == 0) {
        reply_text(call, 503, "no leader is known\n");
    } else if (node_disk_is_full(h->node)) {
        reply_text(call, 503, "the disk is full\n");
    } else if (h->scripts != NULL && find_trouble(h->scripts, &trouble)) {
        reply_text(call, 503, buffer_text(&trouble));
    } else {
        reply_text(call, 200, "ok\n");
    }
    buffer_close(&trouble);
}

static void get_leader(struct daemon_http *h, struct http_call *call,
                       const struct http_request *request)
{
    (void)request;
    bool leads = node_leads(h->node);
    reply_text(call, leads ? 200 : 503, leads ? "leader\n" : "not the leader\n");
}

/* ?lag=N: at most so many entries behind what is known to be committed. */
static void get_follower(struct daemon_http *h, struct http_call *call,
                         const struct http_request *request)
{
    const struct raft *raft = node_raft(h->node);
    char text[32];
    uint64_t lag_max = UINT64_MAX, lag = raft_commit_index(raft) - node_last_applied(h->node);
    if (http_query(request, "lag", text, sizeof text)) {
        char *end;
        lag_max = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != 0) {
            http_fail(call, 400, ERR_INVALID, "lag must be a number of entries");
            return;
        }
    }
    bool follows = raft_role(raft) == RAFT_FOLLOWER && raft_leader(raft) != 0;
    reply_text(call, follows && lag <= lag_max ? 200 : 503,
               !follows         ? "not a follower\n"
               : lag <= lag_max ? "follower\n"
                                : "too far behind\n");
}

static void get_status(struct daemon_http *h, struct http_call *call,
                       const struct http_request *request)
{
    (void)request;
    call_node(h, call, "status", &(struct buffer){0}, answer);
}

static void get_metrics(struct daemon_http *h, struct http_call *call,
                        const struct http_request *request)
{
    (void)request;
    struct metrics page = {.prefix = "moonkeeper_"};
    daemon_metrics_write(h->node, h->scripts, h->fs, &page);
    http_reply(call, 200, "text/plain; version=0.0.4; charset=utf-8", buffer_bytes(&page.out));
    buffer_close(&page.out);
}

/* ---- watching ------------------------------------------------------------------------------- */

/* Generated from status_page.html. */
extern const struct embedded_file embedded_pages[];

/* The page has all in itself and asks nobody but this node: so nothing else is allowed to it. */
static void get_page(struct daemon_http *h, struct http_call *call,
                     const struct http_request *request)
{
    (void)h;
    (void)request;
    http_set_header(call, "Content-Security-Policy",
                    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                    "connect-src 'self'; img-src data:; frame-ancestors 'none'");
    http_set_header(call, "Cache-Control", "no-cache");
    http_reply(call, 200, "text/html; charset=utf-8",
               bytes_of(embedded_pages[0].data, embedded_pages[0].size));
}

static void get_events(struct daemon_http *h, struct http_call *call,
                       const struct http_request *request)
{
    (void)request;
    daemon_events_stream(h->events, call);
}

void daemon_http_note(struct daemon_http *h, const char *name, raft_term term, struct bytes fields)
{
    if (h != NULL) {
        daemon_events_note(h->events, name, term, fields);
    }
}

/* ---- kv and proposals ----------------------------------------------------------------------- */

/* [machine, name, {key = ...}], and room for more in the map. */
static void write_kv(struct buffer *out, const char *name, const char *key, uint32_t more)
{
    write_array(out, 3);
    write_text(out, "kv");
    write_text(out, name);
    write_map(out, 1 + more);
    write_text(out, "key");
    write_text(out, key);
}

static struct bytes header(const struct http_call *call, const char *name)
{
    const char *value = http_header(call, name);
    return value != NULL ? bytes_of_string(value) : (struct bytes){0};
}

/* Pages of others must not write here. True: it was refused. */
static bool is_foreign(struct http_call *call)
{
    const struct http_page page = {.fetch_site = header(call, "Sec-Fetch-Site"),
                                   .origin = header(call, "Origin"),
                                   .host = header(call, "Host")};
    if (!http_page_is_foreign(&page)) {
        return false;
    }
    http_fail(call, 403, ERR_INVALID, "requests of other web pages are refused");
    return true;
}

/* ?redirect=1: who asks wants to talk to the leader itself. True: it was sent there, or told that
 * this is not possible. */
static bool redirected(struct daemon_http *h, struct http_call *call,
                       const struct http_request *request)
{
    char text[8];
    if (!http_query(request, "redirect", text, sizeof text) ||
        raft_role(node_raft(h->node)) == RAFT_LEADER) {
        return false;
    }
    const char *leader = node_leader_http_address(h->node);
    if (leader == NULL) {
        http_fail(call, 503, ERR_NOT_LEADER, "the HTTP address of the leader is not known");
        return true;
    }
    struct buffer url = {0};
    buffer_add_format(&url, "http://%s%s", leader, http_target(call));
    http_set_header(call, "Location", buffer_text(&url));
    reply_text(call, 307, "the leader is there\n");
    buffer_close(&url);
    return true;
}

static void on_kv(struct daemon_http *h, struct http_call *call, const struct http_request *request)
{
    const char *key = request->path + strlen("/kv/");
    struct buffer params = {0};
    bool reads = request->method == HTTP_GET || request->method == HTTP_HEAD;
    if (!reads && (is_foreign(call) || redirected(h, call, request))) {
        return;
    }
    switch (request->method) {
    case HTTP_GET:
    case HTTP_HEAD:
        write_kv(&params, "get", key, 0);
        call_node(h, call, "query", &params, answer_kv_get);
        return;
    case HTTP_PUT:
    case HTTP_POST:
        write_kv(&params, "set", key, 1);
        write_text(&params, "value");
        write_str(&params, request->body);
        call_node(h, call, "propose", &params, answer);
        return;
    case HTTP_DELETE:
        write_kv(&params, "delete", key, 0);
        call_node(h, call, "propose", &params, answer);
        return;
    default:
        http_fail(call, 405, ERR_INVALID, "use GET, PUT or DELETE");
    }
}

static void write_member(struct buffer *out, struct bytes map, const char *key)
{
    struct bytes value = view_get(map, key);
    if (value.size > 0) {
        write_raw(out, value);
    } else {
        write_nil(out);
    }
}

/* {"machine":..., "command":..., "args":..., "options":...} */
static void post_propose(struct daemon_http *h, struct http_call *call,
                         const struct http_request *request)
{
    struct buffer body = {0}, params = {0};
    struct why why = {""};
    if (is_foreign(call) || redirected(h, call, request)) {
        return;
    }
    if (json_to_msgpack(request->body, &body, &why) != ERR_OK) {
        http_fail(call, 400, ERR_INVALID, why.text);
    } else {
        write_array(&params, 4);
        write_member(&params, buffer_bytes(&body), "machine");
        write_member(&params, buffer_bytes(&body), "command");
        write_member(&params, buffer_bytes(&body), "args");
        write_member(&params, buffer_bytes(&body), "options");
        call_node(h, call, "propose", &params, answer);
    }
    buffer_close(&body);
    buffer_close(&params);
}

/* ---- routes --------------------------------------------------------------------------------- */

static const struct {
    const char *path;
    enum http_method method; /* HEAD goes with GET */
    void (*handle)(struct daemon_http *h, struct http_call *call,
                   const struct http_request *request);
} routes[] = {
    {"/healthz", HTTP_GET, get_alive},     {"/livez", HTTP_GET, get_alive},
    {"/readyz", HTTP_GET, get_ready},      {"/leader", HTTP_GET, get_leader},
    {"/follower", HTTP_GET, get_follower}, {"/status", HTTP_GET, get_status},
    {"/metrics", HTTP_GET, get_metrics},   {"/propose", HTTP_POST, post_propose},
    {"/events", HTTP_GET, get_events},     {"/", HTTP_GET, get_page},
};

static void on_request(void *ctx, struct http_call *call, const struct http_request *request)
{
    struct daemon_http *h = ctx;
    if (strncmp(request->path, "/kv/", 4) == 0 && request->path[4] != 0) {
        on_kv(h, call, request);
        return;
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(request->path, routes[i].path) != 0) {
            continue;
        }
        if (request->method == routes[i].method ||
            (request->method == HTTP_HEAD && routes[i].method == HTTP_GET)) {
            routes[i].handle(h, call, request);
        } else {
            http_fail(call, 405, ERR_INVALID, "this path takes another method");
        }
        return;
    }
    if (h->routes != NULL) {
        daemon_routes_ask(h->routes, call, request);
        return;
    }
    http_fail(call, 404, ERR_NOT_FOUND,
              "there is no such path; there are / (a page), /healthz, /livez, /readyz, /leader, "
              "/follower, "
              "/status, /metrics, /events, /kv/KEY and /propose");
}

enum err daemon_http_open(const struct daemon_http_options *o, struct daemon_http **out,
                          struct why *why)
{
    struct daemon_http *h = NEW(struct daemon_http);
    h->node = o->node;
    h->scripts = o->scripts;
    h->fs = o->fs;
    const struct http_server_options options = {.listen = *o->listen,
                                                .body_bytes_max = o->body_bytes_max};
    const struct http_server_callbacks callbacks = {.ctx = h, .on_request = on_request};
    enum err e = http_server_open(o->loop, &options, &callbacks, o->log, &h->server, why);
    if (e != ERR_OK) {
        free(h);
        return e;
    }
    h->events = daemon_events_new(o->loop, o->node);
    if (h->scripts != NULL) {
        h->routes = daemon_routes_new(o->loop, h->scripts);
    }
    *out = h;
    return ERR_OK;
}

void daemon_http_close(struct daemon_http *h)
{
    if (h != NULL) {
        daemon_events_close(h->events);
        daemon_routes_free(h->routes);
        http_server_close(h->server);
        free(h);
    }
}

const struct address *daemon_http_address(const struct daemon_http *h)
{
    return http_server_address(h->server);
}
