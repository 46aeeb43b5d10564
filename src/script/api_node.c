/* moonkeeper.core: the node as scripts see it: requests, status, clock, log, configuration. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "script/api.h"
#include "script/report.h"
#include "script/request.h"
#include "script/task.h"
#include "script/thread.h"
#include "script/value.h"
#include "wire/writer.h"

/* Registry key: the app's configuration. */
static const char config_key;
/* Registry keys: what the generation before has left, and the function that leaves it. */
static const char saved_key;
static const char on_reload_key;
static const char on_end_key;

/* The arguments from the second on, as an array. Errors: those of value_encode(). */
static enum err write_params(lua_State *L, struct buffer *params, struct why *why)
{
    int count = lua_gettop(L);
    enum err err = ERR_OK;
    write_array(params, (uint32_t)count - 1);
    for (int i = 2; i <= count && err == ERR_OK; i++) {
        err = value_encode(L, i, VALUE_BYTES_MAX, params, why);
    }
    return err;
}

/* request(method, ...) -> result | nil, err: ask the node; the arguments are the parameters */
static int core_request(lua_State *L)
{
    const char *method = luaL_checkstring(L, 1);
    task_that_waits(L);
    struct buffer params = {0};
    struct why why = {0};
    enum err err = write_params(L, &params, &why);
    if (err == ERR_OK) {
        return request_wait(L, method, &params);
    }
    buffer_close(&params);
    return err == ERR_TOO_LARGE ? report_fail(L, err, why.text) : report_misuse(L, why.text);
}

/* tell(method): a request without parameters whose answer is not waited for */
static int core_tell(lua_State *L)
{
    const char *method = luaL_checkstring(L, 1);
    struct buffer params = {0};
    struct why why = {0};
    if (write_params(L, &params, &why) != ERR_OK) {
        buffer_close(&params);
        return luaL_error(L, "%s", why.text);
    }
    request_send(thread_app(L)->host, method, &params);
    return 0;
}

/* ---- status ------------------------------------------------------------------------------------
 */

static void set_text(lua_State *L, const char *key, const char *value)
{
    if (value != NULL && value[0] != 0) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, key);
    }
}

static void set_u64(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void set_bool(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

static void push_peers(lua_State *L, const struct script_view *view)
{
    uint32_t count = view->peers_count < SCRIPT_PEERS_MAX ? view->peers_count : SCRIPT_PEERS_MAX;
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 0; i < count; i++) {
        const struct script_peer *peer = &view->peers[i];
        lua_createtable(L, 0, 6);
        set_text(L, "id", peer->id);
        set_text(L, "addr", peer->addr);
        set_bool(L, "voter", peer->voter);
        set_bool(L, "online", peer->online);
        if (view->role == SCRIPT_LEADER) {
            set_u64(L, "match", peer->match);
            if (peer->rtt_us > 0) { /* else it is not known yet */
                set_u64(L, "rtt_us", peer->rtt_us);
            }
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    value_mark_array(L, -1);
}

/* status() -> {role, term, leader_id, ...} */
static int core_status(lua_State *L)
{
    struct script_view view;
    inbox_view(&thread_app(L)->host->inbox, &view);
    lua_createtable(L, 0, 12);
    set_text(L, "role", script_role_name(view.role));
    set_u64(L, "term", view.term);
    set_text(L, "leader_id", view.leader_id);
    set_text(L, "leader_addr", view.leader_addr);
    set_u64(L, "commit_index", view.commit_index);
    set_u64(L, "last_applied", view.last_applied);
    set_u64(L, "last_index", view.last_index);
    set_u64(L, "quorum", view.quorum);
    set_bool(L, "leader_ready", view.leader_ready);
    push_peers(L, &view);
    lua_setfield(L, -2, "peers");
    return 1;
}

/* is_leader() -> boolean: leader, ready to act, and with a valid lease */
static int core_is_leader(lua_State *L)
{
    struct script_host *host = thread_app(L)->host;
    struct script_view view;
    inbox_view(&host->inbox, &view);
    lua_pushboolean(L, view.role == SCRIPT_LEADER && view.leader_ready &&
                           (view.lease_until_us == 0 || view.lease_until_us > host_now_us(host)));
    return 1;
}

/* info() -> {id, addr, version, cluster, uptime_ms, app, generation, simulated} */
static int core_info(lua_State *L)
{
    const struct app *app = thread_app(L);
    const struct script_host *host = app->host;
    lua_createtable(L, 0, 8);
    set_text(L, "id", host->node_id);
    set_text(L, "addr", host->node_addr);
    set_text(L, "version", host->node_version);
    set_text(L, "cluster", host->node_cluster);
    set_text(L, "app", app->name);
    set_u64(L, "generation", app->generation);
    set_u64(L, "uptime_ms", (host_now_us(host) - host->started_us) / 1000);
    set_bool(L, "simulated", host->options.simulated);
    return 1;
}

/* now_ms() -> number: a clock that never steps */
static int core_now_ms(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)(host_now_us(thread_app(L)->host) / 1000));
    return 1;
}

/* wall_ms() -> integer: since 1970 */
static int core_wall_ms(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)clock_wall_ms(thread_app(L)->host->options.clock));
    return 1;
}

