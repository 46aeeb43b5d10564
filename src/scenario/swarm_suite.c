#include "scenario/swarm_suite.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "net/loop.h"
#include "scenario/jobs.h"

enum { LIMIT_MS = 600000, SHIFT_BLOCKS = 64, SHIFT_BYTES = 4000 };

/* A seed that is run twice. */
struct half {
    enum { HALF_NONE, HALF_ONE, HALF_SETTLED } stage;
    uint64_t trace_hash; /* ONE: of the run that has ended */
};

struct running {
    const struct swarm_suite_options *options;
    struct swarm_suite *suite;
    uint64_t limit_ms;
    struct half *halves; /* of each seed, where it is run twice */
};

/* ---- one run, in a process of its own -------------------------------------------------------- */

/* For the handler below only: a failed assertion ends the process from wherever it stands. */
static struct cluster *under_way;

/* Not what a handler may do, if it had anything to lose: the process dies either way, and mostly
 * with the story told. If the story itself fails, the signal ends it at once.
 * NOLINTBEGIN(bugprone-signal-handler) */
static void on_abort(int number)
{
    signal(number, SIG_DFL);
    if (under_way != NULL) {
        struct buffer text = {0};
        safety_fail(cluster_safety(under_way), 0, "the process must not die", "signal %d (%s)",
                    number, strsignal(number));
        cluster_report(under_way, &text);
        fprintf(stderr, "%s", buffer_text(&text));
    }
    raise(number);
}
/* NOLINTEND(bugprone-signal-handler) */

static void write_line(void *ctx, const char *line)
{
    fputs(line, ctx);
}

static uint64_t seed_of(const struct running *r, uint64_t job, bool *again)
{
    uint64_t runs = r->options->twice ? 2 : 1;
    *again = job % runs == 1;
    return r->options->first_seed + job / runs;
}

/* What comes of a seed must not depend on where things lie in memory. */
static void shift_heap(void *blocks[SHIFT_BLOCKS])
{
    for (size_t i = 0; i < SHIFT_BLOCKS; i++) {
        blocks[i] = alloc_bytes(SHIFT_BYTES / (SHIFT_BLOCKS - i));
    }
}

static FILE *open_trace(const struct running *r, uint64_t seed)
{
    FILE *trace = r->options->trace != NULL ? fopen(r->options->trace, "a") : NULL;
    if (trace != NULL) {
        fprintf(trace, "# swarm, seed %" PRIu64 "\n", seed);
    }
    return trace;
}

/* The result goes first, then the report. */
static int work(void *ctx, uint64_t job, int pipe_end)
{
    const struct running *r = ctx;
    bool again;
    uint64_t seed = seed_of(r, job, &again);
    void *blocks[SHIFT_BLOCKS] = {0};
    if (again) {
        shift_heap(blocks);
    }
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    FILE *trace = again ? NULL : open_trace(r, seed);
    struct buffer report = {0};
    struct swarm_result result;
    swarm_run(
        &(struct swarm_options){
            .seed = seed,
            .live = trace != NULL ? write_line : NULL,
            .live_ctx = trace,
            .under_way = &under_way,
        },
        &result, &report);
    bool told = jobs_write(pipe_end, bytes_of((const uint8_t *)&result, sizeof result)) &&
                jobs_write(pipe_end, buffer_bytes(&report));
    if (trace != NULL) {
        fclose(trace);
    }
    for (size_t i = 0; i < SHIFT_BLOCKS; i++) {
        free(blocks[i]);
    }
    buffer_close(&report);
    return told ? 0 : 1;
}

/* ---- what came of it ------------------------------------------------------------------------- */

