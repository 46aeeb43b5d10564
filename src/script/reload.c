#include "script/reload.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/api.h"
#include "script/app.h"
#include "script/bundled.h"
#include "script/config_change.h"
#include "script/hook.h"
#include "script/report.h"
#include "script/serve.h"
#include "script/task.h"
#include "script/value.h"
#include "wire/writer.h"

/* How long each phase may take before the next one begins (save: before it has failed). A main
 * chunk that goes on longer is one that never ends, and has run well so far. */
enum { CALLS_US = 2000000, SAVE_US = 2000000, MAIN_US = 5000000 };
/* What belongs to no task but the app, such as programs that its main chunk has started. */
enum { STOP_US = 10000000 };

static const char taken_over[] = "a new generation of its script takes over";

enum phase { PHASE_CALLS, PHASE_SAVE, PHASE_MAIN, PHASE_END, PHASE_FAILED, PHASE_DONE };

/* One application on its way from one generation to the next. */
struct handover {
    struct script_host *host;
    char *name;
    struct app *old;   /* NULL: there is none yet */
    struct app *fresh; /* NULL: there is to be none, or it has failed */
    enum phase phase;
    struct deadline limit;
    bool limit_over;
    bool keepers_cancelled; /* what looks after something for others was, too */
    bool programs_killed;   /* that were left */
    struct buffer saved;
    bool failed;
    bool unchanged;
    uint32_t generation; /* PHASE_DONE: the one that goes on; 0: none */
    struct why why;
};

/* ---- what is asked for ------------------------------------------------------------------------
 */

static char *copy(const char *text)
{
    return text != NULL ? alloc_string(text) : NULL;
}

struct reload *reload_new(const struct script_reload *spec)
{
    struct reload *r = NEW(struct reload);
    r->done = spec->done;
    r->ctx = spec->ctx;
    r->apps_count = spec->apps_count;
    r->apps = alloc_zeroed(spec->apps_count + 1, sizeof r->apps[0]);
    r->configs = alloc_zeroed(spec->apps_count + 1, sizeof r->configs[0]);
    for (uint32_t i = 0; i < spec->apps_count; i++) {
        const struct script_app *app = &spec->apps[i];
        r->configs[i] = slice_copy(app->config);
        r->apps[i] = (struct script_app){
            .name = copy(app->name),
            .path = copy(app->path),
            .source = copy(app->source),
            .config = slice_bytes(r->configs[i]),
            .lua_path = copy(app->lua_path),
            .lua_path_more = copy(app->lua_path_more),
            .lua_cpath = copy(app->lua_cpath),
        };
    }
    return r;
}

static void reload_free(struct reload *r)
{
    for (uint32_t i = 0; i < r->apps_count; i++) {
        free((char *)r->apps[i].name);
        free((char *)r->apps[i].path);
        free((char *)r->apps[i].source);
        free((char *)r->apps[i].lua_path);
        free((char *)r->apps[i].lua_path_more);
        free((char *)r->apps[i].lua_cpath);
        slice_close(&r->configs[i]);
    }
    for (uint32_t i = 0; i < r->handovers_count; i++) {
        free(r->handovers[i].name);
        buffer_close(&r->handovers[i].saved);
    }
    free(r->handovers);
    free(r->configs);
    free(r->apps);
    free(r);
}

/* ---- phases -----------------------------------------------------------------------------------
 */

static void on_limit(struct deadline *d)
{
    struct handover *h = (struct handover *)((char *)d - offsetof(struct handover, limit));
    h->limit_over = true;
}

static void enter(struct handover *h, enum phase phase, uint64_t limit_us)
{
    h->phase = phase;
    h->limit_over = false;
    deadline_set(&h->host->deadlines, &h->limit, host_now_us(h->host) + limit_us);
}

static void leave(struct handover *h, enum phase phase)
{
    h->phase = phase;
    deadline_clear(&h->host->deadlines, &h->limit);
}

static bool is_call(const struct task *task)
{
    return task->kind == TASK_HOOK || task->is_call;
}

static bool has_call(const struct app *app)
{
    const struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        if (is_call(task)) {
            return true;
        }
    }
    return false;
}

static void wake_hooks(struct app *app)
{
    struct hook *hook;
    TAILQ_FOREACH (hook, &app->host->hooks, link) {
        if (hook->app == app) {
            hook_wake(hook);
        }
    }
}

static void let_main_go(struct handover *h)
{
    struct task *task;
    TAILQ_FOREACH (task, &h->fresh->tasks, app_link) {
        if (task->kind == TASK_MAIN) {
            task_let_go(task);
        }
    }
    enter(h, PHASE_MAIN, MAIN_US);
}

