#include "script/preempt.h"

#include "base/assert.h"
#include "script/thread.h"

/* Simulation: what a VM instruction counts as, and how many pass between two looks. A switch to
 * another coroutine, which starts that count anew, and a caught error are charged. */
enum {
    INSTRUCTIONS_PER_US = 100,
    INSTRUCTIONS_PER_LOOK = 1000,
    INSTRUCTIONS_PER_SWITCH = 100,
    INSTRUCTIONS_PER_ERROR = 10000,
};

/* Processor time at the beginning of the slice has not been asked for. */
#define NOT_READ UINT64_MAX

/* The error that ends a task. */
static char killed;

static bool counts_instructions(const struct script_host *host)
{
    return host->options.preempt == NULL;
}

static void set_tick(struct script_host *host, bool tick)
{
    atomic_store_explicit(&host->tick, tick, memory_order_relaxed);
}

static void set_running(struct script_host *host, lua_State *L)
{
    atomic_store_explicit(&host->running, L, memory_order_relaxed);
}

uint64_t preempt_used_us(const struct task *task)
{
    const struct script_host *host = task->app->host;
    if (host->current != task) {
        return task->burst_us;
    }
    if (counts_instructions(host)) {
        return task->burst_us + host->slice_instructions / INSTRUCTIONS_PER_US;
    }
    uint64_t began_us = atomic_load_explicit(&host->slice_cpu_us, memory_order_relaxed);
    const struct preempt_port *port = host->options.preempt;
    return task->burst_us + (began_us == NOT_READ ? 0 : port->cpu_us(port->ctx) - began_us);
}

/* At the first tick of a slice: it began at most one period ago. */
static void read_slice_cpu(struct script_host *host)
{
    if (atomic_load_explicit(&host->slice_cpu_us, memory_order_relaxed) != NOT_READ) {
        return;
    }
    const struct preempt_port *port = host->options.preempt;
    uint64_t cpu_us = port->cpu_us(port->ctx);
    uint64_t passed_us =
        host_now_us(host) - atomic_load_explicit(&host->slice_at_us, memory_order_relaxed);
    uint64_t used_us =
        passed_us < host->options.limits.slice_us ? passed_us : host->options.limits.slice_us;
    used_us = used_us < cpu_us ? used_us : cpu_us;
    atomic_store_explicit(&host->slice_cpu_us, cpu_us - used_us, memory_order_relaxed);
}

/* Raise the error that ends the task, now and at every further instruction. */
static void raise_killed(struct task *task, lua_State *L, lua_Hook hook)
{
    task->raising = true;
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
    lua_pushlightuserdata(L, &killed); /* allocates nothing */
    lua_error(L);
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct script_host *host = thread_app(L)->host;
    struct task *task = host->current;
    ASSERT(task != NULL);
    if (task->raising) {
        raise_killed(task, L, on_count);
    }
    if (counts_instructions(host)) {
        host->slice_instructions += INSTRUCTIONS_PER_LOOK;
    } else {
        lua_sethook(L, NULL, 0, 0);
        set_tick(host, false);
    }
    const struct script_limits *limits = &host->options.limits;
    uint64_t used_us = preempt_used_us(task);
    bool can_yield = task->blocked == 0 && lua_isyieldable(L);
    bool over = used_us >= (task->closing ? limits->budget_us / 5 : limits->budget_us);
    if (over || (task->kill_asked && !task->closing)) {
        if (!can_yield) {
            raise_killed(task, L, on_count);
        }
        host->yield = YIELD_KILL;
        lua_yield(L, 0);
    } else if (can_yield && used_us - task->burst_us >= limits->slice_us) {
        host->yield = YIELD_TURN;
        lua_yield(L, 0);
    }
}

/* On the host's thread, but in a signal handler: lua_sethook is made for that. */
static void preempt_tick(void *arg)
{
    struct script_host *host = arg;
    set_tick(host, true);
    lua_State *L = atomic_load_explicit(&host->running, memory_order_relaxed);
    if (L != NULL) {
        read_slice_cpu(host);
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    }
}

void preempt_start(struct script_host *host)
{
    const struct preempt_port *port = host->options.preempt;
    if (port != NULL) {
        port->start(port->ctx, host->options.limits.slice_us, preempt_tick, host);
    }
}

void preempt_stop(struct script_host *host)
{
    const struct preempt_port *port = host->options.preempt;
    if (port != NULL) {
        port->stop(port->ctx);
    }
    set_tick(host, false);
}

void preempt_begin(struct task *task)
{
    struct script_host *host = task->app->host;
    ASSERT(host->current == NULL);
    host->current = task;
    host->yield = YIELD_USER;
    if (counts_instructions(host)) {
        host->slice_instructions = 0;
    } else {
        atomic_store_explicit(&host->slice_at_us, host_now_us(host), memory_order_relaxed);
        atomic_store_explicit(&host->slice_cpu_us, NOT_READ, memory_order_relaxed);
    }
    preempt_enter(task, task->nest_count > 0 ? task->nest[task->nest_count - 1] : task->L);
}

void preempt_enter(struct task *task, lua_State *L)
{
    struct script_host *host = task->app->host;
    set_running(host, L);
    if (task->raising) {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    } else if (counts_instructions(host)) {
        host->slice_instructions += INSTRUCTIONS_PER_SWITCH;
        bool look = preempt_used_us(task) >= task->burst_us + host->options.limits.slice_us;
        lua_sethook(L, on_count, LUA_MASKCOUNT, look ? 1 : INSTRUCTIONS_PER_LOOK);
    } else if (atomic_load_explicit(&host->tick, memory_order_relaxed)) {
        lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    }
}

void preempt_end(struct task *task)
{
    struct script_host *host = task->app->host;
    ASSERT(host->current == task);
    if (counts_instructions(host)) {
        host->spent_us += preempt_used_us(task) - task->burst_us;
    }
    task->burst_us = preempt_used_us(task);
    set_running(host, NULL);
    host->current = NULL;
}

void preempt_charge_error(struct task *task)
{
    task->app->host->slice_instructions += INSTRUCTIONS_PER_ERROR;
}

void preempt_close_thread(struct task *task, lua_State *L)
{
    lua_State *outer = atomic_load_explicit(&task->app->host->running, memory_order_relaxed);
    thread_set(L, THREAD_CLOSING, true);
    task->blocked++;
    preempt_enter(task, L);
    lua_resetthread(L);
    if (outer != NULL) {
        preempt_enter(task, outer);
    }
    task->blocked--;
    thread_set(L, THREAD_CLOSING, false);
}
