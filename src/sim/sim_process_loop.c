/* The loop of the process: one happening at a time, timers and ends of rounds among them. While the
 * process is paused they wait in the backlog. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_process_internal.h"

enum { STOP_DEADLINE_US = 5000000 };

static void on_wake(void *ctx, uint64_t incarnation);

static void schedule_wake(struct sim_process *p)
{
    uint64_t at_us = sim_clock_true_us(&p->clock, node_deadline(p->node));
    if (at_us < p->wake_us) {
        p->wake_us = at_us;
        world_at(p->world, at_us, on_wake, p, p->incarnations);
    }
}

static void on_wake(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    /* Timers that were moved ahead leave calls behind. */
    if (!sim_process_is_current(p, incarnation) || p->wake_us != world_now_us(p->world)) {
        return;
    }
    p->wake_us = UINT64_MAX;
    if (p->paused) {
        return;
    }
    if (node_deadline(p->node) <= sim_clock_now_us(&p->clock)) {
        sim_process_handle(p, &(struct happening){.kind = HAPPENING_TICK});
    } else {
        schedule_wake(p);
    }
}

static void on_round(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (!sim_process_is_current(p, incarnation)) {
        return;
    }
    p->round_scheduled = false;
    if (!p->paused) {
        sim_process_handle(p, &(struct happening){.kind = HAPPENING_ROUND});
    }
}

static void on_stopped(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (sim_process_is_current(p, incarnation)) {
        sim_process_end(p, SIM_END_STOPPED);
    }
}

static void shutdown_done(void *ctx)
{
    struct sim_process *p = ctx;
    world_after(p->world, 0, on_stopped, p, p->incarnations);
}

static void dispatch(struct sim_process *p, struct happening *h)
{
    struct node *n = p->node;
    switch (h->kind) {
    case HAPPENING_FRAME:
        node_receive(n, p->options.ids[h->peer], h->bits, h->frame);
        break;
    case HAPPENING_UP:
        node_link_up(n, p->options.ids[h->peer]);
        break;
    case HAPPENING_DOWN:
        node_link_down(n, p->options.ids[h->peer]);
        break;
    case HAPPENING_REFUSED:
        node_refused(n, p->options.ids[h->peer], h->verdict);
        break;
    case HAPPENING_CERTIFICATE:
        node_certificate(n, p->options.ids[h->peer], h->bits);
        break;
    case HAPPENING_JOB:
        if (p->watch->job_done != NULL) {
            p->watch->job_done(p->watch->ctx, p->options.host, h->ordinal, h->synced);
        }
        h->job->done(h->job);
        break;
    case HAPPENING_CALL:
        node_call(n, slice_bytes(h->method), slice_bytes(h->frame), h->reply, h->ctx);
        break;
    case HAPPENING_TICK:
        node_tick(n);
        break;
    case HAPPENING_ROUND:
        p->round_wanted = false;
        node_round_end(n);
        break;
    case HAPPENING_STOP:
        node_shutdown(n, sim_clock_now_us(&p->clock) + STOP_DEADLINE_US, shutdown_done, p);
        break;
    case HAPPENING_SCRIPTS:
        sim_scripts_drain(p->scripts);
        break;
    }
}

static void perform(struct sim_process *p, struct happening *h)
{
    ASSERT(p->node != NULL);
    ASSERT(!p->paused);
    world_mix(p->world, (uint64_t)h->kind << 8 | p->options.host, h->peer);
    if (h->kind == HAPPENING_FRAME) {
        world_mix_bytes(p->world, slice_bytes(h->frame));
    }
    dispatch(p, h);
    sim_process_disturbed(p);
}

void sim_process_disturbed(struct sim_process *p)
{
    if (p->round_wanted && !p->round_scheduled) {
        p->round_scheduled = true;
        world_after(p->world, sim_span_draw(p->options.round_delay, &p->rng), on_round, p,
                    p->incarnations);
    }
    schedule_wake(p);
    if (p->watch->handled != NULL) {
        p->watch->handled(p->watch->ctx, p->options.host);
    }
}

/* ---- the backlog ----------------------------------------------------------------------------- */

static void postpone(struct sim_process *p, const struct happening *h)
{
    struct happening *kept = NEW(struct happening);
    *kept = *h;
    kept->frame = slice_ref(h->frame);
    kept->method = slice_ref(h->method);
    STAILQ_INSERT_TAIL(&p->backlog, kept, link);
}

static void happening_free(struct happening *h)
{
    slice_close(&h->frame);
    slice_close(&h->method);
    free(h);
}

void sim_process_handle(struct sim_process *p, struct happening *h)
{
    if (p->paused || !STAILQ_EMPTY(&p->backlog)) {
        postpone(p, h);
    } else {
        perform(p, h);
    }
}

void sim_process_drop_backlog(struct sim_process *p)
{
    struct happening *h;
    while ((h = STAILQ_FIRST(&p->backlog)) != NULL) {
        STAILQ_REMOVE_HEAD(&p->backlog, link);
        if (h->kind == HAPPENING_CALL) {
            h->reply(h->ctx, &(struct node_reply){.err = ERR_UNREACHABLE});
        }
        happening_free(h);
    }
}

void sim_process_forget(struct sim_process *p)
{
    p->paused = false;
    p->round_wanted = p->round_scheduled = false;
    p->wake_us = UINT64_MAX;
    p->gave_up = false;
}

/* ---- pauses ---------------------------------------------------------------------------------- */

void sim_process_pause(struct sim_process *p)
{
    if (p->node != NULL) {
        p->paused = true;
    }
}

static void on_resumed(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (!sim_process_is_current(p, incarnation) || p->paused || STAILQ_EMPTY(&p->backlog)) {
        return;
    }
    struct happening *h = STAILQ_FIRST(&p->backlog);
    STAILQ_REMOVE_HEAD(&p->backlog, link);
    perform(p, h);
    happening_free(h);
    world_after(p->world, 0, on_resumed, p, incarnation);
}

void sim_process_resume(struct sim_process *p)
{
    if (p->node == NULL || !p->paused) {
        return;
    }
    p->paused = false;
    sim_scripts_resume(p->scripts);
    /* Timers are overdue as well as frames, and a loop may look at either first. */
    if (rng_chance(&p->rng, 0.5)) {
        perform(p, &(struct happening){.kind = HAPPENING_TICK});
    }
    world_after(p->world, 0, on_resumed, p, p->incarnations);
    schedule_wake(p);
    if (p->round_wanted && !p->round_scheduled) {
        p->round_scheduled = true;
        world_after(p->world, 0, on_round, p, p->incarnations);
    }
}

void sim_process_clock_changed(struct sim_process *p)
{
    if (p->node != NULL && !p->paused) {
        schedule_wake(p);
        sim_scripts_clock_changed(p->scripts);
    }
}
