#include "sim/swarm.h"

#include "sim/sim_disk.h"
#include "sim/swarm_draw.h"
#include "sim/swarm_script.h"

enum { MS = 1000 };

/* ---- the second phase ----------------------------------------------------------------------- */

/* Faults end; paths and disks are what a healthy network and disk are. */
static void make_well(struct cluster *c)
{
    const struct cluster_options sound = cluster_defaults(0);
    uint32_t hosts = cluster_nodes(c);
    for (uint32_t i = 0; i < hosts; i++) {
        struct sim_process *p = cluster_host(c, i);
        sim_process_executor(p)->rule = sound.disk;
        sim_disk_fault(p, &(struct sim_disk_fault){.kind = SIM_DISK_OK}, NULL);
        for (uint32_t j = 0; j < hosts; j++) {
            *sim_net_rule(cluster_net(c), i, j) = sound.net;
        }
    }
    cluster_heal(c);
    cluster_boot_all(c);
    sim_clients_start(cluster_clients(c)); /* they may have been at rest */
}

/* Is it to take part in the end? Not who was removed, nor whose disk rots and was found out. */
static bool belongs(struct cluster *c, uint32_t host)
{
    struct sim_process *p = cluster_host(c, host);
    bool rotten = sim_fs_was_flipped(sim_process_disk(p)) && !sim_process_running(p);
    return !rotten && (cluster_leader(c) == CLUSTER_NOBODY || cluster_is_member(c, host));
}

/* A moment more. Nodes that were on their way to an end when all was healed are started again. */
static bool go_on(struct cluster *c)
{
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        if (belongs(c, i) && sim_process_down(cluster_host(c, i))) {
            sim_process_boot(cluster_host(c, i));
        }
    }
    return cluster_run(c, 10 * MS);
}

static bool await_commit(struct cluster *c, uint64_t at_most_us)
{
    const struct sim_clients_stats *stats = sim_clients_stats(cluster_clients(c));
    uint64_t sets = stats->sets_done;
    uint64_t until_us = world_now_us(cluster_world(c)) + at_most_us;
    while (stats->sets_done == sets) {
        if (world_now_us(cluster_world(c)) >= until_us || !go_on(c)) {
            return false;
        }
    }
    return true;
}

static bool all_running(struct cluster *c)
{
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        if (belongs(c, i) && !sim_process_running(cluster_host(c, i))) {
            return false;
        }
    }
    return true;
}

/* Of all nodes; what is down has applied nothing. */
static uint64_t sum_of_applied(struct cluster *c)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        const struct node *n = sim_process_node(cluster_host(c, i));
        sum += n != NULL ? node_last_applied(n) : 0;
    }
    return sum;
}

/* Whoever lags catches up at the pace that its windows allow: what is bounded is standing still. */
static bool await_agreement(struct cluster *c, uint64_t at_most_us)
{
    uint64_t most = 0;
    uint64_t moved_us = world_now_us(cluster_world(c));
    while (!all_running(c) || !cluster_agreed(c)) {
        uint64_t now_us = world_now_us(cluster_world(c));
        uint64_t applied = sum_of_applied(c);
        if (applied > most) {
            most = applied;
            moved_us = now_us;
        }
        if (now_us >= moved_us + at_most_us || !go_on(c)) {
            return false;
        }
    }
    return true;
}

static void run_liveness(struct cluster *c, const struct swarm_draw *d, struct swarm_result *result)
{
    struct safety *safety = cluster_safety(c);
    cluster_note(c, TIMELINE_WORLD, "liveness phase: faults have ended");
    make_well(c);
    uint64_t healed_us = world_now_us(cluster_world(c));
    if (!await_commit(c, d->recovery_us)) {
        safety_fail(safety, 0, "liveness", "%.3f s after all was healed nothing is committed",
                    (double)d->recovery_us / 1e6);
        return;
    }
    result->recovery_us = world_now_us(cluster_world(c)) - healed_us;
    sim_clients_stop(cluster_clients(c));
    if (!await_agreement(c, d->recovery_us)) {
        safety_fail(safety, 0, "liveness",
                    "for %.3f s nothing has moved, and the nodes have not come to the same state",
                    (double)d->recovery_us / 1e6);
    }
}

/* ---- counting ------------------------------------------------------------------------------- */

static void count_drawn(const struct cluster_options *o, uint64_t *knobs)
{
    knobs[SWARM_NODES_1 + o->nodes - 1] = 1;
    knobs[SWARM_SPARES] = o->spares > 0;
    knobs[o->datagrams ? SWARM_DATAGRAMS : SWARM_CONNECTIONS] = 1;
    knobs[o->leases ? SWARM_CLOCKS_WITHIN : SWARM_CLOCKS_BEYOND] = 1;
    knobs[SWARM_PREVOTE_OFF] = !o->raft.prevote;
    knobs[SWARM_CHECK_QUORUM_OFF] = !o->raft.check_quorum;
    knobs[SWARM_LEASE_OFF] = !o->raft.lease;
    knobs[SWARM_FAST_FAILOVER_OFF] = !o->raft.fast_failover;
    knobs[SWARM_SCRIPTS] = o->scripts_count > 0;
}

