#include "cli/cron_jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/nearest.h"
#include "cli/view.h"
#include "node/config.h"

static struct cron_job *add(struct cron_jobs *jobs)
{
    jobs->at = alloc_resize(jobs->at, jobs->count + 1, sizeof *jobs->at);
    struct cron_job *job = &jobs->at[jobs->count++];
    memset(job, 0, sizeof *job);
    return job;
}

/* What it says of itself; the schedule may be wrong. */
static enum err take(struct cron_job *job, struct bytes value, struct why *why)
{
    view_text(value, "schedule", job->schedule, sizeof job->schedule);
    view_text(value, "tz", job->tz, sizeof job->tz);
    if (job->tz[0] == 0) {
        snprintf(job->tz, sizeof job->tz, "UTC");
    }
    return slots_open(job->schedule, job->tz, &job->slots, why);
}

/* ---- of the cluster ------------------------------------------------------------------------- */

struct reading {
    const struct cli *cli;
    struct cron_jobs *jobs;
};

/* The cluster may know what this machine does not, such as a zone: that is no reason to show none.
 */
static void take_foreign(struct cron_job *job)
{
    struct why why = {""};
    job->is_foreign = true;
    enum err e = slots_open("@yearly", "UTC", &job->slots, &why);
    ASSERT(e == ERR_OK);
}

static void take_item(void *ctx, const char *name, struct bytes value)
{
    const struct reading *r = ctx;
    struct cron_job *job = add(r->jobs);
    struct why why = {""}, what = {""};
    snprintf(job->name, sizeof job->name, "%s", name);
    job->state = value;
    if (take(job, value, &why) != ERR_OK) {
        err_why(&what, ERR_INVALID, "job %s: %s; its times are shown in UTC", name, why.text);
        cli_fail(r->cli, ERR_INVALID, what.text, NULL);
        take_foreign(job);
    }
}

int cron_jobs_read(const struct cli *cli, const char *prefix, struct cron_jobs *out)
{
    char under[256];
    snprintf(under, sizeof under, "%s/jobs/", prefix);
    *out = (struct cron_jobs){0};
    struct reading r = {.cli = cli, .jobs = out};
    int exit_code = kv_items_read(cli, under, &out->items);
    if (exit_code == EXIT_OK) {
        kv_items_each(&out->items, under, take_item, &r);
    }
    return exit_code;
}

/* ---- of a configuration --------------------------------------------------------------------- */

static enum err take_app(const struct config *config, uint32_t number, struct cron_jobs *out,
                         struct why *why)
{
    struct bytes list = view_get(buffer_bytes(&config->apps[number].config), "jobs");
    for (uint32_t i = 0; i < view_count(list); i++) {
        struct cron_job *job = add(out);
        struct bytes value = view_at(list, i);
        struct why reason = {""};
        view_text(value, "name", job->name, sizeof job->name);
        enum err e = take(job, value, &reason);
        if (e != ERR_OK) {
            return err_why(why, e, "%s: apps[%u].config.jobs[%u]: %s", config->path, number + 1,
                           i + 1, reason.text);
        }
    }
    return ERR_OK;
}

int cron_jobs_load(const struct cli *cli, const char *path, struct cron_jobs *out)
{
    *out = (struct cron_jobs){0};
    struct config config;
    struct why why = {""};
    enum err e = config_load(path, &config, &why);
    for (uint32_t i = 0; i < config.apps_count && e == ERR_OK; i++) {
        e = take_app(&config, i, out, &why);
    }
    if (e == ERR_OK && out->count == 0) {
        e = err_why(&why, ERR_NOT_FOUND, "%s: no application has jobs", path);
    }
    config_close(&config);
    return e == ERR_OK ? EXIT_OK : cli_fail(cli, e, why.text, NULL);
}

void cron_jobs_close(struct cron_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        slots_close(&jobs->at[i].slots);
    }
    free(jobs->at);
    kv_items_close(&jobs->items);
    *jobs = (struct cron_jobs){0};
}

const struct cron_job *cron_jobs_find(const struct cli *cli, const struct cron_jobs *jobs,
                                      const char *name)
{
    const char **names = alloc_zeroed(jobs->count + 1, sizeof *names);
    const struct cron_job *found = NULL;
    for (size_t i = 0; i < jobs->count; i++) {
        names[i] = jobs->at[i].name;
        found = strcmp(names[i], name) == 0 ? &jobs->at[i] : found;
    }
    if (found == NULL) {
        struct why why = {""};
        const char *nearest = nearest_name(name, names, jobs->count);
        err_why(&why, ERR_NOT_FOUND, "there is no job \"%s\"%s%s%s", name,
                nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                nearest != NULL ? "\"?" : "");
        cli_fail(cli, ERR_NOT_FOUND, why.text, "moonkeeper cron list");
    }
    free(names);
    return found;
}
