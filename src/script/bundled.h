/* The scripts of scripts/ in the binary: "bundled:cron" stands for the path of scripts/cron.lua. A
 * script has the modules scripts/cron/PART.lua, for itself alone: require "cron.PART". */
#ifndef MK_SCRIPT_BUNDLED_H
#define MK_SCRIPT_BUNDLED_H

#include <lua.h>
#include <stdbool.h>

#include "base/bytes.h"
#include "base/err.h"

/* Does path name a bundled script, or try to? */
bool bundled_is(const char *path);

/* The text of the bundled script that path names, borrowed for ever. Errors: NOT_FOUND; why names
 * the nearest one and lists all. */
enum err bundled_find(const char *path, struct bytes *out, struct why *why);

/* The modules of the bundled script that path names, one after the other: what comes after the last
 * one, first after NULL; NULL when there are no more. Its name is "cron/PART.lua". */
struct embedded_file;
const struct embedded_file *bundled_next_module(const char *path, const struct embedded_file *last);

/* Push it compiled, or a message: a status of luaL_loadbufferx(). Messages call it
 * "bundled:cron/PART". */
int bundled_load_module(lua_State *L, const struct embedded_file *module);

#endif
