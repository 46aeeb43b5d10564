#include "sim/sim_process.h"

#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"

/* How long a guardian goes on offering a certificate to a peer that it cannot reach. */
enum { CERTIFICATE_KEEP_US = 5000000, STOP_DEADLINE_US = 5000000, STEADY_US = 5000000 };

enum happening_kind {
    HAPPENING_FRAME,
    HAPPENING_UP,
    HAPPENING_DOWN,
    HAPPENING_CERTIFICATE,
    HAPPENING_JOB,
    HAPPENING_CALL,
    HAPPENING_TICK,
    HAPPENING_ROUND,
    HAPPENING_STOP,
};

/* Something for the loop of the process to handle. Slices are borrowed, but owned in the backlog.
 */
struct happening {
    STAILQ_ENTRY(happening) link;
    enum happening_kind kind;
    uint32_t peer;
    uint8_t bits[SIM_HASH_BYTES]; /* incarnation hash, or revealed incarnation */
    struct slice frame;           /* CALL: the parameters */
    struct slice method;
    struct executor_job *job;
    uint64_t ordinal;
    bool synced;
    node_reply_fn reply;
    void *ctx;
};

struct sim_process {
    struct world *world;
    struct sim_net *net;
    struct sim_process_options options;
    const struct sim_watch *watch;
    struct rng rng;

    struct sim_fs *fs;
    struct sim_clock clock;
    struct sim_executor executor;

    struct guardian_page page;
    bool guardian;       /* alive */
    bool restarting;     /* a start is scheduled */
    uint64_t life;       /* of the guardian: its scheduled calls are stale after its end */
    uint64_t restart_us; /* the next back-off */
    uint64_t started_us;
    uint8_t last_dead[SIM_INCARNATION_BYTES]; /* revealed by the last certificate */
    bool certified;

    struct node *node;
    uint64_t incarnations; /* also the generation of the process's scheduled calls */
    struct entropy_port entropy;
    struct transport_port transport;
    bool ending; /* being torn down: ports are dead */
    bool paused;
    STAILQ_HEAD(, happening) backlog;
    bool round_wanted, round_scheduled;
    uint64_t wake_us; /* when the next timer call is scheduled; UINT64_MAX: none */
    bool gave_up;     /* the node asked to be ended, with this */
    enum err gave_up_err;
    uint64_t recovery_operations; /* 0: recovery is undisturbed */
};

static void handle(struct sim_process *p, struct happening *h);

/* A call for the running process. */
static bool current(const struct sim_process *p, uint64_t incarnation)
{
    return p->node != NULL && incarnation == p->incarnations;
}

/* ---- ports ---------------------------------------------------------------------------------- */

static void entropy_from_seed(void *ctx, void *out, size_t size_bytes)
{
    struct sim_process *p = ctx;
    uint8_t *at = out;
    while (size_bytes > 0) {
        uint64_t word = rng_next(&p->rng);
        size_t part = size_bytes < sizeof word ? size_bytes : sizeof word;
        memcpy(at, &word, part);
        at += part;
        size_bytes -= part;
    }
}

/* SIM_NET_HOSTS_MAX if there is no such host. */
static uint32_t host_of(const struct sim_process *p, raft_id id)
{
    for (uint32_t i = 0; i < p->options.hosts; i++) {
        if (p->options.ids[i] == id) {
            return i;
        }
    }
    return SIM_NET_HOSTS_MAX;
}

static void transport_send(void *ctx, uint64_t peer, struct slice frame)
{
    struct sim_process *p = ctx;
    uint32_t to = host_of(p, peer);
    if (p->ending || to == SIM_NET_HOSTS_MAX || to == p->options.host) {
        return;
    }
    if (p->watch->sent != NULL) {
        p->watch->sent(p->watch->ctx, p->options.host, to, frame);
    }
    sim_net_send(p->net, p->options.host, to, frame);
}

