#include "cli/daemon_scripts.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/queue.h"
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

static enum err load_apps(struct daemon_scripts *s, const struct config *config, struct why *why)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < config->apps_count && e == ERR_OK; i++) {
        const struct config_app *app = &config->apps[i];
        const struct script_app load = {
            .name = app->name,
            .path = app->script,
            .config = buffer_bytes(&app->config),
        };
        e = script_host_load(s->host, &load, why);
    }
    return e;
}

enum err daemon_scripts_open(const struct config *config, const struct clock_port *clock,
                             struct loop *loop, const struct log *log, struct daemon_scripts **out,
                             struct why *why)
{
    *out = NULL;
    struct daemon_scripts *s = NEW(struct daemon_scripts);
    s->loop = loop;
    s->clock = clock;
    queue_init(&s->requests, REQUESTS_QUEUED_MAX, requests_came, s);
    enum err e = script_timer_new(&s->timer, why);
    if (e != ERR_OK) {
        daemon_scripts_close(s);
        return e;
    }
    const struct script_options options = {
        .clock = clock,
        .entropy = system_entropy(),
        .zones = system_zones(),
        .preempt = script_timer_port(s->timer),
        .log = log,
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
    e = load_apps(s, config, why);
    if (e != ERR_OK) {
        daemon_scripts_close(s);
        return e;
    }
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
    struct worker *worker;
    enum err e = worker_start(&job, s->clock, "scripts", &worker, why);
    if (e == ERR_OK) {
        atomic_store(&s->worker, worker);
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
    script_timer_free(s->timer);
    queue_close(&s->requests);
    free(s);
}
