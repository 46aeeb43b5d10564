#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/app.h"
#include "script/eval.h"
#include "script/hook.h"
#include "script/preempt.h"
#include "script/reload.h"
#include "script/request.h"
#include "script/serve.h"
#include "script/task.h"
#include "wire/writer.h"

/* One run ends after this many rounds, or this much time, and asks to be called again. */
enum { ROUNDS_MAX = 1000, RUN_US_MAX = 20000 };
enum { PUBLISH_US = 250000 };
/* Simulation: scripts are busy for what they used once it comes to this much. */
enum { SPENT_US_MIN = 100, GO_ON_US = 1000 };

const char *script_role_name(enum script_role role)
{
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader",
                                        "learner"};
    return names[role];
}

/* ---- new, free ------------------------------------------------------------------------------- */

void script_limits_fill(struct script_limits *l)
{
    l->slice_us = l->slice_us != 0 ? l->slice_us : 2000;
    l->budget_us = l->budget_us != 0 ? l->budget_us : 100000;
    l->memory_bytes = l->memory_bytes != 0 ? l->memory_bytes : 64u << 20;
    l->events_max = l->events_max != 0 ? l->events_max : 1024;
    l->commits_max = l->commits_max != 0 ? l->commits_max : 4096;
    l->tasks_max = l->tasks_max != 0 ? l->tasks_max : 10000;
    l->requests_max = l->requests_max != 0 ? l->requests_max : 4096;
    l->lease_margin_us = l->lease_margin_us != 0 ? l->lease_margin_us : 10000;
}

static char *copy_or_empty(const char *text)
{
    return alloc_string(text != NULL ? text : "");
}

static void on_shutdown_deadline(struct deadline *d)
{
    struct script_host *host =
        (struct script_host *)((char *)d - offsetof(struct script_host, shutdown_deadline));
    atomic_store(&host->shutdown_finished, true);
}

/* Time does not pass by itself while scripts run. */
static bool is_simulated_time(const struct script_host *host)
{
    return host->options.preempt == NULL;
}

struct script_host *script_host_new(const struct script_options *options)
{
    ASSERT(options->request != NULL);
    struct script_host *host = NEW(struct script_host);
    host->options = *options;
    script_limits_fill(&host->options.limits);
    host->node_id = copy_or_empty(options->node.id);
    host->node_addr = copy_or_empty(options->node.addr);
    host->node_version = copy_or_empty(options->node.version);
    host->node_cluster = copy_or_empty(options->node.cluster);
    host->started_us = host_now_us(host);
    TAILQ_INIT(&host->apps);
    TAILQ_INIT(&host->hooks);
    TAILQ_INIT(&host->due_hooks);
    TAILQ_INIT(&host->ready);
    STAILQ_INIT(&host->held_served);
    TAILQ_INIT(&host->metrics);
    inbox_init(&host->inbox, &host->options);
    feed_init(&host->feed, host->options.limits.commits_max);
    lead_init(host);
    host->shutdown_deadline.fire = on_shutdown_deadline;
    pthread_mutex_init(&host->publish_lock, NULL);
    return host;
}

void script_host_kill(struct script_host *host)
{
    if (host != NULL) {
        host->dead = true;
        script_host_free(host);
    }
}

void script_host_free(struct script_host *host)
{
    if (host == NULL) {
        return;
    }
    host->freeing = true;
    eval_close(host);
    reload_close(host);
    serve_close(host);
    struct app *app;
    while ((app = TAILQ_FIRST(&host->apps)) != NULL) {
        TAILQ_REMOVE(&host->apps, app, link);
        app_free(app);
    }
    for (int i = 0; i < SCRIPT_STATES; i++) {
        if (host->state_events[i] != NULL) {
            told_release(host->state_events[i]);
        }
    }
    for (uint32_t i = 0; i < host->node_states_count; i++) {
        told_release(host->node_states[i]);
    }
    metrics_close(host);
    deadline_clear(&host->deadlines, &host->leadership.lease_watch);
    deadline_clear(&host->deadlines, &host->shutdown_deadline);
    deadlines_close(&host->deadlines);
    feed_close(&host->feed);
    inbox_close(&host->inbox);
    request_table_close(&host->requests);
    slice_close(&host->published_hooks);
    slice_close(&host->published_apps);
    slice_close(&host->published_metrics);
    pthread_mutex_destroy(&host->publish_lock);
    free(host->node_id);
    free(host->node_addr);
    free(host->node_version);
    free(host->node_cluster);
    free(host);
}

