/* swarm: runs many seeds of the simulated cluster (src/sim/swarm.h), several processes at a time.
 *
 *     swarm --seeds N [--start S] [--jobs J] [--keep-going] [--hashes]
 *     swarm --seed X [--trace]
 *
 * Progress goes to stderr, one summary line to stdout. Exit code 1 if an invariant was violated. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sim/swarm.h"

enum { JOBS_MAX = 64, USAGE = 2 };

struct arguments {
    uint64_t seeds, start, jobs;
    bool one, trace, keep_going, hashes;
};

/* What a worker tells its parent: one of these before each seed, one after. */
struct report {
    uint64_t worker;
    uint64_t seed;
    bool finished;
    struct swarm_result result;
};

/* For the handler below only: a failed assertion ends the program from wherever it stands. */
static struct cluster *under_way;
static uint64_t seed_under_way;
static const char *program;

static void print_reproduction(uint64_t seed)
{
    fprintf(stderr, "run again: %s --seed %" PRIu64 " --trace\n", program, seed);
}

static void on_abort(int number)
{
    signal(number, SIG_DFL);
    struct buffer text = {0};
    if (under_way != NULL) {
        safety_fail(cluster_safety(under_way), 0, "assertion", "see the line above");
        cluster_report(under_way, &text);
        fprintf(stderr, "%s", buffer_text(&text));
    }
    print_reproduction(seed_under_way);
    raise(number);
}

static void print_line(void *ctx, const char *line)
{
    fputs(line, ctx);
}

static bool run_seed(uint64_t seed, bool trace, struct swarm_result *result)
{
    struct buffer text = {0};
    const struct swarm_options options = {
        .seed = seed,
        .live = trace ? print_line : NULL,
        .live_ctx = stdout,
        .under_way = &under_way,
    };
    seed_under_way = seed;
    swarm_run(&options, result, &text);
    if (!result->ok) {
        fprintf(stderr, "%s", buffer_text(&text));
        print_reproduction(seed);
    }
    buffer_close(&text);
    return result->ok;
}

/* ---- one seed ------------------------------------------------------------------------------- */

static int run_one(const struct arguments *a)
{
    struct swarm_result r;
    run_seed(a->start, a->trace, &r);
    printf("seed %" PRIu64 ": %s, trace hash %016" PRIx64 ", %.1f s simulated, %" PRIu64
           " faults, %" PRIu64 " elections, %" PRIu64 " compactions, %" PRIu64
           " snapshots installed, %" PRIu64 " sets, %" PRIu64 " gets, recovery %.3f s\n",
           a->start, r.ok ? "ok" : "VIOLATION", r.trace_hash, (double)r.simulated_us / 1e6,
           r.faults, r.safety.elections, r.safety.snapshots, r.safety.installs, r.sets, r.gets,
           (double)r.recovery_us / 1e6);
    return r.ok ? 0 : 1;
}

/* ---- many ----------------------------------------------------------------------------------- */

static void tell(int pipe_end, const struct report *report)
{
    /* Smaller than PIPE_BUF: written whole. */
    if (write(pipe_end, report, sizeof *report) != (ssize_t)sizeof *report) {
        _exit(USAGE);
    }
}

static void work(const struct arguments *a, uint64_t worker, uint64_t first, int pipe_end)
{
    for (uint64_t i = first; i < a->seeds; i += a->jobs) {
        struct report report = {.worker = worker, .seed = a->start + i};
        tell(pipe_end, &report);
        run_seed(report.seed, false, &report.result);
        report.finished = true;
        tell(pipe_end, &report);
        if (!report.result.ok && !a->keep_going) {
            _exit(1);
        }
    }
    _exit(0);
}

struct totals {
    uint64_t finished, violations, unjudged;
    uint64_t hash; /* of all runs, whatever their order */
    uint64_t faults, elections, snapshots, installs, sets, gets, frames, calls;
    double simulated_s;
    uint64_t recovery_max_us;
};

