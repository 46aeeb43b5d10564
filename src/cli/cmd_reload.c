/* moonkeeper reload: have a node load its scripts anew. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"

static bool has_failed(struct bytes app)
{
    char outcome[16];
    return strcmp(view_text(app, "outcome", outcome, sizeof outcome), "failed") == 0;
}

static void print_apps(const struct cli *cli, struct bytes apps)
{
    struct table *t = table_new("APP|OUTCOME|>GENERATION", cli->colour);
    for (uint32_t i = 0; i < view_count(apps); i++) {
        struct bytes app = view_at(apps, i);
        char text[64];
        uint64_t generation = view_u64(app, "generation");
        table_cell(t, TABLE_PLAIN, "%s", view_text(app, "app", text, sizeof text));
        table_cell(t, has_failed(app) ? TABLE_BAD : TABLE_GOOD, "%s",
                   view_text(app, "outcome", text, sizeof text));
        if (generation > 0) {
            table_cell(t, TABLE_PLAIN, "%" PRIu64, generation);
        } else {
            table_cell(t, TABLE_PLAIN, "-");
        }
    }
    table_print(t, stdout);
    table_free(t);
}

static void print_restart(struct bytes keys)
{
    if (view_count(keys) == 0) {
        return;
    }
    printf("Changed in the configuration file, in effect after a restart: ");
    for (uint32_t i = 0; i < view_count(keys); i++) {
        char key[64];
        printf("%s%s", i > 0 ? ", " : "", view_as_text(view_at(keys, i), key, sizeof key));
    }
    printf("\n");
}

/* The exit code says whether all went well. */
static int tell_failures(const struct cli *cli, struct bytes apps)
{
    int exit_code = EXIT_OK;
    for (uint32_t i = 0; i < view_count(apps); i++) {
        struct bytes app = view_at(apps, i);
        char name[64], error[1024];
        struct buffer text = {0};
        if (!has_failed(app)) {
            continue;
        }
        view_text(app, "app", name, sizeof name);
        view_text(app, "error", error, sizeof error);
        if (view_u64(app, "generation") > 0) {
            buffer_add_format(&text, "application \"%s\": %s; generation %" PRIu64 " goes on", name,
                              error, view_u64(app, "generation"));
        } else {
            buffer_add_format(&text, "application \"%s\" is not running: %s", name, error);
        }
        exit_code = cli_fail(cli, ERR_INVALID, buffer_text(&text), NULL);
        buffer_close(&text);
    }
    return exit_code == EXIT_OK ? EXIT_OK : EXIT_ERROR;
}

int cmd_reload(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "reload",
        .about =
            "Have the node that is asked read its configuration file again and load its scripts\n"
            "anew, as SIGHUP does. A script that fails to load leaves the one that runs in\n"
            "place: the exit code is 1 then. lua/README.md says what passes from one to the\n"
            "next. Waits for what the old ones have under way (--timeout).",
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    /* The phases of a reload take some seconds where a script is slow: script/reload.c. */
    enum { PATIENCE_MS = 30000 };
    cli->timeout_ms = cli->timeout_ms < PATIENCE_MS ? PATIENCE_MS : cli->timeout_ms;
    struct buffer result = {0};
    exit_code = client_request(cli, "reload", bytes_of(NULL, 0), &result);
    struct bytes answer = buffer_bytes(&result), apps = view_get(answer, "apps");
    if (exit_code == EXIT_OK && cli->output != OUTPUT_TABLE) {
        exit_code = client_print(cli, answer);
    } else if (exit_code == EXIT_OK && view_count(apps) > 0) {
        print_apps(cli, apps);
        print_restart(view_get(answer, "restart"));
    } else if (exit_code == EXIT_OK) {
        printf("The node runs no scripts; its configuration file names none under apps.\n");
        print_restart(view_get(answer, "restart"));
    }
    if (exit_code == EXIT_OK) {
        exit_code = tell_failures(cli, apps);
    }
    buffer_close(&result);
    return exit_code;
}
