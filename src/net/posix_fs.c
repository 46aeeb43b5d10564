#include "net/posix_fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/loop.h"

struct posix_fs {
    struct fs_port port;
    int directory;
    char *path;
    pthread_mutex_t syncs_lock;
    struct histogram syncs;
};

struct fs_file {
    struct posix_fs *fs;
    int descriptor;
};

enum { FILE_MODE = 0600, DIRECTORY_MODE = 0700, PIECES_AT_ONCE = 64, ZEROES_AT_ONCE = 1 << 16 };

static enum err fs_open(void *ctx, const char *name, unsigned flags, struct fs_file **out)
{
    struct posix_fs *fs = ctx;
    int how = O_CLOEXEC | O_NOFOLLOW | ((flags & FS_WRITE) != 0 ? O_RDWR : O_RDONLY);
    how |= (flags & FS_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & FS_EXCLUSIVE) != 0 ? O_EXCL : 0;
    int descriptor;
    do {
        descriptor = openat(fs->directory, name, how, FILE_MODE);
    } while (descriptor < 0 && errno == EINTR);
    if (descriptor < 0) {
        return err_from_errno(errno);
    }
    struct fs_file *file = NEW(struct fs_file);
    file->fs = fs;
    file->descriptor = descriptor;
    *out = file;
    return ERR_OK;
}

static void fs_close(struct fs_file *file)
{
    /* Not tried again on EINTR: on Linux the descriptor is gone all the same. What an error of
     * close could tell, sync has told before. */
    close(file->descriptor);
    free(file);
}