/* config() -> the app's configuration; the same table every time */
static int core_config(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &config_key);
    return 1;
}

/* declared(good): the configuration was held against a schema */
static int core_declared(lua_State *L)
{
    struct app *app = thread_app(L);
    app->declared_good = (!app->declared || app->declared_good) && lua_toboolean(L, 1);
    app->declared = true;
    return 0;
}

/* lacking(): a value of the configuration was asked for that is not there */
static int core_lacking(lua_State *L)
{
    thread_app(L)->lacks_settings = true;
    return 0;
}

/* ---- generations -------------------------------------------------------------------------------
 */

/* on_reload(fn | nil): what it returns is mk.saved of the next generation */
static int core_on_reload(lua_State *L)
{
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
    }
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &on_reload_key);
    return 0;
}

bool api_push_on_reload(lua_State *L)
{
    return lua_rawgetp(L, LUA_REGISTRYINDEX, &on_reload_key) == LUA_TFUNCTION;
}

/* on_end(fn): called as a task when this generation ends */
static int core_on_end(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &on_end_key);
    return 0;
}

bool api_push_on_end(lua_State *L)
{
    return lua_rawgetp(L, LUA_REGISTRYINDEX, &on_end_key) == LUA_TFUNCTION;
}

/* saved() -> what the generation before has left, or nil */
static int core_saved(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &saved_key);
    return 1;
}

void api_set_saved(lua_State *L, struct bytes saved)
{
    struct why why = {0};
    if (value_decode(L, saved, NULL, &why) != ERR_OK) {
        luaL_error(L, "%s", why.text);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &saved_key);
}

/* ---- log ---------------------------------------------------------------------------------------
 */

enum { LOG_FIELDS_MAX = 16 };

/* The value on top as a field; strings stay on the stack while they are needed. Stack: [-0, +1]. */
static struct log_field field_of(lua_State *L, const char *key, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        lua_pushnil(L);
        return log_bool(key, lua_toboolean(L, index));
    case LUA_TNUMBER:
        lua_pushnil(L);
        return lua_isinteger(L, index) ? log_i64(key, lua_tointeger(L, index))
                                       : log_f64(key, lua_tonumber(L, index));
    default:
        return log_text(key, luaL_tolstring(L, index, NULL));
    }
}

/* The first LOG_FIELDS_MAX text keys of the table at index, in order; borrowed from the table. */
static size_t first_keys(lua_State *L, int index, const char **keys)
{
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        size_t at = count;
        if (key == NULL || (at == LOG_FIELDS_MAX && strcmp(keys[at - 1], key) < 0)) {
            continue;
        }
        at = at == LOG_FIELDS_MAX ? at - 1 : count++;
        for (; at > 0 && strcmp(keys[at - 1], key) > 0; at--) {
            keys[at] = keys[at - 1];
        }
        keys[at] = key;
    }
    return count;
}

/* A line has each name once: a script's field that is called as one of the node's, and says
 * something else, gets an underscore at its end, and so does one that has such underscores already.
 * Stack: [-0, +1]. */
static const char *push_field_name(lua_State *L, const char *key)
{
    static const char *const ours[] = {"ts",  "level", "msg",  "node",
                                       "app", "hook",  "term", "index"};
    size_t size = strlen(key);
    while (size > 0 && key[size - 1] == '_') {
        size--;
    }
    bool taken = false;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        taken = taken || (strlen(ours[i]) == size && memcmp(ours[i], key, size) == 0);
    }
    return lua_pushfstring(L, "%s%s", key, taken ? "_" : "");
}

