/* An application's main chunk without a node: would it take its configuration? (script_check_app)
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "script/app.h"
#include "script/task.h"

/* A main chunk that goes on longer than this is one that never ends, and has run well so far. */
enum { MAIN_US = 5000000 };

struct rehearsal {
    const struct script_check *check;
    uint64_t now_us; /* moves on as the host would have slept */
};

/* ---- a world in which nothing happens ---------------------------------------------------------
 */

static uint64_t now_us(void *ctx)
{
    const struct rehearsal *r = ctx;
    return r->now_us;
}

static int64_t wall_ms(void *ctx)
{
    const struct rehearsal *r = ctx;
    return clock_wall_ms(r->check->clock);
}

static void drop_line(void *sink, const char *line, size_t size_bytes)
{
    (void)sink;
    (void)line;
    (void)size_bytes;
}

static void drop_request(void *ctx, struct script_request *request_take)
{
    (void)ctx;
    script_request_free(request_take);
}

static void start(void *ctx, uint64_t call, uint64_t process, const struct process_spec *spec)
{
    (void)ctx;
    (void)call;
    (void)process;
    (void)spec;
}

static void release(void *ctx, uint64_t call, uint64_t process)
{
    (void)ctx;
    (void)call;
    (void)process;
}

static void request(void *ctx, uint64_t call, const struct http_spec *spec)
{
    (void)ctx;
    (void)call;
    (void)spec;
}

static void cancel(void *ctx, uint64_t call)
{
    (void)ctx;
    (void)call;
}

static void read_file(void *ctx, uint64_t call, const char *path)
{
    (void)ctx;
    (void)call;
    (void)path;
}

static void write_file(void *ctx, uint64_t call, const char *path, struct bytes data)
{
    (void)ctx;
    (void)call;
    (void)path;
    (void)data;
}

/* No process starts: there is none that could be read, written or waited for. */
static const struct process_port no_processes = {.start = start, .release = release};
static const struct http_port no_http = {.request = request, .cancel = cancel};
static const struct files_port no_files = {.read = read_file, .write = write_file};

/* ---- the main chunk ---------------------------------------------------------------------------
 */

static struct task *main_task(struct app *app)
{
    struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        if (task->kind == TASK_MAIN) {
            return task;
        }
    }
    return NULL;
}

static void run_main(struct rehearsal *r, struct app *app)
{
    uint64_t end_us = r->now_us + MAIN_US;
    task_let_go(main_task(app));
    while (app->state == APP_STARTING && r->now_us < end_us) {
        uint64_t next_us = script_host_run(app->host);
        r->now_us = next_us > r->now_us ? next_us : r->now_us + 1;
    }
}

/* Where the script itself is, below the modules of the node that wait for it. */
static void write_place(const struct task *task, char *out, size_t size)
{
    static const char shipped[] = "@moonkeeper/";
    lua_State *L = task->nest_count > 0 ? task->nest[task->nest_count - 1] : task->L;
    lua_Debug at;
    for (int level = 0; lua_getstack(L, level, &at) != 0; level++) {
        lua_getinfo(L, "Sl", &at);
        if (at.currentline > 0 && strncmp(at.source, shipped, sizeof shipped - 1) != 0) {
            snprintf(out, size, " (at %s:%d)", at.short_src, at.currentline);
            return;
        }
    }
}

/* As mk.config.declare begins, and scripts that look further. */
static bool is_about_settings(const char *failure)
{
    return strncmp(failure, "config: ", strlen("config: ")) == 0;
}

/* As require raises it, where it is not caught. */
static bool lacks_module(const char *failure)
{
    const char *module = strstr(failure, "module '");
    return module != NULL && strstr(module, "' not found:") != NULL;
}

static enum err tell(struct app *app, struct script_checked *out)
{
    struct task *task = main_task(app);
    out->declared = app->declared;
    out->waits = task != NULL;
    if (task != NULL) {
        write_place(task, out->place, sizeof out->place);
    }
    if (app->state != APP_FAILED) {
        return ERR_OK;
    }
    out->settings_wrong = app->declared && !app->declared_good;
    out->lacks =
        app->lacks_settings || is_about_settings(app->failure) || lacks_module(app->failure);
    buffer_add_format(&out->error, "%s", app->failure);
    return ERR_INVALID;
}

enum err script_check_app(const struct script_check *check, struct script_checked *out)
{
    struct rehearsal r = {.check = check, .now_us = 1};
    const struct clock_port clock = {.ctx = &r, .now_us = now_us, .wall_ms = wall_ms};
    const struct log log = {.clock = &r, .wall_ms = wall_ms, .write = drop_line};
    const struct script_options options = {
        .clock = &clock,
        .entropy = check->entropy,
        .zones = check->zones,
        .processes = &no_processes,
        .http = &no_http,
        .files = &no_files,
        .log = &log,
        .node = check->node,
        .limits = check->limits,
        .request = drop_request,
    };
    *out = (struct script_checked){0};
    struct script_host *host = script_host_new(&options);
    struct app *app;
    struct why why = {""};
    enum err e = app_new(host, &check->app, APP_STAGED, &app, &why);
    if (e == ERR_OK) {
        run_main(&r, app);
        e = tell(app, out);
        host->dead = true; /* what is to run when it ends does not, either */
        app_free(app);
    } else {
        buffer_add_format(&out->error, "%s", why.text);
    }
    script_host_free(host);
    return e;
}
