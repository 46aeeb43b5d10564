/* moonkeeper test: tests written in Lua, against simulated clusters or real processes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/test_swarm.h"
#include "scenario/jobs.h"
#include "scenario/report.h"
#include "scenario/suite.h"

enum { PATIENCE_MAX = 100 };

enum format { FORMAT_PEOPLE, FORMAT_TAP, FORMAT_JUNIT };

struct test {
    struct cli *cli;
    const char *seed_text, *seeds_text, *jobs_text, *patience_text, *format_name;
    bool list;
    bool swarm, twice, knobs; /* twice, knobs: of the swarm */
    uint64_t seed;
    enum format format;
    struct suite_options options;
    struct report_style style;
};

/* ---- arguments ------------------------------------------------------------------------------- */

static bool take_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && value <= max;
}

static bool take_flags(struct test *t, int *exit_code)
{
    uint64_t jobs = 0, patience = 0;
    *exit_code = EXIT_USAGE;
    if (t->seed_text != NULL) {
        if (!take_number(t->seed_text, INT64_MAX, &t->seed)) {
            cli_misuse(t->cli, "--seed is \"%s\"; it must be a whole number", t->seed_text);
            return false;
        }
        t->options.seed = &t->seed;
    }
    if (t->seeds_text != NULL &&
        (!take_number(t->seeds_text, 1000000000, &t->options.seeds) || t->options.seeds == 0)) {
        cli_misuse(t->cli, "--seeds is \"%s\"; it must be a whole number from 1 on", t->seeds_text);
        return false;
    }
    if (t->jobs_text != NULL && (!take_number(t->jobs_text, JOBS_MAX, &jobs) || jobs == 0)) {
        cli_misuse(t->cli, "--jobs is \"%s\"; it must be 1 to %d", t->jobs_text, JOBS_MAX);
        return false;
    }
    t->options.jobs = (uint32_t)jobs;
    if (t->patience_text != NULL &&
        (!take_number(t->patience_text, PATIENCE_MAX, &patience) || patience == 0)) {
        cli_misuse(t->cli, "--patience is \"%s\"; it must be 1 to %d", t->patience_text,
                   PATIENCE_MAX);
        return false;
    }
    if (patience > 0 && !t->options.real) {
        cli_misuse(t->cli, "--patience goes with --real: in simulation nothing is late");
        return false;
    }
    t->options.patience = (uint32_t)patience;
    if (t->format_name != NULL) {
        t->format = strcmp(t->format_name, "tap") == 0     ? FORMAT_TAP
                    : strcmp(t->format_name, "junit") == 0 ? FORMAT_JUNIT
                                                           : FORMAT_PEOPLE;
        if (t->format == FORMAT_PEOPLE) {
            cli_misuse(t->cli, "--format is \"%s\"; it must be tap or junit", t->format_name);
            return false;
        }
    }
    return true;
}

/* ---- running --------------------------------------------------------------------------------- */

static void print(struct buffer *text)
{
    fwrite(text->data, 1, text->size, stdout);
    fflush(stdout);
    buffer_clear(text);
}

static void on_case(void *ctx, const struct suite *s, const struct suite_case *c)
{
    const struct test *t = ctx;
    struct buffer text = {0};
    if (t->format == FORMAT_PEOPLE) {
        report_case(s, c, &t->style, &text);
    } else if (t->format == FORMAT_TAP) {
        report_tap_case(s, c, &t->style, &text);
    }
    print(&text);
    buffer_close(&text);
}

static void list(const struct suite *s)
{
    for (uint32_t i = 0; i < s->cases_count; i++) {
        const struct scenario_case *c = suite_case_of(&s->cases[i]);
        printf("%s:%u: %s (%s%s%s)\n", s->cases[i].file->path, c->line, c->name,
               c->sim ? "sim" : "", c->sim && c->real ? ", " : "", c->real ? "real" : "");
    }
}

static bool any_failed(const struct suite *s)
{
    for (uint32_t i = 0; i < s->cases_count; i++) {
        if (s->cases[i].failed > 0) {
            return true;
        }
    }
    return false;
}

/* The children append to it. */
static int begin_trace(const struct test *t)
{
    FILE *file = fopen(t->options.trace, "w");
    if (file == NULL) {
        struct why why;
        enum err err =
            err_why(&why, err_from_errno(errno), "%s: %s", t->options.trace, strerror(errno));
        return cli_fail(t->cli, err, why.text, NULL);
    }
    fclose(file);
    return EXIT_OK;
}

static int run(struct test *t, struct suite *s)
{
    struct buffer text = {0};
    struct why why = {""};
    if (t->options.trace != NULL && begin_trace(t) != EXIT_OK) {
        return EXIT_USAGE;
    }
    if (t->format == FORMAT_TAP) {
        report_tap_plan(s, &text);
        print(&text);
    }
    enum err err = suite_run(s, &t->options, on_case, t, &why);
    if (err != ERR_OK) {
        return cli_fail(t->cli, err, why.text, NULL);
    }
    if (t->format == FORMAT_PEOPLE) {
        report_summary(s, &t->style, &text);
    } else if (t->format == FORMAT_JUNIT) {
        report_junit(s, &t->style, &text);
    }
    print(&text);
    buffer_close(&text);
    return any_failed(s) ? EXIT_ERROR : EXIT_OK;
}

