/* The life of a task from the scheduler's side: one slice after another, and its end. */
#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/app.h"
#include "script/hook.h"
#include "script/preempt.h"
#include "script/report.h"
#include "script/task.h"
#include "script/thread.h"

enum { POOL_MAX = 64 };

/* ---- the end -----------------------------------------------------------------------------------
 */

static bool has_taker(const struct task *task)
{
    const struct task *joiner;
    TAILQ_FOREACH (joiner, &task->joiners, join_link) {
        if (joiner->takes_error) {
            return true;
        }
    }
    return false;
}

/* Whoever stages the app reports it. */
static bool main_failed(const struct task *task, const char *message, const char *traceback)
{
    if (task->kind == TASK_MAIN) {
        app_failed(task->app, message, traceback);
    }
    return task->kind == TASK_MAIN && task->app->phase == APP_STAGED;
}

/* Whose business is its failure? A joiner's, a scope's; else it is reported. Stack: 2 the task,
 * 3 the error. */
static void tell_failure(lua_State *L, struct task *task)
{
    struct task *parent = task->parent;
    if (parent != NULL && parent->fails_with_child && parent->cancelled == ERR_OK) {
        if (task_push(L, parent)) {
            lua_pushvalue(L, 3);
            lua_setiuservalue(L, -2, TASK_UV_CHILD_ERROR);
        }
        task_cancel(parent, ERR_CANCELLED, "a task in its scope has failed",
                    task_unwind_end(parent));
    } else if (task->kind == TASK_EVAL || has_taker(task)) {
        return;
    } else if (task->outcome == TASK_WAS_KILLED) {
        if (!main_failed(task, task->kill_reason, NULL)) {
            report_error(task->app, task, task->where, task->kill_reason, NULL,
                         task->app->errors + 1);
        }
    } else {
        const char *message = report_text(L, 3);
        lua_getiuservalue(L, 2, TASK_UV_TRACEBACK);
        const char *traceback = lua_tostring(L, -1);
        if (!main_failed(task, message, traceback)) {
            report_error(task->app, task, task->where, message, traceback, task->app->errors + 1);
        }
    }
}

static int keep_error(lua_State *L, struct task *task)
{
    if (task->outcome == TASK_WAS_KILLED) {
        report_push(L, ERR_CANCELLED, task->kill_reason);
    } else if (task->outcome == TASK_WAS_CANCELLED) {
        report_push(L, task->cancelled, task->cancel_reason);
    } else if (lua_gettop(task->L) > 0) {
        lua_xmove(task->L, L, 1);
        if (task->cancelled != ERR_OK && report_code(L, 3) == task->cancelled) {
            task->outcome = TASK_WAS_CANCELLED;
        }
    } else {
        lua_pushliteral(L, "unknown error");
    }
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 2, TASK_UV_RESULT);
    if (task->outcome != TASK_WAS_CANCELLED) {
        tell_failure(L, task);
    }
    return 0;
}

/* Under app_protect(): keep what it returned (a table with a field n) or raised in its user value.
 */
static int keep_result(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    luaL_checkstack(L, 8, NULL);
    task_push(L, task);
    if (task->outcome != TASK_RETURNED) {
        return keep_error(L, task);
    }
    int results = lua_gettop(task->L);
    if ((task->kind == TASK_SPAWNED || task->kind == TASK_EVAL || task->kind == TASK_CALL) &&
        results > 0) {
        luaL_checkstack(L, results + 4, "results");
        lua_createtable(L, results, 1);
        lua_xmove(task->L, L, results);
        for (int i = results; i >= 1; i--) {
            lua_rawseti(L, 3, i);
        }
        lua_pushinteger(L, results);
        lua_setfield(L, 3, "n");
        lua_setiuservalue(L, 2, TASK_UV_RESULT);
    }
    return 0;
}

/* Under app_protect(): let the garbage collector have the task, keep its thread for another. */
static int release(lua_State *L)
{
    struct task *task = lua_touserdata(L, 1);
    struct app *app = task->app;
    if (task->reusable && app->pooled < POOL_MAX) {
        lua_settop(task->L, 0);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &task_pool_key);
        task_push(L, task);
        lua_getiuservalue(L, -1, TASK_UV_THREAD);
        lua_rawseti(L, -3, app->pooled + 1);
        app->pooled++;
        lua_pushnil(L);
        lua_setiuservalue(L, -2, TASK_UV_THREAD);
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &task_anchors_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, task);
    return 0;
}

