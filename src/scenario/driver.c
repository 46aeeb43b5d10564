/* Running a test: its script host, and time. */
#include "scenario/driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/system_zones.h"
#include "scenario/file.h"
#include "script/embed.h"
#include "wire/writer.h"

enum {
    TIMELINE_LINES = 50,
    LOG_BYTES_MAX = 16 << 10,
    LOAD_TIMEOUT_MS = 10000,
    /* A check at the end stops real processes and compares what is on their disks. */
    CLOSE_TIMEOUT_US = 60000000,
    TURNS_MAX = 10000, /* without time going on */
    TURNS_OVER_US = 1000,
};

/* A test computes as much as it likes between two waits, but not for ever. */
#define BUDGET_US UINT64_C(5000000)
/* 2023-11-14: simulated tests all begin at the same moment. */
#define WALL_MS INT64_C(1700000000000)

/* ---- ports of the host ----------------------------------------------------------------------- */

static uint64_t now_us(void *ctx)
{
    const struct driver *d = ctx;
    return d->stage->vtable->now_us(d->stage);
}

static int64_t wall_ms(void *ctx)
{
    return WALL_MS + (int64_t)(now_us(ctx) / 1000);
}

static void fill(void *ctx, void *out, size_t size_bytes)
{
    struct driver *d = ctx;
    uint8_t *bytes = out;
    for (size_t i = 0; i < size_bytes; i++) {
        bytes[i] = (uint8_t)rng_next(&d->rng);
    }
}

static void wake(void *ctx)
{
    struct driver *d = ctx;
    d->woken = true;
}

static void write_log(void *ctx, const char *line, size_t size_bytes)
{
    struct driver *d = ctx;
    buffer_add(&d->result->log, line, size_bytes);
    if (d->result->log.size > LOG_BYTES_MAX) {
        buffer_consume(&d->result->log, d->result->log.size - LOG_BYTES_MAX);
    }
    if (d->run->live != NULL) {
        d->run->live(d->run->live_ctx, line);
    }
}

/* ---- how it ends ----------------------------------------------------------------------------- */

void driver_fail(struct driver *d, const char *where, const char *format, ...)
{
    d->ended = true;
    struct scenario_result *r = d->result;
    if (r->outcome == SCENARIO_FAILED) {
        return;
    }
    r->outcome = SCENARIO_FAILED;
    buffer_clear(&r->message);
    buffer_clear(&r->where);
    if (where != NULL) {
        buffer_add_format(&r->where, "%s", where);
    }
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) >= 0) {
        buffer_add(&r->message, text, strlen(text));
        free(text);
    }
    va_end(arguments);
}

/* Something went wrong by itself in a cluster. */
static bool any_failure(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        struct target *t = d->clusters[i]->target;
        const char *failure = t != NULL ? t->vtable->failure(t) : NULL;
        if (failure != NULL) {
            driver_fail(d, NULL, "%s", failure);
            return true;
        }
    }
    return false;
}

/* What is simulated is never late. */
static uint32_t patience_of(const struct scenario_run *run)
{
    return run->real && run->patience > 0 ? run->patience : 1;
}

