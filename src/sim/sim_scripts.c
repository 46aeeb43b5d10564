#include "sim/sim_scripts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "sim/sim_exec.h"
#include "sim/sim_http.h"
#include "sim/sim_process_internal.h"

/* Beyond what the host may have unanswered; how long a thread takes to wake up. */
enum { REQUESTS_QUEUED_MAX = 1 << 16, WAKE_US_MAX = 50 };
#define NEVER UINT64_MAX

struct sim_scripts {
    struct sim_process *process;
    uint64_t incarnation;
    struct rng rng;
    struct entropy_port entropy;
    struct log log;
    struct script_host *host;
    struct sim_exec *exec;
    struct sim_http *http;
    struct queue requests; /* of struct script_request */
    bool started;
    uint64_t due_us; /* on the host's clock: when it wants to run again */
    uint64_t run_us; /* true time of the next scheduled run; NEVER: none */
};

/* ---- running --------------------------------------------------------------------------------- */

static void on_run(void *ctx, uint64_t incarnation);

/* Run at this true time, if not before. */
static void run_by(struct sim_scripts *s, uint64_t true_us)
{
    struct sim_process *p = s->process;
    if (s->started && !p->ending && true_us < s->run_us) {
        s->run_us = true_us;
        world_at(p->world, true_us, on_run, p, s->incarnation);
    }
}

static void run_soon(struct sim_scripts *s)
{
    run_by(s, world_now_us(s->process->world) + rng_range(&s->rng, 0, WAKE_US_MAX));
}

static void run_when_due(struct sim_scripts *s)
{
    uint64_t at_us = sim_clock_true_us(&s->process->clock, s->due_us);
    uint64_t now_us = world_now_us(s->process->world);
    if (at_us != NEVER) {
        run_by(s, at_us > now_us ? at_us : now_us + 1);
    }
}

static void tell_queues(struct sim_scripts *s)
{
    struct sim_process *p = s->process;
    if (p->watch->scripts_ran == NULL) {
        return;
    }
    struct script_stats stats;
    script_host_stats(s->host, &stats);
    p->watch->scripts_ran(p->watch->ctx, p->options.host,
                          &(struct sim_script_queues){
                              .events = stats.events_waiting,
                              .commits = stats.commits_held,
                              .pending = stats.requests_pending,
                              .requests = queue_count(&s->requests),
                          });
}

static void on_run(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    struct sim_scripts *s = p->scripts;
    /* Runs that were moved ahead leave calls behind. */
    if (!sim_process_is_current(p, incarnation) || s->run_us != world_now_us(p->world)) {
        return;
    }
    s->run_us = NEVER;
    if (p->paused) {
        return;
    }
    s->due_us = script_host_run(s->host);
    world_mix(p->world, UINT64_C(0x200) | p->options.host, s->due_us);
    tell_queues(s);
    run_when_due(s);
}

void sim_scripts_start(struct sim_scripts *s)
{
    if (s != NULL) {
        s->started = true;
        run_soon(s);
    }
}

void sim_scripts_resume(struct sim_scripts *s)
{
    if (s != NULL) {
        sim_http_resume(s->http);
        run_soon(s);
    }
}

void sim_scripts_clock_changed(struct sim_scripts *s)
{
    if (s != NULL) {
        run_when_due(s);
        sim_exec_clock_changed(s->exec);
    }
}

/* ---- both ways ------------------------------------------------------------------------------- */

static void request(void *ctx, struct script_request *request_take)
{
    struct sim_scripts *s = ctx;
    world_mix(s->process->world, request_take->id, s->process->options.host);
    world_mix_bytes(s->process->world, bytes_of_string(request_take->method));
    world_mix_bytes(s->process->world, slice_bytes(request_take->params));
    if (!queue_push(&s->requests, request_take)) {
        script_host_reply(s->host, request_take->id, ERR_BUSY, NULL, (struct slice){0});
        script_request_free(request_take);
    }
}

static void on_requests(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (sim_process_is_current(p, incarnation)) {
        sim_process_handle(p, &(struct happening){.kind = HAPPENING_SCRIPTS});
    }
}

static void requests_came(void *ctx)
{
    struct sim_scripts *s = ctx;
    world_after(s->process->world, rng_range(&s->rng, 0, WAKE_US_MAX), on_requests, s->process,
                s->incarnation);
}

void sim_scripts_drain(struct sim_scripts *s)
{
    struct script_request *next;
    while (s != NULL && (next = queue_pop(&s->requests)) != NULL) {
        node_script_request(s->process->node, next);
    }
}

static void wake(void *ctx)
{
    run_soon(ctx);
}

/* ---- what is seen of them -------------------------------------------------------------------- */

/* "13:21:21.140 info  elected app=web": without the time, which is the timeline's, and the newline.
 */