static enum err fs_read(struct fs_file *file, uint64_t offset, void *out, size_t size, size_t *got)
{
    uint8_t *to = out;
    *got = 0;
    while (*got < size) {
        ssize_t n = pread(file->descriptor, to + *got, size - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        if (n == 0) {
            break;
        }
        *got += (size_t)n;
    }
    return ERR_OK;
}

/* Drop the first size bytes of what [vector, end) describes; returns where it goes on. */
static struct iovec *advance(struct iovec *vector, const struct iovec *end, size_t size)
{
    for (; vector < end && size >= vector->iov_len; vector++) {
        size -= vector->iov_len;
    }
    if (vector < end) {
        vector->iov_base = (uint8_t *)vector->iov_base + size;
        vector->iov_len -= size;
    }
    return vector;
}

static enum err write_vector(int descriptor, uint64_t offset, struct iovec *vector, size_t count)
{
    struct iovec *end = vector + count;
    while (vector < end) {
        if (vector->iov_len == 0) {
            vector++;
            continue;
        }
        ssize_t n = pwritev(descriptor, vector, (int)(end - vector), (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? err_from_errno(errno) : ERR_IO;
        }
        offset += (size_t)n;
        vector = advance(vector, end, (size_t)n);
    }
    return ERR_OK;
}

static enum err fs_write(struct fs_file *file, uint64_t offset, const struct bytes *pieces,
                         size_t pieces_count)
{
    struct iovec vector[PIECES_AT_ONCE];
    for (size_t i = 0; i < pieces_count;) {
        size_t count = 0;
        uint64_t size = 0;
        for (; i < pieces_count && count < PIECES_AT_ONCE; i++, count++) {
            vector[count].iov_base = (void *)(uintptr_t)pieces[i].data;
            vector[count].iov_len = pieces[i].size;
            size += pieces[i].size;
        }
        enum err err = write_vector(file->descriptor, offset, vector, count);
        if (err != ERR_OK) {
            return err;
        }
        offset += size;
    }
    return ERR_OK;
}

static enum err fs_sync(struct fs_file *file)
{
    /* Not tried again, on EINTR either: a second sync may report success for what the first lost.
     */
    struct clock_port clock = loop_clock();
    uint64_t began_us = clock_now_us(&clock);
    enum err err = fdatasync(file->descriptor) == 0 ? ERR_OK : err_from_errno(errno);
    uint64_t took_us = clock_now_us(&clock) - began_us;
    pthread_mutex_lock(&file->fs->syncs_lock);
    histogram_add(&file->fs->syncs, took_us);
    pthread_mutex_unlock(&file->fs->syncs_lock);
    return err;
}

static enum err fs_truncate(struct fs_file *file, uint64_t size)
{
    int result;
    do {
        result = ftruncate(file->descriptor, (off_t)size);
    } while (result < 0 && errno == EINTR);
    return result == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err fs_size(struct fs_file *file, uint64_t *out)
{
    struct stat status;
    if (fstat(file->descriptor, &status) < 0) {
        return err_from_errno(errno);
    }
    /* A directory or a device under our name is nothing that we wrote. */
    *out = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    return S_ISREG(status.st_mode) ? ERR_OK : ERR_IO;
}

static enum err extend_with_zeroes(struct fs_file *file, uint64_t size)
{
    static const uint8_t zeroes[ZEROES_AT_ONCE];
    uint64_t at = 0;
    enum err err = fs_size(file, &at);
    while (err == ERR_OK && at < size) {
        uint64_t part = size - at < sizeof zeroes ? size - at : sizeof zeroes;
        struct bytes piece = bytes_of(zeroes, (size_t)part);
        err = fs_write(file, at, &piece, 1);
        at += part;
    }
    return err;
}

static enum err fs_allocate(struct fs_file *file, uint64_t size)
{
    int number;
    do {
        /* Not posix_fallocate(): where the file system cannot, glibc's writes into every block. */
        number = fallocate(file->descriptor, 0, 0, (off_t)size) == 0 ? 0 : errno;
    } while (number == EINTR);
    if (number == EOPNOTSUPP || number == ENOSYS) {
        return extend_with_zeroes(file, size);
    }
    return err_from_errno(number);
}

static enum err fs_lock(struct fs_file *file)
{
    /* Belongs to the open file, not the process (as fcntl's classic locks do): a second open of the
     * same directory within one process is refused too. */
    if (flock(file->descriptor, LOCK_EX | LOCK_NB) == 0) {
        return ERR_OK;
    }
    return errno == EWOULDBLOCK ? ERR_LOCKED : err_from_errno(errno);
}

static enum err fs_rename(void *ctx, const char *from, const char *to)
{
    const struct posix_fs *fs = ctx;
    return renameat(fs->directory, from, fs->directory, to) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err fs_remove(void *ctx, const char *name)
{
    const struct posix_fs *fs = ctx;
    return unlinkat(fs->directory, name, 0) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err fs_make_dir(void *ctx, const char *name)
{
    const struct posix_fs *fs = ctx;
    if (mkdirat(fs->directory, name, DIRECTORY_MODE) == 0) {
        return ERR_OK;
    }
    struct stat status;
    if (errno == EEXIST && fstatat(fs->directory, name, &status, 0) == 0 &&
        S_ISDIR(status.st_mode)) {
        return ERR_OK;
    }
    return err_from_errno(errno);
}

static enum err open_directory(int parent, const char *name, int *out)
{
    *out = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out >= 0 ? ERR_OK : err_from_errno(errno);
}

static enum err sync_directory(int parent, const char *name)
{
    int directory;
    enum err err = open_directory(parent, name, &directory);
    if (err == ERR_OK) {
        err = fsync(directory) == 0 ? ERR_OK : err_from_errno(errno);
        close(directory);
    }
    return err;
}

static enum err fs_sync_dir(void *ctx, const char *name)
{
    const struct posix_fs *fs = ctx;
    return sync_directory(fs->directory, name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The plain names of a directory, without subdirectories, unsorted. */
static enum err read_names(int directory, char ***names, size_t *count)
{
    DIR *stream = fdopendir(directory);
    if (stream == NULL) {
        enum err err = err_from_errno(errno);
        close(directory);
        return err;
    }
    const struct dirent *entry;
    errno = 0;
    while ((entry = readdir(stream)) != NULL) {
        struct stat status;
        if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
            S_ISDIR(status.st_mode)) {
            errno = 0;
            continue;
        }
        *names = alloc_resize(*names, *count + 1, sizeof **names);
        (*names)[(*count)++] = alloc_string(entry->d_name);
        errno = 0;
    }
    enum err err = err_from_errno(errno);
    closedir(stream);
    return err;
}

static enum err fs_list(void *ctx, const char *dir, void (*each)(void *arg, const char *name),
                        void *arg)
{
    const struct posix_fs *fs = ctx;
    int directory;
    enum err err = open_directory(fs->directory, dir, &directory);
    if (err != ERR_OK) {
        return err;
    }
    char **names = NULL;
    size_t count = 0;
    err = read_names(directory, &names, &count);
    if (count > 0) {
        qsort(names, count, sizeof *names, by_name);
    }
    for (size_t i = 0; i < count; i++) {
        if (err == ERR_OK) {
            each(arg, names[i]);
        }
        free(names[i]);
    }
    free(names);
    return err;
}

static const char *fs_path(void *ctx)
{
    const struct posix_fs *fs = ctx;
    return fs->path;
}

static const struct fs_vtable vtable = {
    .open = fs_open,
    .close = fs_close,
    .read = fs_read,
    .write = fs_write,
    .sync = fs_sync,
    .truncate = fs_truncate,
    .allocate = fs_allocate,
    .size = fs_size,
    .lock = fs_lock,
    .rename = fs_rename,
    .remove = fs_remove,
    .make_dir = fs_make_dir,
    .sync_dir = fs_sync_dir,
    .list = fs_list,
    .path = fs_path,
};

/* Make the name of the directory that is open here durable in its parent. */
static enum err sync_parent(int directory)
{
    return sync_directory(directory, "..");
}

static struct posix_fs *posix_fs_new(int directory_take, const char *path)
{
    struct posix_fs *fs = NEW(struct posix_fs);
    fs->port = (struct fs_port){.ctx = fs, .v = &vtable};
    fs->directory = directory_take;
    fs->path = alloc_string(path);
    pthread_mutex_init(&fs->syncs_lock, NULL);
    return fs;
}

enum err posix_fs_open_existing(const char *path, struct posix_fs **out, struct why *why)
{
    int directory;
    enum err err = open_directory(AT_FDCWD, path, &directory);
    if (err != ERR_OK) {
        err_why(why, err, "cannot open the data directory %s: %s", path, strerror(errno));
        return err;
    }
    *out = posix_fs_new(directory, path);
    return ERR_OK;
}

enum err posix_fs_open(const char *path, struct posix_fs **out, struct why *why)
{
    bool made = mkdir(path, DIRECTORY_MODE) == 0;
    if (!made && errno != EEXIST) {
        return err_why(why, err_from_errno(errno), "cannot create the data directory %s: %s", path,
                       strerror(errno));
    }
    struct posix_fs *fs;
    enum err err = posix_fs_open_existing(path, &fs, why);
    if (err != ERR_OK) {
        return err;
    }
    /* Only for a new one: the parent of an old one may not be ours to read. */
    if (made && (err = sync_parent(fs->directory)) != ERR_OK) {
        err_why(why, err, "cannot sync the parent of the data directory %s: %s", path,
                strerror(errno));
        posix_fs_close(fs);
        return err;
    }
    *out = fs;
    return ERR_OK;
}

void posix_fs_close(struct posix_fs *fs)
{
    if (fs == NULL) {
        return;
    }
    close(fs->directory);
    pthread_mutex_destroy(&fs->syncs_lock);
    free(fs->path);
    free(fs);
}

void posix_fs_syncs(struct posix_fs *fs, struct histogram *out)
{
    pthread_mutex_lock(&fs->syncs_lock);
    *out = fs->syncs;
    pthread_mutex_unlock(&fs->syncs_lock);
}

const struct fs_port *posix_fs_port(struct posix_fs *fs)
{
    return &fs->port;
}
