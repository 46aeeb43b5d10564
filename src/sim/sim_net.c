#include "sim/sim_net.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "wire/raft_codec.h"

enum { NONE = UINT32_MAX };

/* Something on its way. */
struct flight {
    uint32_t link;
    uint32_t next; /* in its link's queue, or among the free ones */
    struct slice frame;
    uint8_t bits[SIM_HASH_BYTES]; /* the sender's incarnation hash, or the revealed bits */
    uint64_t until_us;            /* certificate: not tried again after this */
};

/* The path from one host to another and the sender's connection over it. */
struct link {
    struct sim_net_rule rule;
    bool cut;
    bool wanted;
    bool up;
    bool trying;         /* an attempt to connect is scheduled */
    uint64_t generation; /* of the connection: calls for an earlier one are stale */
    uint64_t receiver;   /* generation of the process that the connection leads to */
    uint64_t last_arrival_us;
    uint32_t head, tail; /* frames in order */
    uint32_t due;        /* of these, how many would be there but for the cut */
    struct sim_net_drop drops[SIM_FRAME_COUNT]; /* no two for the same type */
    uint32_t drops_count;
    struct sim_net_late lates[SIM_FRAME_COUNT];
    uint32_t lates_count;
    struct sim_net_count sent[SIM_FRAME_COUNT];
};

struct net_host {
    struct sim_net_callbacks callbacks;
    bool up;
    uint64_t generation;
    uint8_t hash[SIM_HASH_BYTES];
};

struct sim_net {
    struct world *world;
    struct rng rng;
    struct sim_net_options options;
    struct net_host hosts[SIM_NET_HOSTS_MAX];
    struct link links[SIM_NET_HOSTS_MAX * SIM_NET_HOSTS_MAX];
    struct flight *flights;
    uint32_t flights_count, flights_capacity;
    uint32_t flights_free;
    struct sim_net_stats stats;
};

static uint32_t link_index(uint32_t from, uint32_t to)
{
    ASSERT(from < SIM_NET_HOSTS_MAX);
    ASSERT(to < SIM_NET_HOSTS_MAX);
    return from * SIM_NET_HOSTS_MAX + to;
}
static uint32_t link_from(uint32_t link)
{
    return link / SIM_NET_HOSTS_MAX;
}
static uint32_t link_to(uint32_t link)
{
    return link % SIM_NET_HOSTS_MAX;
}

/* A call for a connection carries the link and the low bits of its generation. */
static uint64_t link_arg(const struct sim_net *net, uint32_t link)
{
    return net->links[link].generation << 8 | link;
}
static bool link_arg_current(const struct sim_net *net, uint64_t arg)
{
    return link_arg(net, (uint32_t)(arg & 0xff)) == arg;
}

/* ---- kinds of frames ------------------------------------------------------------------------- */

enum sim_frame sim_frame_of(struct bytes frame)
{
    enum raft_message_type type = raft_frame_type(frame);
    if (type != RAFT_MESSAGE_COUNT) {
        return (enum sim_frame)(SIM_FRAME_RAFT + (unsigned)type);
    }
    return peer_frame_of(frame) == PEER_FRAME_RPC ? SIM_FRAME_RPC : SIM_FRAME_OTHER;
}

const char *sim_frame_name(enum sim_frame type)
{
    ASSERT(type < SIM_FRAME_COUNT);
    if (type < SIM_FRAME_RPC) {
        return raft_message_name((enum raft_message_type)(type - SIM_FRAME_RAFT));
    }
    return type == SIM_FRAME_RPC ? "rpc" : "other";
}

enum sim_frame sim_frame_by_name(const char *name)
{
    enum sim_frame type = SIM_FRAME_RAFT;
    while (type < SIM_FRAME_COUNT && strcmp(sim_frame_name(type), name) != 0) {
        type++;
    }
    return type;
}

static bool is_dropped(struct sim_net *net, struct link *l, enum sim_frame type)
{
    for (uint32_t i = 0; i < l->drops_count; i++) {
        struct sim_net_drop *drop = &l->drops[i];
        if ((drop->types >> type & 1) == 0 || drop->count == 0 ||
            !rng_chance(&net->rng, drop->probability)) {
            continue;
        }
        drop->count -= drop->count != UINT64_MAX;
        return true;
    }
    return false;
}

/* ---- flights -------------------------------------------------------------------------------- */

