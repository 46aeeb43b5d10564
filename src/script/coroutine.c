#include "script/coroutine.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "script/preempt.h"
#include "script/task.h"
#include "script/thread.h"

static struct task *running_task(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    if (task == NULL) {
        luaL_error(L, "coroutines run in tasks only");
    }
    return task;
}

static void nest_push(struct task *task, lua_State *co)
{
    if (task->nest_count == task->nest_capacity) {
        task->nest_capacity = task->nest_capacity == 0 ? 4 : task->nest_capacity * 2;
        task->nest = alloc_resize(task->nest, task->nest_capacity, sizeof(lua_State *));
    }
    task->nest[task->nest_count++] = co;
}

/* ---- resume ------------------------------------------------------------------------------------
 */

static int resumed(lua_State *L, int status, lua_KContext is_wrap);

/* Give L, which resumed co, what co yielded, returned or raised. */
static int deliver(lua_State *L, lua_State *co, int status, int results, bool is_wrap)
{
    struct task *task = running_task(L);
    if (status == LUA_OK || status == LUA_YIELD) {
        if (!lua_checkstack(L, results + 1)) {
            lua_pop(co, results);
            return luaL_error(L, "too many results to resume");
        }
        if (!is_wrap) {
            lua_pushboolean(L, 1);
        }
        lua_xmove(co, L, results);
        return is_wrap ? results : results + 1;
    }
    lua_xmove(co, L, 1); /* the error; the stack has room for one (LUA_MINSTACK) */
    if (task->raising) {
        return lua_error(L);
    }
    if (is_wrap) {
        preempt_close_thread(task, co);
        if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
            luaL_where(L, 1); /* where it was called, before where it was raised */
            lua_insert(L, -2);
            lua_concat(L, 2);
        }
        return lua_error(L);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* Run co with the arguments on its stack until it yields to L, returns or raises. */
static int run(lua_State *L, lua_State *co, int arguments, bool is_wrap)
{
    struct task *task = running_task(L);
    struct script_host *host = task->app->host;
    bool blocks = !lua_isyieldable(L);
    task->blocked += blocks;
    preempt_enter(task, co);
    int results = 0;
    int status = lua_resume(co, L, arguments, &results);
    preempt_enter(task, L);
    task->blocked -= blocks;
    if (status == LUA_YIELD && host->yield != YIELD_USER) {
        thread_set(co, THREAD_WAITING, true);
        return lua_yieldk(L, 0, is_wrap, resumed);
    }
    task->nest_count--;
    return deliver(L, co, status, results, is_wrap);
}

/* The scheduler came back to the task: go on with the coroutine that waited. */
static int resumed(lua_State *L, int status, lua_KContext is_wrap)
{
    (void)status;
    lua_State *co = lua_tothread(L, is_wrap ? lua_upvalueindex(1) : 1);
    thread_set(co, THREAD_WAITING, false);
    return run(L, co, 0, is_wrap != 0);
}

static const char *status_of(lua_State *L, lua_State *co)
{
    if (co == L) {
        return "running";
    }
    if (thread_is(co, THREAD_TASK) || thread_is(co, THREAD_WAITING) ||
        thread_is(co, THREAD_CLOSING)) {
        return "normal";
    }
    lua_Debug frame;
    switch (lua_status(co)) {
    case LUA_YIELD:
        return "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &frame)) {
            return "normal";
        }
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default:
        return "dead";
    }
}

/* Errors in starting are like errors in co itself. */
static int start(lua_State *L, lua_State *co, int arguments, bool is_wrap)
{
    const char *state = status_of(L, co);
    const char *problem = NULL;
    if (state[0] != 's') {
        problem = lua_pushfstring(L, "cannot resume %s coroutine",
                                  state[0] == 'd' ? "dead" : "non-suspended");
    } else if (!lua_checkstack(co, arguments)) {
        problem = lua_pushliteral(L, "too many arguments to resume");
    }
    if (problem != NULL) {
        if (is_wrap) {
            return luaL_error(L, "%s", problem);
        }
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_xmove(L, co, arguments);
    nest_push(running_task(L), co);
    return run(L, co, arguments, is_wrap);
}

static lua_State *check_thread(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTHREAD);
    return lua_tothread(L, 1);
}

/* coroutine.resume(co, ...) -> true, ... | false, err */
static int co_resume(lua_State *L)
{
    lua_State *co = check_thread(L);
    return start(L, co, lua_gettop(L) - 1, false);
}

static int wrapped(lua_State *L)
{
    return start(L, lua_tothread(L, lua_upvalueindex(1)), lua_gettop(L), true);
}

static int co_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    return 1;
}

static int co_wrap(lua_State *L)
{
    co_create(L);
    lua_pushcclosure(L, wrapped, 1);
    return 1;
}

/* ---- the rest ----------------------------------------------------------------------------------
 */

static int co_yield (lua_State *L)
{
    if (thread_is(L, THREAD_TASK)) {
        return luaL_error(L, "attempt to yield from outside a coroutine");
    }
    if (thread_is(L, THREAD_CLOSING)) {
        return luaL_error(L, "attempt to yield while closing a coroutine");
    }
    thread_app(L)->host->yield = YIELD_USER;
    return lua_yield(L, lua_gettop(L));
}

static int co_status(lua_State *L)
{
    lua_pushstring(L, status_of(L, check_thread(L)));
    return 1;
}

/* The base of a task is what the main coroutine is elsewhere. */
static int co_running(lua_State *L)
{
    lua_pushthread(L);
    lua_pushboolean(L, thread_is(L, THREAD_TASK));
    return 2;
}

static int co_isyieldable(lua_State *L)
{
    lua_State *co = lua_isthread(L, 1) ? lua_tothread(L, 1) : L;
    lua_pushboolean(L, lua_isyieldable(co) && !thread_is(co, THREAD_TASK));
    return 1;
}

/* coroutine.close(co) -> true | false, err */
static int co_close(lua_State *L)
{
    lua_State *co = check_thread(L);
    const char *state = status_of(L, co);
    if (state[0] != 's' && state[0] != 'd') {
        return luaL_error(L, "cannot close a %s coroutine", state);
    }
    preempt_close_thread(running_task(L), co);
    if (lua_gettop(co) == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

int coroutine_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"create", co_create}, {"resume", co_resume},           {"wrap", co_wrap},
        {"yield", co_yield },  {"status", co_status},           {"running", co_running},
        {"close", co_close},   {"isyieldable", co_isyieldable}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
