/* Is a script readable and well-formed? Asked before anything is started. */
#include <lauxlib.h>

#include "script/script.h"

enum err script_check(const char *path, struct why *why)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        return err_why(why, ERR_IO, "out of memory");
    }
    int status = luaL_loadfilex(L, path, "t");
    enum err e = status == LUA_OK ? ERR_OK : status == LUA_ERRFILE ? ERR_IO : ERR_INVALID;
    if (e != ERR_OK) {
        err_why(why, e, "%s", lua_tostring(L, -1));
    }
    lua_close(L);
    return e;
}