/* ---- save -------------------------------------------------------------------------------------
 */

struct saving {
    struct handover *handover;
    const struct task *task;
};

/* Under app_protect() of the old one. */
static int keep_saved(lua_State *L)
{
    const struct saving *saving = lua_touserdata(L, 1);
    struct handover *h = saving->handover;
    luaL_checkstack(L, 8, NULL);
    task_push(L, saving->task);
    lua_getiuservalue(L, -1, TASK_UV_RESULT);
    if (saving->task->outcome == TASK_WAS_CANCELLED || saving->task->outcome == TASK_WAS_KILLED) {
        err_why(&h->why, ERR_CANCELLED, "its mk.on_reload function was ended: %s",
                saving->task->cancelled != ERR_OK ? saving->task->cancel_reason
                                                  : saving->task->kill_reason);
    } else if (saving->task->outcome == TASK_FAILED) {
        err_why(&h->why, ERR_REJECTED, "its mk.on_reload function failed: %s", report_text(L, -1));
    } else {
        struct why why = {0};
        if (lua_istable(L, -1)) {
            lua_rawgeti(L, -1, 1);
        } else {
            lua_pushnil(L);
        }
        if (value_encode(L, lua_gettop(L), VALUE_BYTES_MAX, &h->saved, &why) != ERR_OK) {
            err_why(&h->why, ERR_INVALID, "what its mk.on_reload function returned: %s", why.text);
        }
    }
    return 0;
}

/* Under app_protect() of the new one. */
static int give_saved(lua_State *L)
{
    const struct handover *h = lua_touserdata(L, 1);
    api_set_saved(L, buffer_bytes(&h->saved));
    return 0;
}

static void save_ended(struct task *task)
{
    struct handover *h = task->owner;
    struct saving saving = {.handover = h, .task = task};
    if (!app_protect(h->old, keep_saved, &saving)) {
        err_why(&h->why, ERR_TOO_LARGE, "not enough memory for what mk.on_reload returned");
    } else if (h->why.text[0] == 0 && !app_protect(h->fresh, give_saved, h)) {
        err_why(&h->why, ERR_TOO_LARGE, "not enough memory for mk.saved");
    }
    if (h->why.text[0] != 0) {
        leave(h, PHASE_FAILED);
    } else {
        let_main_go(h);
    }
}

/* Under app_protect(). */
static int start_save(lua_State *L)
{
    struct handover *h = lua_touserdata(L, 1);
    luaL_checkstack(L, 8, NULL);
    if (!api_push_on_reload(L)) {
        return 0;
    }
    enter(h, PHASE_SAVE, SAVE_US);
    const struct task_spec spec = {
        .kind = TASK_EVAL, .where = "on_reload", .ended = save_ended, .owner = h};
    struct task *task = task_spawn(L, &spec, 0);
    task_end_by(task, host_now_us(h->host) + SAVE_US, "it took longer than 2 s");
    return 0;
}

static void begin_save(struct handover *h)
{
    if (!app_protect(h->old, start_save, h)) {
        err_why(&h->why, ERR_TOO_LARGE, "not enough memory to call its mk.on_reload function");
        leave(h, PHASE_FAILED);
    } else if (h->phase != PHASE_SAVE) {
        let_main_go(h);
    }
}

/* ---- the end of the old -----------------------------------------------------------------------
 */

/* Those that are nobody's, in order: who works, then who looks after something for them. */
static void end_tasks(struct app *app, bool lasting)
{
    struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        if (task->parent == NULL && !is_call(task) && task->lead == NULL &&
            task->lasting == lasting) {
            task_cancel(task, ERR_CANCELLED, taken_over, task_unwind_end(task));
        }
    }
}

/* Under app_protect(). */
static int start_ending(lua_State *L)
{
    const struct handover *h = lua_touserdata(L, 1);
    luaL_checkstack(L, 8, NULL);
    if (api_push_on_end(L)) {
        const struct task_spec spec = {.kind = TASK_SPAWNED, .where = "on_end"};
        struct task *task = task_spawn(L, &spec, 0);
        task_end_by(task, host_now_us(h->host) + STOP_US, "its programs did not stop in time");
    }
    return 0;
}

static bool works(const struct app *app)
{
    const struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        const struct task *root = task;
        while (root->parent != NULL) {
            root = root->parent;
        }
        if (!root->lasting) {
            return true;
        }
    }
    return false;
}

