#include "net/links_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

struct link_out *links_find(const struct links *l, uint64_t peer)
{
    struct link_out *o;
    TAILQ_FOREACH (o, &l->outs, entry) {
        if (o->peer == peer) {
            return o;
        }
    }
    return NULL;
}

uint64_t links_now_us(const struct links *l)
{
    return clock_now_us(&l->clock);
}

struct event *links_event(struct links *l, int fd, short what, event_callback_fn cb, void *ctx)
{
    struct event *event = event_new(loop_base(l->loop), fd, what, cb, ctx);
    ASSERT(event != NULL);
    event_priority_set(event, LOOP_PRIORITY_PEERS);
    return event;
}

const struct handshake *links_self(struct links *l)
{
    if (l->callbacks.last != NULL) {
        l->options.self.last = l->callbacks.last(l->callbacks.ctx);
    }
    return &l->options.self;
}

enum err links_judge(const struct links *l, const struct handshake *peer, struct why *why)
{
    const struct handshake *self = &l->options.self;
    if (peer->cluster_id != self->cluster_id && strcmp(peer->cluster, self->cluster) == 0) {
        return err_why(
            why, ERR_WRONG_CLUSTER,
            "%s and %s are both in a cluster \"%s\", but it was formed of other members: "
            "compare the ids under members in their configurations; they must be the "
            "same on all nodes",
            peer->node, self->node, self->cluster);
    }
    if (peer->cluster_id != self->cluster_id) {
        return err_why(why, ERR_WRONG_CLUSTER,
                       "%s is in cluster \"%s\" (%016" PRIx64 "), %s is in \"%s\" (%016" PRIx64 ")",
                       peer->node, peer->cluster, peer->cluster_id, self->node, self->cluster,
                       self->cluster_id);
    }
    if (peer->role == HANDSHAKE_NODE && peer->node_id == self->node_id) {
        return err_why(why, ERR_WRONG_NODE,
                       "both sides are %s: two nodes have the same name, or an address leads to "
                       "the node itself",
                       self->node);
    }
    if (l->callbacks.check_peer == NULL) {
        return ERR_OK;
    }
    return l->callbacks.check_peer(l->callbacks.ctx, peer, why);
}

/* ---- the transport port ---- */

static void send_frame(void *ctx, uint64_t peer, struct slice frame)
{
    struct links *l = ctx;
    struct link_out *o = links_find(l, peer);
    if (o != NULL) {
        link_out_send(o, frame);
    }
}

static bool send_frame_behind(void *ctx, uint64_t peer, struct slice frame)
{
    struct link_out *o = links_find(ctx, peer);
    return o != NULL && link_out_send_behind(o, frame);
}

static const struct transport_peer *peer_of(const struct transport_peer *peers, uint32_t count,
                                            uint64_t id)
{
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].id == id) {
            return &peers[i];
        }
    }
    return NULL;
}

/* Who would not be let in any more is not kept either. */
static void review_ins(struct links *l)
{
    struct link_in *next;
    for (struct link_in *i = TAILQ_FIRST(&l->ins); i != NULL; i = next) {
        next = TAILQ_NEXT(i, entry);
        struct why why = {0};
        struct handshake peer = i->peer;
        peer.last = (struct raft_pos){0}; /* what it knew then it has to show anew */
        if (i->greeted && links_judge(l, &peer, &why) != ERR_OK) {
            link_in_close(i);
        }
    }
}

static void set_peers(void *ctx, const struct transport_peer *peers, uint32_t peers_count)
{
    struct links *l = ctx;
    struct link_out *next;
    for (struct link_out *o = TAILQ_FIRST(&l->outs); o != NULL; o = next) {
        next = TAILQ_NEXT(o, entry);
        const struct transport_peer *peer = peer_of(peers, peers_count, o->peer);
        if (peer == NULL) {
            link_out_drop(o);
            continue;
        }
        const char *address = dial_map_address(l->options.dial, peer->name, peer->address);
        if (strcmp(address, o->address) != 0) {
            link_out_set_address(o, address);
        }
    }
    for (uint32_t i = 0; i < peers_count; i++) {
        if (peers[i].id != l->options.self.node_id && links_find(l, peers[i].id) == NULL) {
            struct link_out *o = link_out_new(l, &peers[i]);
            TAILQ_INSERT_TAIL(&l->outs, o, entry);
        }
    }
    review_ins(l);
}

