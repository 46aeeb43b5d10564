/* moonkeeper members: who is in the cluster. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"

static void print_table(const struct cli *cli, struct bytes members)
{
    struct table *t = table_new("ID|PEER ADDRESS|CLIENT ADDRESS|VOTES", cli->colour);
    for (uint32_t i = 0; i < view_count(members); i++) {
        struct bytes m = view_at(members, i);
        char id[64], peer[160], client[160];
        view_text(m, "client", client, sizeof client);
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "id", id, sizeof id));
        table_cell(t, TABLE_PLAIN, "%s", view_text(m, "peer", peer, sizeof peer));
        table_cell(t, client[0] != 0 ? TABLE_PLAIN : TABLE_DIM, "%s",
                   client[0] != 0 ? client : "not heard of");
        table_cell(t, TABLE_PLAIN, "%s", view_bool(m, "voter") ? "yes" : "learner");
    }
    table_print(t, stdout);
    table_free(t);
}

int cmd_members(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "members [list]",
        .about = "List the members of the cluster, as the node that is asked has them.",
        .arguments_max = 1,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    if (count == 1 && strcmp(argv[0], "list") != 0) {
        return cli_misuse(cli, "members knows list, not \"%s\"", argv[0]);
    }
    struct buffer result = {0};
    exit_code = client_request(cli, "members", bytes_of(NULL, 0), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        print_table(cli, buffer_bytes(&result));
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_SIMPLE) {
        char id[64];
        for (uint32_t i = 0; i < view_count(buffer_bytes(&result)); i++) {
            puts(view_text(view_at(buffer_bytes(&result), i), "id", id, sizeof id));
        }
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&result);
    return exit_code;
}
