#include "cli/daemon_scripts.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "guardian/children.h"
#include "guardian/guardian.h"
#include "net/http_calls.h"
#include "net/processes.h"
#include "net/script_files.h"
#include "net/script_timer.h"
#include "net/system_entropy.h"
#include "net/system_zones.h"
#include "net/worker.h"
#include "script/script.h"

enum { REQUESTS_QUEUED_MAX = 1 << 16 }; /* beyond what the host may have unanswered */

struct daemon_scripts {
    struct loop *loop;
    const struct clock_port *clock;
    struct node *node;
    struct script_timer *timer; /* takes the processor from a script that does not give it back */
    struct script_host *host;
    const char *data_dir;
    const struct guardian_host *guardian;
    struct children
        *children; /* from the start on: the processes that scripts started, for the guardian */
    struct processes *processes;
    struct http_calls *http;
    struct script_files *files;
    struct worker *_Atomic worker; /* NULL before the start: then nobody is to be woken */
    atomic_bool loaded;
    struct queue requests; /* of struct script_request, from the host's thread to the loop's */
};

/* On the host's thread. */
static void request(void *ctx, struct script_request *request_take)
{
    struct daemon_scripts *s = ctx;
    if (!queue_push(&s->requests, request_take)) {
        script_host_reply(s->host, request_take->id, ERR_BUSY, NULL, (struct slice){0});
        script_request_free(request_take);
    }
}

/* On the thread that pushes into the empty queue: the host's. */
static void requests_came(void *ctx)
{
    struct daemon_scripts *s = ctx;
    loop_wake(s->loop);
}

/* Any thread. */
static void wake_host(void *ctx)
{
    struct daemon_scripts *s = ctx;
    struct worker *worker = atomic_load(&s->worker);
    if (worker != NULL) {
        worker_wake(worker);
    }
}

/* On the host's thread. */
static void apps_loaded(void *ctx)
{
    struct daemon_scripts *s = ctx;
    atomic_store(&s->loaded, true);
    loop_wake(s->loop);
}

static uint64_t run_host(void *ctx, uint64_t now_us)
{
    struct daemon_scripts *s = ctx;
    (void)now_us;
    return script_host_run(s->host);
}

static struct script_app app_of(const struct config_app *app)
{
    return (struct script_app){
        .name = app->name,
        .path = app->script,
        .config = buffer_bytes(&app->config),
        .lua_path_more = app->lua_path,
    };
}

/* The node takes part without those that cannot be loaded; they are shown as failed until a reload
 * finds them in order. */
static void load_apps(struct daemon_scripts *s, const struct config *config)
{
    for (uint32_t i = 0; i < config->apps_count; i++) {
        const struct script_app load = app_of(&config->apps[i]);
        struct why why = {""};
        if (script_host_load(s->host, &load, &why) != ERR_OK) {
            script_host_load_failed(s->host, &load, why.text);
        }
    }
}

void daemon_scripts_reload(struct daemon_scripts *s, const struct config *config,
                           void (*done)(void *ctx, enum err err, const char *message,
                                        struct bytes results),
                           void *ctx)
{
    struct script_app apps[CONFIG_APPS_MAX];
    for (uint32_t i = 0; i < config->apps_count; i++) {
        apps[i] = app_of(&config->apps[i]);
    }
    script_host_reload(
        s->host, &(struct script_reload){
                     .apps = apps, .apps_count = config->apps_count, .done = done, .ctx = ctx});
}

/* ---- processes ----------------------------------------------------------------------------------
 */

static enum err add_child(void *ctx, const struct guardian_entry *entry, uint32_t *slot)
{
    struct daemon_scripts *s = ctx;
    return children_add(s->children, entry, slot);
}

static void set_child_deadline(void *ctx, uint32_t slot, uint64_t deadline_us)
{
    struct daemon_scripts *s = ctx;
    children_set_deadline(s->children, slot, deadline_us);
}

static void remove_child(void *ctx, uint32_t slot)
{
    struct daemon_scripts *s = ctx;
    children_remove(s->children, slot);
}

/* On the thread of processes, or of HTTP requests. */
static void answer(void *ctx, uint64_t call, enum err err, const char *message,
                   struct slice result_take)
{
    struct daemon_scripts *s = ctx;
    script_host_reply(s->host, call, err, message, result_take);
}