/* Returns the parent if that was its last child. */
static struct task *unlink_from_parent(struct task *task)
{
    struct task *parent = task->parent;
    if (parent == NULL) {
        return NULL;
    }
    TAILQ_REMOVE(&parent->children, task, sibling);
    return TAILQ_EMPTY(&parent->children) ? parent : NULL;
}

static void cancel_children(struct task *task)
{
    struct task *child;
    TAILQ_FOREACH (child, &task->children, sibling) {
        task_cancel(child, ERR_CANCELLED, "its parent has ended", task_unwind_end(child));
    }
}

/* Its children outlive it for as long as they need to unwind, and are its parent's meanwhile. */
static void hand_on_children(struct task *task)
{
    struct task *child;
    while ((child = TAILQ_FIRST(&task->children)) != NULL) {
        TAILQ_REMOVE(&task->children, child, sibling);
        child->parent = task->parent;
        if (task->parent != NULL) {
            TAILQ_INSERT_TAIL(&task->parent->children, child, sibling);
        }
    }
}

static void drop_resources(struct task *task)
{
    struct script_host *host = task->app->host;
    task_leave_wait(task);
    deadline_clear(&host->deadlines, &task->end_by);
    if (task->queued) {
        TAILQ_REMOVE(&host->ready, task, run_link);
        task->queued = false;
    }
    slice_close(&task->reply);
    free(task->reply_message);
    task->reply_message = NULL;
    free(task->nest);
    task->nest = NULL;
    task->nest_count = 0;
}

/* Where its innermost coroutine is in a Lua function: " (at worker.lua:7)"; empty if nowhere. */
static void write_place(struct task *task, char *out, size_t size)
{
    lua_State *L = task->nest_count > 0 ? task->nest[task->nest_count - 1] : task->L;
    lua_Debug at;
    out[0] = 0;
    for (int level = 0; lua_getstack(L, level, &at) != 0; level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline > 0) {
            snprintf(out, size, " (at %s:%d)", at.short_src, at.currentline);
            return;
        }
    }
}

static void say_over_budget(struct task *task, const char *place)
{
    snprintf(task->kill_reason, sizeof task->kill_reason,
             "killed: over its budget of %" PRIu64 " ms of processor time%s",
             task->app->host->options.limits.budget_us / 1000, place);
}

/* What is seen of its end. */
static void end(struct task *task)
{
    struct app *app = task->app;
    enum task_outcome outcome = task->outcome;
    task->state = TASK_ENDED;
    drop_resources(task);
    if (outcome == TASK_WAS_KILLED) {
        app->tasks_killed++;
        app->host->stats.tasks_killed++;
        if (task->kill_reason[0] == 0) {
            say_over_budget(task, "");
        }
    }
    bool kept = app_protect(app, keep_result, task);
    if (!kept && task->outcome != TASK_RETURNED) {
        main_failed(task, "it failed, and there was no memory left to tell why", NULL);
    } else if (task->kind == TASK_MAIN) {
        app_started(app);
    }
    app->main_ended |= task->kind == TASK_MAIN;
    if (task->ended != NULL) {
        task->ended(task);
    }
    struct task *joiner;
    while ((joiner = TAILQ_FIRST(&task->joiners)) != NULL) {
        task_wake(joiner, WAKE_CALL); /* takes it off the list */
    }
    cancel_children(task);
    hand_on_children(task);
    process_leave_task(task);
    struct task *alone = unlink_from_parent(task);
    TAILQ_REMOVE(&app->tasks, task, app_link);
    app->tasks_count--;
    lead_uncount(task);
    app_protect(app, release, task); /* task may be gone now */
    if (alone != NULL && alone->awaits_children) {
        task_wake(alone, WAKE_CALL);
    }
    if (alone != NULL) {
        task_is_rid_of_some(alone);
    }
}

/* Programs that it has not seen the end of, as one that is killed has not, are killed first. Nor
 * has that seen the end of its children, who are killed or cancelled by now: whoever waits for it,
 * as for a scope, waits for them. */
static bool is_rid_of_all(struct task *task)
{
    bool waits = task->outcome == TASK_WAS_KILLED && !TAILQ_EMPTY(&task->children);
    return process_release_of_task(task) && !waits;
}

