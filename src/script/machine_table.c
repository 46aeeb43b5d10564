/* The table library of machines: like Lua's, but on lengths by machine_length(), on tables of st as
 * well, paid for by element, and with a sort that has one result. */
#include <lauxlib.h>

#include "script/machine_run.h"
#include "script/machine_sandbox.h"
#include "script/st.h"

enum { UNPACK_MAX = 8000 };

static void check_table(lua_State *L, int index)
{
    if (!st_is(L, index)) {
        luaL_checktype(L, index, LUA_TTABLE);
    }
}

/* table.concat(t, separator?, from?, to?) */
static int table_concat(lua_State *L)
{
    check_table(L, 1);
    size_t separator_size;
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    lua_Integer from = luaL_optinteger(L, 3, 1);
    lua_Integer to = luaL_opt(L, luaL_checkinteger, 4, machine_length(L, 1));
    size_t total = 0;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (lua_Integer i = from; i <= to; i++) {
        lua_geti(L, 1, i);
        if (!lua_isstring(L, -1)) {
            return luaL_error(L, "invalid value (a %s) at index %I in table for 'concat'",
                              luaL_typename(L, -1), (LUAI_UACINT)i);
        }
        size_t size;
        lua_tolstring(L, -1, &size);
        size += i < to ? separator_size : 0;
        machine_spend_bytes(L, size);
        total += size;
        if (total > MACHINE_STRING_BYTES_MAX) {
            return luaL_error(L, "the resulting string is too large");
        }
        luaL_addvalue(&b);
        if (i < to) {
            luaL_addlstring(&b, separator, separator_size);
        }
        if (i == LUA_MAXINTEGER) {
            break;
        }
    }
    luaL_pushresult(&b);
    return 1;
}

/* table.insert(t, position?, value) */
static int table_insert(lua_State *L)
{
    check_table(L, 1);
    lua_Integer end = machine_length(L, 1) + 1;
    if (lua_gettop(L) == 2) {
        lua_seti(L, 1, end);
        return 0;
    }
    if (lua_gettop(L) != 3) {
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    lua_Integer position = luaL_checkinteger(L, 2);
    luaL_argcheck(L, position >= 1 && position <= end, 2, "position out of bounds");
    for (lua_Integer i = end; i > position; i--) {
        machine_spend(L, 4);
        lua_geti(L, 1, i - 1);
        lua_seti(L, 1, i);
    }
    lua_seti(L, 1, position);
    return 0;
}

/* table.remove(t, position?) */
static int table_remove(lua_State *L)
{
    check_table(L, 1);
    lua_Integer length = machine_length(L, 1);
    lua_Integer position = luaL_optinteger(L, 2, length);
    if (lua_gettop(L) > 1) {
        luaL_argcheck(L,
                      (length == 0 && position == 0) || (position >= 1 && position <= length + 1),
                      2, "position out of bounds");
    }
    lua_geti(L, 1, position);
    for (; position < length; position++) {
        machine_spend(L, 4);
        lua_geti(L, 1, position + 1);
        lua_seti(L, 1, position);
    }
    lua_pushnil(L);
    lua_seti(L, 1, position);
    return 1;
}

/* table.move(from, first, last, to, target?) */
static int table_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2);
    lua_Integer last = luaL_checkinteger(L, 3);
    lua_Integer to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    check_table(L, 1);
    check_table(L, target);
    if (last < first) {
        lua_pushvalue(L, target);
        return 1;
    }
    luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3, "too many elements to move");
    luaL_argcheck(L, to <= LUA_MAXINTEGER - (last - first), 4, "destination wrap around");
    lua_Integer count = last - first + 1;
    /* Upwards unless that would overwrite what is still to be moved. */
    bool up = to > last || to <= first || (target != 1 && !lua_compare(L, 1, target, LUA_OPEQ));
    for (lua_Integer i = 0; i < count; i++) {
        lua_Integer offset = up ? i : count - 1 - i;
        machine_spend(L, 4);
        lua_geti(L, 1, first + offset);
        lua_seti(L, target, to + offset);
    }
    lua_pushvalue(L, target);
    return 1;
}