static uint64_t timeout_ms_of(const struct scenario_run *run)
{
    return patience_of(run) * run->file->cases[run->number].timeout_ms;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void stage_run(struct driver *d, uint64_t until_us)
{
    d->stage->vtable->run(d->stage, until_us);
}

static void timed_out(struct driver *d)
{
    const struct scenario_case *c = d->file == NULL ? &d->run->file->cases[d->run->number] : NULL;
    char where[512] = "";
    if (c != NULL) {
        snprintf(where, sizeof where, "%s:%u", d->run->file->path, c->line);
    }
    driver_fail(d, c != NULL ? where : NULL,
                "it did not end within %llu ms (timeout_ms); it waits, or goes on for too long",
                (unsigned long long)(c != NULL ? timeout_ms_of(d->run) : LOAD_TIMEOUT_MS));
}

static void play(struct driver *d)
{
    uint32_t turns = 0;
    while (!d->ended) {
        d->woken = false;
        uint64_t next_us = script_host_run(d->host);
        uint64_t time_us = now_us(d);
        driver_close_ended(d);
        if (d->ended || any_failure(d)) {
            return;
        }
        if (time_us >= d->deadline_us) {
            timed_out(d);
            return;
        }
        if (d->woken || next_us <= time_us) {
            /* Tasks that only keep each other busy must not stop time. */
            if (++turns < TURNS_MAX) {
                continue;
            }
            next_us = time_us + TURNS_OVER_US;
        }
        turns = 0;
        stage_run(d, next_us < d->deadline_us ? next_us : d->deadline_us);
    }
}

bool driver_await(struct driver *d, const bool *flag, uint64_t at_most_us)
{
    uint64_t end_us = now_us(d) + at_most_us;
    while (!*flag && now_us(d) < end_us) {
        stage_run(d, end_us);
    }
    return *flag;
}

/* ---- the end of its clusters ----------------------------------------------------------------- */

struct ending {
    struct driver *driver;
    bool done;
};

static void on_end(void *ctx, const char *why)
{
    struct ending *e = ctx;
    e->done = true;
    if (why != NULL) {
        driver_fail(e->driver, NULL, "%s", why);
    }
}

/* The clusters that the test left open are checked as if it had closed them. */
static void end_clusters(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count && d->result->outcome == SCENARIO_PASSED; i++) {
        struct driver_cluster *c = d->clusters[i];
        if (c->target == NULL || c->abandoned) {
            continue;
        }
        struct ending *e = NEW(struct ending);
        e->driver = d;
        driver_cluster_end(d, c, on_end, e);
        if (!driver_await(d, &e->done, CLOSE_TIMEOUT_US)) {
            driver_fail(d, NULL, "the check at the end of the test did not end");
        } else {
            free(e);
        }
    }
}

static void take_timelines(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        struct driver_cluster *c = d->clusters[i];
        if (d->clusters_count > 1) {
            buffer_add_format(&d->result->timeline, "cluster %u%s:\n", i + 1,
                              c->target == NULL ? " (closed)" : "");
        }
        if (c->target != NULL) {
            c->target->vtable->timeline(c->target, TIMELINE_LINES, &d->result->timeline);
        } else {
            buffer_add_bytes(&d->result->timeline, buffer_bytes(&c->closed));
        }
    }
}

static void free_clusters(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        driver_cluster_free(d->clusters[i]);
        free(d->clusters[i]);
    }
    free(d->clusters);
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* "tests/scenarios/?.lua;tests/scenarios/?/init.lua;tests/scenarios/../?.lua": a folder of tests
 * shares its modules with the folders in it. */
static void write_lua_path(struct buffer *out, const char *path)
{
    const char *slash = strrchr(path, '/');
    int size = slash == NULL ? 1 : (int)(slash - path) + (slash == path);
    const char *folder = slash == NULL ? "." : path;
    buffer_add_format(out, "%.*s/?.lua;%.*s/?/init.lua;%.*s/../?.lua", size, folder, size, folder,
                      size, folder);
}

static void write_setup(struct driver *d, const struct scenario_file *file, struct buffer *out)
{
    write_map(out, 5);
    write_text(out, "path");
    write_text(out, file->path);
    write_text(out, "text");
    write_bin(out, buffer_bytes(&file->text));
    write_text(out, "mode");
    write_text(out, d->stage->mode);
    write_text(out, "seed");
    write_u64(out, d->run->seed & INT64_MAX);
    write_text(out, "patience");
    write_u64(out, patience_of(d->run));
}

static enum err load(struct driver *d, const struct scenario_file *file, struct why *why)
{
    struct bytes main_lua = embed_find("moonkeeper/test/main.lua");
    ASSERT(main_lua.data != NULL);
    struct buffer setup = {0}, path = {0};
    write_setup(d, file, &setup);
    write_lua_path(&path, file->path);
    const struct script_app app = {
        .name = "test",
        .path = "moonkeeper/test/main.lua",
        .source = (const char *)main_lua.data,
        .config = buffer_bytes(&setup),
        .lua_path = buffer_text(&path),
    };
    enum err err = script_host_load(d->host, &app, why);
    buffer_close(&setup);
    buffer_close(&path);
    return err;
}

