/* moonkeeper.core: processes, as lua/moonkeeper/exec.lua needs them. A process is a userdata with
 * its number; who owns it is in script/process.h. */
#include <lauxlib.h>
#include <signal.h>
#include <string.h>

#include "port/process.h"
#include "script/api.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/request.h"
#include "script/task.h"
#include "script/thread.h"

#define PROCESS_TYPE "moonkeeper.process"

enum { ARGUMENTS_MAX = 4096, DATA_BYTES_MAX = 8 << 20 };

static const struct process_port *port_of(lua_State *L)
{
    return thread_app(L)->host->options.processes;
}

static uint64_t check_process(lua_State *L)
{
    return *(const uint64_t *)luaL_checkudata(L, 1, PROCESS_TYPE);
}

/* ---- lists of strings --------------------------------------------------------------------------
 */

/* A C array whose strings belong to Lua: in a table below it on the stack. */
struct strings {
    const char **at;
    int anchor;
    lua_Integer count;
    lua_Integer capacity;
};

/* Room for capacity strings, and for NULL. Stack: [-0, +2]. */
static struct strings strings_new(lua_State *L, lua_Integer capacity)
{
    struct strings s = {.capacity = capacity};
    lua_createtable(L, (int)capacity, 0);
    s.anchor = lua_gettop(L);
    s.at = lua_newuserdatauv(L, ((size_t)capacity + 1) * sizeof *s.at, 0);
    s.at[0] = NULL;
    return s;
}

/* Take the string on top. Stack: [-1, +0]. */
static void strings_add(lua_State *L, struct strings *s)
{
    s->at[s->count] = lua_tostring(L, -1);
    s->at[++s->count] = NULL;
    lua_rawseti(L, s->anchor, s->count);
}

/* Else the script that asks is told, at its line. Stack: [-0, +0]. */
static void demand(lua_State *L, bool is_so, const char *message)
{
    if (!is_so) {
        report_misuse(L, message);
    }
}

/* Without zero bytes, at which C would take it to end. Stack: [-0, +0]. */
static void check_text(lua_State *L, int index, const char *what)
{
    if (lua_type(L, index) == LUA_TNUMBER) {
        lua_tostring(L, index);
    }
    size_t size;
    const char *text = lua_tolstring(L, index, &size);
    if (text == NULL || strlen(text) != size) {
        report_misuse(L, lua_pushfstring(L, "%s: a string without zero bytes", what));
    }
}

/* argv, at index 1. Stack: [-0, +2]. */
static struct strings push_argv(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = luaL_len(L, 1);
    demand(L, count >= 1, "argv is empty: { \"program\", \"argument\", ... }");
    demand(L, count <= ARGUMENTS_MAX, "argv: too many arguments");
    struct strings s = strings_new(L, count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        check_text(L, -1, "argv");
        strings_add(L, &s);
    }
    return s;
}

enum { OWN_VARIABLES = 5 };

static void add_own_variables(lua_State *L, struct strings *s)
{
    struct script_host *host = thread_app(L)->host;
    const struct task *task = host->current;
    struct script_view view;
    inbox_view(&host->inbox, &view);
    lua_pushfstring(L, "MOONKEEPER_NODE=%s", host->node_id);
    strings_add(L, s);
    lua_pushfstring(L, "MOONKEEPER_TERM=%I",
                    (LUAI_UACINT)(task->lead != NULL ? task->lead->lead.term : view.term));
    strings_add(L, s);
    lua_pushfstring(L, "MOONKEEPER_INDEX=%I", (LUAI_UACINT)view.last_applied);
    strings_add(L, s);
    if (task->lead != NULL) {
        lua_pushfstring(L, "MOONKEEPER_FENCE=%I", (LUAI_UACINT)task->lead->lead.token);
        strings_add(L, s);
    }
    const struct task *call = hook_call_of(task);
    if (call != NULL) {
        const struct hook *hook = call->owner;
        lua_pushfstring(L, "MOONKEEPER_EVENT=%s", hook->event);
        strings_add(L, s);
    }
}

