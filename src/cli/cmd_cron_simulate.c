/* moonkeeper cron simulate: which slots are there between two times? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "cli/cmd_cron.h"
#include "cli/cron_jobs.h"
#include "cli/table.h"
#include "net/loop.h"

enum { LIMIT_DEFAULT = 1000, MS_PER_DAY = 24 * 3600 * 1000, S_PER_MINUTE = 60 };

struct upcoming {
    const struct cron_job *job;
    int64_t before_ms; /* the slot before, or the beginning */
    int64_t next_ms;   /* INT64_MAX: no more */
    int64_t to_ms;
};

static void go_on(struct upcoming *u)
{
    int64_t next_ms;
    bool more = slots_next(&u->job->slots, u->before_ms, &next_ms) && next_ms < u->to_ms;
    u->next_ms = more ? next_ms : INT64_MAX;
}

static struct upcoming *soonest(struct upcoming *all, size_t count)
{
    struct upcoming *first = &all[0];
    for (size_t i = 1; i < count; i++) {
        first = all[i].next_ms < first->next_ms ? &all[i] : first;
    }
    return first->next_ms == INT64_MAX ? NULL : first;
}

static void add_slot(struct table *t, const struct upcoming *u)
{
    char text[SLOT_TEXT_MAX];
    int64_t change_s = slots_clock_change(&u->job->slots, u->before_ms, u->next_ms);
    table_cell(t, TABLE_PLAIN, "%s", slots_text(&u->job->slots, u->next_ms, text));
    table_cell(t, TABLE_PLAIN, "%s", u->job->tz);
    table_cell(t, TABLE_PLAIN, "%s", u->job->name);
    if (change_s == 0) {
        table_cell(t, TABLE_PLAIN, "%s", "");
    } else {
        table_cell(t, TABLE_WARN, "put %s by %lld min", change_s > 0 ? "forward" : "back",
                   llabs(change_s) / S_PER_MINUTE);
    }
}

/* All in the order of time. Returns how many; one more than the limit if there are more. */
static uint64_t merge(struct upcoming *all, size_t count, uint64_t limit, struct table *t)
{
    uint64_t slots = 0;
    struct upcoming *u;
    while (slots <= limit && (u = soonest(all, count)) != NULL) {
        if (slots++ < limit) {
            add_slot(t, u);
        }
        u->before_ms = u->next_ms;
        go_on(u);
    }
    return slots;
}

struct simulation {
    const char *from, *to, *limit_text;
    uint64_t limit;
    const struct cron_job *only; /* NULL: all */
};

static int simulate(struct cli *cli, const struct cron_jobs *jobs, const struct simulation *s)
{
    struct clock_port clock = loop_clock();
    struct upcoming *all = alloc_zeroed(jobs->count + 1, sizeof *all);
    size_t simulated = 0;
    for (size_t i = 0; i < jobs->count; i++) {
        if (jobs->at[i].is_foreign || (s->only != NULL && s->only != &jobs->at[i])) {
            continue;
        }
        struct upcoming *u = &all[simulated++];
        int64_t from_ms = clock_wall_ms(&clock);
        struct why why = {""};
        const struct slots *slots = &jobs->at[i].slots;
        enum err e = s->from != NULL ? slots_parse_time(slots, s->from, &from_ms, &why) : ERR_OK;
        u->to_ms = from_ms + MS_PER_DAY;
        if (e == ERR_OK && s->to != NULL) {
            e = slots_parse_time(slots, s->to, &u->to_ms, &why);
        }
        if (e != ERR_OK) {
            free(all);
            return cli_misuse(cli, "%s", why.text);
        }
        u->job = &jobs->at[i];
        u->before_ms = from_ms - 1; /* a slot at that very time is one */
        go_on(u);
    }
    struct table *t = table_new("TIME|ZONE|JOB|CLOCKS", cli->colour);
    uint64_t count = simulated > 0 ? merge(all, simulated, s->limit, t) : 0;
    table_print(t, stdout);
    table_free(t);
    free(all);
    if (count > s->limit) {
        fprintf(stderr, "there are more: --limit shows the first %" PRIu64 "\n", s->limit);
    }
    return EXIT_OK;
}

int cron_simulate(struct cli *cli, int argc, char **argv)
{
    const char *prefix = CRON_JOBS_PREFIX, *config = NULL;
    struct simulation s = {.limit = LIMIT_DEFAULT};
    const struct flag flags[] = {
        {"from", 0, "TIME",
         "2026-03-29 or \"2026-03-29 02:30\", in the zone of each job; with Z: UTC (now)", &s.from,
         NULL},
        {"to", 0, "TIME", "up to here (a day later)", &s.to, NULL},
        {"limit", 0, "N", "at most so many (1000)", &s.limit_text, NULL},
        {"config", 'c', "FILE", "the jobs of a configuration, instead of those of the cluster",
         &config, NULL},
        CRON_PREFIX_FLAG(&prefix),
    };
    const struct usage usage = {
        .synopsis = "cron simulate [JOB] [--from TIME] [--to TIME] [-c FILE]",
        .about =
            "Which slots there are between two times, as clocks in the zone of each job show "
            "them:\n"
            "of all jobs, or of one. Says where clocks were put forward or back. Nothing is run.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = 1,
    };
    int exit_code;
    struct cron_jobs jobs;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    if (s.limit_text != NULL && !cli_parse_number(s.limit_text, UINT32_MAX, &s.limit)) {
        return cli_misuse(cli, "--limit is \"%s\"; it must be a whole number", s.limit_text);
    }
    exit_code =
        config != NULL ? cron_jobs_load(cli, config, &jobs) : cron_jobs_read(cli, prefix, &jobs);
    if (exit_code == EXIT_OK && count > 0) {
        s.only = cron_jobs_find(cli, &jobs, argv[0]);
        exit_code = s.only != NULL ? EXIT_OK : EXIT_ERROR;
    }
    if (exit_code == EXIT_OK) {
        exit_code = simulate(cli, &jobs, &s);
    }
    cron_jobs_close(&jobs);
    return exit_code;
}
