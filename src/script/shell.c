/* os.execute and io.popen. What they do is in lua/moonkeeper/shell.lua, which is loaded when one of
 * them is first called; here their arguments are looked at, where the script's line is known. */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/sandbox.h"
#include "script/task.h"

static int finished(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return lua_gettop(L);
}

/* shell.name(...), with what is on the stack. Upvalue: require. */
static int call_shell(lua_State *L, const char *name)
{
    int arguments = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushliteral(L, "moonkeeper.shell");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, name);
    lua_replace(L, -2);
    lua_insert(L, 1);
    lua_callk(L, arguments, LUA_MULTRET, 0, finished);
    return lua_gettop(L);
}

static void demand_wait(lua_State *L, const char *name, const char *instead)
{
    if (!task_can_wait(L)) {
        luaL_error(L,
                   "%s waits, as %s does, which cannot be done here: a C function is in between "
                   "(table.sort, require, a metamethod called from C, ...)",
                   name, instead);
    }
}

/* os.execute(command?) -> true | nil, "exit" | "signal", number | nil, err */
static int os_execute(lua_State *L)
{
    luaL_optstring(L, 1, NULL);
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        demand_wait(L, "os.execute", "mk.exec.run");
    }
    return call_shell(L, "execute");
}

/* io.popen(command, "r" | "w"?) -> file | nil, err */
static int io_popen(lua_State *L)
{
    luaL_checkstring(L, 1);
    const char *mode = luaL_optstring(L, 2, "r");
    luaL_argcheck(L, strcmp(mode, "r") == 0 || strcmp(mode, "w") == 0, 2, "invalid mode");
    lua_settop(L, 2);
    lua_pushstring(L, mode);
    lua_replace(L, 2);
    demand_wait(L, "io.popen", "mk.exec.spawn");
    return call_shell(L, "popen");
}

/* Stack: [-0, +0]. */
static void set(lua_State *L, const char *library, const char *name, lua_CFunction function)
{
    lua_getglobal(L, library);
    lua_getglobal(L, "require");
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

void shell_open(lua_State *L)
{
    set(L, LUA_OSLIBNAME, "execute", os_execute);
    set(L, LUA_IOLIBNAME, "popen", io_popen);
}
