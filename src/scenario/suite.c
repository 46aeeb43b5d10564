#include "scenario/suite.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "scenario/jobs.h"

enum { LIMIT_MS = 600000 };

const struct scenario_case *suite_case_of(const struct suite_case *c)
{
    return &c->file->cases[c->number];
}

void suite_close(struct suite *s)
{
    for (uint32_t i = 0; i < s->files_count; i++) {
        scenario_file_close(&s->files[i]);
    }
    for (uint32_t i = 0; i < s->cases_count; i++) {
        scenario_result_close(&s->cases[i].result);
    }
    free(s->files);
    free(s->cases);
    *s = (struct suite){0};
}

/* ---- files ----------------------------------------------------------------------------------- */

static enum err add_file(struct suite *s, const char *path, struct why *why)
{
    s->files = alloc_resize(s->files, s->files_count + 1, sizeof *s->files);
    return scenario_file_load(path, &s->files[s->files_count++], why);
}

static int is_lua(const struct dirent *entry)
{
    size_t size = strlen(entry->d_name);
    return entry->d_name[0] != '.' && size > 4 && strcmp(entry->d_name + size - 4, ".lua") == 0;
}

static enum err add_folder(struct suite *s, const char *path, struct why *why)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_lua, alphasort);
    if (count < 0) {
        return err_why(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
    }
    enum err err =
        count > 0 ? ERR_OK : err_why(why, ERR_NOT_FOUND, "%s: there is no .lua file in it", path);
    size_t size = strlen(path);
    for (int i = 0; i < count; i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s%s%s", path, path[size - 1] == '/' ? "" : "/",
                 entries[i]->d_name);
        if (err == ERR_OK) {
            err = add_file(s, file, why);
        }
        free(entries[i]);
    }
    free(entries);
    return err;
}

