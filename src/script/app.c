#include "script/app.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "script/api.h"
#include "script/bundled.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/sandbox.h"
#include "script/serve.h"
#include "script/task.h"
#include "script/thread.h"
#include "script/value.h"

bool app_protect(struct app *app, lua_CFunction fn, void *arg)
{
    lua_State *L = app->main;
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, 0);
    if (status != LUA_OK) {
        const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error";
        log_error(app->host->options.log, "script host", log_text("app", app->name),
                  log_text("err", message));
    }
    lua_settop(L, 0);
    return status == LUA_OK;
}

struct opening {
    const struct script_app *spec;
    struct bytes text; /* of the script, where it is no file */
    enum err err;
};

/* Compile and make the main task. Leaves a message and sets err when the script is to blame. */
static int compile(lua_State *L, struct opening *opening)
{
    const struct script_app *spec = opening->spec;
    struct bytes text = opening->text;
    int status;
    if (text.data != NULL) {
        lua_pushfstring(L, "@%s", spec->path);
        status = luaL_loadbufferx(L, (const char *)text.data, text.size, lua_tostring(L, -1), "t");
    } else {
        errno = 0;
        status = luaL_loadfilex(L, spec->path, "t");
        if (status == LUA_ERRFILE) {
            opening->err = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
            return lua_error(L);
        }
    }
    if (status == LUA_ERRSYNTAX) {
        opening->err = ERR_INVALID;
    }
    if (status != LUA_OK) {
        return lua_error(L);
    }
    struct task_spec task = {.kind = TASK_MAIN, .where = "main chunk"};
    task_spawn(L, &task, 0);
    return 0;
}

/* Protected. 1: the struct opening. */
static int open_state(lua_State *L)
{
    struct opening *opening = lua_touserdata(L, 1);
    luaL_checkstack(L, 20, NULL);
    report_open(L);
    tasks_open(L);
    hooks_open(L);
    value_open(L);
    sandbox_open(L, opening->spec);
    api_prepare(L, opening->spec->config);
    return compile(L, opening);
}

static enum err open_app(struct app *app, const struct script_app *spec, struct why *why)
{
    struct opening opening = {.spec = spec, .err = ERR_TOO_LARGE};
    if (spec->source != NULL) {
        opening.text = bytes_of_string(spec->source);
    } else if (bundled_is(spec->path)) {
        enum err found = bundled_find(spec->path, &opening.text, why);
        if (found != ERR_OK) {
            return found;
        }
    }
    lua_State *L = lua_newstate(memory_resize, &app->memory);
    if (L == NULL) {
        return err_why(why, ERR_TOO_LARGE, "%s: not enough memory for a Lua state", spec->path);
    }
    app->main = L;
    thread_init(L, app);
    lua_pushcfunction(L, open_state);
    lua_pushlightuserdata(L, &opening);
    int status = lua_pcall(L, 1, 0, 0);
    enum err err = ERR_OK;
    if (status != LUA_OK) {
        const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error";
        if (status != LUA_ERRMEM && opening.err == ERR_TOO_LARGE) {
            opening.err = ERR_INVALID; /* the configuration */
        }
        err = err_why(why, opening.err, "%s", message);
    }
    lua_settop(L, 0);
    return err;
}

struct app *app_find(const struct script_host *host, const char *name)
{
    struct app *app;
    TAILQ_FOREACH (app, &host->apps, link) {
        if (strcmp(app->name, name) == 0) {
            return app;
        }
    }
    return NULL;
}

enum err app_new(struct script_host *host, const struct script_app *spec, enum app_phase phase,
                 struct app **out, struct why *why)
{
    struct app *app = NEW(struct app);
    app->host = host;
    app->name = alloc_string(spec->name);
    app->path = alloc_string(spec->path);
    app->config = slice_copy(spec->config);
    app->memory.limit_bytes = host->options.limits.memory_bytes;
    app->memory.fail_after = host->fail_after;
    app->phase = phase;
    app->generation = 1;
    app->serial = ++host->app_serials;
    TAILQ_INIT(&app->tasks);
    TAILQ_INIT(&app->staged_hooks);
    enum err err = open_app(app, spec, why);
    if (err != ERR_OK) {
        app_free(app);
        return err;
    }
    *out = app;
    return ERR_OK;
}

void app_started(struct app *app)
{
    if (app->state == APP_STARTING) {
        app->state = APP_RUNNING;
    }
}

void app_failed(struct app *app, const char *failure, const char *traceback)
{
    if (app->state != APP_FAILED) {
        app->state = APP_FAILED;
        app->failure = alloc_string(failure);
        app->traceback = traceback != NULL ? alloc_string(traceback) : NULL;
    }
}

const char *app_state_name(enum app_state state)
{
    static const char *const names[] = {"starting", "running", "failed"};
    return names[state];
}

void app_free(struct app *app)
{
    if (app->main != NULL) {
        serve_drop_app(app);
        task_drop_all(app);
        process_leave_app(app);
        handlers_drop_all(app);
        hooks_drop_all(app);
        lua_close(app->main);
    }
    free(app->name);
    free(app->path);
    slice_close(&app->config);
    free(app->failure);
    free(app->traceback);
    free(app->reload_error);
    free(app);
}
