/* The swarm: one seed draws a cluster, its options, its faults and its load, and runs it in two
 * phases.
 *
 *   safety    Anything goes: frames lost, late and twice, paths cut, processes killed, hosts losing
 *             power one by one or all at once, pauses, slow and failing disks, clocks that run
 * apart. Nothing is expected but that no invariant is ever violated. liveness  Everything is healed
 * and started, faults end. The cluster must elect a leader and commit within a stated time, and all
 * nodes must come to the same state.
 *
 * A pure function of the seed. */
#ifndef MK_SIM_SWARM_H
#define MK_SIM_SWARM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "sim/cluster.h"

struct swarm_options {
    uint64_t seed;
    void (*live)(void *ctx, const char *line); /* the timeline as it happens; NULL: none */
    void *live_ctx;
    /* Where the cluster under way is to be found while swarm_run() runs, for whoever has to report
     * a crash of this very program. May be NULL. */
    struct cluster **under_way;
};

struct swarm_result {
    bool ok;
    uint64_t trace_hash;
    uint64_t simulated_us;
    uint64_t calls; /* of the world */
    uint64_t faults;
    uint64_t sets, gets, unknown;
    bool history_judged; /* linearizable without a witness; false: that was too hard to tell */
    struct safety_stats safety;
    struct sim_net_stats net;
    uint64_t recovery_us; /* from the healing to the first commit */
};

/* Append a report for people to out if the run failed. */
void swarm_run(const struct swarm_options *options, struct swarm_result *result,
               struct buffer *out);

#endif
