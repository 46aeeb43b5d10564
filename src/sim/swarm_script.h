/* The script that every node of some runs of the swarm carries, so that the script host is under
 * all faults: commit hooks, quick and slow; leader-only work, obedient and not; timers; proposals;
 * and functions that never end. */
#ifndef MK_SIM_SWARM_SCRIPT_H
#define MK_SIM_SWARM_SCRIPT_H

#include "base/rng.h"
#include "sim/cluster.h"

/* In place; lives as long as the cluster. Zeroed: no script. */
struct swarm_script {
    struct script_app app;
    struct buffer config;
};

/* Draws whether there is one, and has the options refer to it. raft options are drawn already. */
void swarm_script_draw(struct swarm_script *s, struct rng *rng, struct cluster_options *options);
void swarm_script_close(struct swarm_script *s);

#endif
