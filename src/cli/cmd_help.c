/* moonkeeper help */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void print_overview(void)
{
    puts("moonkeeper: a coordination node that you script in Lua.\n\n"
         "Usage: moonkeeper VERB [flags]\n");
    for (size_t i = 0; i < cli_verbs_count; i++) {
        printf("  %-34s %s\n", cli_verbs[i].synopsis, cli_verbs[i].summary);
    }
    puts("\nFlags of every verb:  -e HOST:PORT,...  -o table|json|simple  --timeout TIME\n"
         "Each can come from the environment, as MOONKEEPER_ENDPOINTS and so on.\n"
         "moonkeeper VERB --help says more.\n\n"
         "A cluster to play with:  moonkeeper dev --nodes 3 [script.lua]\n"
         "What it can do:          moonkeeper demo");
}

int cmd_help(struct cli *cli, int argc, char **argv)
{
    char *word = cli_word_first(argc, argv) != NULL ? argv[1] : NULL;
    if (word != NULL) {
        for (size_t i = 0; i < cli_verbs_count; i++) {
            if (strcmp(cli_verbs[i].name, word) == 0 && cli_verbs[i].run != cmd_help) {
                char help[] = "--help";
                char *args[] = {word, help, NULL};
                cli->verb = cli_verbs[i].name;
                return cli_verbs[i].run(cli, 2, args);
            }
        }
        if (strcmp(word, "help") != 0) {
            return cli_unknown_verb(cli, word);
        }
    }
    print_overview();
    return EXIT_OK;
}
