#include "sim/sim_executor.h"

#include "base/assert.h"

static void start_later(struct sim_executor *e);

static void on_finish(void *ctx, uint64_t generation)
{
    struct sim_executor *e = ctx;
    if (generation != e->generation) {
        return;
    }
    uint64_t now_us = world_now_us(e->world);
    if (now_us < e->stall_until) {
        world_at(e->world, e->stall_until, on_finish, e, generation);
        return;
    }
    struct executor_job *job = e->running;
    ASSERT(job != NULL);
    e->running = NULL;
    sim_fs_job_end(e->fs);
    start_later(e);
    e->finished(e->ctx, job, e->started, sim_fs_syncs(e->fs) > e->syncs);
}

static void on_start(void *ctx, uint64_t generation)
{
    struct sim_executor *e = ctx;
    if (generation != e->generation) {
        return;
    }
    struct executor_job *job = e->first;
    ASSERT(job != NULL);
    ASSERT(e->running == NULL);
    e->starting = false;
    e->first = job->next;
    if (e->first == NULL) {
        e->last = NULL;
    }
    e->running = job;
    e->started++;
    e->syncs = sim_fs_syncs(e->fs);
    sim_fs_job_begin(e->fs);
    job->run(job);
    if (e->tear && sim_fs_tear(e->fs)) {
        e->tear = false;
        e->torn(e->ctx);
    }
    uint64_t time_us = sim_span_draw(e->rule.job, &e->rng) + e->slower_us;
    if (e->rule.stall > 0 && rng_chance(&e->rng, e->rule.stall)) {
        time_us += sim_span_draw(e->rule.stall_extra, &e->rng);
    }
    world_after(e->world, time_us, on_finish, e, generation);
}

static void start_later(struct sim_executor *e)
{
    if (e->first != NULL && e->running == NULL && !e->starting) {
        e->starting = true;
        world_after(e->world, 0, on_start, e, e->generation);
    }
}

static void submit(void *ctx, struct executor_job *job)
{
    struct sim_executor *e = ctx;
    job->next = NULL;
    if (e->last != NULL) {
        e->last->next = job;
    } else {
        e->first = job;
    }
    e->last = job;
    start_later(e);
}

void sim_executor_init(struct sim_executor *e, struct world *world, struct sim_fs *fs,
                       const struct sim_disk_rule *rule)
{
    *e = (struct sim_executor){.world = world, .fs = fs, .rule = *rule};
    rng_seed(&e->rng, world_draw_seed(world));
    e->port = (struct executor_port){.ctx = e, .submit = submit};
}

void sim_executor_reset(struct sim_executor *e)
{
    e->generation++;
    e->first = e->last = e->running = NULL;
    e->starting = false;
}

void sim_executor_stall(struct sim_executor *e, uint64_t stall_us)
{
    uint64_t until_us = world_now_us(e->world) + stall_us;
    if (until_us > e->stall_until) {
        e->stall_until = until_us;
    }
}