enum err suite_add(struct suite *s, const char *path, struct why *why)
{
    struct stat info;
    if (path[0] != 0 && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return add_folder(s, path, why);
    }
    return add_file(s, path, why);
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* Seeds count in simulation only. --seed alone: that one. --seeds: so many times what is asked for;
 * with --seed: so many, from that one on. */
static void choose_seeds(struct suite_case *c, const struct suite_options *o)
{
    uint64_t wanted = o->real ? 1 : suite_case_of(c)->seeds;
    c->first_seed = o->seed != NULL ? *o->seed : 1;
    c->runs = o->seed != NULL ? 1 : wanted;
    if (o->seeds > 0) {
        c->runs *= o->seeds;
    }
}

static void choose(struct suite *s, const struct suite_options *o, const struct scenario_file *file,
                   uint32_t number)
{
    const struct scenario_case *c = &file->cases[number];
    if (o->filter != NULL && strstr(c->name, o->filter) == NULL) {
        return;
    }
    s->cases = alloc_resize(s->cases, s->cases_count + 1, sizeof *s->cases);
    struct suite_case *chosen = &s->cases[s->cases_count++];
    *chosen = (struct suite_case){.file = file, .number = number};
    if (o->real ? c->real : c->sim) {
        choose_seeds(chosen, o);
    } else {
        buffer_add_format(&chosen->result.message, "needs mode \"%s\"", o->real ? "sim" : "real");
        chosen->result.outcome = SCENARIO_SKIPPED;
        chosen->skipped = 1;
    }
}

void suite_choose(struct suite *s, const struct suite_options *options)
{
    for (uint32_t i = 0; i < s->files_count; i++) {
        for (uint32_t number = 0; number < s->files[i].count; number++) {
            choose(s, options, &s->files[i], number);
        }
    }
}

/* ---- running --------------------------------------------------------------------------------- */

struct running {
    struct suite *suite;
    const struct suite_options *options;
    void (*done)(void *ctx, const struct suite *s, const struct suite_case *c);
    void *ctx;
    uint32_t told; /* cases */
};

/* The case of a job, and which of its runs it is. */
static struct suite_case *case_of_job(struct suite *s, uint64_t job, uint64_t *run)
{
    uint32_t i = 0;
    while (job >= s->cases[i].runs) {
        job -= s->cases[i++].runs;
    }
    *run = job;
    return &s->cases[i];
}

static void write_line(void *ctx, const char *line)
{
    fputs(line, ctx);
}

/* In the child. */
static int work(void *ctx, uint64_t job, int pipe_end)
{
    const struct running *r = ctx;
    uint64_t number;
    const struct suite_case *c = case_of_job(r->suite, job, &number);
    struct scenario_run run = {
        .file = c->file,
        .number = c->number,
        .real = r->options->real,
        .seed = c->first_seed + number,
        .program = r->options->program,
        .tmp_dir = r->options->tmp_dir,
        .patience = r->options->patience,
    };
    FILE *trace = r->options->trace != NULL ? fopen(r->options->trace, "a") : NULL;
    if (trace != NULL) {
        fprintf(trace, "# %s: %s, seed %" PRIu64 "\n", c->file->path, suite_case_of(c)->name,
                run.seed);
        run.live = write_line;
        run.live_ctx = trace;
    }
    struct scenario_result result;
    scenario_run(&run, &result);
    struct buffer out = {0};
    scenario_result_encode(&result, &out);
    bool told = jobs_write(pipe_end, buffer_bytes(&out));
    if (trace != NULL) {
        fclose(trace);
    }
    return told ? 0 : 1;
}

/* The process that ran it died before it could say how it went. */
static void describe_death(const struct jobs_end *end, uint64_t limit_ms,
                           struct scenario_result *out)
{
    *out = (struct scenario_result){.outcome = SCENARIO_FAILED};
    if (end->late) {
        buffer_add_format(&out->message,
                          "the run was killed: it took longer than %" PRIu64 " s of real time",
                          limit_ms / 1000);
    } else if (end->signal != 0) {
        buffer_add_format(&out->message, "the process of the test died of signal %d (%s)",
                          end->signal, strsignal(end->signal));
    } else {
        buffer_add_format(&out->message, "the process of the test ended with exit code %d",
                          end->exit_code);
    }
    buffer_add_bytes(&out->log, end->errors);
}

static void add_failure(struct suite_case *c, uint64_t seed, struct scenario_result *result)
{
    if (c->failed < SUITE_FAILED_SEEDS) {
        c->failed_seeds[c->failed] = seed;
    }
    c->failed++;
    if (c->failed == 1 || seed < c->seed) {
        scenario_result_close(&c->result);
        c->seed = seed;
        c->result = *result;
        *result = (struct scenario_result){0};
    }
}

static uint64_t limit_of(const struct suite_options *o)
{
    uint64_t limit_ms = o->limit_ms > 0 ? o->limit_ms : LIMIT_MS;
    return o->patience > 0 ? o->patience * limit_ms : limit_ms;
}

static bool ended(void *ctx, const struct jobs_end *end)
{
    struct running *r = ctx;
    uint64_t run;
    struct suite_case *c = case_of_job(r->suite, end->number, &run);
    struct scenario_result result;
    if (end->signal != 0 || end->late || scenario_result_decode(end->result, &result) != ERR_OK) {
        describe_death(end, limit_of(r->options), &result);
    }
    c->done++;
    c->took_us += end->took_us;
    c->simulated_us += result.simulated_us;
    c->trace_hash += result.trace_hash;
    switch (result.outcome) {
    case SCENARIO_PASSED:
        c->passed++;
        break;
    case SCENARIO_FAILED:
        add_failure(c, c->first_seed + run, &result);
        break;
    case SCENARIO_SKIPPED:
        c->skipped++;
        if (c->failed == 0) {
            buffer_clear(&c->result.message);
            buffer_add_bytes(&c->result.message, buffer_bytes(&result.message));
        }
        break;
    }
    scenario_result_close(&result);
    while (r->told < r->suite->cases_count &&
           r->suite->cases[r->told].done == r->suite->cases[r->told].runs) {
        r->done(r->ctx, r->suite, &r->suite->cases[r->told++]);
    }
    return true;
}

enum err suite_run(struct suite *s, const struct suite_options *options,
                   void (*done)(void *ctx, const struct suite *s, const struct suite_case *c),
                   void *ctx, struct why *why)
{
    struct clock_port clock = loop_clock();
    uint64_t began_us = clock_now_us(&clock);
    struct running r = {.suite = s, .options = options, .done = done, .ctx = ctx};
    uint32_t jobs = options->real || options->trace != NULL ? 1 : jobs_processors();
    struct jobs_options o = {
        .jobs = options->jobs > 0 ? options->jobs : jobs,
        .limit_ms = limit_of(options),
        .work = work,
        .ended = ended,
        .ctx = &r,
    };
    for (uint32_t i = 0; i < s->cases_count; i++) {
        o.count += s->cases[i].runs;
    }
    enum err err = jobs_run(&o, why);
    while (err == ERR_OK && r.told < s->cases_count) { /* those that are skipped, at the end */
        done(ctx, s, &s->cases[r.told++]);
    }
    s->took_us = clock_now_us(&clock) - began_us;
    return err;
}