enum err script_host_load(struct script_host *host, const struct script_app *spec, struct why *why)
{
    if (app_find(host, spec->name) != NULL) {
        return err_why(why, ERR_EXISTS, "there is an application '%s' already", spec->name);
    }
    struct app *app;
    enum err err = app_new(host, spec, APP_LIVE, &app, why);
    if (err == ERR_OK) {
        TAILQ_INSERT_TAIL(&host->apps, app, link);
        host_publish_lists(host); /* it is there, though it has not run yet */
    }
    return err;
}

void script_host_load_failed(struct script_host *host, const struct script_app *spec,
                             const char *reason)
{
    struct script_app failed = *spec;
    struct buffer source = {0};
    buffer_add_format(&source, "error('");
    for (const char *c = reason; *c != 0; c++) {
        buffer_add_format(&source, "\\%03u", (unsigned)(unsigned char)*c);
    }
    buffer_add_format(&source, "', 0)");
    failed.source = buffer_text(&source);
    struct why why = {""};
    enum err err = script_host_load(host, &failed, &why);
    if (err != ERR_OK) { /* its configuration, or memory */
        failed.config = (struct bytes){0};
        err = script_host_load(host, &failed, &why);
    }
    if (err != ERR_OK) {
        log_error(host->options.log, "an application cannot be loaded", log_text("app", spec->name),
                  log_text("err", reason));
    }
    buffer_close(&source);
}

/* ---- a run --------------------------------------------------------------------------------------
 */

static void begin_shutdown(struct script_host *host, uint64_t deadline_us)
{
    if (host->shutting_down) {
        return;
    }
    host->shutting_down = true;
    reload_shutdown(host);
    deadline_set(&host->deadlines, &host->shutdown_deadline, deadline_us);
    lead_end_work(host, "the node is shutting down");
    uint64_t now_us = host_now_us(host);
    struct buffer fields = {0};
    write_map(&fields, 1);
    write_text(&fields, "deadline_ms");
    write_u64(&fields, deadline_us > now_us ? (deadline_us - now_us) / 1000 : 0);
    hooks_tell(host, "shutdown", buffer_bytes(&fields));
    buffer_close(&fields);
}

static void take_lists(struct script_host *host, struct inbox_batch *batch)
{
    struct reply_item *reply;
    while ((reply = STAILQ_FIRST(&batch->replies)) != NULL) {
        STAILQ_REMOVE_HEAD(&batch->replies, link);
        request_answered(host, reply->id, reply->err, reply->message, reply->result);
        free(reply);
    }
    struct event_item *item;
    while ((item = STAILQ_FIRST(&batch->events)) != NULL) {
        STAILQ_REMOVE_HEAD(&batch->events, link);
        hooks_deliver(host, item->event);
        free(item);
    }
    feed_take(host, &batch->commits);
    eval_take(host, &batch->evals);
    reload_take(host, &batch->reloads);
    calls_take(host, &batch->calls);
    serve_take(host, &batch->served);
}

/* What others have left here since the last run. */
static void take_inbox(struct script_host *host)
{
    struct inbox_batch batch;
    inbox_take(&host->inbox, &host->view, &batch);
    if (batch.flags & INBOX_VIEW) {
        lead_update(host);
    }
    take_lists(host, &batch);
    if (batch.flags & INBOX_END_LEADER_WORK) {
        lead_end_work(host, NULL);
    }
    if (batch.flags & INBOX_RESUME_LEADER_WORK) {
        lead_resume_work(host);
    }
    if (batch.flags & INBOX_SHUTDOWN) {
        begin_shutdown(host, batch.shutdown_deadline_us);
    }
    host->inbox_dropped = batch.events_dropped;
}

static void start_due_hooks(struct script_host *host)
{
    struct hook *hook;
    while ((hook = TAILQ_FIRST(&host->due_hooks)) != NULL) {
        TAILQ_REMOVE(&host->due_hooks, hook, due_link);
        hook->due = false;
        hook_next(hook);
    }
}

static bool has_spent_much(const struct script_host *host)
{
    return is_simulated_time(host) && host->spent_us >= SPENT_US_MIN;
}

