#include "script/hook.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/thread.h"

/* Registry key: the userdata of hooks, by address. */
static const char anchors_key;

void hooks_open(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
}

bool hook_push(lua_State *L, const struct hook *hook)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    lua_rawgetp(L, -1, hook);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

void told_release(struct told *told)
{
    ASSERT(told->references > 0);
    if (--told->references == 0) {
        script_event_free(told->event);
        free(told);
    }
}

/* ---- the queue of one hook ---------------------------------------------------------------------
 */

static struct told **queue_at(struct hook *hook, uint32_t i)
{
    return &hook->queue[(hook->queue_head + i) & (hook->queue_capacity - 1)];
}

static struct told *queue_remove(struct hook *hook, uint32_t i)
{
    struct told *told = *queue_at(hook, i);
    hook->queue_bytes -= told->event->fields.size;
    for (; i + 1 < hook->queue_count; i++) {
        *queue_at(hook, i) = *queue_at(hook, i + 1);
    }
    hook->queue_count--;
    return told;
}

static struct told *queue_pop(struct hook *hook)
{
    struct told *told = *queue_at(hook, 0);
    hook->queue_bytes -= told->event->fields.size;
    hook->queue_head++;
    hook->queue_count--;
    return told;
}

struct told *hook_take(struct hook *hook)
{
    return hook->queue_count > 0 ? queue_pop(hook) : NULL;
}

/* When it is full, a state event takes the room of the waiting one that it makes void. */
static bool queue_has_room(struct hook *hook, const struct script_event *event)
{
    bool fits =
        hook->queue_count == 0 || hook->queue_bytes + event->fields.size <= MESSAGES_BYTES_MAX;
    if (hook->queue_count < hook->app->host->options.limits.events_max && fits) {
        return true;
    }
    if (event_state_slot(event->name) < 0) {
        return false;
    }
    for (uint32_t i = hook->queue_count; i-- > 0;) {
        if (event_same_state((*queue_at(hook, i))->event, event)) {
            told_release(queue_remove(hook, i));
            return true;
        }
    }
    return false;
}

static void queue_push(struct hook *hook, struct told *told)
{
    if (!queue_has_room(hook, told->event)) {
        hook->dropped++;
        hook->app->host->stats.events_dropped++;
        return;
    }
    if (hook->queue_count == hook->queue_capacity) {
        uint32_t capacity = hook->queue_capacity == 0 ? 4 : hook->queue_capacity * 2;
        struct told **grown = alloc_zeroed(capacity, sizeof(struct told *));
        for (uint32_t i = 0; i < hook->queue_count; i++) {
            grown[i] = *queue_at(hook, i);
        }
        free(hook->queue);
        hook->queue = grown;
        hook->queue_head = 0;
        hook->queue_capacity = capacity;
    }
    hook->queue_count++;
    hook->queue_bytes += told->event->fields.size;
    *queue_at(hook, hook->queue_count - 1) = told;
    told->references++;
}

static void queue_clear(struct hook *hook)
{
    while (hook->queue_count > 0) {
        told_release(queue_pop(hook));
    }
    free(hook->queue);
    hook->queue = NULL;
    hook->queue_capacity = 0;
    hook->queue_head = 0;
}

/* ---- registration ------------------------------------------------------------------------------
 */

struct hook_list *hooks_of(struct app *app)
{
    return app->phase == APP_STAGED ? &app->staged_hooks : &app->host->hooks;
}

static struct hook *find(struct app *app, const char *event, const char *name)
{
    struct hook *hook;
    TAILQ_FOREACH (hook, hooks_of(app), link) {
        if (hook->app == app && strcmp(hook->event, event) == 0 && strcmp(hook->name, name) == 0) {
            return hook;
        }
    }
    return NULL;
}

static void insert_by_priority(struct hook_list *list, struct hook *hook)
{
    struct hook *other;
    TAILQ_FOREACH (other, list, link) {
        if (other->priority < hook->priority) {
            TAILQ_INSERT_BEFORE(other, hook, link);
            return;
        }
    }
    TAILQ_INSERT_TAIL(list, hook, link);
}

/* The hook that takes the place of old gets what still waits for it. */
static void inherit(struct hook *hook, struct hook *old)
{
    hook->queue = old->queue;
    hook->queue_head = old->queue_head;
    hook->queue_count = old->queue_count;
    hook->queue_capacity = old->queue_capacity;
    hook->queue_bytes = old->queue_bytes;
    old->queue = NULL;
    old->queue_count = 0;
    old->queue_bytes = 0;
    old->queue_capacity = 0;
}

static void on_timeout(struct deadline *d)
{
    struct hook *hook = (struct hook *)((char *)d - offsetof(struct hook, timeout));
    ASSERT(hook->call != NULL);
    task_cancel(hook->call, ERR_TIMEOUT, "the hook's timeout_ms is over",
                task_unwind_end(hook->call));
}

static void on_trip_over(struct deadline *d)
{
    struct hook *hook = (struct hook *)((char *)d - offsetof(struct hook, trip));
    hook->state = HOOK_ON;
    hook->failures = 0;
    if (hook->kind == HOOK_COMMIT) {
        feed_unpark(hook->app->host, hook);
    }
    hook_wake(hook);
}

