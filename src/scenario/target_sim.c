/* The simulated target: a cluster is a world of its own (sim/cluster.h), and the stage steps the
 * worlds in the order of their times. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/rng.h"
#include "net/system_zones.h"
#include "scenario/target_sim_internal.h"
#include "scenario/write_log.h"
#include "script/embed.h"

enum { MS = 1000 };

/* ---- processes ------------------------------------------------------------------------------- */

static void answer(node_reply_fn reply, void *ctx, enum err err, const char *message)
{
    reply(ctx, &(struct node_reply){.err = err, .message = message});
}

static void await(struct target_sim *t, uint32_t node, bool start, node_reply_fn reply, void *ctx)
{
    struct await *a = NEW(struct await);
    *a = (struct await){.host = node - 1, .start = start, .reply = reply, .ctx = ctx};
    LIST_INSERT_HEAD(&t->awaits, a, link);
}

static void sim_start(struct target *target, uint32_t node, node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    if (!sim_process_down(p)) {
        answer(reply, ctx, ERR_EXISTS, "it runs already");
        return;
    }
    t->refused[node - 1] = ERR_OK;
    sim_process_restart(p);
    await(t, node, true, reply, ctx);
}

static void sim_stop(struct target *target, uint32_t node, node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    if (!sim_process_running(p)) {
        answer(reply, ctx, ERR_NOT_FOUND, "it does not run");
        return;
    }
    cluster_note(t->cluster, node - 1, "asked to stop");
    sim_process_stop(p);
    await(t, node, false, reply, ctx);
}

static void sim_crash(struct target *target, uint32_t node, const struct target_crash *how,
                      node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    if (!sim_process_running(p) && !how->host) {
        answer(reply, ctx, ERR_NOT_FOUND, "it does not run");
        return;
    }
    sim_process_end(p, how->host           ? SIM_END_HOST
                       : how->auto_restart ? SIM_END_CRASH
                                           : SIM_END_KILLED);
    answer(reply, ctx, ERR_OK, NULL);
}

static void sim_pause(struct target *target, uint32_t node, bool paused)
{
    struct target_sim *t = target_sim_of(target);
    cluster_note(t->cluster, node - 1, paused ? "paused" : "resumed");
    if (paused) {
        sim_process_pause(target_sim_process(t, node));
    } else {
        sim_process_resume(target_sim_process(t, node));
    }
}

static enum err sim_wipe(struct target *target, uint32_t node, struct why *why)
{
    struct target_sim *t = target_sim_of(target);
    if (!sim_process_down(target_sim_process(t, node))) {
        return err_why(why, ERR_BUSY, "it runs: crash it with { host = true } before");
    }
    cluster_wipe(t->cluster, node - 1);
    return ERR_OK;
}

static bool sim_alive(const struct target *t, uint32_t node)
{
    return sim_process_running(target_sim_process(target_sim_of_const(t), node));
}

static bool sim_paused(const struct target *t, uint32_t node)
{
    const struct sim_process *p = target_sim_process(target_sim_of_const(t), node);
    return sim_process_running(p) && sim_process_paused(p);
}

/* Has what this one waits for come about, or become impossible? */
static bool is_over(const struct target_sim *t, const struct await *a)
{
    const struct sim_process *p = cluster_host(t->cluster, a->host);
    return a->start ? sim_process_running(p) || sim_process_down(p) : !sim_process_running(p);
}

static void answer_awaits(struct target_sim *t)
{
    struct await *a = LIST_FIRST(&t->awaits);
    while (a != NULL) {
        struct await *next = LIST_NEXT(a, link);
        if (is_over(t, a)) {
            bool failed = a->start && !sim_process_running(cluster_host(t->cluster, a->host));
            enum err err = failed ? ERR_IO : ERR_OK;
            if (failed && t->refused[a->host] != ERR_OK) {
                err = t->refused[a->host];
            }
            LIST_REMOVE(a, link);
            t->stage->happened = true;
            answer(a->reply, a->ctx, err, failed ? t->refusals[a->host].text : NULL);
            free(a);
        }
        a = next;
    }
}

static void on_refused(void *ctx, uint32_t host, enum err err, const char *why)
{
    struct target_sim *t = ctx;
    t->refused[host] = err;
    err_why(&t->refusals[host], err, "%s", why);
}

/* ---- what has happened ----------------------------------------------------------------------- */

static void sim_check(struct target *target, const char *rule, bool last, node_reply_fn reply,
                      void *ctx)
{
    (void)rule; /* they are checked all the time, and all of them */
    (void)last;
    const char *failure = target->vtable->failure(target);
    answer(reply, ctx, failure == NULL ? ERR_OK : ERR_REJECTED, failure);
}

static const char *sim_failure(struct target *target)
{
    struct target_sim *t = target_sim_of(target);
    const struct safety_violation *v = safety_violation(cluster_safety(t->cluster));
    if (v == NULL) {
        return NULL;
    }
    buffer_clear(&t->failure);
    buffer_add_format(&t->failure, "violated: %s: n%u: %s", v->rule, v->host + 1, v->text);
    return buffer_text(&t->failure);
}

