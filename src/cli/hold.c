#include "cli/hold.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "guardian/leash.h"

enum { STOPPING_WORTH_US = 500000 };
enum { SIGNALLED = 128, CODE_NOT_FOUND = 127, CODE_NOT_EXECUTABLE = 126 }; /* as shells have it */

/* ---- signals -------------------------------------------------------------------------------- */

/* A signal goes on to the program from the handler itself: at once, whatever we wait for. What the
 * terminal sends it sends to the program, too. */
static _Atomic(struct leash *) leashed;
static volatile sig_atomic_t asked_to_end; /* by this signal */
static int signal_fd = -1;                 /* an eventfd: readable once there was one to end */

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    struct leash *l = atomic_load(&leashed);
    if (l != NULL) {
        if (info->si_code != SI_KERNEL) {
            leash_signal(l, number);
        }
    } else if (number != SIGUSR1 && number != SIGUSR2) {
        uint64_t one = 1;
        asked_to_end = number;
        ssize_t written = write(signal_fd, &one, sizeof one);
        (void)written; /* it is readable already */
    }
    errno = saved;
}

static void take_signals(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++) {
        struct sigaction before;
        if (sigaction(passed_on[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(passed_on[i], &action, NULL);
        }
    }
}

static void watch_fd(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event); /* EPERM: a file, which can be read always */
}

/* ---- flags ---------------------------------------------------------------------------------- */

int hold_duration(const struct cli *cli, const char *flag, const char *text, uint64_t *out_us)
{
    uint64_t ms;
    if (text == NULL) {
        return EXIT_OK;
    }
    if (!cli_parse_duration(text, &ms)) {
        return cli_misuse(cli, "--%s is \"%s\"; it must be a time such as 500ms, 10s or 1m", flag,
                          text);
    }
    *out_us = ms * 1000;
    return EXIT_OK;
}

/* ---- environment ---------------------------------------------------------------------------- */

void hold_set(struct hold *h, const char *name, const char *value)
{
    enum { MAX = sizeof h->environment / sizeof h->environment[0] };
    ASSERT(h->environment_count < MAX);
    snprintf(h->environment[h->environment_count++], sizeof h->environment[0], "%s=%s", name,
             value);
}

void hold_set_u64(struct hold *h, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    hold_set(h, name, text);
}

/* ---- a program under it --------------------------------------------------------------------- */

