#include "net/script_files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/queue.h"
#include "net/loop.h"
#include "net/system_entropy.h"
#include "wire/writer.h"

enum { QUEUED_MAX = 1 << 16, FILE_MODE = 0644, FOLDER_MODE = 0755, SWEEP_DESCRIPTORS = 8 };

/* What a new content is called until it takes its name: this and a number that nobody else has, on
 * no other machine that shares the folder either. */
static const char new_prefix[] = ".mk-new-";

struct job {
    uint64_t call;
    bool writes;
    char path[FILES_PATH_MAX + 1];
    struct slice data;
};

struct script_files {
    struct files_port port;
    struct script_files_options options;
    char *folder;
    struct queue jobs;
    pthread_t thread;
    bool started;       /* on the thread that asks */
    bool stopped;       /* likewise */
    atomic_bool silent; /* nothing is answered any more */
};

/* ---- on the thread ----------------------------------------------------------------------------
 */

/* Where it is, links followed as far as it is there. False: too long. */
static bool place_of(const struct script_files *f, const char *path, char out[PATH_MAX])
{
    char named[PATH_MAX];
    int size = path[0] == '/' ? snprintf(named, sizeof named, "%s", path)
                              : snprintf(named, sizeof named, "%s/%s", f->folder, path);
    if (size < 0 || (size_t)size >= sizeof named) {
        return false;
    }
    if (realpath(named, out) == NULL) {
        memcpy(out, named, (size_t)size + 1);
    }
    return true;
}

