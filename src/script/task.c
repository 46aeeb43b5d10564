#include "script/task.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "script/hook.h"
#include "script/preempt.h"
#include "script/report.h"
#include "script/thread.h"

/* Registry keys: the userdata of tasks that have not ended, by address; threads kept for reuse. */
const char task_anchors_key;
const char task_pool_key;

void tasks_open(lua_State *L)
{
    luaL_newmetatable(L, TASK_TYPE);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_anchors_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &task_pool_key);
}

bool task_push(lua_State *L, const struct task *task)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &task_anchors_key);
    lua_rawgetp(L, -1, task);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

/* ---- a task's own function ---------------------------------------------------------------------
 */

static int main_done(lua_State *L, int status, lua_KContext ctx);

/* The message handler: keeps the traceback, passes the error on. */
static int on_error(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    if (task->raising || !task_push(L, task)) {
        lua_settop(L, 1);
        return 1;
    }
    luaL_traceback(L, L, NULL, 1);
    lua_setiuservalue(L, -2, TASK_UV_TRACEBACK);
    lua_settop(L, 1);
    return 1;
}

/* Call the next deferred function, if there is one: [-0, +1 function]. */
static bool next_deferred(lua_State *L, struct task *task)
{
    task_push(L, task);
    lua_getiuservalue(L, -1, TASK_UV_DEFERRED);
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    if (n == 0) {
        lua_pop(L, 1);
        return false;
    }
    lua_rawgeti(L, -1, n);
    lua_pushnil(L);
    lua_rawseti(L, -3, n);
    lua_remove(L, -2);
    return true;
}

/* Stack at the base of a task: 1 the message handler, then the results (or the one error). */
static int run_deferred(lua_State *L, struct task *task)
{
    while (next_deferred(L, task)) {
        task->shielded = true;
        task_end_by(task, task_unwind_end(task), "killed: its deferred functions took too long");
        int status = lua_pcallk(L, 0, 0, 1, 1, main_done);
        if (status != LUA_OK) {
            return main_done(L, status, 1);
        }
    }
    return lua_gettop(L) - 1;
}

static int main_done(lua_State *L, int status, lua_KContext deferred)
{
    struct task *task = thread_app(L)->host->current;
    if (status != LUA_OK && status != LUA_YIELD) {
        if (task->raising) {
            return lua_error(L);
        }
        /* A deferred function's error replaces success, not an earlier error. */
        if (task->failed) {
            lua_pop(L, 1);
        } else {
            if (lua_gettop(L) > 2) {
                lua_replace(L, 2);
            }
            lua_settop(L, 2);
            task->failed = true;
        }
    }
    (void)deferred;
    return run_deferred(L, task);
}

static int task_main(lua_State *L)
{
    lua_pushcfunction(L, on_error);
    lua_insert(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, main_done);
    return main_done(L, status, 0);
}

/* ---- start -------------------------------------------------------------------------------------
 */

static void on_alarm(struct deadline *d)
{
    struct task *task = (struct task *)((char *)d - offsetof(struct task, alarm));
    task_wake(task, WAKE_TIME);
}

static void on_end_by(struct deadline *d)
{
    struct task *task = (struct task *)((char *)d - offsetof(struct task, end_by));
    if (task->state == TASK_ENDING) {
        task_waits_no_longer(task);
    } else {
        task_kill_late(task);
    }
}

void task_make_ready(struct task *task)
{
    task->state = TASK_READY;
    if (!task->queued && !task->held) {
        task->queued = true;
        TAILQ_INSERT_TAIL(&task->app->host->ready, task, run_link);
    }
}

void task_let_go(struct task *task)
{
    if (task->held) {
        task->held = false;
        task_make_ready(task);
    }
}

/* [-0, +1 (a thread)] */
static lua_State *take_thread(lua_State *L, struct app *app)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &task_pool_key);
    if (app->pooled > 0) {
        lua_rawgeti(L, -1, app->pooled);
        lua_pushnil(L);
        lua_rawseti(L, -3, app->pooled);
        app->pooled--;
    } else {
        lua_State *thread = lua_newthread(L);
        thread_init(thread, app);
        thread_set(thread, THREAD_TASK, true);
    }
    lua_remove(L, -2);
    return lua_tothread(L, -1);
}

