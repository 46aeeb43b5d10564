/* mk.json. */
#include <lauxlib.h>

#include "script/api.h"
#include "script/json.h"
#include "script/report.h"
#include "script/value.h"

/* json.encode(value, {indent=0}?) -> text. Stack: [-n, +1]. Raises: what is not data. */
static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    struct json_style style = {.indent = 0};
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_getfield(L, 2, "indent");
        lua_Integer indent = luaL_optinteger(L, -1, 0);
        luaL_argcheck(L, indent >= 0 && indent <= 8, 2, "indent is 0 to 8 spaces");
        style.indent = (unsigned)indent;
    }
    struct why why = {.text = ""};
    struct buffer *value = value_buffer_push(L);
    struct buffer *text = value_buffer_push(L);
    if (value_encode(L, 1, VALUE_BYTES_MAX, value, &why) != ERR_OK ||
        json_from_msgpack(buffer_bytes(value), &style, text, &why) != ERR_OK) {
        return luaL_error(L, "%s", why.text);
    }
    lua_pushlstring(L, (const char *)text->data, text->size);
    buffer_close(text);
    buffer_close(value);
    return 1;
}

/* json.decode(text) -> value | nil, err. A text of null gives mk.null. Stack: [-1, +1 or +2]. */
static int json_decode(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct why why = {.text = ""};
    struct buffer *value = value_buffer_push(L);
    enum err e = json_to_msgpack(bytes_of(text, size), value, &why);
    if (e == ERR_OK) {
        e = value_decode(L, buffer_bytes(value), NULL, &why);
    }
    buffer_close(value);
    if (e != ERR_OK) {
        return report_fail(L, e, why.text);
    }
    if (lua_isnil(L, -1)) {
        value_push_null(L);
    }
    return 1;
}

int api_json_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", json_encode}, {"decode", json_decode}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