struct run {
    struct hold *hold;
    struct leash *leash;
    uint64_t last_call_us; /* then it is asked to stop, if what is held has not been kept by then */
    uint64_t stop_by_us;   /* it was asked to, and is killed then */
    bool stopping;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Of what time there is, the last part is for stopping. A leadership is certain for so short a time
 * that all of it is for holding on. */
static void plan_last_call(struct run *r)
{
    const struct hold *h = r->hold;
    uint64_t now_us = steady_now_us();
    uint64_t held_us = h->until_us > now_us ? h->until_us - now_us : 0;
    r->last_call_us = h->until_us;
    if (held_us >= STOPPING_WORTH_US) {
        r->last_call_us -= min_u64(h->stop_us, held_us / 3);
    }
}

static void keep(struct run *r)
{
    uint64_t before_us = r->hold->until_us;
    r->hold->keep(r->hold);
    if (r->hold->until_us != before_us) {
        plan_last_call(r);
    }
}

static void stop(struct run *r)
{
    r->stopping = true;
    r->stop_by_us = steady_now_us() + r->hold->stop_us;
    leash_signal(r->leash, SIGTERM);
}

/* One that came before the program was there. */
static void pass_on_early_signal(struct run *r)
{
    uint64_t count;
    if (asked_to_end != 0 && read(signal_fd, &count, sizeof count) > 0) {
        leash_signal(r->leash, asked_to_end);
    }
}

static void look_after(struct run *r, struct leash_end *how)
{
    struct hold *h = r->hold;
    plan_last_call(r);
    while (!leash_ended(r->leash, how)) {
        bool keeps = h->state == HOLD_ENDING || !r->stopping;
        pass_on_early_signal(r);
        if (keeps && steady_now_us() >= h->next_us) {
            keep(r);
        }
        if (!r->stopping && (h->state != HOLD_HELD || steady_now_us() >= r->last_call_us)) {
            stop(r);
        }
        leash_set_deadline(r->leash, min_u64(h->until_us, r->stop_by_us));
        steady_sleep(h->steady, !keeps        ? UINT64_MAX
                                : r->stopping ? h->next_us
                                              : min_u64(h->next_us, r->last_call_us));
    }
}

static int exit_code_of(const struct run *r, const char *program, const struct leash_end *how)
{
    const struct hold *h = r->hold;
    char why[400];
    if (r->stopping || how->expired) {
        snprintf(why, sizeof why, "lost %s; %s was ended", h->what, program);
        cli_fail(h->cli, ERR_FENCED, why, NULL);
        return EXIT_LOST;
    }
    if (how->not_run != 0) {
        snprintf(why, sizeof why, "cannot run %s: %s%s", program, strerror(how->not_run),
                 how->not_run == ENOENT && strchr(program, '/') == NULL ? " (it is not in PATH)"
                                                                        : "");
        cli_fail(h->cli, ERR_NOT_FOUND, why, NULL);
        return how->not_run == ENOENT ? CODE_NOT_FOUND : CODE_NOT_EXECUTABLE;
    }
    return WIFSIGNALED(how->status) ? SIGNALLED + WTERMSIG(how->status) : WEXITSTATUS(how->status);
}

static enum err run_once(struct run *r, char *const *argv, int epoll_fd, struct leash_end *how,
                         struct why *why)
{
    struct hold *h = r->hold;
    char *environment[sizeof h->environment / sizeof h->environment[0] + 1] = {NULL};
    for (unsigned i = 0; i < h->environment_count; i++) {
        environment[i] = h->environment[i];
    }
    enum err e = leash_start(argv, environment, h->until_us, &r->leash, why);
    if (e == ERR_OK) {
        watch_fd(epoll_fd, leash_fd(r->leash));
        atomic_store(&leashed, r->leash);
        look_after(r, how);
        atomic_store(&leashed, NULL);
        leash_free(r->leash);
    }
    return e;
}

static int run_program(struct hold *h, char *const *argv, int epoll_fd)
{
    struct run r;
    struct leash_end how;
    struct why why = {""};
    do { /* again when it took so long to begin that its time was over, and it is held still */
        r = (struct run){.hold = h, .stop_by_us = UINT64_MAX};
        how = (struct leash_end){0};
        enum err e = run_once(&r, argv, epoll_fd, &how, &why);
        if (e != ERR_OK) {
            return cli_fail(h->cli, e, why.text, NULL);
        }
    } while (how.not_run == ETIME && !r.stopping);
    return exit_code_of(&r, argv[0], &how);
}

/* ---- nothing under it ----------------------------------------------------------------------- */

static void print_token(const struct hold *h)
{
    printf(h->cli->output == OUTPUT_JSON ? "{\"token\": %" PRIu64 "}\n" : "%" PRIu64 "\n",
           h->token);
    fflush(stdout);
}

/* Whoever holds the other end of stdin says nothing; what it says is not for us. */
static bool stdin_has_ended(void)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char text[4096];
    return poll(&p, 1, 0) > 0 && read(STDIN_FILENO, text, sizeof text) <= 0;
}

static int hold_only(struct hold *h, int epoll_fd)
{
    print_token(h);
    watch_fd(epoll_fd, STDIN_FILENO);
    while (asked_to_end == 0 && !stdin_has_ended()) {
        if (steady_now_us() >= h->next_us) {
            h->keep(h);
        }
        if (h->state != HOLD_HELD || steady_now_us() >= h->until_us) {
            char why[400];
            snprintf(why, sizeof why, "lost %s", h->what);
            cli_fail(h->cli, ERR_FENCED, why, NULL);
            return EXIT_LOST;
        }
        steady_sleep(h->steady, min_u64(h->next_us, h->until_us));
    }
    return EXIT_OK;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int hold_with(struct hold *h, char *const *argv, int epoll_fd)
{
    struct why why = {""};
    enum err e = h->acquire(h, &why);
    int exit_code;
    if (asked_to_end != 0) {
        exit_code = SIGNALLED + asked_to_end;
    } else if (e != ERR_OK) {
        exit_code = cli_fail(h->cli, e, why.text, NULL);
    } else {
        exit_code = argv != NULL ? run_program(h, argv, epoll_fd) : hold_only(h, epoll_fd);
    }
    steady_free(h->steady);
    h->steady = steady_new(h->cli, -1);
    h->release(h);
    return exit_code;
}

int hold_run(struct hold *h, char *const *argv)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_fd < 0 || signal_fd < 0) {
        return cli_fail(h->cli, ERR_IO, strerror(errno), NULL);
    }
    watch_fd(epoll_fd, signal_fd);
    take_signals();
    h->steady = steady_new(h->cli, epoll_fd);
    int exit_code = hold_with(h, argv, epoll_fd);
    steady_free(h->steady);
    close(epoll_fd);
    return exit_code;
}
