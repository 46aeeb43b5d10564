#include "net/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of /proc/PID/stat (proc(5)), from the one after the name. */
struct stat_line {
    char state;
    int parent;
    int group;
    uint64_t start_time;
};

static size_t read_file(const char *path, char *out, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t got = read(fd, out, capacity - 1);
    close(fd);
    size_t size = got > 0 ? (size_t)got : 0;
    out[size] = 0;
    return size;
}

static bool read_stat(pid_t pid, struct stat_line *out)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_file(path, text, sizeof text) == 0) {
        return false;
    }
    /* The name is in parentheses and may hold any character, ')' too. */
    const char *rest = strrchr(text, ')');
    return rest != NULL &&
           sscanf(rest + 1,
                  " %c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                  "%" SCNu64,
                  &out->state, &out->parent, &out->group, &out->start_time) == 4;
}

uint64_t process_start_time(pid_t pid)
{
    struct stat_line line;
    return read_stat(pid, &line) ? line.start_time : 0;
}

pid_t process_group_of(pid_t pid)
{
    struct stat_line line;
    return read_stat(pid, &line) ? line.group : 0;
}

bool process_lives(pid_t pid)
{
    struct stat_line line;
    return read_stat(pid, &line) && line.state != 'Z' && line.state != 'X';
}

/* All of a file whose size one cannot count on. False if it cannot be opened. */
static bool append_file(const char *path, struct buffer *out)
{
    enum { PIECE_BYTES = 16384 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = 1;
    while (got > 0) {
        got = read(fd, buffer_reserve(out, PIECE_BYTES), PIECE_BYTES);
        out->size += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return true;
}

void process_environment(pid_t pid, struct buffer *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    append_file(path, out);
}

/* ---- walks ---------------------------------------------------------------------------------- */

/* Entries of a directory that are numbers. */
static void each_number(const char *path, bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) &&
            !visit((pid_t)strtol(entry->d_name, NULL, 10), ctx)) {
            break;
        }
    }
    closedir(directory);
}

void process_each(bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    each_number("/proc", visit, ctx);
}

/* Processes that are still to be visited. */
struct below {
    struct buffer pids;
    pid_t parent;
    bool told; /* the kernel has such lists */
};

static bool add_children_of_thread(pid_t thread, void *ctx)
{
    struct below *below = ctx;
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)below->parent, (int)thread);
    struct buffer list = {0};
    below->told = append_file(path, &list) || below->told;
    char *at = (char *)(uintptr_t)buffer_text(&list), *end;
    for (long pid; (pid = strtol(at, &end, 10)) > 0; at = end) {
        buffer_add(&below->pids, &(pid_t){(pid_t)pid}, sizeof(pid_t));
    }
    buffer_close(&list);
    return true;
}

/* Whose child a process is says which thread has forked it. */
static void add_children(struct below *below, pid_t parent)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)parent);
    below->parent = parent;
    each_number(path, add_children_of_thread, below);
}

bool process_each_below(pid_t root, bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    enum { PIDS_MAX = 1 << 22 }; /* Linux has no more; families change while they are looked at */
    struct below below = {.told = false};
    add_children(&below, root);
    for (size_t i = 0; i < PIDS_MAX && i < below.pids.size / sizeof(pid_t); i++) {
        pid_t pid;
        memcpy(&pid, below.pids.data + i * sizeof pid, sizeof pid);
        if (!visit(pid, ctx)) {
            break;
        }
        add_children(&below, pid);
    }
    buffer_close(&below.pids);
    return below.told;
}

/* ---- ends ----------------------------------------------------------------------------------- */

bool process_kill_group(pid_t group, uint64_t start_time)
{
    uint64_t found = process_start_time(group);
    if (group <= 1 || (found != 0 && found != start_time)) {
        return false;
    }
    return kill(-group, SIGKILL) == 0;
}

struct child_search {
    pid_t parent;
    pid_t spare;
    unsigned found;
};

static bool kill_if_child(pid_t pid, void *ctx)
{
    struct child_search *search = ctx;
    struct stat_line line;
    if (pid != search->spare && read_stat(pid, &line) && line.parent == search->parent) {
        kill(pid, SIGKILL);
        search->found++;
    }
    return true;
}

unsigned process_kill_children(pid_t spare)
{
    struct child_search search = {.parent = getpid(), .spare = spare};
    process_each(kill_if_child, &search);
    return search.found;
}

bool process_boot_id(char out[37])
{
    return read_file("/proc/sys/kernel/random/boot_id", out, 37) == 36;
}
