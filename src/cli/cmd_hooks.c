/* moonkeeper hooks: what the scripts of a node listen to, and how they fare. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/apps.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/table.h"
#include "cli/view.h"

static void print_table(const struct cli *cli, struct bytes hooks)
{
    struct table *t =
        table_new("APP|EVENT|HOOK|STATE|>CALLS|>ERRORS|>LAG|>P99 MS|>DROPPED", cli->colour);
    for (uint32_t i = 0; i < view_count(hooks); i++) {
        struct bytes h = view_at(hooks, i);
        static const char *const texts[] = {"app", "event", "name"};
        char text[128];
        for (size_t j = 0; j < 3; j++) {
            table_cell(t, TABLE_PLAIN, "%s", view_text(h, texts[j], text, sizeof text));
        }
        bool on = strcmp(view_text(h, "state", text, sizeof text), "on") == 0;
        uint64_t errors = view_u64(h, "errors");
        table_cell(t, on ? TABLE_GOOD : TABLE_BAD, "%s", text);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(h, "calls"));
        table_cell(t, errors > 0 ? TABLE_WARN : TABLE_PLAIN, "%" PRIu64, errors);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(h, "lag"));
        table_cell(t, TABLE_PLAIN, "%.1f", (double)view_u64(h, "p99_us") / 1e3);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(h, "dropped"));
    }
    table_print(t, stdout);
    table_free(t);
}

/* Why there is nothing to list, and how to change that. */
static void explain_none(struct bytes status)
{
    char id[64];
    view_text(status, "id", id, sizeof id);
    if (view_count(view_get(status, "apps")) == 0) {
        printf("%s runs no scripts. Name one under apps in its configuration file:\n"
               "    apps = { { name = \"demo\", script = \"demo.lua\" } },\n"
               "or try one in a local cluster: moonkeeper dev demo.lua\n",
               id);
    } else {
        printf("The scripts of %s have no hooks. A script adds one with mk.on:\n"
               "    local mk = require \"moonkeeper\"\n"
               "    mk.on(\"leader_elected\", function(ev) mk.log.info(ev.leader_id) end)\n",
               id);
    }
}

/* The hooks are those of the node that answers first, and so is the status. */
static int print_all(struct cli *cli, struct bytes hooks)
{
    struct buffer status = {0};
    int exit_code = client_request(cli, "status", bytes_of(NULL, 0), &status);
    if (view_count(hooks) > 0) {
        print_table(cli, hooks);
    } else if (exit_code == EXIT_OK) {
        explain_none(buffer_bytes(&status));
    }
    if (exit_code == EXIT_OK) {
        apps_print_failed(cli, buffer_bytes(&status));
    }
    buffer_close(&status);
    return exit_code;
}

int cmd_hooks(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "hooks",
        .about = "List the hooks of the scripts on the node that is asked.",
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer result = {0};
    exit_code = client_request(cli, "hooks", bytes_of(NULL, 0), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        exit_code = print_all(cli, buffer_bytes(&result));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&result);
    return exit_code;
}
