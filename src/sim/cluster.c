#include "sim/cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/embed.h"
#include "sim/http_servers.h"
#include "sim/linearizability.h"
#include "sim/sim_programs.h"
#include "wire/writer.h"

enum {
    REPORT_LINES = 50,
    LOOK_EVERY_US = 1000,
    MS = 1000,
    DEFAULT_PENDING_MAX = 65536, /* of struct node_options */
    DEFAULT_CACHE_BYTES = 16 << 20,
};

struct cluster {
    struct cluster_options options;
    uint32_t hosts_count;
    struct world *world;
    struct timeline *timeline;
    struct sim_net *net;
    struct safety *safety;
    struct events *events;
    struct sim_programs *programs;
    struct http_servers *http_servers;
    struct sim_clients *clients;
    struct membership members; /* initial */
    raft_id ids[SIM_NET_HOSTS_MAX];
    char names[SIM_NET_HOSTS_MAX][16];
    char addresses[SIM_NET_HOSTS_MAX][32];
    struct sim_process *hosts[SIM_NET_HOSTS_MAX];
};

struct cluster_options cluster_defaults(uint64_t seed)
{
    return (struct cluster_options){
        .seed = seed,
        .nodes = 3,
        .raft =
            {
                .election_min_us = 150 * MS,
                .election_max_us = 300 * MS,
                .heartbeat_us = 50 * MS,
                .lease_us = 150 * MS,
                .drift_permille = 100,
                .window_entries = 256,
                .window_bytes = 1 << 20,
                .append_entries_max = 64,
                .append_bytes_max = 256 << 10,
                .uncommitted_bytes_max = 4 << 20,
                .transfer_timeout_us = 150 * MS,
                .prevote = true,
                .check_quorum = true,
                .lease = true,
                .fast_failover = true,
            },
        .net = {.latency = {.min_us = 200, .max_us = 2000}},
        .disk = {.job = {.min_us = 100, .max_us = 1000}},
        .segment_bytes = 256 << 10,
        .leases = true,
        .clients =
            {
                .clients = 3,
                .registers = 4,
                .pause = {.min_us = 1 * MS, .max_us = 40 * MS},
                .patience = {.min_us = 200 * MS, .max_us = 600 * MS},
                .gets = 0.4,
                .lease_gets = 0.5,
                .keyed = 0.7,
                .attempts_max = 12,
                .value_bytes = 8,
            },
    };
}

static void name_hosts(struct cluster *c, struct membership *members)
{
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        snprintf(c->names[i], sizeof c->names[i], "n%u", i + 1);
        c->ids[i] = i + 1; /* short in the timeline */
        snprintf(c->addresses[i], sizeof c->addresses[i], "10.0.0.%u:7118", i + 1);
        if (i >= c->options.nodes) {
            continue; /* it waits until it is added */
        }
        struct membership_member *m = &members->at[members->count++];
        *m = (struct membership_member){.id = c->ids[i], .voter = true};
        memcpy(m->name, c->names[i], sizeof c->names[i]);
        memcpy(m->address, c->addresses[i], sizeof c->addresses[i]);
    }
}

/* What "n4" is called for short. */
static raft_id id_of_name(const char *name)
{
    return strtoull(name + 1, NULL, 10);
}

static void make_host(struct cluster *c, uint32_t i, const struct membership *members)
{
    const struct cluster_options *o = &c->options;
    const struct bytes kv = embed_find("moonkeeper/machines/kv.sm.lua");
    ASSERT(kv.size > 0);
    struct rng rng;
    rng_seed(&rng, world_draw_seed(c->world));
    struct sim_process_options options = {
        .host = i,
        .ids = c->ids,
        .hosts = c->hosts_count,
        .all = c->hosts,
        .node =
            {
                .name = c->names[i],
                .id = c->ids[i],
                .member_id = id_of_name,
                .peer_address = c->addresses[i],
                .cluster = CLUSTER_NAME,
                .members = *members,
                .raft = o->raft,
                .segment_bytes = o->segment_bytes,
                .cache_bytes_max = o->cache_bytes_max,
                .pending_max = o->pending_max,
                .snapshot = o->snapshot,
                .kv_source = o->kv_source != NULL ? o->kv_source : (const char *)kv.data,
                .kv_source_size = o->kv_source != NULL ? o->kv_source_size : kv.size,
            },
        .clock =
            {
                .rate_ppm = o->rate_ppm[i],
                .boot_us = rng_range(&rng, 1000 * MS, 1000000 * (uint64_t)MS),
                .wall_ms = (int64_t)rng_range(&rng, 1700000000000, 1700000010000),
            },
        .disk = o->disk,
        .start_time = {.min_us = 1 * MS, .max_us = 10 * MS},
        .death_time = {.min_us = 100, .max_us = 2 * MS},
        .round_delay = {.min_us = 0, .max_us = 50},
        .restart_min_us = 10 * MS,
        .restart_max_us = 1000 * MS,
        .events = c->events,
        .scripts = o->scripts,
        .scripts_count = o->scripts_count,
        .programs = c->programs,
        .http_servers = c->http_servers,
        .zones = o->zones,
        .evals = o->evals,
        .script_limits = o->script_limits,
    };
    c->hosts[i] = sim_process_new(c->world, c->net, &options, safety_watch(c->safety));
}

