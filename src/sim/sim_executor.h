/* The disk thread of one simulated process: runs jobs one at a time, each taking simulated time.
 *
 * A job's run() is called when the job starts, all its work at once; it is reported finished when
 * its time has passed. A crash in between goes back to some point in the middle (sim_fs.h). */
#ifndef MK_SIM_SIM_EXECUTOR_H
#define MK_SIM_SIM_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "port/executor.h"
#include "sim/sim_fs.h"
#include "sim/sim_net.h"
#include "sim/world.h"

struct sim_disk_rule {
    struct sim_span job;
    double stall; /* chance that a job takes stall_extra longer */
    struct sim_span stall_extra;
};

/* In place, owned by the process. */
struct sim_executor {
    struct world *world;
    struct sim_fs *fs;
    struct rng rng;
    struct sim_disk_rule rule; /* may be changed at any time */
    struct executor_port port;
    struct executor_job *first, *last; /* waiting */
    struct executor_job *running;
    bool starting;        /* the call that starts the next job is scheduled */
    uint64_t generation;  /* of the process: calls for an earlier one are stale */
    uint64_t started;     /* jobs, in the life of the host */
    uint64_t syncs;       /* of the disk, before the running job */
    uint64_t stall_until; /* no job finishes before */
    uint64_t slower_us;   /* each job takes that much longer */
    bool tear; /* the next job that writes is cut in two: torn() is called in its middle */
    void (*torn)(void *ctx);
    /* The job is done: its done() is to be called, on the process's loop. synced: it made at least
     * one successful sync. */
    void (*finished)(void *ctx, struct executor_job *job, uint64_t ordinal, bool synced);
    void *ctx;
};

void sim_executor_init(struct sim_executor *e, struct world *world, struct sim_fs *fs,
                       const struct sim_disk_rule *rule);
/* The process is gone: its jobs are forgotten, the one under way too. The disk must be told. */
void sim_executor_reset(struct sim_executor *e);
/* The disk hangs: nothing finishes within the next stall_us. */
void sim_executor_stall(struct sim_executor *e, uint64_t stall_us);

#endif
