/* The simulated network between hosts: frames, connections, death certificates.
 *
 * Two ways to carry a frame:
 *   connections  As the real transport: one connection for each ordered pair of hosts, opened by
 * the sender. Frames arrive in order. A frame is lost only with its connection: when it breaks,
 * when the receiving process died, when there is none. datagrams    Stricter than any real one:
 * each frame by itself is lost, doubled, late or early, and may outlive both the processes. In
 * both, the sender hears of its connection going up and down.
 *
 * A path from one host to another can be cut, each direction for itself. While either direction is
 * cut nothing is lost at first (TCP repeats), until the connection breaks. */
#ifndef MK_SIM_SIM_NET_H
#define MK_SIM_SIM_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "raft/raft.h"
#include "sim/world.h"

enum { SIM_NET_HOSTS_MAX = 16, SIM_INCARNATION_BYTES = 16, SIM_HASH_BYTES = 32 };

struct sim_net;

/* A duration drawn uniformly from [min, max). */
struct sim_span {
    uint64_t min_us;
    uint64_t max_us;
};
static inline uint64_t sim_span_draw(struct sim_span span, struct rng *rng)
{
    return rng_range(rng, span.min_us, span.max_us);
}

/* What happens to the frames of one path. Probabilities are per frame. */
struct sim_net_rule {
    struct sim_span latency;
    double slow; /* takes slow_extra longer: overtaken by later ones (datagrams) */
    struct sim_span slow_extra;
    double loss;      /* datagrams: lost. Connections: the connection breaks. */
    double duplicate; /* datagrams only; the copy is delayed for itself */
};

struct sim_net_options {
    uint32_t hosts;
    bool datagrams;
    struct sim_net_rule rule;      /* for all paths, to begin with */
    struct sim_span connect_again; /* pause after a failed attempt to connect */
    struct sim_span break_after;   /* how long a connection survives a cut or a silent host */
};

/* What a host hears. Called from the world, never from inside a call into the network. */
struct sim_net_callbacks {
    void *ctx;
    void (*frame)(void *ctx, uint32_t from, const uint8_t incarnation[SIM_HASH_BYTES],
                  struct slice frame);
    void (*up)(void *ctx, uint32_t to);
    void (*down)(void *ctx, uint32_t to);
    /* At each end when a connection is opened (anew), and for those that are open when the peers
     * change: is peer who it should be? ERR_UNREACHABLE: nobody looked. */
    enum err (*admit)(void *ctx, uint32_t peer, bool anew);
    /* The other side did not let this host in. May be NULL. */
    void (*refused)(void *ctx, uint32_t to, enum err verdict);
    /* False: there is no process to take it now. */
    bool (*certificate)(void *ctx, uint32_t dead, const uint8_t revealed[SIM_INCARNATION_BYTES]);
};

struct sim_net *sim_net_new(struct world *w, const struct sim_net_options *options);
/* Accepts NULL. */
void sim_net_free(struct sim_net *net);
void sim_net_attach(struct sim_net *net, uint32_t host, const struct sim_net_callbacks *callbacks);

/* A process with this incarnation is up. It has no peers yet. */
void sim_net_process_up(struct sim_net *net, uint32_t host, const uint8_t hash[SIM_HASH_BYTES]);
/* It is gone. silent: with its host, so that nobody closes its connections. */
void sim_net_process_down(struct sim_net *net, uint32_t host, bool silent);
/* Keep connections to the hosts in this set of bits. */
void sim_net_set_peers(struct sim_net *net, uint32_t host, uint32_t peers);
/* Takes its own reference. */
void sim_net_send(struct sim_net *net, uint32_t from, uint32_t to, struct slice frame);
/* From the guardian of from; tried again until keep_us have passed. */
void sim_net_certify(struct sim_net *net, uint32_t from, uint32_t to,
                     const uint8_t revealed[SIM_INCARNATION_BYTES], uint64_t keep_us);

void sim_net_cut(struct sim_net *net, uint32_t from, uint32_t to, bool cut);
bool sim_net_is_cut(const struct sim_net *net, uint32_t from, uint32_t to);
/* Undo all cuts, and the rules about drops and late frames. */
void sim_net_heal(struct sim_net *net);
/* The rule of one path, to be changed at will. */
struct sim_net_rule *sim_net_rule(struct sim_net *net, uint32_t from, uint32_t to);

/* Frames by what is in them: a Raft message of some type, a request or answer between nodes (RPC),
 * or neither. */
enum sim_frame {
    SIM_FRAME_RAFT = 0, /* + enum raft_message_type */
    SIM_FRAME_RPC = RAFT_MESSAGE_COUNT,
    SIM_FRAME_OTHER,
    SIM_FRAME_COUNT
};
enum { SIM_FRAMES_ALL = (1 << SIM_FRAME_COUNT) - 1 };
enum sim_frame sim_frame_of(struct bytes frame);
const char *sim_frame_name(enum sim_frame type); /* "append_reply", "rpc" */
/* SIM_FRAME_COUNT if there is none of this name. */
enum sim_frame sim_frame_by_name(const char *name);

/* Frames that vanish on their way, without a trace and without harm to the connection. */
struct sim_net_drop {
    unsigned types;     /* a set of 1 << enum sim_frame */
    double probability; /* of each such frame */
    uint64_t count;     /* that are lost before the rule ends; UINT64_MAX: no end */
};
/* A rule of one path. It takes its types from the earlier ones; with probability 0 it only ends
 * those. */
void sim_net_drop(struct sim_net *net, uint32_t from, uint32_t to, const struct sim_net_drop *drop);

/* Frames that take another time than the others of their path. Among datagrams they are overtaken;
 * on a connection those behind them wait. */
struct sim_net_late {
    unsigned types; /* a set of 1 << enum sim_frame */
    double probability;
    struct sim_span latency; /* instead of the path's */
};
/* As sim_net_drop(). */
void sim_net_late(struct sim_net *net, uint32_t from, uint32_t to, const struct sim_net_late *late);
/* The latency of one path from now on; nothing takes longer, nothing overtakes. */
void sim_net_delay(struct sim_net *net, uint32_t from, uint32_t to, struct sim_span latency);
/* sim_net_heal(), and every path follows the rule that it began with. */
void sim_net_reset(struct sim_net *net);
bool sim_net_is_up(const struct sim_net *net, uint32_t from, uint32_t to);

struct sim_net_stats {
    uint64_t frames;
    uint64_t bytes;
    uint64_t delivered;
    uint64_t lost;
    uint64_t duplicated;
    uint64_t late; /* by a rule of sim_net_late(), or slow by that of the path */
    uint64_t connects;
    uint64_t breaks;
};
const struct sim_net_stats *sim_net_stats(const struct sim_net *net);

/* What was sent over one path, lost or not. */
struct sim_net_count {
    uint64_t frames;
    uint64_t bytes;
};
struct sim_net_count sim_net_sent(const struct sim_net *net, uint32_t from, uint32_t to,
                                  enum sim_frame type);

#endif
