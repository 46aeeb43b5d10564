/* mk.msgpack. */
#include <lauxlib.h>

#include "script/api.h"
#include "script/report.h"
#include "script/value.h"

/* msgpack.encode(value) -> bytes. Stack: [-1, +1]. Raises: what is not data. */
static int msgpack_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    struct why why = {.text = ""};
    struct buffer *value = value_buffer_push(L);
    if (value_encode(L, 1, VALUE_BYTES_MAX, value, &why) != ERR_OK) {
        return luaL_error(L, "%s", why.text);
    }
    lua_pushlstring(L, (const char *)value->data, value->size);
    buffer_close(value);
    return 1;
}

/* msgpack.decode(bytes) -> value | nil, err. nil decodes to mk.null. Stack: [-1, +1 or +2]. */
static int msgpack_decode(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    struct why why = {.text = ""};
    enum err e = value_decode(L, bytes_of(text, size), NULL, &why);
    if (e != ERR_OK) {
        return report_fail(L, e, why.text);
    }
    if (lua_isnil(L, -1)) {
        value_push_null(L);
    }
    return 1;
}

int api_msgpack_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", msgpack_encode}, {"decode", msgpack_decode}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
