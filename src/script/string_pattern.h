/* string.find, match, gmatch and gsub on the bounded matcher (pattern.h), for machines and, where
 * Lua's own could take too long, for applications. They differ in who pays. */
#ifndef MK_SCRIPT_STRING_PATTERN_H
#define MK_SCRIPT_STRING_PATTERN_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "script/meter.h"

/* Lives as long as the state. */
struct string_budget {
    /* What the call that begins now may spend. */
    struct meter *(*meter)(lua_State *L);
    /* It is spent: raises. */
    void (*exhausted)(lua_State *L);
    /* The longest string that gsub may make. */
    size_t (*string_bytes_max)(lua_State *L);
    /* Is this userdata a table as far as scripts can tell? NULL: none is. */
    bool (*is_table)(lua_State *L, int index);
};

/* Lua functions (manual §6.4). [-n, +m, e] */
int string_pattern_find(lua_State *L, const struct string_budget *budget);
int string_pattern_match(lua_State *L, const struct string_budget *budget);
int string_pattern_gmatch(lua_State *L, const struct string_budget *budget);
int string_pattern_gsub(lua_State *L, const struct string_budget *budget);

#endif
