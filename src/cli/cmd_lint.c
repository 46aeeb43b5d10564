/* moonkeeper lint: would a node take these files? */
#include <stdio.h>
#include <string.h>

#include "cli/check_apps.h"
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

/* Each line of notes, indented. */
static void print_notes(const char *notes)
{
    while (*notes != 0) {
        size_t size = strcspn(notes, "\n");
        printf("  %.*s\n", (int)size, notes);
        notes += size + (notes[size] == '\n');
    }
}

static int lint_file(const struct cli *cli, const char *path)
{
    struct buffer notes = {0};
    struct why why = {""};
    enum err e =
        ends_with(path, ".sm.lua") ? check_machine(path, &why) : check_script(path, &notes, &why);
    int exit_code = e == ERR_OK ? EXIT_OK : cli_fail(cli, e, why.text, NULL);
    if (e == ERR_OK && cli->output == OUTPUT_TABLE) {
        printf("%s: fine%s\n", path,
               notes.size > 0 ? ", as far as it comes without settings (-c FILE)" : "");
        print_notes(buffer_text(&notes));
    }
    buffer_close(&notes);
    return exit_code;
}

static int lint_config(const struct cli *cli, const char *path)
{
    struct buffer notes = {0};
    int exit_code = check_config(cli, path, &notes);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        printf("%s: fine\n%s", path, buffer_text(&notes));
    }
    buffer_close(&notes);
    return exit_code;
}

int cmd_lint(struct cli *cli, int argc, char **argv)
{
    const char *config = NULL;
    const struct flag flags[] = {
        {"config", 'c', "FILE", "a node's configuration: its scripts, with their settings", &config,
         NULL},
    };
    const struct usage usage = {
        .synopsis = "lint FILE.lua|bundled:NAME ... | -c FILE",
        .about =
            "Check scripts, and replicated machines (*.sm.lua), as a node would before it runs\n"
            "them: their main chunks are run as far as their first wait, without a node, and\n"
            "nothing of what they ask for is done. Without -c a script has no settings and no\n"
            "lua_path: what it raises for want of these is told, and is no error.\n\n"
            "Exit code: 0 all is fine, 1 a script is wrong, 2 a setting is, or usage.\n\n"
            "For mistyped names:\n"
            "luacheck --config lua/moonkeeper.luacheckrc FILE.lua",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = FILES_MAX,
    };
    int exit_code = EXIT_OK;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count == 0 && config == NULL) {
        return cli_misuse(cli, "lint FILE.lua ..., or lint -c FILE");
    }
    if (count >= 0 && config != NULL) {
        exit_code = lint_config(cli, config);
    }
    for (int i = 0; i < count; i++) {
        int code = lint_file(cli, argv[i]);
        exit_code = exit_code != EXIT_OK ? exit_code : code;
    }
    return exit_code;
}
