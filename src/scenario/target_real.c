/* The real target: clusters of processes on this machine, every directed link between two of them
 * through a proxy of ours. */
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/http_client.h"
#include "net/posix_fs.h"
#include "net/system_entropy.h"
#include "scenario/target_real_internal.h"
#include "scenario/write_log.h"

enum { WALK_FDS = 16 };

uint64_t target_real_now_us(const struct target_real *t)
{
    return clock_now_us(&t->stage->clock) - t->stage->started_us;
}

void target_real_fail(struct target_real *t, const char *format, ...)
{
    if (t->failure[0] == 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(t->failure, sizeof t->failure, format, args);
        va_end(args);
        target_real_note(t, 0, "failed: %s", t->failure);
    }
    t->stage->happened = true;
}

static struct host *host_of(struct target *t, uint32_t node)
{
    struct target_real *r = target_real_of(t);
    ASSERT(node >= 1);
    ASSERT(node <= r->nodes);
    return &r->hosts[node - 1];
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    remove(path);
    return 0;
}

static void remove_tree(const char *directory)
{
    nftw(directory, remove_one, WALK_FDS, FTW_DEPTH | FTW_PHYS);
}

/* ---- processes ------------------------------------------------------------------------------ */

static void real_start(struct target *t, uint32_t node, node_reply_fn reply, void *ctx)
{
    host_start(host_of(t, node), reply, ctx);
}

static void real_stop(struct target *t, uint32_t node, node_reply_fn reply, void *ctx)
{
    host_stop(host_of(t, node), reply, ctx);
}

static void real_crash(struct target *t, uint32_t node, const struct target_crash *how,
                       node_reply_fn reply, void *ctx)
{
    host_crash(host_of(t, node), how, reply, ctx);
}

static void real_pause(struct target *t, uint32_t node, bool paused)
{
    host_pause(host_of(t, node), paused);
}

static enum err real_wipe(struct target *target, uint32_t node, struct why *why)
{
    struct host *h = host_of(target, node);
    if (h->state != HOST_DOWN) {
        return err_why(why, ERR_BUSY, "it runs: crash it with { host = true } before");
    }
    remove_tree(h->directory);
    if (mkdir(h->directory, S_IRWXU) != 0) {
        return err_why(why, ERR_IO, "cannot make %s: %s", h->directory, strerror(errno));
    }
    h->wiped = true;
    target_real_note(target_real_of(target), node, "its disk is wiped");
    return ERR_OK;
}

static void real_reload(struct target *target, uint32_t node, const struct target_options *scripts,
                        node_reply_fn reply, void *ctx)
{
    struct host *h = host_of(target, node);
    struct why why = {""};
    h->scripts = scripts != NULL ? scripts : h->scripts;
    enum err e = target_real_write_config(h, &why);
    if (e != ERR_OK) {
        reply(ctx, &(struct node_reply){.err = e, .message = why.text});
        return;
    }
    target_real_note(target_real_of(target), node, "reloads");
    target_real_call(target, node, "reload", (struct bytes){0}, reply, ctx);
}

static bool real_alive(const struct target *t, uint32_t node)
{
    return target_real_of_const(t)->hosts[node - 1].pid > 0;
}

static bool real_paused(const struct target *t, uint32_t node)
{
    return target_real_of_const(t)->hosts[node - 1].paused;
}

/* ---- network -------------------------------------------------------------------------------- */

void target_real_set_cuts(struct target_real *t)
{
    for (uint32_t from = 0; from < t->nodes; from++) {
        for (uint32_t to = 0; to < t->nodes; to++) {
            bool off = t->hosts[from].off || t->hosts[to].off;
            if (t->proxies[from][to] != NULL) {
                proxy_cut(t->proxies[from][to], off || t->cut[from][to], off || t->cut[to][from]);
            }
        }
    }
}

void target_real_reset_links(struct target_real *t, uint32_t node)
{
    for (uint32_t other = 0; other < t->nodes; other++) {
        if (other != node - 1) {
            proxy_reset(t->proxies[node - 1][other]);
            proxy_reset(t->proxies[other][node - 1]);
        }
    }
}

static struct proxy *proxy_of(struct target *t, struct target_link link)
{
    struct proxy *p = target_real_of(t)->proxies[link.from - 1][link.to - 1];
    ASSERT(p != NULL);
    return p;
}

static void real_cut(struct target *target, struct target_link link, bool cut)
{
    struct target_real *t = target_real_of(target);
    if (t->cut[link.from - 1][link.to - 1] != cut) {
        target_real_note(t, 0, "%s n%u -> n%u", cut ? "cut" : "mended", link.from, link.to);
        t->cut[link.from - 1][link.to - 1] = cut;
        target_real_set_cuts(t);
    }
}

static void real_delay(struct target *t, struct target_link link, const struct target_delay *rule)
{
    proxy_delay(proxy_of(t, link), rule);
}

static void real_drop(struct target *t, struct target_link link, const struct target_drop *rule)
{
    proxy_drop(proxy_of(t, link), rule);
}

