/* The calls of hooks: what they are given, and what becomes of them. */
#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/value.h"
#include "wire/entry.h"

#define TRIP_US_MAX (3600 * UINT64_C(1000000))

/* ---- the event table ---------------------------------------------------------------------------
 */

static void set_text(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_u64(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

/* Push input, or nil if it is empty or does not decode: it comes from the log, not from here. */
static void push_value(lua_State *L, struct bytes input)
{
    if (input.size == 0 || value_decode(L, input, NULL, NULL) != ERR_OK) {
        lua_pushnil(L);
    }
}

static void push_event(lua_State *L, const struct script_event *event)
{
    push_value(L, slice_bytes(event->fields));
    if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 4);
    }
    set_text(L, "name", event->name);
    set_u64(L, "seq", event->seq);
    set_u64(L, "time_ms", (uint64_t)event->time_ms);
    set_u64(L, "term", event->term);
}

static void set_command(lua_State *L, const struct entry *entry)
{
    uint64_t fence;
    struct reader r = reader_of(entry_command(entry->payload, &fence));
    uint32_t count = read_array(&r);
    if (r.err != ERR_OK || count == 0) {
        return;
    }
    push_value(L, read_raw(&r));
    lua_setfield(L, -2, "cmd");
    if (count > 1) {
        push_value(L, read_raw(&r));
        lua_setfield(L, -2, "args");
    }
}

/* The digits of value, before end. Returns where they begin. */
static char *put_digits(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return end;
}

/* "TERM-INDEX". By hand: printf would be a tenth of what a call costs. */
static void push_id(lua_State *L, const struct commit_item *item)
{
    char text[2 * 20 + 1];
    char *end = text + sizeof text;
    char *at = put_digits(end, item->index);
    *--at = '-';
    at = put_digits(at, item->term);
    lua_pushlstring(L, at, (size_t)(end - at));
}

static void push_commit(lua_State *L, const struct script_host *host,
                        const struct commit_item *item)
{
    struct entry entry;
    lua_createtable(L, 0, 15);
    set_text(L, "name", "commit");
    set_u64(L, "seq", item->index);
    set_u64(L, "term", host->view.term);
    set_u64(L, "index", item->index);
    set_u64(L, "entry_term", item->term);
    set_u64(L, "size", item->entry.size);
    push_id(L, item);
    lua_setfield(L, -2, "id");
    if (entry_decode(slice_bytes(item->entry), &entry) != ERR_OK) {
        set_text(L, "kind", "unknown");
        return;
    }
    set_u64(L, "time_ms", (uint64_t)entry.time_ms);
    set_text(L, "kind", entry_kind_name(entry.kind));
    if (entry.machine.size > 0) {
        lua_pushlstring(L, (const char *)entry.machine.data, entry.machine.size);
        lua_setfield(L, -2, "sm");
    }
    if (entry.kind == ENTRY_COMMAND) {
        set_command(L, &entry);
    }
    if (!item->has_result) {
        return;
    }
    push_value(L, slice_bytes(item->result));
    lua_setfield(L, -2, "result");
    lua_pushboolean(L, item->err == ERR_OK && !item->repeated);
    lua_setfield(L, -2, "applied");
    if (item->err != ERR_OK) {
        set_text(L, "err", err_name(item->err));
    }
}

/* ---- start -------------------------------------------------------------------------------------
 */

const struct task *hook_call_of(const struct task *task)
{
    while (task != NULL && task->kind != TASK_HOOK) {
        task = task->parent;
    }
    return task;
}

static uint64_t u64_field(lua_State *L, const char *key)
{
    lua_getfield(L, -1, key);
    uint64_t value = lua_isinteger(L, -1) ? (uint64_t)lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    return value;
}

struct start {
    struct hook *hook;
    const struct script_event *event;
    const struct commit_item *commit;
};

/* Under app_protect(). */
static int start_call(lua_State *L)
{
    const struct start *start = lua_touserdata(L, 1);
    struct hook *hook = start->hook;
    luaL_checkstack(L, 8, NULL);
    hook_push(L, hook);
    lua_getiuservalue(L, -1, HOOK_UV_FUNCTION);
    if (start->commit != NULL) {
        push_commit(L, hook->app->host, start->commit);
    } else {
        push_event(L, start->event);
    }
    uint64_t term = u64_field(L, "term"), index = u64_field(L, "index");
    struct task_spec spec = {.kind = TASK_HOOK,
                             .parent = hook->owner,
                             .where = hook->where,
                             .ended = hook_ended,
                             .owner = hook};
    hook->call = task_spawn(L, &spec, 1);
    hook->call->event_term = term;
    hook->call->event_index = index;
    return 0;
}

static void count_failure(struct hook *hook)
{
    struct script_host *host = hook->app->host;
    hook->errors++;
    host->stats.hook_errors++;
    hook->failures++;
    if (hook->failures < HOOK_FAILURES_TO_TRIP || hook->removed || hook->kind == HOOK_LEAD) {
        return;
    }
    log_warn(host->options.log, "hook tripped", log_text("app", hook->app->name),
             log_text("event", hook->event), log_text("hook", hook->name),
             log_u64("failures", hook->failures), log_u64("pause_ms", hook->trip_us / 1000));
    hook->state = HOOK_TRIPPED;
    deadline_set(&host->deadlines, &hook->trip, host_now_us(host) + hook->trip_us);
    hook->trip_us = hook->trip_us * 2 < TRIP_US_MAX ? hook->trip_us * 2 : TRIP_US_MAX;
    if (hook->kind == HOOK_COMMIT) {
        feed_park(host, hook);
    }
}