/* The process died before it could say how it went. */
static void describe_death(const struct running *r, const struct jobs_end *end, struct buffer *out)
{
    buffer_add_bytes(out, end->errors);
    if (end->late) {
        buffer_add_format(out, "it was killed: it took longer than %" PRIu64 " s of real time\n",
                          r->limit_ms / 1000);
    } else if (end->signal != 0) {
        buffer_add_format(out, "it died of signal %d (%s)\n", end->signal, strsignal(end->signal));
    } else {
        buffer_add_format(out, "it ended with exit code %d\n", end->exit_code);
    }
}

static void add_result(struct swarm_suite *s, const struct swarm_result *result)
{
    s->unjudged += result->ok && !result->history_judged;
    s->trace_hash += result->trace_hash;
    s->simulated_us += result->simulated_us;
    if (result->recovery_us > s->recovery_max_us) {
        s->recovery_max_us = result->recovery_us;
    }
    for (size_t i = 0; i < SWARM_KNOBS; i++) {
        s->knobs[i].times += result->knobs[i];
        s->knobs[i].seeds += result->knobs[i] > 0;
    }
}

/* Both runs of a seed have ended well: they must have done the same. */
static void compare(uint64_t seed, uint64_t first, uint64_t second, struct buffer *report)
{
    if (first != second) {
        buffer_add_format(report,
                          "violated: one seed is one run\nseed %" PRIu64
                          ": the trace hash is %016" PRIx64 " in one process and %016" PRIx64
                          " in another\n",
                          seed, first, second);
    }
}

/* False: the other run of the seed is to be waited for, or has said all. */
static bool settles(struct running *r, uint64_t seed, const struct swarm_result *result,
                    struct buffer *report)
{
    if (!r->options->twice) {
        return true;
    }
    struct half *half = &r->halves[seed - r->options->first_seed];
    if (half->stage == HALF_SETTLED) {
        return false;
    }
    if (report->size == 0 && half->stage == HALF_NONE) {
        *half = (struct half){.stage = HALF_ONE, .trace_hash = result->trace_hash};
        return false;
    }
    if (report->size == 0) {
        compare(seed, half->trace_hash, result->trace_hash, report);
    }
    half->stage = HALF_SETTLED;
    return true;
}

static bool ended(void *ctx, const struct jobs_end *end)
{
    struct running *r = ctx;
    struct swarm_suite *s = r->suite;
    bool again;
    uint64_t seed = seed_of(r, end->number, &again);
    struct buffer report = {0};
    struct swarm_result result = {0};
    if (end->signal == 0 && !end->late && end->result.size >= sizeof result) {
        memcpy(&result, end->result.data, sizeof result);
        buffer_add(&report, end->result.data + sizeof result, end->result.size - sizeof result);
    } else {
        describe_death(r, end, &report);
    }
    if (settles(r, seed, &result, &report)) {
        add_result(s, &result);
        s->done++;
        s->passed += report.size == 0;
        s->failed += report.size > 0;
        r->options->done(r->options->ctx, s, seed, buffer_bytes(&report));
    }
    buffer_close(&report);
    return r->options->fails_max == 0 || s->failed < r->options->fails_max;
}

enum err swarm_suite_run(const struct swarm_suite_options *options, struct swarm_suite *out,
                         struct why *why)
{
    struct clock_port clock = loop_clock();
    uint64_t began_us = clock_now_us(&clock);
    *out = (struct swarm_suite){0};
    struct running r = {.options = options, .suite = out};
    r.limit_ms = options->limit_ms > 0 ? options->limit_ms : LIMIT_MS;
    if (options->twice) {
        r.halves = alloc_zeroed(options->seeds, sizeof *r.halves);
    }
    uint32_t jobs = options->trace != NULL ? 1 : jobs_processors();
    enum err err = jobs_run(
        &(struct jobs_options){
            .jobs = options->jobs > 0 ? options->jobs : jobs,
            .count = options->seeds * (options->twice ? 2 : 1),
            .limit_ms = r.limit_ms,
            .work = work,
            .ended = ended,
            .ctx = &r,
        },
        why);
    free(r.halves);
    out->took_us = clock_now_us(&clock) - began_us;
    return err;
}