static void end_calls(struct app *app)
{
    struct task *task;
    TAILQ_FOREACH (task, &app->tasks, app_link) {
        if (is_call(task)) {
            task_cancel(task, ERR_CANCELLED, taken_over, task_unwind_end(task));
        }
    }
}

static void begin_end(struct handover *h)
{
    leave(h, PHASE_END);
    if (h->old == NULL) {
        return;
    }
    struct hook *hook;
    TAILQ_FOREACH (hook, &h->host->hooks, link) {
        if (hook->app == h->old && hook->kind == HOOK_LEAD) {
            lead_stop(hook, taken_over);
        }
    }
    end_calls(h->old); /* they had their time, and until now they might have gone on for good */
    end_tasks(h->old, false);
    app_protect(h->old, start_ending, h);
    h->old->phase = APP_ENDING;
}

/* ---- taking over ------------------------------------------------------------------------------
 */

/* Which of the unnamed hooks for its event, in the order of registration? */
static uint32_t place_among_unnamed(const struct hook_list *list, const struct hook *hook)
{
    uint32_t place = 0;
    const struct hook *other;
    TAILQ_FOREACH (other, list, link) {
        place += other->app == hook->app && other->unnamed && other->order < hook->order &&
                 strcmp(other->event, hook->event) == 0;
    }
    return place;
}

/* Unnamed ones are told apart by the order in which they were registered. */
static struct hook *predecessor(const struct handover *h, const struct hook *hook)
{
    uint32_t place = hook->unnamed ? place_among_unnamed(&h->fresh->staged_hooks, hook) : 0;
    struct hook *old;
    TAILQ_FOREACH (old, &h->host->hooks, link) {
        if (old->app != h->old || old->kind != hook->kind || old->unnamed != hook->unnamed ||
            strcmp(old->event, hook->event) != 0) {
            continue;
        }
        if (hook->unnamed ? place_among_unnamed(&h->host->hooks, old) == place
                          : strcmp(old->name, hook->name) == 0) {
            return old;
        }
    }
    return NULL;
}

static void move_hooks(struct handover *h)
{
    struct hook *hook;
    TAILQ_FOREACH (hook, &h->fresh->staged_hooks, link) {
        hook->takes_over = h->old != NULL ? predecessor(h, hook) : NULL;
    }
    h->fresh->phase = APP_LIVE;
    while ((hook = TAILQ_FIRST(&h->fresh->staged_hooks)) != NULL) {
        hook_go_live(hook, hook->takes_over);
        hook->takes_over = NULL;
    }
}

static void replace_app(struct handover *h)
{
    struct app_list *apps = &h->host->apps;
    if (h->old == NULL) {
        TAILQ_INSERT_TAIL(apps, h->fresh, link);
        return;
    }
    if (h->fresh != NULL) {
        h->fresh->errors += h->old->errors;
        h->fresh->tasks_killed += h->old->tasks_killed;
        TAILQ_INSERT_BEFORE(h->old, h->fresh, link);
    }
    TAILQ_REMOVE(apps, h->old, link);
    app_free(h->old);
    if (h->fresh == NULL) {
        metrics_drop_app(h->host, h->name);
    }
}

static void tell(const struct handover *h)
{
    log_info(h->host->options.log, h->fresh == NULL ? "application ended" : "application loaded",
             log_text("app", h->name), log_u64("generation", h->generation));
    struct buffer fields = {0};
    write_map(&fields, 2);
    write_text(&fields, "app");
    write_text(&fields, h->name);
    write_text(&fields, "generation");
    write_u64(&fields, h->generation);
    hooks_tell(h->host, "reload", buffer_bytes(&fields));
    buffer_close(&fields);
}

/* The keys of its configuration that have changed. Returns how many. */
static uint32_t changed_keys(const struct handover *h, struct buffer *keys)
{
    if (h->old == NULL || h->fresh == NULL) {
        return 0;
    }
    return config_change_keys(slice_bytes(h->old->config), slice_bytes(h->fresh->config), keys);
}

static void tell_config_change(const struct handover *h, uint32_t count, struct bytes keys)
{
    struct buffer fields = {0};
    write_map(&fields, 2);
    write_text(&fields, "app");
    write_text(&fields, h->name);
    write_text(&fields, "keys");
    write_array(&fields, count);
    write_raw(&fields, keys);
    hooks_tell(h->host, "config_change", buffer_bytes(&fields));
    buffer_close(&fields);
}