static void open_host(struct driver *d)
{
    d->clock = (struct clock_port){.ctx = d, .now_us = now_us, .wall_ms = wall_ms};
    d->entropy = (struct entropy_port){.ctx = d, .fill = fill};
    d->log = (struct log){.level = LOG_LEVEL_DEBUG,
                          .format = LOG_CONSOLE,
                          .wall_ms = wall_ms,
                          .clock = d,
                          .write = write_log,
                          .sink = d};
    rng_seed(&d->rng, d->run->seed);
    const struct script_options options = {
        .clock = &d->clock,
        .entropy = &d->entropy,
        .zones = system_zones(),
        .log = &d->log,
        .simulated = true,
        .node = {.id = "test", .addr = "", .version = MK_VERSION, .cluster = "test"},
        .limits = {.slice_us = BUDGET_US, .budget_us = BUDGET_US, .memory_bytes = 1u << 30},
        .request = driver_request,
        .wake = wake,
        .ctx = d,
    };
    d->host = script_host_new(&options);
}

static void add_hash(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        struct target *t = d->clusters[i]->target;
        if (t != NULL) {
            d->result->trace_hash = d->result->trace_hash * 31 + t->vtable->trace_hash(t);
        }
    }
}

/* Runs what is set up to its end, and takes it down. */
static void run_and_close(struct driver *d, const struct scenario_file *file)
{
    struct why why = {""};
    uint64_t began_us = now_us(d);
    open_host(d);
    if (load(d, file, &why) != ERR_OK) {
        driver_fail(d, NULL, "%s", why.text);
    }
    play(d);
    end_clusters(d);
    add_hash(d);
    if (d->result->outcome == SCENARIO_FAILED) {
        for (uint32_t i = 0; i < d->clusters_count; i++) {
            driver_cluster_keep(d->clusters[i]);
        }
        take_timelines(d);
    }
    d->result->simulated_us = now_us(d) - began_us;
    free_clusters(d);
    script_host_free(d->host);
    d->stage->vtable->free(d->stage);
}

void scenario_run(const struct scenario_run *run, struct scenario_result *out)
{
    *out = (struct scenario_result){.outcome = SCENARIO_PASSED};
    struct driver d = {.run = run, .result = out};
    struct why why = {""};
    enum err err = ERR_OK;
    if (run->real) {
        const struct stage_real_options options = {
            .program = run->program, .tmp_dir = run->tmp_dir, .patience = patience_of(run)};
        err = stage_real_new(&options, &d.stage, &why);
    } else {
        d.stage = stage_sim_new(run->seed);
    }
    if (err != ERR_OK) {
        driver_fail(&d, NULL, "%s", why.text);
        return;
    }
    d.deadline_us = now_us(&d) + timeout_ms_of(run) * 1000;
    run_and_close(&d, run->file);
}

enum err scenario_file_load(const char *path, struct scenario_file *out, struct why *why)
{
    *out = (struct scenario_file){.path = alloc_string(path)};
    enum err err = scenario_file_read(path, &out->text, why);
    if (err != ERR_OK) {
        return err;
    }
    struct scenario_run run = {.file = out};
    struct scenario_result result = {.outcome = SCENARIO_PASSED};
    struct driver d = {.run = &run, .file = out, .result = &result, .stage = stage_sim_new(0)};
    d.deadline_us = now_us(&d) + LOAD_TIMEOUT_MS * 1000;
    run_and_close(&d, out);
    if (result.outcome == SCENARIO_FAILED) {
        err = err_why(why, ERR_INVALID, "%s%s%s",
                      result.where.size > 0 ? buffer_text(&result.where) : path, ": ",
                      buffer_text(&result.message));
    }
    scenario_result_close(&result);
    return err;
}
