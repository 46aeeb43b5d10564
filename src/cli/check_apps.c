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

static enum err check(const struct script_app *app, const struct script_node *node,
                      const struct config_limits *limits, struct script_checked *out)
{
    const struct clock_port clock = loop_clock();
    const struct script_check check = {
        .app = *app,
        .node = *node,
        .limits = {.budget_us = limits->script_budget_ms * 1000,
                   .memory_bytes = limits->script_memory_bytes},
        .clock = &clock,
        .entropy = system_entropy(),
        .zones = system_zones(),
    };
    return script_check_app(&check, out);
}

int check_apps(const struct cli *cli, const char *path, const struct config *config,
               struct buffer *notes)
{
    const struct script_node node = {.id = config->id,
                                     .addr = config_self(config)->peer,
                                     .version = MK_VERSION,
                                     .cluster = config->cluster};
    int exit_code = EXIT_OK;
    for (uint32_t i = 0; i < config->apps_count; i++) {
        const struct config_app *app = &config->apps[i];
        const struct script_app spec = {.name = app->name,
                                        .path = app->script,
                                        .config = buffer_bytes(&app->config),
                                        .lua_path_more = app->lua_path};
        struct script_checked checked;
        enum err e = check(&spec, &node, &config->limits, &checked);
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

int check_config(const struct cli *cli, const char *path, struct buffer *notes)
{
    struct config config;
    struct why why = {""};
    enum err e = config_load(path, &config, &why);
    e = e != ERR_OK ? e : config_set(&config, "data_dir", ".", &why);
    e = e != ERR_OK ? e : config_check(&config, &why);
    int exit_code =
        e == ERR_OK ? check_apps(cli, path, &config, notes) : cli_fail(cli, e, why.text, NULL);
    config_close(&config);
    return e == ERR_INVALID ? EXIT_USAGE : exit_code;
}

enum err check_script(const char *path, struct buffer *notes, struct why *why)
{
    enum err e = script_check(path, why);
    if (e != ERR_OK) {
        return e;
    }
    char name[SCRIPT_NAME_MAX];
    script_default_name(path, name);
    const struct script_app app = {.name = name, .path = path};
    const struct script_node node = {.id = "n1", .addr = "", .version = MK_VERSION, .cluster = ""};
    struct script_checked checked;
    e = check(&app, &node, &(struct config_limits){0}, &checked);
    if (e != ERR_OK && checked.lacks) {
        buffer_add_format(notes, "%s", buffer_text(&checked.error));
        e = ERR_OK;
    } else if (e != ERR_OK) {
        const char *text = buffer_text(&checked.error);
        bool named = strncmp(text, path, strlen(path)) == 0;
        err_why(why, e, "%s%s%s", named ? "" : path, named ? "" : ": ", text);
    }
    buffer_close(&checked.error);
    return e;
}
