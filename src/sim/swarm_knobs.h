/* What a run of the swarm can be made of, and what can come of it: counted, so that a knob which
 * turns nothing is noticed. */
#ifndef MK_SIM_SWARM_KNOBS_H
#define MK_SIM_SWARM_KNOBS_H

#include <stdint.h>

#include "sim/swarm_faults.h"

/* clang-format off */
#define SWARM_KNOB_TABLE(X)                                                                        \
    /* drawn: 1 in the runs that have it */                                                        \
    X(NODES_1, "1 node")                                                                           \
    X(NODES_2, "2 nodes")                                                                          \
    X(NODES_3, "3 nodes")                                                                          \
    X(NODES_4, "4 nodes")                                                                          \
    X(NODES_5, "5 nodes")                                                                          \
    X(NODES_6, "6 nodes")                                                                          \
    X(NODES_7, "7 nodes")                                                                          \
    X(SPARES, "servers that may be added")                                                         \
    X(DATAGRAMS, "frames overtake each other")                                                     \
    X(CONNECTIONS, "frames in order")                                                              \
    X(CLOCKS_WITHIN, "clocks within the drift bound")                                              \
    X(CLOCKS_BEYOND, "clocks beyond the drift bound")                                              \
    X(PREVOTE_OFF, "without pre-vote")                                                             \
    X(CHECK_QUORUM_OFF, "without check-quorum")                                                    \
    X(LEASE_OFF, "without leases")                                                                 \
    X(FAST_FAILOVER_OFF, "without fast failover")                                                  \
    X(SCRIPTS, "scripts on every node")                                                            \
    /* what came of it: times */                                                                   \
    X(FRAMES_LOST, "frames lost")                                                                  \
    X(FRAMES_DOUBLED, "frames doubled")                                                            \
    X(FRAMES_LATE, "frames late")                                                                  \
    X(CONNECTIONS_BROKEN, "connections broken")                                                    \
    X(ELECTIONS, "elections")                                                                      \
    X(TIMEOUT_NOW, "leadership handed over (TimeoutNow)")                                          \
    X(CERTIFICATES, "death certificates received")                                                 \
    X(CONFIGS, "configurations committed")                                                         \
    X(COMPACTIONS, "logs compacted")                                                               \
    X(INSTALLS, "snapshots installed from a leader")                                               \
    X(RESTORED, "states restored and held against those of replaying")                             \
    X(ENDS_CRASH, "ends: process crash")                                                           \
    X(ENDS_GUARDIAN, "ends: with its guardian")                                                    \
    X(ENDS_HOST, "ends: host")                                                                     \
    X(ENDS_STOPPED, "ends: planned stop")                                                          \
    X(ENDS_FAILED, "ends: the node gave up")                                                       \
    X(DISK_FAILED, "operations failed with EIO")                                                   \
    X(DISK_NO_ROOM, "writes refused with ENOSPC")                                                  \
    X(REFUSED_CORRUPT, "starts refused: corrupt")                                                  \
    X(REFUSED_OTHER, "starts refused: disk error or full")                                         \
    X(DUPLICATES, "commands that came again, and were known")                                      \
    X(SETS, "sets acknowledged")                                                                   \
    X(GETS, "gets answered")                                                                       \
    X(UNKNOWN, "operations with unknown outcome")                                                  \
    X(RETRIES, "attempts beyond the first")                                                        \
    X(COMMITS_TOLD, "commits told to hooks")                                                       \
    X(GAPS_TOLD, "gaps told to hooks")                                                             \
    X(LEADER_SLICES, "slices of leader-only work")
/* clang-format on */

enum swarm_knob {
#define X(name, text) SWARM_##name,
    SWARM_KNOB_TABLE(X)
#undef X
        SWARM_OWN_KNOBS,
    SWARM_FAULTS = SWARM_OWN_KNOBS, /* + enum fault: times */
    SWARM_KNOBS = SWARM_OWN_KNOBS + FAULT_COUNT
};

const char *swarm_knob_text(unsigned knob);

#endif
