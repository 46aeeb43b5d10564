/* pairs and next for simulation: in the order of value_key_compare(), so that a run is repeatable.
 * Keys that have no such order (tables, functions, ...) come last, in the order of the table. */
#ifndef MK_SCRIPT_ORDERED_H
#define MK_SCRIPT_ORDERED_H

#include <lua.h>

/* Replace pairs and next in the globals. Stack: [-0, +0]. Raises: out of memory. */
void ordered_open(lua_State *L);

#endif