static int load_and_run(struct test *t, int count, char **paths)
{
    struct suite s = {0};
    struct why why = {""};
    int exit_code = EXIT_OK;
    for (int i = 0; i < count && exit_code == EXIT_OK; i++) {
        enum err err = suite_add(&s, paths[i], &why);
        if (err != ERR_OK) {
            cli_fail(t->cli, err, why.text, NULL);
            exit_code = EXIT_USAGE;
        }
    }
    if (exit_code == EXIT_OK) {
        suite_choose(&s, &t->options);
        if (s.cases_count == 0) {
            exit_code =
                t->options.filter != NULL
                    ? cli_misuse(t->cli, "no test has \"%s\" in its name", t->options.filter)
                    : cli_misuse(t->cli, "there is no test in %s", paths[0]);
        } else if (t->list) {
            list(&s);
        } else {
            exit_code = run(t, &s);
        }
    }
    suite_close(&s);
    return exit_code;
}

/* ---- the swarm ------------------------------------------------------------------------------- */

static int run_swarm(struct test *t, int count)
{
    const struct suite_options *o = &t->options;
    if (count > 0) {
        return cli_misuse(t->cli, "--swarm takes no test files");
    }
    if (o->real || o->filter != NULL || t->list || t->format_name != NULL) {
        return cli_misuse(t->cli, "--real, --filter, --list and --format are for test files; "
                                  "with --swarm there are --seeds, --seed, --jobs, --trace, "
                                  "--twice and --knobs");
    }
    if (o->trace != NULL && begin_trace(t) != EXIT_OK) {
        return EXIT_USAGE;
    }
    uint64_t seeds = o->seed != NULL ? 1 : TEST_SWARM_SEEDS;
    return test_swarm(t->cli,
                      &(struct swarm_suite_options){
                          .first_seed = o->seed != NULL ? *o->seed : 1,
                          .seeds = o->seeds > 0 ? o->seeds : seeds,
                          .jobs = o->jobs,
                          .twice = t->twice,
                          .trace = o->trace,
                      },
                      t->knobs);
}

int cmd_test(struct cli *cli, int argc, char **argv)
{
    struct test t = {.cli = cli};
    const struct flag flags[] = {
        {"seed", 's', "N", "run with this seed only", &t.seed_text, NULL},
        {"seeds", 0, "N", "run N times as many seeds as the tests ask for", &t.seeds_text, NULL},
        {"real", 'r', NULL, "on real processes instead of in simulation", NULL, &t.options.real},
        {"filter", 'f', "TEXT", "only tests with this in their name", &t.options.filter, NULL},
        {"trace", 0, "FILE", "write every step to a file, and print trace hashes", &t.options.trace,
         NULL},
        {"jobs", 'j', "N", "processes at a time; one for each processor if not given", &t.jobs_text,
         NULL},
        {"patience", 0, "N", "--real: wait N times as long as the tests say, on a slow machine",
         &t.patience_text, NULL},
        {"format", 0, "FORMAT", "tap or junit, for machines", &t.format_name, NULL},
        {"swarm", 0, NULL, "random clusters instead of test files, under all kinds of faults", NULL,
         &t.swarm},
        {"twice", 0, NULL, "swarm: run each seed twice, and compare the traces", NULL, &t.twice},
        {"knobs", 0, NULL, "swarm: print what the runs were made of", NULL, &t.knobs},
        {"list", 'l', NULL, "only say which tests there are", NULL, &t.list},
    };
    const struct usage usage = {
        .synopsis = "test FILE|FOLDER... | --swarm  [--seed N] [--seeds N] [--real]",
        .about =
            "Run tests of clusters and scripts, written in Lua (tests/README.md). In simulation a\n"
            "run is a pure function of its seed; a failure shows the seed, what happened last,\n"
            "and the command that runs it again.\n\n"
            "With --swarm each seed draws a cluster, a load and faults of all kinds; invariants "
            "are\n"
            "held after every event, and what the clients saw must be linearizable.\n\n"
            "Exit code: 0 all passed, 1 some failed, 2 a file does not load, or usage.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 0,
        .arguments_max = 1000,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0 || !take_flags(&t, &exit_code)) {
        return exit_code;
    }
    t.options.tmp_dir = getenv("TMPDIR");
    t.style = (struct report_style){.colour = cli->colour,
                                    .real = t.options.real,
                                    .patience = t.options.patience,
                                    .hashes = t.options.trace != NULL,
                                    .program = cli->program};
    if (t.swarm) {
        return run_swarm(&t, count);
    }
    if (count == 0) {
        return cli_misuse(cli, "test wants a file or a folder, or --swarm");
    }
    if (t.twice || t.knobs) {
        return cli_misuse(cli, "--twice and --knobs go with --swarm");
    }
    return load_and_run(&t, count, argv);
}
