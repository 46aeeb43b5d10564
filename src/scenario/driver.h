/* What stands between a test in Lua and its clusters. Private to the driver*.c and to scenario.c.
 *
 * driver.c runs the test's script host and lets time go on; driver_requests.c has what the test
 * asks for carried out by a verb (verbs.h). */
#ifndef MK_SCENARIO_DRIVER_H
#define MK_SCENARIO_DRIVER_H

#include <stdio.h>

#include "base/log.h"
#include "base/rng.h"
#include "scenario/kv_history.h"
#include "scenario/scenario.h"
#include "scenario/target.h"
#include "script/script.h"

/* A cluster of the test, also after it was closed. */
struct driver_cluster {
    struct target_options options;
    struct target *target; /* NULL: closed */
    struct kv_history *history;
    struct target_options
        *reloaded[TARGET_NODES_MAX]; /* scripts of node i at [i - 1]; NULL: those of all */
    bool has_others;      /* scripts or eval, which may write to kv: its history is not the whole */
    bool abandoned;       /* not to be checked any more: left behind by an error, or ended */
    bool ended;           /* checked, to be closed */
    struct buffer closed; /* the end of its timeline, once it is closed */
    FILE *trace;          /* c:trace() */
};

enum { DRIVER_CLUSTERS_MAX = 1000 };

struct driver {
    const struct scenario_run *run;
    struct scenario_file *file; /* being loaded; NULL: a case is run */
    struct scenario_result *result;
    struct stage *stage;
    struct script_host *host;
    struct clock_port clock;
    struct entropy_port entropy;
    struct log log;
    struct rng rng;
    struct driver_cluster **clusters;
    uint32_t clusters_count;
    uint64_t deadline_us;
    bool woken; /* the host has something to do */
    bool ended; /* the test, or the loading; the result is there */
};

/* The test has failed, for this reason; only the first one counts. */
void driver_fail(struct driver *d, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Let time go on until *flag is set, whatever the test is doing, for this long at most. */
bool driver_await(struct driver *d, const bool *flag, uint64_t at_most_us);

/* ---- driver_requests.c ---- */

/* For script_options.request; ctx is the driver. */
void driver_request(void *ctx, struct script_request *request_take);

/* ---- verbs_cluster.c ---- */

/* Stop a cluster; what was still running is checked before if it is not abandoned. done(ctx, why):
 * NULL if all was well. */
void driver_cluster_end(struct driver *d, struct driver_cluster *c,
                        void (*done)(void *ctx, const char *why), void *ctx);
/* Close those that have ended. Not from inside a reply of a target. */
void driver_close_ended(struct driver *d);
/* The test has failed: leave what can be looked at. */
void driver_cluster_keep(struct driver_cluster *c);
/* Free it, at once. */
void driver_cluster_free(struct driver_cluster *c);

#endif
