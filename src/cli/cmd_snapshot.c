/* moonkeeper snapshot: save the state of the node that is asked, or see what is saved. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/view.h"
#include "wire/writer.h"

static int save(struct cli *cli)
{
    struct buffer params = {0}, result = {0};
    write_array(&params, 1);
    write_u64(&params, cli->timeout_ms);
    int exit_code = client_request(cli, "snapshot", buffer_bytes(&params), &result);
    struct bytes s = buffer_bytes(&result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        printf("saved all up to entry %" PRIu64 " (term %" PRIu64 "), %" PRIu64 " bytes\n",
               view_u64(s, "index"), view_u64(s, "term"), view_u64(s, "bytes"));
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_SIMPLE) {
        printf("%" PRIu64 "\n", view_u64(s, "index"));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, s);
    }
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}

static void print_status(struct bytes node, struct bytes s)
{
    char id[64];
    view_text(node, "id", id, sizeof id);
    if (view_u64(s, "index") == 0) {
        printf("%s has no snapshot yet", id);
    } else {
        printf("%s: all up to entry %" PRIu64 " (term %" PRIu64 "), %" PRIu64 " bytes, %.1f s old",
               id, view_u64(s, "index"), view_u64(s, "term"), view_u64(s, "bytes"),
               (double)view_u64(s, "age_ms") / 1e3);
    }
    printf("; the log begins at %" PRIu64 " and ends at %" PRIu64 "\n", view_u64(s, "log_begins"),
           view_u64(node, "last_index"));
    if (view_bool(s, "saving")) {
        puts("another one is being saved");
    }
    if (view_bool(s, "installing")) {
        puts("the leader's is being installed");
    }
}

static int status(struct cli *cli)
{
    struct buffer result = {0};
    int exit_code = client_request(cli, "status", bytes_of(NULL, 0), &result);
    struct bytes node = buffer_bytes(&result), s = view_get(node, "snapshot");
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        print_status(node, s);
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_SIMPLE) {
        printf("%" PRIu64 "\n", view_u64(s, "index"));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, s);
    }
    buffer_close(&result);
    return exit_code;
}

int cmd_snapshot(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "snapshot save|status",
        .about = "  save     Have the node that is asked save a snapshot of all that it has\n"
                 "           applied, and wait for it (for as long as --timeout says).\n"
                 "  status   What it has saved, and how much of the log is left beside it.",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    if (strcmp(argv[0], "save") == 0) {
        return save(cli);
    }
    if (strcmp(argv[0], "status") == 0) {
        return status(cli);
    }
    return cli_misuse(cli, "snapshot knows save and status, not \"%s\"", argv[0]);
}
