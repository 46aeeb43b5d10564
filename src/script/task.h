/* Tasks: coroutines that the scheduler runs, one slice each in turn.
 *
 * A task is a full userdata with its struct inside; the registry anchors it until it has ended, so
 * the lists below may point at it. It has a parent (NULL: the app itself) and dies with it: when a
 * task ends, its children are cancelled, and pass on to its parent until they have ended.
 *
 * Waiting: a binding calls `return task_wait(L, until, k, ctx)`. The whole chain of coroutines
 * yields to the scheduler; whoever brings what it waits for calls task_wake(); k goes on from there
 * and begins with task_woken(), which raises when the task was cancelled meanwhile. */
#ifndef MK_SCRIPT_TASK_H
#define MK_SCRIPT_TASK_H

#include "script/host.h"

enum task_kind { TASK_MAIN, TASK_SPAWNED, TASK_HOOK, TASK_LEAD, TASK_EVAL, TASK_CALL };
enum task_state {
    TASK_READY,
    TASK_RUNNING,
    TASK_WAITING,
    TASK_ENDING, /* its code has ended, what it waits for has not: see task_is_rid_of_some() */
    TASK_ENDED
};
enum task_outcome { TASK_RETURNED, TASK_FAILED, TASK_WAS_CANCELLED, TASK_WAS_KILLED };
enum task_wake { WAKE_NONE, WAKE_CALL, WAKE_TIME, WAKE_CANCEL };

/* Registry keys: the userdata of tasks that have not ended, by address; threads kept for reuse. */
extern const char task_anchors_key;
extern const char task_pool_key;

/* The metatable's name, and the user values of a task. */
#define TASK_TYPE "moonkeeper.task"
enum {
    TASK_UV_THREAD = 1,
    TASK_UV_RESULT,
    TASK_UV_TRACEBACK,
    TASK_UV_DEFERRED,
    TASK_UV_CHILD_ERROR,
    TASK_UV_COUNT = 5
};

enum { TASK_WHERE_MAX = 128 };

struct task {
    struct app *app;
    lua_State *L;
    uint64_t id;
    enum task_kind kind;
    enum task_state state;
    enum task_outcome outcome;
    char where[TASK_WHERE_MAX]; /* for messages: "hook leader_elected/webhook" */

    struct hook *lead; /* the while_leader that it works for; NULL: none */
    struct task *parent;
    struct task_list children;
    bool is_scope;         /* timers made below belong to it */
    bool is_call;          /* somebody waits for its result: it may finish when its app ends */
    bool lasting;          /* looks after something for others: ends after all of them */
    bool fails_with_child; /* a child that fails cancels it */
    bool awaits_children;  /* its wait ends with its last child, and not by being cancelled */
    TAILQ_ENTRY(task) sibling;
    TAILQ_ENTRY(task) app_link;
    TAILQ_ENTRY(task) run_link;
    bool queued; /* on host->ready */
    bool held;   /* of a staged app: it is ready, and waits for its generation to take over */

    /* Waiting. */
    enum task_wake wake;
    uint64_t ticket; /* number of the present or last wait */
    struct deadline alarm;
    uint64_t request_id; /* waits for this answer; 0: for something else */
    /* Called when it stops waiting for that before it came; NULL: it is let come. */
    void (*give_up)(struct script_host *host, uint64_t request_id);
    enum err reply_err;
    char *reply_message;
    struct slice reply;
    struct task *joining;
    bool takes_error; /* of the one it joins: its failure is not reported as nobody's */
    struct task_list joiners;
    TAILQ_ENTRY(task) join_link;

    /* Being ended from outside. */
    enum err cancelled; /* ERR_OK: it is not */
    char cancel_reason[TASK_WHERE_MAX];
    bool shielded;   /* runs its deferred functions: waits are allowed again */
    bool kill_asked; /* to be closed instead of resumed */
    bool raising;    /* killed where it could not yield: every instruction raises */
    char kill_reason[TASK_WHERE_MAX];
    struct deadline end_by;
    bool late; /* it has passed: the last deferred function sees its killed children gone */
    const char *end_reason;

