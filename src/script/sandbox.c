#include "script/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <time.h>

#include "script/coroutine.h"
#include "script/host.h"
#include "script/ordered.h"
#include "script/report.h"
#include "script/thread.h"

/* ---- base --------------------------------------------------------------------------------------
 */

/* load(chunk, name?, mode?, env?): whatever the mode says, text only. Binary code is not checked by
 * Lua and can crash it. Upvalue: Lua's load. */
static int text_load(lua_State *L)
{
    bool has_env = !lua_isnone(L, 4);
    lua_settop(L, 4);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    if (!has_env) {
        lua_settop(L, 3);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* print: to the log, one line. */
static int print_to_log(lua_State *L)
{
    luaL_Buffer line;
    int count = lua_gettop(L);
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1) {
            luaL_addchar(&line, ' ');
        }
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    const struct app *app = thread_app(L);
    const struct log *log = app->host->options.log;
    if (log != NULL && log->level <= LOG_LEVEL_INFO) {
        struct log_field fields[REPORT_FIELDS_MAX];
        size_t fields_count = report_fields(app, app->host->current, fields);
        log_write(log, LOG_LEVEL_INFO, lua_tostring(L, -1), fields, fields_count);
    }
    return 0;
}

/* collectgarbage("collect" | "count" | "step"): what cannot make memory grow without need. */
static int collect(lua_State *L)
{
    static const char *const options[] = {"collect", "count", "step", NULL};
    switch (luaL_checkoption(L, 1, "collect", options)) {
    case 1:
        lua_pushnumber(L, (lua_Number)thread_app(L)->memory.used_bytes / 1024.0);
        break;
    case 2:
        lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, 0));
        break;
    default:
        lua_pushinteger(L, lua_gc(L, LUA_GCCOLLECT));
        break;
    }
    return 1;
}

static void open_base(lua_State *L)
{
    static const char *const removed[] = {"dofile", "loadfile", "warn", NULL};
    luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
    for (size_t i = 0; removed[i] != NULL; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, removed[i]);
    }
    lua_getfield(L, -1, "load");
    lua_pushcclosure(L, text_load, 1);
    lua_setfield(L, -2, "load");
    lua_pushcfunction(L, print_to_log);
    lua_setfield(L, -2, "print");
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "collectgarbage");
    lua_pop(L, 1);
    guard_open(L);
}

/* ---- what is not there -------------------------------------------------------------------------
 */

/* Upvalue: the sentence. */
static int refuse(lua_State *L)
{
    return luaL_error(L, "%s", lua_tostring(L, lua_upvalueindex(1)));
}

struct refusal {
    const char *name;
    const char *sentence;
};

/* [-0, +0]; the library is on top. */
static void set_refusals(lua_State *L, const struct refusal *refusals)
{
    for (; refusals->name != NULL; refusals++) {
        lua_pushstring(L, refusals->sentence);
        lua_pushcclosure(L, refuse, 1);
        lua_setfield(L, -2, refusals->name);
    }
}

/* ---- os, io, debug -----------------------------------------------------------------------------
 */

static int virtual_time(lua_State *L)
{
    if (lua_gettop(L) > 0 && lua_istable(L, 1)) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 1, 1);
        return 1;
    }
    lua_pushinteger(L, clock_wall_ms(thread_app(L)->host->options.clock) / 1000);
    return 1;
}

/* Upvalue: Lua's os.date. In UTC: the time zone of this machine is not part of the simulation. */
static int virtual_date(lua_State *L)
{
    const char *format = luaL_optstring(L, 1, "%c");
    lua_Integer when = luaL_optinteger(
        L, 2, (lua_Integer)(clock_wall_ms(thread_app(L)->host->options.clock) / 1000));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushfstring(L, "%s%s", format[0] == '!' ? "" : "!", format);
    lua_pushinteger(L, when);
    lua_call(L, 2, 1);
    return 1;
}