static void take_over(struct handover *h)
{
    struct buffer keys = {0};
    uint32_t keys_count = changed_keys(h, &keys);
    leave(h, PHASE_DONE);
    if (h->fresh != NULL) {
        h->generation = h->fresh->generation;
        move_hooks(h);
    }
    replace_app(h);
    if (h->fresh != NULL) {
        struct task *task;
        TAILQ_FOREACH (task, &h->fresh->tasks, app_link) {
            task_let_go(task);
        }
    }
    serve_held(h->host);
    tell(h);
    if (keys_count > 0) {
        tell_config_change(h, keys_count, buffer_bytes(&keys));
    }
    buffer_close(&keys);
}

static void fail(struct handover *h)
{
    leave(h, PHASE_DONE);
    h->failed = true;
    struct app *old = h->old;
    const char *traceback = h->fresh != NULL ? h->fresh->traceback : NULL;
    if (old != NULL) {
        struct buffer text = {0};
        buffer_add_format(&text, "%s; generation %u goes on", h->why.text, old->generation);
        free(old->reload_error);
        old->reload_error = alloc_string(h->why.text);
        h->generation = old->generation;
        old->phase = APP_LIVE;
        wake_hooks(old);
        serve_held(h->host);
        report_error(old, NULL, "reload", buffer_text(&text), traceback, old->errors + 1);
        buffer_close(&text);
    } else {
        log_error(h->host->options.log, "application not started", log_text("app", h->name),
                  log_text("err", h->why.text), log_text("traceback", traceback ? traceback : ""));
    }
    if (h->fresh != NULL) {
        app_free(h->fresh);
        h->fresh = NULL;
    }
}

/* ---- going on ---------------------------------------------------------------------------------
 */

static void main_step(struct handover *h)
{
    ASSERT(h->fresh != NULL); /* it is its main chunk that runs */
    if (h->host->shutting_down) {
        err_why(&h->why, ERR_SHUTDOWN, "the node is shutting down");
        leave(h, PHASE_FAILED);
    } else if (h->fresh->state == APP_FAILED) {
        err_why(&h->why, ERR_REJECTED, "%s", h->fresh->failure);
        leave(h, PHASE_FAILED);
    } else if (h->fresh->main_ended || h->limit_over) {
        begin_end(h);
    }
}

/* None of the programs of the old is left, when none of its tasks is. */
static bool programs_gone(struct handover *h)
{
    if (!process_release_of_app(h->old) && !h->programs_killed) {
        h->programs_killed = true;
        enter(h, PHASE_END, PROCESS_GONE_US);
    }
    return process_release_of_app(h->old) || h->limit_over;
}

static void end_step(struct handover *h)
{
    if (h->old == NULL || (h->old->tasks_count == 0 && programs_gone(h))) {
        take_over(h);
    } else if (h->old->tasks_count == 0) {
        return;
    } else if (!h->keepers_cancelled && !works(h->old)) {
        h->keepers_cancelled = true;
        end_tasks(h->old, true);
    }
}

static void step(struct handover *h)
{
    enum phase before;
    do {
        before = h->phase;
        switch (h->phase) {
        case PHASE_CALLS:
            if (h->limit_over || !has_call(h->old)) {
                h->fresh != NULL ? begin_save(h) : begin_end(h);
            }
            break;
        case PHASE_SAVE:
            break; /* save_ended() goes on */
        case PHASE_MAIN:
            main_step(h);
            break;
        case PHASE_END:
            end_step(h);
            break;
        case PHASE_FAILED:
            fail(h);
            break;
        case PHASE_DONE:
            break;
        }
    } while (h->phase != before);
}

static void answer(struct reload *r, enum err err)
{
    struct buffer results = {0};
    if (err == ERR_OK) {
        write_array(&results, r->handovers_count);
    }
    for (uint32_t i = 0; err == ERR_OK && i < r->handovers_count; i++) {
        const struct handover *h = &r->handovers[i];
        write_map(&results, 4);
        write_text(&results, "app");
        write_text(&results, h->name);
        write_text(&results, "generation");
        write_u64(&results, h->generation);
        write_text(&results, "outcome");
        write_text(&results, h->failed          ? "failed"
                             : h->unchanged     ? "unchanged"
                             : h->fresh == NULL ? "ended"
                             : h->old == NULL   ? "started"
                                                : "reloaded");
        write_text(&results, "error");
        if (h->failed) {
            write_text(&results, h->why.text);
        } else {
            write_nil(&results);
        }
    }
    const char *message = err == ERR_BUSY ? "another reload is under way" : NULL;
    r->done(r->ctx, err, message, buffer_bytes(&results));
    buffer_close(&results);
    reload_free(r);
}

