/* The swarm: one seed draws a cluster, its options, its faults and its load, and runs it in two
 * phases.
 *
 *   safety    Anything goes: frames lost, late and twice, paths cut, processes killed, hosts losing
 *             power one by one or all at once, pauses, disks that are slow, full, failing, torn and
 *             rotten, clocks that run apart, members that come and go. Nothing is expected but that
 *             no invariant is ever violated.
 *   liveness  Everything is healed and started, faults end. The cluster must elect a leader and
 *             commit within a stated time, and all nodes must come to the same state. Whose disk
 *             has lost something is not among them.
 *
 * At the end, what the clients saw must be linearizable. A pure function of the seed. */
#ifndef MK_SIM_SWARM_H
#define MK_SIM_SWARM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "sim/cluster.h"
#include "sim/swarm_knobs.h"

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
    bool history_judged; /* linearizable without a witness; false: that was too hard to tell */
    uint64_t trace_hash;
    uint64_t simulated_us;
    uint64_t recovery_us;        /* from the healing to the first commit */
    uint64_t knobs[SWARM_KNOBS]; /* what the run was made of, and what came of it */
};

/* Append a report for people to out if the run failed. */
void swarm_run(const struct swarm_options *options, struct swarm_result *result,
               struct buffer *out);

#endif
