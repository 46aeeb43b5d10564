/* moonkeeper bench: what a cluster can do: throughput, latency, and how long it has no leader after
 * one has died. Of a cluster of its own, made for it, or of the one at --endpoints. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/addresses.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/load.h"
#include "cli/local_cluster.h"
#include "net/loop.h"
#include "wire/writer.h"

enum {
    NODES = 3,
    WARM_UP_US = 300000,
    DEATHS = 7, /* of which the median counts */
    STEP_TIMEOUT_US = 10000000,
    PUMP_MS = 2,
};

struct bench {
    struct cli *cli;
    struct clock_port clock;
    struct local_cluster *cluster; /* NULL: a cluster of the user's */
    char endpoints[ADDRESS_TEXT_MAX * NODES];
    uint64_t duration_ms;
    uint32_t connections, depth, value_bytes;

    struct load_result full, single; /* at saturation; one request at a time */
    double failover_ms[DEATHS];
    unsigned failovers;
};

static uint64_t now_us(const struct bench *b)
{
    return clock_now_us(&b->clock);
}

static void tell(const struct bench *b, const char *what)
{
    if (b->cli->output == OUTPUT_TABLE) {
        fprintf(stderr, "%s\n", what);
    }
}

/* ---- load ----------------------------------------------------------------------------------- */

static enum err load(const struct bench *b, uint32_t connections, uint32_t depth,
                     uint64_t duration_us, struct load_result *out, struct why *why)
{
    const struct load_options options = {
        .endpoints = b->endpoints,
        .connections = connections,
        .depth = depth,
        .duration_us = duration_us,
        .value_bytes = b->value_bytes,
        .keys = 10000,
    };
    enum err e = load_run(&options, out, why);
    if (e == ERR_OK && out->done == 0) {
        e = err_why(why, out->errors > 0 ? ERR_REJECTED : ERR_TIMEOUT, "no write succeeded%s%s",
                    out->errors > 0 ? ": " : "", out->first_error);
    }
    return e;
}

static enum err measure_load(struct bench *b, struct why *why)
{
    struct load_result warm;
    uint64_t each_us = b->duration_ms * 500;
    tell(b, "writing as much as it takes ...");
    enum err e = load(b, b->connections, b->depth, WARM_UP_US, &warm, why);
    e = e != ERR_OK ? e : load(b, b->connections, b->depth, each_us, &b->full, why);
    if (e == ERR_OK) {
        tell(b, "writing one value at a time ...");
        e = load(b, 1, 1, each_us, &b->single, why);
    }
    return e;
}

/* ---- failover ------------------------------------------------------------------------------- */

static void ignore_line(void *ctx, unsigned node, const char *text)
{
    (void)ctx;
    (void)node;
    fprintf(stderr, "%s\n", text); /* it is of the level error */
}

static void ignore_end(void *ctx, unsigned node, int exit_status)
{
    (void)ctx;
    (void)node;
    (void)exit_status;
}

static bool write_through(const struct bench *b, unsigned node)
{
    return local_cluster_write(b->cluster, node, "bench/failover", b->failovers, STEP_TIMEOUT_US);
}

/* A leader, and all others following it: so that each death is the death of a whole cluster's
 * leader. The number of nodes: it did not come to that in time. */
