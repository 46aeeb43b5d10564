/* Making what a machine's file returns unchangeable, with all that its functions can reach, so that
 * nothing but st lives from one command to the next. */
#ifndef MK_SCRIPT_MACHINE_FREEZE_H
#define MK_SCRIPT_MACHINE_FREEZE_H

#include <stdbool.h>

#include <lua.h>

#include "base/err.h"

/* Freeze the table at index, not what is in it: its contents move to a table behind it
 * (value_contents_key), so every assignment meets __newindex. message is what that raises.
 * [-0, +0, m] */
void machine_freeze_table(lua_State *L, int index, const char *message);

/* Freeze the value at index and everything it leads to: elements, keys, upvalues of functions.
 * [-0, +0, m]
 * Errors: INVALID: a function assigns to a variable that outlives commands. VERSION: the bytecode
 * is unknown. */
enum err machine_freeze(lua_State *L, int index, struct why *why);

/* Push the table that holds what the table at index shows: itself unless it is frozen. [-0, +1, -]
 */
void machine_contents_push(lua_State *L, int index);

#endif
