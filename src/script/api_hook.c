/* moonkeeper.core: hooks and events. */
#include <lauxlib.h>
#include <string.h>

#include "base/nearest.h"
#include "script/api.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/thread.h"
#include "script/value.h"
#include "wire/writer.h"

static struct hook *check_hook(lua_State *L)
{
    return luaL_checkudata(L, 1, HOOK_TYPE);
}

/* ---- options -----------------------------------------------------------------------------------
 */

/* The field of the options table at index (which may be absent) as ms, in µs. */
static uint64_t ms_field(lua_State *L, int index, const char *key, uint64_t otherwise_ms)
{
    uint64_t ms = otherwise_ms;
    if (lua_istable(L, index)) {
        if (lua_getfield(L, index, key) != LUA_TNIL) {
            int ok;
            lua_Number value = lua_tonumberx(L, -1, &ok);
            if (!ok || value < 0 || value > 1e12) {
                luaL_error(L, "option %s must be a time in ms", key);
            }
            ms = (uint64_t)value;
        }
        lua_pop(L, 1);
    }
    return ms * 1000;
}

static bool flag_field(lua_State *L, int index, const char *key)
{
    bool on = false;
    if (lua_istable(L, index)) {
        lua_getfield(L, index, key);
        on = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    return on;
}

/* The string stays valid while the options table does. */
static const char *text_field(lua_State *L, int index, const char *key, size_t size_max)
{
    const char *text = NULL;
    if (lua_istable(L, index)) {
        int type = lua_getfield(L, index, key);
        if (type != LUA_TNIL && type != LUA_TSTRING) {
            luaL_error(L, "option %s must be a string", key);
        }
        text = lua_tostring(L, -1);
        if (text != NULL && lua_rawlen(L, -1) >= size_max) {
            luaL_error(L, "option %s is too long", key);
        }
        lua_pop(L, 1);
    }
    return text;
}

static size_t count_names(const char *const *names)
{
    size_t count = 0;
    while (names[count] != NULL) {
        count++;
    }
    return count;
}

/* A misspelt option would be ignored, and nobody would know. */
void api_check_options(lua_State *L, int index, const char *const *known)
{
    if (lua_isnoneornil(L, index)) {
        return;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            const char *meant = nearest_name(key, known, count_names(known));
            luaL_error(L,
                       meant != NULL ? "there is no option '%s'; did you mean '%s'?"
                                     : "there is no option '%s'",
                       key, meant);
        }
        lua_pop(L, 1);
    }
}

/* ---- on ----------------------------------------------------------------------------------------
 */

/* The node's own events. Others have a "." in their names. */
static const char *const events[] = {
    "leader_elected",
    "leader_ready",
    "leader_lost",
    "term_change",
    "role_change",
    "step_down",
    "election_started",
    "quorum_lost",
    "quorum_regained",
    "commit",
    "gap",
    "member_added",
    "member_removed",
    "member_promoted",
    "node_online",
    "node_offline",
    "snapshot",
    "message",
    "config_change",
    "reload",
    "shutdown",
    "error",
    NULL,
};

/* Pushes what is wrong with an event's name, nil if nothing is. */
static void push_wrong_event(lua_State *L, const char *event)
{
    bool known = strchr(event, '.') != NULL;
    for (size_t i = 0; !known && events[i] != NULL; i++) {
        known = strcmp(events[i], event) == 0;
    }
    if (known) {
        lua_pushnil(L);
        return;
    }
    const char *meant = nearest_name(event, events, count_names(events));
    lua_pushfstring(L,
                    meant != NULL
                        ? "there is no event '%s'; did you mean '%s'?"
                        : "there is no event '%s' (an event of your own needs a '.' in its name)",
                    event, meant);
}

/* wrong_event(name) -> what is wrong with it, or nil */
static int core_wrong_event(lua_State *L)
{
    push_wrong_event(L, luaL_checkstring(L, 1));
    return 1;
}

static const char *check_event(lua_State *L, int index)
{
    size_t size;
    const char *event = luaL_checklstring(L, index, &size);
    luaL_argcheck(L, size < sizeof((struct hook *)0)->event, index, "the event's name is too long");
    push_wrong_event(L, event);
    if (!lua_isnil(L, -1)) {
        luaL_error(L, "%s", lua_tostring(L, -1));
    }
    lua_pop(L, 1);
    return event;
}

