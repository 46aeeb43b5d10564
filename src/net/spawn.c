#include "net/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "net/program_tag.h"

/* ---- pipes ---------------------------------------------------------------------------------- */

enum { INPUT = 0, OUTPUT = 1, ENDS_PIPES = 3 };

/* For stdin, stdout, stderr of the program: theirs and ours. -1: not there. */
struct ends {
    int theirs[ENDS_PIPES];
    int ours[ENDS_PIPES];
};

static void close_one(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static void close_ends(int fds[ENDS_PIPES])
{
    for (int i = 0; i < ENDS_PIPES; i++) {
        close_one(&fds[i]);
    }
}

/* Out of the way of the three that are to be put in their places, where ours were closed. */
static bool move_up(int *fd)
{
    if (*fd >= 0 && *fd <= STDERR_FILENO) {
        int moved = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(*fd);
        *fd = moved;
    }
    return *fd >= 0;
}

static bool open_end(struct ends *ends, int i, bool piped)
{
    if (!piped) {
        ends->theirs[i] = open("/dev/null", (i == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
        return move_up(&ends->theirs[i]);
    }
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return false;
    }
    ends->theirs[i] = fds[i == 0 ? 0 : 1];
    ends->ours[i] = fds[i == 0 ? 1 : 0];
    return move_up(&ends->theirs[i]) && move_up(&ends->ours[i]) &&
           fcntl(ends->ours[i], F_SETFL, O_NONBLOCK) == 0;
}

static bool open_ends(const struct process_spec *spec, struct ends *ends)
{
    *ends = (struct ends){{-1, -1, -1}, {-1, -1, -1}};
    return open_end(ends, 0, spec->input) && open_end(ends, 1, spec->read[PROCESS_STDOUT]) &&
           open_end(ends, 2, spec->read[PROCESS_STDERR]);
}

/* ---- the environment ------------------------------------------------------------------------ */

static bool has_name(const char *variable, const char *other)
{
    size_t size = strcspn(other, "=");
    return strncmp(variable, other, size) == 0 && variable[size] == '=';
}

static bool is_replaced(const char *variable, const char *const *by)
{
    for (size_t i = 0; by[i] != NULL; i++) {
        if (has_name(variable, by[i])) {
            return true;
        }
    }
    return false;
}

/* Ours without what is replaced or tells a moonkeeper how to behave, and what is added; of two of
 * one name the later; the tag last. The caller frees the array; the strings are borrowed. */
static char **environment_with(const char *const *added, char *tag)
{
    static const char prefix[] = "MOONKEEPER_";
    size_t ours = 0, more = 0, count = 0;
    for (; environ[ours] != NULL; ours++) {
    }
    for (; added[more] != NULL; more++) {
    }
    char **all = alloc_zeroed(ours + more + 2, sizeof *all);
    for (size_t i = 0; i < ours; i++) {
        if (strncmp(environ[i], prefix, sizeof prefix - 1) != 0 &&
            !is_replaced(environ[i], added)) {
            all[count++] = environ[i];
        }
    }
    for (size_t i = 0; i < more; i++) {
        if (!is_replaced(added[i], added + i + 1) && !program_tag_is_variable(added[i])) {
            all[count++] = (char *)(uintptr_t)added[i]; /* execve() writes to none of them */
        }
    }
    all[count] = tag;
    return all;
}

/* ---- the new process ------------------------------------------------------------------------ */

enum step { STEP_NONE, STEP_REGISTER, STEP_LEASE, STEP_HOLD, STEP_DIRECTORY, STEP_PROGRAM };

/* Shared with the new process until it has become its program (vfork). What that writes is
 * volatile: a compiler sees that no code which could read it follows in there. */
struct birth {
    const struct process_spec *spec;
    const struct processes_registry *registry;
    const int *theirs;
    char **environment;
    uint64_t tag;
    pid_t parent;
    volatile enum step failed;
    volatile int number; /* errno */
    volatile enum err err;
    volatile bool has_slot;
    volatile uint32_t slot;
};

/* Handlers are this process's functions; ignored signals would stay ignored. The thread blocks all
 * signals, so none is handled in between. */
static void reset_signals(void)
{
    for (int i = 1; i < NSIG; i++) {
        signal(i, SIG_DFL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void fail_at(struct birth *b, enum step step)
{
    b->number = errno;
    b->failed = step;
    _exit(EXIT_FAILURE);
}

/* Only calls that are safe between vfork() and execve(). */
static void become(struct birth *b)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != b->parent) {
        _exit(EXIT_FAILURE);
    }
    setpgid(0, 0);
    uint64_t deadline_us = process_deadline_us(b->spec->lease_until_us, b->spec->hold_until_us);
    if (b->registry->add != NULL) {
        uint32_t slot = 0;
        const struct guardian_entry entry = {
            .process_group = getpid(), .tag = b->tag, .deadline_us = deadline_us};
        b->err = b->registry->add(b->registry->ctx, &entry, &slot);
        if (b->err != ERR_OK) {
            fail_at(b, STEP_REGISTER);
        }
        b->slot = slot;
        b->has_slot = true;
    }
    /* Entered, it is killed when what it is bound to ends. That may have ended before. */
    struct clock_port clock = loop_clock();
    uint64_t now_us = clock_now_us(&clock);
    if (now_us >= b->spec->lease_until_us) {
        fail_at(b, STEP_LEASE);
    }
    if (now_us >= deadline_us) {
        fail_at(b, STEP_HOLD);
    }
    for (int i = 0; i < ENDS_PIPES; i++) {
        dup2(b->theirs[i], i);
    }
    close_range(STDERR_FILENO + 1, ~0u, 0);
    if (b->spec->cwd != NULL && chdir(b->spec->cwd) != 0) {
        fail_at(b, STEP_DIRECTORY);
    }
    reset_signals();
    execvpe(b->spec->argv[0], (char *const *)(uintptr_t)b->spec->argv, b->environment);
    fail_at(b, STEP_PROGRAM);
}

/* In a function of its own: what lives in the registers of a caller of vfork() is not safe. The
 * analyzer would have no call but exec after it; become() makes only those that are safe. */
static __attribute__((noinline)) pid_t give_birth(struct birth *b)
{
    /* posix_spawn() knows neither PR_SET_PDEATHSIG nor our registry, and fork() would copy the page
     * tables of a node that may be large, and stop its loop for that long. */
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0) {
        become(b); /* NOLINT(clang-analyzer-unix.Vfork) */
        _exit(EXIT_FAILURE);
    }
    return pid;
}

/* It did not become its program: say why. */
static enum err stillborn(const struct birth *b, struct why *why)
{
    const char *program = b->spec->argv[0];
    if (b->failed == STEP_REGISTER) {
        return err_why(why, b->err, "cannot run %s: the guardian has no room for more processes",
                       program);
    }
    if (b->failed == STEP_LEASE) {
        return err_why(why, ERR_NOT_LEADER, "cannot run %s: the lease is over", program);
    }
    if (b->failed == STEP_HOLD) {
        return err_why(why, ERR_FENCED, "cannot run %s: the lock that it is to run under is lost",
                       program);
    }
    if (b->failed == STEP_DIRECTORY) {
        return err_why(why, b->number == ENOENT ? ERR_NOT_FOUND : ERR_IO,
                       "cannot run %s: cannot enter %s: %s", program, b->spec->cwd,
                       strerror(b->number));
    }
    bool is_path = strchr(program, '/') != NULL;
    return err_why(why, b->number == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot run %s: %s%s",
                   program, strerror(b->number),
                   b->number == ENOENT && !is_path ? " (it is not in PATH)" : "");
}

enum err spawn(const struct process_spec *spec, const struct processes_registry *registry,
               struct spawned *out, struct why *why)
{
    struct ends ends;
    if (!open_ends(spec, &ends)) {
        int number = errno;
        close_ends(ends.theirs);
        close_ends(ends.ours);
        return err_why(why, ERR_IO, "cannot run %s: cannot make a pipe: %s", spec->argv[0],
                       strerror(number));
    }
    uint64_t tag = program_tag_new();
    char *variable = program_tag_variable(tag);
    struct birth birth = {
        .spec = spec,
        .registry = registry,
        .theirs = ends.theirs,
        .environment = environment_with(spec->env, variable),
        .tag = tag,
        .parent = getpid(),
    };
    pid_t pid = give_birth(&birth);
    int number = errno;
    free(birth.environment);
    free(variable);
    close_ends(ends.theirs);
    enum err e = ERR_OK;
    if (pid < 0) {
        e = err_why(why, ERR_IO, "cannot run %s: cannot make a process: %s", spec->argv[0],
                    strerror(number));
    } else if (birth.failed != STEP_NONE) {
        waitpid(pid, NULL, 0);
        e = stillborn(&birth, why);
    }
    if (e != ERR_OK) {
        if (birth.has_slot) {
            registry->remove(registry->ctx, birth.slot);
        }
        close_ends(ends.ours);
        return e;
    }
    *out = (struct spawned){.pid = pid,
                            .has_slot = birth.has_slot,
                            .slot = birth.slot,
                            .tag = tag,
                            .input = ends.ours[0],
                            .output = {ends.ours[1], ends.ours[2]}};
    return ERR_OK;
}