    /* Processor time, see preempt.h. */
    uint64_t burst_us; /* used since its last wait, in earlier slices */
    uint32_t blocked;  /* > 0: below a frame that cannot yield */
    bool closing;
    lua_State **nest; /* the coroutines in it that are under way, outermost first */
    uint32_t nest_count;
    uint32_t nest_capacity;

    uint32_t arguments; /* on L's stack for the first resume */
    bool failed;        /* its function raised; the error is its result */
    bool reusable;      /* its thread ended in good order */
    /* Called once, when it has ended, before its children are handed on. May be NULL. */
    void (*ended)(struct task *task);
    void *owner;
    /* TASK_HOOK: of the event that it is called for; index 0: it has none. */
    uint64_t event_term;
    uint64_t event_index;
};

struct task_spec {
    enum task_kind kind;
    struct task *parent;
    struct hook *lead; /* where there is no parent to take it from */
    const char *where; /* copied, cut */
    void (*ended)(struct task *task);
    void *owner;
};

/* Once per state. Stack: [-0, +0]. Raises: out of memory. */
void tasks_open(lua_State *L);
/* Push the task, while it has not ended; else nil, and false. Stack: [-0, +1]. */
bool task_push(lua_State *L, const struct task *task);

/* Start a task that runs the function below the arguments on top of L, in its turn.
 * Stack: [-(1 + arguments), +1 (the task)]. Raises: out of memory, too many tasks. */
struct task *task_spawn(lua_State *L, const struct task_spec *spec, int arguments);

/* Can L wait? Not in a sort comparator, while a chunk is loaded by require, ... Stack: [-0, +0]. */
bool task_can_wait(lua_State *L);
/* The running task; raises where L cannot wait or the task was cancelled. Stack: [-0, +0]. */
struct task *task_that_waits(lua_State *L);
/* Wait until task_wake() or until_us (UINT64_MAX: no limit). Only as `return task_wait(...)`. */
int task_wait(lua_State *L, uint64_t until_us, lua_KFunction k, lua_KContext ctx);
/* What ended the wait; raises the cancellation. Stack: [-0, +0]. */
enum task_wake task_woken(lua_State *L);
/* Nothing happens unless it waits. */
void task_wake(struct task *task, enum task_wake wake);
/* Have self woken when other has ended. Before task_wait(). */
void task_join_wait(struct task *self, struct task *other, bool takes_error);
/* Raise if the running task was cancelled. Stack: [-0, +0]. */
void task_check(lua_State *L);

/* Have it, and all below it, raise code at its present and every later wait, and kill what is left
 * at end_us. The first call's code and reason count, and the earliest end. */
void task_cancel(struct task *task, enum err code, const char *reason, uint64_t end_us);
/* How long a cancelled task may go on where nothing else is said. */
enum { TASK_UNWIND_US = 5000000 };
uint64_t task_unwind_end(const struct task *task);
/* End it, and all below it, without resuming it: its <close> variables are closed within a small
 * budget. Carried out at its next turn. */
void task_kill(struct task *task, const char *reason);
/* task_kill at this time at the latest. The reason is a constant. */
void task_end_by(struct task *task, uint64_t at_us, const char *reason);
/* That time has come. What only waits for its children to end is given time to see them killed. */
void task_kill_late(struct task *task);

/* The nearest task above and including task that is a scope; NULL: the app. */
struct task *task_scope(struct task *task);

/* Let it run after all. Nothing happens unless it is held. */
void task_let_go(struct task *task);
/* Queue it for its next slice. */
void task_make_ready(struct task *task);
/* It waits for nothing any more. */
void task_leave_wait(struct task *task);

/* The last of its programs or children has gone. If it is TASK_ENDING, it waits for all its
 * programs, and when it was killed, for its children: it ends if none is left. */
void task_is_rid_of_some(struct task *task);
/* It is TASK_ENDING, and ends, whatever is left of what it waits for. */
void task_waits_no_longer(struct task *task);

/* Give a task one slice; it must be ready and off the queue. */
void task_run(struct task *task);
/* Forget all tasks of an app whose state is about to be closed: closes their threads first. */
void task_drop_all(struct app *app);

#endif