static uint32_t flight_new(struct sim_net *net, uint32_t link)
{
    uint32_t i = net->flights_free;
    if (i != NONE) {
        net->flights_free = net->flights[i].next;
    } else {
        if (net->flights_count == net->flights_capacity) {
            net->flights_capacity = net->flights_capacity == 0 ? 256 : net->flights_capacity * 2;
            net->flights = alloc_resize(net->flights, net->flights_capacity, sizeof *net->flights);
        }
        i = net->flights_count++;
    }
    net->flights[i] = (struct flight){.link = link, .next = NONE};
    return i;
}

static void flight_free(struct sim_net *net, uint32_t i)
{
    struct flight *f = &net->flights[i];
    slice_close(&f->frame);
    f->next = net->flights_free;
    net->flights_free = i;
}

static uint64_t draw_latency(struct sim_net *net, const struct sim_net_rule *rule)
{
    uint64_t latency = sim_span_draw(rule->latency, &net->rng);
    if (rule->slow > 0 && rng_chance(&net->rng, rule->slow)) {
        net->stats.late++;
        latency += sim_span_draw(rule->slow_extra, &net->rng);
    }
    return latency;
}

/* Of one frame, which may be among those that are late. */
static uint64_t draw_frame_latency(struct sim_net *net, const struct link *l, enum sim_frame type)
{
    for (uint32_t i = 0; i < l->lates_count; i++) {
        const struct sim_net_late *late = &l->lates[i];
        if ((late->types >> type & 1) != 0 && rng_chance(&net->rng, late->probability)) {
            net->stats.late++;
            return sim_span_draw(late->latency, &net->rng);
        }
    }
    return draw_latency(net, &l->rule);
}

/* Hands the frame to its receiver, if there is one. The flight ends. */
static void deliver(struct sim_net *net, uint32_t i, bool accepted)
{
    struct flight f = net->flights[i];
    net->flights[i].frame = (struct slice){0};
    flight_free(net, i);
    struct net_host *to = &net->hosts[link_to(f.link)];
    if (accepted && to->up) {
        net->stats.delivered++;
        to->callbacks.frame(to->callbacks.ctx, link_from(f.link), f.bits, f.frame);
    } else {
        net->stats.lost++;
    }
    slice_close(&f.frame);
}

static void on_datagram(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    uint32_t i = (uint32_t)arg;
    deliver(net, i, !net->links[net->flights[i].link].cut);
}

/* ---- connections ---------------------------------------------------------------------------- */

static void drop_queue(struct sim_net *net, struct link *l)
{
    while (l->head != NONE) {
        uint32_t i = l->head;
        l->head = net->flights[i].next;
        flight_free(net, i);
        net->stats.lost++;
    }
    l->tail = NONE;
    l->due = 0;
}

static void take_in_order(struct sim_net *net, struct link *l)
{
    uint32_t i = l->head;
    ASSERT(i != NONE);
    l->head = net->flights[i].next;
    if (l->head == NONE) {
        l->tail = NONE;
    }
    deliver(net, i, l->receiver == net->hosts[link_to(net->flights[i].link)].generation);
}

static void on_arrival(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    struct link *l = &net->links[arg & 0xff];
    if (!link_arg_current(net, arg)) {
        return;
    }
    if (l->cut) {
        l->due++;
        return;
    }
    take_in_order(net, l);
}

static bool passable_both_ways(const struct sim_net *net, uint32_t link)
{
    return !net->links[link].cut && !net->links[link_index(link_to(link), link_from(link))].cut;
}

static enum err admit(struct net_host *host, uint32_t peer, bool anew)
{
    return host->callbacks.admit == NULL ? ERR_OK
                                         : host->callbacks.admit(host->callbacks.ctx, peer, anew);
}

/* Both sides look at each other; the verdict of the one that was dialled is heard by the other. */
static bool shake_hands(struct sim_net *net, uint32_t link)
{
    struct net_host *from = &net->hosts[link_from(link)];
    struct net_host *to = &net->hosts[link_to(link)];
    enum err verdict = admit(to, link_from(link), true);
    if (verdict != ERR_OK) {
        bool told = verdict != ERR_UNREACHABLE && from->callbacks.refused != NULL;
        if (told) {
            from->callbacks.refused(from->callbacks.ctx, link_to(link), verdict);
        }
        return false;
    }
    return admit(from, link_to(link), true) == ERR_OK;
}

static void connect_later(struct sim_net *net, uint32_t link, uint64_t delay_us);

