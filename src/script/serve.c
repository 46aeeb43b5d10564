#include "script/serve.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/json_text.h"
#include "script/api.h"
#include "script/app.h"
#include "script/task.h"
#include "wire/http_answer.h"
#include "wire/http_page.h"

enum { STATUS_MIN = 100, STATUS_MAX = 599 };

/* ---- routes -------------------------------------------------------------------------------------
 */

static void route_free(struct route *r)
{
    LIST_REMOVE(r, link);
    free(r->method);
    free(r->pattern);
    free(r);
}

static bool is_same(const struct route *a, const struct route *b)
{
    return strcmp(a->method, b->method) == 0 && route_compare(a->pattern, b->pattern) == 0;
}

enum err route_add(struct app *app, const struct route *spec, uint64_t *id, uint64_t *replaced,
                   struct why *why)
{
    struct script_host *host = app->host;
    enum err e = route_check(spec->pattern, why);
    if (e != ERR_OK) {
        return e;
    }
    *replaced = 0;
    for (struct route *r = LIST_FIRST(&host->routes), *next; r != NULL; r = next) {
        next = LIST_NEXT(r, link);
        if (!is_same(r, spec)) {
            continue;
        }
        if (r->app != app && strcmp(r->app->name, app->name) == 0) {
            continue; /* an older generation, which may have to go on; the newest comes first */
        }
        if (r->app != app) {
            return err_why(why, ERR_EXISTS, "application '%s' answers %s %s", r->app->name,
                           r->method, r->pattern);
        }
        *replaced = r->id;
        route_free(r);
    }
    struct route *r = NEW(struct route);
    *r = *spec;
    r->id = *id = ++host->route_ids;
    r->app = app;
    r->method = alloc_string(spec->method);
    r->pattern = alloc_string(spec->pattern);
    LIST_INSERT_HEAD(&host->routes, r, link);
    return ERR_OK;
}

void route_remove(struct app *app, uint64_t id)
{
    struct route *r;
    LIST_FOREACH (r, &app->host->routes, link) {
        if (r->id == id && r->app == app) {
            route_free(r);
            return;
        }
    }
}

