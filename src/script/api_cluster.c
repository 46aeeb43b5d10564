/* moonkeeper.core: the members, and what nodes' scripts say to each other, as
 * lua/moonkeeper/cluster.lua needs it. */
#include <lauxlib.h>
#include <string.h>

#include "script/api.h"
#include "script/host.h"
#include "script/report.h"
#include "script/request.h"
#include "script/task.h"
#include "script/thread.h"
#include "script/value.h"
#include "wire/writer.h"

/* ---- members -----------------------------------------------------------------------------------
 */

static void set_flag(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

/* members() -> array of {id, addr, voter, online, is_leader, is_self}, by id */
static int core_members(lua_State *L)
{
    struct script_host *host = thread_app(L)->host;
    struct script_view view;
    inbox_view(&host->inbox, &view);
    lua_createtable(L, (int)view.peers_count, 0);
    for (uint32_t i = 0; i < view.peers_count; i++) {
        const struct script_peer *peer = &view.peers[i];
        lua_createtable(L, 0, 6);
        lua_pushstring(L, peer->id);
        lua_setfield(L, -2, "id");
        lua_pushstring(L, peer->addr);
        lua_setfield(L, -2, "addr");
        set_flag(L, "voter", peer->voter);
        set_flag(L, "online", peer->in_touch);
        set_flag(L, "is_leader", strcmp(peer->id, view.leader_id) == 0);
        set_flag(L, "is_self", strcmp(peer->id, host->node_id) == 0);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    value_mark_array(L, -1);
    return 1;
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static const char *check_name(lua_State *L, int index, size_t size_max)
{
    size_t size;
    const char *name = luaL_checklstring(L, index, &size);
    luaL_argcheck(L, size > 0 && size < size_max && strlen(name) == size, index,
                  "empty, too long, or with a zero byte");
    return name;
}

/* The array [id, topic, payload, ms?], for the node. Errors: TOO_LARGE. Raises: a payload that has
 * no MessagePack. */
static enum err write_message(lua_State *L, struct buffer *params, struct why *why)
{
    const char *id = check_name(L, 1, SCRIPT_NAME_MAX);
    const char *topic = check_name(L, 2, SCRIPT_TOPIC_MAX);
    bool timed = !lua_isnoneornil(L, 4);
    lua_Integer ms = timed ? luaL_checkinteger(L, 4) : 0;
    luaL_argcheck(L, ms >= 0, 4, "a time in ms");
    write_array(params, timed ? 4 : 3);
    write_text(params, id);
    write_text(params, topic);
    lua_settop(L, 3);
    enum err err = value_encode(L, 3, SCRIPT_MESSAGE_BYTES_MAX, params, why);
    if (err == ERR_OK && timed) {
        write_u64(params, (uint64_t)ms);
    }
    return err;
}

/* Ask the node for it: its answer | nil, err. */
static int ask(lua_State *L, const char *method)
{
    struct buffer params = {0};
    struct why why = {0};
    task_that_waits(L);
    enum err err = write_message(L, &params, &why);
    if (err == ERR_OK) {
        return request_wait(L, method, &params);
    }
    buffer_close(&params);
    return err == ERR_TOO_LARGE ? report_fail(L, err, why.text) : luaL_error(L, "%s", why.text);
}

/* cluster_call(id, topic, payload, ms?) -> what the handler there returned | nil, err */
static int core_cluster_call(lua_State *L)
{
    return ask(L, "cluster_call");
}

/* cluster_send(id, topic, payload) -> true | nil, err */
static int core_cluster_send(lua_State *L)
{
    return ask(L, "cluster_send");
}

/* ---- handlers ----------------------------------------------------------------------------------
 */

/* handle(topic, fn) -> Handler: fn(payload, from) answers the calls of this topic */
static int core_handle(lua_State *L)
{
    const char *topic = check_name(L, 1, SCRIPT_TOPIC_MAX);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    handler_add(L, topic);
    return 1;
}

/* Handler:remove() */
static int handler_remove_method(lua_State *L)
{
    handler_remove(L, luaL_checkudata(L, 1, HANDLER_TYPE));
    return 0;
}

void api_cluster_prepare(lua_State *L)
{
    luaL_newmetatable(L, HANDLER_TYPE);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, handler_remove_method);
    lua_setfield(L, -2, "remove");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handler_remove_method); /* local _ <close> = mk.cluster.handle(...) */
    lua_setfield(L, -2, "__close");
    lua_pushliteral(L, "handler");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_cluster_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"members", core_members},
        {"cluster_call", core_cluster_call},
        {"cluster_send", core_cluster_send},
        {"handle", core_handle},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
