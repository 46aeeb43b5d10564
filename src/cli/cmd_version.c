/* moonkeeper version */
#include <stdio.h>

#include "cli/cli.h"

int cmd_version(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {.synopsis = "version", .about = "Print the version."};
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    printf(cli->output == OUTPUT_JSON     ? "{\"version\":\"%s\"}\n"
           : cli->output == OUTPUT_SIMPLE ? "%s\n"
                                          : "moonkeeper %s\n",
           MK_VERSION);
    return EXIT_OK;
}