static void real_heal(struct target *target)
{
    struct target_real *t = target_real_of(target);
    target_real_note(t, 0, "healed");
    memset(t->cut, 0, sizeof t->cut);
    for (uint32_t i = 0; i < t->nodes * t->nodes; i++) {
        struct proxy *p = t->proxies[i / t->nodes][i % t->nodes];
        if (p != NULL) {
            proxy_heal(p);
        }
    }
    target_real_set_cuts(t);
}

static struct target_rpcs real_rpcs(const struct target *target, uint32_t node, unsigned types)
{
    const struct target_real *t = target_real_of_const(target);
    struct target_rpcs sum = {0};
    for (uint32_t i = 0; i < t->nodes * t->nodes; i++) {
        const struct proxy *p = t->proxies[i / t->nodes][i % t->nodes];
        if (p != NULL && (node == 0 || node - 1 == i / t->nodes)) {
            struct target_rpcs of_link = proxy_rpcs(p, types);
            sum.count += of_link.count;
            sum.bytes += of_link.bytes;
        }
    }
    return sum;
}

/* ---- looking -------------------------------------------------------------------------------- */

static const char *real_failure(struct target *target)
{
    struct target_real *t = target_real_of(target);
    return t->failure[0] != 0 ? t->failure : NULL;
}

static void real_timeline(struct target *t, uint32_t lines_max, struct buffer *out)
{
    real_timeline_print(target_real_of(t)->timeline, lines_max, out);
}

static void real_set_live(struct target *t, void (*live)(void *ctx, const char *line), void *ctx)
{
    real_timeline_set_live(target_real_of(t)->timeline, live, ctx);
}

static uint64_t real_trace_hash(const struct target *t)
{
    (void)t; /* no two runs of real processes are the same */
    return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void close_pieces(struct target_real *t)
{
    for (uint32_t i = 0; i < t->nodes; i++) {
        host_close(&t->hosts[i]);
    }
    for (uint32_t from = 0; from < t->nodes; from++) {
        for (uint32_t to = 0; to < t->nodes; to++) {
            proxy_close(t->proxies[from][to]);
        }
    }
    for (size_t i = 0; i < t->events_count; i++) {
        slice_close(&t->events[i].fields);
    }
    free(t->events);
    target_real_http_give_up(t);
    http_client_free(t->http_client);
    http_servers_free(t->http_servers);
}

static void real_keep(struct target *target)
{
    struct target_real *t = target_real_of(target);
    if (!t->kept) {
        t->kept = true;
        target_real_note(t, 0, "left for looking at: %s", t->directory);
    }
}

static void real_close(struct target *target)
{
    struct target_real *t = target_real_of(target);
    t->closing = true;
    target_real_check_close(t);
    close_pieces(t);
    ASSERT(LIST_EMPTY(&t->calls));
    if (!t->kept) {
        remove_tree(t->directory);
    }
    real_timeline_free(t->timeline);
    LIST_REMOVE(t, link);
    free(t);
}

static const struct target_vtable real_vtable = {
    .close = real_close,
    .keep = real_keep,
    .start = real_start,
    .stop = real_stop,
    .crash = real_crash,
    .pause = real_pause,
    .wipe = real_wipe,
    .reload = real_reload,
    .alive = real_alive,
    .paused = real_paused,
    .cut = real_cut,
    .delay = real_delay,
    .drop = real_drop,
    .heal = real_heal,
    .call = target_real_call,
    .control = target_real_control,
    .events = target_real_events,
    .rpcs = real_rpcs,
    .http_servers = target_real_http_servers,
    .http = target_real_http,
    .check = target_real_check,
    .failure = real_failure,
    .timeline = real_timeline,
    .set_live = real_set_live,
    .trace_hash = real_trace_hash,
};

static enum err open_proxies(struct target_real *t, uint64_t seed, struct why *why)
{
    const struct target_options *o = t->options;
    const struct link_quality quality = {
        .latency_min_us = o->latency_min_us,
        .latency_max_us = o->latency_max_us,
        .loss = o->loss,
        .duplicate = o->duplicate,
        .reorder = o->reorder,
        .reorder_min_us = o->reorder_min_us,
        .reorder_max_us = o->reorder_max_us,
    };
    struct rng rng;
    rng_seed(&rng, seed);
    enum err e = ERR_OK;
    for (uint32_t from = 0; from < t->nodes; from++) {
        for (uint32_t to = 0; to < t->nodes && e == ERR_OK; to++) {
            if (from != to) {
                e = proxy_open(t->stage->loop, &t->hosts[to].peer, &quality, rng_next(&rng), NULL,
                               &t->proxies[from][to], why);
            }
        }
    }
    return e;
}

/* What nodes are to find at their first start. */
static enum err write_logs(struct target_real *t, struct why *why)
{
    struct membership members;
    target_real_membership(t, &members);
    uint64_t term = 0; /* all are as far as the one that is furthest */
    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct target_log *log = &t->options->logs[i];
        uint64_t last = log->count > 0 ? log->terms[log->count - 1] : 0;
        term = last > term ? last : term;
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < t->nodes && term > 0 && e == ERR_OK; i++) {
        const struct target_log *log = &t->options->logs[i];
        struct posix_fs *fs;
        e = posix_fs_open(t->hosts[i].directory, &fs, why);
        if (e == ERR_OK) {
            const struct write_log w = {
                .fs = posix_fs_port(fs),
                .entropy = system_entropy(),
                .cluster_id = node_cluster_id(TARGET_REAL_CLUSTER, &members),
                .node_id = membership_id(t->hosts[i].name),
                .cluster_name = TARGET_REAL_CLUSTER,
                .node_name = t->hosts[i].name,
                .terms = log->terms,
                .count = log->count,
                .term = term,
            };
            e = write_log(&w, why);
            posix_fs_close(fs);
        }
    }
    return e;
}

