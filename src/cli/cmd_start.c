/* moonkeeper start: run a node, under its guardian. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/addresses.h"
#include "cli/check_apps.h"
#include "cli/cli.h"
#include "cli/daemon.h"
#include "cli/paths.h"
#include "guardian/guardian.h"
#include "guardian/page.h"
#include "net/loop.h"
#include "node/config.h"
#include "script/script.h"

struct start {
    struct cli *cli;
    const char *config_path, *overlay_path;
    const char *id, *client, *http, *data_dir;
    bool insecure, no_guardian, check;
    const char *dial, *http_instead;
    struct daemon_test test;
    struct config config;
    struct clock_port clock;
    struct log log;
};

/* ---- configuration: flag > environment > file > default -------------------------------------- */

static enum err apply_environment(struct config *c, struct why *why)
{
    for (unsigned i = 0; i < config_settable_count; i++) {
        const char *value = cli_environment(config_settable[i]);
        struct why reason = {""};
        if (value != NULL && config_set(c, config_settable[i], value, &reason) != ERR_OK) {
            return err_why(why, ERR_INVALID, "in the environment: %s", reason.text);
        }
    }
    return ERR_OK;
}

static enum err apply_flags(struct start *s, struct why *why)
{
    const struct {
        const char *key, *value;
    } flags[] = {
        {"id", s->id},
        {"client", s->client},
        {"http", s->http},
        {"data_dir", s->data_dir},
        {"log_level", s->cli->log_level},
        {"log_format", s->cli->log_format},
        {"insecure", s->insecure ? "true" : NULL},
    };
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0] && e == ERR_OK; i++) {
        if (flags[i].value != NULL) {
            e = config_set(&s->config, flags[i].key, flags[i].value, why);
        }
    }
    return e;
}

static enum err read_config(struct start *s, struct why *why)
{
    struct addresses addresses;
    enum err e = config_load(s->config_path, &s->config, why);
    if (e == ERR_OK && s->overlay_path != NULL) {
        e = config_overlay(s->overlay_path, &s->config, why);
    }
    e = e != ERR_OK ? e : apply_environment(&s->config, why);
    e = e != ERR_OK ? e : apply_flags(s, why);
    e = e != ERR_OK ? e : config_check(&s->config, why);
    return e != ERR_OK ? e : addresses_of(&s->config, &addresses, why);
}

/* In the node's process, as often as it is asked to reload: on its loop, which must not wait for
 * whoever writes into a pipe. */
static enum err read_again(void *ctx, struct config *out, struct why *why)
{
    struct start *s = ctx;
    struct stat file;
    if (stat(s->config_path, &file) == 0 && !S_ISREG(file.st_mode)) {
        return err_why(why, ERR_INVALID, "%s: it is no regular file, and is not read again",
                       s->config_path);
    }
    struct start again = *s;
    again.config = (struct config){0};
    enum err e = read_config(&again, why);
    *out = again.config;
    return e;
}

static void open_log(struct start *s)
{
    s->clock = loop_clock();
    s->log = (struct log){
        .wall_ms = s->clock.wall_ms,
        .clock = s->clock.ctx,
        .write = log_write_stderr,
        .node = s->config.id,
    };
    log_level_parse(s->config.log_level, &s->log.level);
    if (s->config.log_format != NULL) {
        log_format_parse(s->config.log_format, &s->log.format);
    } else {
        s->log.format = isatty(STDERR_FILENO) ? LOG_CONSOLE : LOG_LOGFMT;
    }
    if (s->log.format == LOG_CONSOLE && s->cli->colour_err) {
        s->log.format = LOG_CONSOLE_COLOUR;
    }
}

/* ---- running -------------------------------------------------------------------------------- */

/* A node that its guardian starts again has the scripts that the file names now, as after a reload.
 * All else is what the guardian itself goes by. */
static void take_apps_anew(struct start *s)
{
    struct config fresh = {0};
    struct why why = {""};
    if (read_again(s, &fresh, &why) == ERR_OK) {
        struct config_app *apps = s->config.apps;
        uint32_t count = s->config.apps_count;
        s->config.apps = fresh.apps;
        s->config.apps_count = fresh.apps_count;
        fresh.apps = apps;
        fresh.apps_count = count;
    } else {
        log_warn(&s->log,
                 "the configuration file cannot be read again; scripts are those it named before",
                 log_text("err", why.text));
    }
    config_close(&fresh);
}

static int run_node(void *ctx, const struct guardian_host *host)
{
    struct start *s = ctx;
    take_apps_anew(s);
    const struct daemon_source source = {.ctx = s, .read = read_again};
    return daemon_run(&s->config, &source, &s->test, &s->log, host);
}