static void sim_timeline(struct target *target, uint32_t lines_max, struct buffer *out)
{
    cluster_timeline(target_sim_of(target)->cluster, lines_max, out);
}

static void sim_set_live(struct target *target, void (*live)(void *ctx, const char *line),
                         void *ctx)
{
    cluster_set_live(target_sim_of(target)->cluster, live, ctx);
}

static uint64_t sim_trace_hash(const struct target *target)
{
    return world_trace_hash(cluster_world(target_sim_of_const(target)->cluster));
}

/* ---- life ------------------------------------------------------------------------------------ */

static void sim_close(struct target *target)
{
    struct target_sim *t = target_sim_of(target);
    t->closing = true;
    struct await *a;
    while ((a = LIST_FIRST(&t->awaits)) != NULL) {
        LIST_REMOVE(a, link);
        answer(a->reply, a->ctx, ERR_SHUTDOWN, NULL);
        free(a);
    }
    cluster_free(t->cluster); /* answers all calls */
    target_sim_http_close(t);
    ASSERT(t->calls == 0);
    LIST_REMOVE(t, link);
    for (size_t i = 0; i < t->opaque_count; i++) {
        slice_close(&t->opaque[i].command);
    }
    free(t->opaque);
    buffer_close(&t->failure);
    free(t);
}

static const struct target_vtable sim_vtable = {
    .close = sim_close,
    .start = sim_start,
    .stop = sim_stop,
    .crash = sim_crash,
    .pause = sim_pause,
    .wipe = sim_wipe,
    .reload = target_sim_reload,
    .alive = sim_alive,
    .paused = sim_paused,
    .cut = target_sim_cut,
    .delay = target_sim_delay,
    .drop = target_sim_drop,
    .heal = target_sim_heal,
    .call = target_sim_call,
    .control = target_sim_control,
    .events = target_sim_events,
    .rpcs = target_sim_rpcs,
    .check = sim_check,
    .failure = sim_failure,
    .timeline = sim_timeline,
    .set_live = sim_set_live,
    .trace_hash = sim_trace_hash,
    .http_servers = target_sim_http_servers,
    .http = target_sim_http,
    .skew = target_sim_skew,
    .set_wall = target_sim_set_wall,
    .disk = target_sim_disk,
    .program = target_sim_program,
    .programs = target_sim_programs,
};

static struct cluster_options cluster_options_of(struct target_sim *t, uint64_t seed)
{
    const struct target_options *o = t->options;
    struct cluster_options c = cluster_defaults(seed);
    c.nodes = o->nodes;
    c.spares = o->spares;
    c.raft.election_min_us = o->election_min_ms * MS;
    c.raft.election_max_us = o->election_max_ms * MS;
    c.raft.heartbeat_us = o->heartbeat_ms * MS;
    c.raft.lease_us = c.raft.election_min_us;
    c.raft.transfer_timeout_us = c.raft.election_min_us;
    c.raft.prevote = o->prevote;
    c.raft.check_quorum = o->check_quorum;
    c.raft.lease = o->lease;
    c.raft.fast_failover = o->fast_failover;
    c.leases = o->lease;
    c.net = (struct sim_net_rule){
        .latency = {.min_us = o->latency_min_us, .max_us = o->latency_max_us + 1},
        .loss = o->loss,
        .duplicate = o->duplicate,
        .slow = o->reorder,
        .slow_extra = {.min_us = o->reorder_min_us, .max_us = o->reorder_max_us + 1},
    };
    /* Connections lose nothing but all: what is lost or overtaken one by one are datagrams. */
    c.datagrams = o->loss > 0 || o->duplicate > 0 || o->reorder > 0;
    c.clients.clients = 0;
    struct bytes kv = embed_find("moonkeeper/machines/kv.sm.lua");
    ASSERT(kv.data != NULL);
    c.kv_source = (const char *)kv.data;
    c.kv_source_size = kv.size;
    target_sim_list_scripts(o, t->scripts);
    c.scripts = t->scripts;
    c.scripts_count = o->scripts_count;
    c.zones = system_zones();
    c.evals = true;
    c.snapshot.entries = o->snapshot_entries;
    c.snapshot.bytes = o->snapshot_bytes;
    c.snapshot.keep_entries = o->snapshot_keep_entries;
    c.refused = on_refused;
    c.applied = target_sim_applied;
    c.told_ctx = t;
    return c;
}

static void fill_entropy(void *ctx, void *out, size_t size_bytes)
{
    struct rng *rng = ctx;
    for (size_t i = 0; i < size_bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)rng_next(rng);
    }
}