static void link_task(struct task *task, const struct task_spec *spec)
{
    struct app *app = task->app;
    task->id = ++app->host->task_ids;
    task->kind = spec->kind;
    task->ended = spec->ended;
    task->owner = spec->owner;
    task->parent = spec->parent;
    lead_count(task, spec->parent != NULL ? spec->parent->lead : spec->lead);
    task->alarm.fire = on_alarm;
    task->end_by.fire = on_end_by;
    text_copy(task->where, sizeof task->where, spec->where);
    TAILQ_INIT(&task->children);
    TAILQ_INIT(&task->joiners);
    TAILQ_INSERT_TAIL(&app->tasks, task, app_link);
    app->tasks_count++;
    if (task->parent != NULL) {
        TAILQ_INSERT_TAIL(&task->parent->children, task, sibling);
        if (task->parent->cancelled != ERR_OK) {
            task_cancel(task, task->parent->cancelled, task->parent->cancel_reason,
                        task->parent->end_by.at_us);
        }
    } else if (app->phase == APP_ENDING) {
        task_cancel(task, ERR_CANCELLED, "its generation of the script ends",
                    task_unwind_end(task));
    } else if (app->phase == APP_STAGED) {
        task->held = true;
    }
    task_make_ready(task);
}

struct task *task_spawn(lua_State *L, const struct task_spec *spec, int arguments)
{
    struct app *app = thread_app(L);
    luaL_checkstack(L, 6, "tasks");
    if (app->tasks_count >= app->host->options.limits.tasks_max) {
        report_raise(L, ERR_BUSY, "too many tasks");
    }
    struct task *task = lua_newuserdatauv(L, sizeof *task, TASK_UV_COUNT);
    memset(task, 0, sizeof *task);
    luaL_setmetatable(L, TASK_TYPE);
    lua_insert(L, -(arguments + 2));
    lua_State *thread = take_thread(L, app);
    lua_setiuservalue(L, -(arguments + 3), TASK_UV_THREAD);
    if (!lua_checkstack(thread, arguments + 8)) {
        luaL_error(L, "too many arguments");
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &task_anchors_key);
    lua_pushvalue(L, -(arguments + 3));
    lua_rawsetp(L, -2, task);
    lua_pop(L, 1);
    /* Nothing below can raise. */
    lua_pushcfunction(thread, task_main);
    lua_xmove(L, thread, arguments + 1);
    task->app = app;
    task->L = thread;
    task->arguments = (uint32_t)arguments + 1;
    link_task(task, spec);
    return task;
}

/* ---- waiting -----------------------------------------------------------------------------------
 */

void task_check(lua_State *L)
{
    struct task *task = thread_app(L)->host->current;
    if (task != NULL && task->cancelled != ERR_OK && !task->shielded) {
        report_raise(L, task->cancelled, task->cancel_reason);
    }
}

bool task_can_wait(lua_State *L)
{
    const struct task *task = thread_app(L)->host->current;
    return task != NULL && task->blocked == 0 && !task->closing && lua_isyieldable(L);
}

struct task *task_that_waits(lua_State *L)
{
    if (!task_can_wait(L)) {
        luaL_error(L, "cannot wait here: a C function is in between (table.sort, require, a "
                      "metamethod called from C, ...)");
    }
    task_check(L);
    return thread_app(L)->host->current;
}

int task_wait(lua_State *L, uint64_t until_us, lua_KFunction k, lua_KContext ctx)
{
    struct task *task = thread_app(L)->host->current;
    struct script_host *host = task->app->host;
    ASSERT(task->state == TASK_RUNNING);
    task->state = TASK_WAITING;
    task->wake = WAKE_NONE;
    if (until_us != UINT64_MAX) {
        deadline_set(&host->deadlines, &task->alarm, until_us);
    }
    host->yield = YIELD_WAIT;
    return lua_yieldk(L, 0, ctx, k);
}

enum task_wake task_woken(lua_State *L)
{
    task_check(L);
    return thread_app(L)->host->current->wake;
}

