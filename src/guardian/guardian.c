#include "guardian/guardian.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guardian/backoff.h"
#include "guardian/children.h"
#include "guardian/notify.h"
#include "guardian/page.h"
#include "net/alarm.h"
#include "net/guardian_links.h"
#include "net/proc.h"

enum {
    LOOK_EVERY_US = 1000000,   /* at the page, should a wake have been lost with its node */
    REAP_TIMEOUT_US = 2000000, /* killed children normally end within microseconds */
    CERTIFICATE_KEEP_US = 5000000,
    LENT_WAIT_US = 500000, /* a certificate that comes later is hardly worth it */
    FDS_FIXED = 3,         /* signals, wake, alarm */
};

struct guardian {
    const struct guardian_options *options;
    struct guardian_page *page;
    int signal_fd;
    int wake_fd;
    struct alarm alarm; /* poll's own time stands still while the machine sleeps */
    sigset_t signals_before;

    pid_t node; /* 0: it is not running */
    uint64_t started_us;
    uint64_t start_due_us; /* while it is not running */
    uint64_t delay_us;     /* the last back-off */
    uint8_t incarnation[16];

    struct guardian_links *links; /* NULL before the node was ready for the first time */
    uint32_t peers_seen;
    bool ready_told; /* this start of the node */
    bool ever_ready;
    unsigned stops_asked;

    bool ended;
    int exit_status;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void guardian_wake(int wake_fd)
{
    uint64_t one = 1;
    ssize_t written = write(wake_fd, &one, sizeof one);
    (void)written; /* it can only fail when the counter is full: then it is awake anyway */
}

/* ---- start ---------------------------------------------------------------------------------- */

/* In the child. */
static _Noreturn void become_node(struct guardian *g, pid_t guardian)
{
    /* PDEATHSIG covers a guardian that dies from here on; getppid() one that already has. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != guardian) {
        _exit(EXIT_FAILURE);
    }
    const struct guardian_host host = {
        .page = g->page, .wake_fd = g->wake_fd, .subreaper = guardian};
    if (g->wake_fd > STDERR_FILENO + 1) {
        close_range(STDERR_FILENO + 1, (unsigned)g->wake_fd - 1, 0);
    }
    close_range((unsigned)g->wake_fd + 1, ~0u, 0);
    /* Ctrl-C reaches both: what it means for the node, the guardian says. */
    signal(SIGINT, SIG_IGN);
    sigprocmask(SIG_SETMASK, &g->signals_before, NULL);
    exit(g->options->node(g->options->ctx, &host));
}

static void start_node(struct guardian *g)
{
    if (getrandom(g->incarnation, sizeof g->incarnation, 0) != sizeof g->incarnation) {
        abort(); /* not before the system's generator is seeded, and it has waited for that */
    }
    page_prepare(g->page, g->incarnation);
    g->peers_seen = 0;
    g->ready_told = false;
    pid_t self = getpid();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        become_node(g, self);
    }
    g->started_us = now_us();
    if (child < 0) {
        log_error(g->options->log, "cannot fork the node", log_text("err", strerror(errno)));
        g->start_due_us = g->started_us + backoff_next(&g->delay_us, 0);
        return;
    }
    g->node = child;
}

/* ---- the page ------------------------------------------------------------------------------- */

static void open_links(struct guardian *g)
{
    struct guardian_page *page = g->page;
    struct guardian_links_options options = {
        .self = {.role = HANDSHAKE_GUARDIAN,
                 .cluster_id = page->cluster_id,
                 .node_id = page->node_id},
        .dial = g->options->dial,
    };
    snprintf(options.self.cluster, sizeof options.self.cluster, "%.*s", HANDSHAKE_NAME_MAX,
             page->cluster);
    snprintf(options.self.node, sizeof options.self.node, "%.*s", HANDSHAKE_NAME_MAX, page->node);
    options.self.last = HANDSHAKE_ANY;
    memcpy(options.self.storage_uuid, page->storage_uuid, sizeof options.self.storage_uuid);
    memcpy(&options.seed, g->incarnation, sizeof options.seed);
    g->links = guardian_links_new(&options, g->options->log);
}

static void follow_peers(struct guardian *g)
{
    struct guardian_peer peers[GUARDIAN_PEERS_MAX];
    struct transport_peer targets[GUARDIAN_PEERS_MAX];
    uint32_t count;
    if (!page_read_peers(g->page, &g->peers_seen, peers, &count)) {
        return;
    }
    uint32_t others = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].id != g->page->node_id) {
            targets[others++] = (struct transport_peer){
                .id = peers[i].id, .name = peers[i].name, .address = peers[i].address};
        }
    }
    guardian_links_set_peers(g->links, targets, others);
}

