/* A simulated cluster: world, network, hosts, checker and clients put together. What scenarios and
 * the swarm drive. */
#ifndef MK_SIM_CLUSTER_H
#define MK_SIM_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/events.h"
#include "sim/safety.h"
#include "sim/sim_client.h"
#include "sim/sim_net.h"
#include "sim/sim_process.h"
#include "sim/timeline.h"
#include "sim/world.h"

struct cluster;

enum { CLUSTER_NOBODY = UINT32_MAX };
#define CLUSTER_NAME "simulated"

struct cluster_options {
    uint64_t seed;
    uint32_t nodes;  /* the first members, all of them voters */
    uint32_t spares; /* hosts beyond them, which may be added */
    struct raft_options raft;
    bool datagrams;
    struct sim_net_rule net;
    struct sim_disk_rule disk;
    uint64_t segment_bytes;
    uint64_t cache_bytes_max; /* 0: the node's default */
    uint32_t pending_max;     /* likewise */
    struct node_snapshot_options snapshot;
    /* Scripts of every node, and their limits (0: the host's defaults). A script that cannot be
     * loaded is a violation. Borrowed for the life of the cluster. */
    const struct script_app *scripts;
    uint32_t scripts_count;
    const struct zones_port *zones; /* for them; NULL: there is UTC alone */
    struct script_limits script_limits;
    bool evals; /* sim_process_eval() also where there are no scripts */
    /* Clock rates of the hosts. */
    int32_t rate_ppm[SIM_NET_HOSTS_MAX];
    bool leases; /* the rates are within the drift bound: check that leases exclude each other */
    struct sim_clients_options clients;
    /* See struct safety_options. */
    void (*promised)(void *ctx, uint32_t host);
    void *promised_ctx;
    void (*in_transfer)(void *ctx, uint32_t host);
    void *in_transfer_ctx;
    /* The machine "kv" that the first leader installs; NULL: the one that ships. */
    const char *kv_source;
    size_t kv_source_size;
    /* See struct safety_options. */
    void (*refused)(void *ctx, uint32_t host, enum err err, const char *why);
    void (*applied)(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                    enum err outcome, bool duplicate);
    void *told_ctx;
    /* Told each line of the timeline as it happens; NULL: none. */
    void (*live)(void *ctx, const char *line);
    void *live_ctx;
};

/* Sound values: three nodes, a quick and faithful network and disk, elections after 150-300 ms,
 * three clients. */
struct cluster_options cluster_defaults(uint64_t seed);

/* All hosts are down; cluster_boot_all() starts them. */
struct cluster *cluster_new(const struct cluster_options *options);
/* Accepts NULL. */
void cluster_free(struct cluster *c);

struct world *cluster_world(struct cluster *c);
struct sim_net *cluster_net(struct cluster *c);
struct safety *cluster_safety(struct cluster *c);
/* What its scripts may run, and what they have run. */
struct sim_programs *cluster_programs(const struct cluster *c);
/* Whom its scripts may ask, and what was received there. */
struct http_servers *cluster_http_servers(const struct cluster *c);
/* What nodes told their hooks, in order. */
const struct events *cluster_events(const struct cluster *c);
struct sim_clients *cluster_clients(struct cluster *c);
struct sim_process *cluster_host(struct cluster *c, uint32_t host);
uint32_t cluster_nodes(const struct cluster *c); /* hosts, spares included */
/* Those it begins with. Its name is CLUSTER_NAME. */
const struct membership *cluster_members(const struct cluster *c);
/* As the leader sees it; false if there is none. */
bool cluster_is_member(const struct cluster *c, uint32_t host);

/* False: an invariant was violated, see cluster_report(). */
bool cluster_run(struct cluster *c, uint64_t for_us);
/* Runs until there is a leader whose no-op is committed, at most that long. Its host, or NOBODY. */
uint32_t cluster_await_leader(struct cluster *c, uint64_t at_most_us);
/* Runs until one more command than now is committed everywhere that runs. */
bool cluster_await_progress(struct cluster *c, uint64_t at_most_us);
/* Runs until all running nodes have applied the same. */
bool cluster_await_agreement(struct cluster *c, uint64_t at_most_us);
/* Have all running nodes applied the same? */
bool cluster_agreed(const struct cluster *c);
/* The leader of the highest term among the running, or NOBODY. */
uint32_t cluster_leader(const struct cluster *c);
raft_term cluster_term(const struct cluster *c); /* the highest */

/* Start every host that is down. */
void cluster_boot_all(struct cluster *c);
/* Cut a host off from all others, both ways. */
void cluster_isolate(struct cluster *c, uint32_t host);
/* Every path and disk works again, everything paused goes on. Starts nothing. */
void cluster_heal(struct cluster *c);
/* Ask a host for a leadership transfer to another; to CLUSTER_NOBODY: to whom it likes. */
void cluster_transfer(struct cluster *c, uint32_t host, uint32_t target);
/* Ask a host to take a snapshot, without waiting for the answer. */
void cluster_ask_snapshot(struct cluster *c, uint32_t host, uint64_t timeout_us);
/* Tell each line of the timeline as it happens, from now on; NULL: to nobody. */
void cluster_set_live(struct cluster *c, void (*live)(void *ctx, const char *line), void *ctx);
/* The last lines_max lines of the timeline. */
void cluster_timeline(struct cluster *c, uint32_t lines_max, struct buffer *out);

struct cluster_change {
    enum cluster_change_kind { CLUSTER_ADD, CLUSTER_PROMOTE, CLUSTER_REMOVE } kind;
    uint32_t host;
    uint64_t timeout_us;
};
/* Ask the node on host `through` for a change of the membership, and run until it answers. */
enum err cluster_change(struct cluster *c, uint32_t through, struct cluster_change change);
/* The same, without waiting for the answer. */
void cluster_ask_change(struct cluster *c, uint32_t through, struct cluster_change change);
/* A new, empty disk for a host that is down. */
void cluster_wipe(struct cluster *c, uint32_t host);

/* A line for the timeline. */
void cluster_note(struct cluster *c, uint32_t host, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is what the clients saw linearizable? The order of the log is no witness here. False: it is not,
 * and that is reported as a violation; or the checker gave up, which is none. */
bool cluster_check_history(struct cluster *c);

/* What was violated, and what had happened before: text for people. Nothing if all is well. */
void cluster_report(struct cluster *c, struct buffer *out);

#endif