static struct safety_limits limits_of(const struct cluster_options *o)
{
    return (struct safety_limits){
        .pending = o->pending_max != 0 ? o->pending_max : DEFAULT_PENDING_MAX,
        .cache_bytes = o->cache_bytes_max != 0 ? o->cache_bytes_max : DEFAULT_CACHE_BYTES,
        .uncommitted_bytes = o->raft.uncommitted_bytes_max,
        .window_bytes = o->raft.window_bytes,
        .append_bytes = o->raft.append_bytes_max,
    };
}

struct cluster *cluster_new(const struct cluster_options *options)
{
    const uint32_t hosts = options->nodes + options->spares;
    ASSERT(options->nodes >= 1 && hosts <= SIM_NET_HOSTS_MAX);
    struct cluster *c = NEW(struct cluster);
    c->options = *options;
    c->hosts_count = hosts;
    c->world = world_new(options->seed);
    c->timeline = timeline_new(options->live, options->live_ctx);
    c->net = sim_net_new(c->world, &(struct sim_net_options){
                                       .hosts = hosts,
                                       .datagrams = options->datagrams,
                                       .rule = options->net,
                                       .connect_again = {.min_us = 10 * MS, .max_us = 200 * MS},
                                       .break_after = {.min_us = 100 * MS, .max_us = 3000 * MS},
                                   });
    c->safety = safety_new(c->world, c->timeline,
                           &(struct safety_options){
                               .hosts = hosts,
                               .unique_values = options->clients.clients > 0,
                               .voters = (UINT32_C(1) << options->nodes) - 1,
                               .ids = c->ids,
                               .all = c->hosts,
                               .leases = options->leases,
                               .leader_work = options->leases && options->raft.lease,
                               .script_limits = options->script_limits,
                               .limits = limits_of(options),
                               .promised = options->promised,
                               .ctx = options->promised_ctx,
                               .in_transfer = options->in_transfer,
                               .in_transfer_ctx = options->in_transfer_ctx,
                               .refused = options->refused,
                               .applied = options->applied,
                               .told_ctx = options->told_ctx,
                           });
    c->events = events_new(c->world);
    c->programs = sim_programs_new();
    c->http_servers = http_servers_new();
    name_hosts(c, &c->members);
    for (uint32_t i = 0; i < hosts; i++) {
        make_host(c, i, &c->members);
    }
    c->clients = sim_clients_new(c->world, c->safety, c->hosts, hosts, &options->clients);
    return c;
}

void cluster_free(struct cluster *c)
{
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        sim_process_free(c->hosts[i]);
    }
    sim_clients_free(c->clients);
    safety_free(c->safety);
    events_free(c->events);
    sim_programs_free(c->programs);
    http_servers_free(c->http_servers);
    sim_net_free(c->net);
    timeline_free(c->timeline);
    world_free(c->world);
    free(c);
}

/* ---- running -------------------------------------------------------------------------------- */

bool cluster_run(struct cluster *c, uint64_t for_us)
{
    return world_run_until(c->world, world_now_us(c->world) + for_us);
}

static const struct node *running(const struct cluster *c, uint32_t host)
{
    return sim_process_node(c->hosts[host]);
}

uint32_t cluster_leader(const struct cluster *c)
{
    uint32_t leader = CLUSTER_NOBODY;
    raft_term term = 0;
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        const struct node *n = running(c, i);
        if (n != NULL && raft_role(node_raft(n)) == RAFT_LEADER &&
            raft_current_term(node_raft(n)) > term) {
            term = raft_current_term(node_raft(n));
            leader = i;
        }
    }
    return leader;
}

raft_term cluster_term(const struct cluster *c)
{
    raft_term term = 0;
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        const struct node *n = running(c, i);
        if (n != NULL && raft_current_term(node_raft(n)) > term) {
            term = raft_current_term(node_raft(n));
        }
    }
    return term;
}