static void replay(struct hook *hook)
{
    const struct script_host *host = hook->app->host;
    int slot = event_state_slot(hook->event);
    struct told *last = slot >= 0 ? host->state_events[slot] : NULL;
    if (last != NULL && strcmp(last->event->name, hook->event) == 0) {
        queue_push(hook, last);
    }
    for (uint32_t i = 0; i < host->node_states_count; i++) {
        if (strcmp(host->node_states[i]->event->name, hook->event) == 0) {
            queue_push(hook, host->node_states[i]);
        }
    }
}

static void fill(struct hook *hook, struct app *app, const struct hook_spec *spec)
{
    struct script_host *host = app->host;
    hook->app = app;
    hook->order = ++host->hooks_order;
    snprintf(hook->event, sizeof hook->event, "%s", spec->event);
    hook->unnamed = spec->name == NULL;
    if (spec->name != NULL) {
        snprintf(hook->name, sizeof hook->name, "%s", spec->name);
    } else {
        snprintf(hook->name, sizeof hook->name, "#%llu", (unsigned long long)hook->order);
    }
    snprintf(hook->where, sizeof hook->where, "hook %s/%s", hook->event, hook->name);
    hook->priority = spec->priority;
    hook->once = spec->once;
    hook->replay = spec->replay;
    hook->timeout_us = spec->timeout_us;
    hook->from_index = spec->from_index;
    hook->owner = spec->owner;
    hook->trip_us = HOOK_TRIP_US;
    hook->timeout.fire = on_timeout;
    hook->trip.fire = on_trip_over;
}

/* It is listed: events, commits or the leadership concern it from now on. */
static void begin_to_be_told(struct hook *hook, bool may_replay)
{
    if (hook->replay && may_replay) {
        replay(hook);
    }
    if (hook->kind == HOOK_COMMIT) {
        feed_join(hook->app->host, hook, hook->from_index);
    } else if (hook->kind == HOOK_LEAD) {
        lead_consider(hook);
    }
    hook_wake(hook);
}

struct hook *hook_add(lua_State *L, const struct hook_spec *spec, enum hook_kind kind)
{
    struct app *app = thread_app(L);
    luaL_checkstack(L, 4, NULL);
    struct hook *hook = lua_newuserdatauv(L, sizeof *hook, HOOK_UV_COUNT);
    memset(hook, 0, sizeof *hook);
    luaL_setmetatable(L, HOOK_TYPE);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, HOOK_UV_FUNCTION);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, hook);
    lua_pop(L, 1);
    /* Nothing below can raise. */
    fill(hook, app, spec);
    hook->kind = kind;
    struct hook *old = find(app, hook->event, hook->name);
    if (old != NULL) {
        inherit(hook, old);
        hook_remove(old);
    }
    insert_by_priority(hooks_of(app), hook);
    if (app->phase != APP_STAGED) {
        begin_to_be_told(hook, old == NULL);
    }
    return hook;
}

/* Its figures go on: they are counters to those who read them. */
static void adopt_figures(struct hook *hook, const struct hook *old)
{
    hook->calls = old->calls;
    hook->errors = old->errors;
    hook->killed = old->killed;
    hook->dropped = old->dropped;
    hook->durations = old->durations;
    memcpy(hook->durations_us, old->durations_us, sizeof hook->durations_us);
}

void hook_go_live(struct hook *hook, struct hook *old)
{
    struct script_host *host = hook->app->host;
    ASSERT(hook->app->phase != APP_STAGED);
    TAILQ_REMOVE(&hook->app->staged_hooks, hook, link);
    insert_by_priority(&host->hooks, hook);
    bool goes_on = old != NULL && old->state != HOOK_OFF;
    if (old != NULL) {
        adopt_figures(hook, old);
        inherit(hook, old);
    }
    if (hook->state == HOOK_OFF) {
        queue_clear(hook);
    } else if (hook->kind == HOOK_COMMIT && goes_on && hook->from_index == 0) {
        hook->place = old->place;
        feed_unpark(host, hook);
        hook_wake(hook);
    } else {
        begin_to_be_told(hook, hook->queue_count == 0);
    }
}

void hook_remove(struct hook *hook)
{
    struct script_host *host = hook->app->host;
    if (hook->removed) {
        return;
    }
    hook->removed = true;
    hook->state = HOOK_OFF;
    TAILQ_REMOVE(hooks_of(hook->app), hook, link);
    deadline_clear(&host->deadlines, &hook->trip);
    queue_clear(hook);
    if (hook->app->phase == APP_STAGED) {
        /* Nobody tells it anything yet. */
    } else if (hook->kind == HOOK_COMMIT) {
        feed_leave(host, hook);
    } else if (hook->kind == HOOK_LEAD) {
        lead_stop(hook, "the while_leader was removed");
    }
    hook_wake(hook);
}

