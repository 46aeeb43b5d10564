/* The invariants of Raft and of the node around it, checked after everything that any process does.
 *
 * The checker watches from outside (sim_watch): it keeps its own account of who voted for whom,
 * what every log holds, what a disk has synced and what was committed, and never asks the code
 * under test whether it was right. A check costs the same however long the logs are: what two logs
 * have in common is compared by one hash of their prefix.
 *
 *     election safety       at most one leader in a term                               §5.2
 *     leader append-only    a leader never drops entries of its log                    §5.3
 *     log matching          same index and term: same log up to there                  §5.3
 *     leader completeness   a leader has all that was committed in earlier terms       §5.4
 *     state machine safety  same entry, outcome and state hash at the same index       §5.4.3
 *     snapshots             what one leaves out was committed; the state that it restores is that
 *                           of replaying the log up to there                           §7
 *     monotonic             term, vote within a term, commit and applied index
 *     durability            what leaves a node is covered by a sync before; it is still there
 *                           after a crash; what is committed is on the disks of a majority
 *     progress              match < next; match is in the follower's log, on its disk
 *     lease                 no two nodes hold it at once, in true time
 *     once                  a command changes the state once
 *     scripts               a commit hook is told each entry once in a run, in order, without holes
 *                           but for gaps it was told of; no leader-only work of an older leadership
 *                           runs after that of a newer one began; what waits for scripts is bounded
 *
 *     memory                what waits in a node for its peers, disk and clients is bounded
 *
 * The first violation stops the world. */
#ifndef MK_SIM_SAFETY_H
#define MK_SIM_SAFETY_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/sim_process.h"
#include "sim/timeline.h"
#include "sim/world.h"

struct safety;

/* Of what a node keeps in memory: its options, with the defaults filled in. */
struct safety_limits {
    uint64_t pending;
    uint64_t cache_bytes, uncommitted_bytes, window_bytes, append_bytes;
};

struct safety_options {
    uint32_t hosts;
    bool unique_values;             /* no two commands set the same value */
    uint32_t voters;                /* the hosts that vote at first: a set of bits */
    const raft_id *ids;             /* borrowed */
    struct sim_process *const *all; /* borrowed, filled in before the world runs */
    bool leases;      /* clocks keep within the drift bound: leases exclude each other */
    bool leader_work; /* leases are on, so leader-only work excludes each other too */
    struct script_limits script_limits;
    struct safety_limits limits;
    /* A vote or an acknowledgement has just left this host: a good moment for a fault. Not to be
     * acted on from inside. May be NULL. */
    void (*promised)(void *ctx, uint32_t host);
    void *ctx;
    /* The same for the steps of taking, sending and installing snapshots. */
    void (*in_transfer)(void *ctx, uint32_t host);
    void *in_transfer_ctx;
    /* Told what the checker was told (struct sim_watch), after it. May be NULL. */
    void (*refused)(void *ctx, uint32_t host, enum err err, const char *why);
    void (*applied)(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                    enum err outcome, bool duplicate);
    void *told_ctx;
};

struct safety *safety_new(struct world *w, struct timeline *timeline,
                          const struct safety_options *options);
/* Accepts NULL. */
void safety_free(struct safety *s);
const struct sim_watch *safety_watch(const struct safety *s);

struct safety_violation {
    uint64_t time_us;
    uint32_t host;
    const char *rule;
    char text[400];
};
/* NULL while all is well. */
const struct safety_violation *safety_violation(const struct safety *s);
/* A check of the caller's own failed. */
void safety_fail(struct safety *s, uint32_t host, const char *rule, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What the disk of this host held is gone, and what was promised on the strength of it. */
void safety_forget_disk(struct safety *s, uint32_t host);

/* Clocks have left the drift bound: leases are not checked any more. */
void safety_forget_leases(struct safety *s);

/* What is committed, as far as any node has seen. */
raft_index safety_committed(const struct safety *s);
/* The index at which the command that carries this value took effect; 0: not yet. A command of the
 * simulated clients is ["set", {key =, value =}], each value unique. */
raft_index safety_command_index(const struct safety *s, struct bytes value);

struct safety_stats {
    uint64_t steps;
    uint64_t elections;
    uint64_t restarts;
    uint64_t applied;
    uint64_t snapshots; /* for which a log was compacted */
    uint64_t installs;
    raft_term term_max;
    uint64_t commits_told; /* to hooks */
    uint64_t gaps_told;
    uint64_t leader_slices;
    uint64_t ends[SIM_ENDS];     /* of processes, by enum sim_end */
    uint64_t refused[ERR_COUNT]; /* starts, by reason */
    uint64_t received[RAFT_MESSAGE_COUNT];
    uint64_t certificates;
    uint64_t duplicates; /* commands that came again, and were known */
    uint64_t configs;    /* committed */
    uint64_t restored;   /* states that were compared with those of replaying */
};
const struct safety_stats *safety_stats(const struct safety *s);

#endif