/* One slice for each task that is ready now. */
static void run_round(struct script_host *host)
{
    struct task *last = TAILQ_LAST(&host->ready, task_list);
    struct task *task;
    do {
        task = TAILQ_FIRST(&host->ready);
        TAILQ_REMOVE(&host->ready, task, run_link);
        task->queued = false;
        task_run(task); /* it may be gone afterwards: only its address is compared */
    } while (task != last && !TAILQ_EMPTY(&host->ready) && !has_spent_much(host));
}

static bool has_work(const struct script_host *host)
{
    return !TAILQ_EMPTY(&host->ready) || !TAILQ_EMPTY(&host->due_hooks);
}

static void run_rounds(struct script_host *host)
{
    uint64_t began_us = host_now_us(host);
    bool ticking = false;
    for (int rounds = 0; rounds < ROUNDS_MAX; rounds++) {
        uint64_t now_us = host_now_us(host);
        deadlines_fire(&host->deadlines, now_us);
        reload_step(host);
        start_due_hooks(host);
        feed_release(host);
        if (!has_work(host) || now_us - began_us > RUN_US_MAX || has_spent_much(host)) {
            break;
        }
        if (!ticking) {
            preempt_start(host);
            ticking = true;
        }
        if (!TAILQ_EMPTY(&host->ready)) {
            run_round(host);
        }
    }
    if (ticking) {
        preempt_stop(host);
        host->unpublished = true;
    }
}

/* ---- what is seen from outside -----------------------------------------------------------------
 */

static bool shutdown_hooks_done(const struct script_host *host)
{
    const struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (strcmp(hook->event, "shutdown") == 0 && (hook->call != NULL || hook->queue_count > 0)) {
            return false;
        }
    }
    return host->leadership.tasks == 0;
}

static void write_hook(struct buffer *out, const struct hook *hook)
{
    write_map(out, 12);
    write_text(out, "app");
    write_text(out, hook->app->name);
    write_text(out, "event");
    write_text(out, hook->event);
    write_text(out, "name");
    write_text(out, hook->name);
    write_text(out, "state");
    write_text(out, hook_state_name(hook->state));
    write_text(out, "calls");
    write_u64(out, hook->calls);
    write_text(out, "errors");
    write_u64(out, hook->errors);
    write_text(out, "killed");
    write_u64(out, hook->killed);
    write_text(out, "lag");
    write_u64(out, hook_lag(hook));
    write_text(out, "p99_us");
    write_u64(out, hook_p99_us(hook));
    write_text(out, "sum_us");
    write_u64(out, hook->durations.sum_us);
    write_text(out, "buckets");
    write_array(out, HISTOGRAM_BOUNDS + 1);
    for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        write_u64(out, hook->durations.counts[i]);
    }
    write_text(out, "dropped");
    write_u64(out, hook->dropped);
}

static struct slice describe_hooks(const struct script_host *host)
{
    uint32_t count = 0;
    const struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        count += !hook->removed;
    }
    struct buffer out = {0};
    write_array(&out, count);
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (!hook->removed) { /* else another may have its name by now */
            write_hook(&out, hook);
        }
    }
    struct slice described = slice_copy(buffer_bytes(&out));
    buffer_close(&out);
    return described;
}

static void write_text_or_nil(struct buffer *out, const char *text)
{
    if (text != NULL) {
        write_text(out, text);
    } else {
        write_nil(out);
    }
}

static void write_app(struct buffer *out, const struct app *app)
{
    write_map(out, 10);
    write_text(out, "app");
    write_text(out, app->name);
    write_text(out, "path");
    write_text(out, app->path);
    write_text(out, "state");
    write_text(out, app_state_name(app->state));
    write_text(out, "error");
    write_text_or_nil(out, app->failure);
    write_text(out, "generation");
    write_u64(out, app->generation);
    write_text(out, "reload_error");
    write_text_or_nil(out, app->reload_error);
    write_text(out, "tasks");
    write_u64(out, app->tasks_count);
    write_text(out, "tasks_killed");
    write_u64(out, app->tasks_killed);
    write_text(out, "errors");
    write_u64(out, app->errors);
    write_text(out, "memory_bytes");
    write_u64(out, app->memory.used_bytes);
}

