/* What the Lua side of moonkeeper (lua/moonkeeper/) is built on: require "moonkeeper.core", one
 * table of C functions. Each file adds its own; what users see of them is in
 * lua/moonkeeper/init.lua and, described, in lua/moonkeeper/meta/. */
#ifndef MK_SCRIPT_API_H
#define MK_SCRIPT_API_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* The opener of "moonkeeper.core". Stack: [-0, +1]. Raises: out of memory. */
int api_core_open(lua_State *L);
/* Once per state, before any script: metatables, the app's configuration. Stack: [-0, +0]. */
void api_prepare(lua_State *L, struct bytes config);

/* What the generation before has left: mk.saved. Stack: [-0, +0]. Raises: out of memory, no value.
 */
void api_set_saved(lua_State *L, struct bytes saved);
/* The function given to mk.on_reload, or nil: false. Stack: [-0, +1]. */
bool api_push_on_reload(lua_State *L);

/* The same of core.on_end: it has all that belongs to the app itself end. Stack: [-0, +1]. */
bool api_push_on_end(lua_State *L);

/* Each adds its functions to the table on top. Stack: [-0, +0]. Raises: out of memory. */
void api_cluster_add(lua_State *L);
void api_cron_add(lua_State *L);
void api_exec_add(lua_State *L);
void api_fs_add(lua_State *L);
void api_http_add(lua_State *L);
void api_task_add(lua_State *L);
void api_hook_add(lua_State *L);
void api_lead_add(lua_State *L);
void api_metrics_add(lua_State *L);
void api_modules_add(lua_State *L); /* modules.c */
void api_node_add(lua_State *L);

/* Metatables. Stack: [-0, +0]. */
void api_cluster_prepare(lua_State *L);
void api_cron_prepare(lua_State *L);
void api_exec_prepare(lua_State *L);
void api_task_prepare(lua_State *L);
void api_hook_prepare(lua_State *L);
void api_http_prepare(lua_State *L);
void api_lead_prepare(lua_State *L);
void api_metrics_prepare(lua_State *L);

/* Return the module's table: mk.json, mk.msgpack. Stack: [-0, +1]. */
int api_json_open(lua_State *L);
int api_msgpack_open(lua_State *L);

/* The list {name, value, name, value, ...} of an HTTP message at index, checked. The strings stay
 * in the list. Stack: [-0, +1]. Raises: what is no header. */
struct http_field;
struct http_field *api_push_fields(lua_State *L, int index, size_t *count);
/* The function of a route of this app. Stack: [-0, +1]. */
void api_push_route_handler(lua_State *L, uint64_t id);

/* The object that a while_leader's function is given. Stack: [-0, +1]. Raises: out of memory. */
void api_lead_push(lua_State *L, uint64_t term, uint64_t token);
/* Raises not_leader, with the reason, where token's work may not go on. Stack: [-0, +0]. */
void api_lead_require(lua_State *L, uint64_t token);

/* Raise if the table at index (which may be absent) has a key that is not known (NULL at the end).
 */
void api_check_options(lua_State *L, int index, const char *const *known);

/* ms at index as a time on the host's clock, from now; UINT64_MAX when it is absent or nil.
 * Raises: not a number, negative. */
uint64_t api_until_us(lua_State *L, int index);

#endif
