/* moonkeeper cron: the jobs of the bundled script of that name. What it keeps in kv is the
 * interface; scripts/README.md describes the keys. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/cmd_cron.h"
#include "cli/cron_jobs.h"
#include "cli/table.h"
#include "cli/view.h"
#include "wire/writer.h"

/* Of -o json: the values as they are. */
static int print_values(const struct cli *cli, const struct kv_items *items)
{
    struct buffer out = {0};
    kv_items_write(items, &out);
    int exit_code = client_print(cli, buffer_bytes(&out));
    buffer_close(&out);
    return exit_code;
}

static enum table_style style_of(const char *state)
{
    static const struct {
        const char *state;
        enum table_style style;
    } styles[] = {{"ok", TABLE_GOOD},      {"running", TABLE_GOOD}, {"queued", TABLE_WARN},
                  {"skipped", TABLE_WARN}, {"missed", TABLE_WARN},  {"removed", TABLE_DIM},
                  {"waiting", TABLE_PLAIN}};
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++) {
        if (strcmp(state, styles[i].state) == 0) {
            return styles[i].style;
        }
    }
    return TABLE_BAD;
}

/* ---- list ----------------------------------------------------------------------------------- */

static void add_last(struct table *t, const struct cron_job *job)
{
    char state[32], text[SLOT_TEXT_MAX];
    struct bytes last = view_get(job->state, "last");
    view_text(last, "state", state, sizeof state);
    if (state[0] == 0) {
        table_cell(t, TABLE_DIM, "-");
    } else {
        slots_text(&job->slots, (int64_t)view_u64(last, "slot_ms"), text);
        table_cell(t, style_of(state), "%s %s", state, text);
    }
}

static void add_job(struct table *t, const struct cron_job *job)
{
    char text[SLOT_TEXT_MAX];
    int64_t next_ms = 0;
    bool removed = view_bool(job->state, "removed");
    bool due = !removed && !job->is_foreign &&
               slots_next(&job->slots, (int64_t)view_u64(job->state, "considered_ms"), &next_ms);
    uint64_t queued = view_u64(job->state, "queued");
    bool running = view_count(view_get(job->state, "running")) > 0;
    const char *state = removed      ? "removed"
                        : running    ? "running"
                        : queued > 0 ? "queued"
                                     : "waiting";
    table_cell(t, TABLE_PLAIN, "%s", job->name);
    table_cell(t, TABLE_PLAIN, "%s", job->schedule);
    table_cell(t, TABLE_PLAIN, "%s", job->tz);
    table_cell(t, style_of(state), "%s", state);
    table_cell(t, due ? TABLE_PLAIN : TABLE_DIM, "%s",
               due ? slots_text(&job->slots, next_ms, text) : "-");
    add_last(t, job);
}

static int cron_list(struct cli *cli, int argc, char **argv)
{
    const char *prefix = CRON_JOBS_PREFIX;
    const struct flag flags[] = {CRON_PREFIX_FLAG(&prefix)};
    const struct usage usage = {
        .synopsis = "cron list",
        .about =
            "The jobs that the cluster runs: their state, the next slot, what became of the last.\n"
            "Times are those of the job's time zone.",
        .flags = flags,
        .flags_count = 1,
    };
    int exit_code;
    struct cron_jobs jobs;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    exit_code = cron_jobs_read(cli, prefix, &jobs);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_JSON) {
        exit_code = print_values(cli, &jobs.items);
    } else if (exit_code == EXIT_OK && jobs.count == 0) {
        exit_code = cli_fail(cli, ERR_NOT_FOUND, "there are no jobs",
                             "moonkeeper dev -c conf/cron.lua shows some; an application with "
                             "script = \"bundled:cron\" brings yours");
    } else if (exit_code == EXIT_OK) {
        struct table *t = table_new("JOB|SCHEDULE|ZONE|STATE|NEXT|LAST", cli->colour);
        for (size_t i = 0; i < jobs.count; i++) {
            if (cli->output == OUTPUT_SIMPLE) {
                puts(jobs.at[i].name);
            } else {
                add_job(t, &jobs.at[i]);
            }
        }
        if (cli->output == OUTPUT_TABLE) {
            table_print(t, stdout);
        }
        table_free(t);
    }
    cron_jobs_close(&jobs);
    return exit_code;
}

/* ---- history -------------------------------------------------------------------------------- */

struct history {
    const struct cron_job *job;
    struct table *table;
};

static void add_end(struct table *t, struct bytes run)
{
    char signal[32], reason[256];
    view_text(run, "signal", signal, sizeof signal);
    view_text(run, "err", reason, sizeof reason);
    if (!view_is_nil(view_get(run, "code"))) {
        table_cell(t, TABLE_PLAIN, "code %" PRIu64, view_u64(run, "code"));
    } else if (signal[0] != 0) {
        table_cell(t, TABLE_PLAIN, "signal %s", signal);
    } else {
        table_cell(t, TABLE_PLAIN, "%s", reason[0] != 0 ? reason : "-");
    }
}