static struct slice describe_apps(const struct script_host *host)
{
    const struct app *app;
    struct buffer out = {0};
    uint32_t count = 0;
    TAILQ_FOREACH (app, &host->apps, link) {
        count++;
    }
    write_array(&out, count);
    TAILQ_FOREACH (app, &host->apps, link) {
        write_app(&out, app);
    }
    struct slice described = slice_copy(buffer_bytes(&out));
    buffer_close(&out);
    return described;
}

static void publish_metrics(struct script_host *host)
{
    struct metrics page = {.prefix = "moonkeeper_script_"};
    if (!metrics_write(host, &page)) {
        return;
    }
    struct slice lines = slice_copy(buffer_bytes(&page.out));
    buffer_close(&page.out);
    pthread_mutex_lock(&host->publish_lock);
    slice_close(&host->published_metrics);
    host->published_metrics = lines;
    pthread_mutex_unlock(&host->publish_lock);
}

void host_publish_lists(struct script_host *host)
{
    struct slice hooks = describe_hooks(host), described = describe_apps(host);
    host->published_us = host_now_us(host);
    host->unpublished = false;
    pthread_mutex_lock(&host->publish_lock);
    slice_close(&host->published_hooks);
    slice_close(&host->published_apps);
    host->published_hooks = hooks;
    host->published_apps = described;
    pthread_mutex_unlock(&host->publish_lock);
    publish_metrics(host);
}

static void publish(struct script_host *host)
{
    struct script_stats stats = host->stats;
    const struct app *app;
    bool starting = false;
    TAILQ_FOREACH (app, &host->apps, link) {
        stats.apps++;
        stats.tasks += app->tasks_count;
        stats.memory_bytes += app->memory.used_bytes;
        starting |= app->state == APP_STARTING;
    }
    stats.requests_pending = host->requests.pending;
    stats.events_dropped += host->inbox_dropped;
    pthread_mutex_lock(&host->publish_lock);
    host->published = stats;
    pthread_mutex_unlock(&host->publish_lock);
    bool loaded = !host->loaded && !starting;
    if (loaded || host_now_us(host) - host->published_us >= PUBLISH_US) {
        host_publish_lists(host);
    }
    if (loaded) {
        host->loaded = true;
        if (host->options.loaded != NULL) {
            host->options.loaded(host->options.ctx);
        }
    }
}

/* When it is to run again. */
static uint64_t next_run(struct script_host *host)
{
    uint64_t now_us = host_now_us(host);
    if (has_spent_much(host)) {
        host->busy_until_us = now_us + host->spent_us;
        host->spent_us = 0;
    }
    if (!has_work(host)) {
        uint64_t next_us = deadlines_next(&host->deadlines);
        if (host->unpublished && next_us > host->published_us + PUBLISH_US) {
            next_us = host->published_us + PUBLISH_US;
        }
        return next_us > host->busy_until_us ? next_us : host->busy_until_us;
    }
    if (host->busy_until_us > now_us) {
        return host->busy_until_us;
    }
    /* Tasks that keep each other busy would stop simulated time for ever. */
    return is_simulated_time(host) ? now_us + GO_ON_US : now_us;
}

uint64_t script_host_run(struct script_host *host)
{
    if (host_now_us(host) < host->busy_until_us) {
        return host->busy_until_us;
    }
    take_inbox(host);
    run_rounds(host);
    if (host->shutting_down && shutdown_hooks_done(host)) {
        atomic_store(&host->shutdown_finished, true);
    }
    publish(host);
    return next_run(host);
}

bool script_host_shutdown_finished(const struct script_host *host)
{
    return atomic_load(&host->shutdown_finished);
}

void script_host_stats(const struct script_host *host, struct script_stats *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&host->publish_lock;
    pthread_mutex_lock(lock);
    *out = host->published;
    pthread_mutex_unlock(lock);
    inbox_counts((struct inbox *)&host->inbox, &out->events_waiting, &out->commits_held);
}

static struct slice take_published(const struct script_host *host, const struct slice *list)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&host->publish_lock;
    pthread_mutex_lock(lock);
    struct slice taken = slice_ref(*list);
    pthread_mutex_unlock(lock);
    return taken;
}

struct slice script_host_hooks(const struct script_host *host)
{
    return take_published(host, &host->published_hooks);
}

struct slice script_host_apps(const struct script_host *host)
{
    return take_published(host, &host->published_apps);
}

struct slice script_host_metrics(const struct script_host *host)
{
    return take_published(host, &host->published_metrics);
}
