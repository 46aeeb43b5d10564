#include "script/report.h"

#include <lauxlib.h>
#include <string.h>

#include "script/hook.h"
#include "script/host.h"
#include "wire/writer.h"

#define ERROR_TYPE "moonkeeper.error"

static int error_tostring(lua_State *L)
{
    if (!lua_istable(L, 1)) {
        return luaL_typeerror(L, 1, "error");
    }
    report_text(L, 1);
    return 1;
}

void report_open(lua_State *L)
{
    luaL_newmetatable(L, ERROR_TYPE);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "moonkeeper error");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void report_push(lua_State *L, enum err code, const char *message)
{
    luaL_checkstack(L, 3, NULL);
    lua_createtable(L, 0, 2);
    lua_pushstring(L, err_name(code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, message != NULL && message[0] != 0 ? message : err_message(code));
    lua_setfield(L, -2, "message");
    luaL_setmetatable(L, ERROR_TYPE);
}

int report_fail(lua_State *L, enum err code, const char *message)
{
    lua_pushnil(L);
    report_push(L, code, message);
    return 2;
}

int report_raise(lua_State *L, enum err code, const char *message)
{
    report_push(L, code, message);
    return lua_error(L);
}

int report_misuse(lua_State *L, const char *message)
{
    static const char ours[] = "@moonkeeper/";
    lua_Debug at;
    int level = 1;
    luaL_checkstack(L, 3, NULL);
    while (lua_getstack(L, level, &at) && lua_getinfo(L, "S", &at) &&
           (at.what[0] == 'C' || strncmp(at.source, ours, sizeof ours - 1) == 0)) {
        level++;
    }
    luaL_where(L, level);
    lua_pushstring(L, message);
    lua_concat(L, 2);
    return lua_error(L);
}

/* Push a raw string field of the table at index, or nil. */
static const char *raw_text(lua_State *L, int index, const char *key)
{
    index = lua_absindex(L, index);
    lua_pushstring(L, key);
    lua_rawget(L, index);
    return lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
}

enum err report_code(lua_State *L, int index)
{
    if (!lua_istable(L, index)) {
        return ERR_COUNT;
    }
    const char *code = raw_text(L, index, "code");
    enum err e = code != NULL ? err_from_name(code) : ERR_COUNT;
    lua_pop(L, 1);
    return e;
}

const char *report_text(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        break;
    case LUA_TNUMBER:
        lua_pushvalue(L, index);
        return lua_tostring(L, -1);
    case LUA_TTABLE: {
        const char *code = raw_text(L, index, "code");
        const char *message = raw_text(L, index, "message");
        if (code != NULL || message != NULL) {
            lua_pushfstring(L, "%s%s%s", code != NULL ? code : "",
                            code != NULL && message != NULL ? ": " : "",
                            message != NULL ? message : "");
            lua_replace(L, -3);
            lua_pop(L, 1);
            break;
        }
        lua_pop(L, 2);
    } /* fall through */
    default:
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
    }
    return lua_tostring(L, -1);
}

/* "leader_ready/announce", as users know it. */
static const char *label(const struct hook *hook)
{
    return hook->where + strlen("hook ");
}

size_t report_fields(const struct app *app, const struct task *task,
                     struct log_field out[REPORT_FIELDS_MAX])
{
    size_t count = 0;
    out[count++] = log_text("app", app->name);
    const struct task *call = hook_call_of(task);
    if (call != NULL) {
        out[count++] = log_text("hook", label(call->owner));
        out[count++] = log_u64("term", call->event_term);
        if (call->event_index != 0) {
            out[count++] = log_u64("index", call->event_index);
        }
    } else if (task != NULL && task->lead != NULL) {
        out[count++] = log_text("hook", label(task->lead));
        out[count++] = log_u64("term", task->lead->lead.term);
    }
    return count;
}

void report_error(struct app *app, const struct task *task, const char *where, const char *message,
                  const char *traceback, uint64_t count)
{
    const struct log *log = app->host->options.log;
    app->errors++;
    if (log != NULL && log->level <= LOG_LEVEL_ERROR) {
        struct log_field fields[REPORT_FIELDS_MAX + 3];
        size_t fields_count = report_fields(app, task, fields);
        fields[fields_count++] = log_text("where", where);
        fields[fields_count++] = log_text("err", message);
        fields[fields_count++] = log_text("traceback", traceback != NULL ? traceback : "");
        log_write(log, LOG_LEVEL_ERROR, "script error", fields, fields_count);
    }
    if (strncmp(where, "hook error/", strlen("hook error/")) == 0) {
        return; /* an error hook that fails must not call itself for ever */
    }
    struct buffer fields = {0};
    write_map(&fields, 5);
    write_text(&fields, "app");
    write_text(&fields, app->name);
    write_text(&fields, "where");
    write_text(&fields, where);
    write_text(&fields, "message");
    write_text(&fields, message);
    write_text(&fields, "traceback");
    write_text(&fields, traceback != NULL ? traceback : "");
    write_text(&fields, "count");
    write_u64(&fields, count);
    hooks_tell(app->host, "error", buffer_bytes(&fields));
    buffer_close(&fields);
}