static void transport_set_peers(void *ctx, const struct transport_peer *peers, uint32_t peers_count)
{
    struct sim_process *p = ctx;
    uint32_t set = 0;
    for (uint32_t i = 0; i < peers_count; i++) {
        uint32_t to = host_of(p, peers[i].id);
        if (to != SIM_NET_HOSTS_MAX) {
            set |= UINT32_C(1) << to;
        }
    }
    if (!p->ending) {
        sim_net_set_peers(p->net, p->options.host, set);
    }
}

static void want_round_end(void *ctx)
{
    struct sim_process *p = ctx;
    p->round_wanted = true;
}

static void on_gave_up(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (current(p, incarnation)) {
        sim_process_end(p, SIM_END_FAILED);
    }
}

static void node_stopped(void *ctx, enum err err, const char *message)
{
    struct sim_process *p = ctx;
    (void)message;
    ASSERT(!p->gave_up);
    p->gave_up = true;
    p->gave_up_err = err;
    world_after(p->world, 0, on_gave_up, p, p->incarnations);
}

static void observe_step(void *ctx, const struct raft_event *event,
                         const struct raft_effects *effects)
{
    struct sim_process *p = ctx;
    if (p->watch->stepped != NULL) {
        p->watch->stepped(p->watch->ctx, p->options.host, event, effects);
    }
}

static void observe_applied(void *ctx, struct raft_pos pos, const struct entry *entry,
                            enum err outcome, bool duplicate)
{
    struct sim_process *p = ctx;
    if (p->watch->applied != NULL) {
        p->watch->applied(p->watch->ctx, p->options.host, pos, entry, outcome, duplicate);
    }
}

/* ---- happenings ----------------------------------------------------------------------------- */

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
    if (!current(p, incarnation) || p->wake_us != world_now_us(p->world)) {
        return;
    }
    p->wake_us = UINT64_MAX;
    if (p->paused) {
        return;
    }
    if (node_deadline(p->node) <= sim_clock_now_us(&p->clock)) {
        handle(p, &(struct happening){.kind = HAPPENING_TICK});
    } else {
        schedule_wake(p);
    }
}

static void on_round(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (!current(p, incarnation)) {
        return;
    }
    p->round_scheduled = false;
    if (!p->paused) {
        handle(p, &(struct happening){.kind = HAPPENING_ROUND});
    }
}

static void on_stopped(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (current(p, incarnation)) {
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
    }
}

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