static void on_connect(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    uint32_t link = (uint32_t)(arg & 0xff);
    struct link *l = &net->links[link];
    if (!link_arg_current(net, arg)) {
        return;
    }
    l->trying = false;
    struct net_host *from = &net->hosts[link_from(link)];
    struct net_host *to = &net->hosts[link_to(link)];
    if (!l->wanted || !from->up || l->up) {
        return;
    }
    if (!to->up || !passable_both_ways(net, link) || !shake_hands(net, link)) {
        connect_later(net, link, sim_span_draw(net->options.connect_again, &net->rng));
        return;
    }
    l->up = true;
    l->receiver = to->generation;
    net->stats.connects++;
    from->callbacks.up(from->callbacks.ctx, link_to(link));
}

static void connect_later(struct sim_net *net, uint32_t link, uint64_t delay_us)
{
    struct link *l = &net->links[link];
    if (!l->trying) {
        l->trying = true;
        world_after(net->world, delay_us, on_connect, net, link_arg(net, link));
    }
}

/* There and back, and the handshake there and back. */
static uint64_t draw_connect_time(struct sim_net *net, uint32_t link)
{
    return draw_latency(net, &net->links[link].rule) +
           draw_latency(net, &net->links[link_index(link_to(link), link_from(link))].rule);
}

/* The connection is no more: what was under way is lost, the sender hears of it. */
static void break_now(struct sim_net *net, uint32_t link)
{
    struct link *l = &net->links[link];
    bool was_up = l->up;
    drop_queue(net, l);
    l->generation++;
    l->up = false;
    l->trying = false;
    struct net_host *from = &net->hosts[link_from(link)];
    if (!from->up || !l->wanted) {
        return;
    }
    connect_later(net, link, sim_span_draw(net->options.connect_again, &net->rng));
    if (was_up) {
        net->stats.breaks++;
        from->callbacks.down(from->callbacks.ctx, link_to(link));
    }
}

static void on_refusal(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    if (link_arg_current(net, arg)) {
        break_now(net, (uint32_t)(arg & 0xff));
    }
}

/* The time of a connection over a dead path has come, unless the path is whole again. */
static void on_break(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    uint32_t link = (uint32_t)(arg & 0xff);
    if (!link_arg_current(net, arg) || !net->links[link].up) {
        return;
    }
    struct link *l = &net->links[link];
    bool same_receiver =
        net->hosts[link_to(link)].up && l->receiver == net->hosts[link_to(link)].generation;
    if (!same_receiver || !passable_both_ways(net, link)) {
        break_now(net, link);
    }
}

static void on_reset(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    if (link_arg_current(net, arg) && net->links[arg & 0xff].up) {
        break_now(net, (uint32_t)(arg & 0xff));
    }
}

static void break_later(struct sim_net *net, uint32_t link)
{
    if (net->links[link].up) {
        world_after(net->world, sim_span_draw(net->options.break_after, &net->rng), on_break, net,
                    link_arg(net, link));
    }
}

/* ---- for the hosts -------------------------------------------------------------------------- */

struct sim_net *sim_net_new(struct world *w, const struct sim_net_options *options)
{
    ASSERT(options->hosts <= SIM_NET_HOSTS_MAX);
    struct sim_net *net = NEW(struct sim_net);
    net->world = w;
    rng_seed(&net->rng, world_draw_seed(w));
    net->options = *options;
    net->flights_free = NONE;
    for (uint32_t i = 0; i < SIM_NET_HOSTS_MAX * SIM_NET_HOSTS_MAX; i++) {
        net->links[i] = (struct link){.rule = options->rule, .head = NONE, .tail = NONE};
    }
    return net;
}

void sim_net_free(struct sim_net *net)
{
    if (net == NULL) {
        return;
    }
    for (uint32_t i = 0; i < net->flights_count; i++) {
        slice_close(&net->flights[i].frame);
    }
    free(net->flights);
    free(net);
}

void sim_net_attach(struct sim_net *net, uint32_t host, const struct sim_net_callbacks *callbacks)
{
    ASSERT(host < net->options.hosts);
    net->hosts[host].callbacks = *callbacks;
}

void sim_net_process_up(struct sim_net *net, uint32_t host, const uint8_t hash[SIM_HASH_BYTES])
{
    struct net_host *h = &net->hosts[host];
    ASSERT(!h->up);
    h->up = true;
    h->generation++;
    memcpy(h->hash, hash, SIM_HASH_BYTES);
}