/* For debuggers and sanitizers: the node alone. Its death is found out by timeouts. */
static int run_alone(struct start *s)
{
    struct guardian_host host = {.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct why why = {""};
    uint8_t incarnation[16];
    if (host.wake_fd < 0 || page_map(&host.page, &why) != ERR_OK ||
        getrandom(incarnation, sizeof incarnation, 0) != sizeof incarnation) {
        return cli_fail(s->cli, ERR_IO, why.text, NULL);
    }
    page_prepare(host.page, incarnation);
    int status = run_node(s, &host);
    page_unmap(host.page);
    close(host.wake_fd);
    return status;
}

static int run_guarded(struct start *s)
{
    const struct guardian_options options = {
        .data_dir = s->config.data_dir,
        .core_dumps = s->config.core_dumps,
        .log = &s->log,
        .dial = &s->test.dial,
        .node = run_node,
        .ctx = s,
    };
    malloc_trim(0); /* what reading the configuration took is not needed again */
    return guardian_run(&options);
}

static enum err check_scripts(const struct start *s, struct why *why)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < s->config.apps_count && e == ERR_OK; i++) {
        e = script_check(s->config.apps[i].script, why);
    }
    return e;
}

static int check(const struct start *s)
{
    struct buffer notes = {0};
    int exit_code = check_apps(s->cli, s->config_path, &s->config, &notes);
    if (exit_code == EXIT_OK) {
        printf("%s: fine (node %s of cluster %s)\n%s", s->config_path, s->config.id,
               s->config.cluster, buffer_text(&notes));
    }
    buffer_close(&notes);
    return exit_code;
}

static int start(struct start *s)
{
    struct why why = {""};
    enum err e = read_config(s, &why);
    if (e != ERR_OK) {
        cli_fail(s->cli, e, why.text,
                 "moonkeeper start --check after the change; conf/node.lua is "
                 "a sample that explains every key");
        return e == ERR_INVALID ? EXIT_USAGE : EXIT_ERROR;
    }
    if (s->check) {
        return check(s);
    }
    if (paths_make_directory(s->config.data_dir, &why) != ERR_OK) {
        return cli_fail(s->cli, ERR_IO, why.text, "another place with --data-dir");
    }
    open_log(s);
    /* Whoever starts a node is there to correct a script; a node that its guardian starts again
     * takes part without those that cannot be loaded. */
    if (check_scripts(s, &why) != ERR_OK) {
        log_error(&s->log, "cannot start", log_text("err", why.text));
        return EXIT_ERROR;
    }
    return s->no_guardian ? run_alone(s) : run_guarded(s);
}

int cmd_start(struct cli *cli, int argc, char **argv)
{
    struct start s = {.cli = cli};
    const struct flag flags[] = {
        {"config", 'c', "FILE", "the node's configuration, a Lua file", &s.config_path, NULL},
        {"id", 0, "ID", "which member this node is", &s.id, NULL},
        {"client", 0, "HOST:PORT", "where to listen for clients", &s.client, NULL},
        {"http", 0, "HOST:PORT", "where to listen for HTTP; off: nowhere", &s.http, NULL},
        {"data-dir", 0, "DIR", "where to keep the log", &s.data_dir, NULL},
        {"insecure", 0, NULL, "allow other machines to connect without TLS and tokens", NULL,
         &s.insecure},
        {"check", 0, NULL, "only check the configuration, and what it sets for its scripts", NULL,
         &s.check},
        {"no-guardian", 0, NULL, "run the node alone, for debuggers", NULL, &s.no_guardian},
        /* For moonkeeper dev: settings over those of --config. */
        {"overlay", 0, "FILE", NULL, &s.overlay_path, NULL},
        /* For the scenario tests on real processes. */
        {"test-control", 0, NULL, NULL, NULL, &s.test.control},
        {"test-dial", 0, "ID=HOST:PORT,...", NULL, &s.dial, NULL},
        {"test-http", 0, "HOST:PORT", NULL, &s.http_instead, NULL},
    };
    const struct usage usage = {
        .synopsis = "start -c FILE [flags]",
        .about = "Run a node and its guardian in the foreground until SIGTERM, which hands\n"
                 "leadership over first. conf/node.lua is an annotated sample.\n\n"
                 "Exit codes: 0 a planned stop; 1 an error: a script does not load, the other\n"
                 "members refuse this node; 2 a mistake in usage or configuration; 8 the disk\n"
                 "failed: look at it before the node is started again.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    if (s.config_path == NULL) {
        return cli_misuse(cli, "which configuration? give it with -c FILE; conf/node.lua is a "
                               "sample (or play with: moonkeeper dev)");
    }
    struct why why = {""};
    if (s.dial != NULL && dial_map_parse(s.dial, &s.test.dial, &why) != ERR_OK) {
        return cli_misuse(cli, "--test-dial: %s", why.text);
    }
    s.test.has_http = s.http_instead != NULL;
    if (s.test.has_http && address_parse(s.http_instead, 0, &s.test.http, &why) != ERR_OK) {
        return cli_misuse(cli, "--test-http: %s", why.text);
    }
    int status = start(&s);
    config_close(&s.config);
    return status;
}
