/* Hooks: functions of scripts that are called for events.
 *
 * A hook is a userdata anchored in the registry until it is removed and its last call has ended.
 * Its calls are serial and in order; the calls of different hooks are tasks beside each other,
 * started by priority, then in the order of registration. What cannot be delivered yet waits in the
 * hook's own bounded queue; commits wait in the feed (feed.h), where each hook has a position. A
 * while_leader (lead.h) is a hook too, for its name, state and figures. */
#ifndef MK_SCRIPT_HOOK_H
#define MK_SCRIPT_HOOK_H

#include "base/histogram.h"
#include "script/host.h"
#include "script/task.h"

#define HOOK_TYPE "moonkeeper.hook"
enum { HOOK_UV_FUNCTION = 1, HOOK_UV_COUNT = 1 };

/* An event on its way to several hooks; the host's thread only. */
struct told {
    uint32_t references;
    struct script_event *event;
};

enum hook_state { HOOK_ON, HOOK_TRIPPED, HOOK_OFF };
enum hook_kind { HOOK_EVENT, HOOK_COMMIT, HOOK_LEAD };

enum { HOOK_DURATIONS = 256, HOOK_FAILURES_TO_TRIP = 10, HOOK_TRIP_US = 60000000 };

struct hook_spec {
    const char *event;
    const char *name; /* NULL: one is made up */
    lua_Integer priority;
    bool once;
    bool replay;
    uint64_t from_index; /* commits: begin there; 0: with the next one */
    uint64_t timeout_us;
    struct task *owner; /* removed when this task ends; NULL: the app's */
};

struct hook {
    struct app *app;
    char event[sizeof((struct script_event *)0)->name];
    char name[SCRIPT_NAME_MAX];
    char where[TASK_WHERE_MAX]; /* of its calls: "hook commit/audit" */
    enum hook_kind kind;
    enum hook_state state;
    bool removed;
    bool once;
    bool unnamed; /* its name was made up */
    bool replay;
    lua_Integer priority;
    uint64_t order;
    uint64_t timeout_us;
    uint64_t from_index;
    struct task *owner;
    TAILQ_ENTRY(hook) link;
    TAILQ_ENTRY(hook) due_link;
    struct hook *takes_over; /* of the generation before; while its app takes over */
    bool due;                /* on host->due_hooks */

    struct told **queue; /* a ring */
    uint32_t queue_head;
    uint32_t queue_count;
    uint32_t queue_capacity;
    size_t queue_bytes; /* of their fields */
    uint64_t dropped;
    struct task *call; /* that runs now */
    uint64_t call_began_us;
    struct deadline timeout;

    struct feed_place place; /* HOOK_COMMIT */
    struct lead lead;        /* HOOK_LEAD */

    uint64_t calls;
    uint64_t errors;
    uint64_t killed;
    uint32_t failures; /* in a row */
    uint64_t trip_us;  /* how long the next trip lasts */
    struct deadline trip;
    uint32_t durations_us[HOOK_DURATIONS]; /* of the last calls, a ring */
    struct histogram durations;            /* of all */
};

/* Once per state. Stack: [-0, +0]. Raises: out of memory. */
void hooks_open(lua_State *L);

/* Register the function on top of L: [-1, +1 (the hook)]. Raises: out of memory. */
struct hook *hook_add(lua_State *L, const struct hook_spec *spec, enum hook_kind kind);
void hook_remove(struct hook *hook);
void hook_enable(struct hook *hook, bool on);
/* The calls that scripts of this task's scope have registered go with it. */
void hooks_remove_of(const struct task *owner);

/* Push the hook, until it is removed and its last call has ended; else nil, and false.
 * Stack: [-0, +1]. */
bool hook_push(lua_State *L, const struct hook *hook);

/* Have hook_next() called from the host's loop: calls are started from there, never from inside
 * Lua. */
void hook_wake(struct hook *hook);
/* A hook of a generation that takes over begins to be told. old, of the generation before it, is
 * the one whose place it takes, with what waits there; NULL: none. The app is no longer staged. */
void hook_go_live(struct hook *hook, struct hook *old);
/* Where the hooks of an app are listed: on the host, or, while it is staged, apart. */
struct hook_list *hooks_of(struct app *app);
/* Start the next call if there is something to call for; let a removed hook go (it may be gone
 * afterwards). */
void hook_next(struct hook *hook);
/* A call has ended: task->ended of the tasks of hooks. Counts, trips, goes on. */
void hook_ended(struct task *task);
/* Let a removed hook without a call be collected. */
void hook_release(struct hook *hook);
/* What waits first; the caller gets the reference. NULL: nothing. */
struct told *hook_take(struct hook *hook);
void told_release(struct told *told);

/* The call of a hook that this task is, or works for; its owner is the hook. NULL: there is none.
 */
const struct task *hook_call_of(const struct task *task);

/* Deliver an event to all hooks for it; takes it over. Gives it its seq. */
void hooks_deliver(struct script_host *host, struct script_event *event_take);
/* Deliver an event of the host's own, now. */
void hooks_tell(struct script_host *host, const char *name, struct bytes fields);

uint64_t hook_p99_us(const struct hook *hook);
/* What waits for it: events, or commits applied and not delivered. */
uint64_t hook_lag(const struct hook *hook);
const char *hook_state_name(enum hook_state state);
/* All hooks of an app whose state is about to be closed. */
void hooks_drop_all(struct app *app);

#endif
