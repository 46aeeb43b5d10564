#include "script/ordered.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "script/value.h"

static int compare(const void *a, const void *b)
{
    return value_key_compare(a, b);
}

/* Push an array of the keys of the table at 1, in order: [-0, +1]. Returns how many. */
static lua_Integer push_keys(lua_State *L)
{
    lua_Integer count = 0;
    lua_Integer others = 0;
    int ordered = lua_gettop(L) + 1;
    int unordered = ordered + 1;
    lua_newtable(L);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 1) != 0) {
        struct value_key key;
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        if (value_key_get(L, -1, &key)) {
            lua_rawseti(L, ordered, ++count);
        } else {
            lua_rawseti(L, unordered, ++others);
        }
    }
    /* Strings are borrowed from the table of keys, which holds them. */
    struct value_key *keys = lua_newuserdatauv(L, (size_t)count * sizeof *keys + 1, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, ordered, i + 1);
        value_key_get(L, -1, &keys[i]);
        lua_pop(L, 1);
    }
    qsort(keys, (size_t)count, sizeof *keys, compare);
    lua_createtable(L, (int)(count + others), 0);
    for (lua_Integer i = 0; i < count; i++) {
        value_key_push(L, &keys[i]);
        lua_rawseti(L, -2, i + 1);
    }
    for (lua_Integer i = 1; i <= others; i++) {
        lua_rawgeti(L, unordered, i);
        lua_rawseti(L, -2, count + i);
    }
    lua_replace(L, ordered);
    lua_settop(L, ordered);
    return count + others;
}

/* Upvalues: the table, its keys, the position. Keys removed meanwhile are passed over. */
static int iterate(lua_State *L)
{
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(3));
    do {
        if (lua_rawgeti(L, lua_upvalueindex(2), ++i) == LUA_TNIL) {
            return 1;
        }
        lua_pushvalue(L, -1);
        lua_rawget(L, lua_upvalueindex(1));
    } while (lua_isnil(L, -1) && (lua_settop(L, 0), true));
    lua_pushinteger(L, i);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
}

static int pairs_done(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 3;
}

static int ordered_pairs(lua_State *L)
{
    luaL_checkany(L, 1);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_callk(L, 1, 3, 0, pairs_done);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    push_keys(L);
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, iterate, 3);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* next(t, k): the keys are put in order at each call; loops use pairs. */
static int ordered_next(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    lua_Integer count = push_keys(L); /* at 3 */
    bool found = lua_isnil(L, 2);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        if (found) {
            lua_pushvalue(L, -1);
            lua_rawget(L, 1);
            return 2;
        }
        found = lua_rawequal(L, -1, 2);
        lua_pop(L, 1);
    }
    lua_pushnil(L);
    return found ? 1 : luaL_error(L, "invalid key to 'next'");
}

void ordered_open(lua_State *L)
{
    lua_pushcfunction(L, ordered_pairs);
    lua_setglobal(L, "pairs");
    lua_pushcfunction(L, ordered_next);
    lua_setglobal(L, "next");
}