static enum err open_processes(struct daemon_scripts *s, const struct log *log, struct why *why)
{
    const struct processes_options options = {
        .registry = {.ctx = s,
                     .add = add_child,
                     .set_deadline = set_child_deadline,
                     .remove = remove_child},
        .log = log,
        .subreaper = s->guardian->subreaper,
        .answer = answer,
        .ctx = s,
    };
    return processes_open(&options, &s->processes, why);
}

/* Beside the log, so that each node has its own. */
static void open_files(struct daemon_scripts *s)
{
    struct buffer folder = {0};
    buffer_add_format(&folder, "%s/files", s->data_dir);
    s->files = script_files_new(
        &(struct script_files_options){.folder = buffer_text(&folder), .answer = answer, .ctx = s});
    buffer_close(&folder);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

enum err daemon_scripts_open(const struct daemon_scripts_options *o, struct daemon_scripts **out,
                             struct why *why)
{
    *out = NULL;
    const struct config *config = o->config;
    struct daemon_scripts *s = NEW(struct daemon_scripts);
    s->loop = o->loop;
    s->clock = o->clock;
    s->data_dir = config->data_dir;
    s->guardian = o->guardian;
    queue_init(&s->requests, REQUESTS_QUEUED_MAX, requests_came, s);
    enum err e = script_timer_new(&s->timer, why);
    e = e != ERR_OK ? e : open_processes(s, o->log, why);
    if (e != ERR_OK) {
        daemon_scripts_close(s);
        return e;
    }
    s->http = http_calls_new(&(struct http_calls_options){
        .agent = "moonkeeper/" MK_VERSION, .instead = o->http_instead, .answer = answer, .ctx = s});
    open_files(s);
    const struct script_options options = {
        .clock = o->clock,
        .entropy = system_entropy(),
        .zones = system_zones(),
        .preempt = script_timer_port(s->timer),
        .processes = processes_port(s->processes),
        .http = http_calls_port(s->http),
        .files = script_files_port(s->files),
        .log = o->log,
        .node = {.id = config->id,
                 .addr = config_self(config)->peer,
                 .version = MK_VERSION,
                 .cluster = config->cluster},
        .limits = {.budget_us = config->limits.script_budget_ms * 1000,
                   .memory_bytes = config->limits.script_memory_bytes},
        .request = request,
        .wake = wake_host,
        .loaded = apps_loaded,
        .ctx = s,
    };
    s->host = script_host_new(&options);
    load_apps(s, config);
    *out = s;
    return ERR_OK;
}

struct script_host *daemon_scripts_host(struct daemon_scripts *s)
{
    return s->host;
}

enum err daemon_scripts_start(struct daemon_scripts *s, struct node *node, struct why *why)
{
    if (s == NULL) {
        return ERR_OK;
    }
    s->node = node;
    const struct worker_job job = {.ctx = s, .run = run_host};
    struct worker *worker = NULL;
    /* Not before the node has locked the directory: what another one has in there is its own. */
    enum err e =
        children_open(s->guardian->page, s->guardian->wake_fd, s->data_dir, &s->children, why);
    e = e != ERR_OK ? e : worker_start(&job, s->clock, "scripts", &worker, why);
    if (e == ERR_OK) {
        atomic_store(&s->worker, worker);
        worker_wake(worker); /* whatever came while there was nobody to wake */
    }
    return e;
}

bool daemon_scripts_loaded(const struct daemon_scripts *s)
{
    return s == NULL || atomic_load(&s->loaded);
}

void daemon_scripts_drain(struct daemon_scripts *s)
{
    struct script_request *next;
    while (s != NULL && (next = queue_pop(&s->requests)) != NULL) {
        node_script_request(s->node, next);
    }
}

void daemon_scripts_stop(struct daemon_scripts *s)
{
    if (s != NULL) {
        processes_stop(s->processes); /* its answers wake the worker */
        http_calls_stop(s->http);     /* likewise */
        script_files_stop(s->files);
        worker_stop(atomic_exchange(&s->worker, NULL));
    }
}

void daemon_scripts_close(struct daemon_scripts *s)
{
    if (s == NULL) {
        return;
    }
    struct script_request *left;
    while ((left = queue_pop(&s->requests)) != NULL) {
        script_request_free(left);
    }
    script_host_free(s->host);
    processes_close(s->processes);
    http_calls_free(s->http);
    script_files_free(s->files);
    children_close(s->children);
    script_timer_free(s->timer);
    queue_close(&s->requests);
    free(s);
}
