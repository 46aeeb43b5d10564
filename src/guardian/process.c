#include "guardian/process.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

/* Fields of /proc/PID/stat (proc(5)), from the one after the name. */
struct stat_line {
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
                  " %*c %d %d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                  "%" SCNu64,
                  &out->parent, &out->group, &out->start_time) == 3;
}

uint64_t process_start_time(pid_t pid)
{
    struct stat_line line;
    return read_stat(pid, &line) ? line.start_time : 0;
}

bool process_kill_group(pid_t group, uint64_t start_time)
{
    uint64_t found = process_start_time(group);
    if (group <= 1 || (found != 0 && found != start_time)) {
        return false;
    }
    return kill(-group, SIGKILL) == 0;
}

static void each_process(bool (*visit)(pid_t pid, void *ctx), void *ctx)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(proc)) != NULL) {
        if (isdigit((unsigned char)entry->d_name[0]) &&
            !visit((pid_t)strtol(entry->d_name, NULL, 10), ctx)) {
            break;
        }
    }
    closedir(proc);
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
    each_process(kill_if_child, &search);
    return search.found;
}

/* An environment has no size that one could count on; the kernel allows a few megabytes. */
static void read_environment(pid_t pid, struct buffer *out)
{
    enum { PIECE_BYTES = 16384 };
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : 1;
    while (got > 0) {
        got = read(fd, buffer_reserve(out, PIECE_BYTES), PIECE_BYTES);
        out->size += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
}

struct variable_search {
    pid_t group;
    const char *name;
    bool found;
};

static bool look_for_variable(pid_t pid, void *ctx)
{
    struct variable_search *search = ctx;
    struct stat_line line;
    if (!read_stat(pid, &line) || line.group != search->group) {
        return true;
    }
    struct buffer environment = {0};
    read_environment(pid, &environment);
    const char *text = buffer_text(&environment);
    size_t name_size = strlen(search->name);
    for (size_t at = 0; at < environment.size && !search->found; at += strlen(text + at) + 1) {
        search->found =
            strncmp(text + at, search->name, name_size) == 0 && text[at + name_size] == '=';
    }
    buffer_close(&environment);
    return !search->found;
}

bool process_group_has_variable(pid_t group, const char *name)
{
    struct variable_search search = {.group = group, .name = name};
    each_process(look_for_variable, &search);
    return search.found;
}

bool process_boot_id(char out[37])
{
    return read_file("/proc/sys/kernel/random/boot_id", out, 37) == 36;
}