/* What the nodes find on their disks. Whoever wrote it knew of the highest term in it. */
static enum err write_logs(struct target_sim *t, struct why *why)
{
    const struct target_options *o = t->options;
    const struct membership *members = cluster_members(t->cluster);
    struct rng rng;
    rng_seed(&rng, world_draw_seed(cluster_world(t->cluster)));
    const struct entropy_port entropy = {.ctx = &rng, .fill = fill_entropy};
    uint64_t term = 0;
    for (uint32_t i = 0; i < o->nodes; i++) {
        const struct target_log *log = &o->logs[i];
        term =
            log->count > 0 && log->terms[log->count - 1] > term ? log->terms[log->count - 1] : term;
    }
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < o->nodes && term > 0 && err == ERR_OK; i++) {
        struct sim_fs *fs = sim_process_disk(cluster_host(t->cluster, i));
        const struct write_log w = {
            .fs = sim_fs_port(fs),
            .entropy = &entropy,
            .cluster_id = node_cluster_id(CLUSTER_NAME, members),
            .cluster_name = CLUSTER_NAME,
            .node_id = members->at[i].id,
            .node_name = members->at[i].name,
            .terms = o->logs[i].terms,
            .count = o->logs[i].count,
            .term = term,
        };
        err = write_log(&w, why);
        sim_fs_crash_process(fs); /* whoever wrote it is gone */
        sim_process_promised_nothing(cluster_host(t->cluster, i));
    }
    return err;
}

static enum err sim_open(struct stage *stage, const struct target_options *options,
                         struct target **out, struct why *why)
{
    struct stage_sim *s = (struct stage_sim *)stage;
    struct target_sim *t = NEW(struct target_sim);
    t->target.vtable = &sim_vtable;
    t->stage = s;
    t->options = options;
    LIST_INIT(&t->awaits);
    LIST_INIT(&t->http_asks);
    LIST_INSERT_HEAD(&s->targets, t, link);
    /* Two clusters of one test are not to be alike. */
    const struct cluster_options c =
        cluster_options_of(t, options->seed + s->opened++ * UINT64_C(0x9e3779b97f4a7c15));
    t->cluster = cluster_new(&c);
    world_run_until(cluster_world(t->cluster), s->now_us); /* one time for all */
    enum err err = write_logs(t, why);
    if (err != ERR_OK) {
        sim_close(&t->target);
        return err;
    }
    *out = &t->target;
    return ERR_OK;
}

/* ---- the stage ------------------------------------------------------------------------------- */

static void sim_stage_free(struct stage *stage)
{
    struct stage_sim *s = (struct stage_sim *)stage;
    ASSERT(LIST_EMPTY(&s->targets));
    free(s);
}

static uint64_t sim_stage_now(const struct stage *stage)
{
    return ((const struct stage_sim *)stage)->now_us;
}

static struct target_sim *next_to_step(const struct stage_sim *s, uint64_t *time_us)
{
    struct target_sim *next = NULL;
    struct target_sim *t;
    *time_us = UINT64_MAX;
    LIST_FOREACH (t, &s->targets, link) {
        uint64_t due_us = world_next_us(cluster_world(t->cluster));
        if (due_us < *time_us) {
            *time_us = due_us;
            next = t;
        }
    }
    return next;
}

static bool any_failed(const struct stage_sim *s)
{
    const struct target_sim *t;
    LIST_FOREACH (t, &s->targets, link) {
        if (world_stopped(cluster_world(t->cluster))) {
            return true;
        }
    }
    return false;
}

/* All worlds show the stage's time: nothing in them is due before it. */
static void set_time(struct stage_sim *s, uint64_t now_us)
{
    s->now_us = now_us;
    struct target_sim *t;
    LIST_FOREACH (t, &s->targets, link) {
        if (world_next_us(cluster_world(t->cluster)) > now_us) {
            world_run_until(cluster_world(t->cluster), now_us);
        }
    }
}

static void sim_stage_run(struct stage *stage, uint64_t until_us)
{
    struct stage_sim *s = (struct stage_sim *)stage;
    s->happened = false;
    uint64_t now_us = s->now_us;
    while (!s->happened) {
        uint64_t due_us;
        struct target_sim *t = next_to_step(s, &due_us);
        if (t == NULL || due_us > until_us) {
            now_us = until_us == UINT64_MAX ? now_us : until_us;
            break;
        }
        now_us = due_us > now_us ? due_us : now_us;
        world_step(cluster_world(t->cluster), until_us);
        if (!LIST_EMPTY(&t->awaits)) {
            answer_awaits(t);
        }
        s->happened |= any_failed(s);
    }
    set_time(s, now_us > s->now_us ? now_us : s->now_us);
}

struct stage *stage_sim_new(uint64_t seed)
{
    static const struct stage_vtable vtable = {
        .free = sim_stage_free,
        .now_us = sim_stage_now,
        .run = sim_stage_run,
        .open = sim_open,
    };
    struct stage_sim *s = NEW(struct stage_sim);
    s->stage.vtable = &vtable;
    s->stage.mode = "sim";
    s->seed = seed;
    LIST_INIT(&s->targets);
    return &s->stage;
}