void task_join_wait(struct task *self, struct task *other, bool takes_error)
{
    task_let_go(other); /* the main chunk of a staged app waits for it */
    self->joining = other;
    self->takes_error = takes_error;
    TAILQ_INSERT_TAIL(&other->joiners, self, join_link);
}

void task_leave_wait(struct task *task)
{
    struct script_host *host = task->app->host;
    deadline_clear(&host->deadlines, &task->alarm);
    if (task->joining != NULL) {
        TAILQ_REMOVE(&task->joining->joiners, task, join_link);
        task->joining = NULL;
    }
    if (task->request_id != 0) {
        request_table_forget(&host->requests, task->request_id);
        if (task->give_up != NULL) {
            task->give_up(host, task->request_id);
        }
        task->request_id = 0;
    }
}

void task_wake(struct task *task, enum task_wake wake)
{
    if (task->state != TASK_WAITING) {
        return;
    }
    task_leave_wait(task);
    task->wake = wake;
    task->ticket++;
    task->burst_us = 0;
    task_make_ready(task);
}

/* ---- being ended from outside ------------------------------------------------------------------
 */

uint64_t task_unwind_end(const struct task *task)
{
    return host_now_us(task->app->host) + TASK_UNWIND_US;
}

void task_cancel(struct task *task, enum err code, const char *reason, uint64_t end_us)
{
    ASSERT(code != ERR_OK);
    if (task->state == TASK_ENDED) {
        return;
    }
    task_end_by(task, end_us, "killed: it did not end in time after it was cancelled");
    if (task->cancelled == ERR_OK && task->state != TASK_ENDING) {
        task->cancelled = code;
        text_copy(task->cancel_reason, sizeof task->cancel_reason, reason != NULL ? reason : "");
        if (!task->shielded && !task->awaits_children) {
            task_wake(task, WAKE_CANCEL);
        }
    }
    struct task *child;
    TAILQ_FOREACH (child, &task->children, sibling) {
        task_cancel(child, code, reason, end_us);
    }
}

void task_kill(struct task *task, const char *reason)
{
    if (task->state == TASK_ENDED) {
        return;
    }
    struct task *child;
    TAILQ_FOREACH (child, &task->children, sibling) {
        task_kill(child, reason);
    }
    if (task->state == TASK_ENDING) {
        return;
    }
    if (!task->kill_asked) {
        task->kill_asked = true;
        text_copy(task->kill_reason, sizeof task->kill_reason, reason);
    }
    if (task->state != TASK_RUNNING) {
        task_leave_wait(task);
        task_make_ready(task);
    }
}

void task_end_by(struct task *task, uint64_t at_us, const char *reason)
{
    struct deadline *d = &task->end_by;
    if (task->state >= TASK_ENDING || (deadline_is_set(d) && d->at_us <= at_us)) {
        return;
    }
    task->end_reason = reason;
    deadline_set(&task->app->host->deadlines, d, at_us);
}

/* What works for a leadership that is over, or being handed over. */
static bool is_out_of_lease(const struct task *task)
{
    return task->lead != NULL && !lead_is_valid(task->app->host, task->lead->lead.token);
}

/* A deferred function waits for its children, so that it is they who are late: it sees them gone,
 * and tidies up after them. Not where nothing may run after the lease. */
static bool kill_children_instead(struct task *task)
{
    if (!task->shielded || !task->awaits_children || task->late || is_out_of_lease(task)) {
        return false;
    }
    task->late = true;
    struct task *child;
    TAILQ_FOREACH (child, &task->children, sibling) {
        task_kill(child, task->end_reason);
    }
    struct script_host *host = task->app->host;
    deadline_set(&host->deadlines, &task->end_by, host_now_us(host) + PROCESS_GONE_US);
    return true;
}

void task_kill_late(struct task *task)
{
    if (kill_children_instead(task)) {
        return;
    }
    char reason[2 * TASK_WHERE_MAX];
    bool why = task->cancel_reason[0] != 0;
    snprintf(reason, sizeof reason, "%s%s%s", task->end_reason, why ? ": " : "",
             why ? task->cancel_reason : "");
    task_kill(task, reason);
}

struct task *task_scope(struct task *task)
{
    while (task != NULL && !task->is_scope) {
        task = task->parent;
    }
    return task;
}
