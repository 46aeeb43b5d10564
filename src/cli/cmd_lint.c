/* moonkeeper lint: would a node take these files? */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/read_file.h"
#include "script/machine.h"
#include "script/script.h"

enum { FILES_MAX = 256 };

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static enum err check_machine(const char *path, struct why *why)
{
    struct buffer source = {0};
    struct machine_info info;
    struct why reason = {""};
    enum err e = read_file(path, MACHINE_SOURCE_BYTES_MAX, &source, why);
    if (e == ERR_OK) {
        e = machines_check(buffer_bytes(&source), &info, &reason);
        if (e != ERR_OK) {
            err_why(why, e, "%s: %s", path, reason.text);
        }
    }
    buffer_close(&source);
    return e;
}

int cmd_lint(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "lint FILE.lua|bundled:NAME ...",
        .about =
            "Check scripts, and replicated machines (*.sm.lua), as a node would before it runs\n"
            "them. Names file and line of what is wrong and exits with 1. For mistyped names:\n"
            "luacheck --config lua/moonkeeper.luacheckrc FILE.lua",
        .arguments_min = 1,
        .arguments_max = FILES_MAX,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    for (int i = 0; i < count; i++) {
        struct why why = {""};
        enum err e = ends_with(argv[i], ".sm.lua") ? check_machine(argv[i], &why)
                                                   : script_check(argv[i], &why);
        if (e != ERR_OK) {
            exit_code = cli_fail(cli, e, why.text, NULL);
        } else if (cli->output == OUTPUT_TABLE) {
            printf("%s: fine\n", argv[i]);
        }
    }
    return exit_code;
}