static void perform(struct sim_process *p, struct happening *h)
{
    ASSERT(p->node != NULL);
    ASSERT(!p->paused);
    world_mix(p->world, (uint64_t)h->kind << 8 | p->options.host, h->peer);
    if (h->kind == HAPPENING_FRAME) {
        world_mix_bytes(p->world, slice_bytes(h->frame));
    }
    dispatch(p, h);
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

/* Now, or when what came before it has been handled. */
static void handle(struct sim_process *p, struct happening *h)
{
    if (p->paused || !STAILQ_EMPTY(&p->backlog)) {
        postpone(p, h);
    } else {
        perform(p, h);
    }
}

static void net_frame(void *ctx, uint32_t from, const uint8_t incarnation[SIM_HASH_BYTES],
                      struct slice frame)
{
    struct happening h = {.kind = HAPPENING_FRAME, .peer = from, .frame = frame};
    memcpy(h.bits, incarnation, SIM_HASH_BYTES);
    handle(ctx, &h);
}

static void net_up(void *ctx, uint32_t to)
{
    handle(ctx, &(struct happening){.kind = HAPPENING_UP, .peer = to});
}

static void net_down(void *ctx, uint32_t to)
{
    handle(ctx, &(struct happening){.kind = HAPPENING_DOWN, .peer = to});
}

static bool net_admit(void *ctx, uint32_t peer)
{
    struct sim_process *p = ctx;
    const struct sim_process *other = p->options.all[peer];
    if (p->paused || p->node == NULL || other->node == NULL) {
        return false;
    }
    enum err e = node_check_peer(p->node, p->options.ids[peer], node_storage_uuid(other->node));
    return e == ERR_OK;
}

static bool net_certificate(void *ctx, uint32_t dead, const uint8_t revealed[SIM_INCARNATION_BYTES])
{
    struct happening h = {.kind = HAPPENING_CERTIFICATE, .peer = dead};
    memcpy(h.bits, revealed, SIM_INCARNATION_BYTES);
    handle(ctx, &h);
    return true;
}

static void job_finished(void *ctx, struct executor_job *job, uint64_t ordinal, bool synced)
{
    handle(ctx, &(struct happening){
                    .kind = HAPPENING_JOB, .job = job, .ordinal = ordinal, .synced = synced});
}

/* ---- start ---------------------------------------------------------------------------------- */

static void forget_process(struct sim_process *p)
{
    p->paused = false;
    p->round_wanted = p->round_scheduled = false;
    p->wake_us = UINT64_MAX;
    p->gave_up = false;
}

static void new_incarnation(struct sim_process *p)
{
    p->incarnations++;
    p->page.guardian_is_new = p->page.starts == 0;
    p->page.starts++;
    entropy_from_seed(p, p->page.incarnation, sizeof p->page.incarnation);
    p->page.ready = false;
}

static void on_start(void *ctx, uint64_t life)
{
    struct sim_process *p = ctx;
    if (life != p->life || !p->guardian || p->node != NULL) {
        return;
    }
    p->restarting = false;
    forget_process(p);
    new_incarnation(p);
    const struct node_ports ports = {
        .clock = sim_clock_port(&p->clock),
        .entropy = &p->entropy,
        .fs = sim_fs_port(p->fs),
        .disk = &p->executor.port,
        .transport = &p->transport,
        .page = &p->page,
        .ctx = p,
        .want_round_end = want_round_end,
        .stopped = node_stopped,
    };
    struct node_options options = p->options.node;
    options.observer = (struct node_observer){
        .ctx = p,
        .stepped = observe_step,
        .applied = observe_applied,
    };
    if (p->recovery_operations > 0) {
        sim_fs_stop_after(p->fs, p->recovery_operations);
    }
    struct node *n = NULL;
    struct why why = {{0}};
    enum err e = node_open(&options, &ports, &n, &why);
    if (p->recovery_operations > 0) {
        p->recovery_operations = 0;
        if (e != ERR_OK) {
            sim_process_end(p, SIM_END_HOST);
            sim_fs_heal(p->fs);
            return;
        }
        sim_fs_heal(p->fs);
    }
    if (e != ERR_OK) {
        sim_fs_crash_process(p->fs);
        p->guardian = false;
        p->life++;
        if (p->watch->refused != NULL) {
            p->watch->refused(p->watch->ctx, p->options.host, e, why.text);
        }
        return;
    }
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
    handle(p, &(struct happening){.kind = HAPPENING_ROUND});
}

static void start_later(struct sim_process *p, uint64_t delay_us)
{
    p->restarting = true;
    world_after(p->world, delay_us + sim_span_draw(p->options.start_time, &p->rng), on_start, p,
                p->life);
}

void sim_process_boot(struct sim_process *p)
{
    ASSERT(p->node == NULL);
    ASSERT(!p->restarting);
    memset(&p->page, 0, sizeof p->page);
    p->guardian = true;
    p->life++;
    p->restart_us = p->options.restart_min_us;
    start_later(p, 0);
}

/* ---- end ------------------------------------------------------------------------------------ */

static void certify(struct sim_process *p, uint32_t to)
{
    sim_net_certify(p->net, p->options.host, to, p->last_dead, CERTIFICATE_KEEP_US);
}

/* The guardian has reaped the process and killed its children: it tells the peers. */
static void on_reaped(void *ctx, uint64_t life)
{
    struct sim_process *p = ctx;
    if (life != p->life || !p->guardian) {
        return;
    }
    for (uint32_t i = 0; i < p->page.peers_count; i++) {
        uint32_t to = host_of(p, p->page.peers[i].id);
        if (to != SIM_NET_HOSTS_MAX && to != p->options.host) {
            certify(p, to);
        }
    }
}

static void guardian_reaps(struct sim_process *p, bool restart)
{
    memcpy(p->last_dead, p->page.incarnation, sizeof p->last_dead);
    p->certified = true;
    uint64_t reaped_us = sim_span_draw(p->options.death_time, &p->rng);
    world_after(p->world, reaped_us, on_reaped, p, p->life);
    if (!restart) {
        return;
    }
    if (world_now_us(p->world) > p->started_us + STEADY_US) {
        p->restart_us = p->options.restart_min_us;
    }
    start_later(p, reaped_us + p->restart_us);
    p->restart_us = p->restart_us * 2 < p->options.restart_max_us ? p->restart_us * 2
                                                                  : p->options.restart_max_us;
}

static void drop_backlog(struct sim_process *p)
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
    drop_backlog(p);
    forget_process(p);
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
    if (had_process) {
        end_process(p, how);
    }
    if ((how == SIM_END_CRASH || how == SIM_END_FAILED) && had_process) {
        guardian_reaps(p, how == SIM_END_CRASH);
    }
    if (how == SIM_END_CRASH || how == SIM_END_FAILED) {
        return;
    }
    p->guardian = false;
    p->restarting = false;
    p->life++;
    if (how == SIM_END_HOST) {
        sim_clock_reboot(&p->clock, rng_range(&p->rng, 1000000, 30000000));
    }
}