void sim_net_process_down(struct sim_net *net, uint32_t host, bool silent)
{
    struct net_host *h = &net->hosts[host];
    ASSERT(h->up);
    h->up = false;
    h->generation++;
    for (uint32_t peer = 0; peer < net->options.hosts; peer++) {
        /* What it has sent still arrives, unless the host took it along. */
        struct link *outgoing = &net->links[link_index(host, peer)];
        outgoing->wanted = false;
        outgoing->up = false;
        outgoing->trying = false;
        if (silent || outgoing->cut) {
            drop_queue(net, outgoing);
            outgoing->generation++;
        }
        uint32_t back = link_index(peer, host);
        if (!net->links[back].up) {
            continue;
        }
        if (silent || outgoing->cut) {
            break_later(net, back);
        } else {
            world_after(net->world, draw_latency(net, &outgoing->rule), on_reset, net,
                        link_arg(net, back));
        }
    }
}

/* Who would not be let in any more is not kept either. */
static void review_callers(struct sim_net *net, uint32_t host)
{
    for (uint32_t peer = 0; peer < net->options.hosts; peer++) {
        uint32_t link = link_index(peer, host);
        if (peer == host || !net->links[link].up) {
            continue;
        }
        enum err verdict = admit(&net->hosts[host], peer, false);
        if (verdict != ERR_OK && verdict != ERR_UNREACHABLE) {
            world_after(net->world, 0, on_refusal, net, link_arg(net, link));
        }
    }
}

void sim_net_set_peers(struct sim_net *net, uint32_t host, uint32_t peers)
{
    ASSERT(net->hosts[host].up);
    for (uint32_t peer = 0; peer < net->options.hosts; peer++) {
        uint32_t link = link_index(host, peer);
        struct link *l = &net->links[link];
        bool wanted = peer != host && (peers >> peer & 1) != 0;
        if (wanted == l->wanted) {
            continue;
        }
        l->wanted = wanted;
        if (wanted) {
            /* Frames of an earlier process must not come after those of this one. */
            drop_queue(net, l);
            l->generation++;
            l->trying = false;
            connect_later(net, link, draw_connect_time(net, link));
        } else {
            l->up = false;
        }
    }
    review_callers(net, host);
}

static void send_datagram(struct sim_net *net, uint32_t link, enum sim_frame type,
                          struct slice frame)
{
    struct link *l = &net->links[link];
    if (l->cut || rng_chance(&net->rng, l->rule.loss)) {
        net->stats.lost++;
        return;
    }
    uint32_t copies = rng_chance(&net->rng, l->rule.duplicate) ? 2 : 1;
    net->stats.duplicated += copies - 1;
    for (uint32_t copy = 0; copy < copies; copy++) {
        uint32_t i = flight_new(net, link);
        struct flight *f = &net->flights[i];
        f->frame = slice_ref(frame);
        memcpy(f->bits, net->hosts[link_from(link)].hash, SIM_HASH_BYTES);
        world_after(net->world, draw_frame_latency(net, l, type), on_datagram, net, i);
    }
}

static void send_in_order(struct sim_net *net, uint32_t link, enum sim_frame type,
                          struct slice frame)
{
    struct link *l = &net->links[link];
    if (!l->up) {
        net->stats.lost++;
        return;
    }
    uint32_t i = flight_new(net, link);
    struct flight *f = &net->flights[i];
    f->frame = slice_ref(frame);
    memcpy(f->bits, net->hosts[link_from(link)].hash, SIM_HASH_BYTES);
    if (l->tail == NONE) {
        l->head = i;
    } else {
        net->flights[l->tail].next = i;
    }
    l->tail = i;
    uint64_t arrival_us = world_now_us(net->world) + draw_frame_latency(net, l, type);
    if (arrival_us > l->last_arrival_us) {
        l->last_arrival_us = arrival_us;
    }
    world_at(net->world, l->last_arrival_us, on_arrival, net, link_arg(net, link));
    if (l->rule.loss > 0 && rng_chance(&net->rng, l->rule.loss)) {
        world_after(net->world, draw_latency(net, &l->rule), on_reset, net, link_arg(net, link));
    }
}

void sim_net_send(struct sim_net *net, uint32_t from, uint32_t to, struct slice frame)
{
    ASSERT(net->hosts[from].up);
    ASSERT(from != to);
    net->stats.frames++;
    net->stats.bytes += frame.size;
    uint32_t link = link_index(from, to);
    struct link *l = &net->links[link];
    enum sim_frame type = sim_frame_of(slice_bytes(frame));
    l->sent[type].frames++;
    l->sent[type].bytes += frame.size;
    if (is_dropped(net, l, type)) {
        net->stats.lost++;
        return;
    }
    if (net->options.datagrams) {
        send_datagram(net, link, type, frame);
    } else {
        send_in_order(net, link, type, frame);
    }
}

/* ---- certificates --------------------------------------------------------------------------- */

