/* moonkeeper transfer: have another node lead. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/view.h"
#include "wire/writer.h"

int cmd_transfer(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "transfer [ID]",
        .about = "Hand leadership to the node ID, or to the one that is furthest on.\n"
                 "Prints the new leader.",
        .arguments_max = 1,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    struct buffer params = {0}, result = {0};
    write_array(&params, 2);
    if (count == 1) {
        write_text(&params, argv[0]);
    } else {
        write_nil(&params);
    }
    write_u64(&params, cli->timeout_ms);
    exit_code = client_request(cli, "transfer", buffer_bytes(&params), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        char leader[64];
        printf("%s leads now\n", view_as_text(buffer_bytes(&result), leader, sizeof leader));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}
