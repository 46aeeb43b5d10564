/* Is a script readable and well-formed? Asked before anything is started. And what is it called? */
#include <ctype.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "script/bundled.h"
#include "script/script.h"

/* Of a bundled script its modules too: they are in the binary with it. */
static int load(lua_State *L, const char *path, enum err *err, struct why *why)
{
    if (!bundled_is(path)) {
        return luaL_loadfilex(L, path, "t");
    }
    struct bytes text;
    *err = bundled_find(path, &text, why);
    if (*err != ERR_OK) {
        return LUA_OK;
    }
    lua_pushfstring(L, "@%s", path);
    int status = luaL_loadbufferx(L, (const char *)text.data, text.size, lua_tostring(L, -1), "t");
    const struct embedded_file *module = NULL;
    while (status == LUA_OK && (module = bundled_next_module(path, module)) != NULL) {
        lua_settop(L, 0);
        status = bundled_load_module(L, module);
    }
    return status;
}

enum err script_check(const char *path, struct why *why)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        return err_why(why, ERR_IO, "out of memory");
    }
    enum err e = ERR_OK;
    int status = load(L, path, &e, why);
    if (status != LUA_OK) {
        e = err_why(why, status == LUA_ERRFILE ? ERR_IO : ERR_INVALID, "%s", lua_tostring(L, -1));
    }
    lua_close(L);
    return e;
}

void script_default_name(const char *path, char out[SCRIPT_NAME_MAX])
{
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    base = bundled_is(base) ? strchr(base, ':') + 1 : base;
    snprintf(out, SCRIPT_NAME_MAX, "%s", base);
    char *dot = strrchr(out, '.');
    if (dot != NULL && dot != out) {
        *dot = 0;
    }
    for (char *c = out; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && strchr("_-.", *c) == NULL) {
            *c = '_';
        }
    }
}