static void begin(struct hook *hook, const struct start *start)
{
    struct script_host *host = hook->app->host;
    hook->calls++;
    host->stats.hook_calls++;
    if (!app_protect(hook->app, start_call, (void *)start)) {
        count_failure(hook);
        hook_wake(hook);
        return;
    }
    hook->call_began_us = host_now_us(host);
    if (hook->timeout_us != 0) {
        deadline_set(&host->deadlines, &hook->timeout, hook->call_began_us + hook->timeout_us);
    }
}

static void next_commit(struct hook *hook)
{
    const struct commit_item *item;
    if (!feed_peek(hook->app->host, hook, &item)) {
        return;
    }
    struct start start = {.hook = hook, .commit = item};
    const struct script_observer *observer = &hook->app->host->options.observer;
    if (observer->commit != NULL) {
        observer->commit(observer->ctx, hook->place.cursor, item->index);
    }
    begin(hook, &start);
    feed_advance(hook, item);
    hook->app->host->stats.commits_delivered++;
    if (hook->once) {
        hook_remove(hook);
    }
}

static void next_event(struct hook *hook)
{
    struct told *told = hook_take(hook);
    if (told == NULL) {
        return;
    }
    struct start start = {.hook = hook, .event = told->event};
    begin(hook, &start);
    told_release(told);
    if (hook->once) {
        hook_remove(hook);
    }
}

/* Not while its app changes hands. */
static bool may_begin(const struct hook *hook)
{
    enum app_phase phase = hook->app->phase;
    return phase == APP_LIVE || (phase == APP_PAUSED && hook->kind == HOOK_LEAD);
}

void hook_next(struct hook *hook)
{
    if (hook->call != NULL || hook->lead.tasks > 0) {
        return;
    }
    if (hook->removed) {
        hook_release(hook);
    } else if (!may_begin(hook)) {
        return;
    } else if (hook->state == HOOK_ON && hook->kind == HOOK_COMMIT) {
        next_commit(hook);
    } else if (hook->state == HOOK_ON && hook->kind == HOOK_EVENT) {
        next_event(hook);
    } else if (hook->state == HOOK_ON && hook->kind == HOOK_LEAD) {
        lead_next(hook);
    }
}

/* ---- end ---------------------------------------------------------------------------------------
 */

void hook_ended(struct task *task)
{
    struct hook *hook = task->owner;
    struct script_host *host = hook->app->host;
    ASSERT(hook->call == task);
    uint64_t took_us = host_now_us(host) - hook->call_began_us;
    hook->durations_us[(hook->calls - 1) % HOOK_DURATIONS] =
        took_us < UINT32_MAX ? (uint32_t)took_us : UINT32_MAX;
    histogram_add(&hook->durations, took_us);
    hook->killed += task->outcome == TASK_WAS_KILLED;
    hook->call = NULL;
    deadline_clear(&host->deadlines, &hook->timeout);
    hooks_remove_of(task);
    bool timed_out = task->outcome == TASK_WAS_CANCELLED && task->cancelled == ERR_TIMEOUT;
    if (timed_out) {
        report_error(hook->app, task, task->where, task->cancel_reason, NULL,
                     hook->app->errors + 1);
    }
    if (task->outcome == TASK_RETURNED) {
        hook->failures = 0;
        hook->trip_us = HOOK_TRIP_US;
    } else if (task->outcome != TASK_WAS_CANCELLED || timed_out) {
        count_failure(hook);
    }
    if (hook->kind == HOOK_LEAD) {
        lead_ended(hook, task);
    }
    hook_wake(hook);
}

/* ---- figures -----------------------------------------------------------------------------------
 */

uint64_t hook_p99_us(const struct hook *hook)
{
    uint64_t ended = hook->calls - (hook->call != NULL);
    size_t count = ended < HOOK_DURATIONS ? (size_t)ended : HOOK_DURATIONS;
    if (count == 0) {
        return 0;
    }
    /* The longest ones, in descending order; the last of them is the answer. */
    uint32_t longest[HOOK_DURATIONS / 100 + 1] = {0};
    size_t kept = count - (count * 99 - 1) / 100;
    for (size_t i = 0; i < count; i++) {
        uint32_t moving_us = hook->durations_us[i];
        for (size_t at = 0; at < kept && moving_us > 0; at++) {
            if (moving_us > longest[at]) {
                uint32_t shorter_us = longest[at];
                longest[at] = moving_us;
                moving_us = shorter_us;
            }
        }
    }
    return longest[kept - 1];
}

uint64_t hook_lag(const struct hook *hook)
{
    if (hook->kind != HOOK_COMMIT) {
        return hook->queue_count;
    }
    const struct script_host *host = hook->app->host;
    uint64_t applied = host->view.last_applied;
    if (applied < host->feed.last_index) {
        applied = host->feed.last_index;
    }
    uint64_t next = hook->place.next_index;
    return next == 0 || applied < next ? 0 : applied - next + 1;
}

const char *hook_state_name(enum hook_state state)
{
    static const char *const names[] = {"on", "tripped", "off"};
    return names[state];
}