static void add_run(void *ctx, const char *name, struct bytes run)
{
    struct history *h = ctx;
    struct table *t = h->table;
    char text[256];
    uint64_t began_ms = view_u64(run, "began_ms"), ended_ms = view_u64(run, "ended_ms");
    (void)name;
    table_cell(t, TABLE_PLAIN, "%s",
               slots_text(&h->job->slots, (int64_t)view_u64(run, "slot_ms"), text));
    view_text(run, "state", text, sizeof text);
    table_cell(t, style_of(text), "%s", text);
    table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(run, "attempt"));
    view_text(run, "node", text, sizeof text);
    table_cell(t, TABLE_PLAIN, "%s", text[0] != 0 ? text : "-");
    if (began_ms == 0) {
        table_cell(t, TABLE_DIM, "-");
        table_cell(t, TABLE_DIM, "-");
    } else {
        table_cell(t, TABLE_PLAIN, "%s", slots_text(&h->job->slots, (int64_t)began_ms, text));
        if (ended_ms >= began_ms) {
            table_cell(t, TABLE_PLAIN, "%.1f s", (double)(ended_ms - began_ms) / 1000);
        } else {
            table_cell(t, TABLE_DIM, "-");
        }
    }
    add_end(t, run);
}

static int print_history(const struct cli *cli, const struct cron_job *job, const char *prefix)
{
    char under[512];
    struct kv_items items = {0};
    snprintf(under, sizeof under, "%s/runs/%s/", prefix, job->name);
    int exit_code = kv_items_read(cli, under, &items);
    if (exit_code == EXIT_OK && cli->output != OUTPUT_TABLE) {
        exit_code = print_values(cli, &items);
    } else if (exit_code == EXIT_OK) {
        struct history h = {.job = job,
                            .table =
                                table_new("SLOT|STATE|>ATTEMPT|NODE|BEGAN|>TOOK|END", cli->colour)};
        kv_items_each(&items, under, add_run, &h);
        table_print(h.table, stdout);
        table_free(h.table);
    }
    kv_items_close(&items);
    return exit_code;
}

/* Read the jobs, and do this with the one of that name. */
static int with_job(const struct cli *cli, const char *prefix, const char *name,
                    int (*act)(const struct cli *cli, const struct cron_job *job,
                               const char *prefix))
{
    struct cron_jobs jobs;
    int exit_code = cron_jobs_read(cli, prefix, &jobs);
    if (exit_code == EXIT_OK) {
        const struct cron_job *job = cron_jobs_find(cli, &jobs, name);
        exit_code = job != NULL ? act(cli, job, prefix) : EXIT_ERROR;
    }
    cron_jobs_close(&jobs);
    return exit_code;
}

static int cron_history(struct cli *cli, int argc, char **argv)
{
    const char *prefix = CRON_JOBS_PREFIX;
    const struct flag flags[] = {CRON_PREFIX_FLAG(&prefix)};
    const struct usage usage = {
        .synopsis = "cron history JOB",
        .about =
            "What became of a job's slots, oldest first: as many as its setting `history` says.",
        .flags = flags,
        .flags_count = 1,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    return with_job(cli, prefix, argv[0], print_history);
}

/* ---- run ------------------------------------------------------------------------------------ */

static int request(const struct cli *cli, const struct cron_job *job, const char *prefix)
{
    char under[512];
    struct buffer params = {0}, result = {0};
    snprintf(under, sizeof under, "%s/requests/%s/", prefix, job->name);
    kv_begin(&params, "create", 2);
    write_text_field(&params, "prefix", under);
    write_bool_field(&params, "value", true);
    client_write_options(cli, 0, &params);
    int exit_code = client_request(cli, "propose", buffer_bytes(&params), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        printf("asked for; see it with: moonkeeper cron history %s\n", job->name);
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}

static int cron_run(struct cli *cli, int argc, char **argv)
{
    const char *prefix = CRON_JOBS_PREFIX;
    const struct flag flags[] = {CRON_PREFIX_FLAG(&prefix)};
    const struct usage usage = {
        .synopsis = "cron run JOB",
        .about =
            "Have the leader run a job now, once, besides its slots. When it runs already, its\n"
            "setting `overlap` says what happens.",
        .flags = flags,
        .flags_count = 1,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    return with_job(cli, prefix, argv[0], request);
}

int cmd_cron(struct cli *cli, int argc, char **argv)
{
    static const struct cli_action actions[] = {
        {"list", "cron list", cron_list, "", "the jobs: state, next slot, what became of the last"},
        {"history", "cron history", cron_history, "JOB", "what became of its slots"},
        {"run", "cron run", cron_run, "JOB", "run it now, besides its slots"},
        {"simulate", "cron simulate", cron_simulate, "[JOB]",
         "which slots there are between two times"},
    };
    const struct usage usage = {
        .synopsis = "cron list|history|run|simulate ...",
        .about = "The jobs of the bundled script cron.",
        .actions = actions,
        .actions_count = sizeof actions / sizeof actions[0],
        .arguments_min = 1,
        .arguments_max = 64,
    };
    return cli_run_action(cli, argc, argv, &usage);
}
