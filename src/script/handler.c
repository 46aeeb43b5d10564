#include "script/handler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "script/app.h"
#include "script/report.h"
#include "script/request.h"
#include "script/task.h"
#include "script/thread.h"
#include "script/value.h"
#include "wire/writer.h"

/* Registry key: the userdata of handlers, by address; their functions are its user value. */
static const char anchors_key;

struct call *call_new(const struct script_call *what)
{
    struct call *call = NEW(struct call);
    call->what = *what;
    call->what.payload = slice_ref(what->payload);
    return call;
}

void call_free(struct call *call)
{
    slice_close(&call->what.payload);
    free(call);
}

/* ---- registration ------------------------------------------------------------------------------
 */

static bool is_of(const struct handler *handler, const char *topic)
{
    return strcmp(handler->topic, topic) == 0;
}

/* While a script is loaded anew, two generations may have a handler of a topic: the one that is on
 * the host's list answers. */
static struct handler *find(struct script_host *host, const char *topic)
{
    struct handler *handler;
    LIST_FOREACH (handler, &host->handlers, link) {
        struct app *app;
        TAILQ_FOREACH (app, &host->apps, link) {
            if (is_of(handler, topic) && handler->app == app) {
                return handler;
            }
        }
    }
    return NULL;
}

/* Of this state: the one that a new one takes the place of. */
static struct handler *find_own(struct app *app, const char *topic)
{
    struct handler *handler;
    LIST_FOREACH (handler, &app->host->handlers, link) {
        if (handler->app == app && is_of(handler, topic)) {
            return handler;
        }
    }
    return NULL;
}

/* Its app's table of anchors: [-0, +1]. */
static void push_anchors(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
    }
}

static void unlink_handler(struct handler *handler)
{
    if (handler->app != NULL) {
        LIST_REMOVE(handler, link);
        handler->app = NULL;
    }
}

struct handler *handler_add(lua_State *L, const char *topic)
{
    struct app *app = thread_app(L);
    struct handler *other = find(app->host, topic), *old = find_own(app, topic);
    if (other != NULL && strcmp(other->app->name, app->name) != 0) {
        luaL_error(L, "the application '%s' of this node handles '%s' already", other->app->name,
                   topic);
    }
    struct handler *handler = lua_newuserdatauv(L, sizeof *handler, 1);
    *handler = (struct handler){0};
    text_copy(handler->topic, sizeof handler->topic, topic);
    luaL_setmetatable(L, HANDLER_TYPE);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    push_anchors(L);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, handler);
    lua_pop(L, 1);
    if (old != NULL) {
        handler_remove(L, old);
    }
    handler->app = app;
    LIST_INSERT_HEAD(&app->host->handlers, handler, link);
    return handler;
}

void handler_remove(lua_State *L, struct handler *handler)
{
    unlink_handler(handler);
    push_anchors(L);
    lua_pushnil(L);
    lua_rawsetp(L, -2, handler);
    lua_pop(L, 1);
}

