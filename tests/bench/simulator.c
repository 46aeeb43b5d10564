/* How much simulated time a second of one core buys: what decides how many bugs the swarm finds.
 *
 *     bench_simulator [--json] [--seconds S] [--runs N]
 *     bench_simulator --only idle|busy|hooked [--seconds S] [--runs N]
 *     bench_simulator [--json] --week
 *
 * Three nodes, heartbeats every 50 ms, all invariants checked, one small script on each node. Once
 * idle, once busy with 100 commands a second from simulated clients, and once with a commit hook on
 * each node besides, for which Lua is entered with every command. A node-second is one node for one
 * simulated second. Each is run for S simulated seconds (600 idle, else 60) and for ten times as
 * many, the best of N runs counts (3): flatness is what the longer run costs, divided by ten times
 * what the shorter does, 1.0 where the cost of a second does not depend on how many came before.
 *
 * --week runs the idle cluster for a simulated week: how long that takes, and by how much the
 * process grows after the first day. */
#include <malloc.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "sim/cluster.h"

enum { NODES = 3, MS = 1000, SECOND = 1000 * MS, WARM_UP_US = 5 * SECOND, LONGER = 10 };
enum { IDLE_SECONDS = 600, BUSY_SECONDS = 60, DAY_SECONDS = 86400, WEEK_DAYS = 7 };

enum kind { IDLE, BUSY, HOOKED, KINDS };
static const char *const names[KINDS] = {"idle", "busy", "hooked"};

#define SCRIPT                                                                                 \
    "local mk = require 'moonkeeper'\n"                                                        \
    "local commits, ticks = 0, 0\n"                                                            \
    "mk.on('leader_elected', function(ev) mk.log.info('leader', { id = ev.leader_id }) end)\n" \
    "mk.while_leader('work', function() while true do mk.task.sleep(1000) end end)\n"          \
    "mk.timer.every(1000, function() ticks = ticks + 1 end)\n"
static const struct script_app apps[KINDS] = {
    {.name = "app", .path = "app.lua", .source = SCRIPT},
    {.name = "app", .path = "app.lua", .source = SCRIPT},
    {.name = "app",
     .path = "app.lua",
     .source = SCRIPT "mk.on('commit', function() commits = commits + 1 end)\n"},
};

struct arguments {
    bool json, week;
    const char *only;
    uint32_t seconds, runs;
};

struct figures {
    double node_s_per_s;
    double flatness;
    double commands_per_s; /* simulated */
    double calls_per_s;    /* of the world, simulated */
};

static double processor_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_on(struct cluster *c, uint64_t duration_us)
{
    bool sound = cluster_run(c, duration_us);
    ASSERT(sound);
}

static struct cluster *start(enum kind kind)
{
    struct cluster_options o = cluster_defaults(1);
    o.nodes = NODES;
    o.scripts = &apps[kind];
    o.scripts_count = 1;
    /* One command every 10 ms: four clients, each waiting most of 40 ms. */
    o.clients = (struct sim_clients_options){
        .clients = 4,
        .registers = 16,
        .pause = {.min_us = 32 * MS, .max_us = 38 * MS},
        .patience = {.min_us = SECOND, .max_us = 2 * SECOND},
        .attempts_max = 10,
        .value_bytes = 16,
    };
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    ASSERT(cluster_await_leader(c, WARM_UP_US) != CLUSTER_NOBODY);
    if (kind != IDLE) {
        sim_clients_start(cluster_clients(c));
    }
    run_on(c, WARM_UP_US);
    return c;
}

/* Processor time of that many simulated seconds. */
static double measure(enum kind kind, uint32_t seconds, struct figures *f)
{
    struct cluster *c = start(kind);
    uint64_t calls = world_calls(cluster_world(c));
    uint64_t sets = sim_clients_stats(cluster_clients(c))->sets_done;
    double began_s = processor_s();
    run_on(c, (uint64_t)seconds * SECOND);
    double took_s = processor_s() - began_s;
    f->commands_per_s = (double)(sim_clients_stats(cluster_clients(c))->sets_done - sets) / seconds;
    f->calls_per_s = (double)(world_calls(cluster_world(c)) - calls) / seconds;
    cluster_free(c);
    return took_s;
}