static void on_certificate(void *ctx, uint64_t arg)
{
    struct sim_net *net = ctx;
    uint32_t i = (uint32_t)arg;
    struct flight f = net->flights[i];
    struct net_host *to = &net->hosts[link_to(f.link)];
    bool taken = to->up && passable_both_ways(net, f.link) &&
                 to->callbacks.certificate(to->callbacks.ctx, link_from(f.link), f.bits);
    uint64_t again_us = sim_span_draw(net->options.connect_again, &net->rng);
    if (!taken && world_now_us(net->world) + again_us <= f.until_us) {
        world_after(net->world, again_us, on_certificate, net, i);
        return;
    }
    flight_free(net, i);
}

void sim_net_certify(struct sim_net *net, uint32_t from, uint32_t to,
                     const uint8_t revealed[SIM_INCARNATION_BYTES], uint64_t keep_us)
{
    uint32_t link = link_index(from, to);
    uint32_t i = flight_new(net, link);
    struct flight *f = &net->flights[i];
    f->until_us = world_now_us(net->world) + keep_us;
    memcpy(f->bits, revealed, SIM_INCARNATION_BYTES);
    world_after(net->world, draw_latency(net, &net->links[link].rule), on_certificate, net, i);
}

/* ---- faults --------------------------------------------------------------------------------- */

void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut)
{
    uint32_t link = link_index(from, to);
    struct link *l = &net->links[link];
    if (l->cut == cut) {
        return;
    }
    l->cut = cut;
    if (cut) {
        break_later(net, link);
        break_later(net, link_index(to, from));
        return;
    }
    /* What waited at the cut goes on its way again, before anything sent later. */
    uint32_t waiting = l->due;
    l->due = 0;
    for (uint32_t i = 0; i < waiting; i++) {
        world_after(net->world, 0, on_arrival, net, link_arg(net, link));
    }
}

bool sim_net_is_cut(const struct sim_net *net, uint32_t from, uint32_t to)
{
    return net->links[link_index(from, to)].cut;
}

void sim_net_heal(struct sim_net *net)
{
    for (uint32_t from = 0; from < net->options.hosts; from++) {
        for (uint32_t to = 0; to < net->options.hosts; to++) {
            if (from != to) {
                sim_net_cut(net, from, to, false);
                net->links[link_index(from, to)].drops_count = 0;
                net->links[link_index(from, to)].lates_count = 0;
            }
        }
    }
}

void sim_net_reset(struct sim_net *net)
{
    sim_net_heal(net);
    for (uint32_t i = 0; i < SIM_NET_HOSTS_MAX * SIM_NET_HOSTS_MAX; i++) {
        net->links[i].rule = net->options.rule;
    }
}

void sim_net_drop(struct sim_net *net, uint32_t from, uint32_t to, const struct sim_net_drop *drop)
{
    struct link *l = &net->links[link_index(from, to)];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->drops_count; i++) {
        l->drops[i].types &= ~drop->types;
        if (l->drops[i].types != 0 && l->drops[i].count > 0) {
            l->drops[kept++] = l->drops[i];
        }
    }
    if (drop->types != 0 && drop->probability > 0) {
        l->drops[kept++] = *drop; /* there is room: no type is in two rules */
    }
    l->drops_count = kept;
}

void sim_net_late(struct sim_net *net, uint32_t from, uint32_t to, const struct sim_net_late *late)
{
    struct link *l = &net->links[link_index(from, to)];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->lates_count; i++) {
        l->lates[i].types &= ~late->types;
        if (l->lates[i].types != 0) {
            l->lates[kept++] = l->lates[i];
        }
    }
    if (late->types != 0 && late->probability > 0) {
        l->lates[kept++] = *late;
    }
    l->lates_count = kept;
}

void sim_net_delay(struct sim_net *net, uint32_t from, uint32_t to, struct sim_span latency)
{
    struct sim_net_rule *rule = sim_net_rule(net, from, to);
    rule->latency = latency;
    rule->slow = 0;
}

struct sim_net_rule *sim_net_rule(struct sim_net *net, uint32_t from, uint32_t to)
{
    return &net->links[link_index(from, to)].rule;
}

bool sim_net_is_up(const struct sim_net *net, uint32_t from, uint32_t to)
{
    return net->links[link_index(from, to)].up;
}

struct sim_net_count sim_net_sent(const struct sim_net *net, uint32_t from, uint32_t to,
                                  enum sim_frame type)
{
    ASSERT(type < SIM_FRAME_COUNT);
    return net->links[link_index(from, to)].sent[type];
}

const struct sim_net_stats *sim_net_stats(const struct sim_net *net)
{
    return &net->stats;
}