void handlers_drop_all(struct app *app)
{
    struct script_host *host = app->host;
    struct handler *handler = LIST_FIRST(&host->handlers);
    while (handler != NULL) {
        struct handler *next = LIST_NEXT(handler, link);
        if (handler->app == app) {
            unlink_handler(handler);
        }
        handler = next;
    }
    struct call *call = LIST_FIRST(&host->calls);
    while (call != NULL) {
        struct call *next = LIST_NEXT(call, link);
        if (call->task->app == app) {
            LIST_REMOVE(call, link);
            deadline_clear(&host->deadlines, &call->deadline);
            call_free(call);
        }
        call = next;
    }
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

/* To the node, which passes it on to whoever called. Frees the call. */
static void answer(struct call *call, enum err err, const char *message, struct bytes result)
{
    struct script_host *host = call->host;
    struct buffer params = {0};
    write_array(&params, 4);
    write_u64(&params, call->what.id);
    write_text(&params, err_name(err));
    write_text(&params, message != NULL ? message : "");
    if (err == ERR_OK && result.size > 0) {
        write_raw(&params, result);
    } else {
        write_nil(&params);
    }
    call_free(call);
    request_send(host, "message_answer", &params);
}

struct ending {
    const struct task *task;
    struct buffer result;
    struct why why;
    enum err err;
};

/* What it raised: an error object keeps its code and words. Stack: the value at index. */
static void take_error(lua_State *L, int index, struct ending *e)
{
    enum err code = report_code(L, index);
    const char *text = NULL;
    if (code != ERR_COUNT && lua_getfield(L, index, "message") == LUA_TSTRING) {
        text = lua_tostring(L, -1);
    }
    e->err = err_why(&e->why, ERR_REJECTED, "%s", text != NULL ? text : report_text(L, index));
}

/* Under app_protect(): the first result, or why there is none. */
static int keep_outcome(lua_State *L)
{
    struct ending *e = lua_touserdata(L, 1);
    luaL_checkstack(L, 8, NULL);
    lua_settop(L, 0);
    task_push(L, e->task);
    lua_getiuservalue(L, 1, TASK_UV_RESULT);
    switch (e->task->outcome) {
    case TASK_RETURNED:
        e->err = ERR_OK;
        if (lua_istable(L, 2)) {
            lua_rawgeti(L, 2, 1);
            e->err = value_encode(L, 3, SCRIPT_MESSAGE_BYTES_MAX, &e->result, &e->why);
        }
        break;
    case TASK_FAILED:
        take_error(L, 2, e);
        break;
    case TASK_WAS_CANCELLED:
        e->err = err_why(&e->why, e->task->cancelled == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_REJECTED,
                         "the handler was cancelled: %s", e->task->cancel_reason);
        break;
    case TASK_WAS_KILLED:
        e->err = err_why(&e->why, ERR_REJECTED, "the handler was %s", e->task->kill_reason);
        break;
    }
    return 0;
}

static void call_ended(struct task *task)
{
    struct call *call = task->owner;
    struct ending e = {.task = task, .err = ERR_TOO_LARGE};
    if (!app_protect(task->app, keep_outcome, &e)) {
        err_why(&e.why, ERR_TOO_LARGE, "not enough memory for the result");
    }
    LIST_REMOVE(call, link);
    deadline_clear(&call->host->deadlines, &call->deadline);
    answer(call, e.err, e.why.text, buffer_bytes(&e.result));
    buffer_close(&e.result);
}

/* ---- the call -----------------------------------------------------------------------------------
 */

static void on_deadline(struct deadline *d)
{
    struct call *call = (struct call *)((char *)d - offsetof(struct call, deadline));
    task_cancel(call->task, ERR_TIMEOUT, "whoever called waits no longer",
                task_unwind_end(call->task));
}

struct starting {
    struct handler *handler;
    struct call *call;
};

/* Under app_protect(): fn(payload, from). */
static int start(lua_State *L)
{
    const struct starting *s = lua_touserdata(L, 1);
    struct call *call = s->call;
    char where[TASK_WHERE_MAX];
    luaL_checkstack(L, 8, NULL);
    snprintf(where, sizeof where, "handler %.100s", s->handler->topic);
    push_anchors(L);
    lua_rawgetp(L, -1, s->handler);
    lua_getiuservalue(L, -1, 1);
    if (call->what.payload.size == 0 ||
        value_decode(L, slice_bytes(call->what.payload), NULL, NULL) != ERR_OK) {
        lua_pushnil(L);
    }
    lua_pushstring(L, call->what.from);
    struct task_spec spec = {.kind = TASK_CALL, .where = where, .ended = call_ended, .owner = call};
    call->task = task_spawn(L, &spec, 2);
    return 0;
}

static void begin(struct script_host *host, struct call *call)
{
    struct handler *handler = find(host, call->what.topic);
    call->host = host;
    if (handler == NULL) {
        answer(call, ERR_NOT_FOUND, "no script of that node handles this topic", (struct bytes){0});
        return;
    }
    struct starting s = {.handler = handler, .call = call};
    app_protect(handler->app, start, &s);
    if (call->task == NULL) {
        answer(call, ERR_BUSY, "the handler could not be started", (struct bytes){0});
        return;
    }
    slice_close(&call->what.payload);
    LIST_INSERT_HEAD(&host->calls, call, link);
    call->deadline.fire = on_deadline;
    deadline_set(&host->deadlines, &call->deadline, call->what.until_us);
}

void calls_take(struct script_host *host, struct call_items *items)
{
    struct call *call;
    while ((call = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, waiting);
        begin(host, call);
    }
}
