/* require: the modules in the binary, then Lua files on package.path (text only), then, where they
 * are allowed, C modules. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "script/api.h"
#include "script/bundled.h"
#include "script/embed.h"
#include "script/host.h"
#include "script/sandbox.h"
#include "script/thread.h"

static int search_embedded(lua_State *L)
{
    const char *module = luaL_checkstring(L, 1);
    static const char *const patterns[] = {"%s.lua", "%s/init.lua"};
    const char *path = luaL_gsub(L, module, ".", "/");
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const char *name = lua_pushfstring(L, patterns[i], path);
        struct bytes source = embed_find(name);
        if (source.data != NULL) {
            lua_pushfstring(L, "@%s", name);
            if (luaL_loadbufferx(L, (const char *)source.data, source.size, lua_tostring(L, -1),
                                 "t") != LUA_OK) {
                return lua_error(L);
            }
            lua_pushstring(L, name);
            return 2;
        }
    }
    lua_pushfstring(L, "no module '%s' is shipped", module);
    return 1;
}

static int search_path(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushvalue(L, 1);
    lua_getfield(L, -3, "path");
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2)) {
        return 1; /* the names it tried */
    }
    const char *file = lua_tostring(L, -2);
    if (luaL_loadfilex(L, file, "t") != LUA_OK) {
        return luaL_error(L, "error loading module '%s' from file '%s':\n\t%s", lua_tostring(L, 1),
                          file, lua_tostring(L, -1));
    }
    lua_pushstring(L, file);
    return 2;
}

/* Push "DIR/?.lua;DIR/?/init.lua" with the directory of the script; a bundled one has none. */
static void push_default_path(lua_State *L, const char *script)
{
    if (bundled_is(script)) {
        lua_pushliteral(L, "");
        return;
    }
    const char *slash = strrchr(script, '/');
    if (slash == NULL) {
        lua_pushliteral(L, ".");
    } else {
        lua_pushlstring(L, script, (size_t)(slash - script) + (slash == script));
    }
    const char *dir = lua_tostring(L, -1);
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", dir, dir);
    lua_remove(L, -2);
}

/* package.searchers = { preload, embedded, path [, C, C with a common root] } */
static void set_searchers(lua_State *L, bool c_modules)
{
    lua_getfield(L, -1, "searchers");
    lua_createtable(L, 5, 0);
    lua_rawgeti(L, -2, 1);
    lua_rawseti(L, -2, 1);
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, -2, 2);
    lua_pushcfunction(L, search_path);
    lua_rawseti(L, -2, 3);
    for (int i = 3; c_modules && i <= 4; i++) {
        lua_rawgeti(L, -2, i);
        lua_rawseti(L, -2, i + 1);
    }
    /* require reads the field of its upvalue, which is the package table itself. */
    lua_setfield(L, -3, "searchers");
    lua_pop(L, 1);
}

void modules_open(lua_State *L, const struct script_app *app)
{
    bool c_modules = app->lua_cpath != NULL && !thread_app(L)->host->options.simulated;
    luaL_requiref(L, LUA_LOADLIBNAME, luaopen_package, 1);
    lua_pushnil(L);
    lua_setfield(L, -2, "loadlib");
    if (app->lua_path != NULL) {
        lua_pushstring(L, app->lua_path);
    } else {
        push_default_path(L, app->path);
    }
    lua_setfield(L, -2, "path");
    lua_pushstring(L, c_modules ? app->lua_cpath : "");
    lua_setfield(L, -2, "cpath");
    set_searchers(L, c_modules);
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, api_core_open);
    lua_setfield(L, -2, "moonkeeper.core");
    lua_pop(L, 2);
}
