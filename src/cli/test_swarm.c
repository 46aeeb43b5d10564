#include "cli/test_swarm.h"

#include <inttypes.h>
#include <stdio.h>

#include "net/loop.h"

enum { PROGRESS_US = 2000000 };

struct show {
    const struct cli *cli;
    const struct swarm_suite_options *options;
    struct clock_port clock;
    uint64_t told_us; /* when progress was told last */
};

static void print_rerun(const struct show *show, uint64_t seed)
{
    printf("run again: %s test --swarm --seed %" PRIu64 "%s --trace swarm-%" PRIu64 ".txt\n\n",
           show->cli->program, seed, show->options->twice ? " --twice" : "", seed);
}

static void on_done(void *ctx, const struct swarm_suite *s, uint64_t seed, struct bytes report)
{
    struct show *show = ctx;
    if (report.size > 0) {
        printf("%.*s", (int)report.size, (const char *)report.data);
        print_rerun(show, seed);
        fflush(stdout);
    }
    uint64_t now_us = clock_now_us(&show->clock);
    if (now_us - show->told_us >= PROGRESS_US) {
        show->told_us = now_us;
        fprintf(stderr, "swarm: %" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed\n", s->done,
                show->options->seeds, s->failed);
    }
}

static void print_knobs(const struct swarm_suite *s)
{
    printf("%8s %12s\n", "seeds", "times");
    for (unsigned i = 0; i < SWARM_KNOBS; i++) {
        printf("%8" PRIu64 " %12" PRIu64 "  %s%s\n", s->knobs[i].seeds, s->knobs[i].times,
               i < SWARM_FAULTS ? "" : "fault: ", swarm_knob_text(i));
    }
}

static uint64_t faults_of(const struct swarm_suite *s)
{
    uint64_t faults = 0;
    for (unsigned i = SWARM_FAULTS; i < SWARM_KNOBS; i++) {
        faults += s->knobs[i].times;
    }
    return faults;
}

static void print_summary(const struct swarm_suite *s, const struct swarm_suite_options *o)
{
    printf("swarm: %" PRIu64 " seeds from %" PRIu64 "%s: %" PRIu64 " passed, %" PRIu64 " failed",
           s->done, o->first_seed, o->twice ? ", each twice" : "", s->passed, s->failed);
    if (s->unjudged > 0) {
        printf(", %" PRIu64 " histories too hard to judge", s->unjudged);
    }
    printf("; trace hash %016" PRIx64 "\n", s->trace_hash);
    printf("       %.0f s simulated, %" PRIu64 " faults, %" PRIu64 " elections, %" PRIu64
           " configurations, %" PRIu64 " snapshots installed, %" PRIu64
           " operations; slowest recovery %.2f s\n",
           (double)s->simulated_us / 1e6, faults_of(s), s->knobs[SWARM_ELECTIONS].times,
           s->knobs[SWARM_CONFIGS].times, s->knobs[SWARM_INSTALLS].times,
           s->knobs[SWARM_SETS].times + s->knobs[SWARM_GETS].times,
           (double)s->recovery_max_us / 1e6);
    fflush(stdout);
    fprintf(stderr, "swarm: %.1f s, %.1f ms a seed\n", (double)s->took_us / 1e6,
            (double)s->took_us / 1e3 / (double)(s->done > 0 ? s->done : 1));
}

int test_swarm(struct cli *cli, const struct swarm_suite_options *options, bool knobs)
{
    struct show show = {.cli = cli, .clock = loop_clock()};
    show.told_us = clock_now_us(&show.clock);
    struct swarm_suite_options o = *options;
    show.options = &o;
    o.fails_max = TEST_SWARM_FAILS_MAX;
    o.done = on_done;
    o.ctx = &show;
    struct swarm_suite s;
    struct why why = {""};
    enum err err = swarm_suite_run(&o, &s, &why);
    if (err != ERR_OK) {
        return cli_fail(cli, err, why.text, NULL);
    }
    if (knobs) {
        print_knobs(&s);
    }
    print_summary(&s, &o);
    if (s.failed >= o.fails_max) {
        printf("       stopped after %" PRIu64 " failures\n", s.failed);
    }
    return s.failed > 0 ? EXIT_ERROR : EXIT_OK;
}