static void finish(struct task *task, enum task_outcome outcome)
{
    struct script_host *host = task->app->host;
    task->outcome = outcome;
    if (is_rid_of_all(task)) {
        end(task);
        return;
    }
    drop_resources(task);
    task->state = TASK_ENDING;
    deadline_set(&host->deadlines, &task->end_by, host_now_us(host) + PROCESS_GONE_US);
    cancel_children(task);
}

void task_is_rid_of_some(struct task *task)
{
    if (task->state == TASK_ENDING && is_rid_of_all(task)) {
        end(task);
    }
}

void task_waits_no_longer(struct task *task)
{
    ASSERT(task->state == TASK_ENDING);
    end(task);
}

/* Close its coroutines, innermost first, so that their <close> variables are. */
static void close_threads(struct task *task)
{
    task->burst_us = 0;
    task->closing = true;
    preempt_begin(task);
    while (task->nest_count > 0) {
        lua_State *co = task->nest[--task->nest_count];
        thread_set(co, THREAD_WAITING, false);
        preempt_close_thread(task, co);
    }
    preempt_close_thread(task, task->L);
    preempt_end(task);
}

static void kill_now(struct task *task)
{
    close_threads(task);
    finish(task, TASK_WAS_KILLED);
}

/* ---- a slice -----------------------------------------------------------------------------------
 */

static void yielded(struct task *task)
{
    struct script_host *host = task->app->host;
    switch (host->yield) {
    case YIELD_WAIT:
        ASSERT(task->state == TASK_WAITING);
        if (task->kill_asked) {
            kill_now(task);
        } else if (task->kind == TASK_MAIN) {
            app_started(task->app);
        }
        break;
    case YIELD_TURN:
        task_make_ready(task);
        break;
    case YIELD_USER: /* a C module's own doing: nobody is there to resume it */
        snprintf(task->kill_reason, sizeof task->kill_reason,
                 "killed: it yielded outside a coroutine");
        kill_now(task);
        break;
    case YIELD_KILL:
        if (task->kill_reason[0] == 0) {
            char place[LUA_IDSIZE + 32];
            write_place(task, place, sizeof place);
            say_over_budget(task, place);
        }
        kill_now(task);
        break;
    }
}

static void observe_leader_work(const struct task *task)
{
    const struct script_observer *observer = &task->app->host->options.observer;
    if (task->lead != NULL && observer->leader_work != NULL) {
        observer->leader_work(observer->ctx, task->lead->lead.token);
    }
}

/* Its time may have run out since this round of slices began: the process was stopped for a while.
 */
static void end_if_too_late(struct task *task)
{
    struct script_host *host = task->app->host;
    if (task->lead != NULL) {
        lead_look(host);
    }
    if (deadline_is_set(&task->end_by) && task->end_by.at_us <= host_now_us(host)) {
        task_kill_late(task);
    }
}

void task_run(struct task *task)
{
    struct app *app = task->app;
    ASSERT(task->state == TASK_READY);
    end_if_too_late(task);
    if (task->kill_asked) {
        kill_now(task);
        return;
    }
    if (task->arguments > 0 && task->cancelled != ERR_OK) {
        lua_settop(task->L, 0); /* cancelled before it began */
        task->reusable = true;
        finish(task, TASK_WAS_CANCELLED);
        return;
    }
    task->state = TASK_RUNNING;
    int arguments = (int)task->arguments;
    task->arguments = 0;
    int results = 0;
    observe_leader_work(task);
    preempt_begin(task);
    int status = lua_resume(task->L, app->main, arguments, &results);
    preempt_end(task);
    if (status == LUA_YIELD) {
        yielded(task);
    } else if (status == LUA_OK) {
        task->reusable = true;
        finish(task, task->failed ? TASK_FAILED : TASK_RETURNED);
    } else {
        finish(task, task->raising ? TASK_WAS_KILLED : TASK_FAILED);
    }
}

void task_drop_all(struct app *app)
{
    struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        task->ended = NULL;
        if (!app->host->dead) {
            close_threads(task);
        }
        drop_resources(task);
        task->state = TASK_ENDED;
    }
    TAILQ_INIT(&app->tasks);
    app->tasks_count = 0;
}
