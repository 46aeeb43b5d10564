/* What goes wrong in a run of the swarm, how often, and the undoing of it. */
#ifndef MK_SIM_SWARM_FAULTS_H
#define MK_SIM_SWARM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "sim/cluster.h"

enum fault {
    FAULT_CRASH,          /* a process dies */
    FAULT_CRASH_GUARDIAN, /* with its guardian */
    FAULT_CRASH_HOST,
    FAULT_CRASH_ALL_HOSTS,
    FAULT_CRASH_PROMISED, /* a host loses power right after it voted or acknowledged */
    FAULT_CRASH_TRANSFER, /* one loses power in the middle of a snapshot's way */
    FAULT_CRASH_RECOVERY, /* and again while it recovers */
    FAULT_RESTART_LOOP,
    FAULT_STOP, /* a planned stop */
    FAULT_PAUSE,
    FAULT_PARTITION,
    FAULT_ONE_WAY,
    FAULT_BRIDGE,         /* a partition with one node that sees both sides */
    FAULT_FORGOTTEN_WORD, /* one that is free to campaign asks those that have just restarted */
    FAULT_SLOW_HOST,
    FAULT_DISK_STALL,
    FAULT_DISK_ERROR,
    FAULT_DISK_FULL,
    FAULT_WALL_CLOCK,
    FAULT_CLOCK_RATE,
    FAULT_CLOCK_JUMP, /* outside of what leases bear */
    FAULT_TRANSFER,
    FAULT_CERTIFICATE_REPLAY,
    FAULT_COUNT
};

struct fault_plan {
    uint64_t unit_us;        /* the shortest election timeout: what durations are drawn from */
    struct sim_span between; /* two faults */
    bool enabled[FAULT_COUNT];
    int32_t rate_ppm_max;    /* either way */
    struct sim_net_rule net; /* what paths and disks are like when nothing is wrong with them */
    struct sim_disk_rule disk;
};

/* In place. Lives as long as the cluster's world runs. */
struct faults {
    struct cluster *cluster;
    struct fault_plan plan;
    struct rng rng;
    uint64_t round; /* scheduled calls of an earlier round do nothing */
    uint64_t count;
    uint32_t crash_promised; /* hosts to crash at their next promise: a set of bits */
    uint32_t crash_transfer; /* likewise, soon after the next step of a snapshot */
    uint32_t loops_left[SIM_NET_HOSTS_MAX];
};

void faults_init(struct faults *f, struct cluster *c, const struct fault_plan *plan, uint64_t seed);
void faults_start(struct faults *f);
/* No new ones; what is wrong stays so until cluster_heal(). */
void faults_stop(struct faults *f);
/* For cluster_options.promised; ctx is the struct faults. */
void faults_promised(void *ctx, uint32_t host);
/* For cluster_options.in_transfer, likewise. */
void faults_in_transfer(void *ctx, uint32_t host);

#endif
