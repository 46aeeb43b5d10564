/* What the node is given (entropy, transport, its observer), and what network and disk report. */
#include <string.h>

#include "base/assert.h"
#include "sim/sim_process_internal.h"

void sim_process_entropy(void *ctx, void *out, size_t size_bytes)
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

/* ---- from the node --------------------------------------------------------------------------- */

uint32_t sim_process_host_of(const struct sim_process *p, raft_id id)
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
    uint32_t to = sim_process_host_of(p, peer);
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
        uint32_t to = sim_process_host_of(p, peers[i].id);
        if (to != SIM_NET_HOSTS_MAX) {
            set |= UINT32_C(1) << to;
        }
    }
    if (!p->ending) {
        sim_net_set_peers(p->net, p->options.host, set);
    }
}

void sim_process_event(struct sim_process *p, const char *name, raft_term term, struct bytes fields)
{
    if (p->options.events != NULL) {
        events_record(p->options.events, p->options.host, name, term, fields);
    }
    if (p->watch->event != NULL) {
        p->watch->event(p->watch->ctx, p->options.host, name, term, fields);
    }
}

static void on_want_shutdown(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (sim_process_is_current(p, incarnation)) {
        sim_process_stop(p);
    }
}

static void want_shutdown(void *ctx)
{
    struct sim_process *p = ctx;
    world_after(p->world, 0, on_want_shutdown, p, p->incarnations);
}

static void want_round_end(void *ctx)
{
    struct sim_process *p = ctx;
    p->round_wanted = true;
}

static void on_gave_up(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (sim_process_is_current(p, incarnation)) {
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

static void observe_event(void *ctx, const char *name, raft_term term, struct bytes fields)
{
    sim_process_event(ctx, name, term, fields);
}

static void observe_restored(void *ctx, struct raft_pos last)
{
    struct sim_process *p = ctx;
    if (p->watch->restored != NULL) {
        p->watch->restored(p->watch->ctx, p->options.host, last);
    }
}

/* ---- to the node ----------------------------------------------------------------------------- */

static void net_frame(void *ctx, uint32_t from, const uint8_t incarnation[SIM_HASH_BYTES],
                      struct slice frame)
{
    struct happening h = {.kind = HAPPENING_FRAME, .peer = from, .frame = frame};
    memcpy(h.bits, incarnation, SIM_HASH_BYTES);
    sim_process_handle(ctx, &h);
}

static void net_up(void *ctx, uint32_t to)
{
    sim_process_handle(ctx, &(struct happening){.kind = HAPPENING_UP, .peer = to});
}

static void net_down(void *ctx, uint32_t to)
{
    sim_process_handle(ctx, &(struct happening){.kind = HAPPENING_DOWN, .peer = to});
}

static enum err net_admit(void *ctx, uint32_t peer, bool anew)
{
    struct sim_process *p = ctx;
    const struct sim_process *other = p->options.all[peer];
    if (p->paused || p->node == NULL || other->node == NULL) {
        return ERR_UNREACHABLE;
    }
    return node_check_peer(p->node,
                           &(struct node_peer){
                               .id = p->options.ids[peer],
                               .storage_uuid = node_storage_uuid(other->node),
                               .last = anew ? node_last(other->node) : (struct raft_pos){0},
                           });
}

static void net_refused(void *ctx, uint32_t to, enum err verdict)
{
    sim_process_handle(
        ctx, &(struct happening){.kind = HAPPENING_REFUSED, .peer = to, .verdict = verdict});
}

static bool net_certificate(void *ctx, uint32_t dead, const uint8_t revealed[SIM_INCARNATION_BYTES])
{
    struct happening h = {.kind = HAPPENING_CERTIFICATE, .peer = dead};
    memcpy(h.bits, revealed, SIM_INCARNATION_BYTES);
    sim_process_handle(ctx, &h);
    return true;
}

static void job_finished(void *ctx, struct executor_job *job, uint64_t ordinal, bool synced)
{
    sim_process_handle(
        ctx, &(struct happening){
                 .kind = HAPPENING_JOB, .job = job, .ordinal = ordinal, .synced = synced});
}

static void on_torn(void *ctx, uint64_t incarnation)
{
    struct sim_process *p = ctx;
    if (sim_process_is_current(p, incarnation)) {
        sim_process_end(p, SIM_END_HOST);
    }
}

static void job_torn(void *ctx)
{
    struct sim_process *p = ctx;
    world_after(p->world, 0, on_torn, p, p->incarnations);
}

/* ---- put together ---------------------------------------------------------------------------- */

void sim_process_connect(struct sim_process *p)
{
    p->executor.finished = job_finished;
    p->executor.torn = job_torn;
    p->executor.ctx = p;
    p->entropy = (struct entropy_port){.ctx = p, .fill = sim_process_entropy};
    p->transport =
        (struct transport_port){.ctx = p, .send = transport_send, .set_peers = transport_set_peers};
    sim_net_attach(p->net, p->options.host,
                   &(struct sim_net_callbacks){.ctx = p,
                                               .frame = net_frame,
                                               .up = net_up,
                                               .down = net_down,
                                               .admit = net_admit,
                                               .refused = net_refused,
                                               .certificate = net_certificate});
}

struct node_ports sim_process_ports(struct sim_process *p)
{
    return (struct node_ports){
        .clock = sim_clock_port(&p->clock),
        .entropy = &p->entropy,
        .fs = sim_fs_port(p->fs),
        .disk = &p->executor.port,
        .transport = &p->transport,
        .page = &p->page,
        .ctx = p,
        .want_round_end = want_round_end,
        .want_shutdown = want_shutdown,
        .stopped = node_stopped,
    };
}

struct node_observer sim_process_observer(struct sim_process *p)
{
    return (struct node_observer){
        .ctx = p,
        .stepped = observe_step,
        .applied = observe_applied,
        .restored = observe_restored,
        .event = observe_event,
    };
}
