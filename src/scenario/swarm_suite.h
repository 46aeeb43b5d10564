/* A run of `moonkeeper test --swarm`: many seeds of the swarm (sim/swarm.h), a process for each. */
#ifndef MK_SCENARIO_SWARM_SUITE_H
#define MK_SCENARIO_SWARM_SUITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "sim/swarm.h"

struct swarm_suite;

struct swarm_suite_options {
    uint64_t first_seed, seeds;
    uint32_t jobs;      /* 0: as many as there are processors, or one with a trace */
    bool twice;         /* each seed in two processes, which must leave the same trace hash */
    const char *trace;  /* a file that every step is appended to; NULL: none */
    uint64_t limit_ms;  /* of one run, in real time; 0: the default */
    uint64_t fails_max; /* after so many failed seeds no further ones are begun; 0: no limit */
    /* A seed has been run. report: what went wrong, for people; empty: nothing did. */
    void (*done)(void *ctx, const struct swarm_suite *s, uint64_t seed, struct bytes report);
    void *ctx;
};

struct swarm_suite_knob {
    uint64_t times; /* in all seeds */
    uint64_t seeds; /* in which it was not 0 */
};

/* What the runs came to so far. */
struct swarm_suite {
    uint64_t done, passed, failed; /* seeds */
    uint64_t unjudged;             /* histories that were too hard to judge */
    uint64_t trace_hash;           /* of all seeds, in any order */
    uint64_t simulated_us, took_us;
    uint64_t recovery_max_us;
    struct swarm_suite_knob knobs[SWARM_KNOBS];
};

/* Errors: IO (no process, no pipe). */
enum err swarm_suite_run(const struct swarm_suite_options *options, struct swarm_suite *out,
                         struct why *why);

#endif