static void look_at_page(struct guardian *g)
{
    if (g->node == 0 || !atomic_load(&g->page->ready)) {
        return;
    }
    g->ever_ready = true;
    if (!g->ready_told && atomic_load(&g->page->loaded)) {
        g->ready_told = true;
        notify_systemd("READY=1");
    }
    if (g->links == NULL) {
        open_links(g);
    }
    follow_peers(g);
}

/* ---- death ---------------------------------------------------------------------------------- */

/* Kill and reap whatever came to us from the dead node. False if something does not end: then some
 * of its work may still go on, and nobody may be told that it is dead. */
static bool clear_children(struct guardian *g)
{
    children_kill_all(g->page);
    uint64_t give_up_us = now_us() + REAP_TIMEOUT_US;
    for (;;) {
        pid_t reaped = waitpid(-1, NULL, WNOHANG);
        if (reaped < 0 && errno == ECHILD) {
            return true;
        }
        if (reaped == 0) {
            /* Again each time: a process that was killed leaves its own children to us. */
            process_kill_children(0);
            if (now_us() > give_up_us) {
                return false;
            }
            poll(NULL, 0, 1);
        }
    }
}

/* Clients may still work for the leadership of the dead node. False: for too long to wait for it.
 */
static bool wait_for_lent(const struct guardian *g)
{
    uint64_t until_us = atomic_load(&g->page->lent_until_us), now = now_us();
    if (until_us > now + LENT_WAIT_US) {
        return false;
    }
    if (until_us > now) {
        poll(NULL, 0, (int)((until_us - now) / 1000) + 1);
    }
    return true;
}

static void certify(struct guardian *g)
{
    if (!clear_children(g)) {
        log_error(g->options->log, "a child of the dead node does not end; peers are not told of "
                                   "its death and will wait for their timeouts");
        return;
    }
    if (!wait_for_lent(g)) {
        log_info(g->options->log, "clients work for the leadership of the dead node; peers are not "
                                  "told of its death and will wait for their timeouts");
        return;
    }
    if (g->links != NULL) {
        uint32_t told =
            guardian_links_certify(g->links, g->incarnation, now_us(), CERTIFICATE_KEEP_US);
        log_debug(g->options->log, "death certificate sent", log_u64("peers", told));
    }
}

static void end(struct guardian *g, int exit_status)
{
    g->ended = true;
    g->exit_status = exit_status;
}

static void restart_later(struct guardian *g, int status)
{
    uint64_t now = now_us();
    uint64_t delay_us = backoff_next(&g->delay_us, now - g->started_us);
    g->start_due_us = now + delay_us;
    if (WIFSIGNALED(status)) {
        log_warn(g->options->log, "the node was killed; starting it again",
                 log_text("signal", sigabbrev_np(WTERMSIG(status))),
                 log_u64("delay_ms", delay_us / 1000));
    } else {
        log_warn(g->options->log, "the node ended; starting it again",
                 log_i64("status", WEXITSTATUS(status)), log_u64("delay_ms", delay_us / 1000));
    }
}

static void node_died(struct guardian *g, int status)
{
    look_at_page(g); /* it may have become ready just before */
    g->node = 0;
    certify(g);
    bool exited = WIFEXITED(status);
    int exit_status = exited ? WEXITSTATUS(status) : EXIT_FAILURE;
    uint32_t next = atomic_load(&g->page->next);
    bool by_itself = exited && (exit_status == EXIT_SUCCESS ||
                                exit_status == GUARDIAN_EXIT_STORAGE || !g->ever_ready);
    if (by_itself || next == GUARDIAN_ENDS || g->stops_asked > 0) {
        end(g, exit_status);
    } else if (next == GUARDIAN_WAITS) {
        g->start_due_us = UINT64_MAX;
    } else {
        restart_later(g, status);
    }
}

/* To take a dead process off the kernel's hands may take it seconds on a busy machine. What the
 * node left must not go on for so long: it is killed while the node is a zombie. */
static void kill_before_reaping(struct guardian *g)
{
    siginfo_t info = {0};
    if (g->node != 0 && waitid(P_PID, (id_t)g->node, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
        info.si_pid == g->node) {
        children_kill_all(g->page);
        process_kill_children(g->node);
    }
}

static void reap(struct guardian *g)
{
    kill_before_reaping(g);
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == g->node) {
            node_died(g, status);
            return; /* it has reaped everybody else */
        }
    }
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void stop(struct guardian *g)
{
    g->stops_asked++;
    if (g->stops_asked == 1) {
        notify_systemd("STOPPING=1");
    } else if (g->stops_asked == 2) {
        log_warn(g->options->log, "stopping at once: asked a second time");
    }
    if (g->node == 0) {
        end(g, EXIT_SUCCESS); /* between two starts */
    } else {
        kill(g->node, g->stops_asked == 1 ? SIGTERM : SIGKILL);
    }
}

