/* The host: its process opened, ended, called and looked at. */
#include <sha2.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/sim_http.h"
#include "sim/sim_process_internal.h"

bool sim_process_is_current(const struct sim_process *p, uint64_t incarnation)
{
    return p->node != NULL && incarnation == p->incarnations;
}

/* ---- start ----------------------------------------------------------------------------------- */

/* The node is open: it takes part. */
static void take_part(struct sim_process *p, struct node *n)
{
    p->node = n;
    p->started_us = world_now_us(p->world);
    uint8_t hash[SIM_HASH_BYTES];
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, p->page.incarnation, sizeof p->page.incarnation);
    SHA256Final(hash, &sha);
    sim_net_process_up(p->net, p->options.host, hash);
    if (p->watch->started != NULL) {
        p->watch->started(p->watch->ctx, p->options.host, n);
    }
    node_start(n);
    sim_scripts_start(p->scripts);
    sim_process_handle(p, &(struct happening){.kind = HAPPENING_ROUND});
}

/* False: an application cannot be loaded. */
static bool open_scripts(struct sim_process *p)
{
    struct why why = {{0}};
    if (sim_scripts_open(p, &p->scripts, &why) == ERR_OK) {
        return true;
    }
    sim_process_guardian_ends(p);
    if (p->watch->scripts_refused != NULL) {
        p->watch->scripts_refused(p->watch->ctx, p->options.host, why.text);
    }
    return false;
}

static void close_scripts(struct sim_process *p, bool planned)
{
    sim_scripts_close(p->scripts, planned);
    p->scripts = NULL;
}

static void refused(struct sim_process *p, enum err e, const char *why)
{
    sim_fs_crash_process(p->fs);
    sim_process_guardian_ends(p);
    if (p->watch->refused != NULL) {
        p->watch->refused(p->watch->ctx, p->options.host, e, why);
    }
}

void sim_process_start(struct sim_process *p)
{
    sim_process_forget(p);
    if (!open_scripts(p)) {
        return;
    }
    const struct node_ports ports = sim_process_ports(p);
    struct node_options options = p->options.node;
    options.observer = sim_process_observer(p);
    bool disturbed = p->recovery_operations > 0;
    if (disturbed) {
        sim_fs_stop_after(p->fs, p->recovery_operations);
    }
    struct node *n = NULL;
    struct why why = {{0}};
    enum err e = node_open(&options, &ports, &n, &why);
    if (e == ERR_OK && p->scripts != NULL) {
        node_set_script_host(n, sim_scripts_host(p->scripts));
    } else if (e != ERR_OK) {
        close_scripts(p, false);
    }
    if (disturbed) {
        p->recovery_operations = 0;
        if (e != ERR_OK) {
            sim_process_end(p, SIM_END_HOST);
        }
        sim_fs_heal(p->fs);
    }
    if (e == ERR_OK) {
        take_part(p, n);
    } else if (!disturbed) {
        refused(p, e, why.text);
    }
}

/* ---- end ------------------------------------------------------------------------------------- */

static void end_process(struct sim_process *p, enum sim_end how)
{
    if (p->watch->ended != NULL) {
        p->watch->ended(p->watch->ctx, p->options.host, p->node, how);
    }
    p->ending = true;
    sim_executor_reset(&p->executor);
    sim_net_process_down(p->net, p->options.host, how == SIM_END_HOST);
    node_free(p->node);
    p->node = NULL;
    close_scripts(p, how == SIM_END_STOPPED);
    sim_process_drop_backlog(p);
    sim_process_forget(p);
    p->ending = false;
}

void sim_process_end(struct sim_process *p, enum sim_end how)
{
    if (p->node == NULL && !p->guardian && how != SIM_END_HOST) {
        return;
    }
    world_mix(p->world, UINT64_C(0x100) | p->options.host, how);
    bool had_process = p->node != NULL;
    if (how == SIM_END_HOST) {
        sim_fs_crash_host(p->fs);
    } else {
        sim_fs_crash_process(p->fs);
    }
    sim_files_crash(p->files, how == SIM_END_HOST);
    if (had_process) {
        end_process(p, how);
    }
    if (how == SIM_END_CRASH || how == SIM_END_KILLED || how == SIM_END_FAILED) {
        if (had_process) {
            sim_process_guardian_reaps(p, how == SIM_END_CRASH);
        }
        return;
    }
    sim_process_guardian_ends(p);
    if (how == SIM_END_HOST) {
        sim_clock_reboot(&p->clock, rng_range(&p->rng, 1000000, 30000000));
    }
}

void sim_process_stop(struct sim_process *p)
{
    if (p->node != NULL) {
        sim_process_handle(p, &(struct happening){.kind = HAPPENING_STOP});
    }
}

/* ---- for whoever runs the host --------------------------------------------------------------- */

