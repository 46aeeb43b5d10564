/* moonkeeper.core: HTTP requests and routes, as lua/moonkeeper/http.lua needs them. */
#include <lauxlib.h>
#include <string.h>

#include "port/http.h"
#include "script/api.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/request.h"
#include "script/serve.h"
#include "script/task.h"
#include "script/thread.h"

enum { US_PER_MS = 1000 };

/* Its task stops waiting: cancelled, killed, gone. */
static void give_up(struct script_host *host, uint64_t call)
{
    host->options.http->cancel(host->options.http->ctx, call);
}

/* Is it a name of a field, or one character that is not (RFC 9110 §5.6.2)? */
static bool is_token(const char *text, size_t size)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (c == 0 || (!letter && strchr(marks, c) == NULL)) {
            return false;
        }
    }
    return size > 0;
}

/* A line break in a value would begin a field of somebody else's choice. */
static bool is_value(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (((unsigned char)text[i] < ' ' && text[i] != '\t') || text[i] == 127) {
            return false;
        }
    }
    return true;
}

struct http_field *api_push_fields(lua_State *L, int index, size_t *count)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Integer texts = luaL_len(L, index);
    luaL_argcheck(L, texts / 2 <= HTTP_FIELDS_MAX, index, "too many headers");
    *count = (size_t)texts / 2;
    struct http_field *fields = lua_newuserdatauv(L, (*count + 1) * sizeof *fields, 0);
    size_t total = 0;
    for (size_t i = 0; i < *count; i++) {
        size_t name_size, value_size;
        lua_rawgeti(L, index, (lua_Integer)(2 * i + 1));
        lua_rawgeti(L, index, (lua_Integer)(2 * i + 2));
        const char *name = luaL_checklstring(L, -2, &name_size);
        const char *value = luaL_checklstring(L, -1, &value_size);
        luaL_argcheck(L, is_token(name, name_size), index, "a header's name is a word of ASCII");
        luaL_argcheck(L, is_value(value, value_size), index,
                      "a header's value has no line breaks or other control characters");
        total += name_size + value_size;
        fields[i] = (struct http_field){.name = name, .value = value};
        lua_pop(L, 2);
    }
    luaL_argcheck(L, total <= HTTP_FIELD_BYTES_MAX, index, "headers of more than 16 KiB");
    return fields;
}

static int answered(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return request_result(L);
}

static const struct http_port *port_of(lua_State *L)
{
    const struct http_port *port = thread_app(L)->host->options.http;
    if (port == NULL) {
        luaL_error(L, "there is nothing here that could make HTTP requests");
    }
    return port;
}

/* http_request(method, url, {name, value, ...}, body, timeout_ms, max_body)
 *   -> {status, {name, value, ...}, body} | nil, err */
static int core_http_request(lua_State *L)
{
    static const char *const methods[] = {"GET",    "HEAD",    "POST",  "PUT",
                                          "DELETE", "OPTIONS", "PATCH", NULL};
    struct url url;
    struct why why = {""};
    size_t body_size;
    struct http_spec spec = {.method = methods[luaL_checkoption(L, 1, NULL, methods)]};
    const char *text = luaL_checkstring(L, 2);
    spec.fields = api_push_fields(L, 3, &spec.fields_count);
    const char *body = luaL_checklstring(L, 4, &body_size);
    luaL_argcheck(L, body_size <= HTTP_BODY_BYTES_MAX, 4, "a body of more than 16 MiB");
    lua_Integer timeout_ms = luaL_checkinteger(L, 5), answer_max = luaL_checkinteger(L, 6);
    luaL_argcheck(L, timeout_ms >= 1 && timeout_ms <= INT32_MAX, 5, "timeout_ms is 1 or more");
    luaL_argcheck(L, answer_max >= 0 && answer_max <= HTTP_BODY_BYTES_MAX, 6,
                  "max_body is 0 to 16 MiB");
    const struct http_port *port = port_of(L);
    struct task *task = task_that_waits(L);
    if (task->lead != NULL) {
        api_lead_require(L, task->lead->lead.token);
    }
    if (url_parse(text, &url, &why) != ERR_OK) {
        return report_fail(L, ERR_INVALID, why.text);
    }
    spec.url = &url;
    spec.body = bytes_of(body, body_size);
    spec.timeout_us = (uint64_t)timeout_ms * US_PER_MS;
    spec.answer_bytes_max = (size_t)answer_max;
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    task->give_up = give_up;
    port->request(port->ctx, call, &spec);
    return request_await(L, UINT64_MAX, answered);
}

/* ---- routes -------------------------------------------------------------------------------------
 */

/* Registry key: the functions of routes, by number. */
static const char handlers_key;

void api_push_route_handler(lua_State *L, uint64_t id)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key);
    lua_rawgeti(L, -1, (lua_Integer)id);
    lua_remove(L, -2);
}

/* Stack: [-1, +0]. */
static void set_handler(lua_State *L, uint64_t id)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key);
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)id);
    lua_pop(L, 1);
}

/* other_pages: a boolean; nil, only GET and HEAD of them. */
static enum route_pages check_pages(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index)) {
        return ROUTE_PAGES_READ;
    }
    luaL_checktype(L, index, LUA_TBOOLEAN);
    return lua_toboolean(L, index) ? ROUTE_PAGES_OTHER : ROUTE_PAGES_OWN;
}

/* http_route(method, pattern, fn(request) -> status, {name, value, ...}, body, timeout_ms,
 * other_pages) -> number, or nil and why it is refused */
static int core_http_route(lua_State *L)
{
    static const char *const methods[] = {"*",      "GET",     "HEAD",  "POST", "PUT",
                                          "DELETE", "OPTIONS", "PATCH", NULL};
    const char *method = methods[luaL_checkoption(L, 1, NULL, methods)];
    size_t size;
    const char *pattern = luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, strlen(pattern) == size, 2, "a zero byte");
    luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_Integer timeout_ms = luaL_checkinteger(L, 4);
    luaL_argcheck(L, timeout_ms >= 1 && timeout_ms <= INT32_MAX, 4, "timeout_ms is 1 or more");
    uint64_t id, replaced;
    struct why why = {""};
    const struct route spec = {.method = (char *)(uintptr_t)method,
                               .pattern = (char *)(uintptr_t)pattern,
                               .timeout_us = (uint64_t)timeout_ms * US_PER_MS,
                               .pages = check_pages(L, 5)};
    if (route_add(thread_app(L), &spec, &id, &replaced, &why) != ERR_OK) {
        lua_pushnil(L);
        lua_pushstring(L, why.text);
        return 2;
    }
    if (replaced != 0) {
        lua_pushnil(L);
        set_handler(L, replaced);
    }
    lua_pushvalue(L, 3);
    set_handler(L, id);
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

/* http_unroute(number) */
static int core_http_unroute(lua_State *L)
{
    lua_Integer id = luaL_checkinteger(L, 1);
    route_remove(thread_app(L), (uint64_t)id);
    lua_pushnil(L);
    set_handler(L, (uint64_t)id);
    return 0;
}

void api_http_prepare(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key);
}

void api_http_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"http_request", core_http_request},
        {"http_route", core_http_route},
        {"http_unroute", core_http_unroute},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
