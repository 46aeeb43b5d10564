/* moonkeeper dev: a local cluster in one terminal, to write scripts against. */
#include <stdio.h>
#include <string.h>

#include "cli/addresses.h"
#include "cli/check_apps.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/local_cluster.h"
#include "cli/log_line.h"
#include "cli/steady.h"
#include "net/loop.h"
#include "node/config.h"
#include "script/script.h"

/* A machine that died is missing for long enough to see what the others do. */
enum { PUMP_MS = 200, SCRIPTS_MAX = 16, AGAIN_US = 2000000 };

struct dev {
    struct cli *cli;
    struct local_cluster *cluster;
    bool raw; /* --log-format json: lines as they are, for machines */
    bool stopping;
    int exit_code;
    uint64_t again_us[LOCAL_NODES_MAX]; /* when to start the node again; 0: it runs */
};

static void on_line(void *ctx, unsigned node, const char *text)
{
    struct dev *d = ctx;
    if (d->raw) {
        puts(text);
        return;
    }
    const char *id = local_cluster_id(d->cluster, node);
    const char *colour = d->cli->colour ? local_cluster_colour(node) : NULL;
    struct log_line *line = log_line_parse(text);
    if (line != NULL) {
        log_line_print(line, id, colour, NULL, stdout);
    } else {
        printf("%s%s%s %s\n", colour != NULL ? colour : "", id, colour != NULL ? "\033[0m" : "",
               text);
    }
    log_line_free(line);
}

static void on_ended(void *ctx, unsigned node, int exit_status)
{
    struct dev *d = ctx;
    if (d->stopping) {
        return;
    }
    const char *id = local_cluster_id(d->cluster, node);
    if (exit_status > 0) {
        char why[128];
        snprintf(why, sizeof why, "%s ended (status %d); its last lines say why", id, exit_status);
        d->exit_code = cli_fail(d->cli, ERR_IO, why, NULL);
        return;
    }
    fflush(stdout);
    fprintf(stderr, "moonkeeper dev: %s was %s; it is started again in %d s\n", id,
            exit_status == 0 ? "stopped" : "killed, guardian and all, as when its machine dies",
            AGAIN_US / 1000000);
    d->again_us[node] = steady_now_us() + AGAIN_US;
}

static void start(struct dev *d, unsigned node)
{
    struct why why = {""};
    d->again_us[node] = 0;
    if (local_cluster_start(d->cluster, node, &why) != ERR_OK) {
        d->exit_code = cli_fail(d->cli, ERR_IO, why.text, NULL);
    }
}

static void start_again(struct dev *d)
{
    for (unsigned i = 0; i < local_cluster_size(d->cluster); i++) {
        if (d->again_us[i] != 0 && steady_now_us() >= d->again_us[i]) {
            start(d, i);
        }
    }
}

static void print_head(const struct dev *d, bool keep)
{
    const struct local_cluster *c = d->cluster;
    unsigned size = local_cluster_size(c);
    const char *program = d->cli->program;
    printf("moonkeeper dev: %u node%s, data in %s%s\n", size, size == 1 ? "" : "s",
           local_cluster_data_dir(c),
           keep ? "" : "\n(thrown away at the end; keep it with --data-dir)");
    for (unsigned i = 0; i < size; i++) {
        printf("  %s  client %s  http://%s\n", local_cluster_id(c, i), local_cluster_client(c, i),
               local_cluster_http(c, i));
    }
    const char *client = local_cluster_client(c, 0);
    char flag[ADDRESS_TEXT_MAX + 8] = "";
    if (strcmp(client, "127.0.0.1:7117") != 0) {
        snprintf(flag, sizeof flag, " -e %s", client);
    }
    printf("\nIn another terminal:\n"
           "  %s status%s\n"
           "  %s kv put greeting hello%s\n"
           "  %s kv get greeting%s\n"
           "and in a browser: http://%s\nCtrl-C stops all nodes.\n\n",
           program, flag, program, flag, program, flag, local_cluster_http(c, 0));
    fflush(stdout);
}

