/* moonkeeper machines: the replicated state machines of a cluster. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/read_file.h"
#include "cli/table.h"
#include "cli/view.h"
#include "script/machine.h"
#include "wire/writer.h"

static int machines_load(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "machines load FILE.sm.lua",
        .about =
            "Install a state machine on all nodes, or a newer version of one, through the log.\n"
            "The same version with another source is refused (6).",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer source = {0}, params = {0}, result = {0};
    struct machine_info info = {0};
    struct why why = {""}, reason = {""};
    enum err e = read_file(argv[0], MACHINE_SOURCE_BYTES_MAX, &source, &why);
    if (e == ERR_OK && (e = machines_check(buffer_bytes(&source), &info, &reason)) != ERR_OK) {
        err_why(&why, e, "%s: %s", argv[0], reason.text);
    }
    if (e != ERR_OK) {
        exit_code = cli_fail(cli, e, why.text, NULL);
    } else {
        write_array(&params, 2);
        write_str(&params, buffer_bytes(&source));
        client_write_options(cli, 0, &params);
        exit_code = client_request(cli, "load", buffer_bytes(&params), &result);
    }
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        printf("%s: version %" PRIu64 " is installed\n", info.name, info.version);
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&source);
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}

static void print_table(const struct cli *cli, struct bytes machines)
{
    struct table *t = table_new("MACHINE|>VERSION|SOURCE HASH", cli->colour);
    for (uint32_t i = 0; i < view_count(machines); i++) {
        char text[64];
        struct bytes m = view_at(machines, i);
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "name", text, sizeof text));
        table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(m, "version"));
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "hash", text, sizeof text));
    }
    table_print(t, stdout);
    table_free(t);
}

static void print_names(struct bytes machines)
{
    for (uint32_t i = 0; i < view_count(machines); i++) {
        char text[64];
        puts(view_text(view_at(machines, i), "name", text, sizeof text));
    }
}

static int machines_of_node(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "machines list",
        .about = "List the state machines that the node which is asked has installed.",
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer result = {0};
    exit_code = client_request(cli, "machines", bytes_of(NULL, 0), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        print_table(cli, buffer_bytes(&result));
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_SIMPLE) {
        print_names(buffer_bytes(&result));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&result);
    return exit_code;
}

int cmd_machines(struct cli *cli, int argc, char **argv)
{
    static const struct cli_action actions[] = {
        {"list", "machines list", machines_of_node, "", "those that the node has installed"},
        {"load", "machines load", machines_load, "FILE.sm.lua",
         "install one, or a newer version of it"},
    };
    const struct usage usage = {
        .synopsis = "machines list|load ...",
        .about = "The replicated state machines of the cluster.",
        .actions = actions,
        .actions_count = sizeof actions / sizeof actions[0],
        .arguments_min = 1,
        .arguments_max = 64,
    };
    return cli_run_action(cli, argc, argv, &usage);
}
