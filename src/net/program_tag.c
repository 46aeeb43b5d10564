#include "net/program_tag.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "net/loop.h"
#include "net/proc.h"
#include "net/system_entropy.h"

static const char name[] = PROGRAM_TAG_VARIABLE "=";

uint64_t program_tag_new(void)
{
    return entropy_u64(system_entropy());
}

char *program_tag_variable(uint64_t tag)
{
    const char *outer = getenv(PROGRAM_TAG_VARIABLE);
    struct buffer variable = {0};
    buffer_add_format(&variable, "%s%s%s%016" PRIx64, name, outer != NULL ? outer : "",
                      outer != NULL ? ":" : "", tag);
    buffer_text(&variable);
    return (char *)variable.data;
}

bool program_tag_is_variable(const char *variable)
{
    return strncmp(variable, name, sizeof name - 1) == 0;
}

/* ---- one process ---------------------------------------------------------------------------- */

enum tagged {
    TAGGED_NO,
    TAGGED_YES,
    /* Between two programs a process has no environment for a moment; some never have one. */
    TAGGED_UNKNOWN,
};

static bool is_among(uint64_t tag, const struct program_tags *tags)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (tags->at[i] == tag) {
            return true;
        }
    }
    return false;
}

/* value: "TAG:TAG". Anybody may have set it before us, to anything: what is no tag is skipped. */
static bool has_one_of(const char *value, const struct program_tags *tags)
{
    for (const char *next; value != NULL; value = next) {
        char *end;
        uint64_t tag = strtoull(value, &end, 16);
        if (end != value && (*end == 0 || *end == ':') && is_among(tag, tags)) {
            return true;
        }
        next = strchr(value, ':');
        next = next != NULL ? next + 1 : NULL;
    }
    return false;
}

static enum tagged is_tagged(pid_t pid, const struct program_tags *tags)
{
    struct buffer environment = {0};
    process_environment(pid, &environment);
    const char *text = buffer_text(&environment);
    enum tagged is = TAGGED_NO;
    for (size_t at = 0; at < environment.size && is == TAGGED_NO; at += strlen(text + at) + 1) {
        if (program_tag_is_variable(text + at) && has_one_of(text + at + sizeof name - 1, tags)) {
            is = TAGGED_YES;
        }
    }
    if (environment.size == 0 && process_lives(pid)) {
        is = TAGGED_UNKNOWN;
    }
    buffer_close(&environment);
    return is;
}

struct group_search {
    pid_t group;
    struct program_tags tags;
    bool found;
};

static bool look_in_group(pid_t pid, void *ctx)
{
    struct group_search *search = ctx;
    search->found =
        process_group_of(pid) == search->group && is_tagged(pid, &search->tags) == TAGGED_YES;
    return !search->found;
}

bool program_tag_in_group(pid_t group, uint64_t tag)
{
    struct group_search search = {.group = group, .tags = {.at = &tag, .count = 1}};
    process_each(look_in_group, &search);
    return search.found;
}

/* ---- all of them ---------------------------------------------------------------------------- */

enum { DYING_MAX = 64 };

struct sweep {
    const struct program_tags *tags;
    unsigned found;
    unsigned unknown;
    int dying[DYING_MAX]; /* pidfds of what was killed */
    unsigned dying_count;
};

/* The descriptor stands for one process; if that has the tag after it was opened, no other is
 * killed in its place. */
static void kill_tagged(struct sweep *sweep, pid_t pid)
{
    int fd = pidfd_open(pid, 0);
    if (fd >= 0) {
        if (is_tagged(pid, sweep->tags) == TAGGED_YES &&
            pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0 && sweep->dying_count < DYING_MAX) {
            sweep->dying[sweep->dying_count++] = fd;
        } else {
            close(fd);
        }
    }
}

/* Who is dying has lost its environment before its files and locks: no look would find it. */
static void await_dying(struct sweep *sweep, uint64_t give_up_us)
{
    struct clock_port clock = loop_clock();
    for (unsigned i = 0; i < sweep->dying_count; i++) {
        uint64_t now_us = clock_now_us(&clock);
        struct pollfd end = {.fd = sweep->dying[i], .events = POLLIN};
        poll(&end, 1, now_us < give_up_us ? (int)((give_up_us - now_us) / 1000) : 0);
        close(sweep->dying[i]);
    }
    sweep->dying_count = 0;
}

static bool sweep_one(pid_t pid, void *ctx)
{
    struct sweep *sweep = ctx;
    enum tagged is = is_tagged(pid, sweep->tags);
    if (is == TAGGED_YES) {
        kill_tagged(sweep, pid);
        sweep->found++;
    } else if (is == TAGGED_UNKNOWN) {
        sweep->unknown++;
    }
    return true;
}

static struct sweep sweep_once(const struct program_tags *tags)
{
    struct sweep sweep = {.tags = tags};
    if (tags->below == 0 || !process_each_below(tags->below, sweep_one, &sweep)) {
        process_each(sweep_one, &sweep);
        sweep.unknown = 0; /* always many: the kernel's threads, other users' processes */
    }
    return sweep;
}

/* Who forks, or loses its parent, while one looks may be overlooked: it is over when two looks in a
 * row have found nothing. What is killed goes on being found until it is gone. */
bool program_tags_kill(const struct program_tags *tags, unsigned timeout_ms)
{
    enum { LOOKS_CLEAN = 2, LOOKS_UNKNOWN = 10, LOOK_EVERY_MS = 1 };
    struct clock_port clock = loop_clock();
    uint64_t give_up_us = clock_now_us(&clock) + timeout_ms * UINT64_C(1000);
    unsigned clean = 0, unknown = 0;
    while (clean < LOOKS_CLEAN) {
        struct sweep sweep = sweep_once(tags);
        await_dying(&sweep, give_up_us);
        bool is_clean = sweep.found == 0 && (sweep.unknown == 0 || ++unknown > LOOKS_UNKNOWN);
        clean = is_clean ? clean + 1 : 0;
        if (is_clean) {
            continue;
        }
        if (clock_now_us(&clock) > give_up_us) {
            return false;
        }
        poll(NULL, 0, LOOK_EVERY_MS);
    }
    return true;
}
