/* `st`: what a machine keeps, shown to Lua as a table.
 *
 *     st.users["ann"] = { name = "Ann", seen = 3 }      -- copied in; nil deletes, with all below
 *     st.users["ann"].seen = 4
 *     for name, user in pairs(st.users) do ... end       -- in order: integers, floats, strings
 *     #st.queue                                          -- n with 1..n there and n + 1 not
 *
 * Keys are integers, floats and strings; values are booleans, numbers, strings, mk.null and tables
 * of them. Reading a table gives a proxy: a userdata that holds a path. It always shows what is at
 * that path now, and raises an error once there is no table any more. Two proxies of the same path
 * are equal. A loop may change what it iterates over: it goes on with the first key after the last.
 *
 * In a lua_State with an st, every full userdata that scripts can reach begins with a pointer that
 * tells its type. */
#ifndef MK_SCRIPT_ST_H
#define MK_SCRIPT_ST_H

#include <stdbool.h>

#include <lua.h>

#include "base/bytes.h"
#include "base/err.h"
#include "script/meter.h"
#include "script/value.h"

struct state;
struct st;

/* Once per lua_State, before any st_new. [-0, +0, m] */
void st_open(lua_State *L);

/* What a machine keeps at prefix. state and meter are borrowed, prefix is copied. */
struct st *st_new(struct state *state, struct meter *meter, struct bytes prefix);
/* Accepts NULL. No script may run with its proxies any more. */
void st_free(struct st *st);
/* Make the st known to its lua_State, once. [-0, +0, m] */
void st_attach(lua_State *L, struct st *st);
/* Take it out again; it may be attached in part or not at all. [-0, +0, -] */
void st_detach(lua_State *L, struct st *st);

/* Push the table of it all. [-0, +1, -] */
void st_push(lua_State *L, const struct st *st);
/* Writes raise an error unless it is writable, which it is not to begin with. */
void st_set_writable(struct st *st, bool writable);
/* After a command: forget what was only worth keeping within it. changed: the state may have lost
 * tables otherwise than through this st (a rollback, a restore). [-0, +0, -] */
void st_end(lua_State *L, struct st *st, bool changed);

/* Is the value at index a proxy? */
bool st_is(lua_State *L, int index);
/* For struct value_writer: encodes proxies. */
enum err st_write(struct value_writer *w, int index, void *ctx);
/* The length of the proxy at index. [-0, +0, e] */
lua_Integer st_length(lua_State *L, int index);
/* lua_CFunction, pairs(proxy): [-1, +3, e] */
int st_pairs(lua_State *L);
/* lua_CFunction, range(proxy, from, to?): the pairs with from <= key < to. [-n, +3, e] */
int st_range(lua_State *L);

/* Raise the error of an exhausted meter. */
int st_raise_exhausted(lua_State *L);

#endif
