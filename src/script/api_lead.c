/* moonkeeper.core: the object that a while_leader's function is given. Its spawn, on and every are
 * those of the scope it runs in (lua/moonkeeper/lead.lua). */
#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "script/api.h"
#include "script/host.h"
#include "script/report.h"
#include "script/thread.h"

#define LEAD_TYPE "moonkeeper.lead"

/* Registry key: methods that Lua adds. */
static const char methods_key;

struct lead_handle {
    uint64_t term;
    uint64_t token;
};

static struct lead_handle *check_handle(lua_State *L)
{
    return luaL_checkudata(L, 1, LEAD_TYPE);
}

void api_lead_push(lua_State *L, uint64_t term, uint64_t token)
{
    struct lead_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    *handle = (struct lead_handle){.term = term, .token = token};
    luaL_setmetatable(L, LEAD_TYPE);
}

void api_lead_require(lua_State *L, uint64_t token)
{
    const char *why = lead_why_over(thread_app(L)->host, token);
    if (why != NULL) {
        report_raise(L, ERR_NOT_LEADER, why);
    }
}

/* lead:valid() -> boolean */
static int lead_valid(lua_State *L)
{
    lua_pushboolean(L, lead_is_valid(thread_app(L)->host, check_handle(L)->token));
    return 1;
}

/* lead:remaining_ms() -> number: until the work is ended unless the lease is renewed; math.huge
 * where leases are off */
static int lead_remaining(lua_State *L)
{
    uint64_t us = lead_remaining_us(thread_app(L)->host, check_handle(L)->token);
    if (us == UINT64_MAX) {
        lua_pushnumber(L, (lua_Number)HUGE_VAL);
    } else {
        lua_pushinteger(L, (lua_Integer)(us / 1000));
    }
    return 1;
}

/* lead:check(): raise if the leadership is gone */
static int lead_check(lua_State *L)
{
    api_lead_require(L, check_handle(L)->token);
    return 0;
}

static int lead_index(lua_State *L)
{
    const struct lead_handle *handle = check_handle(L);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "term") == 0) {
        lua_pushinteger(L, (lua_Integer)handle->term);
    } else if (strcmp(key, "token") == 0) {
        lua_pushinteger(L, (lua_Integer)handle->token);
    } else {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &methods_key);
        lua_pushvalue(L, 2);
        lua_rawget(L, -2);
    }
    return 1;
}

/* lead_methods(): the table of methods, for Lua to add to */
static int core_lead_methods(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &methods_key);
    return 1;
}

void api_lead_prepare(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"valid", lead_valid},
        {"remaining_ms", lead_remaining},
        {"check", lead_check},
        {NULL, NULL},
    };
    luaL_newlib(L, methods);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &methods_key);
    luaL_newmetatable(L, LEAD_TYPE);
    lua_pushcfunction(L, lead_index);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "lead");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_lead_add(lua_State *L)
{
    lua_pushcfunction(L, core_lead_methods);
    lua_setfield(L, -2, "lead_methods");
}
