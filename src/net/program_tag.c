#include "net/program_tag.h"

#include <errno.h>
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

enum membership {
    MEMBER_NO,
    MEMBER_YES,
    /* Between two programs a process has no environment for a moment; some never have one. */
    MEMBER_UNKNOWN,
    MEMBER_UNSEEN, /* one is blind */
};

static bool is_tag(uint64_t tag, const struct programs *programs)
{
    for (size_t i = 0; i < programs->count; i++) {
        if (programs->at[i].tag == tag) {
            return true;
        }
    }
    return false;
}

/* By its group. */
static enum membership membership_in_groups(pid_t pid, const struct programs *programs)
{
    bool is_looked_up = false;
    pid_t group = 0;
    for (size_t i = 0; i < programs->count; i++) {
        if (programs->at[i].group != 0) {
            group = is_looked_up ? group : process_group_of(pid);
            is_looked_up = true;
            if (group == programs->at[i].group) {
                return MEMBER_YES;
            }
        }
    }
    return group == PROCESS_GROUP_BLIND ? MEMBER_UNSEEN : MEMBER_NO;
}

/* value: "TAG:TAG". Anybody may have set it before us, to anything: what is no tag is skipped. */
static bool has_tag(const char *value, const struct programs *programs)
{
    for (const char *next; value != NULL; value = next) {
        char *end;
        uint64_t tag = strtoull(value, &end, 16);
        if (end != value && (*end == 0 || *end == ':') && is_tag(tag, programs)) {
            return true;
        }
        next = strchr(value, ':');
        next = next != NULL ? next + 1 : NULL;
    }
    return false;
}

static enum membership membership_of(pid_t pid, const struct programs *programs)
{
    enum membership is = membership_in_groups(pid, programs);
    if (is != MEMBER_NO) {
        return is;
    }
    struct buffer environment = {0};
    bool seen = process_environment(pid, &environment);
    const char *text = buffer_text(&environment);
    for (size_t at = 0; at < environment.size && is == MEMBER_NO; at += strlen(text + at) + 1) {
        if (program_tag_is_variable(text + at) && has_tag(text + at + sizeof name - 1, programs)) {
            is = MEMBER_YES;
        }
    }
    if (!seen) {
        is = MEMBER_UNSEEN;
    } else if (environment.size == 0 && process_lives(pid)) {
        is = MEMBER_UNKNOWN;
    }
    buffer_close(&environment);
    return is;
}

struct group_search {
    pid_t group;
    struct programs programs;
    bool found;
};

static bool look_in_group(pid_t pid, void *ctx)
{
    struct group_search *search = ctx;
    search->found = process_group_of(pid) == search->group &&
                    membership_of(pid, &search->programs) == MEMBER_YES;
    return !search->found;
}

bool program_tag_in_group(pid_t group, uint64_t tag)
{
    struct program program = {.tag = tag};
    struct group_search search = {.group = group, .programs = {.at = &program, .count = 1}};
    process_each(look_in_group, &search);
    return search.found;
}

/* ---- all of them ---------------------------------------------------------------------------- */

enum { DYING_MAX = 64 };

struct sweep {
    const struct programs *programs;
    unsigned found;
    unsigned unknown;
    bool blind;           /* there may be others */
    int dying[DYING_MAX]; /* pidfds of what was killed */
    unsigned dying_count;
};

/* A zombie has; a process one of whose threads lives has not. */
static bool has_ended(int pidfd)
{
    return poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, 0) > 0;
}

/* The descriptor stands for one process; if that is a member after it was opened, no other is
 * killed in its place. */
static void kill_member(struct sweep *sweep, pid_t pid)
{
    int fd = pidfd_open(pid, 0);
    if (fd < 0) {
        sweep->found += errno != ESRCH; /* it lives, and cannot be reached */
        return;
    }
    enum membership is = has_ended(fd) ? MEMBER_NO : membership_of(pid, sweep->programs);
    bool lives = is == MEMBER_YES;
    sweep->blind = sweep->blind || is == MEMBER_UNSEEN;
    bool dies = lives && pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0;
    sweep->found += dies || (lives && errno != ESRCH);
    if (dies && sweep->dying_count < DYING_MAX) {
        sweep->dying[sweep->dying_count++] = fd;
    } else {
        close(fd);
    }
}

/* Who is dying has lost its environment before its files and locks: no look would find it, if it
 * has left its group. */
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
    enum membership is = membership_of(pid, sweep->programs);
    if (is == MEMBER_YES) {
        kill_member(sweep, pid);
    }
    sweep->unknown += is == MEMBER_UNKNOWN;
    sweep->blind = sweep->blind || is == MEMBER_UNSEEN;
    return true;
}

static struct sweep sweep_once(const struct programs *programs)
{
    struct sweep sweep = {.programs = programs};
    enum process_walk walk = PROCESS_UNTOLD;
    if (programs->below != 0) {
        walk = process_each_below(programs->below, sweep_one, &sweep);
    }
    if (walk == PROCESS_UNTOLD) {
        bool seen = process_each(sweep_one, &sweep);
        sweep.unknown = 0; /* always many: the kernel's threads, other users' processes */
        walk = seen ? PROCESS_WALKED : PROCESS_BLIND;
    }
    sweep.blind = sweep.blind || walk == PROCESS_BLIND;
    return sweep;
}

/* Who forks, or loses its parent, while one looks may be overlooked: it is over when two looks in a
 * row have found nothing. What is killed goes on being found until it is gone. */
enum err programs_kill(const struct programs *programs, unsigned timeout_ms)
{
    enum { LOOKS_CLEAN = 2, LOOKS_UNKNOWN = 10, LOOK_EVERY_MS = 1 };
    struct clock_port clock = loop_clock();
    uint64_t give_up_us = clock_now_us(&clock) + timeout_ms * UINT64_C(1000);
    unsigned clean = 0, unknown = 0;
    while (clean < LOOKS_CLEAN) {
        struct sweep sweep = sweep_once(programs);
        await_dying(&sweep, give_up_us);
        bool is_clean =
            sweep.found == 0 && !sweep.blind && (sweep.unknown == 0 || ++unknown > LOOKS_UNKNOWN);
        clean = is_clean ? clean + 1 : 0;
        if (is_clean) {
            continue;
        }
        if (clock_now_us(&clock) > give_up_us) {
            return sweep.found == 0 && sweep.blind ? ERR_IO : ERR_BUSY;
        }
        poll(NULL, 0, LOOK_EVERY_MS);
    }
    return ERR_OK;
}