/* Ours, then those of the table at index, which count more. Stack: [-0, +2]. */
static struct strings push_env(lua_State *L, int index)
{
    bool given = !lua_isnil(L, index);
    lua_Integer count = 0;
    if (given) {
        demand(L, lua_istable(L, index), "env: a table { NAME = value }");
        for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
            count++;
        }
    }
    demand(L, count <= ARGUMENTS_MAX, "env: too many variables");
    struct strings s = strings_new(L, count + OWN_VARIABLES);
    add_own_variables(L, &s);
    if (!given) {
        return s;
    }
    for (lua_pushnil(L); lua_next(L, index) != 0 && s.count < s.capacity;) {
        demand(L, lua_type(L, -2) == LUA_TSTRING, "env: names are strings");
        check_text(L, -2, "env: a name");
        check_text(L, -1, "env: a value");
        const char *name = lua_tostring(L, -2);
        demand(L, name[0] != 0 && strchr(name, '=') == NULL,
               "env: a name is not empty and has no '='");
        lua_pushfstring(L, "%s=%s", name, lua_tostring(L, -1));
        strings_add(L, &s);
        lua_pop(L, 1);
    }
    return s;
}

/* ---- start --------------------------------------------------------------------------------------
 */

static bool flag(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* What a main chunk starts is the app's, as the tasks are that it spawns. */
static struct task *owner_of(struct task *task)
{
    return task->kind == TASK_MAIN || task->kind == TASK_EVAL ? NULL : task;
}

static void set_lease(struct script_host *host, const struct task *task, struct process_spec *spec)
{
    spec->lease_until_us = UINT64_MAX;
    if (task->lead == NULL) {
        return;
    }
    struct script_view view;
    inbox_view(&host->inbox, &view);
    spec->token = task->lead->lead.token;
    if (view.lease_until_us != 0) {
        uint64_t margin_us = host->options.limits.lease_margin_us;
        spec->lease_until_us =
            view.lease_until_us > margin_us ? view.lease_until_us - margin_us : 0;
    }
}

/* Stack: 3 the userdata. */
static int started(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct task *task = thread_app(L)->host->current;
    int results = request_result(L);
    if (results == 2) {
        uint64_t *id = lua_touserdata(L, 3);
        process_release(task->app->host, *id);
        return 2;
    }
    lua_pushvalue(L, 3);
    lua_insert(L, -2);
    lua_pushboolean(L, owner_of(task) != NULL);
    return 3;
}

/* When what it is started under is not known to be held any more; 0: under nothing. */
static uint64_t hold_field(lua_State *L)
{
    lua_getfield(L, 2, "until_ms");
    lua_Integer until_ms = lua_isnil(L, -1) ? 0 : luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return until_ms > 0 ? (uint64_t)until_ms * 1000 : 0;
}

/* process_start(argv, {env, cwd, input, stdout, stderr, until_ms}) -> process, pid, is it the
 * task's? | nil, err; input, stdout, stderr: is it written to, read? until_ms: it is killed then,
 * unless process_hold moves that */
static int core_process_start(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    const struct process_port *port = port_of(L);
    struct task *task = task_that_waits(L);
    struct script_host *host = task->app->host;
    if (port == NULL) {
        return luaL_error(L, "there is nothing here that could run a program");
    }
    if (task->lead != NULL) {
        api_lead_require(L, task->lead->lead.token);
    }
    uint64_t *id = lua_newuserdatauv(L, sizeof *id, 0);
    *id = 0;
    luaL_setmetatable(L, PROCESS_TYPE);
    lua_getfield(L, 2, "env");
    lua_getfield(L, 2, "cwd");
    if (!lua_isnil(L, 5)) {
        check_text(L, 5, "cwd");
    }
    struct strings argv = push_argv(L);
    struct strings env = push_env(L, 4);
    struct process_spec spec = {
        .argv = argv.at,
        .env = env.at,
        .cwd = lua_tostring(L, 5),
        .input = flag(L, "input"),
        .read = {[PROCESS_STDOUT] = flag(L, "stdout"), [PROCESS_STDERR] = flag(L, "stderr")},
    };
    set_lease(host, task, &spec);
    spec.hold_until_us = hold_field(L);
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    *id = process_add(task->app, owner_of(task));
    port->start(port->ctx, call, *id, &spec);
    return request_await(L, UINT64_MAX, started);
}

/* ---- and the rest -------------------------------------------------------------------------------
 */

static int answered(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    return request_result(L);
}

/* process_read(process, "stdout" | "stderr", offset, ms?) -> bytes | nil at the end | nil, err */
static int core_process_read(lua_State *L)
{
    static const char *const names[] = {"stdout", "stderr", NULL};
    uint64_t id = check_process(L);
    struct process_read what = {
        .stream = (enum process_stream)luaL_checkoption(L, 2, NULL, names),
        .offset = (uint64_t)luaL_checkinteger(L, 3),
    };
    uint64_t until_us = api_until_us(L, 4);
    task_that_waits(L);
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    port_of(L)->read(port_of(L)->ctx, call, id, what);
    return request_await(L, until_us, answered);
}

/* process_write(process, data) -> nil | nil, err */
static int core_process_write(lua_State *L)
{
    uint64_t id = check_process(L);
    size_t size;
    const char *data = lua_tolstring(L, 2, &size);
    demand(L, data != NULL, "write(data): data is a string");
    demand(L, size <= DATA_BYTES_MAX, "write(data): more than 8 MiB at once");
    task_that_waits(L);
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    port_of(L)->write(port_of(L)->ctx, call, id, bytes_of(data, size));
    return request_await(L, UINT64_MAX, answered);
}

static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    int results = request_result(L);
    if (results == 1) {
        process_ended(thread_app(L)->host, check_process(L));
    }
    return results;
}