static unsigned wait_until_whole(struct bench *b)
{
    uint64_t until_us = now_us(b) + STEP_TIMEOUT_US;
    while (now_us(b) < until_us && interrupt_count() == 0) {
        unsigned followers = 0, leader = local_cluster_leader(b->cluster, &followers);
        if (leader < NODES && followers == NODES - 1) {
            return leader;
        }
        local_cluster_pump(b->cluster, PUMP_MS);
    }
    return NODES;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* kill -9, and the time to the next write that another node accepts. */
static enum err measure_failover(struct bench *b, struct why *why)
{
    tell(b, "killing leaders ...");
    while (b->failovers < DEATHS && interrupt_count() == 0) {
        unsigned leader = wait_until_whole(b);
        if (leader == NODES || !write_through(b, (leader + 1) % NODES)) {
            return err_why(why, ERR_TIMEOUT, "the cluster did not become whole again");
        }
        uint64_t killed_us = now_us(b);
        local_cluster_kill(b->cluster, leader, false);
        if (!write_through(b, (leader + 1) % NODES)) {
            return err_why(why, ERR_TIMEOUT, "no write was accepted after the death of a leader");
        }
        b->failover_ms[b->failovers++] = (double)(now_us(b) - killed_us) / 1e3;
    }
    qsort(b->failover_ms, b->failovers, sizeof b->failover_ms[0], by_size);
    return ERR_OK;
}

static enum err open_cluster(struct bench *b, unsigned base_port, const char *data_dir,
                             struct why *why)
{
    const struct local_options options = {
        .nodes = NODES,
        .base_port = (uint16_t)base_port,
        .data_dir = data_dir,
        .log_level = "error",
        .line = ignore_line,
        .ended = ignore_end,
    };
    interrupt_watch();
    enum err e = local_cluster_open(&options, &b->cluster, why);
    for (unsigned i = 0; i < NODES && e == ERR_OK; i++) {
        e = local_cluster_start(b->cluster, i, why);
    }
    unsigned leader = e == ERR_OK ? wait_until_whole(b) : NODES;
    if (e == ERR_OK && leader == NODES) {
        e = err_why(why, ERR_TIMEOUT, "no leader was elected");
    }
    if (e == ERR_OK) { /* what is measured is the cluster, not how a follower passes requests on */
        snprintf(b->endpoints, sizeof b->endpoints, "%s", local_cluster_client(b->cluster, leader));
    }
    return e;
}

/* ---- results -------------------------------------------------------------------------------- */

static double per_second(const struct load_result *r)
{
    return r->seconds > 0 ? (double)r->done / r->seconds : 0;
}

static double median_ms(const struct bench *b)
{
    return b->failovers > 0 ? b->failover_ms[b->failovers / 2] : 0;
}

static void print_line(const char *what, const struct load_result *r)
{
    printf("%-24s %10.0f writes/s   p50 %7.2f ms   p99 %7.2f ms   max %7.2f ms\n", what,
           per_second(r), r->p50_us / 1e3, r->p99_us / 1e3, r->max_us / 1e3);
    if (r->errors > 0) {
        printf("%-24s %10" PRIu64 " errors, the first: %s\n", "", r->errors, r->first_error);
    }
}

static void print_people(const struct bench *b)
{
    char many[40];
    snprintf(many, sizeof many, "%" PRIu32 " clients x %" PRIu32, b->connections, b->depth);
    print_line(many, &b->full);
    print_line("1 client", &b->single);
    if (b->failovers > 0) {
        printf("%-24s %10.1f ms from kill -9 of the leader to the next write (median of %u)\n",
               "failover", median_ms(b), b->failovers);
    }
}

static void write_load(struct buffer *out, const char *name, const struct load_result *r)
{
    const struct {
        const char *key;
        double value;
    } figures[] = {{"writes_per_s", per_second(r)}, {"p50_ms", r->p50_us / 1e3},
                   {"p90_ms", r->p90_us / 1e3},     {"p99_ms", r->p99_us / 1e3},
                   {"max_ms", r->max_us / 1e3},     {"errors", (double)r->errors}};
    write_text(out, name);
    write_map(out, sizeof figures / sizeof figures[0]);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        write_text(out, figures[i].key);
        write_f64(out, figures[i].value);
    }
}

static int print_machines(const struct bench *b)
{
    struct buffer out = {0};
    write_map(&out, 3);
    write_load(&out, "many_clients", &b->full);
    write_load(&out, "one_client", &b->single);
    write_text(&out, "failover_ms_median");
    if (b->failovers > 0) {
        write_f64(&out, median_ms(b));
    } else {
        write_nil(&out);
    }
    int exit_code = client_print(b->cli, buffer_bytes(&out));
    buffer_close(&out);
    return exit_code;
}