void reload_step(struct script_host *host)
{
    struct reload *r = host->reload;
    if (r == NULL) {
        return;
    }
    bool done = true;
    for (uint32_t i = 0; i < r->handovers_count; i++) {
        step(&r->handovers[i]);
        done &= r->handovers[i].phase == PHASE_DONE;
    }
    if (done) {
        host->reload = NULL;
        host_publish_lists(host); /* whoever waited for it looks at them next */
        answer(r, ERR_OK);
    }
}

/* ---- the beginning ----------------------------------------------------------------------------
 */

static bool is_named(const struct reload *r, const char *name)
{
    for (uint32_t i = 0; i < r->apps_count; i++) {
        if (strcmp(r->apps[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Nothing about it can be new: it is in the binary, and so is all that it requires. What it has
 * under way, such as a night's backup, is not to end for the sake of another application. */
static bool is_unchanged(const struct handover *h, const struct script_app *spec)
{
    const struct app *old = h->old;
    return old != NULL && old->state == APP_RUNNING && spec->source == NULL &&
           bundled_is(spec->path) && strcmp(old->path, spec->path) == 0 &&
           bytes_equal(slice_bytes(old->config), spec->config);
}

static void leave_unchanged(struct handover *h)
{
    h->phase = PHASE_DONE;
    h->unchanged = true;
    h->generation = h->old->generation;
    free(h->old->reload_error);
    h->old->reload_error = NULL;
}

static void compile(struct handover *h, const struct script_app *spec)
{
    if (is_unchanged(h, spec)) {
        leave_unchanged(h);
    } else if (app_new(h->host, spec, APP_STAGED, &h->fresh, &h->why) != ERR_OK) {
        h->phase = PHASE_FAILED;
    } else if (h->old == NULL) {
        let_main_go(h);
    } else {
        h->fresh->generation = h->old->generation + 1;
        h->old->phase = APP_PAUSED;
        enter(h, PHASE_CALLS, CALLS_US);
    }
}

static struct handover *add(struct reload *r, struct script_host *host, const char *name)
{
    struct handover *h = &r->handovers[r->handovers_count++];
    h->host = host;
    h->name = alloc_string(name);
    h->old = app_find(host, name);
    h->limit.fire = on_limit;
    return h;
}

static void begin(struct script_host *host, struct reload *r)
{
    uint32_t count = r->apps_count;
    struct app *app;
    TAILQ_FOREACH (app, &host->apps, link) {
        count++;
    }
    host->reload = r;
    r->handovers = alloc_zeroed(count + 1, sizeof r->handovers[0]);
    for (uint32_t i = 0; i < r->apps_count; i++) {
        compile(add(r, host, r->apps[i].name), &r->apps[i]);
    }
    TAILQ_FOREACH (app, &host->apps, link) {
        if (!app->ad_hoc && !is_named(r, app->name)) {
            app->phase = APP_PAUSED;
            enter(add(r, host, app->name), PHASE_CALLS, CALLS_US);
        }
    }
}

void reload_take(struct script_host *host, struct reload_items *items)
{
    struct reload *r;
    while ((r = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, waiting);
        if (host->shutting_down || host->freeing) {
            answer(r, ERR_SHUTDOWN);
        } else if (host->reload != NULL) {
            answer(r, ERR_BUSY);
        } else {
            begin(host, r);
        }
    }
}

/* ---- given up ---------------------------------------------------------------------------------
 */

void reload_shutdown(struct script_host *host)
{
    struct reload *r = host->reload;
    for (uint32_t i = 0; r != NULL && i < r->handovers_count; i++) {
        struct handover *h = &r->handovers[i];
        if (h->phase < PHASE_END && h->phase != PHASE_SAVE) {
            err_why(&h->why, ERR_SHUTDOWN, "the node is shutting down");
            leave(h, PHASE_FAILED);
        }
    }
}

void reload_close(struct script_host *host)
{
    struct reload_items left = STAILQ_HEAD_INITIALIZER(left);
    pthread_mutex_lock(&host->inbox.lock);
    STAILQ_CONCAT(&left, &host->inbox.reloads);
    pthread_mutex_unlock(&host->inbox.lock);
    reload_take(host, &left);
    struct reload *r = host->reload;
    if (r == NULL) {
        return;
    }
    for (uint32_t i = 0; i < r->handovers_count; i++) {
        struct handover *h = &r->handovers[i];
        deadline_clear(&host->deadlines, &h->limit);
        if (h->fresh != NULL && h->phase != PHASE_DONE) {
            app_free(h->fresh);
        }
    }
    host->reload = NULL;
    answer(r, ERR_SHUTDOWN);
}
