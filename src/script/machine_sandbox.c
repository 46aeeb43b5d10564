#include "script/machine_sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/machine_freeze.h"
#include "script/machine_run.h"
#include "script/st.h"
#include "script/value.h"

#define READ_ONLY_LIBRARY "the libraries are read-only"
#define READ_ONLY_GLOBALS "global variables are read-only; what a machine keeps belongs in st"

static void push_math(lua_State *L)
{
    static const char *const names[] = {
        "abs",  "ceil", "floor", "fmod", "max",       "maxinteger", "min", "mininteger",
        "modf", "pi",   "huge",  "sqrt", "tointeger", "type",       "ult",
    };
    lua_newtable(L);
    luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getfield(L, -1, names[i]);
        lua_setfield(L, -3, names[i]);
    }
    lua_pop(L, 1);
}

/* Methods of strings come from the library of machines; its contents are behind the frozen table.
 */
static void set_string_methods(lua_State *L, int library)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    machine_contents_push(L, library);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* Nothing of Lua's own libraries stays reachable but through what was picked. */
static void forget_libraries(lua_State *L)
{
    lua_pushglobaltable(L);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, -4);
    }
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

static void add_library(lua_State *L, int environment, const char *name, void (*push)(lua_State *L))
{
    push(L);
    machine_freeze_table(L, -1, READ_ONLY_LIBRARY);
    lua_setfield(L, environment, name);
}

void machine_sandbox_open(lua_State *L)
{
    value_open(L);
    st_open(L);
    machine_base_push(L);
    int environment = lua_gettop(L);
    add_library(L, environment, "string", machine_string_push);
    add_library(L, environment, "utf8", machine_utf8_push);
    add_library(L, environment, "table", machine_table_push);
    add_library(L, environment, "math", push_math);
    lua_getfield(L, environment, "string");
    set_string_methods(L, lua_gettop(L));
    lua_pop(L, 1);
    machine_freeze_table(L, environment, READ_ONLY_GLOBALS);
    forget_libraries(L);
}

/* ---- meta ---------------------------------------------------------------------------------- */

static const char meta_type;

static struct rng *random_of(struct machine_run *run)
{
    if (!run->random_is_seeded) {
        /* The finalizer of splitmix64 in rng_seed mixes; the multiplier keeps (index, term) and
         * (index + 1, term - 1) apart. */
        rng_seed(&run->random, run->at.index * UINT64_C(0x9e3779b97f4a7c15) + run->at.term);
        run->random_is_seeded = true;
    }
    return &run->random;
}

/* meta.random(): in [0, 1). random(n): 1..n. random(m, n): m..n. */
static int meta_random(lua_State *L)
{
    struct rng *random = random_of(machine_run_of(L));
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, rng_unit(random));
        return 1;
    }
    bool one = lua_gettop(L) == 1;
    lua_Integer low = one ? 1 : luaL_checkinteger(L, 1);
    lua_Integer high = luaL_checkinteger(L, one ? 1 : 2);
    luaL_argcheck(L, low <= high, one ? 1 : 2, "interval is empty");
    uint64_t span = (uint64_t)high - (uint64_t)low;
    uint64_t offset = span == UINT64_MAX ? rng_next(random) : rng_range(random, 0, span + 1);
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + offset));
    return 1;
}

static int meta_index(lua_State *L)
{
    const struct machine_run *run = machine_run_of(L);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "index") == 0) {
        lua_pushinteger(L, (lua_Integer)run->at.index);
    } else if (strcmp(name, "term") == 0) {
        lua_pushinteger(L, (lua_Integer)run->at.term);
    } else if (strcmp(name, "time_ms") == 0) {
        lua_pushinteger(L, run->at.time_ms);
    } else if (strcmp(name, "fence") == 0 && run->fence != 0) {
        lua_pushinteger(L, (lua_Integer)run->fence);
    } else if (strcmp(name, "random") == 0) {
        lua_pushcfunction(L, meta_random);
    } else {
        lua_pushnil(L);
    }
    return 1;
}

static int meta_newindex(lua_State *L)
{
    return luaL_error(L, "meta is read-only");
}

void machine_meta_push(lua_State *L)
{
    static const luaL_Reg metamethods[] = {
        {"__index", meta_index},
        {"__newindex", meta_newindex},
        {NULL, NULL},
    };
    const void **object = lua_newuserdatauv(L, sizeof *object, 0);
    *object = &meta_type;
    luaL_newlib(L, metamethods);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}