/* process_wait(process) -> code, or minus the signal | nil, err */
static int core_process_wait(lua_State *L)
{
    uint64_t id = check_process(L);
    task_that_waits(L);
    uint64_t call = request_begin(L);
    if (call == 0) {
        return report_fail(L, ERR_BUSY, "too many requests are unanswered");
    }
    port_of(L)->wait(port_of(L)->ctx, call, id);
    return request_await(L, UINT64_MAX, waited);
}

/* process_close_input(process) */
static int core_process_close_input(lua_State *L)
{
    port_of(L)->close_input(port_of(L)->ctx, check_process(L));
    return 0;
}

/* process_close_output(process): its stdout is read no more */
static int core_process_close_output(lua_State *L)
{
    port_of(L)->close_output(port_of(L)->ctx, check_process(L));
    return 0;
}

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},   {"TRAP", SIGTRAP},
    {"ABRT", SIGABRT}, {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL}, {"USR1", SIGUSR1},
    {"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},
    {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP}, {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
    {"SYS", SIGSYS},
};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static int check_signal(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TSTRING) {
        return report_misuse(L, "a signal is a name, such as \"TERM\"");
    }
    const char *name = lua_tostring(L, index);
    for (size_t i = 0; i < SIGNALS; i++) {
        if (strcmp(name, signals[i].name) == 0) {
            return signals[i].number;
        }
    }
    return report_misuse(
        L, lua_pushfstring(
               L, "there is no signal '%s'; signals are TERM, INT, HUP, USR1, KILL, ...", name));
}

/* process_signal(process, "TERM") */
static int core_process_signal(lua_State *L)
{
    uint64_t id = check_process(L);
    port_of(L)->signal(port_of(L)->ctx, id, check_signal(L, 2));
    return 0;
}

/* process_hold(process, until_ms) */
static int core_process_hold(lua_State *L)
{
    uint64_t id = check_process(L);
    lua_Integer until_ms = luaL_checkinteger(L, 2);
    port_of(L)->hold(port_of(L)->ctx, id, until_ms > 0 ? (uint64_t)until_ms * 1000 : 1);
    return 0;
}

/* signal_name(number) -> "TERM"; signal_number("TERM"): raises if there is none */
static int core_signal_name(lua_State *L)
{
    lua_Integer number = luaL_checkinteger(L, 1);
    for (size_t i = 0; i < SIGNALS; i++) {
        if (signals[i].number == number) {
            lua_pushstring(L, signals[i].name);
            return 1;
        }
    }
    lua_pushfstring(L, "%I", (LUAI_UACINT)number);
    return 1;
}

static int core_signal_number(lua_State *L)
{
    lua_pushinteger(L, check_signal(L, 1));
    return 1;
}

/* Nobody can ask for it any more. What still runs is not forgotten by exec.lua. */
static int process_gc(lua_State *L)
{
    process_release(thread_app(L)->host, check_process(L));
    return 0;
}

void api_exec_prepare(lua_State *L)
{
    luaL_newmetatable(L, PROCESS_TYPE);
    lua_pushcfunction(L, process_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "process");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void api_exec_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"process_start", core_process_start},
        {"process_read", core_process_read},
        {"process_write", core_process_write},
        {"process_wait", core_process_wait},
        {"process_close_input", core_process_close_input},
        {"process_close_output", core_process_close_output},
        {"process_signal", core_process_signal},
        {"process_hold", core_process_hold},
        {"signal_name", core_signal_name},
        {"signal_number", core_signal_number},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
