/* What a machine's source finds around it: only what gives the same result on every node.
 *
 *   assert error ipairs pairs pcall xpcall select tonumber tostring type
 *   string: byte char find format gmatch gsub len lower match rep reverse sub upper
 *   table:  concat insert move pack remove sort unpack
 *   math:   abs ceil floor fmod max maxinteger min mininteger modf pi huge sqrt tointeger type ult
 *   utf8:   char charpattern codepoint codes len offset
 *   mk:     null array(t?) range(t, from, to?) size(value)
 *
 * Different from plain Lua: pairs goes in order (integers, floats, strings; other keys raise an
 * error); table.sort is stable and does not mind an inconsistent comparison; the length of a table
 * with holes is one border by a fixed rule; tostring and %s take no tables and functions (they have
 * addresses), %p is refused. Without: metatables, coroutines, load, next, raw access,
 * collectgarbage, random numbers (meta.random), and those functions of math whose last bit differs
 * between processors. The environment is read-only. */
#ifndef MK_SCRIPT_MACHINE_SANDBOX_H
#define MK_SCRIPT_MACHINE_SANDBOX_H

#include <lua.h>

/* Prepare a fresh lua_State whose extra space points to its struct machine_run, and push the
 * environment for machines. [-0, +1, m] */
void machine_sandbox_open(lua_State *L);

/* The length of what is at index, as `#` and the table library see it. [-0, +0, e] */
lua_Integer machine_length(lua_State *L, int index);

/* Push the library. [-0, +1, m] */
void machine_base_push(lua_State *L);
void machine_string_push(lua_State *L);
void machine_table_push(lua_State *L);
void machine_utf8_push(lua_State *L);

/* Push what meta is: {index, term, time_ms, fence, random(m?, n?)} of the run, unchangeable.
 * [-0, +1, m] */
void machine_meta_push(lua_State *L);

#endif