static uint64_t round_trip_us(void *ctx, uint64_t peer)
{
    const struct link_out *o = links_find(ctx, peer);
    return o != NULL && o->state == LINK_UP ? o->stats.round_trip_us : 0;
}

struct transport_port links_transport(struct links *l)
{
    return (struct transport_port){.ctx = l,
                                   .send = send_frame,
                                   .send_behind = send_frame_behind,
                                   .set_peers = set_peers,
                                   .round_trip_us = round_trip_us};
}

/* ---- life ---- */

/* Connections are freed here only, where none of their functions is under way. */
static void bury(struct links *l)
{
    struct link_out *o;
    while ((o = TAILQ_FIRST(&l->gone)) != NULL) {
        TAILQ_REMOVE(&l->gone, o, entry);
        link_out_free(o);
    }
    struct link_in *i;
    while ((i = TAILQ_FIRST(&l->closed)) != NULL) {
        TAILQ_REMOVE(&l->closed, i, entry);
        link_in_free(i);
    }
}

static void flush(void *ctx)
{
    struct links *l = ctx;
    struct link_out *o;
    while ((o = TAILQ_FIRST(&l->dirty)) != NULL) {
        TAILQ_REMOVE(&l->dirty, o, dirty_entry);
        o->dirty = false;
        link_out_flush(o);
    }
    bury(l);
}

static void on_accept(void *ctx, int fd, const struct socket_address *from)
{
    (void)from;
    link_in_new(ctx, fd);
}

static void set_default(uint32_t *option, uint32_t value)
{
    if (*option == 0) {
        *option = value;
    }
}

static void set_defaults(struct links_options *o)
{
    set_default(&o->frame_bytes_max, 16u << 20);
    set_default(&o->queue_bytes_max, 8u << 20);
    set_default(&o->connections_max, 256);
    set_default(&o->handshake_timeout_ms, 2000);
    set_default(&o->ping_after_ms, 500);
    set_default(&o->dead_after_ms, 3000);
    set_default(&o->backoff_min_ms, 10);
    set_default(&o->backoff_max_ms, 1000);
}

enum err links_open(struct loop *loop, const struct links_options *options,
                    const struct links_callbacks *callbacks, const struct log *log,
                    struct links **out, struct why *why)
{
    struct links *l = NEW(struct links);
    l->loop = loop;
    l->clock = loop_clock();
    l->options = *options;
    set_defaults(&l->options);
    l->callbacks = *callbacks;
    l->log = log;
    rng_seed(&l->rng, options->seed);
    TAILQ_INIT(&l->outs);
    TAILQ_INIT(&l->dirty);
    TAILQ_INIT(&l->gone);
    TAILQ_INIT(&l->ins);
    TAILQ_INIT(&l->closed);
    enum err e = listener_open(loop, &options->listen, on_accept, l, log, &l->listener, why);
    if (e != ERR_OK) {
        free(l);
        return e;
    }
    loop_at_round_end(loop, LOOP_FLUSH, flush, l);
    *out = l;
    return ERR_OK;
}

void links_close(struct links *l)
{
    if (l == NULL) {
        return;
    }
    loop_at_round_end_remove(l->loop, LOOP_FLUSH, flush, l);
    listener_close(l->listener);
    struct link_out *o;
    while ((o = TAILQ_FIRST(&l->outs)) != NULL) {
        link_out_drop(o);
    }
    struct link_in *i;
    while ((i = TAILQ_FIRST(&l->ins)) != NULL) {
        link_in_close(i);
    }
    bury(l);
    free(l);
}

const struct address *links_address(const struct links *l)
{
    return listener_address(l->listener);
}

bool links_peer_stats(const struct links *l, uint64_t peer, struct links_peer_stats *out)
{
    const struct link_out *o = links_find(l, peer);
    if (o == NULL) {
        return false;
    }
    *out = o->stats;
    out->up = o->state == LINK_UP;
    out->queued_bytes = (uint32_t)o->queue.bytes;
    return true;
}
