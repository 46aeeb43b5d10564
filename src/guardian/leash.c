#include "guardian/leash.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/alarm.h"
#include "net/proc.h"
#include "net/program_tag.h"

enum { US_PER_S = 1000000, NS_PER_US = 1000, NEVER_KILLED = 0 };
/* At the deadline, should the byte that tells of an earlier one have found no room. */
enum { LOOK_EVERY_MS = 1000 };

/* Shared by the holder and the watcher. */
struct terms {
    _Atomic uint64_t deadline_us;
};

struct leash {
    struct terms *terms;
    int fd; /* to the watcher: signals, one byte each; from it, once: a struct leash_end */
    pid_t watcher;
    bool ended;
    struct leash_end end;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * US_PER_S + (uint64_t)t.tv_nsec / NS_PER_US;
}

/* Kill all children and what they leave to us, a subreaper, until there are none. What stands in a
 * system call that cannot be interrupted is waited for: it still holds what it holds. */
static void end_children(pid_t program, int *status)
{
    for (;;) {
        process_kill_children(NEVER_KILLED);
        int how;
        pid_t pid = waitpid(-1, &how, 0);
        if (pid < 0 && errno != EINTR) {
            return;
        }
        if (pid == program && pid > 0) {
            *status = how;
        }
    }
}

/* ---- the program ---------------------------------------------------------------------------- */

/* Handlers are the holder's; what was ignored when that was started stays so, as nohup has it. */
static void reset_signals(const sigset_t *mask)
{
    for (int i = 1; i < NSIG; i++) {
        struct sigaction before;
        if (sigaction(i, NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            signal(i, SIG_DFL);
        }
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
}

static size_t count_of(char *const *list)
{
    size_t count = 0;
    for (; list[count] != NULL; count++) {
    }
    return count;
}

/* As ours, without what tells a moonkeeper how to behave. If we are part of a script's program, so
 * is this. */
static void set_environment(char *const *added)
{
    static const char prefix[] = "MOONKEEPER_";
    char **all = alloc_zeroed(count_of(environ) + count_of(added) + 1, sizeof *all);
    size_t count = 0;
    for (size_t i = 0; environ[i] != NULL; i++) {
        if (strncmp(environ[i], prefix, sizeof prefix - 1) != 0 ||
            program_tag_is_variable(environ[i])) {
            all[count++] = environ[i];
        }
    }
    memcpy(all + count, added, count_of(added) * sizeof *all);
    environ = all;
}

struct plan {
    char *const *argv;
    char *const *environment;
    struct terms *terms;
    sigset_t mask; /* of the holder, before it blocked any */
};

/* In the new process. What went wrong goes into the pipe, which a program that runs has closed. */
static void become(const struct plan *plan, pid_t watcher, int failed_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == watcher && now_us() < atomic_load(&plan->terms->deadline_us)) {
        reset_signals(&plan->mask);
        set_environment(plan->environment);
        execvp(plan->argv[0], plan->argv);
    } else {
        errno = ETIME; /* the deadline has passed before it could begin */
    }
    int number = errno;
    ssize_t told = write(failed_fd, &number, sizeof number);
    _exit(told > 0 ? 127 : EXIT_FAILURE);
}

/* ---- the watcher ---------------------------------------------------------------------------- */

struct watch {
    const struct plan *plan;
    int fd; /* to the holder */
    int child_fd;
    pid_t program;
    struct leash_end end;
};

static bool start_program(struct watch *w)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        w->end.not_run = errno;
        return false;
    }
    pid_t watcher = getpid();
    w->program = fork();
    if (w->program == 0) {
        close(fds[0]);
        become(w->plan, watcher, fds[1]);
    }
    close(fds[1]);
    int number = w->program < 0 ? errno : 0;
    if (w->program > 0) {
        ssize_t got = read(fds[0], &number, sizeof number);
        number = got == (ssize_t)sizeof number ? number : 0;
    }
    close(fds[0]);
    w->end.expired = number == ETIME;
    w->end.not_run = w->end.expired ? 0 : number;
    return number == 0;
}

/* Reap. False: the program is among them. */
static bool take_ends(struct watch *w)
{
    struct signalfd_siginfo info;
    while (read(w->child_fd, &info, sizeof info) > 0) {
    }
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == w->program) {
            w->end.status = status;
            return false;
        }
    }
    return true;
}

/* False: the holder is gone. */
static bool take_signals(const struct watch *w)
{
    uint8_t number;
    ssize_t got = recv(w->fd, &number, sizeof number, MSG_DONTWAIT);
    if (got == (ssize_t)sizeof number) {
        if (number != 0) { /* else the deadline has come nearer */
            kill(w->program, number);
        }
        return true;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR);
}

