/* What the files of the simulated target share. Private to target_sim*.c. */
#ifndef MK_SCENARIO_TARGET_SIM_INTERNAL_H
#define MK_SCENARIO_TARGET_SIM_INTERNAL_H

#include <sys/queue.h>

#include "scenario/target.h"
#include "sim/cluster.h"

struct stage_sim {
    struct stage stage;
    uint64_t seed;
    uint64_t now_us;
    uint64_t opened; /* targets, ever */
    bool happened;   /* something that stage_run() has to return for */
    LIST_HEAD(, target_sim) targets;
};

/* Somebody waits for a process to start or to end. */
struct await {
    LIST_ENTRY(await) link;
    uint32_t host;
    bool start;
    node_reply_fn reply;
    void *ctx;
};

/* The opaque command that was applied at index, on whatever node came first. */
struct opaque_applied {
    raft_index index;
    struct slice command;
};

struct target_sim {
    struct target target;
    struct stage_sim *stage;
    const struct target_options *options;
    struct cluster *cluster;
    LIST_HEAD(, await) awaits;
    struct why refusals[TARGET_NODES_MAX]; /* why the last start was refused */
    enum err refused[TARGET_NODES_MAX];
    /* In order of index. */
    struct opaque_applied *opaque;
    size_t opaque_count, opaque_capacity;
    struct script_app scripts[TARGET_SCRIPTS_MAX];
    /* Instead, of node i at [i - 1]. */
    struct script_app reloaded[TARGET_NODES_MAX][TARGET_SCRIPTS_MAX];
    struct buffer failure; /* for people */
    uint32_t calls;        /* unanswered */
    LIST_HEAD(, sim_http_ask) http_asks;
    bool closing;
    LIST_ENTRY(target_sim) link;
};

static inline struct target_sim *target_sim_of(struct target *t)
{
    return (struct target_sim *)t;
}

static inline const struct target_sim *target_sim_of_const(const struct target *t)
{
    return (const struct target_sim *)t;
}

/* Hosts are counted from 0. */
static inline struct sim_process *target_sim_process(const struct target_sim *t, uint32_t node)
{
    return cluster_host(t->cluster, node - 1);
}

/* ---- target_sim_ask.c ---- */

void target_sim_call(struct target *t, uint32_t node, const char *method, struct bytes params,
                     node_reply_fn reply, void *ctx);
void target_sim_control(struct target *t, uint32_t node, const char *method, struct bytes params,
                        node_reply_fn reply, void *ctx);
void target_sim_events(struct target *t, const struct target_events_filter *filter,
                       node_reply_fn reply, void *ctx);
/* For cluster_options.applied; ctx is the target. */
void target_sim_applied(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                        enum err outcome, bool duplicate);

/* ---- target_sim_faults.c ---- */

void target_sim_cut(struct target *t, struct target_link link, bool cut);
void target_sim_delay(struct target *t, struct target_link link, const struct target_delay *rule);
void target_sim_drop(struct target *t, struct target_link link, const struct target_drop *rule);
void target_sim_heal(struct target *t);
struct target_rpcs target_sim_rpcs(const struct target *t, uint32_t node, unsigned types);
enum err target_sim_skew(struct target *t, uint32_t node, int64_t offset_ms, int32_t ppm,
                         struct why *why);
void target_sim_set_wall(struct target *t, uint32_t node, int64_t wall_ms);
enum err target_sim_disk(struct target *t, uint32_t node, const struct target_disk *fault,
                         struct why *why);

/* ---- target_sim_http.c ---- */

struct http_servers *target_sim_http_servers(struct target *target);
void target_sim_http(struct target *t, uint32_t node, const struct target_http *request,
                     node_reply_fn reply, void *ctx);
/* After the cluster is freed: those whose time never came. */
void target_sim_http_close(struct target_sim *t);

/* ---- target_sim_reload.c ---- */

void target_sim_reload(struct target *t, uint32_t node, const struct target_options *scripts,
                       node_reply_fn reply, void *ctx);
/* Those of options, of which they borrow. */
void target_sim_list_scripts(const struct target_options *o,
                             struct script_app out[TARGET_SCRIPTS_MAX]);

/* ---- target_sim_programs.c ---- */

void target_sim_program(struct target *t, const struct target_program *program);
void target_sim_programs(struct target *t, struct buffer *out);

#endif
