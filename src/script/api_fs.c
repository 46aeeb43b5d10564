/* moonkeeper.core: files. */
#include <lauxlib.h>
#include <string.h>

#include "port/files.h"
#include "script/api.h"
#include "script/report.h"
#include "script/request.h"
#include "script/task.h"
#include "script/thread.h"

static const struct files_port *port_of(lua_State *L)
{
    const struct files_port *port = thread_app(L)->host->options.files;
    if (port == NULL) {
        luaL_error(L, "there are no files here");
    }
    return port;
}

static bool is_part(const char *part, size_t size)
{
    return size > 0 && !(size == 1 && part[0] == '.') &&
           !(size == 2 && part[0] == '.' && part[1] == '.');
}

/* "a/b.txt" or "/a/b.txt" */
static const char *check_path(lua_State *L, int index)
{
    size_t size;
    const char *path = luaL_checklstring(L, index, &size);
    luaL_argcheck(L, size <= FILES_PATH_MAX && strlen(path) == size, index,
                  "a path has 1 to 1024 bytes, none of them 0");
    for (const char *part = path[0] == '/' ? path + 1 : path;;) {
        size_t part_size = strcspn(part, "/");
        luaL_argcheck(L, is_part(part, part_size), index,
                      "a path names a file, without empty parts, '.' or '..'");
        if (part[part_size] == 0) {
            return path;
        }
        part += part_size + 1;
    }
}

static int answered(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return request_result(L);
}

static int written(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    if (request_result(L) == 2) {
        return 2;
    }
    lua_pushboolean(L, true);
    return 1;
}

/* fs.read(path) -> data | nil, err */
static int fs_read(lua_State *L)
{
    const char *path = check_path(L, 1);
    const struct files_port *port = port_of(L);
    task_that_waits(L);
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    port->read(port->ctx, call, path);
    return request_await(L, UINT64_MAX, answered);
}

/* fs.write(path, data) -> true | nil, err */
static int fs_write(lua_State *L)
{
    size_t size;
    const char *path = check_path(L, 1);
    const char *data = luaL_checklstring(L, 2, &size);
    const struct files_port *port = port_of(L);
    task_that_waits(L);
    if (size > FILES_BYTES_MAX) {
        return report_fail(L, ERR_TOO_LARGE, "a file of more than 4 MiB");
    }
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    port->write(port->ctx, call, path, bytes_of(data, size));
    return request_await(L, UINT64_MAX, written);
}

void api_fs_add(lua_State *L)
{
    static const luaL_Reg functions[] = {{"read", fs_read}, {"write", fs_write}, {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "fs");
}