static enum err open_pieces(struct target_real *t, struct why *why)
{
    if (mkdtemp(t->directory) == NULL) {
        return err_why(why, ERR_IO, "cannot make a directory like %s: %s", t->directory,
                       strerror(errno));
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < t->nodes && e == ERR_OK; i++) {
        e = host_open(&t->hosts[i], t, i + 1, why);
    }
    e = e != ERR_OK ? e : open_proxies(t, t->options->seed + t->stage->opened++, why);
    for (uint32_t i = 0; i < t->nodes && e == ERR_OK; i++) {
        e = target_real_write_config(&t->hosts[i], why);
    }
    return e != ERR_OK ? e : write_logs(t, why);
}

static enum err real_open(struct stage *stage, const struct target_options *options,
                          struct target **out, struct why *why)
{
    struct stage_real *s = (struct stage_real *)stage;
    struct target_real *t = NEW(struct target_real);
    t->target.vtable = &real_vtable;
    t->stage = s;
    t->options = options;
    t->nodes = options->nodes + options->spares;
    LIST_INIT(&t->calls);
    LIST_INIT(&t->http_calls);
    t->http_servers = http_servers_new();
    LIST_INIT(&t->http_asks);
    t->http_client =
        http_client_new(&(struct http_client_options){.loop = s->loop, .agent = "moonkeeper-test"});
    rng_seed(&t->rng, ~options->seed);
    snprintf(t->directory, sizeof t->directory, "%s/moonkeeper-XXXXXX", s->directory);
    uint64_t now_us = clock_now_us(&s->clock) - s->started_us;
    t->timeline = real_timeline_new(clock_wall_ms(&s->clock) - (int64_t)(now_us / 1000));
    LIST_INSERT_HEAD(&s->targets, t, link);
    enum err e = open_pieces(t, why);
    if (e != ERR_OK) {
        real_close(&t->target);
        return e;
    }
    *out = &t->target;
    return ERR_OK;
}

/* ---- the stage ------------------------------------------------------------------------------ */

static void stage_free(struct stage *stage)
{
    struct stage_real *s = (struct stage_real *)stage;
    ASSERT(LIST_EMPTY(&s->targets));
    loop_free(s->loop);
    free(s);
}

static uint64_t stage_now_us(const struct stage *stage)
{
    const struct stage_real *s = (const struct stage_real *)stage;
    return clock_now_us(&s->clock) - s->started_us;
}

static void stage_run(struct stage *stage, uint64_t until_us)
{
    struct stage_real *s = (struct stage_real *)stage;
    s->happened = false;
    do {
        uint64_t now_us = stage_now_us(stage);
        loop_round(s->loop, until_us > now_us ? until_us - now_us : 0);
    } while (!s->happened && stage_now_us(stage) < until_us);
}

static const struct stage_vtable stage_vtable = {
    .free = stage_free,
    .now_us = stage_now_us,
    .run = stage_run,
    .open = real_open,
};

static enum err find_program(const struct stage_real_options *options, char out[PATH_MAX],
                             struct why *why)
{
    const char *path = options->program != NULL ? options->program : "/proc/self/exe";
    if (realpath(path, out) == NULL) {
        return err_why(why, ERR_IO, "cannot find the program to start, %s: %s", path,
                       strerror(errno));
    }
    return ERR_OK;
}

enum err stage_real_new(const struct stage_real_options *options, struct stage **out,
                        struct why *why)
{
    struct stage_real *s = NEW(struct stage_real);
    const char *tmp_dir =
        options->tmp_dir != NULL && *options->tmp_dir != 0 ? options->tmp_dir : "/tmp";
    enum err e = find_program(options, s->program, why);
    if (e == ERR_OK && strlen(tmp_dir) >= sizeof s->directory) {
        e = err_why(why, ERR_INVALID, "the name of the directory %s is too long", tmp_dir);
    }
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    snprintf(s->directory, sizeof s->directory, "%s", tmp_dir);
    s->stage = (struct stage){.vtable = &stage_vtable, .mode = "real"};
    s->loop = loop_new();
    s->clock = loop_clock();
    s->started_us = clock_now_us(&s->clock);
    s->patience = options->patience;
    LIST_INIT(&s->targets);
    *out = &s->stage;
    return ERR_OK;
}
