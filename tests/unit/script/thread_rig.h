/* A script host on a thread of its own, with the real timer, and with real processes where a test
 * asks for them. */
#ifndef MK_TESTS_THREAD_RIG_H
#define MK_TESTS_THREAD_RIG_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/queue.h"
#include "host_fixture.h"
#include "net/loop.h"
#include "net/processes.h"
#include "net/script_timer.h"
#include "net/system_entropy.h"
#include "net/worker.h"

struct rig {
    struct clock_port clock;
    struct log log;
    struct script_timer *timer;
    struct worker *worker;
    struct worker *_Atomic woken; /* the same, once it may be woken */
    struct script_host *host;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct buffer said; /* under lock */
    struct queue requests;
    struct processes *processes; /* NULL: scripts cannot run programs */
};

static inline void rig_write(void *sink, const char *line, size_t size_bytes)
{
    struct rig *rig = sink;
    pthread_mutex_lock(&rig->lock);
    buffer_add(&rig->said, line, size_bytes);
    pthread_cond_broadcast(&rig->changed);
    pthread_mutex_unlock(&rig->lock);
}

static inline void rig_request(void *ctx, struct script_request *request)
{
    struct rig *rig = ctx;
    assert_true(queue_push(&rig->requests, request));
}

static inline void rig_wake(void *ctx)
{
    struct worker *worker = atomic_load(&((struct rig *)ctx)->woken);
    if (worker != NULL) {
        worker_wake(worker);
    }
}

static inline uint64_t rig_run(void *ctx, uint64_t now_us)
{
    (void)now_us;
    return script_host_run(((struct rig *)ctx)->host);
}

static inline void rig_answer(void *ctx, uint64_t call, enum err err, const char *message,
                              struct slice result_take)
{
    script_host_reply(((struct rig *)ctx)->host, call, err, message, result_take);
}

/* Before rig_open(). */
static inline void rig_open_processes(struct rig *rig, const struct processes_registry *registry)
{
    memset(rig, 0, sizeof *rig);
    struct processes_options options = {.answer = rig_answer, .ctx = rig};
    if (registry != NULL) {
        options.registry = *registry;
    }
    assert_int_equal(processes_open(&options, &rig->processes, NULL), ERR_OK);
}

static inline void rig_open(struct rig *rig, const char *source)
{
    struct processes *processes = rig->processes;
    memset(rig, 0, sizeof *rig);
    rig->processes = processes;
    rig->clock = loop_clock();
    rig->log = (struct log){.level = LOG_LEVEL_INFO,
                            .format = LOG_LOGFMT,
                            .wall_ms = rig->clock.wall_ms,
                            .clock = rig->clock.ctx,
                            .write = rig_write,
                            .sink = rig};
    pthread_mutex_init(&rig->lock, NULL);
    pthread_cond_init(&rig->changed, NULL);
    queue_init(&rig->requests, 100000, NULL, NULL);
    assert_int_equal(script_timer_new(&rig->timer, NULL), ERR_OK);
    struct script_options options = {
        .clock = &rig->clock,
        .entropy = system_entropy(),
        .preempt = script_timer_port(rig->timer),
        .processes = processes != NULL ? processes_port(processes) : NULL,
        .log = &rig->log,
        .node = {.id = "n1"},
        .request = rig_request,
        .wake = rig_wake,
        .ctx = rig,
    };
    rig->host = script_host_new(&options);
    struct script_app app = {.name = "app", .path = "test.lua", .source = source};
    struct why why = {0};
    if (script_host_load(rig->host, &app, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct worker_job job = {.ctx = rig, .run = rig_run};
    assert_int_equal(worker_start(&job, &rig->clock, "scripts", &rig->worker, &why), ERR_OK);
    atomic_store(&rig->woken, rig->worker);
    worker_wake(rig->worker); /* for what came before */
}

static inline void rig_close(struct rig *rig)
{
    processes_stop(rig->processes);
    worker_stop(rig->worker);
    script_host_free(rig->host); /* gives its processes up */
    processes_close(rig->processes);
    script_timer_free(rig->timer);
    struct script_request *request;
    while ((request = queue_pop(&rig->requests)) != NULL) {
        script_request_free(request);
    }
    queue_close(&rig->requests);
    buffer_close(&rig->said);
    pthread_cond_destroy(&rig->changed);
    pthread_mutex_destroy(&rig->lock);
}

/* Wait until the scripts have said this. */
static inline void wait_said(struct rig *rig, const char *text)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    pthread_mutex_lock(&rig->lock);
    while (strstr(buffer_text(&rig->said), text) == NULL) {
        if (pthread_cond_timedwait(&rig->changed, &rig->lock, &limit) != 0) {
            fail_msg("'%s' was not said in time, but: %s", text, buffer_text(&rig->said));
        }
    }
    pthread_mutex_unlock(&rig->lock);
}

#endif
