/* moonkeeper.core: tasks and waiting. */
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "script/api.h"
#include "script/preempt.h"
#include "script/report.h"
#include "script/task.h"
#include "script/thread.h"

uint64_t api_until_us(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index)) {
        return UINT64_MAX;
    }
    int is_number;
    lua_Number ms = lua_tonumberx(L, index, &is_number);
    if (!is_number) {
        report_misuse(
            L, lua_pushfstring(L, "a time in ms is a number, not a %s", luaL_typename(L, index)));
    } else if (!(ms >= 0)) {
        report_misuse(L, "a time in ms cannot be negative");
    }
    uint64_t now_us = host_now_us(thread_app(L)->host);
    return ms < 1e15 ? now_us + (uint64_t)(ms * 1000) : UINT64_MAX - 1;
}

static struct task *check_task(lua_State *L, int index)
{
    return luaL_checkudata(L, index, TASK_TYPE);
}

/* Who is the parent of what the running task makes? What a chunk makes (the main one, or one that
 * is evaluated) has none: it outlives the chunk. */
static struct task *parent_for(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    return task != NULL && task->kind != TASK_MAIN && task->kind != TASK_EVAL ? task : NULL;
}

/* Spawn the function at index 1, above which are its arguments. */
static int spawn(lua_State *L, struct task *parent, const char *where)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct task_spec spec = {.kind = TASK_SPAWNED, .parent = parent, .where = where};
    task_spawn(L, &spec, lua_gettop(L) - 1);
    return 1;
}

static const char *where_of(const struct task *parent)
{
    return parent != NULL ? parent->where : "task";
}

/* spawn(fn, ...) -> Task, child of the running task */
static int core_spawn(lua_State *L)
{
    struct task *parent = parent_for(L);
    return spawn(L, parent, where_of(parent));
}

/* spawn_named(where, fn, ...) -> Task, child of the running task; where is its place in messages */
static int core_spawn_named(lua_State *L)
{
    char where[TASK_WHERE_MAX];
    snprintf(where, sizeof where, "%s", luaL_checkstring(L, 1));
    lua_remove(L, 1);
    return spawn(L, parent_for(L), where);
}

/* spawn_in_scope(fn, ...) -> Task, child of the scope around the running task */
static int core_spawn_in_scope(lua_State *L)
{
    struct task *parent = task_scope(parent_for(L));
    return spawn(L, parent, where_of(parent));
}

/* spawn_lasting(fn, ...) -> Task of the app: nobody's child, and the last to be ended */
static int core_spawn_lasting(lua_State *L)
{
    spawn(L, NULL, where_of(parent_for(L)));
    struct task *task = lua_touserdata(L, -1);
    task->lasting = true;
    return 1;
}

/* spawn_scope(fn, ...) -> Task that is a scope, and fails when one of its children does */
static int core_spawn_scope(lua_State *L)
{
    struct task *parent = parent_for(L);
    spawn(L, parent, where_of(parent));
    struct task *task = lua_touserdata(L, -1);
    task->is_scope = true;
    task->fails_with_child = true;
    return 1;
}

/* current() -> Task */
static int core_current(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    if (task == NULL) {
        lua_pushnil(L);
    } else {
        task_push(L, task);
    }
    return 1;
}

/* nearest(t) -> what the table t has for the running task, or else for the nearest task above it
 * that it has something for; nil */
