/* pcall and xpcall that cannot swallow a kill, setmetatable that cannot make finalizers (they would
 * run at any time, outside all budgets). */
#include <lauxlib.h>

#include "script/preempt.h"
#include "script/sandbox.h"
#include "script/thread.h"

static bool is_killed(lua_State *L)
{
    const struct task *task = thread_app(L)->host->current;
    return task != NULL && task->raising;
}

/* The protected call is over. Stack: `below` slots, then true and the results, or the error. */
static int finish(lua_State *L, int status, lua_KContext below)
{
    if (status == LUA_OK || status == LUA_YIELD) {
        return lua_gettop(L) - (int)below;
    }
    if (is_killed(L)) {
        return lua_error(L);
    }
    struct task *task = thread_app(L)->host->current;
    if (task != NULL) {
        preempt_charge_error(task);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int guard_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish);
    return finish(L, status, 0);
}

/* Upvalue: the script's handler. */
static int call_handler(lua_State *L)
{
    if (is_killed(L)) {
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int guard_xpcall(lua_State *L)
{
    int arguments = lua_gettop(L) - 2;
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, call_handler, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* function, handler, true, function, arguments */
    int status = lua_pcallk(L, arguments, LUA_MULTRET, 2, 2, finish);
    return finish(L, status, 2);
}

static int guard_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (type == LUA_TTABLE) {
        lua_pushliteral(L, "__gc");
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L, "__gc is not allowed; use a <close> variable");
        }
        lua_pop(L, 1);
    }
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

void guard_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pcall", guard_pcall},
        {"xpcall", guard_xpcall},
        {"setmetatable", guard_setmetatable},
        {NULL, NULL},
    };
    lua_pushglobaltable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
