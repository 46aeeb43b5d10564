#include "sim/sim_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "script/script.h"
#include "sim/sim_process_internal.h"
#include "wire/writer.h"

enum { NAME_BYTES = 32 + 1 };

struct job {
    struct executor_job job;
    struct sim_files *files;
    uint64_t call;
    bool writes;
    char *path;
    struct slice data;
    enum err err;
    struct buffer result;
    LIST_ENTRY(job) link;
};

struct sim_files {
    struct sim_process *process;
    struct script_host *host;
    struct sim_fs *fs; /* NULL: not used yet */
    struct sim_executor executor;
    struct files_port port;
    LIST_HEAD(, job) jobs;
};

/* ---- the work ---------------------------------------------------------------------------------
 */

/* A disk has no folders below its first ones: a path is known by its hash. */
static void name_of(const char *path, char out[NAME_BYTES])
{
    XXH128_hash_t hash = XXH3_128bits(path, strlen(path));
    snprintf(out, NAME_BYTES, "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64,
             (uint64_t)hash.low64);
}

static enum err read_file(const struct fs_port *fs, const char *name, struct buffer *out)
{
    struct fs_file *file;
    uint64_t size = 0;
    size_t got = 0;
    enum err e = fs->v->open(fs->ctx, name, FS_READ, &file);
    if (e != ERR_OK) {
        return e;
    }
    e = fs->v->size(file, &size);
    uint8_t *content = alloc_zeroed((size_t)size + 1, 1);
    e = e != ERR_OK ? e : fs->v->read(file, 0, content, (size_t)size, &got);
    if (e == ERR_OK) {
        write_bin(out, bytes_of(content, got));
    }
    free(content);
    fs->v->close(file);
    return e;
}

static enum err write_file(const struct fs_port *fs, const char *name, struct bytes data)
{
    char made[NAME_BYTES + sizeof ".new"];
    struct fs_file *file;
    snprintf(made, sizeof made, "%s.new", name);
    enum err e = fs->v->remove(fs->ctx, made);
    e = e == ERR_NOT_FOUND ? ERR_OK : e;
    e = e != ERR_OK ? e : fs->v->open(fs->ctx, made, FS_WRITE | FS_CREATE | FS_EXCLUSIVE, &file);
    if (e != ERR_OK) {
        return e;
    }
    e = data.size > 0 ? fs->v->write(file, 0, &data, 1) : ERR_OK;
    e = e != ERR_OK ? e : fs->v->sync(file);
    fs->v->close(file);
    e = e != ERR_OK ? e : fs->v->rename(fs->ctx, made, name);
    if (e != ERR_OK) {
        fs->v->remove(fs->ctx, made);
    }
    return e != ERR_OK ? e : fs->v->sync_dir(fs->ctx, ".");
}

static void run(struct executor_job *executor_job)
{
    struct job *job = (struct job *)executor_job;
    const struct fs_port *fs = sim_fs_port(job->files->fs);
    char name[NAME_BYTES];
    name_of(job->path, name);
    job->err = job->writes ? write_file(fs, name, slice_bytes(job->data))
                           : read_file(fs, name, &job->result);
}

static void job_free(struct job *job)
{
    LIST_REMOVE(job, link);
    slice_close(&job->data);
    buffer_close(&job->result);
    free(job->path);
    free(job);
}

static void on_finished(void *ctx, struct executor_job *executor_job, uint64_t ordinal, bool synced)
{
    (void)ordinal, (void)synced;
    struct sim_files *f = ctx;
    struct job *job = (struct job *)executor_job;
    struct buffer message = {0};
    world_mix(f->process->world, job->call, (uint64_t)job->err);
    if (job->err != ERR_OK) {
        buffer_add_format(&message, "%s: %s", job->path,
                          job->err == ERR_NOT_FOUND ? "there is no such file"
                                                    : err_message(job->err));
    }
    script_host_reply(f->host, job->call, job->err,
                      job->err != ERR_OK ? buffer_text(&message) : NULL,
                      slice_copy(buffer_bytes(&job->result)));
    buffer_close(&message);
    job_free(job);
}

/* ---- the port ---------------------------------------------------------------------------------
 */

static void make_disk(struct sim_files *f)
{
    static const struct sim_disk_rule rule = {.job = {.min_us = 100, .max_us = 2000}};
    struct sim_process *p = f->process;
    if (f->fs != NULL) {
        return;
    }
    f->fs = sim_fs_new(world_draw_seed(p->world), p->options.node.name);
    f->executor.fs = f->fs;
    if (f->executor.world == NULL) { /* else it goes on: what it has scheduled must stay stale */
        sim_executor_init(&f->executor, p->world, f->fs, &rule);
        f->executor.finished = on_finished;
        f->executor.ctx = f;
    }
}

bool sim_files_used(const struct sim_files *f)
{
    return f->fs != NULL;
}

struct sim_fs *sim_files_disk(struct sim_files *f)
{
    make_disk(f);
    return f->fs;
}

struct sim_executor *sim_files_executor(struct sim_files *f)
{
    make_disk(f);
    return &f->executor;
}

static struct job *add_job(struct sim_files *f, uint64_t call, const char *path)
{
    make_disk(f);
    struct job *job = NEW(struct job);
    job->files = f;
    job->job.run = run;
    job->call = call;
    job->path = alloc_string(path);
    LIST_INSERT_HEAD(&f->jobs, job, link);
    return job;
}

static void read_call(void *ctx, uint64_t call, const char *path)
{
    struct sim_files *f = ctx;
    executor_submit(&f->executor.port, &add_job(f, call, path)->job);
}

static void write_call(void *ctx, uint64_t call, const char *path, struct bytes data)
{
    struct sim_files *f = ctx;
    struct job *job = add_job(f, call, path);
    job->writes = true;
    job->data = slice_copy(data);
    executor_submit(&f->executor.port, &job->job);
}

/* ---- life -------------------------------------------------------------------------------------
 */

struct sim_files *sim_files_new(struct sim_process *p)
{
    struct sim_files *f = NEW(struct sim_files);
    f->process = p;
    f->port = (struct files_port){.ctx = f, .read = read_call, .write = write_call};
    LIST_INIT(&f->jobs);
    return f;
}

void sim_files_answer_to(struct sim_files *f, struct script_host *host)
{
    f->host = host;
}

const struct files_port *sim_files_port(const struct sim_files *f)
{
    return &f->port;
}

void sim_files_crash(struct sim_files *f, bool host)
{
    if (f->fs == NULL) {
        return;
    }
    sim_executor_reset(&f->executor);
    if (host) {
        sim_fs_crash_host(f->fs);
    } else {
        sim_fs_crash_process(f->fs);
    }
    struct job *job;
    while ((job = LIST_FIRST(&f->jobs)) != NULL) {
        job_free(job); /* NOLINT(clang-analyzer-unix.Malloc): it has left the list */
    }
}

void sim_files_wipe(struct sim_files *f)
{
    sim_files_crash(f, true);
    sim_fs_free(f->fs);
    f->fs = NULL;
}

void sim_files_free(struct sim_files *f)
{
    if (f != NULL) {
        sim_files_wipe(f);
        free(f);
    }
}