/* ---- the verb ------------------------------------------------------------------------------- */

static int run(struct bench *b, unsigned base_port, const char *data_dir)
{
    struct why why = {""};
    enum err e = ERR_OK;
    bool own = b->cli->endpoints == NULL;
    if (own) {
        tell(b, "starting three nodes on this machine ...");
        e = open_cluster(b, base_port, data_dir, &why);
    } else {
        snprintf(b->endpoints, sizeof b->endpoints, "%s", b->cli->endpoints);
    }
    e = e != ERR_OK ? e : measure_load(b, &why);
    if (e == ERR_OK && own) {
        e = measure_failover(b, &why);
    }
    local_cluster_close(b->cluster);
    if (interrupt_count() > 0) {
        return cli_fail(b->cli, ERR_CANCELLED, "interrupted", NULL);
    }
    if (e != ERR_OK) {
        return cli_fail(b->cli, e, why.text, NULL);
    }
    if (b->cli->output == OUTPUT_TABLE) {
        print_people(b);
        return EXIT_OK;
    }
    return print_machines(b);
}

static bool parse_count(const char *text, uint32_t max, uint32_t *out)
{
    uint64_t value = *out;
    bool good = text == NULL || (cli_parse_number(text, max, &value) && value > 0);
    *out = (uint32_t)value;
    return good;
}

int cmd_bench(struct cli *cli, int argc, char **argv)
{
    const char *duration = NULL, *port = NULL, *data_dir = NULL;
    const char *connections = NULL, *depth = NULL, *value = NULL;
    const struct flag flags[] = {
        {"for", 0, "TIME", "how long to write (10s)", &duration, NULL},
        {"clients", 0, "N", "connections (16)", &connections, NULL},
        {"depth", 0, "N", "requests in flight on each (64)", &depth, NULL},
        {"value-bytes", 0, "N", "size of a value (256)", &value, NULL},
        {"port", 'p', "PORT", "of the first node of the cluster that is made for it (7117)", &port,
         NULL},
        {"data-dir", 0, "DIR", "where that cluster keeps its data: the disk counts", &data_dir,
         NULL},
    };
    const struct usage usage = {
        .synopsis = "bench [--endpoints HOST:PORT,...]",
        .about =
            "Measure writes: how many a second, how long each takes, and the time without a\n"
            "leader after kill -9. Without --endpoints, of three nodes on this machine, started\n"
            "for it. A cluster at --endpoints is only written to (keys bench/*), with so many\n"
            "writes that others will notice.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
    };
    struct bench b = {.cli = cli,
                      .clock = loop_clock(),
                      .duration_ms = 10000,
                      .connections = 16,
                      .depth = 64,
                      .value_bytes = 256};
    unsigned base_port = DEFAULT_CLIENT_PORT;
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0 ||
        (cli->endpoints != NULL && (exit_code = client_check_endpoints(cli)) != EXIT_OK)) {
        return exit_code;
    }
    if (duration != NULL && (!cli_parse_duration(duration, &b.duration_ms) || b.duration_ms == 0)) {
        return cli_misuse(cli, "--for is \"%s\"; it must be a time like 10s", duration);
    }
    if (port != NULL && !local_cluster_parse_port(port, &base_port)) {
        return cli_misuse(cli, "--port is \"%s\"; it must be from 1024 to 65400", port);
    }
    if (!parse_count(connections, 1000, &b.connections) || !parse_count(depth, 4096, &b.depth) ||
        !parse_count(value, 1000000, &b.value_bytes)) {
        return cli_misuse(cli, "--clients (to 1000), --depth (to 4096) and --value-bytes (to "
                               "1000000) must be whole numbers");
    }
    return run(&b, base_port, data_dir);
}
