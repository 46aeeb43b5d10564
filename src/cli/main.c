/* The command line: which verb, and what all of them share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "cli/cli.h"

const struct cli_verb cli_verbs[] = {
    {"start", "start -c FILE", "run a node", cmd_start},
    {"dev", "dev [--nodes N] [SCRIPT...]", "run a local cluster in this terminal", cmd_dev},
    {"demo", "demo [--for TIME]", "see elections, and the death of a leader", cmd_demo},
    {"status", "status", "all nodes at a glance", cmd_status},
    {"kv", "kv get|put|del|list ...", "work with keys and values", cmd_kv},
    {"propose", "propose MACHINE COMMAND [ARGS]", "have a state machine carry out a command",
     cmd_propose},
    {"query", "query MACHINE NAME [ARGS]", "ask a state machine", cmd_query},
    {"members", "members [list|add|promote|remove]", "who is in the cluster; change it",
     cmd_members},
    {"lead", "lead [-- COMMAND]", "run a program while a node leads", cmd_lead},
    {"lock", "lock NAME [-- COMMAND]", "hold a lock, and run a program under it", cmd_lock},
    {"transfer", "transfer [ID]", "have another node lead", cmd_transfer},
    {"snapshot", "snapshot save|status", "save the state, or see what is saved", cmd_snapshot},
    {"machines", "machines list|load ...", "the state machines of the cluster", cmd_machines},
    {"tasks", "tasks submit|list|show|cancel ...", "what the nodes are given to do", cmd_tasks},
    {"cron", "cron list|history|run|simulate ...", "programs at set times", cmd_cron},
    {"lint", "lint FILE.lua ...", "check scripts and state machines", cmd_lint},
    {"hooks", "hooks", "what the scripts listen to", cmd_hooks},
    {"reload", "reload", "load a node's scripts anew", cmd_reload},
    {"log", "log DIR", "what a data directory holds; is it sound?", cmd_log},
    {"test", "test FILE...", "run tests of clusters and scripts", cmd_test},
    {"bench", "bench", "writes a second, latency, failover time", cmd_bench},
    {"check-history", "check-history FILE", "is what clients saw linearizable?", cmd_check_history},
    {"completion", "completion bash|zsh", "complete verbs and flags in a shell", cmd_completion},
    {"version", "version", "print the version", cmd_version},
    {"help", "help [VERB]", "show this", cmd_help},
};
const size_t cli_verbs_count = sizeof cli_verbs / sizeof cli_verbs[0];

enum { DEFAULT_TIMEOUT_MS = 5000 };

static bool wants_colour(int fd)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(fd) && (no_colour == NULL || *no_colour == 0) && terminal != NULL &&
           strcmp(terminal, "dumb") != 0;
}

int cli_unknown_verb(struct cli *cli, const char *word)
{
    const char *names[sizeof cli_verbs / sizeof cli_verbs[0]];
    for (size_t i = 0; i < cli_verbs_count; i++) {
        names[i] = cli_verbs[i].name;
    }
    const char *nearest = nearest_name(word, names, cli_verbs_count);
    cli->verb = word;
    return nearest != NULL ? cli_misuse(cli, "there is no such verb; did you mean %s?", nearest)
                           : cli_misuse(cli, "there is no such verb; see moonkeeper help");
}

/* Only flags, or one that a verb does not share with all others. */
static int without_verb(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "VERB [flags]", .about = "See moonkeeper help.", .arguments_max = argc};
    int exit_code;
    cli->verb = "VERB";
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    return cli_misuse(cli, "which verb? see moonkeeper help");
}

int main(int argc, char **argv)
{
    struct cli cli = {
        .program = argv[0],
        .verb = "help",
        .timeout_ms = DEFAULT_TIMEOUT_MS,
        .colour = wants_colour(STDOUT_FILENO),
        .colour_err = wants_colour(STDERR_FILENO),
    };
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        cmd_help(&cli, 1, argv);
        return argc < 2 ? EXIT_USAGE : EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        argv[1][0] = 0;
        return cmd_version(&cli, 1, argv + 1);
    }
    if (cli_word_first(argc, argv) == NULL) {
        return without_verb(&cli, argc, argv);
    }
    for (size_t i = 0; i < cli_verbs_count; i++) {
        if (strcmp(argv[1], cli_verbs[i].name) == 0) {
            cli.verb = cli_verbs[i].name;
            int exit_code = cli_verbs[i].run(&cli, argc - 1, argv + 1);
            fflush(stdout);
            return ferror(stdout) && exit_code == EXIT_OK ? EXIT_ERROR : exit_code;
        }
    }
    return cli_unknown_verb(&cli, argv[1]);
}