/* The best of some runs: what disturbs only adds. */
static struct figures figures_of(enum kind kind, const struct arguments *arguments)
{
    struct figures f = {0};
    uint32_t seconds = arguments->seconds;
    if (seconds == 0) {
        seconds = kind == IDLE ? IDLE_SECONDS : BUSY_SECONDS;
    }
    double short_s = HUGE_VAL;
    double long_s = HUGE_VAL;
    for (uint32_t run = 0; run < arguments->runs; run++) {
        short_s = fmin(short_s, measure(kind, seconds, &f));
        long_s = fmin(long_s, measure(kind, seconds * LONGER, &f));
    }
    f.node_s_per_s = (double)NODES * seconds * LONGER / long_s;
    f.flatness = long_s / (LONGER * short_s);
    return f;
}

/* ---- what is printed ------------------------------------------------------------------------ */

static void print_json(const struct figures f[KINDS])
{
    double worst = 1;
    printf("{");
    for (int kind = 0; kind < KINDS; kind++) {
        printf("\"%s_node_s_per_s\": %.0f, ", names[kind], f[kind].node_s_per_s);
        worst = fabs(f[kind].flatness - 1) > fabs(worst - 1) ? f[kind].flatness : worst;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        printf("\"%s_flatness\": %.2f, ", names[kind], f[kind].flatness);
    }
    printf("\"flatness\": %.2f, \"commands_per_s\": %.1f}\n", worst, f[BUSY].commands_per_s);
}

static void print_row(const char *name, const struct figures *f)
{
    printf("%-8s %24.0f %12.1f %10.0f %10.2f\n", name, f->node_s_per_s, f->commands_per_s,
           f->calls_per_s, f->flatness);
}

static void compare_lengths(const struct arguments *arguments)
{
    struct figures f[KINDS] = {0};
    if (!arguments->json) {
        printf("%-8s %24s %12s %10s %10s\n", "3 nodes", "node-seconds per second", "commands/s",
               "calls/s", "flatness");
    }
    for (int kind = 0; kind < KINDS; kind++) {
        if (arguments->only == NULL || strcmp(arguments->only, names[kind]) == 0) {
            f[kind] = figures_of((enum kind)kind, arguments);
            if (!arguments->json) {
                print_row(names[kind], &f[kind]);
            }
        }
    }
    if (arguments->json) {
        print_json(f);
    }
}

/* ---- a week --------------------------------------------------------------------------------- */

static double allocated_kib(void)
{
    return (double)mallinfo2().uordblks / 1024;
}

static void run_a_week(bool json)
{
    struct cluster *c = start(IDLE);
    double began_s = processor_s();
    run_on(c, (uint64_t)DAY_SECONDS * SECOND);
    double first_day_s = processor_s() - began_s;
    double first_day_kib = allocated_kib();
    run_on(c, (uint64_t)(WEEK_DAYS - 1) * DAY_SECONDS * SECOND);
    double week_s = processor_s() - began_s;
    double grown_kib = allocated_kib() - first_day_kib;
    cluster_free(c);
    printf(json ? "{\"week_s\": %.1f, \"first_day_s\": %.1f, \"first_day_kib\": %.0f, "
                  "\"grown_kib\": %.0f}\n"
                : "a simulated week: %.1f s, its first day %.1f s; %.0f KiB allocated after that "
                  "day, %+.0f KiB since\n",
           week_s, first_day_s, first_day_kib, grown_kib);
}

/* ---- arguments ------------------------------------------------------------------------------ */

static bool is_kind(const char *name)
{
    for (int kind = 0; kind < KINDS; kind++) {
        if (strcmp(name, names[kind]) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct arguments *out)
{
    *out = (struct arguments){.runs = 3};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--json") == 0) {
            out->json = true;
        } else if (strcmp(argv[i], "--week") == 0) {
            out->week = true;
        } else if (strcmp(argv[i], "--only") == 0 && is_kind(value)) {
            out->only = argv[++i];
        } else if (strcmp(argv[i], "--seconds") == 0 && atoi(value) > 0) {
            out->seconds = (uint32_t)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--runs") == 0 && atoi(value) > 0) {
            out->runs = (uint32_t)atoi(argv[++i]);
        } else {
            return false;
        }
    }
    return !(out->json && out->only != NULL);
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    if (!parse(argc, argv, &arguments)) {
        fprintf(stderr,
                "usage: %s [--json] [--seconds S] [--runs N]\n"
                "       %s --only idle|busy|hooked [--seconds S] [--runs N]\n"
                "       %s --week [--json]\n",
                argv[0], argv[0], argv[0]);
        return 2;
    }
    if (arguments.week) {
        run_a_week(arguments.json);
    } else {
        compare_lengths(&arguments);
    }
    return 0;
}