/* table.pack(...) */
static int table_pack(lua_State *L)
{
    int count = lua_gettop(L);
    machine_spend(L, (uint64_t)count);
    lua_createtable(L, count, 1);
    lua_insert(L, 1);
    for (int i = count; i >= 1; i--) {
        lua_rawseti(L, 1, i);
    }
    lua_pushinteger(L, count);
    lua_setfield(L, 1, "n");
    return 1;
}

/* table.unpack(t, from?, to?) */
static int table_unpack(lua_State *L)
{
    check_table(L, 1);
    lua_Integer from = luaL_optinteger(L, 2, 1);
    lua_Integer to = luaL_opt(L, luaL_checkinteger, 3, machine_length(L, 1));
    if (from > to) {
        return 0;
    }
    lua_Unsigned count = (lua_Unsigned)to - (lua_Unsigned)from;
    if (count >= UNPACK_MAX || !lua_checkstack(L, (int)count + 1)) {
        return luaL_error(L, "too many results to unpack");
    }
    machine_spend(L, count);
    for (lua_Unsigned i = 0; i <= count; i++) {
        lua_geti(L, 1, (lua_Integer)((lua_Unsigned)from + i));
    }
    return (int)count + 1;
}

/* ---- sort ---------------------------------------------------------------------------------- */

/* A merge sort between two tables: stable, and with a result of its own for every comparison
 * function, an inconsistent one too. (Lua's quicksort takes its pivot from the clock.) */
struct sorting {
    lua_State *L;
    int less; /* comparison function, 0: the operator < */
    int from; /* tables */
    int to;
    lua_Integer count;
};

/* Is the value at the top less than the one below it? Leaves both. */
static bool top_is_less(struct sorting *s)
{
    lua_State *L = s->L;
    machine_spend(L, 4);
    if (s->less == 0) {
        return lua_compare(L, -1, -2, LUA_OPLT);
    }
    lua_pushvalue(L, s->less);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -4);
    lua_call(L, 2, 1);
    bool less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return less;
}

/* Merge from[low, middle) and from[middle, high) into to[low, high). */
static void merge(struct sorting *s, lua_Integer low, lua_Integer middle, lua_Integer high)
{
    lua_State *L = s->L;
    lua_Integer a = low;
    lua_Integer b = middle;
    for (lua_Integer i = low; i < high; i++) {
        if (a < middle) {
            lua_rawgeti(L, s->from, a);
        }
        if (b < high) {
            lua_rawgeti(L, s->from, b);
        }
        bool take_b = a == middle || (b < high && top_is_less(s));
        if (a < middle && b < high) {
            lua_remove(L, take_b ? -2 : -1);
        }
        lua_rawseti(L, s->to, i);
        a += take_b ? 0 : 1;
        b += take_b ? 1 : 0;
    }
}

static lua_Integer at_most(lua_Integer value, lua_Integer limit)
{
    return value < limit ? value : limit;
}

/* table.sort(t, less?) */
static int table_sort(lua_State *L)
{
    check_table(L, 1);
    struct sorting s = {.L = L, .count = machine_length(L, 1)};
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        s.less = 2;
    }
    luaL_argcheck(L, s.count < INT32_MAX, 1, "array too big");
    lua_settop(L, 2);
    machine_spend(L, (uint64_t)s.count);
    lua_createtable(L, (int)s.count, 0);
    lua_createtable(L, (int)s.count, 0);
    s.from = 3;
    s.to = 4;
    for (lua_Integer i = 1; i <= s.count; i++) {
        lua_geti(L, 1, i);
        lua_rawseti(L, s.from, i);
    }
    for (lua_Integer width = 1; width < s.count; width *= 2) {
        for (lua_Integer low = 1; low <= s.count; low += 2 * width) {
            merge(&s, low, at_most(low + width, s.count + 1),
                  at_most(low + 2 * width, s.count + 1));
        }
        int swapped = s.from;
        s.from = s.to;
        s.to = swapped;
    }
    for (lua_Integer i = 1; i <= s.count; i++) {
        lua_rawgeti(L, s.from, i);
        lua_seti(L, 1, i);
    }
    return 0;
}

void machine_table_push(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"concat", table_concat}, {"insert", table_insert},
        {"move", table_move},     {"pack", table_pack},
        {"remove", table_remove}, {"sort", table_sort},
        {"unpack", table_unpack}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
}
