/* Simulated clients: each sets or gets one register at a time on some node, waits, tries again
 * elsewhere when it hears nothing, and holds what it hears against what it has the right to expect:
 *
 *   - an acknowledged set has taken effect, once, and stays (safety.h has where);
 *   - it took effect after everything that was complete before it began;
 *   - a get returns what was set last, as of some moment between its beginning and its end: never a
 *     value older than one that was set, or read, before it began.
 *
 * With the order of the log as the witness this is linearizability. The history is kept for the
 * checker that needs no witness (sim/linearizability.h). The registers are keys of the replicated
 * machine that ships as mk.kv. */
#ifndef MK_SIM_SIM_CLIENT_H
#define MK_SIM_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/history.h"
#include "sim/safety.h"
#include "sim/sim_process.h"
#include "sim/world.h"

struct sim_clients_options {
    uint32_t clients;
    uint32_t registers;
    struct sim_span pause;    /* between two operations of one client */
    struct sim_span patience; /* before a client turns to another node */
    double gets;              /* share of operations that are gets */
    double lease_gets;        /* share of the gets that may be served by a lease */
    double local_gets; /* share served by any node from what it has: no right answers. For tests of
                          the checkers. */
    bool unwitnessed;  /* do not hold answers against the order of the log */
    double keyed;      /* share of the sets that carry a key of their own and may be repeated */
    uint32_t attempts_max;
    uint32_t value_bytes; /* padding of values */
};

struct sim_clients;

struct sim_clients *sim_clients_new(struct world *w, struct safety *safety,
                                    struct sim_process *const *hosts, uint32_t hosts_count,
                                    const struct sim_clients_options *options);
/* Accepts NULL. The processes must have been freed before: they still answer. */
void sim_clients_free(struct sim_clients *c);
/* Begin to work; go on after a stop. */
void sim_clients_start(struct sim_clients *c);
/* No new operations. */
void sim_clients_stop(struct sim_clients *c);

struct sim_clients_stats {
    uint64_t sets_done, gets_done, unknown, attempts;
};
const struct sim_clients_stats *sim_clients_stats(const struct sim_clients *c);
/* What the clients have seen so far; places are microseconds of true time. Borrowed. */
const struct history *sim_clients_history(const struct sim_clients *c);

#endif
