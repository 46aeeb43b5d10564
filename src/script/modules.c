/* require: the modules in the binary, the script's own if it is a bundled one, then Lua files on
 * package.path (text only), then, where they are allowed, C modules. */
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "script/api.h"
#include "script/bundled.h"
#include "script/embed.h"
#include "script/host.h"
#include "script/machine.h"
#include "script/report.h"
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

/* A bundled script's own modules are found by that script alone. */
static int search_bundled(lua_State *L)
{
    const char *module = luaL_checkstring(L, 1);
    const char *script = thread_app(L)->path;
    if (!bundled_is(script)) {
        lua_pushnil(L);
        return 1;
    }
    const char *name = lua_pushfstring(L, "%s.lua", luaL_gsub(L, module, ".", "/"));
    const struct embedded_file *file = NULL;
    while ((file = bundled_next_module(script, file)) != NULL) {
        if (strcmp(file->name, name) == 0) {
            if (bundled_load_module(L, file) != LUA_OK) {
                return lua_error(L);
            }
            lua_pushstring(L, name);
            return 2;
        }
    }
    lua_pushfstring(L, "no module '%s' in %s", module, script);
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

/* Push the folder of the script; nil, and false, of a bundled one, which has none. */
static bool push_folder(lua_State *L, const char *script)
{
    const char *slash = strrchr(script, '/');
    if (bundled_is(script)) {
        lua_pushnil(L);
        return false;
    }
    if (slash == NULL) {
        lua_pushliteral(L, ".");
    } else {
        lua_pushlstring(L, script, (size_t)(slash - script) + (slash == script));
    }
    return true;
}

/* Push "DIR/?.lua;DIR/?/init.lua" with the directory of the script; a bundled one has none. */
static void push_default_path(lua_State *L, const char *script)
{
    if (!push_folder(L, script)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "");
        return;
    }
    const char *dir = lua_tostring(L, -1);
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", dir, dir);
    lua_remove(L, -2);
}

/* package.searchers = { preload, embedded, bundled, path [, C, C with a common root] } */
static void set_searchers(lua_State *L, bool c_modules)
{
    lua_getfield(L, -1, "searchers");
    lua_createtable(L, 6, 0);
    lua_rawgeti(L, -2, 1);
    lua_rawseti(L, -2, 1);
    lua_pushcfunction(L, search_embedded);
    lua_rawseti(L, -2, 2);
    lua_pushcfunction(L, search_bundled);
    lua_rawseti(L, -2, 3);
    lua_pushcfunction(L, search_path);
    lua_rawseti(L, -2, 4);
    for (int i = 3; c_modules && i <= 4; i++) {
        lua_rawgeti(L, -2, i);
        lua_rawseti(L, -2, i + 2);
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
    if (app->lua_path_more != NULL) {
        const char *path = lua_tostring(L, -1);
        lua_pushfstring(L, "%s%s%s", path, *path != 0 ? ";" : "", app->lua_path_more);
        lua_remove(L, -2);
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

struct text_given {
    struct bytes bytes;
};

static int make_string(lua_State *L)
{
    const struct text_given *given = lua_touserdata(L, 1);
    const char *data = given->bytes.size > 0 ? (const char *)given->bytes.data : "";
    lua_pushlstring(L, data, given->bytes.size);
    return 1;
}

/* Closes both, also where there is no memory for what is in them. */
static int push_text(lua_State *L, enum err e, struct buffer *text, struct buffer *message)
{
    struct buffer *which = e == ERR_OK ? text : message;
    struct text_given given = {.bytes = buffer_bytes(which)};
    lua_pushcfunction(L, make_string);
    lua_pushlightuserdata(L, &given);
    int status = lua_pcall(L, 1, 1, 0);
    buffer_close(text);
    buffer_close(message);
    if (status != LUA_OK) {
        return lua_error(L);
    }
    return e == ERR_OK ? 1 : report_fail(L, e, lua_tostring(L, -1));
}

/* read_beside(path) -> the text of a file, by default beside the script | nil, err. Blocks this
 * thread, as require does. */
static int read_beside(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    if (path[0] != '/') {
        if (!push_folder(L, thread_app(L)->path)) {
            return report_fail(L, ERR_NOT_FOUND, "a bundled script has no folder");
        }
        path = lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), path);
    }
    struct buffer text = {0}, message = {0};
    enum err e = ERR_OK;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        e = errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        buffer_add_format(&message, "%s: %s", path, strerror(errno));
    } else {
        size_t got = fread(buffer_reserve(&text, MACHINE_SOURCE_BYTES_MAX + 1), 1,
                           MACHINE_SOURCE_BYTES_MAX + 1, file);
        text.size += got;
        if (ferror(file) != 0) {
            e = ERR_IO;
            buffer_add_format(&message, "%s: cannot be read", path);
        } else if (got > MACHINE_SOURCE_BYTES_MAX) {
            e = ERR_TOO_LARGE;
            buffer_add_format(&message, "%s: larger than a machine may be", path);
        }
        fclose(file);
    }
    return push_text(L, e, &text, &message);
}

void api_modules_add(lua_State *L)
{
    lua_pushcfunction(L, read_beside);
    lua_setfield(L, -2, "read_beside");
}