static void handle_signals(struct guardian *g)
{
    struct signalfd_siginfo info;
    while (!g->ended && read(g->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        switch (info.ssi_signo) {
        case SIGCHLD:
            reap(g);
            break;
        case SIGTERM:
        case SIGINT:
            stop(g);
            break;
        case SIGHUP:
            if (g->node != 0) {
                kill(g->node, SIGHUP);
            } else {
                g->start_due_us = 0; /* whatever it waits for: now */
            }
            break;
        }
    }
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_deadline_us(const struct guardian *g, uint64_t now)
{
    uint64_t deadline = now + LOOK_EVERY_US;
    if (g->node == 0) {
        deadline = min_u64(deadline, g->start_due_us);
    }
    if (g->links != NULL) {
        deadline = min_u64(deadline, guardian_links_deadline_us(g->links));
    }
    return min_u64(deadline, children_deadline_us(g->page));
}

static void round_of(struct guardian *g)
{
    struct pollfd fds[FDS_FIXED + RAFT_MEMBERS_MAX] = {
        {.fd = g->signal_fd, .events = POLLIN},
        {.fd = g->wake_fd, .events = POLLIN},
        {.fd = g->alarm.fd, .events = POLLIN},
    };
    uint32_t links_count = 0;
    if (g->links != NULL) {
        links_count = guardian_links_prepare(g->links, fds + FDS_FIXED, RAFT_MEMBERS_MAX);
    }
    uint64_t now = now_us();
    alarm_by(&g->alarm, next_deadline_us(g, now));
    if (poll(fds, FDS_FIXED + links_count, -1) < 0) {
        return; /* EINTR, as after SIGCONT */
    }
    alarm_clear(&g->alarm);
    handle_signals(g); /* first: a death is what others wait for */
    if (fds[1].revents != 0) {
        uint64_t count;
        ssize_t got = read(g->wake_fd, &count, sizeof count);
        (void)got;
    }
    now = now_us();
    enum err e = children_kill_expired(g->page, now);
    if (e != ERR_OK) {
        log_error(g->options->log,
                  e == ERR_BUSY
                      ? "what a program has started does not end although it was killed "
                        "when the program's time was over"
                      : "what a program has started may not have ended with the program's "
                        "time: it cannot be looked for, because too many files are open");
    }
    look_at_page(g);
    if (g->links != NULL) {
        guardian_links_step(g->links, fds + FDS_FIXED, links_count, now);
    }
    if (!g->ended && g->node == 0 && now >= g->start_due_us) {
        start_node(g);
    }
}

/* ---- setting up ----------------------------------------------------------------------------- */

static enum err open_signals(struct guardian *g, struct why *why)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, &g->signals_before);
    signal(SIGPIPE, SIG_IGN);
    g->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    g->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    alarm_init(&g->alarm);
    if (g->signal_fd < 0 || g->wake_fd < 0) {
        return err_why(why, ERR_IO, "cannot open the guardian's event sources: %s",
                       strerror(errno));
    }
    return ERR_OK;
}

static enum err set_up(struct guardian *g, struct why *why)
{
    enum err e = page_map(&g->page, why);
    e = e != ERR_OK ? e : open_signals(g, why);
    e = e != ERR_OK ? e : children_clear(g->options->data_dir, g->options->log, why);
    if (e != ERR_OK) {
        return e;
    }
    if (!g->options->core_dumps) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return err_why(why, ERR_IO, "cannot become a subreaper: %s", strerror(errno));
    }
    return ERR_OK;
}

static void tear_down(struct guardian *g)
{
    guardian_links_free(g->links);
    if (g->signal_fd >= 0) {
        close(g->signal_fd);
    }
    if (g->wake_fd >= 0) {
        close(g->wake_fd);
    }
    alarm_close(&g->alarm);
    if (g->page != NULL) {
        page_unmap(g->page);
    }
}

int guardian_run(const struct guardian_options *options)
{
    struct guardian g = {.options = options, .signal_fd = -1, .wake_fd = -1};
    struct why why = {""};
    if (set_up(&g, &why) != ERR_OK) {
        log_error(options->log, "cannot start", log_text("err", why.text));
        g.exit_status = EXIT_FAILURE;
    } else {
        start_node(&g);
        while (!g.ended) {
            round_of(&g);
        }
    }
    tear_down(&g);
    return g.exit_status;
}
