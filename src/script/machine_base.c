/* The base functions, `mk` and the length operator of machines. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include "script/machine_freeze.h"
#include "script/machine_run.h"
#include "script/machine_sandbox.h"
#include "script/machine_source.h"
#include "script/st.h"
#include "script/value.h"

/* ---- length -------------------------------------------------------------------------------- */

static bool has_element(lua_State *L, int table, lua_Integer i)
{
    bool has = lua_rawgeti(L, table, i) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

/* A border of the table, found by its elements alone: double, then halve. For a sequence that is
 * its length. The length of Lua looks at the size of the array part first, which depends on the
 * order of past insertions and, through collisions, on the seed of the string hash. */
static lua_Integer border(lua_State *L, int table)
{
    lua_Integer low = 0;
    lua_Integer high = 1;
    while (has_element(L, table, high)) {
        low = high;
        if (high > LUA_MAXINTEGER / 2) {
            high = LUA_MAXINTEGER;
            break;
        }
        high *= 2;
    }
    while (high - low > 1) {
        lua_Integer middle = low + (high - low) / 2;
        if (has_element(L, table, middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

lua_Integer machine_length(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TTABLE: {
        machine_spend(L, 2);
        machine_contents_push(L, index);
        lua_Integer length = border(L, lua_gettop(L));
        lua_pop(L, 1);
        return length;
    }
    case LUA_TSTRING:
        return (lua_Integer)lua_rawlen(L, index);
    default:
        if (st_is(L, index)) {
            return st_length(L, index);
        }
        return luaL_error(L, "attempt to get length of a %s value", luaL_typename(L, index));
    }
}

/* _LEN ^ x */
static int length_operator(lua_State *L)
{
    lua_pushinteger(L, machine_length(L, 2));
    return 1;
}

static void push_length_operator(lua_State *L)
{
    static const char type;
    const void **object = lua_newuserdatauv(L, sizeof *object, 0);
    *object = &type;
    lua_newtable(L);
    lua_pushcfunction(L, length_operator);
    lua_setfield(L, -2, "__pow");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

/* ---- pairs --------------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    return value_key_compare(a, b);
}

/* Upvalues: the table, its keys in order, how many of them are done. Elements that are gone by the
 * time they are reached are passed over; new ones are not seen. */
static int next_sorted(lua_State *L)
{
    lua_Integer done = lua_tointeger(L, lua_upvalueindex(3));
    for (;;) {
        done++;
        if (lua_rawgeti(L, lua_upvalueindex(2), done) == LUA_TNIL) {
            return 1;
        }
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) {
            break;
        }
        lua_pop(L, 2);
    }
    lua_pushinteger(L, done);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
}

static size_t count_elements(lua_State *L, int table)
{
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        count++;
    }
    return count;
}

/* Replace the table at the top by a list of its keys in order. */
static void push_sorted_keys(lua_State *L, int table)
{
    size_t count = count_elements(L, table);
    machine_spend(L, 2 * count);
    /* A userdata, not malloc: an error below must not leak it. */
    struct value_key *keys = lua_newuserdatauv(L, (count + 1) * sizeof *keys, 0);
    bool sorted = true;
    size_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        if (!value_key_get(L, -1, &keys[i])) {
            luaL_error(L, "pairs needs keys that are numbers or strings, not a %s",
                       luaL_typename(L, -1));
        }
        sorted = sorted && (i == 0 || value_key_compare(&keys[i - 1], &keys[i]) < 0);
        i++;
    }
    if (!sorted) {
        unsigned levels = 64 - (unsigned)__builtin_clzll(count);
        machine_spend(L, count * levels / 4);
        qsort(keys, count, sizeof *keys, compare_keys);
    }
    lua_createtable(L, (int)count, 0);
    for (i = 0; i < count; i++) {
        value_key_push(L, &keys[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_remove(L, -2);
}

static int base_pairs(lua_State *L)
{
    if (st_is(L, 1)) {
        return st_pairs(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    machine_contents_push(L, 1);
    lua_pushvalue(L, -1);
    push_sorted_keys(L, lua_gettop(L) - 1);
    lua_remove(L, -2);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_sorted, 3);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* ---- errors -------------------------------------------------------------------------------- */

/* What ends the command cannot be caught within it. */
static bool ends_command(lua_State *L)
{
    struct machine_run *run = machine_run_of(L);
    return run->meter.exhausted || run->out_of_memory;
}

static int finish_call(lua_State *L, int status)
{
    if (status == LUA_ERRMEM && !machine_run_of(L)->meter.exhausted) {
        machine_run_of(L)->out_of_memory = true;
    }
    if (ends_command(L)) {
        return lua_error(L);
    }
    if (status == LUA_OK) {
        return lua_gettop(L);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    return finish_call(L, lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0));
}

/* Upvalue: the script's handler. */
static int handle_error(lua_State *L)
{
    if (!ends_command(L)) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 1, 1);
    }
    return 1;
}

static int base_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    int arguments = lua_gettop(L) - 2;
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle_error, 1);
    lua_pushvalue(L, 1);
    lua_replace(L, 2);
    lua_replace(L, 1); /* handler, f, arguments... */
    int status = lua_pcall(L, arguments, LUA_MULTRET, 1);
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return finish_call(L, status);
}

/* ---- the rest ------------------------------------------------------------------------------ */

static int base_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    if (value_is_null(L, 1)) {
        lua_pushliteral(L, "null");
        return 1;
    }
    int type = lua_type(L, 1);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN && type != LUA_TNUMBER && type != LUA_TSTRING) {
        return luaL_error(L, "a %s has no text that is the same on every node",
                          st_is(L, 1) ? "table of st" : luaL_typename(L, 1));
    }
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Upvalue: the function of Lua's own library. */
static int base_tonumber(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) {
        machine_spend_bytes(L, lua_rawlen(L, 1));
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int base_type(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushstring(L, st_is(L, 1) ? "table" : luaL_typename(L, 1));
    return 1;
}

/* range(t, from, to?): the pairs of a table of st with from <= key < to. */
static int mk_range(lua_State *L)
{
    return st_range(L);
}

/* size(value): bytes of it as MessagePack. */
static int mk_size(lua_State *L)
{
    luaL_checkany(L, 1);
    struct why why = {.text = ""};
    struct buffer *out = value_buffer_push(L);
    struct value_writer w = {
        .L = L,
        .out = out,
        .end_bytes_max = VALUE_BYTES_MAX,
        .why = &why,
        .userdata = st_write,
    };
    enum err e = value_write(&w, 1);
    size_t size = out->size;
    buffer_close(out);
    machine_spend_bytes(L, size);
    if (e != ERR_OK) {
        return luaL_error(L, "%s", why.text);
    }
    lua_pushinteger(L, (lua_Integer)size);
    return 1;
}

static void push_mk(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"array", value_array},
        {"range", mk_range},
        {"size", mk_size},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    value_push_null(L);
    lua_setfield(L, -2, "null");
    machine_freeze_table(L, -1, "mk is read-only");
}

void machine_base_push(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pairs", base_pairs},       {"pcall", base_pcall}, {"xpcall", base_xpcall},
        {"tostring", base_tostring}, {"type", base_type},   {NULL, NULL},
    };
    static const char *const stock[] = {"assert", "error", "ipairs", "select"};

    luaL_newlib(L, functions);
    luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
    for (size_t i = 0; i < sizeof stock / sizeof *stock; i++) {
        lua_getfield(L, -1, stock[i]);
        lua_setfield(L, -3, stock[i]);
    }
    lua_getfield(L, -1, "tonumber");
    lua_pushcclosure(L, base_tonumber, 1);
    lua_setfield(L, -3, "tonumber");
    lua_pop(L, 1);
    push_mk(L);
    lua_setfield(L, -2, "mk");
    push_length_operator(L);
    lua_setfield(L, -2, MACHINE_LENGTH_NAME);
}
