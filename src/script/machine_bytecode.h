/* Finds assignments to local variables that outlive a command, in compiled functions.
 *
 * A function of a machine may read the local variables around it, and may assign to those that were
 * made within the same command, but not to those of the file: they would be a state beside st, lost
 * by a restart and never in a snapshot. Lua has no way to ask, so this reads the dumped function,
 * in the format of Lua 5.4 (version 0x54, format 0). */
#ifndef MK_SCRIPT_MACHINE_BYTECODE_H
#define MK_SCRIPT_MACHINE_BYTECODE_H

#include <stdbool.h>

#include <lua.h>

#include "base/err.h"

/* The Lua function at index will outlive commands. Does it, or a function within it, assign to one
 * of its upvalues? *upvalue is its number (from 1) if so, else 0. [-0, +0, m] Errors: VERSION: the
 * dump is not in the known format. */
enum err machine_bytecode_assigned_upvalue(lua_State *L, int index, int *upvalue);

/* Does the Lua library that is linked dump what is read here? Compiles and examines two functions.
 * [-0, +0, m] */
bool machine_bytecode_is_known(lua_State *L);

#endif
