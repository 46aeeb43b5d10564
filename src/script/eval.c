#include "script/eval.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "script/app.h"
#include "script/report.h"
#include "script/task.h"
#include "script/value.h"
#include "wire/reader.h"
#include "wire/writer.h"

#define EVAL_APP "eval"

struct eval *eval_new(const struct script_eval *spec)
{
    struct eval *e = NEW(struct eval);
    e->app = alloc_string(spec->app != NULL ? spec->app : EVAL_APP);
    e->source = slice_copy(spec->source);
    e->args = slice_copy(spec->args);
    e->done = spec->done;
    e->ctx = spec->ctx;
    return e;
}

static void eval_free(struct eval *e)
{
    free(e->app);
    slice_close(&e->source);
    slice_close(&e->args);
    buffer_close(&e->results);
    free(e);
}

/* Tell whoever asked, and end it. */
static void answer(struct eval *e)
{
    bool ok = e->err == ERR_OK;
    const char *message = !ok && e->why.text[0] != 0 ? e->why.text : NULL;
    e->done(e->ctx, e->err, message, ok ? buffer_bytes(&e->results) : (struct bytes){0});
    eval_free(e);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Stack: 1 the task, 2 its results in a table with a field n, or nil. */
static void encode_results(lua_State *L, struct eval *e)
{
    lua_Integer count = 0;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "n");
        count = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    write_array(&e->results, (uint32_t)count);
    for (lua_Integer i = 1; i <= count && e->err == ERR_OK; i++) {
        lua_rawgeti(L, 2, i);
        e->err = value_encode(L, -1, VALUE_BYTES_MAX, &e->results, &e->why);
        lua_pop(L, 1);
    }
}

struct ending {
    struct eval *eval;
    const struct task *task;
};

/* Under app_protect(). */
static int keep_outcome(lua_State *L)
{
    const struct ending *ending = lua_touserdata(L, 1);
    struct eval *e = ending->eval;
    const struct task *task = ending->task;
    luaL_checkstack(L, 8, NULL);
    lua_settop(L, 0);
    task_push(L, task);
    lua_getiuservalue(L, 1, TASK_UV_RESULT);
    switch (task->outcome) {
    case TASK_RETURNED:
        encode_results(L, e);
        break;
    case TASK_FAILED:
        e->err = err_why(&e->why, ERR_REJECTED, "%s", report_text(L, 2));
        break;
    case TASK_WAS_CANCELLED:
        e->err = err_why(&e->why, ERR_CANCELLED, "%s", task->cancel_reason);
        break;
    case TASK_WAS_KILLED:
        e->err = err_why(&e->why, ERR_CANCELLED, "%s", task->kill_reason);
        break;
    }
    return 0;
}

static void eval_ended(struct task *task)
{
    struct eval *e = task->owner;
    struct ending ending = {.eval = e, .task = task};
    if (!app_protect(task->app, keep_outcome, &ending)) {
        e->err = err_why(&e->why, ERR_TOO_LARGE, "not enough memory for the results");
    }
    LIST_REMOVE(e, link);
    answer(e);
}

/* ---- the beginning --------------------------------------------------------------------------- */

/* As an expression if it is one, else as a chunk. Stack: [-0, +1 on success]. */
static bool compile(lua_State *L, struct eval *e)
{
    lua_pushliteral(L, "return ");
    lua_pushlstring(L, (const char *)e->source.data, e->source.size);
    lua_concat(L, 2);
    size_t size;
    const char *expression = lua_tolstring(L, -1, &size);
    if (luaL_loadbufferx(L, expression, size, "=eval", "t") == LUA_OK) {
        return true;
    }
    lua_pop(L, 1);
    const char *chunk = e->source.size > 0 ? (const char *)e->source.data : "";
    if (luaL_loadbufferx(L, chunk, e->source.size, "=eval", "t") == LUA_OK) {
        return true;
    }
    e->err = err_why(&e->why, ERR_INVALID, "%s", lua_tostring(L, -1));
    return false;
}

/* Push what is in the array of arguments. Returns how many, or -1. */
static int push_arguments(lua_State *L, struct eval *e)
{
    if (e->args.size == 0) {
        return 0;
    }
    struct reader r = reader_of(slice_bytes(e->args));
    uint32_t count = read_array(&r);
    size_t memory_bytes = 0;
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < count && r.err == ERR_OK && err == ERR_OK; i++) {
        luaL_checkstack(L, 4, "arguments");
        static const struct value_limits limits = {0};
        err = value_read(L, &r, &limits, &memory_bytes);
    }
    if (reader_end(&r) != ERR_OK || err != ERR_OK) {
        e->err = err_why(&e->why, ERR_INVALID, "the arguments are not an array of values");
        return -1;
    }
    return (int)count;
}

/* Under app_protect(). */
static int start(lua_State *L)
{
    struct eval *e = lua_touserdata(L, 1);
    luaL_checkstack(L, 8, NULL);
    if (!compile(L, e)) {
        return 0;
    }
    int arguments = push_arguments(L, e);
    if (arguments < 0) {
        return 0;
    }
    struct task_spec spec = {.kind = TASK_EVAL, .where = "eval", .ended = eval_ended, .owner = e};
    task_spawn(L, &spec, arguments);
    e->err = ERR_OK;
    return 0;
}

static struct app *app_for(struct script_host *host, struct eval *e)
{
    struct app *app = app_find(host, e->app);
    if (app == NULL && strcmp(e->app, EVAL_APP) == 0) {
        const struct script_app spec = {
            .name = EVAL_APP, .path = EVAL_APP, .source = "mk = require 'moonkeeper'"};
        e->err = script_host_load(host, &spec, &e->why);
        app = app_find(host, EVAL_APP);
        if (app != NULL) {
            app->ad_hoc = true;
        }
        return app;
    }
    if (app == NULL) {
        e->err = err_why(&e->why, ERR_NOT_FOUND, "there is no application '%s'", e->app);
    }
    return app;
}

static void begin(struct script_host *host, struct eval *e)
{
    struct app *app = app_for(host, e);
    if (app == NULL) {
        answer(e);
        return;
    }
    LIST_INSERT_HEAD(&host->evals, e, link);
    e->err = ERR_TOO_LARGE; /* where start() does not come to its end */
    app_protect(app, start, e);
    if (e->err != ERR_OK) {
        LIST_REMOVE(e, link);
        answer(e);
    }
}

void eval_take(struct script_host *host, struct eval_items *items)
{
    struct eval *e;
    while ((e = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, waiting);
        begin(host, e);
    }
}

void eval_close(struct script_host *host)
{
    struct eval_items left = STAILQ_HEAD_INITIALIZER(left);
    struct eval *e;
    pthread_mutex_lock(&host->inbox.lock);
    STAILQ_CONCAT(&left, &host->inbox.evals);
    pthread_mutex_unlock(&host->inbox.lock);
    while ((e = STAILQ_FIRST(&left)) != NULL) {
        STAILQ_REMOVE_HEAD(&left, waiting);
        LIST_INSERT_HEAD(&host->evals, e, link);
    }
    while ((e = LIST_FIRST(&host->evals)) != NULL) {
        LIST_REMOVE(e, link);
        e->err = ERR_SHUTDOWN;
        answer(e);
    }
}
