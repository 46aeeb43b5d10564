/* What goes wrong in a run of the swarm, how often, and the undoing of it. */
#ifndef MK_SIM_SWARM_FAULTS_H
#define MK_SIM_SWARM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"
#include "sim/cluster.h"
#include "sim/sim_disk.h"

/* clang-format off */
#define FAULT_TABLE(X)                                                                             \
    X(CRASH, "process crash")                                                                      \
    X(CRASH_GUARDIAN, "process and guardian crash")                                                \
    X(CRASH_HOST, "host loses power")                                                              \
    X(CRASH_ALL_HOSTS, "all hosts lose power")                                                     \
    X(CRASH_PROMISED, "host loses power right after a vote or an acknowledgement")                 \
    X(CRASH_TRANSFER, "host loses power in the middle of a snapshot's way")                        \
    X(CRASH_RECOVERY, "host loses power, and again while it recovers")                             \
    X(RESTART_LOOP, "restart loop")                                                                \
    X(STOP, "planned stop")                                                                        \
    X(PAUSE, "pause (SIGSTOP)")                                                                    \
    X(PARTITION, "partition")                                                                      \
    X(ONE_WAY, "one-way cut")                                                                      \
    X(BRIDGE, "partition but for one who sees both sides")                                         \
    X(FORGOTTEN_WORD, "restarts within promises, then asked by one who was cut off")               \
    X(DROP_TYPE, "one type of frames is lost")                                                     \
    X(LATE_TYPE, "one type of frames is late")                                                     \
    X(SLOW_HOST, "slow host")                                                                      \
    X(DISK_STALL, "disk hangs")                                                                    \
    X(DISK_ERROR, "disk error (EIO)")                                                              \
    X(DISK_FULL, "disk full (ENOSPC)")                                                             \
    X(TORN_WRITE, "host loses power in the middle of a write")                                     \
    X(LOST_NAMES, "host loses power, and all names that were not synced")                          \
    X(BIT_FLIP, "bit flip")                                                                        \
    X(WALL_CLOCK, "wall clock jumps")                                                              \
    X(CLOCK_RATE, "clock rate changes")                                                            \
    X(CLOCK_JUMP, "boot clock jumps, beyond what leases bear")                                     \
    X(TRANSFER, "leadership transfer asked for")                                                   \
    X(CERTIFICATE_REPLAY, "death certificate replayed")                                            \
    X(SNAPSHOT, "snapshot asked for")                                                              \
    X(MEMBERS, "change of the membership asked for")
/* clang-format on */

enum fault {
#define X(name, text) FAULT_##name,
    FAULT_TABLE(X)
#undef X
        FAULT_COUNT
};
const char *fault_text(enum fault fault);

struct fault_plan {
    uint64_t unit_us;        /* the shortest election timeout: what durations are drawn from */
    struct sim_span between; /* two faults */
    bool enabled[FAULT_COUNT];
    int32_t rate_ppm_max;    /* either way */
    struct sim_net_rule net; /* what paths and disks are like when nothing is wrong with them */
    struct sim_disk_rule disk;
    uint64_t segment_bytes;
};

/* A bit that is to be another, in the log that was written up to written_bytes when that was looked
 * at: once a batch follows. A flip in the very last one cannot be told from a torn write. */
struct fault_flip {
    uint32_t host; /* CLUSTER_NOBODY: none */
    char file[SIM_DISK_NAME_BYTES];
    uint64_t written_bytes;
};

/* In place. Lives as long as the cluster's world runs. */
struct faults {
    struct cluster *cluster;
    struct fault_plan plan;
    struct rng rng;
    uint64_t round;              /* scheduled calls of an earlier round do nothing */
    uint64_t count[FAULT_COUNT]; /* that took place */
    struct fault_flip flip;      /* one host in a run, for a majority has to recover */
    uint32_t crash_promised;     /* hosts to crash at their next promise: a set of bits */
    uint32_t crash_transfer;     /* likewise, soon after the next step of a snapshot */
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
