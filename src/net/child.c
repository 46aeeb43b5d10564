#include "net/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "net/program_tag.h"

enum { LINE_BYTES_MAX = 1 << 16, EXIT_CANNOT_RUN = 127 };

/* ---- watching ------------------------------------------------------------------------------- */

struct process_watch {
    int fd;
    struct event *event;
    void (*died)(void *ctx);
    void *ctx;
};

static void on_death(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    struct process_watch *w = ctx;
    w->died(w->ctx);
}

struct process_watch *process_watch_new(struct loop *loop, pid_t pid, void (*died)(void *ctx),
                                        void *ctx)
{
    int fd = pidfd_open(pid, 0);
    if (fd < 0) {
        return NULL;
    }
    struct process_watch *w = NEW(struct process_watch);
    *w = (struct process_watch){.fd = fd, .died = died, .ctx = ctx};
    w->event = event_new(loop_base(loop), fd, EV_READ, on_death, w);
    ASSERT(w->event != NULL);
    event_add(w->event, NULL);
    return w;
}

void process_watch_free(struct process_watch *w)
{
    if (w != NULL) {
        event_free(w->event);
        close(w->fd);
        free(w);
    }
}

void process_end(pid_t pid)
{
    enum { PATIENCE_MS = 2000 };
    struct pollfd death = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    if (death.fd >= 0) {
        pidfd_send_signal(death.fd, SIGKILL, NULL, 0);
        poll(&death, 1, PATIENCE_MS);
        close(death.fd);
    }
}

pid_t child_of_process(pid_t parent)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        child = fscanf(file, "%d", &child) == 1 ? child : 0;
        fclose(file);
    }
    return child;
}

/* ---- output --------------------------------------------------------------------------------- */

struct child {
    pid_t pid; /* 0: reaped */
    void (*line)(void *ctx, const char *text);
    void (*ended)(void *ctx, int status);
    void *ctx;
    int output;
    struct event *readable;
    struct process_watch *watch;
    struct buffer partial;
};

static void tell_lines(struct child *c)
{
    uint8_t *end;
    size_t told = 0;
    while (told < c->partial.size &&
           (end = memchr(c->partial.data + told, '\n', c->partial.size - told)) != NULL) {
        *end = 0;
        c->line(c->ctx, (const char *)c->partial.data + told);
        told = (size_t)(end - c->partial.data) + 1;
    }
    buffer_consume(&c->partial, told);
    if (c->partial.size > LINE_BYTES_MAX) {
        buffer_clear(&c->partial);
    }
}

/* All that is there. */
static void read_output(struct child *c)
{
    uint8_t text[8192];
    ssize_t got;
    while ((got = read(c->output, text, sizeof text)) > 0) {
        buffer_add(&c->partial, text, (size_t)got);
        tell_lines(c);
    }
    if (got == 0) {
        event_del(c->readable);
    }
}

static void on_output(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    read_output(ctx);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_exit_of(void *ctx)
{
    struct child *c = ctx;
    int status = 0;
    if (waitpid(c->pid, &status, 0) != c->pid) {
        return;
    }
    c->pid = 0;
    read_output(c);
    c->ended(c->ctx, status);
}

/* The environment without what changes how a moonkeeper behaves; with what says that we are part of
 * a script's program. */
static char **clean_environment(void)
{
    static const char prefix[] = "MOONKEEPER_";
    size_t count = 0;
    while (environ[count] != NULL) {
        count++;
    }
    char **kept = alloc_zeroed(count + 1, sizeof *kept);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], prefix, sizeof prefix - 1) != 0 ||
            program_tag_is_variable(environ[i])) {
            kept[at++] = environ[i];
        }
    }
    return kept;
}

static _Noreturn void become(const char *const *argv, char **environment, int output, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(EXIT_FAILURE);
    }
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    close_range(STDERR_FILENO + 1, ~0u, 0);
    /* The cast takes away a const that execve() does not make use of. */
    execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
    fflush(stderr);
    _exit(EXIT_CANNOT_RUN);
}

enum err child_start(struct loop *loop, const struct child_options *options, struct child **out,
                     struct why *why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_why(why, ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    char **environment = clean_environment();
    pid_t self = getpid();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        become(options->argv, environment, ends[1], self);
    }
    int number = errno;
    free(environment);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return err_why(why, ERR_IO, "cannot fork: %s", strerror(number));
    }
    struct child *c = NEW(struct child);
    *c = (struct child){.pid = pid,
                        .line = options->line,
                        .ended = options->ended,
                        .ctx = options->ctx,
                        .output = ends[0]};
    c->readable = event_new(loop_base(loop), c->output, EV_READ | EV_PERSIST, on_output, c);
    ASSERT(c->readable != NULL);
    event_add(c->readable, NULL);
    c->watch = process_watch_new(loop, pid, on_exit_of, c);
    if (c->watch == NULL) {
        number = errno;
        child_free(c);
        return err_why(why, ERR_IO, "cannot watch a child: %s", strerror(number));
    }
    *out = c;
    return ERR_OK;
}

void child_free(struct child *c)
{
    if (c == NULL) {
        return;
    }
    if (c->pid != 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    process_watch_free(c->watch);
    event_free(c->readable);
    close(c->output);
    buffer_close(&c->partial);
    free(c);
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}