static bool leader_is_ready(const struct cluster *c, uint32_t leader)
{
    if (leader == CLUSTER_NOBODY || sim_process_paused(c->hosts[leader])) {
        return false;
    }
    const struct raft *core = node_raft(running(c, leader));
    return raft_term_at(core, raft_commit_index(core)) == raft_current_term(core);
}

uint32_t cluster_await_leader(struct cluster *c, uint64_t at_most_us)
{
    uint64_t until_us = world_now_us(c->world) + at_most_us;
    while (!leader_is_ready(c, cluster_leader(c))) {
        if (world_now_us(c->world) >= until_us || !cluster_run(c, LOOK_EVERY_US)) {
            return CLUSTER_NOBODY;
        }
    }
    return cluster_leader(c);
}

bool cluster_is_member(const struct cluster *c, uint32_t host)
{
    uint32_t leader = cluster_leader(c);
    return leader != CLUSTER_NOBODY &&
           membership_find(node_members(running(c, leader)), c->ids[host]) != NULL;
}

static bool all_applied(const struct cluster *c, raft_index index)
{
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        const struct node *n = running(c, i);
        if (n != NULL && cluster_is_member(c, i) && !sim_process_paused(c->hosts[i]) &&
            node_last_applied(n) < index) {
            return false;
        }
    }
    return true;
}

bool cluster_await_progress(struct cluster *c, uint64_t at_most_us)
{
    uint64_t until_us = world_now_us(c->world) + at_most_us;
    const struct sim_clients_stats *stats = sim_clients_stats(c->clients);
    uint64_t sets = stats->sets_done;
    while (stats->sets_done == sets || !all_applied(c, safety_committed(c->safety))) {
        if (world_now_us(c->world) >= until_us || !cluster_run(c, LOOK_EVERY_US)) {
            return false;
        }
    }
    return true;
}

bool cluster_agreed(const struct cluster *c)
{
    uint32_t leader = cluster_leader(c);
    if (!leader_is_ready(c, leader)) {
        return false;
    }
    raft_index last = raft_last_index(node_raft(running(c, leader)));
    const struct state_hash hash = state_hash(node_state(running(c, leader)));
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        const struct node *n = running(c, i);
        if (n != NULL && cluster_is_member(c, i) &&
            (node_last_applied(n) != last || raft_last_index(node_raft(n)) != last ||
             !state_hash_equal(state_hash(node_state(n)), hash))) {
            return false;
        }
    }
    return true;
}

bool cluster_await_agreement(struct cluster *c, uint64_t at_most_us)
{
    uint64_t until_us = world_now_us(c->world) + at_most_us;
    while (!cluster_agreed(c)) {
        if (world_now_us(c->world) >= until_us || !cluster_run(c, LOOK_EVERY_US)) {
            return false;
        }
    }
    return true;
}

/* ---- doing ---------------------------------------------------------------------------------- */

void cluster_boot_all(struct cluster *c)
{
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        if (sim_process_down(c->hosts[i])) {
            sim_process_boot(c->hosts[i]);
        }
    }
}

void cluster_isolate(struct cluster *c, uint32_t host)
{
    cluster_note(c, host, "cut off");
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        if (i != host) {
            sim_net_cut(c->net, host, i, true);
            sim_net_cut(c->net, i, host, true);
        }
    }
}

void cluster_heal(struct cluster *c)
{
    cluster_note(c, TIMELINE_WORLD, "all healed");
    sim_net_heal(c->net);
    for (uint32_t i = 0; i < c->hosts_count; i++) {
        sim_fs_heal(sim_process_disk(c->hosts[i]));
        sim_process_resume(c->hosts[i]);
    }
}

static void ignore_reply(void *ctx, const struct node_reply *reply)
{
    (void)ctx;
    (void)reply;
}

void cluster_transfer(struct cluster *c, uint32_t host, uint32_t target)
{
    struct buffer params = {0};
    write_array(&params, 2);
    if (target == CLUSTER_NOBODY) {
        write_nil(&params);
    } else {
        write_text(&params, c->names[target]);
    }
    write_u64(&params, c->options.raft.transfer_timeout_us / 1000 + 1);
    sim_process_call(c->hosts[host], bytes_of_string("transfer"), buffer_bytes(&params),
                     ignore_reply, NULL);
    buffer_close(&params);
}

void cluster_ask_snapshot(struct cluster *c, uint32_t host, uint64_t timeout_us)
{
    struct buffer params = {0};
    write_array(&params, 1);
    write_u64(&params, timeout_us / 1000 + 1);
    sim_process_call(c->hosts[host], bytes_of_string("snapshot"), buffer_bytes(&params),
                     ignore_reply, NULL);
    buffer_close(&params);
}