static enum err read_all(int descriptor, size_t size, struct buffer *out)
{
    while (out->size < size) {
        uint8_t *room = buffer_reserve(out, size - out->size);
        ssize_t n = read(descriptor, room, size - out->size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        if (n == 0) {
            break;
        }
        out->size += (size_t)n;
    }
    return ERR_OK;
}

/* Plain files only: what a pipe or a device has to say may never come. */
static enum err read_file(const char *place, struct buffer *out, struct why *why)
{
    struct stat info;
    int descriptor = open(place, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return err_from_errno(errno);
    }
    enum err e = fstat(descriptor, &info) == 0 ? ERR_OK : err_from_errno(errno);
    if (e == ERR_OK && !S_ISREG(info.st_mode)) {
        e = err_why(why, ERR_IO, "it is no plain file");
    } else if (e == ERR_OK && info.st_size > FILES_BYTES_MAX) {
        e = err_why(why, ERR_TOO_LARGE, "it is larger than 4 MiB");
    }
    /* Those of /proc have a size of 0. */
    e = e != ERR_OK ? e : read_all(descriptor, FILES_BYTES_MAX + 1, out);
    if (e == ERR_OK && out->size > FILES_BYTES_MAX) {
        e = err_why(why, ERR_TOO_LARGE, "it is larger than 4 MiB");
    }
    close(descriptor);
    return e;
}

static enum err write_all(int descriptor, struct bytes data)
{
    for (size_t at = 0; at < data.size;) {
        ssize_t n = write(descriptor, data.data + at, data.size - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? err_from_errno(errno) : ERR_IO;
        }
        at += (size_t)n;
    }
    return fsync(descriptor) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err sync_folder(char *place, char *slash)
{
    *slash = 0;
    int descriptor = open(slash == place ? "/" : place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *slash = '/';
    if (descriptor < 0) {
        return err_from_errno(errno);
    }
    enum err e = fsync(descriptor) == 0 ? ERR_OK : err_from_errno(errno);
    close(descriptor);
    return e;
}

/* Those between the data directory and the file. */
static void make_folders(const struct script_files *f, char *place)
{
    mkdir(f->folder, FOLDER_MODE);
    for (char *slash = place + strlen(f->folder) + 1; (slash = strchr(slash, '/')) != NULL;
         slash++) {
        *slash = 0;
        mkdir(place, FOLDER_MODE);
        *slash = '/';
    }
}

/* Whoever reads the old one may read the new one. */
static void keep_owner(int descriptor, const char *place)
{
    struct stat info;
    if (stat(place, &info) == 0) {
        int ignored = fchown(descriptor, info.st_uid, info.st_gid);
        (void)ignored; /* ours then, and the mode says who may read it */
        fchmod(descriptor, info.st_mode & 07777);
    }
}

static enum err write_file(const struct script_files *f, const char *path, char place[PATH_MAX],
                           struct bytes data)
{
    char made[PATH_MAX + sizeof new_prefix + 16];
    if (path[0] != '/' && strncmp(place, f->folder, strlen(f->folder)) == 0) {
        make_folders(f, place);
    }
    int folder_size = (int)(strrchr(place, '/') - place);
    snprintf(made, sizeof made, "%.*s/%s%016" PRIx64, folder_size, place, new_prefix,
             entropy_u64(system_entropy()));
    int descriptor = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (descriptor < 0) {
        return err_from_errno(errno);
    }
    keep_owner(descriptor, place);
    enum err e = write_all(descriptor, data);
    close(descriptor);
    if (e == ERR_OK && rename(made, place) != 0) {
        e = err_from_errno(errno);
    }
    if (e != ERR_OK) {
        unlink(made);
        return e;
    }
    return sync_folder(place, strrchr(place, '/'));
}

static int sweep_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    if (type == FTW_F && strncmp(path + at->base, new_prefix, sizeof new_prefix - 1) == 0) {
        unlink(path);
    }
    return 0;
}

/* What a node that was killed in the middle has left. Of other folders than the node's own nobody
 * knows whose it is. */
static void sweep(const struct script_files *f)
{
    nftw(f->folder, sweep_one, SWEEP_DESCRIPTORS, FTW_PHYS | FTW_MOUNT);
}

static void answer(const struct script_files *f, const struct job *job, enum err e,
                   const struct why *why, struct buffer *content)
{
    struct buffer text = {0}, result = {0};
    if (e != ERR_OK) {
        buffer_add_format(&text, "%s: %s", job->path,
                          why->text[0] != 0 ? why->text : err_message(e));
    } else if (!job->writes) {
        write_bin(&result, buffer_bytes(content));
    }
    if (!atomic_load(&f->silent)) {
        f->options.answer(f->options.ctx, job->call, e, e != ERR_OK ? buffer_text(&text) : NULL,
                          slice_copy(buffer_bytes(&result)));
    }
    buffer_close(&text);
    buffer_close(&result);
}

static void job_free(struct job *job)
{
    slice_close(&job->data);
    free(job);
}

static void carry_out(const struct script_files *f, struct job *job)
{
    char place[PATH_MAX];
    struct why why = {""};
    struct buffer content = {0};
    enum err e;
    if (!place_of(f, job->path, place)) {
        e = err_why(&why, ERR_TOO_LARGE, "the path is too long");
    } else if (job->writes) {
        e = write_file(f, job->path, place, slice_bytes(job->data));
    } else {
        e = read_file(place, &content, &why);
    }
    if (e == ERR_NOT_FOUND) {
        err_why(&why, e, job->writes ? "there is no such folder" : "there is no such file");
    } else if (e == ERR_IO && why.text[0] == 0) {
        err_why(&why, e, "%s", strerror(errno));
    }
    answer(f, job, e, &why, &content);
    buffer_close(&content);
    job_free(job);
}

static void *run(void *ctx)
{
    struct script_files *f = ctx;
    struct job *job;
    sweep(f);
    while ((job = queue_wait(&f->jobs)) != NULL) {
        carry_out(f, job);
    }
    return NULL;
}

/* ---- the port ---------------------------------------------------------------------------------
 */

static bool start(struct script_files *f)
{
    if (!f->started && !f->stopped) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, &before);
        f->started = pthread_create(&f->thread, NULL, run, f) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    return f->started;
}

static void submit(struct script_files *f, uint64_t call, const char *path, bool writes,
                   struct bytes data)
{
    if (f->stopped) {
        return;
    }
    struct job *job = NEW(struct job);
    job->call = call;
    job->writes = writes;
    snprintf(job->path, sizeof job->path, "%s", path);
    job->data = slice_copy(data);
    if (!start(f) || !queue_push(&f->jobs, job)) {
        f->options.answer(f->options.ctx, call, ERR_BUSY, "too many files are waited for",
                          (struct slice){0});
        job_free(job);
    }
}

static void read_call(void *ctx, uint64_t call, const char *path)
{
    submit(ctx, call, path, false, (struct bytes){0});
}

static void write_call(void *ctx, uint64_t call, const char *path, struct bytes data)
{
    submit(ctx, call, path, true, data);
}

/* ---- life -------------------------------------------------------------------------------------
 */

struct script_files *script_files_new(const struct script_files_options *options)
{
    struct script_files *f = NEW(struct script_files);
    f->options = *options;
    f->folder = alloc_string(options->folder);
    f->port = (struct files_port){.ctx = f, .read = read_call, .write = write_call};
    queue_init(&f->jobs, QUEUED_MAX, NULL, NULL);
    return f;
}

void script_files_stop(struct script_files *f)
{
    if (f == NULL || f->stopped) {
        return;
    }
    f->stopped = true;
    atomic_store(&f->silent, true);
    if (f->started) {
        queue_end(&f->jobs);
        pthread_join(f->thread, NULL);
    }
}

void script_files_free(struct script_files *f)
{
    if (f == NULL) {
        return;
    }
    script_files_stop(f);
    queue_close(&f->jobs);
    free(f->folder);
    free(f);
}

const struct files_port *script_files_port(const struct script_files *f)
{
    return &f->port;
}
