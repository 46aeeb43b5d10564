/* The string library of machines: Lua's own functions where they are safe, paid for by byte. */
#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "script/machine_run.h"
#include "script/machine_sandbox.h"
#include "script/st.h"
#include "script/string_pattern.h"
#include "script/value.h"

/* Pay for all strings among the arguments. */
static void spend_arguments(lua_State *L)
{
    for (int i = lua_gettop(L); i > 0; i--) {
        if (lua_type(L, i) == LUA_TSTRING) {
            machine_spend_bytes(L, lua_rawlen(L, i));
        }
    }
}

/* Upvalue: a function of Lua's own library, which has no upvalues itself. */
static int call_stock(lua_State *L)
{
    spend_arguments(L);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* string.rep(s, n, separator?) */
static int string_rep(lua_State *L)
{
    size_t size;
    size_t separator_size;
    luaL_checklstring(L, 1, &size);
    lua_Integer count = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &separator_size);
    size_t each = size + separator_size;
    if (count > 0 && each > 0) {
        if ((lua_Unsigned)count > MACHINE_STRING_BYTES_MAX / each) {
            return luaL_error(L, "the resulting string is too large");
        }
        machine_spend_bytes(L, (size_t)count * each);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* string.format(format, ...): arguments without an address. */
static int string_format(lua_State *L)
{
    size_t size;
    const char *at = luaL_checklstring(L, 1, &size);
    const char *end = at + size;
    while (at < end && (at = memchr(at, '%', (size_t)(end - at))) != NULL) {
        at++;
        at += strspn(at, "-+ #0123456789.");
        if (*at == 'p') {
            return luaL_error(L, "%%p prints an address, which differs between nodes");
        }
        at += at < end ? 1 : 0;
    }
    for (int i = 2; i <= lua_gettop(L); i++) {
        int type = lua_type(L, i);
        if (type != LUA_TNIL && type != LUA_TBOOLEAN && type != LUA_TNUMBER &&
            type != LUA_TSTRING) {
            return luaL_argerror(L, i, "has no text that is the same on every node");
        }
    }
    spend_arguments(L);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* ---- patterns: paid for by the command ----------------------------------------------------- */

static struct meter *meter_of(lua_State *L)
{
    return &machine_run_of(L)->meter;
}

static size_t string_bytes_max(lua_State *L)
{
    (void)L;
    return MACHINE_STRING_BYTES_MAX;
}

static void exhausted(lua_State *L)
{
    st_raise_exhausted(L);
}

static const struct string_budget budget = {.meter = meter_of,
                                            .exhausted = exhausted,
                                            .string_bytes_max = string_bytes_max,
                                            .is_table = st_is};

static int string_find(lua_State *L)
{
    return string_pattern_find(L, &budget);
}

static int string_match(lua_State *L)
{
    return string_pattern_match(L, &budget);
}

static int string_gmatch(lua_State *L)
{
    return string_pattern_gmatch(L, &budget);
}

static int string_gsub(lua_State *L)
{
    return string_pattern_gsub(L, &budget);
}

/* Copy functions of the module at the top into the table below it, through the given wrapper. */
static void wrap(lua_State *L, const char *const *names, lua_CFunction wrapper)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, -1, *names);
        lua_pushcclosure(L, wrapper, 1);
        lua_setfield(L, -3, *names);
    }
}

void machine_string_push(lua_State *L)
{
    static const char *const stock[] = {"byte",    "char", "len",   "lower",
                                        "reverse", "sub",  "upper", NULL};
    static const char *const rep[] = {"rep", NULL};
    static const char *const format[] = {"format", NULL};
    static const luaL_Reg own[] = {
        {"find", string_find},
        {"match", string_match},
        {"gmatch", string_gmatch},
        {"gsub", string_gsub},
        {NULL, NULL},
    };
    luaL_newlib(L, own);
    luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
    wrap(L, stock, call_stock);
    wrap(L, rep, string_rep);
    wrap(L, format, string_format);
    lua_pop(L, 1);
}

void machine_utf8_push(lua_State *L)
{
    static const char *const stock[] = {"char", "codepoint", "codes", "len", "offset", NULL};
    lua_newtable(L);
    luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
    wrap(L, stock, call_stock);
    lua_getfield(L, -1, "charpattern");
    lua_setfield(L, -3, "charpattern");
    lua_pop(L, 1);
}