static void add(struct totals *t, const struct report *report)
{
    const struct swarm_result *r = &report->result;
    t->finished++;
    t->violations += !r->ok;
    t->unjudged += r->ok && !r->history_judged;
    t->hash += r->trace_hash;
    t->faults += r->faults;
    t->elections += r->safety.elections;
    t->snapshots += r->safety.snapshots;
    t->installs += r->safety.installs;
    t->sets += r->sets;
    t->gets += r->gets;
    t->frames += r->net.frames;
    t->calls += r->calls;
    t->simulated_s += (double)r->simulated_us / 1e6;
    if (r->recovery_us > t->recovery_max_us) {
        t->recovery_max_us = r->recovery_us;
    }
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* next: for each worker, the number of its first seed; on return, of the one after the last that it
 * began. */
static void listen_to(const struct arguments *a, int pipe_end, struct totals *t, uint64_t *next)
{
    struct report report;
    double told_s = seconds_now();
    while (read(pipe_end, &report, sizeof report) == (ssize_t)sizeof report) {
        if (!report.finished) {
            next[report.worker] = report.seed - a->start + a->jobs;
            continue;
        }
        add(t, &report);
        if (a->hashes) {
            printf("%" PRIu64 " %016" PRIx64 "\n", report.seed, report.result.trace_hash);
        }
        if (seconds_now() - told_s > 2) {
            told_s = seconds_now();
            fprintf(stderr, "swarm: %" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " violations\n",
                    t->finished, a->seeds, t->violations);
        }
    }
}

/* One process for each job; returns when they have ended. The number that died of a signal, or -1.
 */
static int run_workers(const struct arguments *a, struct totals *t, uint64_t *next)
{
    int ends[2];
    pid_t workers[JOBS_MAX];
    if (pipe(ends) != 0) {
        perror("swarm: pipe");
        return -1;
    }
    for (uint64_t i = 0; i < a->jobs; i++) {
        workers[i] = fork();
        if (workers[i] == 0) {
            close(ends[0]);
            work(a, i, next[i], ends[1]);
        }
        if (workers[i] < 0) {
            perror("swarm: fork");
            return -1;
        }
    }
    close(ends[1]);
    listen_to(a, ends[0], t, next);
    close(ends[0]);
    int died = 0;
    for (uint64_t i = 0; i < a->jobs; i++) {
        int status;
        while (waitpid(workers[i], &status, 0) < 0 && errno == EINTR) {
        }
        if (WIFSIGNALED(status)) {
            died++;
        } else {
            next[i] = a->seeds;
        }
    }
    return died;
}

static int run_many(const struct arguments *a)
{
    struct totals t = {0};
    uint64_t next[JOBS_MAX];
    for (uint64_t i = 0; i < a->jobs; i++) {
        next[i] = i;
    }
    double began_s = seconds_now();
    int died;
    int crashes = 0;
    do {
        died = run_workers(a, &t, next);
        crashes += died > 0 ? died : 0;
    } while (died > 0 && a->keep_going);
    double took_s = seconds_now() - began_s;
    bool ok = t.violations == 0 && crashes == 0 && t.finished == a->seeds;
    printf("swarm: %" PRIu64 " of %" PRIu64 " seeds from %" PRIu64 ", %" PRIu64
           " violations, %d crashes; hash %016" PRIx64 "; %.0f s simulated, %" PRIu64
           " faults, %" PRIu64 " elections, %" PRIu64 " compactions, %" PRIu64
           " snapshots installed, %" PRIu64 " sets, %" PRIu64 " gets, %" PRIu64 " frames, %" PRIu64
           " histories too hard to judge, slowest recovery %.2f s\n",
           t.finished, a->seeds, a->start, t.violations, crashes, t.hash, t.simulated_s, t.faults,
           t.elections, t.snapshots, t.installs, t.sets, t.gets, t.frames, t.unjudged,
           (double)t.recovery_max_us / 1e6);
    fprintf(stderr, "swarm: %.1f s, %.1f ms a seed on %" PRIu64 " jobs\n", took_s,
            took_s * 1000 * (double)a->jobs / (double)(t.finished > 0 ? t.finished : 1), a->jobs);
    return ok ? 0 : 1;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static bool take_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = text != NULL ? strtoull(text, &end, 10) : 0;
    return text != NULL && *text != '\0' && *end == '\0' && errno == 0;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
    for (int i = 1; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        uint64_t *number = NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            a->trace = true;
        } else if (strcmp(argv[i], "--keep-going") == 0) {
            a->keep_going = true;
        } else if (strcmp(argv[i], "--hashes") == 0) {
            a->hashes = true;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            number = &a->seeds;
        } else if (strcmp(argv[i], "--start") == 0) {
            number = &a->start;
        } else if (strcmp(argv[i], "--jobs") == 0) {
            number = &a->jobs;
        } else if (strcmp(argv[i], "--seed") == 0) {
            number = &a->start;
            a->one = true;
        } else {
            return false;
        }
        if (number != NULL && (!take_number(next, number) || ++i == argc)) {
            return false;
        }
    }
    return a->jobs >= 1 && a->jobs <= JOBS_MAX;
}

int main(int argc, char **argv)
{
    struct arguments a = {.seeds = 500, .start = 1, .jobs = 2};
    if (!parse(argc, argv, &a)) {
        fprintf(stderr,
                "usage: %s --seeds N [--start S] [--jobs J] [--keep-going] [--hashes]\n"
                "       %s --seed X [--trace]\n",
                argv[0], argv[0]);
        return USAGE;
    }
    program = argv[0];
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    return a.one ? run_one(&a) : run_many(&a);
}
