#include "script/machine_freeze.h"

#include <lauxlib.h>

#include "base/assert.h"
#include "script/machine_bytecode.h"
#include "script/value.h"

enum { FREEZE_DEPTH_MAX = 64 };

static int raise_frozen(lua_State *L)
{
    return luaL_error(L, "%s", lua_tostring(L, lua_upvalueindex(1)));
}

void machine_contents_push(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (lua_getmetatable(L, index)) {
        if (lua_rawgetp(L, -1, &value_contents_key) == LUA_TTABLE) {
            lua_remove(L, -2);
            return;
        }
        lua_pop(L, 2);
    }
    lua_pushvalue(L, index);
}

static bool is_frozen(lua_State *L, int index)
{
    machine_contents_push(L, index);
    bool frozen = !lua_rawequal(L, index, -1);
    lua_pop(L, 1);
    return frozen;
}

void machine_freeze_table(lua_State *L, int index, const char *message)
{
    index = lua_absindex(L, index);
    luaL_checkstack(L, 8, NULL);
    lua_newtable(L);
    int contents = lua_gettop(L);
    if (lua_getmetatable(L, index)) { /* the mark of an array goes along */
        lua_setmetatable(L, contents);
    }
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, contents);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, index); /* clearing a field is allowed while iterating */
    }
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, contents);
    lua_rawsetp(L, -2, &value_contents_key);
    lua_pushvalue(L, contents);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, message);
    lua_pushcclosure(L, raise_frozen, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, index);
    lua_pop(L, 1);
}

/* ---- everything that outlives a command ---------------------------------------------------- */

struct freezing {
    lua_State *L;
    int seen; /* table: function -> true */
    struct why *why;
};

static enum err freeze_value(struct freezing *f, int index, int depth);

static enum err freeze_elements(struct freezing *f, int index, int depth)
{
    lua_State *L = f->L;
    if (is_frozen(L, index)) {
        return ERR_OK;
    }
    machine_freeze_table(L, index,
                         "a table made outside of the command is read-only; what a machine keeps "
                         "belongs in st");
    machine_contents_push(L, index);
    int contents = lua_gettop(L);
    enum err e = ERR_OK;
    lua_pushnil(L);
    while (e == ERR_OK && lua_next(L, contents)) {
        e = freeze_value(f, lua_gettop(L), depth);
        if (e == ERR_OK) {
            e = freeze_value(f, lua_gettop(L) - 1, depth);
        }
        lua_pop(L, 1);
    }
    lua_settop(L, contents - 1);
    return e;
}

static enum err check_assignments(struct freezing *f, int index)
{
    lua_State *L = f->L;
    int upvalue;
    enum err e = machine_bytecode_assigned_upvalue(L, index, &upvalue);
    if (e != ERR_OK) {
        return err_why(f->why, e, "this Lua compiles to a format that cannot be checked");
    }
    if (upvalue == 0) {
        return ERR_OK;
    }
    lua_Debug info;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">S", &info);
    const char *name = lua_getupvalue(L, index, upvalue);
    err_why(f->why, ERR_INVALID,
            "%s:%d: the function assigns to '%s', a variable that outlives the command; what a "
            "machine keeps belongs in st",
            info.short_src, info.linedefined, name);
    lua_pop(L, 1);
    return ERR_INVALID;
}

static enum err freeze_upvalues(struct freezing *f, int index, int depth)
{
    lua_State *L = f->L;
    lua_pushvalue(L, index);
    bool known = lua_rawget(L, f->seen) != LUA_TNIL;
    lua_pop(L, 1);
    if (known) {
        return ERR_OK;
    }
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, f->seen);
    enum err e = check_assignments(f, index);
    for (int i = 1; e == ERR_OK && lua_getupvalue(L, index, i) != NULL; i++) {
        e = freeze_value(f, lua_gettop(L), depth);
        lua_pop(L, 1);
    }
    return e;
}

static enum err freeze_value(struct freezing *f, int index, int depth)
{
    lua_State *L = f->L;
    int type = lua_type(L, index);
    if (type != LUA_TTABLE && (type != LUA_TFUNCTION || lua_iscfunction(L, index))) {
        return ERR_OK;
    }
    if (depth == FREEZE_DEPTH_MAX) {
        return err_why(f->why, ERR_INVALID,
                       "tables and functions of the file refer to each other too deep");
    }
    luaL_checkstack(L, 16, NULL);
    return type == LUA_TTABLE ? freeze_elements(f, index, depth + 1)
                              : freeze_upvalues(f, index, depth + 1);
}

enum err machine_freeze(lua_State *L, int index, struct why *why)
{
    index = lua_absindex(L, index);
    lua_newtable(L);
    struct freezing f = {.L = L, .seen = lua_gettop(L), .why = why};
    enum err e = freeze_value(&f, index, 0);
    lua_settop(L, f.seen - 1);
    return e;
}