static void log_line(void *ctx, const char *line, size_t size_bytes)
{
    struct sim_scripts *s = ctx;
    struct sim_process *p = s->process;
    const char *space = memchr(line, ' ', size_bytes);
    const char *text = space != NULL ? space + 1 : line;
    struct buffer said = {0};
    buffer_add(&said, text, size_bytes - (size_t)(text - line) - 1);
    world_mix_bytes(p->world, buffer_bytes(&said));
    if (p->watch->said != NULL) {
        p->watch->said(p->watch->ctx, p->options.host, buffer_text(&said));
    }
    buffer_close(&said);
}

static int64_t log_wall_ms(void *ctx)
{
    struct sim_scripts *s = ctx;
    return clock_wall_ms(sim_clock_port(&s->process->clock));
}

static void observe_leader_work(void *ctx, uint64_t token)
{
    struct sim_process *p = ((struct sim_scripts *)ctx)->process;
    world_mix(p->world, UINT64_C(0x300) | p->options.host, token);
    if (p->watch->leader_work != NULL) {
        p->watch->leader_work(p->watch->ctx, p->options.host, token);
    }
}

static void observe_commit(void *ctx, uint64_t cursor, uint64_t index)
{
    struct sim_process *p = ((struct sim_scripts *)ctx)->process;
    world_mix(p->world, UINT64_C(0x400) | p->options.host, index);
    if (p->watch->commit_told != NULL) {
        p->watch->commit_told(p->watch->ctx, p->options.host, cursor, index);
    }
}

static void observe_event(void *ctx, const char *name, uint64_t term, struct bytes fields)
{
    sim_process_event(((struct sim_scripts *)ctx)->process, name, term, fields);
}

static void fill_entropy(void *ctx, void *out, size_t size_bytes)
{
    struct sim_scripts *s = ctx;
    uint8_t *at = out;
    for (size_t i = 0; i < size_bytes; i++) {
        at[i] = (uint8_t)rng_next(&s->rng);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static struct script_host *new_host(struct sim_scripts *s)
{
    const struct sim_process_options *o = &s->process->options;
    const struct membership_member *self = NULL;
    for (uint32_t i = 0; i < o->node.members.count; i++) {
        if (o->node.members.at[i].id == o->ids[o->host]) {
            self = &o->node.members.at[i];
        }
    }
    return script_host_new(&(struct script_options){
        .clock = sim_clock_port(&s->process->clock),
        .entropy = &s->entropy,
        .zones = o->zones,
        .processes = sim_exec_port(s->exec),
        .http = sim_http_port(s->http),
        .files = sim_files_port(s->process->files),
        .log = &s->log,
        .simulated = true,
        .node = {.id = o->node.name,
                 .addr = self != NULL ? self->address : "",
                 .version = "simulated",
                 .cluster = o->node.cluster},
        .limits = o->script_limits,
        .request = request,
        .wake = wake,
        .ctx = s,
        .observer = {.ctx = s,
                     .leader_work = observe_leader_work,
                     .commit = observe_commit,
                     .event = observe_event},
    });
}

enum err sim_scripts_open(struct sim_process *p, struct sim_scripts **out, struct why *why)
{
    *out = NULL;
    if (p->options.scripts_count == 0 && !p->options.evals) {
        return ERR_OK;
    }
    struct sim_scripts *s = NEW(struct sim_scripts);
    s->process = p;
    s->incarnation = p->incarnations;
    s->due_us = s->run_us = NEVER;
    uint64_t seed = rng_next(&p->rng);
    rng_seed(&s->rng, seed);
    s->entropy = (struct entropy_port){.ctx = s, .fill = fill_entropy};
    s->log = (struct log){.level = LOG_LEVEL_INFO,
                          .format = LOG_CONSOLE,
                          .wall_ms = log_wall_ms,
                          .clock = s,
                          .write = log_line,
                          .sink = s};
    queue_init(&s->requests, REQUESTS_QUEUED_MAX, requests_came, s);
    s->exec = sim_exec_new(p, ~seed);
    s->http = sim_http_new(p, seed ^ UINT64_C(0x687474702e6c7561));
    s->host = new_host(s);
    sim_exec_answer_to(s->exec, s->host);
    sim_http_answer_to(s->http, s->host);
    sim_files_answer_to(p->files, s->host);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < p->options.scripts_count && e == ERR_OK; i++) {
        e = script_host_load(s->host, &p->options.scripts[i], why);
    }
    if (e != ERR_OK) {
        sim_scripts_close(s, false);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void sim_scripts_close(struct sim_scripts *s, bool planned)
{
    if (s == NULL) {
        return;
    }
    sim_exec_kill_all(s->exec);
    if (planned) {
        script_host_free(s->host);
    } else {
        script_host_kill(s->host);
    }
    sim_exec_free(s->exec);
    sim_http_free(s->http);
    struct script_request *left;
    while ((left = queue_pop(&s->requests)) != NULL) {
        script_request_free(left);
    }
    queue_close(&s->requests);
    free(s);
}

struct sim_exec *sim_scripts_exec(struct sim_scripts *s)
{
    return s != NULL ? s->exec : NULL;
}

struct sim_http *sim_scripts_http(struct sim_scripts *s)
{
    return s != NULL ? s->http : NULL;
}

struct script_host *sim_scripts_host(struct sim_scripts *s)
{
    return s->host;
}