void hook_enable(struct hook *hook, bool on)
{
    struct script_host *host = hook->app->host;
    if (hook->removed || on == (hook->state == HOOK_ON)) {
        return;
    }
    if (hook->app->phase == APP_STAGED) {
        hook->state = on ? HOOK_ON : HOOK_OFF;
        return;
    }
    deadline_clear(&host->deadlines, &hook->trip);
    if (on) {
        bool was_off = hook->state == HOOK_OFF;
        hook->state = HOOK_ON;
        hook->failures = 0;
        if (hook->kind == HOOK_COMMIT) {
            was_off ? feed_join(host, hook, 0) : feed_unpark(host, hook);
        } else if (hook->kind == HOOK_LEAD) {
            lead_consider(hook);
        }
        hook_wake(hook);
        return;
    }
    hook->state = HOOK_OFF;
    queue_clear(hook);
    if (hook->kind == HOOK_COMMIT) {
        feed_leave(host, hook);
    } else if (hook->kind == HOOK_LEAD) {
        lead_stop(hook, "the while_leader was disabled");
    }
}

void hook_wake(struct hook *hook)
{
    if (!hook->due) {
        hook->due = true;
        TAILQ_INSERT_TAIL(&hook->app->host->due_hooks, hook, due_link);
    }
}

/* Under app_protect(). */
static int unanchor(lua_State *L)
{
    struct hook *hook = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, hook);
    return 0;
}

void hook_release(struct hook *hook)
{
    ASSERT(hook->removed);
    ASSERT(hook->call == NULL);
    deadline_clear(&hook->app->host->deadlines, &hook->lead.start);
    struct hook *next = find(hook->app, hook->event, hook->name);
    if (next != NULL) { /* a while_leader waits for the last one of its name to end */
        hook_wake(next);
    }
    app_protect(hook->app, unanchor, hook);
}

void hooks_remove_of(const struct task *owner)
{
    struct hook *hook = TAILQ_FIRST(hooks_of(owner->app));
    while (hook != NULL) {
        struct hook *next = TAILQ_NEXT(hook, link);
        if (hook->owner == owner) {
            hook_remove(hook);
        }
        hook = next;
    }
}

void hooks_drop_all(struct app *app)
{
    struct hook *hook = TAILQ_FIRST(hooks_of(app));
    while (hook != NULL) {
        struct hook *next = TAILQ_NEXT(hook, link);
        if (hook->app == app) {
            hook->call = NULL;
            deadline_clear(&app->host->deadlines, &hook->timeout);
            deadline_clear(&app->host->deadlines, &hook->lead.start);
            hook_remove(hook);
        }
        hook = next;
    }
    hook = TAILQ_FIRST(&app->host->due_hooks);
    while (hook != NULL) {
        struct hook *next = TAILQ_NEXT(hook, due_link);
        if (hook->app == app) {
            TAILQ_REMOVE(&app->host->due_hooks, hook, due_link);
        }
        hook = next;
    }
}

/* ---- delivery ----------------------------------------------------------------------------------
 */

static void keep_state(struct told **place, struct told *told)
{
    if (*place != NULL) {
        told_release(*place);
    }
    told->references++;
    *place = told;
}

/* Of each node, the last of node_online and node_offline is its state; of one that was removed,
 * nothing is left to replay. */
static void keep_node_state(struct script_host *host, struct told *told)
{
    uint32_t i = 0;
    while (i < host->node_states_count &&
           strcmp(host->node_states[i]->event->subject, told->event->subject) != 0) {
        i++;
    }
    if (event_state_slot(told->event->name) >= 0) {
        if (i < SCRIPT_PEERS_MAX) {
            keep_state(&host->node_states[i], told);
            host->node_states_count += i == host->node_states_count;
        }
    } else if (i < host->node_states_count) {
        told_release(host->node_states[i]);
        host->node_states[i] = host->node_states[--host->node_states_count];
        host->node_states[host->node_states_count] = NULL;
    }
}

void hooks_deliver(struct script_host *host, struct script_event *event_take)
{
    struct told *told = NEW(struct told);
    told->references = 1;
    told->event = event_take;
    if (event_take->seq <= host->event_seq) {
        event_take->seq = host->event_seq + 1; /* the host's own events are in between */
    }
    host->event_seq = event_take->seq;
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_EVENT && hook->state == HOOK_ON &&
            strcmp(hook->event, event_take->name) == 0) {
            queue_push(hook, told);
            hook_wake(hook);
        }
    }
    if (event_take->subject[0] != 0) {
        keep_node_state(host, told);
    } else if (event_state_slot(event_take->name) >= 0) {
        keep_state(&host->state_events[event_state_slot(event_take->name)], told);
    }
    told_release(told);
}

void hooks_tell(struct script_host *host, const char *name, struct bytes fields)
{
    const struct script_observer *observer = &host->options.observer;
    if (observer->event != NULL) {
        observer->event(observer->ctx, name, host->view.term, fields);
    }
    struct script_event *event = script_event_new(name);
    event->time_ms = clock_wall_ms(host->options.clock);
    event->term = host->view.term;
    event->fields = slice_copy(fields);
    hooks_deliver(host, event);
}