struct sim_process *sim_process_new(struct world *w, struct sim_net *net,
                                    const struct sim_process_options *options,
                                    const struct sim_watch *watch)
{
    struct sim_process *p = NEW(struct sim_process);
    p->world = w;
    p->net = net;
    p->options = *options;
    p->watch = watch;
    rng_seed(&p->rng, world_draw_seed(w));
    p->fs = sim_fs_new(world_draw_seed(w), options->node.name);
    p->files = sim_files_new(p);
    sim_clock_init(&p->clock, w, &options->clock);
    sim_executor_init(&p->executor, w, p->fs, &options->disk);
    STAILQ_INIT(&p->backlog);
    LIST_INIT(&p->flights);
    sim_process_forget(p);
    sim_process_connect(p);
    return p;
}

void sim_process_free(struct sim_process *p)
{
    if (p == NULL) {
        return;
    }
    p->ending = true;
    sim_fs_crash_process(p->fs);
    sim_files_crash(p->files, false);
    node_free(p->node);
    close_scripts(p, false);
    sim_http_drop_flights(p);
    sim_process_drop_backlog(p);
    sim_fs_free(p->fs);
    sim_files_free(p->files);
    free(p);
}

void sim_process_wipe(struct sim_process *p)
{
    ASSERT(sim_process_down(p));
    sim_fs_free(p->fs);
    p->fs = sim_fs_new(world_draw_seed(p->world), p->options.node.name);
    p->executor.fs = p->fs;
    sim_files_wipe(p->files);
}

void sim_process_crash_in_recovery(struct sim_process *p, uint64_t operations)
{
    p->recovery_operations = operations;
}

bool sim_process_call(struct sim_process *p, struct bytes method, struct bytes params,
                      node_reply_fn reply, void *ctx)
{
    if (p->node == NULL || p->ending) {
        return false;
    }
    struct happening h = {.kind = HAPPENING_CALL, .reply = reply, .ctx = ctx};
    h.method = slice_copy(method);
    h.frame = slice_copy(params);
    sim_process_handle(p, &h);
    slice_close(&h.method);
    slice_close(&h.frame);
    return true;
}

bool sim_process_eval(struct sim_process *p, const struct script_eval *eval)
{
    if (p->node == NULL || p->ending || p->scripts == NULL) {
        return false;
    }
    script_host_eval(sim_scripts_host(p->scripts), eval);
    return true;
}

bool sim_process_http(struct sim_process *p, const struct script_http_request *request)
{
    return p->node != NULL && !p->ending && p->scripts != NULL &&
           script_host_http(sim_scripts_host(p->scripts), request);
}

void sim_process_set_scripts(struct sim_process *p, const struct script_app *scripts,
                             uint32_t count)
{
    p->options.scripts = scripts;
    p->options.scripts_count = count;
}

bool sim_process_reload(struct sim_process *p,
                        void (*done)(void *ctx, enum err err, const char *message,
                                     struct bytes results),
                        void *ctx)
{
    if (p->node == NULL || p->ending || p->scripts == NULL) {
        return false;
    }
    script_host_reload(sim_scripts_host(p->scripts),
                       &(struct script_reload){.apps = p->options.scripts,
                                               .apps_count = p->options.scripts_count,
                                               .done = done,
                                               .ctx = ctx});
    return true;
}

struct slice sim_process_metrics(const struct sim_process *p)
{
    return p->scripts != NULL ? script_host_metrics(sim_scripts_host(p->scripts))
                              : (struct slice){0};
}

/* ---- looking --------------------------------------------------------------------------------- */

const char *sim_end_name(enum sim_end end)
{
    static const char *const names[] = {
        [SIM_END_CRASH] = "process crash",
        [SIM_END_KILLED] = "process crash, not to be restarted",
        [SIM_END_GUARDIAN] = "process and guardian crash",
        [SIM_END_HOST] = "host crash",
        [SIM_END_STOPPED] = "planned stop",
        [SIM_END_FAILED] = "node gave up",
    };
    return names[end];
}

struct node *sim_process_node(const struct sim_process *p)
{
    return p->node;
}

bool sim_process_running(const struct sim_process *p)
{
    return p->node != NULL;
}

bool sim_process_paused(const struct sim_process *p)
{
    return p->paused;
}

bool sim_process_down(const struct sim_process *p)
{
    return p->node == NULL && !p->restarting;
}

uint64_t sim_process_incarnations(const struct sim_process *p)
{
    return p->incarnations;
}

struct sim_clock *sim_process_clock(struct sim_process *p)
{
    return &p->clock;
}

struct sim_fs *sim_process_disk(struct sim_process *p)
{
    return p->fs;
}

struct sim_executor *sim_process_executor(struct sim_process *p)
{
    return &p->executor;
}
