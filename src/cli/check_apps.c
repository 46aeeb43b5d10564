#include "cli/check_apps.h"

#include <string.h>

#include "net/loop.h"
#include "net/system_entropy.h"
#include "net/system_zones.h"
#include "script/script.h"

static void say_line(const struct cli *cli, enum err e, const char *path, const char *app,
                     struct bytes line)
{
    struct buffer text = {0};
    buffer_add_format(&text, "%s: application %s: %.*s", path, app, (int)line.size,
                      (const char *)line.data);
    cli_fail(cli, e, buffer_text(&text), NULL);
    buffer_close(&text);
}

/* One error a line. */
static void say(const struct cli *cli, enum err e, const char *path, const char *app,
                const char *lines)
{
    while (lines != NULL) {
        const char *end = strchr(lines, '\n');
        size_t size = end != NULL ? (size_t)(end - lines) : strlen(lines);
        say_line(cli, e, path, app, bytes_of(lines, size));
        lines = end != NULL ? end + 1 : NULL;
    }
}

static void note(const struct config_app *app, const struct script_checked *checked,
                 struct buffer *notes)
{
    if (checked->declared) {
        return;
    }
    if (checked->waits) {
        buffer_add_format(notes,
                          "  %s: its settings are looked at when it starts: it waits%s before it "
                          "calls mk.config.declare\n",
                          app->name, checked->place);
    } else if (buffer_bytes(&app->config).size > 0) {
        buffer_add_format(notes,
                          "  %s: nothing looks at its settings: it does not call "
                          "mk.config.declare\n",
                          app->name);
    }
}

int check_apps(const struct cli *cli, const char *path, const struct config *config,
               struct buffer *notes)
{
    const struct clock_port clock = loop_clock();
    int exit_code = EXIT_OK;
    for (uint32_t i = 0; i < config->apps_count; i++) {
        const struct config_app *app = &config->apps[i];
        const struct script_check check = {
            .app = {.name = app->name,
                    .path = app->script,
                    .config = buffer_bytes(&app->config),
                    .lua_path_more = app->lua_path},
            .node = {.id = config->id,
                     .addr = config_self(config)->peer,
                     .version = MK_VERSION,
                     .cluster = config->cluster},
            .limits = {.budget_us = config->limits.script_budget_ms * 1000,
                       .memory_bytes = config->limits.script_memory_bytes},
            .clock = &clock,
            .entropy = system_entropy(),
            .zones = system_zones(),
        };
        struct script_checked checked;
        enum err e = script_check_app(&check, &checked);
        if (e == ERR_OK) {
            note(app, &checked, notes);
        } else {
            say(cli, e, path, app->name, buffer_text(&checked.error));
            int code = checked.settings_wrong ? EXIT_USAGE : EXIT_ERROR;
            exit_code = exit_code != EXIT_OK ? exit_code : code;
        }
        buffer_close(&checked.error);
    }
    return exit_code;
}