static void watch(struct watch *w)
{
    struct alarm alarm;
    alarm_init(&alarm);
    struct pollfd fds[] = {{.fd = w->fd, .events = POLLIN},
                           {.fd = w->child_fd, .events = POLLIN},
                           {.fd = alarm.fd, .events = POLLIN}};
    for (;;) {
        uint64_t now = now_us(), deadline = atomic_load(&w->plan->terms->deadline_us);
        if (now >= deadline) {
            w->end.expired = true;
            return;
        }
        alarm_by(&alarm, deadline);
        if (poll(fds, 3, LOOK_EVERY_MS) > 0 &&
            ((fds[0].revents != 0 && !take_signals(w)) || (fds[1].revents != 0 && !take_ends(w)))) {
            return;
        }
        alarm_clear(&alarm);
    }
}

/* Nothing that is meant for the holder, or its terminal's foreground, reaches it: signals are
 * blocked, and it leaves the group. The session too, or with its end the holder's group could count
 * as orphaned (where no shell with job control is its parent, as under cron), and were the holder
 * stopped, the kernel would send SIGHUP to all of the group. What the holder has open is not for it
 * to keep open. */
static void stand_apart(struct watch *w)
{
    setsid();
    if (w->fd > STDERR_FILENO + 1) {
        close_range(STDERR_FILENO + 1, (unsigned)w->fd - 1, 0);
    }
    close_range((unsigned)w->fd + 1, ~0u, 0);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    w->child_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void run_watcher(const struct plan *plan, int fd)
{
    struct watch w = {.plan = plan, .fd = fd};
    prctl(PR_SET_NAME, "mk-leash");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (start_program(&w)) { /* before: it is to be in the holder's group */
        stand_apart(&w);
        watch(&w);
    }
    end_children(w.program, &w.end.status);
    ssize_t told = send(fd, &w.end, sizeof w.end, MSG_NOSIGNAL);
    _exit(told > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- the holder ----------------------------------------------------------------------------- */

static void send_byte(const struct leash *l, uint8_t byte)
{
    send(l->fd, &byte, sizeof byte, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void leash_set_deadline(struct leash *l, uint64_t deadline_us)
{
    uint64_t before = atomic_exchange(&l->terms->deadline_us, deadline_us);
    if (deadline_us < before) { /* of a later one the watcher hears when the earlier has passed */
        send_byte(l, 0);
    }
}

void leash_signal(const struct leash *l, int signal_number)
{
    send_byte(l, (uint8_t)signal_number);
}

int leash_fd(const struct leash *l)
{
    return l->fd;
}

static void end(struct leash *l, const struct leash_end *how)
{
    l->ended = true;
    l->end = *how;
    waitpid(l->watcher, NULL, 0);
    int unused;
    end_children(0, &unused); /* what it left, if it was killed */
}

bool leash_ended(struct leash *l, struct leash_end *out)
{
    struct leash_end told;
    if (!l->ended) {
        ssize_t got = recv(l->fd, &told, sizeof told, MSG_DONTWAIT);
        if (got == (ssize_t)sizeof told) {
            end(l, &told);
        } else if (got == 0) { /* the watcher was killed, so the program was, too */
            end(l, &(struct leash_end){.status = SIGKILL});
        }
    }
    *out = l->end;
    return l->ended;
}

void leash_free(struct leash *l)
{
    if (l == NULL) {
        return;
    }
    if (!l->ended) {
        shutdown(l->fd, SHUT_WR); /* the watcher sees its holder gone */
        end(l, &(struct leash_end){0});
    }
    if (l->fd >= 0) {
        close(l->fd);
    }
    munmap(l->terms, sizeof *l->terms);
    free(l);
}

static bool fork_watcher(struct leash *l, const struct plan *plan)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        return false;
    }
    l->fd = fds[0];
    l->watcher = fork();
    if (l->watcher == 0) {
        close(fds[0]);
        run_watcher(plan, fds[1]);
    }
    close(fds[1]);
    return l->watcher > 0;
}

enum err leash_start(char *const *argv, char *const *environment, uint64_t deadline_us,
                     struct leash **out, struct why *why)
{
    struct leash *l = NEW(struct leash);
    l->fd = -1;
    l->terms =
        mmap(NULL, sizeof *l->terms, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (l->terms == MAP_FAILED) {
        free(l);
        return err_why(why, ERR_IO, "mmap: %s", strerror(errno));
    }
    atomic_store(&l->terms->deadline_us, deadline_us);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    struct plan plan = {.argv = argv, .environment = environment, .terms = l->terms};
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &plan.mask);
    bool forked = fork_watcher(l, &plan);
    int number = errno;
    sigprocmask(SIG_SETMASK, &plan.mask, NULL);
    if (!forked) {
        l->ended = true;
        leash_free(l);
        return err_why(why, ERR_IO, "cannot make a process to run %s: %s", argv[0],
                       strerror(number));
    }
    *out = l;
    return ERR_OK;
}