static int virtual_clock(lua_State *L)
{
    const struct script_host *host = thread_app(L)->host;
    lua_pushnumber(L, (lua_Number)(host_now_us(host) - host->started_us) / 1e6);
    return 1;
}

static int virtual_getenv(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_pushnil(L);
    return 1;
}

/* [-0, +0]; os is on top. */
static void make_virtual(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
    } functions[] = {{"time", virtual_time},
                     {"date", virtual_date},
                     {"clock", virtual_clock},
                     {"getenv", virtual_getenv}};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        lua_getfield(L, -1, functions[i].name);
        lua_pushcclosure(L, functions[i].function, 1);
        lua_setfield(L, -2, functions[i].name);
    }
}

/* [-1, +0] Make the table on top the global of that name, and what require(name) returns. */
static void publish(lua_State *L, const char *name)
{
    lua_pushvalue(L, -1);
    lua_setglobal(L, name);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void open_os(lua_State *L, bool simulated)
{
    static const char *const kept[] = {"time", "date", "clock", "getenv", "difftime", NULL};
    static const struct refusal refusals[] = {
        {"exit", "os.exit is not available: use mk.shutdown()"},
        {NULL, NULL},
    };
    luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
    lua_newtable(L);
    for (size_t i = 0; kept[i] != NULL; i++) {
        lua_getfield(L, -2, kept[i]);
        lua_setfield(L, -2, kept[i]);
    }
    set_refusals(L, refusals);
    if (simulated) {
        make_virtual(L);
    }
    publish(L, LUA_OSLIBNAME);
    lua_pop(L, 1);
}

static void open_io(lua_State *L)
{
    static const struct refusal refusals[] = {
        {"read",
         "io.read is not available: a node has no terminal; take input from mk.config or a hook"},
        {"write", "io.write is not available: use mk.log.info()"},
        {"open", "io.open is not available: it would hold up every other script; use mk.fs.read "
                 "and mk.fs.write"},
        {"lines", "io.lines is not available: it would hold up every other "
                  "script; use mk.fs.read"},
        {NULL, NULL},
    };
    lua_newtable(L);
    set_refusals(L, refusals);
    lua_setglobal(L, LUA_IOLIBNAME);
}

static void open_debug(lua_State *L)
{
    luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 0);
    lua_createtable(L, 0, 1);
    lua_getfield(L, -2, "traceback");
    lua_setfield(L, -2, "traceback");
    publish(L, LUA_DBLIBNAME);
    lua_pop(L, 1);
}

/* ---- math --------------------------------------------------------------------------------------
 */

/* Upvalue: Lua's math.randomseed, which would take time and an address as its seed. */
static int seed(lua_State *L)
{
    if (lua_gettop(L) == 0) {
        const struct entropy_port *entropy = thread_app(L)->host->options.entropy;
        lua_pushinteger(L, (lua_Integer)entropy_u64(entropy));
        lua_pushinteger(L, (lua_Integer)entropy_u64(entropy));
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    return 0;
}

static void open_math(lua_State *L)
{
    /* Some builds of Lua have these for compatibility with 5.2, others do not. */
    static const char *const removed[] = {"atan2", "cosh", "frexp", "ldexp", "log10",
                                          "pow",   "sinh", "tanh",  NULL};
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
    for (size_t i = 0; removed[i] != NULL; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, removed[i]);
    }
    lua_getfield(L, -1, "randomseed");
    lua_pushcclosure(L, seed, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "randomseed");
    lua_call(L, 0, 0);
    lua_pop(L, 1);
}

void sandbox_open(lua_State *L, const struct script_app *app)
{
    bool simulated = thread_app(L)->host->options.simulated;
    luaL_checkstack(L, 10, NULL);
    open_base(L);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    string_bounded_open(L);
    luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 1);
    luaL_requiref(L, LUA_COLIBNAME, coroutine_open, 1);
    lua_pop(L, 4);
    open_math(L);
    open_os(L, simulated);
    open_io(L);
    open_debug(L);
    modules_open(L, app);
    shell_open(L);
    if (simulated) {
        ordered_open(L);
    }
}
