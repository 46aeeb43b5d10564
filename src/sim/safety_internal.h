/* What the parts of the checker share. Private.
 *
 *     safety.c          the watch, roles, terms and votes, leases
 *     safety_log.c      what the logs hold, what is committed and applied
 *     safety_durable.c  what the disks hold, what was promised
 *     safety_scripts.c  what scripts are told, and when they work
 *     safety_load.c     how much waits in memory */
#ifndef MK_SIM_SAFETY_INTERNAL_H
#define MK_SIM_SAFETY_INTERNAL_H

#include "sim/safety.h"
#include "sim/sim_map.h"
#include "wire/raft_codec.h"

/* A write asked for by the core and not known to be durable. */
struct pending_write {
    uint64_t jobs_started; /* a disk job must have begun after these to have carried it */
    bool hard_state;
    raft_term term;
    raft_id vote;
    raft_index truncate_from, lo, hi;
};

/* Where a commit hook of a process stands. */
struct told_commits {
    uint64_t cursor;
    uint64_t last; /* index */
};

/* [from, to]: commits that the hooks of a process will not be told. */
struct told_gap {
    raft_index from, to;
};

/* What the checker knows of one host. */
struct watched {
    const struct node *node; /* NULL: no process */
    /* As of the last step of this process. */
    enum raft_role role;
    raft_term term;
    raft_id vote;
    raft_index commit_index;
    raft_index last_applied;
    int64_t applied_time_ms;
    raft_term leader_since; /* elected in this term and not yet checked for completeness */
    uint64_t heard_from;    /* followers whose progress changed: a set of bits */

    /* safety_log.c: the log by hash of each prefix. hashes[i] is that of [1, i]. */
    uint64_t *hashes;
    uint32_t *voters; /* in effect after entry i: a set of hosts */
    raft_index length;
    size_t capacity;

    /* safety_durable.c: what the disk must hold, at most. */
    struct pending_write *writes;
    size_t writes_count, writes_capacity;
    raft_term durable_term;
    raft_id durable_vote;
    raft_index durable_index;
    /* What was promised to others: outlives every process. */
    raft_term promised_term;
    raft_index promised_index;
    uint64_t promised_hash; /* of the prefix up to promised_index */

    /* safety_scripts.c: of this process. */
    struct told_commits *told;
    size_t told_count, told_capacity;
    struct told_gap *gaps;
    size_t gaps_count, gaps_capacity;
};

struct committed {
    uint64_t hash;         /* of the prefix */
    raft_term term;        /* in which it was seen to be committed, first */
    uint64_t applied_hash; /* entry, outcome and state, once some node applied it; else 0 */
    uint64_t state_hash;   /* of the state after it, likewise */
};

struct safety {
    struct world *world;
    struct timeline *timeline;
    struct safety_options options;
    struct sim_watch watch;
    bool failed;
    struct safety_violation violation;
    struct watched hosts[SIM_NET_HOSTS_MAX];
    struct sim_map leaders;      /* (term, 0) -> host + 1 */
    struct sim_map votes;        /* (host, term) -> candidate */
    struct sim_map prefixes;     /* (index, term) -> hash of the prefix */
    struct sim_map configs;      /* (hash of a prefix that ends in one, 0) -> voters */
    struct sim_map commands;     /* (session, number) or (value, 1) -> index */
    struct committed *committed; /* by index */
    raft_index committed_count;  /* [1, committed_count] */
    size_t committed_capacity;
    uint64_t work_token;         /* the newest leadership under which leader-only work has run */
    struct raft_decoded decoded; /* scratch */
    struct raft_status status;   /* scratch */
    struct safety_stats stats;
};

uint64_t safety_hash(uint64_t a, uint64_t b);

/* safety_log.c */
void safety_log_started(struct safety *s, uint32_t host);
/* The core asked for a write: entries may have gone. */
void safety_log_truncated(struct safety *s, uint32_t host, raft_index from);
/* Take in what the node has appended, then hold the log against the others. */
void safety_log_handled(struct safety *s, uint32_t host);
void safety_log_applied(struct safety *s, uint32_t host, struct raft_pos pos,
                        const struct entry *entry, enum err outcome, bool duplicate);
/* What the log of this host was is replaced by a snapshot that ends with base, or begins after it.
 */
void safety_log_replaced(struct safety *s, uint32_t host, struct raft_pos base);
/* Its state is that of a snapshot which ends with this entry. */
void safety_log_restored(struct safety *s, uint32_t host, raft_index last);
/* Who votes by the last configuration in the host's log: a set of hosts. */
uint32_t safety_log_voters(const struct safety *s, uint32_t host);
uint64_t safety_log_hash(const struct safety *s, uint32_t host, raft_index index);

/* safety_scripts.c */
void safety_scripts_watch(struct sim_watch *watch);
void safety_scripts_started(struct safety *s, uint32_t host);

/* safety_load.c */
void safety_load_handled(struct safety *s, uint32_t host);

/* safety_durable.c */
void safety_durable_started(struct safety *s, uint32_t host);
/* A snapshot took the place of its log, on disk too. */
void safety_durable_replaced(struct safety *s, uint32_t host, raft_index last);
void safety_durable_asked(struct safety *s, uint32_t host, const struct raft_effects *effects);
void safety_durable_synced(struct safety *s, uint32_t host, uint64_t ordinal);
void safety_durable_sent(struct safety *s, uint32_t host, const struct raft_message *m);
/* Would this prefix survive on a majority of disks? */
bool safety_durable_on_majority(const struct safety *s, uint32_t voters, raft_index index,
                                uint64_t hash);

#endif