static void count_network(struct cluster *c, uint64_t *knobs)
{
    const struct sim_net_stats *net = sim_net_stats(cluster_net(c));
    knobs[SWARM_FRAMES_LOST] = net->lost;
    knobs[SWARM_FRAMES_DOUBLED] = net->duplicated;
    knobs[SWARM_FRAMES_LATE] = net->late;
    knobs[SWARM_CONNECTIONS_BROKEN] = net->breaks;
}

static void count_disks(struct cluster *c, uint64_t *knobs)
{
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        const struct sim_fs_felt felt = sim_fs_felt(sim_process_disk(cluster_host(c, i)));
        knobs[SWARM_DISK_FAILED] += felt.failed;
        knobs[SWARM_DISK_NO_ROOM] += felt.no_room;
    }
}

static void count_raft(struct cluster *c, uint64_t *knobs)
{
    const struct safety_stats *s = safety_stats(cluster_safety(c));
    knobs[SWARM_ELECTIONS] = s->elections;
    knobs[SWARM_TIMEOUT_NOW] = s->received[RAFT_MESSAGE_TIMEOUT_NOW];
    knobs[SWARM_CERTIFICATES] = s->certificates;
    knobs[SWARM_CONFIGS] = s->configs;
    knobs[SWARM_COMPACTIONS] = s->snapshots;
    knobs[SWARM_INSTALLS] = s->installs;
    knobs[SWARM_RESTORED] = s->restored;
    knobs[SWARM_ENDS_CRASH] = s->ends[SIM_END_CRASH];
    knobs[SWARM_ENDS_GUARDIAN] = s->ends[SIM_END_GUARDIAN];
    knobs[SWARM_ENDS_HOST] = s->ends[SIM_END_HOST];
    knobs[SWARM_ENDS_STOPPED] = s->ends[SIM_END_STOPPED];
    knobs[SWARM_ENDS_FAILED] = s->ends[SIM_END_FAILED];
    knobs[SWARM_REFUSED_CORRUPT] = s->refused[ERR_CORRUPT];
    knobs[SWARM_REFUSED_OTHER] = s->refused[ERR_IO] + s->refused[ERR_NO_SPACE];
    knobs[SWARM_DUPLICATES] = s->duplicates;
}

static void count_clients(struct cluster *c, uint64_t *knobs)
{
    const struct safety_stats *s = safety_stats(cluster_safety(c));
    const struct sim_clients_stats *clients = sim_clients_stats(cluster_clients(c));
    uint64_t operations = clients->sets_done + clients->gets_done + clients->unknown;
    knobs[SWARM_SETS] = clients->sets_done;
    knobs[SWARM_GETS] = clients->gets_done;
    knobs[SWARM_UNKNOWN] = clients->unknown;
    knobs[SWARM_RETRIES] = clients->attempts > operations ? clients->attempts - operations : 0;
    knobs[SWARM_COMMITS_TOLD] = s->commits_told;
    knobs[SWARM_GAPS_TOLD] = s->gaps_told;
    knobs[SWARM_LEADER_SLICES] = s->leader_slices;
}

static void count(struct cluster *c, const struct swarm_draw *d, const struct faults *faults,
                  uint64_t *knobs)
{
    count_drawn(&d->cluster, knobs);
    count_network(c, knobs);
    count_disks(c, knobs);
    count_raft(c, knobs);
    count_clients(c, knobs);
    for (uint32_t i = 0; i < FAULT_COUNT; i++) {
        knobs[SWARM_FAULTS + i] = faults->count[i];
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void prepare(struct swarm_draw *d, const struct swarm_options *options,
                    struct faults *faults)
{
    d->cluster.promised = faults_promised;
    d->cluster.promised_ctx = faults;
    d->cluster.in_transfer = faults_in_transfer;
    d->cluster.in_transfer_ctx = faults;
    d->cluster.live = options->live;
    d->cluster.live_ctx = options->live_ctx;
}

void swarm_run(const struct swarm_options *options, struct swarm_result *result, struct buffer *out)
{
    struct rng rng;
    rng_seed(&rng, options->seed ^ UINT64_C(0x5357524d));
    struct swarm_draw d = swarm_draw(&rng, options->seed);
    struct swarm_script script;
    struct rng script_rng; /* its own: runs without scripts stay what they were */
    rng_seed(&script_rng, options->seed ^ UINT64_C(0x4c7561));
    swarm_script_draw(&script, &script_rng, &d.cluster);
    struct faults faults = {0};
    prepare(&d, options, &faults);

    struct cluster *c = cluster_new(&d.cluster);
    if (options->under_way != NULL) {
        *options->under_way = c;
    }
    faults_init(&faults, c, &d.plan, rng_next(&rng));
    cluster_boot_all(c);
    sim_clients_start(cluster_clients(c));
    faults_start(&faults);
    bool sound = cluster_run(c, d.safety_us);
    faults_stop(&faults);
    *result = (struct swarm_result){.ok = true};
    if (sound) {
        run_liveness(c, &d, result);
    }
    bool undisputed = safety_violation(cluster_safety(c)) == NULL;
    result->history_judged = undisputed && cluster_check_history(c);
    result->ok = safety_violation(cluster_safety(c)) == NULL;
    result->trace_hash = world_trace_hash(cluster_world(c));
    result->simulated_us = world_now_us(cluster_world(c));
    count(c, &d, &faults, result->knobs);
    if (!result->ok) {
        cluster_report(c, out);
    }
    if (options->under_way != NULL) {
        *options->under_way = NULL;
    }
    cluster_free(c);
    swarm_script_close(&script);
}
