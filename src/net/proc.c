#include "net/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
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

enum sight { SEEN, NOT_THERE, BLIND };

/* Of what could not be opened. */
static enum sight sight_of(int number)
{
    return number == EMFILE || number == ENFILE || number == ENOMEM ? BLIND : NOT_THERE;
}

static enum sight read_file(const char *path, char *out, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return sight_of(errno);
    }
    ssize_t got = read(fd, out, capacity - 1);
    close(fd);
    out[got > 0 ? got : 0] = 0;
    return got > 0 ? SEEN : NOT_THERE;
}

static enum sight read_stat(pid_t pid, struct stat_line *out)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    enum sight sight = read_file(path, text, sizeof text);
    if (sight != SEEN) {
        return sight;
    }
    /* The name is in parentheses and may hold any character, ')' too. */
    const char *rest = strrchr(text, ')');
    bool good = rest != NULL &&
                sscanf(rest + 1,
                       " %c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                       "%" SCNu64,
                       &out->state, &out->parent, &out->group, &out->start_time) == 4;
    return good ? SEEN : NOT_THERE;
}

uint64_t process_start_time(pid_t pid)
{
    struct stat_line line;
    return read_stat(pid, &line) == SEEN ? line.start_time : 0;
}

pid_t process_group_of(pid_t pid)
{
    struct stat_line line;
    enum sight sight = read_stat(pid, &line);
    return sight == SEEN ? line.group : sight == BLIND ? PROCESS_GROUP_BLIND : 0;
}

bool process_lives(pid_t pid)
{
    struct stat_line line;
    enum sight sight = read_stat(pid, &line);
    return sight == BLIND || (sight == SEEN && line.state != 'Z' && line.state != 'X');
}

/* All of a file whose size one cannot count on. */
static enum sight append_file(const char *path, struct buffer *out)
{
    enum { PIECE_BYTES = 16384 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return sight_of(errno);
    }
    ssize_t got = 1;
    while (got > 0) {
        got = read(fd, buffer_reserve(out, PIECE_BYTES), PIECE_BYTES);
        out->size += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return SEEN;
}

bool process_environment(pid_t pid, struct buffer *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    return append_file(path, out) != BLIND;
}

/* ---- walks ---------------------------------------------------------------------------------- */

/* Entries of a directory that are numbers. */
static enum sight each_number(const char *path, bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return sight_of(errno);
    }
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) &&
            !visit((pid_t)strtol(entry->d_name, NULL, 10), ctx)) {
            break;
        }
    }
    closedir(directory);
    return SEEN;
}

bool process_each(bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    return each_number("/proc", visit, ctx) != BLIND;
}

/* Processes that are still to be visited. */
struct below {
    struct buffer pids;
    pid_t parent;
    bool told; /* the kernel has such lists */
    bool blind;
};

static bool add_children_of_thread(pid_t thread, void *ctx)
{
    struct below *below = ctx;
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)below->parent, (int)thread);
    struct buffer list = {0};
    enum sight sight = append_file(path, &list);
    below->told = below->told || sight == SEEN;
    below->blind = below->blind || sight == BLIND;
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
    enum sight sight = each_number(path, add_children_of_thread, below);
    below->blind = below->blind || sight == BLIND;
}

enum process_walk process_each_below(pid_t root, bool (*visit)(pid_t pid, void *ctx), void *ctx)
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
    return below.blind ? PROCESS_BLIND : below.told ? PROCESS_WALKED : PROCESS_UNTOLD;
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
    if (pid != search->spare && read_stat(pid, &line) == SEEN && line.parent == search->parent) {
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
    return read_file("/proc/sys/kernel/random/boot_id", out, 37) == SEEN && strlen(out) == 36;
}