struct own_fields {
    struct log_field at[REPORT_FIELDS_MAX];
    size_t count;
};

/* Is the value on top what the node's field of this name says? Then that one is left out.
 * Stack: [-0, +0]. */
static bool takes_place(lua_State *L, const char *key, struct own_fields *own)
{
    for (size_t i = 0; i < own->count; i++) {
        struct log_field *field = &own->at[i];
        if (strcmp(field->key, key) != 0) {
            continue;
        }
        bool same =
            field->kind == LOG_FIELD_U64
                ? lua_isinteger(L, -1) && (uint64_t)lua_tointeger(L, -1) == field->u64
                : lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), field->text) == 0;
        if (same) {
            own->count--;
            memmove(field, field + 1, (own->count - i) * sizeof *field);
        }
        return same;
    }
    return false;
}

/* The fields of the table at index, in order of keys. Their strings stay on the stack. */
static size_t push_fields(lua_State *L, int index, struct own_fields *own, struct log_field *fields)
{
    const char *keys[LOG_FIELDS_MAX];
    luaL_checkstack(L, LOG_FIELDS_MAX * 4 + 8, NULL);
    size_t count = first_keys(L, index, keys);
    int first = lua_gettop(L) + 1;
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, keys[i]); /* a __tostring below may change the table */
    }
    for (size_t i = 0; i < count; i++) {
        const char *key = lua_tostring(L, first + (int)i);
        const char *name = push_field_name(L, key);
        lua_pushvalue(L, first + (int)i);
        lua_rawget(L, index);
        fields[i] = field_of(L, takes_place(L, key, own) ? key : name, lua_gettop(L));
    }
    return count;
}

/* log(level, message, fields?) */
static int core_log(lua_State *L)
{
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    const struct app *app = thread_app(L);
    const struct log *log = app->host->options.log;
    int level = luaL_checkoption(L, 1, NULL, levels);
    const char *message = luaL_tolstring(L, 2, NULL);
    struct log_field fields[LOG_FIELDS_MAX + REPORT_FIELDS_MAX];
    struct own_fields own;
    if (log == NULL || level < (int)log->level) {
        return 0;
    }
    size_t count = 0;
    own.count = report_fields(app, app->host->current, own.at);
    if (lua_istable(L, 3)) {
        count = push_fields(L, 3, &own, fields);
    }
    memcpy(fields + count, own.at, own.count * sizeof *own.at);
    count += own.count;
    log_write(log, (enum log_level)level, message, fields, count);
    return 0;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

void api_prepare(lua_State *L, struct bytes config)
{
    api_task_prepare(L);
    api_hook_prepare(L);
    api_lead_prepare(L);
    api_metrics_prepare(L);
    api_cluster_prepare(L);
    api_cron_prepare(L);
    api_exec_prepare(L);
    api_http_prepare(L);
    struct why why = {0};
    if (config.size == 0) {
        lua_newtable(L);
    } else if (value_decode(L, config, NULL, &why) != ERR_OK) {
        luaL_error(L, "configuration: %s", why.text);
    }
    lua_rawsetp(L, LUA_REGISTRYINDEX, &config_key);
}

static int array(lua_State *L)
{
    return value_array(L);
}

void api_node_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"request", core_request},
        {"tell", core_tell},
        {"status", core_status},
        {"is_leader", core_is_leader},
        {"info", core_info},
        {"now_ms", core_now_ms},
        {"wall_ms", core_wall_ms},
        {"config", core_config},
        {"declared", core_declared},
        {"lacking", core_lacking},
        {"on_reload", core_on_reload},
        {"on_end", core_on_end},
        {"saved", core_saved},
        {"log", core_log},
        {"array", array},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
    value_push_null(L);
    lua_setfield(L, -2, "null");
}

int api_core_open(lua_State *L)
{
    lua_newtable(L);
    api_task_add(L);
    api_hook_add(L);
    api_lead_add(L);
    api_metrics_add(L);
    api_modules_add(L);
    api_node_add(L);
    api_cluster_add(L);
    api_cron_add(L);
    api_exec_add(L);
    api_fs_add(L);
    api_http_add(L);
    api_json_open(L);
    lua_setfield(L, -2, "json");
    api_msgpack_open(L);
    lua_setfield(L, -2, "msgpack");
    return 1;
}