static int core_nearest(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    for (struct task *task = thread_app(L)->host->current; task != NULL; task = task->parent) {
        lua_settop(L, 1);
        task_push(L, task);
        if (lua_rawget(L, 1) != LUA_TNIL) {
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* ---- sleeping ----------------------------------------------------------------------------------
 */

static int woken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    task_woken(L);
    return 0;
}

/* sleep(ms) */
static int core_sleep(lua_State *L)
{
    luaL_checknumber(L, 1);
    uint64_t until_us = api_until_us(L, 1);
    task_that_waits(L);
    return task_wait(L, until_us, woken, 0);
}

/* sleep_until(now_ms): on the clock of core.now_ms */
static int core_sleep_until(lua_State *L)
{
    lua_Number at_ms = luaL_checknumber(L, 1);
    task_that_waits(L);
    uint64_t at_us = at_ms <= 0 ? 0 : at_ms < 1e15 ? (uint64_t)(at_ms * 1000) : UINT64_MAX - 1;
    return task_wait(L, at_us, woken, 0);
}

/* until_ms(ms?) -> on the clock of core.now_ms; nil without ms. Misuse is told at the script's
 * line. */
static int core_until_ms(lua_State *L)
{
    uint64_t until_us = api_until_us(L, 1);
    if (until_us == UINT64_MAX) {
        lua_pushnil(L);
    } else {
        lua_pushinteger(L, (lua_Integer)(until_us / 1000));
    }
    return 1;
}

/* checkpoint(): let others run, begin a new budget, raise if cancelled. In simulation the time that
 * was used passes. */
static int core_checkpoint(lua_State *L)
{
    struct task *task = task_that_waits(L);
    struct script_host *host = task->app->host;
    uint64_t used_us = host->options.preempt == NULL ? preempt_used_us(task) + 1 : 0;
    return task_wait(L, host_now_us(host) + used_us, woken, 0);
}

/* ---- park and wake: what events, channels and joins in Lua are made of
 * ----------------------------- */

/* ticket() -> integer: of the running task's next wait */
static int core_ticket(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)task_that_waits(L)->ticket);
    return 1;
}

static int unparked(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    static const char *const names[] = {"none", "woken", "timeout", "cancelled"};
    lua_pushstring(L, names[thread_app(L)->host->current->wake]);
    return 1;
}

/* park(ms?) -> "woken" | "timeout" | "cancelled"; after the last, call check() */
static int core_park(lua_State *L)
{
    uint64_t until_us = api_until_us(L, 1);
    task_that_waits(L);
    return task_wait(L, until_us, unparked, 0);
}

/* wake(task, ticket) -> was it in that wait? */
static int core_wake(lua_State *L)
{
    struct task *task = check_task(L, 1);
    bool waits =
        task->state == TASK_WAITING && (lua_Integer)task->ticket == luaL_checkinteger(L, 2);
    if (waits) {
        task_wake(task, WAKE_CALL);
    }
    lua_pushboolean(L, waits);
    return 1;
}

/* check(): raise if the running task was cancelled */
static int core_check(lua_State *L)
{
    task_check(L);
    return 0;
}

/* ---- Task --------------------------------------------------------------------------------------
 */

/* Stack: 1 the task, which has ended. */
static int push_outcome(lua_State *L, struct task *task)
{
    lua_getiuservalue(L, 1, TASK_UV_RESULT);
    if (task->outcome != TASK_RETURNED) {
        lua_pushnil(L);
        lua_insert(L, -2);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            report_push(L, ERR_CANCELLED, task->kill_reason);
        }
        return 2;
    }
    if (!lua_istable(L, -1)) {
        return 0;
    }
    int table = lua_gettop(L);
    lua_getfield(L, table, "n");
    int count = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, count, "results");
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, table, i);
    }
    return count;
}

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    enum task_wake wake = task_woken(L);
    struct task *task = lua_touserdata(L, 1);
    if (task->state != TASK_ENDED) {
        return wake == WAKE_TIME ? report_fail(L, ERR_TIMEOUT, NULL) : 0;
    }
    return push_outcome(L, task);
}

/* Task:join(ms?) -> its results | nil, err */
static int task_join(lua_State *L)
{
    struct task *task = check_task(L, 1);
    if (task->state == TASK_ENDED) {
        task_check(L);
        return push_outcome(L, task);
    }
    uint64_t until_us = api_until_us(L, 2);
    struct task *self = task_that_waits(L);
    luaL_argcheck(L, self != task, 1, "a task cannot join itself");
    task_join_wait(self, task, true);
    return task_wait(L, until_us, joined, 0);
}

/* wait_task(task): until it has ended; its error stays to be reported */
static int core_wait_task(lua_State *L)
{
    struct task *task = check_task(L, 1);
    if (task->state == TASK_ENDED) {
        return 0;
    }
    struct task *self = task_that_waits(L);
    luaL_argcheck(L, self != task, 1, "a task cannot wait for itself");
    task_join_wait(self, task, false);
    return task_wait(L, UINT64_MAX, woken, 0);
}

/* failed(task) -> did it end in an error, or was it ended? */
static int core_failed(lua_State *L)
{
    struct task *task = check_task(L, 1);
    lua_pushboolean(L, task->state == TASK_ENDED && task->outcome != TASK_RETURNED);
    return 1;
}