void sim_process_stop(struct sim_process *p)
{
    if (p->node != NULL) {
        handle(p, &(struct happening){.kind = HAPPENING_STOP});
    }
}

void sim_process_pause(struct sim_process *p)
{
    if (p->node != NULL) {
        p->paused = true;
    }
}

static void on_resumed(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (!current(p, incarnation) || p->paused || STAILQ_EMPTY(&p->backlog)) {
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

/* ---- for whoever runs the host -------------------------------------------------------------- */

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
    sim_clock_init(&p->clock, w, &options->clock);
    sim_executor_init(&p->executor, w, p->fs, &options->disk);
    p->executor.finished = job_finished;
    p->executor.ctx = p;
    p->entropy = (struct entropy_port){.ctx = p, .fill = entropy_from_seed};
    p->transport =
        (struct transport_port){.ctx = p, .send = transport_send, .set_peers = transport_set_peers};
    STAILQ_INIT(&p->backlog);
    forget_process(p);
    sim_net_attach(net, options->host,
                   &(struct sim_net_callbacks){.ctx = p,
                                               .frame = net_frame,
                                               .up = net_up,
                                               .down = net_down,
                                               .admit = net_admit,
                                               .certificate = net_certificate});
    return p;
}

void sim_process_free(struct sim_process *p)
{
    if (p == NULL) {
        return;
    }
    p->ending = true;
    sim_fs_crash_process(p->fs);
    node_free(p->node);
    drop_backlog(p);
    sim_fs_free(p->fs);
    free(p);
}

void sim_process_crash_in_recovery(struct sim_process *p, uint64_t operations)
{
    p->recovery_operations = operations;
}

void sim_process_clock_changed(struct sim_process *p)
{
    if (p->node != NULL && !p->paused) {
        schedule_wake(p);
    }
}

bool sim_process_replay_certificate(struct sim_process *p, uint32_t to)
{
    if (p->certified) {
        certify(p, to);
    }
    return p->certified;
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
    handle(p, &h);
    slice_close(&h.method);
    slice_close(&h.frame);
    return true;
}

/* ---- looking -------------------------------------------------------------------------------- */

const char *sim_end_name(enum sim_end end)
{
    static const char *const names[] = {
        [SIM_END_CRASH] = "process crash", [SIM_END_GUARDIAN] = "process and guardian crash",
        [SIM_END_HOST] = "host crash",     [SIM_END_STOPPED] = "planned stop",
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
