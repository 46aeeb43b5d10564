/* The inside of a script host: what its parts share. Included by the files of this folder only.
 *
 * One struct script_host has many struct app, an app is one lua_State; a struct task is a coroutine
 * in it. Exactly one task runs at a time: host->current. All Lua code of users runs in a task; the
 * app's main lua_State runs C functions only, always under app_protect(). */
#ifndef MK_SCRIPT_HOST_H
#define MK_SCRIPT_HOST_H

#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/rng.h"
#include "script/deadlines.h"
#include "script/feed.h"
#include "script/handler.h"
#include "script/inbox.h"
#include "script/lead.h"
#include "script/memory.h"
#include "script/meter.h"
#include "script/metric.h"
#include "script/process.h"
#include "script/request_table.h"
#include "script/script.h"

struct eval;
struct hook;
struct route;
struct served;
struct task;
struct told;

LIST_HEAD(eval_list, eval);
LIST_HEAD(route_list, route);
LIST_HEAD(served_list, served);
TAILQ_HEAD(task_list, task);
TAILQ_HEAD(hook_list, hook);

/* Why a coroutine gave up the processor. Set by whoever yields, read by whoever resumed. */
enum yield_kind {
    YIELD_USER, /* coroutine.yield: to the coroutine.resume that resumed it */
    YIELD_WAIT, /* the task waits: to the scheduler, through all coroutines in between */
    YIELD_TURN, /* its slice is over: likewise */
    YIELD_KILL, /* its budget is over: likewise, and it is not resumed */
};

/* Of an application: whether its main chunk has come as far as to wait, or to its end. */
enum app_state { APP_STARTING, APP_RUNNING, APP_FAILED };

/* Of a generation of an application, see reload.h. */
enum app_phase {
    APP_LIVE,
    APP_PAUSED, /* no call of its hooks begins, while_leader excepted */
    APP_ENDING, /* nor that; its tasks are cancelled */
    APP_STAGED, /* is to take over: only what its main chunk does itself, and waits for, runs */
};

struct app {
    struct script_host *host;
    char *name;
    char *path;
    struct slice config; /* MessagePack map, or empty */
    lua_State *main;
    struct memory memory;
    struct task_list tasks; /* all that have not ended, oldest first */
    uint32_t tasks_count;
    uint32_t pooled; /* threads kept for the next task */
    uint64_t errors;
    uint64_t tasks_killed;
    enum app_state state;
    char *failure;   /* APP_FAILED: why its main chunk did not come to its end */
    char *traceback; /* of that; may be NULL */
    bool main_ended;
    enum app_phase phase;
    struct hook_list staged_hooks; /* APP_STAGED: in place of the host's */
    uint32_t generation;           /* from 1 on */
    bool declared;                 /* its configuration was held against a schema, */
    bool declared_good;            /* in which there was no mistake */
    bool lacks_settings;           /* it has asked for one that is not there, and needed it */
    char *reload_error;            /* why its last reload came to nothing; NULL: it did not */
    uint64_t serial;               /* no other app of the host has had it */
    bool metrics_full;             /* it was told that there are too many */
    bool ad_hoc;                   /* made by the host itself: no reload ends it */
    TAILQ_ENTRY(app) link;
};
TAILQ_HEAD(app_list, app);

struct script_host {
    struct script_options options;
    char *node_id;
    char *node_addr;
    char *node_version;
    char *node_cluster;
    uint64_t started_us;

    struct app_list apps;
    struct hook_list hooks;     /* of all apps: priority desc, then order of registration */
    struct hook_list due_hooks; /* to be looked at by hook_next() */
    uint64_t hooks_order;
    struct task_list ready; /* tasks that can run, first come first served */
    struct deadlines deadlines;
    struct inbox inbox;
    struct request_table requests; /* of tasks */
    uint64_t own_requests;         /* sent by the host itself */
    struct process_list processes; /* of all apps */
    uint64_t process_ids;
    uint64_t app_serials;
    struct metric_families metrics; /* of all apps */
    bool metrics_changed;           /* since they were published */
    struct eval_list evals;         /* under way */
    struct reload *reload;          /* under way; NULL: none */
    struct handler_list handlers;
    struct call_list calls; /* under way */
    struct route_list routes;
    uint64_t route_ids;
    struct served_list served;       /* requests under way */
    struct served_items held_served; /* until their app has changed hands */
    struct feed feed;
    uint64_t event_seq;                         /* of the last event told */
    struct told *state_events[SCRIPT_STATES];   /* the last of each, for replay */
    struct told *node_states[SCRIPT_PEERS_MAX]; /* likewise, of each node */
    uint32_t node_states_count;
    uint64_t task_ids;

    /* What runs now, see preempt.h. running and tick are shared with a signal handler
     * on the same thread. */
    struct task *current;
    enum yield_kind yield;
    _Atomic(lua_State *) running;
    atomic_bool tick;
    /* The beginning of the slice: on the clock, and, once a tick asked for it, in processor time
     * (reading that is a system call, and most slices end before a tick). */
    _Atomic uint64_t slice_at_us;
    _Atomic uint64_t slice_cpu_us;
    uint64_t slice_instructions; /* where there is no port */
    struct meter string_meter;   /* of the pattern that is being matched */

    struct script_view view; /* the host's copy, taken at the start of a run */
    struct leadership leadership;
    atomic_bool leader_work;
    bool shutting_down;
    struct deadline shutdown_deadline;
    atomic_bool shutdown_finished;

    uint64_t fail_after; /* for tests: struct memory's, of the next app */
    bool freeing;
    bool dead; /* the process has died: no code of scripts runs */
    /* Simulation, where time stands still while scripts run: what they used is made up for
     * afterwards. */
    uint64_t spent_us;
    uint64_t busy_until_us;
    uint64_t cursors; /* of commit hooks, so far */
    uint64_t inbox_dropped;
    struct script_stats stats; /* the host's own */
    uint64_t published_us;
    bool unpublished;              /* the lists below are older than what they tell of */
    bool loaded;                   /* no application is starting any more */
    struct script_stats published; /* under publish_lock */
    struct slice published_hooks;
    struct slice published_apps;
    struct slice published_metrics;
    pthread_mutex_t publish_lock;
};

static inline uint64_t host_now_us(const struct script_host *host)
{
    return clock_now_us(host->options.clock);
}

/* Make the lists that other threads see (script_host_hooks(), script_host_apps(), the metrics)
 * anew: done now and then, when there is no application starting any more, and before a reload is
 * answered. */
void host_publish_lists(struct script_host *host);

/* Run fn(arg) in the app's main state, protected: fn finds arg as a light userdata at index 1. What
 * fn leaves on the stack is dropped. False when it raised an error (out of memory, as a rule),
 * which is logged. Never called from inside Lua. */
bool app_protect(struct app *app, lua_CFunction fn, void *arg);

#endif