static bool takes_method(const struct route *r, const char *method)
{
    return strcmp(r->method, "*") == 0 || strcmp(r->method, method) == 0 ||
           (strcmp(r->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* The one that is meant; of two with the same paths, the one that names the method. *path_known:
 * there is one, of another method. */
static const struct route *find_route(const struct script_host *host, const struct served *s,
                                      bool *path_known)
{
    const struct route *best = NULL, *r;
    struct route_part parts[ROUTE_NAMES_MAX];
    *path_known = false;
    LIST_FOREACH (r, &host->routes, link) {
        if (r->app->phase == APP_STAGED || route_match(r->pattern, s->path, parts) < 0) {
            continue;
        }
        *path_known = true;
        int order = best != NULL ? route_compare(r->pattern, best->pattern) : -1;
        if (takes_method(r, s->method) &&
            (order < 0 || (order == 0 && strcmp(best->method, "*") == 0))) {
            best = r;
        }
    }
    return best;
}

static bool is_name(struct bytes text, const char *name)
{
    return text.size == strlen(name) && strncasecmp((const char *)text.data, name, text.size) == 0;
}

/* Is it of another web page, and the route not for those? */
static bool is_refused(const struct route *route, const struct served *s)
{
    bool reads = strcmp(s->method, "GET") == 0 || strcmp(s->method, "HEAD") == 0;
    if (route->pages == ROUTE_PAGES_OTHER || (route->pages == ROUTE_PAGES_READ && reads)) {
        return false;
    }
    struct http_page page = {0};
    struct reader r = reader_of(slice_bytes(s->fields));
    uint32_t count = s->fields.size > 0 ? read_array(&r) / 2 : 0;
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name = read_str_or_bin(&r, UINT32_MAX);
        struct bytes value = read_str_or_bin(&r, UINT32_MAX);
        if (is_name(name, "sec-fetch-site")) {
            page.fetch_site = value;
        } else if (is_name(name, "origin")) {
            page.origin = value;
        } else if (is_name(name, "host")) {
            page.host = value;
        }
    }
    return http_page_is_foreign(&page);
}

/* ---- answers ------------------------------------------------------------------------------------
 */

struct served *served_new(struct script_host *host, const struct script_http_request *request)
{
    struct served *s = NEW(struct served);
    s->host = host;
    s->method = alloc_string(request->method);
    s->path = alloc_string(request->path);
    s->query = alloc_string(request->query);
    s->remote = alloc_string(request->remote);
    s->fields = slice_copy(request->fields);
    s->body = slice_copy(request->body);
    s->done = request->done;
    s->ctx = request->ctx;
    return s;
}

static void served_free(struct served *s)
{
    free(s->method);
    free(s->path);
    free(s->query);
    free(s->remote);
    slice_close(&s->fields);
    slice_close(&s->body);
    free(s);
}

/* Whoever asks is told once, and waits no longer. */
static void tell(struct served *s, const struct http_answer *answer)
{
    struct buffer out = {0};
    if (s->done == NULL) {
        return;
    }
    write_http_answer(&out, answer);
    s->done(s->ctx, buffer_bytes(&out));
    s->done = NULL;
    buffer_close(&out);
    inbox_served(&s->host->inbox);
}

static void tell_error(struct served *s, int status, const char *code, const char *message)
{
    struct buffer body = {0}, fields = {0};
    buffer_add_format(&body, "{\"error\":{\"code\":\"%s\",\"message\":", code);
    json_add_text(&body, bytes_of_string(message));
    buffer_add_format(&body, "}}\n");
    write_array(&fields, 2);
    write_text(&fields, "content-type");
    write_text(&fields, "application/json");
    tell(s, &(struct http_answer){
                .status = status, .fields = buffer_bytes(&fields), .body = buffer_bytes(&body)});
    buffer_close(&body);
    buffer_close(&fields);
}

static void end(struct served *s)
{
    deadline_clear(&s->host->deadlines, &s->timeout);
    LIST_REMOVE(s, link);
    served_free(s);
}

struct ending {
    struct served *served;
    const struct task *task;
};

/* What http.lua made of the handler's result: {n = 3, status, fields, body}. Under app_protect().
 */
static int take_result(lua_State *L)
{
    const struct ending *ending = lua_touserdata(L, 1);
    struct served *s = ending->served;
    luaL_checkstack(L, 8, NULL);
    lua_settop(L, 0);
    task_push(L, ending->task);
    lua_getiuservalue(L, 1, TASK_UV_RESULT);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_rawgeti(L, 2, 1);
    lua_rawgeti(L, 2, 2);
    lua_rawgeti(L, 2, 3);
    size_t count;
    const struct http_field *fields = api_push_fields(L, 4, &count);
    size_t body_size;
    lua_Integer status = luaL_checkinteger(L, 3);
    const char *body = luaL_checklstring(L, 5, &body_size);
    if (status < STATUS_MIN || status > STATUS_MAX) {
        return luaL_error(L, "a status of %I", (LUAI_UACINT)status);
    }
    struct buffer list = {0};
    write_array(&list, (uint32_t)(2 * count));
    for (size_t i = 0; i < count; i++) {
        write_text(&list, fields[i].name);
        write_text(&list, fields[i].value);
    }
    tell(s, &(struct http_answer){.status = (int)status,
                                  .fields = buffer_bytes(&list),
                                  .body = bytes_of(body, body_size)});
    buffer_close(&list);
    return 0;
}

static void task_ended(struct task *task)
{
    struct served *s = task->owner;
    struct ending ending = {.served = s, .task = task};
    if (task->outcome == TASK_RETURNED && s->done != NULL) {
        app_protect(task->app, take_result, &ending);
    }
    if (s->done != NULL && task->outcome == TASK_WAS_KILLED) {
        tell_error(s, 500, "io", "the script took too much processor time over it");
    } else if (s->done != NULL) {
        tell_error(s, 500, "io", "the script failed; the node's log says how");
    }
    end(s);
}

static void on_timeout(struct deadline *d)
{
    struct served *s = (struct served *)((char *)d - offsetof(struct served, timeout));
    tell_error(s, 504, "timeout", "the script did not answer in time");
    task_cancel(s->task, ERR_TIMEOUT, "the route's timeout_ms is over", task_unwind_end(s->task));
}

/* ---- the beginning ------------------------------------------------------------------------------
 */

static void set_text(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_bytes(lua_State *L, const char *key, struct bytes value)
{
    lua_pushlstring(L, value.size > 0 ? (const char *)value.data : "", value.size);
    lua_setfield(L, -2, key);
}

static void set_list(lua_State *L, struct bytes list)
{
    struct reader r = reader_of(list);
    uint32_t count = list.size > 0 ? read_array(&r) : 0;
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 1; i <= count; i++) {
        struct bytes text = read_str_or_bin(&r, UINT32_MAX);
        lua_pushlstring(L, text.size > 0 ? (const char *)text.data : "", text.size);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "headers");
}

static void set_parts(lua_State *L, const struct served *s)
{
    struct route_part parts[ROUTE_NAMES_MAX];
    int count = route_match(s->route->pattern, s->path, parts);
    lua_createtable(L, 0, count);
    for (int i = 0; i < count; i++) {
        lua_pushlstring(L, (const char *)parts[i].name.data, parts[i].name.size);
        lua_pushlstring(L, (const char *)parts[i].value.data, parts[i].value.size);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "params");
}

/* Start the task that runs the handler. Under app_protect(). */
static int start(lua_State *L)
{
    struct served *s = lua_touserdata(L, 1);
    char where[TASK_WHERE_MAX];
    luaL_checkstack(L, 8, NULL);
    snprintf(where, sizeof where, "route %s %s", s->route->method, s->route->pattern);
    api_push_route_handler(L, s->route->id);
    lua_createtable(L, 0, 8);
    set_text(L, "method", s->method);
    set_text(L, "path", s->path);
    set_text(L, "query", s->query);
    set_text(L, "remote", s->remote);
    set_bytes(L, "body", slice_bytes(s->body));
    set_list(L, slice_bytes(s->fields));
    set_parts(L, s);
    const struct task_spec spec = {
        .kind = TASK_SPAWNED, .where = where, .ended = task_ended, .owner = s};
    s->task = task_spawn(L, &spec, 1);
    s->task->is_call = true;
    return 0;
}

static void begin(struct script_host *host, struct served *s)
{
    bool path_known;
    s->route = find_route(host, s, &path_known);
    if (s->route != NULL && s->route->app->phase != APP_LIVE) {
        STAILQ_INSERT_TAIL(&host->held_served, s, waiting);
        return;
    }
    LIST_INSERT_HEAD(&host->served, s, link);
    if (s->route == NULL && path_known) {
        tell_error(s, 405, "invalid", "this path takes another method");
    } else if (s->route == NULL) {
        tell_error(s, 404, "not_found",
                   "there is no such path: neither the node nor a script of it has one");
    } else if (is_refused(s->route, s)) {
        tell_error(s, 403, "invalid", "requests of other web pages are refused");
    } else {
        s->app = s->route->app;
        s->timeout.fire = on_timeout;
        app_protect(s->app, start, s);
        if (s->task != NULL) {
            deadline_set(&host->deadlines, &s->timeout, host_now_us(host) + s->route->timeout_us);
            s->route = NULL;
            return;
        }
        tell_error(s, 503, "busy", "the script has too many tasks, or no memory for another");
    }
    end(s);
}

void serve_take(struct script_host *host, struct served_items *items)
{
    struct served *s;
    while ((s = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, waiting);
        begin(host, s);
    }
}

void serve_held(struct script_host *host)
{
    struct served_items again = STAILQ_HEAD_INITIALIZER(again);
    STAILQ_CONCAT(&again, &host->held_served);
    serve_take(host, &again);
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void give_up(struct served *s)
{
    tell_error(s, 503, "shutdown", "the script ends");
    if (s->task != NULL) {
        s->task->ended = NULL;
    }
    end(s);
}

void serve_drop_app(struct app *app)
{
    struct script_host *host = app->host;
    for (struct served *s = LIST_FIRST(&host->served), *next; s != NULL; s = next) {
        next = LIST_NEXT(s, link);
        if (s->app == app) {
            give_up(s);
        }
    }
    for (struct route *r = LIST_FIRST(&host->routes), *next; r != NULL; r = next) {
        next = LIST_NEXT(r, link);
        if (r->app == app) {
            route_free(r);
        }
    }
}

void serve_close(struct script_host *host)
{
    struct served_items left = STAILQ_HEAD_INITIALIZER(left);
    struct served *s, *next;
    STAILQ_CONCAT(&left, &host->held_served);
    pthread_mutex_lock(&host->inbox.lock);
    STAILQ_CONCAT(&left, &host->inbox.served);
    pthread_mutex_unlock(&host->inbox.lock);
    while ((s = STAILQ_FIRST(&left)) != NULL) {
        STAILQ_REMOVE_HEAD(&left, waiting);
        LIST_INSERT_HEAD(&host->served, s, link);
    }
    for (s = LIST_FIRST(&host->served); s != NULL; s = next) {
        next = LIST_NEXT(s, link);
        give_up(s);
    }
}
