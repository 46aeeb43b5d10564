/* What one seed draws: a cluster, its options, its load, and what may go wrong. */
#ifndef MK_SIM_SWARM_DRAW_H
#define MK_SIM_SWARM_DRAW_H

#include <stdint.h>

#include "base/rng.h"
#include "sim/cluster.h"
#include "sim/swarm_faults.h"

struct swarm_draw {
    struct cluster_options cluster;
    struct fault_plan plan;
    uint64_t safety_us;   /* how long anything may go wrong */
    uint64_t recovery_us; /* bound for the election and a commit once all is well */
};

struct swarm_draw swarm_draw(struct rng *rng, uint64_t seed);

#endif