static int add(lua_State *L, struct task *owner)
{
    static const char *const options[] = {"name",       "priority",   "once", "replay",
                                          "timeout_ms", "from_index", NULL};
    const char *event = check_event(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    api_check_options(L, 3, options);
    struct hook_spec spec = {
        .event = event,
        .name = text_field(L, 3, "name", SCRIPT_NAME_MAX),
        .once = flag_field(L, 3, "once"),
        .replay = flag_field(L, 3, "replay"),
        .timeout_us = ms_field(L, 3, "timeout_ms", 30000),
        .owner = owner,
    };
    if (lua_istable(L, 3) && lua_getfield(L, 3, "priority") != LUA_TNIL) {
        spec.priority = luaL_checkinteger(L, -1);
    }
    if (lua_istable(L, 3) && lua_getfield(L, 3, "from_index") != LUA_TNIL) {
        lua_Integer from = luaL_checkinteger(L, -1);
        luaL_argcheck(L, from > 0 && strcmp(event, "commit") == 0, 3,
                      "from_index is an index of the log, for commit hooks");
        spec.from_index = (uint64_t)from;
    }
    luaL_argcheck(L, !spec.replay || event_state_slot(event) >= 0, 3,
                  "only state events can be replayed");
    lua_pushvalue(L, 2);
    hook_add(L, &spec, strcmp(event, "commit") == 0 ? HOOK_COMMIT : HOOK_EVENT);
    return 1;
}

/* on(event, fn, opts?) -> Hook */
static int core_on(lua_State *L)
{
    return add(L, NULL);
}

/* on_in_scope(event, fn, opts?) -> Hook that is removed with the scope around the running task */
static int core_on_in_scope(lua_State *L)
{
    return add(L, task_scope(thread_app(L)->host->current));
}

/* while_leader(name, fn, opts?) -> Hook */
static int core_while_leader(lua_State *L)
{
    static const char *const options[] = {"grace_ms", "settle_ms", "on_error", NULL};
    static const char *const reactions[] = {"retry", "step_down", "stop", NULL};
    size_t size;
    const char *name = luaL_checklstring(L, 1, &size);
    luaL_argcheck(L, size > 0 && size < SCRIPT_NAME_MAX, 1, "the name is empty or too long");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    api_check_options(L, 3, options);
    struct hook_spec spec = {.event = "while_leader", .name = name};
    uint64_t grace_us = ms_field(L, 3, "grace_ms", 2000);
    uint64_t settle_us = ms_field(L, 3, "settle_ms", 0);
    const char *reaction = text_field(L, 3, "on_error", 32);
    int on_error = LEAD_RETRY;
    if (reaction != NULL) {
        lua_pushstring(L, reaction);
        on_error = luaL_checkoption(L, lua_gettop(L), NULL, reactions);
    }
    lua_pushvalue(L, 2);
    struct hook *hook = hook_add(L, &spec, HOOK_LEAD);
    hook->lead.grace_us = grace_us;
    hook->lead.settle_us = settle_us;
    hook->lead.on_error = (enum lead_on_error)on_error;
    lead_consider(hook);
    return 1;
}

/* hooks(event?) -> array of the app's hooks, in the order of their calls */
static int core_hooks(lua_State *L)
{
    struct app *app = thread_app(L);
    const char *event = luaL_optstring(L, 1, NULL);
    struct hook *hook;
    lua_Integer count = 0;
    lua_newtable(L);
    TAILQ_FOREACH (hook, hooks_of(app), link) {
        if (hook->app == app && (event == NULL || strcmp(hook->event, event) == 0)) {
            hook_push(L, hook);
            lua_rawseti(L, -2, ++count);
        }
    }
    return 1;
}

/* emit(event, payload): to the hooks of all applications of this node */
static int core_emit(lua_State *L)
{
    const char *event = check_event(L, 1);
    luaL_argcheck(L, strchr(event, '.') != NULL, 1, "an event of your own needs a '.' in its name");
    struct buffer fields = {0};
    struct why why = {0};
    lua_settop(L, 2);
    write_map(&fields, 1);
    write_text(&fields, "payload");
    enum err err = value_encode(L, 2, VALUE_BYTES_MAX, &fields, &why);
    if (err == ERR_OK) {
        hooks_tell(thread_app(L)->host, event, buffer_bytes(&fields));
    }
    buffer_close(&fields);
    if (err != ERR_OK) {
        return luaL_error(L, "%s", why.text);
    }
    return 0;
}

/* ---- Hook --------------------------------------------------------------------------------------
 */

static int remove_method(lua_State *L)
{
    hook_remove(check_hook(L));
    return 0;
}

static int enable_method(lua_State *L)
{
    hook_enable(check_hook(L), true);
    lua_settop(L, 1);
    return 1;
}

static int disable_method(lua_State *L)
{
    hook_enable(check_hook(L), false);
    lua_settop(L, 1);
    return 1;
}

static void set_count(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

/* Hook:stats() -> {event, name, calls, errors, dropped, lag, p99_us, state} */
static int stats_method(lua_State *L)
{
    const struct hook *hook = check_hook(L);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, hook->event);
    lua_setfield(L, -2, "event");
    lua_pushstring(L, hook->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, hook_state_name(hook->state));
    lua_setfield(L, -2, "state");
    set_count(L, "calls", hook->calls);
    set_count(L, "errors", hook->errors);
    set_count(L, "dropped", hook->dropped);
    set_count(L, "lag", hook_lag(hook));
    set_count(L, "p99_us", hook_p99_us(hook));
    return 1;
}

static int hook_tostring(lua_State *L)
{
    const struct hook *hook = check_hook(L);
    lua_pushfstring(L, "hook %s/%s (%s)", hook->event, hook->name, hook_state_name(hook->state));
    return 1;
}

void api_hook_prepare(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"remove", remove_method},
        {"enable", enable_method},
        {"disable", disable_method},
        {"stats", stats_method},
        {NULL, NULL},
    };
    luaL_newmetatable(L, HOOK_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, hook_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, remove_method); /* local hook <close> = mk.on(...) */
    lua_setfield(L, -2, "__close");
    lua_pushliteral(L, "hook");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_hook_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"on", core_on},
        {"on_in_scope", core_on_in_scope},
        {"while_leader", core_while_leader},
        {"hooks", core_hooks},
        {"emit", core_emit},
        {"wrong_event", core_wrong_event},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