/* was_killed(task) -> was it over its budget, or its time to unwind? */
static int core_was_killed(lua_State *L)
{
    struct task *task = check_task(L, 1);
    lua_pushboolean(L, task->state == TASK_ENDED && task->outcome == TASK_WAS_KILLED);
    return 1;
}

/* error(code, message) -> an error object */
static int core_error(lua_State *L)
{
    enum err code = err_from_name(luaL_checkstring(L, 1));
    luaL_argcheck(L, code != ERR_COUNT, 1, "there is no such code");
    report_push(L, code, luaL_optstring(L, 2, NULL));
    return 1;
}

/* Task:cancel(reason?) */
static int task_cancel_method(lua_State *L)
{
    struct task *task = check_task(L, 1);
    task_cancel(task, ERR_CANCELLED, luaL_optstring(L, 2, NULL), task_unwind_end(task));
    return 0;
}

/* Task:done() -> boolean */
static int task_done(lua_State *L)
{
    lua_pushboolean(L, check_task(L, 1)->state == TASK_ENDED);
    return 1;
}

static int task_tostring(lua_State *L)
{
    static const char *const states[] = {[TASK_READY] = "ready",
                                         [TASK_RUNNING] = "running",
                                         [TASK_WAITING] = "waiting",
                                         [TASK_ENDING] = "ending",
                                         [TASK_ENDED] = "ended"};
    struct task *task = check_task(L, 1);
    lua_pushfstring(L, "task %I (%s): %s", (LUAI_UACINT)task->id, states[task->state], task->where);
    return 1;
}

/* ---- scopes and deferred functions -------------------------------------------------------------
 */

static int children_ended(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct task *task = thread_app(L)->host->current;
    task->awaits_children = false;
    task_push(L, task);
    lua_getiuservalue(L, -1, TASK_UV_CHILD_ERROR);
    return 1;
}

/* join_children() -> the error of the first that failed, or nil. Not interrupted by being
 * cancelled: the children are cancelled with their parent, and end. */
static int core_join_children(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    if (task == NULL || task->blocked > 0 || !lua_isyieldable(L)) {
        return luaL_error(L, "cannot wait here");
    }
    if (TAILQ_EMPTY(&task->children)) {
        return children_ended(L, LUA_OK, 0);
    }
    task->awaits_children = true;
    return task_wait(L, UINT64_MAX, children_ended, 0);
}

/* cancel_children(reason) */
static int core_cancel_children(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    const char *reason = luaL_optstring(L, 1, NULL);
    struct task *child;
    TAILQ_FOREACH (child, &task->children, sibling) {
        task_cancel(child, ERR_CANCELLED, reason, task_unwind_end(child));
    }
    return 0;
}

/* defer(fn): run fn when the running task ends, however it ends (but for being killed); the last
 * one first */
static int core_defer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct task *task = thread_app(L)->host->current;
    if (task == NULL || !task_push(L, task)) {
        return luaL_error(L, "only a task can defer");
    }
    if (lua_getiuservalue(L, -1, TASK_UV_DEFERRED) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, TASK_UV_DEFERRED);
    }
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    return 0;
}

void api_task_prepare(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"join", task_join},
        {"cancel", task_cancel_method},
        {"done", task_done},
        {NULL, NULL},
    };
    luaL_newmetatable(L, TASK_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, task_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "task");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_task_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", core_spawn},
        {"spawn_named", core_spawn_named},
        {"spawn_in_scope", core_spawn_in_scope},
        {"spawn_lasting", core_spawn_lasting},
        {"spawn_scope", core_spawn_scope},
        {"current", core_current},
        {"nearest", core_nearest},
        {"sleep", core_sleep},
        {"sleep_until", core_sleep_until},
        {"until_ms", core_until_ms},
        {"checkpoint", core_checkpoint},
        {"ticket", core_ticket},
        {"park", core_park},
        {"wake", core_wake},
        {"check", core_check},
        {"wait_task", core_wait_task},
        {"failed", core_failed},
        {"was_killed", core_was_killed},
        {"error", core_error},
        {"join_children", core_join_children},
        {"cancel_children", core_cancel_children},
        {"defer", core_defer},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
