/* What application scripts find in their globals: Lua's libraries without what would block, read
 * binary code, end the process, or get around preemption. */
#ifndef MK_SCRIPT_SANDBOX_H
#define MK_SCRIPT_SANDBOX_H

#include <lua.h>

struct script_app;

/* Stack: [-0, +0]. Raises: out of memory. */
void sandbox_open(lua_State *L, const struct script_app *app);

/* guard.c: pcall, xpcall, setmetatable, error-proof against a kill. Stack: [-0, +0]. */
void guard_open(lua_State *L);
/* string_bounded.c: the functions that match patterns, in the library on top. Stack: [-0, +0]. */
void string_bounded_open(lua_State *L);
/* modules.c: package and require. Stack: [-0, +0]. */
void modules_open(lua_State *L, const struct script_app *app);
/* shell.c: os.execute and io.popen, once there is require. Stack: [-0, +0]. */
void shell_open(lua_State *L);

#endif