static void run(struct dev *d)
{
    for (unsigned i = 0; i < local_cluster_size(d->cluster); i++) {
        start(d, i);
    }
    while (d->exit_code == EXIT_OK && interrupt_count() == 0) {
        local_cluster_pump(d->cluster, PUMP_MS);
        fflush(stdout);
        start_again(d);
    }
    d->stopping = true;
    local_cluster_stop(d->cluster);
    while (local_cluster_running(d->cluster) > 0 && interrupt_count() < 2) {
        local_cluster_pump(d->cluster, PUMP_MS);
        fflush(stdout);
    }
}

/* Its data_dir is not the nodes'. */
static int check_settings(const struct cli *cli, const char *path)
{
    struct buffer notes = {0};
    int exit_code = check_config(cli, path, &notes);
    buffer_close(&notes);
    return exit_code;
}

static int check_files(const struct cli *cli, const struct local_options *o)
{
    int exit_code = o->config != NULL ? check_settings(cli, o->config) : EXIT_OK;
    for (unsigned i = 0; i < o->scripts_count && exit_code == EXIT_OK; i++) {
        struct why why = {""};
        enum err e = script_check(o->scripts[i], &why);
        exit_code = e == ERR_OK ? EXIT_OK : cli_fail(cli, e, why.text, NULL);
    }
    return exit_code;
}

int cmd_dev(struct cli *cli, int argc, char **argv)
{
    const char *nodes = NULL, *port = NULL, *data_dir = NULL, *config = NULL;
    const struct flag flags[] = {
        {"config", 'c', "FILE",
         "a configuration, for its apps and all else but ids, addresses and data_dir", &config,
         NULL},
        {"nodes", 'n', "N", "how many (3)", &nodes, NULL},
        {"port", 'p', "PORT", "of the first node's clients (7117); each node is 10 above", &port,
         NULL},
        {"data-dir", 0, "DIR", "keep the data there", &data_dir, NULL},
    };
    const struct usage usage = {
        .synopsis = "dev [--nodes N] [-c FILE] [SCRIPT.lua|bundled:NAME ...]",
        .about = "Run a cluster on this machine, with the scripts on every node, in this terminal.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = SCRIPTS_MAX,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    unsigned nodes_count = 3, base_port = DEFAULT_CLIENT_PORT;
    if (nodes != NULL && !local_cluster_parse_nodes(nodes, &nodes_count)) {
        return cli_misuse(cli, "--nodes is \"%s\"; it must be from 1 to %d", nodes,
                          LOCAL_NODES_MAX);
    }
    if (port != NULL && !local_cluster_parse_port(port, &base_port)) {
        return cli_misuse(cli, "--port is \"%s\"; it must be from 1024 to 65400", port);
    }
    struct dev d = {.cli = cli,
                    .raw = cli->log_format != NULL && strcmp(cli->log_format, "json") == 0};
    const struct local_options options = {
        .nodes = nodes_count,
        .base_port = (uint16_t)base_port,
        .data_dir = data_dir,
        .config = config,
        .scripts = argv,
        .scripts_count = (unsigned)count,
        .log_level = cli->log_level,
        .line = on_line,
        .ended = on_ended,
        .ctx = &d,
    };
    exit_code = check_files(cli, &options);
    if (exit_code != EXIT_OK) {
        return exit_code;
    }
    interrupt_watch();
    struct why why = {""};
    enum err e = local_cluster_open(&options, &d.cluster, &why);
    if (e != ERR_OK) {
        return cli_fail(cli, e, why.text, "another place with --data-dir");
    }
    if (!d.raw) {
        print_head(&d, data_dir != NULL);
    }
    run(&d);
    local_cluster_close(d.cluster);
    return d.exit_code;
}