void cluster_set_live(struct cluster *c, void (*live)(void *ctx, const char *line), void *ctx)
{
    timeline_set_live(c->timeline, live, ctx);
}

void cluster_timeline(struct cluster *c, uint32_t lines_max, struct buffer *out)
{
    timeline_print(c->timeline, lines_max, out);
}

/* ---- members -------------------------------------------------------------------------------- */

static const char *const change_methods[] = {
    [CLUSTER_ADD] = "members_add",
    [CLUSTER_PROMOTE] = "members_promote",
    [CLUSTER_REMOVE] = "members_remove",
};

static bool ask_change(struct cluster *c, uint32_t through, struct cluster_change change,
                       node_reply_fn reply, void *ctx)
{
    struct buffer params = {0};
    write_array(&params, change.kind == CLUSTER_ADD ? 3 : 2);
    write_text(&params, c->names[change.host]);
    if (change.kind == CLUSTER_ADD) {
        write_text(&params, c->addresses[change.host]);
    }
    write_u64(&params, change.timeout_us / 1000 + 1);
    bool asked = sim_process_call(c->hosts[through], bytes_of_string(change_methods[change.kind]),
                                  buffer_bytes(&params), reply, ctx);
    buffer_close(&params);
    return asked;
}

void cluster_ask_change(struct cluster *c, uint32_t through, struct cluster_change change)
{
    ask_change(c, through, change, ignore_reply, NULL);
}

static void note_outcome(void *ctx, const struct node_reply *reply)
{
    *(enum err *)ctx = reply->err;
}

enum err cluster_change(struct cluster *c, uint32_t through, struct cluster_change change)
{
    enum err outcome = ERR_COUNT;
    if (!ask_change(c, through, change, note_outcome, &outcome)) {
        return ERR_UNREACHABLE;
    }
    while (outcome == ERR_COUNT && cluster_run(c, LOOK_EVERY_US)) {
    }
    ASSERT(outcome != ERR_COUNT || safety_violation(c->safety) != NULL);
    return outcome;
}

void cluster_wipe(struct cluster *c, uint32_t host)
{
    cluster_note(c, host, "its disk is wiped");
    sim_process_wipe(c->hosts[host]);
    safety_forget_disk(c->safety, host);
}

void cluster_note(struct cluster *c, uint32_t host, const char *format, ...)
{
    char text[TIMELINE_NOTE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    timeline_note(c->timeline,
                  (struct timeline_at){.time_us = world_now_us(c->world), .host = host}, "%s",
                  text);
}

void cluster_report(struct cluster *c, struct buffer *out)
{
    const struct safety_violation *v = safety_violation(c->safety);
    if (v == NULL) {
        return;
    }
    timeline_print(c->timeline, REPORT_LINES, out);
    buffer_add_format(out, "\nviolated: %s\nseed %llu, %.6f s, n%u: %s\n", v->rule,
                      (unsigned long long)c->options.seed, (double)v->time_us / 1e6, v->host + 1,
                      v->text);
}

bool cluster_check_history(struct cluster *c)
{
    struct lin_verdict verdict = {0};
    enum err e = linearizable_check(sim_clients_history(c->clients), &lin_kv, NULL, &verdict);
    ASSERT(e == ERR_OK);
    if (verdict.answer == LIN_ILLEGAL) {
        safety_fail(c->safety, 0, "linearizable history", "%s", buffer_text(&verdict.words));
    }
    bool legal = verdict.answer == LIN_LEGAL;
    lin_verdict_close(&verdict);
    return legal;
}

/* ---- looking -------------------------------------------------------------------------------- */

struct world *cluster_world(struct cluster *c)
{
    return c->world;
}

struct sim_net *cluster_net(struct cluster *c)
{
    return c->net;
}

struct safety *cluster_safety(struct cluster *c)
{
    return c->safety;
}

struct sim_programs *cluster_programs(const struct cluster *c)
{
    return c->programs;
}

const struct events *cluster_events(const struct cluster *c)
{
    return c->events;
}

struct sim_clients *cluster_clients(struct cluster *c)
{
    return c->clients;
}

struct sim_process *cluster_host(struct cluster *c, uint32_t host)
{
    ASSERT(host < c->hosts_count);
    return c->hosts[host];
}

const struct membership *cluster_members(const struct cluster *c)
{
    return &c->members;
}

uint32_t cluster_nodes(const struct cluster *c)
{
    return c->hosts_count;
}

struct http_servers *cluster_http_servers(const struct cluster *c)
{
    return c->http_servers;
}
