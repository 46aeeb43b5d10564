/* moonkeeper demo: three nodes on loopback, told as a story: an election, commands, the death of
 * the leader and of its machine, and how many milliseconds each of it took. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/addresses.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/local_cluster.h"
#include "cli/log_line.h"
#include "cli/view.h"
#include "net/loop.h"

enum {
    NODES = 3,
    STEP_TIMEOUT_US = 15000000,
    ASK_TIMEOUT_US = 300000,
    PUMP_MS = 2,
    PAUSE_MS = 700, /* for the reader */
    ROUND_MS = 4000,
};

static char default_script[] = "bundled:demo";

struct demo {
    struct cli *cli;
    struct local_cluster *cluster;
    struct clock_port clock;
    bool stopping;
    bool expected_end[LOCAL_NODES_MAX]; /* we killed its guardian */
    const char *failed;                 /* the step that did not happen; NULL: all did */
    bool told_all;                      /* a death of either kind was shown to its end */
    uint64_t writes;
};

/* ---- telling -------------------------------------------------------------------------------- */

static const char *paint(const struct demo *d, const char *colour)
{
    return d->cli->colour ? colour : "";
}

static void chapter(const struct demo *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void chapter(const struct demo *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("\n%s== ", paint(d, "\033[1m"));
    vprintf(format, args);
    printf("%s\n", paint(d, "\033[0m"));
    va_end(args);
    fflush(stdout);
}

static void fact(const struct demo *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fact(const struct demo *d, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("%s   -> ", paint(d, "\033[1;32m"));
    vprintf(format, args);
    printf("%s\n", paint(d, "\033[0m"));
    va_end(args);
    fflush(stdout);
}

/* Lines of the nodes that belong to the story. The rest is left out unless it is a warning. */
static bool is_of_interest(const struct log_line *line)
{
    static const char *const messages[] = {
        "pre-vote started", "election started",
        "granted its vote", "this node leads",
        "leader elected",   "leader lost",
        "stepped down",     "stopping",
        "stopped",          "ready",
        "term changed",
    };
    if (log_line_text(line, "app")[0] != 0) {
        return true; /* a script said it */
    }
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        if (strcmp(log_line_text(line, "msg"), messages[i]) == 0) {
            return true;
        }
    }
    const char *level = log_line_text(line, "level");
    return strcmp(level, "warn") == 0 || strcmp(level, "error") == 0;
}

static void on_line(void *ctx, unsigned node, const char *text)
{
    struct demo *d = ctx;
    const char *id = local_cluster_id(d->cluster, node);
    const char *colour = d->cli->colour ? local_cluster_colour(node) : NULL;
    static const char *const left_out[] = {"app",      "hook",         "client",  "peer", "http",
                                           "data_dir", "votes_needed", "attempt", NULL};
    struct log_line *line = log_line_parse(text);
    if (line == NULL) {
        printf("   %s %s\n", id, text);
    } else if (is_of_interest(line)) {
        fputs("   ", stdout);
        log_line_print(line, id, colour, left_out, stdout);
    }
    log_line_free(line);
}

static void fail(struct demo *d, const char *step)
{
    if (d->failed == NULL) {
        d->failed = step;
    }
}

static void on_ended(void *ctx, unsigned node, int exit_status)
{
    struct demo *d = ctx;
    (void)exit_status;
    if (!d->stopping && !d->expected_end[node]) {
        fail(d, "a node ended although nobody had asked it to");
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

static uint64_t now_us(const struct demo *d)
{
    return clock_now_us(&d->clock);
}

static bool is_over(const struct demo *d)
{
    return d->failed != NULL || interrupt_count() > 0;
}

static void pause_ms(struct demo *d, uint64_t ms)
{
    uint64_t until_us = now_us(d) + ms * 1000;
    while (!is_over(d) && now_us(d) < until_us) {
        local_cluster_pump(d->cluster, PUMP_MS * 10);
        fflush(stdout);
    }
}

/* The role of a node; "" if it does not answer. */
static void role_of(const struct demo *d, unsigned node, char out[32])
{
    struct buffer status = {0};
    struct why why;
    out[0] = 0;
    if (client_ask(local_cluster_client(d->cluster, node), "status", bytes_of(NULL, 0),
                   ASK_TIMEOUT_US, &status, &why) == ERR_OK) {
        view_text(buffer_bytes(&status), "role", out, 32);
    }
    buffer_close(&status);
}

/* Wait until a node, other than `not`, says that it leads. NODES: none did in time. */
static unsigned wait_for_leader(struct demo *d, unsigned not )
{
    uint64_t until_us = now_us(d) + STEP_TIMEOUT_US;
    while (!is_over(d) && now_us(d) < until_us) {
        for (unsigned i = 0; i < NODES; i++) {
            char role[32];
            if (i != not &&local_cluster_is_running(d->cluster, i)) {
                role_of(d, i, role);
                if (strcmp(role, "leader") == 0) {
                    return i;
                }
            }
        }
        local_cluster_pump(d->cluster, PUMP_MS);
    }
    fail(d, "no leader was elected");
    return NODES;
}

static void wait_for_role(struct demo *d, unsigned node, const char *wanted, const char *step)
{
    uint64_t until_us = now_us(d) + STEP_TIMEOUT_US;
    char role[32] = "";
    while (!is_over(d) && strcmp(role, wanted) != 0) {
        if (now_us(d) > until_us) {
            fail(d, step);
        }
        local_cluster_pump(d->cluster, PUMP_MS);
        role_of(d, node, role);
    }
}

/* Write once through a node. The leader may be changing: it waits for the next one. */
static bool write_through(struct demo *d, unsigned node)
{
    bool done = local_cluster_write(d->cluster, node, "demo/last", d->writes, STEP_TIMEOUT_US);
    d->writes += done;
    return done;
}

/* ---- what a user would type ------------------------------------------------------------------ */

/* Show and run "moonkeeper ARGS..."; its output goes where ours goes. */
static void command(struct demo *d, const char *const *args, const char *step)
{
    const char *argv[12] = {"moonkeeper"};
    int count = 1;
    printf("%s   $ moonkeeper", paint(d, "\033[1m"));
    for (; args[count - 1] != NULL && count < 8; count++) {
        argv[count] = args[count - 1];
        printf(" %s", argv[count]);
    }
    printf("%s\n", paint(d, "\033[0m"));
    fflush(stdout);
    argv[count++] = "-e";
    argv[count++] = local_cluster_client(d->cluster, 0);
    pid_t child = fork();
    if (child == 0) {
        execv("/proc/self/exe", (char *const *)argv); /* it takes them as const */
        _exit(EXIT_ERROR);
    }
    int status = -1;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_OK) {
        fail(d, step);
    }
}

#define COMMAND(d, step, ...) command(d, (const char *const[]){__VA_ARGS__, NULL}, step)

/* ---- chapters ------------------------------------------------------------------------------- */

static unsigned first_election(struct demo *d)
{
    struct why why = {""};
    uint64_t started_us = now_us(d);
    chapter(d, "three nodes start");
    for (unsigned i = 0; i < NODES; i++) {
        if (local_cluster_start(d->cluster, i, &why) != ERR_OK) {
            fail(d, "a node could not be started");
        }
    }
    unsigned leader = wait_for_leader(d, NODES);
    if (leader < NODES && write_through(d, leader)) {
        uint64_t took_us = now_us(d) - started_us;
        pause_ms(d, PAUSE_MS / 2);
        fact(d, "%s leads, and the first write is committed %.0f ms after the start",
             local_cluster_id(d->cluster, leader), (double)took_us / 1e3);
    } else {
        fail(d, "no command was committed");
    }
    pause_ms(d, PAUSE_MS);
    return leader;
}

static void commands(struct demo *d)
{
    chapter(d, "commands: any node takes them, a majority keeps them");
    COMMAND(d, "a value was not written", "kv", "put", "greeting", "hello");
    COMMAND(d, "a value was not read back", "kv", "get", "greeting");
    COMMAND(d, "status was not shown", "status");
    pause_ms(d, PAUSE_MS);
}

/* Kill the leader, or leader and guardian, and time what follows. Returns the new leader. */
static unsigned kill_leader(struct demo *d, unsigned leader, bool machine)
{
    const char *id = local_cluster_id(d->cluster, leader);
    unsigned survivor = (leader + 1) % NODES;
    if (machine) {
        chapter(d, "kill -9 %s and its guardian, as if the machine had lost power", id);
    } else {
        chapter(d, "kill -9 %s, the leader; its guardian lives", id);
    }
    d->expected_end[leader] = machine;
    uint64_t killed_us = now_us(d);
    local_cluster_kill(d->cluster, leader, machine);
    bool written = write_through(d, survivor);
    uint64_t written_us = now_us(d);
    unsigned next = wait_for_leader(d, NODES);
    if (!written || next == NODES) {
        fail(d, "no write was accepted after the death of the leader");
        return NODES;
    }
    pause_ms(d, PAUSE_MS / 2);
    if (is_over(d)) {
        return next;
    }
    fact(d, "%s leads; the next write was committed %.1f ms after the kill",
         local_cluster_id(d->cluster, next), (double)(written_us - killed_us) / 1e3);
    return next;
}

static void bring_back(struct demo *d, unsigned node, bool machine)
{
    struct why why = {""};
    const char *id = local_cluster_id(d->cluster, node);
    uint64_t started_us = now_us(d);
    if (machine) {
        chapter(d, "%s is started again", id);
        while (!is_over(d) && local_cluster_is_running(d->cluster, node)) {
            local_cluster_pump(d->cluster, PUMP_MS);
        }
        d->expected_end[node] = false;
        if (local_cluster_start(d->cluster, node, &why) != ERR_OK) {
            fail(d, "the old leader could not be started again");
        }
    }
    wait_for_role(d, node, "follower", "the old leader did not come back as a follower");
    if (!is_over(d) && machine) {
        uint64_t took_us = now_us(d) - started_us;
        pause_ms(d, PAUSE_MS / 2);
        fact(d, "%s is back as a follower after %.0f ms", id, (double)took_us / 1e3);
    } else if (!is_over(d)) {
        fact(d, "%s is back as a follower: its guardian has started it again", id);
    }
    pause_ms(d, PAUSE_MS);
}

static void one_more_death(struct demo *d, unsigned *leader, bool machine)
{
    unsigned old = *leader;
    unsigned next = kill_leader(d, old, machine);
    if (!is_over(d) && next != old) {
        bring_back(d, old, machine);
    }
    *leader = next;
}

static void story(struct demo *d, uint64_t until_us)
{
    unsigned leader = first_election(d);
    if (!is_over(d)) {
        commands(d);
    }
    for (unsigned round = 0; !is_over(d) && (round < 2 || now_us(d) < until_us); round++) {
        one_more_death(d, &leader, round % 2 == 1);
        d->told_all |= round >= 1 && !is_over(d);
        if (round >= 1 && !is_over(d)) {
            COMMAND(d, "status was not shown", "status");
            uint64_t left_ms = until_us > now_us(d) ? (until_us - now_us(d)) / 1000 : 0;
            pause_ms(d, left_ms < ROUND_MS ? left_ms : ROUND_MS);
        }
    }
    chapter(d, "all nodes stop");
    d->stopping = true;
    local_cluster_stop(d->cluster);
    uint64_t give_up_us = now_us(d) + STEP_TIMEOUT_US;
    while (local_cluster_running(d->cluster) > 0 && now_us(d) < give_up_us) {
        local_cluster_pump(d->cluster, PUMP_MS * 10);
    }
    if (local_cluster_running(d->cluster) > 0) {
        fail(d, "the nodes did not stop");
    }
}

int cmd_demo(struct cli *cli, int argc, char **argv)
{
    const char *duration = NULL, *port = NULL;
    const struct flag flags[] = {
        {"port", 'p', "PORT", "of the first node's clients (7117); each node is 10 above", &port,
         NULL},
        {"for", 0, "TIME", "kill leaders for so long, as 1m, not only twice", &duration, NULL},
    };
    const struct usage usage = {
        .synopsis = "demo [--for TIME] [SCRIPT.lua]",
        .about =
            "Three nodes on this machine: an election, commands, the death of a leader and of\n"
            "its machine. Exits with 1 if anything did not happen as told.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = 1,
    };
    int exit_code;
    unsigned base_port = DEFAULT_CLIENT_PORT;
    uint64_t duration_ms = 0;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    if (duration != NULL && !cli_parse_duration(duration, &duration_ms)) {
        return cli_misuse(cli, "--for is \"%s\"; it must be a time like 10s", duration);
    }
    if (port != NULL && !local_cluster_parse_port(port, &base_port)) {
        return cli_misuse(cli, "--port is \"%s\"; it must be from 1024 to 65400", port);
    }
    char *script = count == 1 ? argv[0] : default_script;
    struct demo d = {.cli = cli, .clock = loop_clock()};
    const struct local_options options = {
        .nodes = NODES,
        .base_port = (uint16_t)base_port,
        .scripts = &script,
        .scripts_count = 1,
        .log_level = "info",
        .line = on_line,
        .ended = on_ended,
        .ctx = &d,
    };
    struct why why = {""};
    uint64_t until_us = clock_now_us(&d.clock) + duration_ms * 1000;
    interrupt_watch();
    if (local_cluster_open(&options, &d.cluster, &why) != ERR_OK) {
        return cli_fail(cli, ERR_IO, why.text, NULL);
    }
    story(&d, until_us);
    local_cluster_close(d.cluster);
    if (d.failed != NULL) {
        return cli_fail(cli, ERR_IO, d.failed, "moonkeeper dev, to look at it by hand");
    }
    if (!d.told_all) {
        printf("\nInterrupted before the end: what was shown happened, the rest was not tried.\n");
        return EXIT_ERROR;
    }
    printf("\nEverything happened as told. Next: moonkeeper dev my_script.lua\n");
    return EXIT_OK;
}
