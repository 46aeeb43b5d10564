/* How long a cluster is without a leader: Figure 16 of the Raft paper (thesis §9.3), measured on
 * our core.
 *
 *     bench_elections [--json] [--trials N] [--seed N] [--svg FILE]
 *
 * Five nodes. The leader sends heartbeats to all at one moment and is crashed after a time uniform
 * in [0, heartbeat interval), the interval being half the minimum timeout. Two of the four
 * survivors have shorter logs, so they cannot win. Measured: from the crash until one of them
 * leads.
 *
 * The model, the same for all rows: a message takes 1.5 to 5.5 ms, uniform, one way, the receiver's
 * disk write included. That is the broadcast time of 15 ms that the paper states for its cluster.
 *
 * Three tables:
 *     paper     the algorithm as published: no pre-vote, no leases, no certificates
 *     host      ours, the leader's machine dies: pre-vote and leases, and nobody to tell of the
 * death process   ours, the leader's process dies: its guardian's certificates take one message
 *
 * Simulated time: the figures do not depend on the machine, and one seed gives the same ones. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/rng.h"
#include "lib/elections_plot.h"
#include "raft/raft.h"

enum {
    SURVIVORS = 4,
    NODES = 5,
    LEADER = 5,           /* an id; dead from the start: its last two heartbeats are on their way */
    LONG_LOGS = 2,        /* of the survivors */
    IN_FLIGHT_MAX = 4096, /* of one trial */
    MESSAGE_MIN_US = 1500,
    MESSAGE_MAX_US = 5500,
    GIVE_UP_US = 60 * 1000 * 1000,
};

/* Figure 16; 0: not given (more than 10 s without a leader). */
static const struct row {
    uint64_t min_ms, max_ms;
    uint64_t published_median_ms, published_mean_ms;
} rows[] = {
    {150, 150, 0, 0},     {150, 151, 1198, 1536}, {150, 155, 287, 345}, {150, 175, 141, 164},
    {150, 200, 146, 156}, {150, 300, 171, 181},   {100, 200, 120, 126}, {50, 100, 67, 71},
    {25, 50, 43, 48},     {12, 24, 30, 35},
};
enum { ROWS = sizeof rows / sizeof *rows, COMPARED_FROM = 3 };

static const struct mode {
    const char *name;
    const char *title;
    bool ours, certificates;
} modes[] = {
    {"paper", "as published: no pre-vote, no leases, no certificates", false, false},
    {"host", "ours, the leader's machine dies", true, false},
    {"process", "ours, the leader's process dies", true, true},
};
enum { MODES = sizeof modes / sizeof *modes };

/* Something on its way to a node. */
struct flight {
    uint64_t at_us;
    uint64_t sequence;
    bool certificate;
    struct raft_message message; /* to: in any case */
};

struct trial {
    const struct row *row;
    const struct mode *mode;
    struct rng rng;
    uint64_t now_us;
    uint64_t sequence;
    struct raft *cores[SURVIVORS]; /* of the nodes 1, 2, ... */
    struct flight flights[IN_FLIGHT_MAX];
    uint32_t flights_count;
    struct raft_effects effects;
};

static const struct raft_incarnation dead_process = {.hash = {1}};

/* ---- messages ------------------------------------------------------------------------------ */

static struct flight *launch(struct trial *t, uint64_t from_us, raft_id to)
{
    ASSERT(t->flights_count < IN_FLIGHT_MAX);
    struct flight *f = &t->flights[t->flights_count++];
    *f = (struct flight){.at_us = from_us + rng_range(&t->rng, MESSAGE_MIN_US, MESSAGE_MAX_US),
                         .sequence = t->sequence++,
                         .message = {.to = to, .from = LEADER}};
    return f;
}

/* The next to arrive, in order of (time, sequence); NULL if there is none. */
static const struct flight *next_flight(const struct trial *t)
{
    const struct flight *next = NULL;
    for (uint32_t i = 0; i < t->flights_count; i++) {
        const struct flight *f = &t->flights[i];
        if (next == NULL || f->at_us < next->at_us ||
            (f->at_us == next->at_us && f->sequence < next->sequence)) {
            next = f;
        }
    }
    return next;
}

static void heartbeat(struct trial *t, uint64_t sent_us, raft_id to)
{
    struct raft_message *m = &launch(t, sent_us, to)->message;
    m->type = RAFT_MESSAGE_APPEND;
    m->term = 1;
    m->append.prev = (struct raft_pos){.index = 1, .term = 1};
    m->append.commit_index = 1;
    m->append.lease_us = t->mode->ours ? t->row->min_ms * 1000 : 0;
    m->append.round = 1;
    m->append.sent_us = sent_us;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static struct raft_options options_of(const struct trial *t, raft_id self, uint64_t seed)
{
    bool ours = t->mode->ours;
    uint64_t min_us = t->row->min_ms * 1000;
    return (struct raft_options){
        .self = self,
        .seed = seed,
        .election_min_us = min_us,
        .election_max_us = t->row->max_ms * 1000,
        .heartbeat_us = min_us / 2,
        .lease_us = ours ? min_us : 0,
        .drift_permille = 100,
        .window_entries = 64,
        .window_bytes = 1 << 20,
        .append_entries_max = 64,
        .append_bytes_max = 1 << 20,
        .uncommitted_bytes_max = 1 << 20,
        .transfer_timeout_us = min_us,
        .prevote = ours,
        .check_quorum = ours,
        .lease = ours,
        .fast_failover = ours,
    };
}

/* Nodes 1 and 2 have what the dead leader had; 3 and 4 lack its last entry. */
static struct raft *new_core(const struct trial *t, raft_id self, uint64_t seed)
{
    struct raft_options options = options_of(t, self, seed);
    struct raft_boot boot = {.term = 1, .members = {.count = NODES}};
    for (uint32_t i = 0; i < NODES; i++) {
        boot.members.at[i] = (struct raft_member){.id = i + 1, .voter = true};
    }
    struct raft *core = raft_new(&options, &boot);
    for (int entries = self <= LONG_LOGS ? 2 : 1; entries > 0; entries--) {
        raft_restore(core, (struct raft_entry){.term = 1, .size_bytes = 100}, NULL);
    }
    return core;
}

/* Steps core, sends what it says, and lets its writes be durable at once. */
static void step(struct trial *t, struct raft *core, struct raft_event event)
{
    struct raft_effects *fx = &t->effects;
    event.now_us = t->now_us;
    raft_step(core, &event, fx);
    while (true) {
        for (uint32_t i = 0; i < fx->messages_count; i++) {
            if (fx->messages[i].to != LEADER) {
                launch(t, t->now_us, fx->messages[i].to)->message = fx->messages[i];
            }
        }
        if (fx->persist.write_seq == 0) {
            return;
        }
        struct raft_event durable = {.type = RAFT_EVENT_PERSISTED,
                                     .now_us = t->now_us,
                                     .persisted = {.write_seq = fx->persist.write_seq}};
        if (fx->persist.hi > fx->persist.lo) {
            raft_index last = fx->persist.hi - 1;
            durable.persisted.last =
                (struct raft_pos){.index = last, .term = raft_term_at(core, last)};
        }
        raft_step(core, &durable, fx);
    }
}

static void arrive(struct trial *t, struct flight f)
{
    struct raft *core = t->cores[f.message.to - 1];
    if (f.certificate) {
        step(t, core,
             (struct raft_event){.type = RAFT_EVENT_CERTIFICATE,
                                 .certificate = {.dead = LEADER, .incarnation = dead_process}});
        return;
    }
    struct raft_event event = {.type = RAFT_EVENT_RECEIVE, .receive = {.message = &f.message}};
    if (f.message.from == LEADER) {
        event.receive.sender = dead_process;
    }
    step(t, core, event);
}

/* ---- trials -------------------------------------------------------------------------------- */

static bool somebody_leads(const struct trial *t)
{
    for (int i = 0; i < SURVIVORS; i++) {
        if (raft_role(t->cores[i]) == RAFT_LEADER) {
            return true;
        }
    }
    return false;
}

/* Whatever comes next: the earliest timeout or arrival. */
static void advance(struct trial *t)
{
    struct raft *core = NULL;
    uint64_t at_us = UINT64_MAX;
    for (int i = 0; i < SURVIVORS; i++) {
        if (raft_deadline(t->cores[i]) < at_us) {
            at_us = raft_deadline(t->cores[i]);
            core = t->cores[i];
        }
    }
    const struct flight *next = next_flight(t);
    if (next != NULL && next->at_us <= at_us) {
        struct flight f = *next;
        t->flights[next - t->flights] = t->flights[--t->flights_count];
        t->now_us = f.at_us;
        arrive(t, f);
    } else {
        ASSERT(core != NULL);
        t->now_us = at_us > t->now_us ? at_us : t->now_us;
        step(t, core, (struct raft_event){.type = RAFT_EVENT_TIMEOUT});
    }
}

/* Time without a leader, in µs. */
static uint64_t run_trial(struct trial *t, const struct row *row, const struct mode *mode,
                          uint64_t seed)
{
    *t = (struct trial){.row = row, .mode = mode};
    rng_seed(&t->rng, seed);
    uint64_t interval_us = row->min_ms * 1000 / 2;
    uint64_t crashed_us = interval_us + rng_range(&t->rng, 0, interval_us);
    for (raft_id id = 1; id <= SURVIVORS; id++) {
        t->cores[id - 1] = new_core(t, id, rng_next(&t->rng));
        heartbeat(t, 0, id); /* they follow the leader by the time of */
        heartbeat(t, interval_us, id);
        if (mode->certificates) {
            launch(t, crashed_us, id)->certificate = true;
        }
    }
    while (!somebody_leads(t) && t->now_us < GIVE_UP_US) {
        advance(t);
    }
    for (int i = 0; i < SURVIVORS; i++) {
        raft_free(t->cores[i]);
    }
    return t->now_us - crashed_us;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void run_row(struct trial *t, const struct row *row, const struct mode *mode, uint64_t seed,
                    uint32_t trials, struct election_curve *out)
{
    uint64_t sum_us = 0;
    out->times_us = alloc_zeroed(trials, sizeof *out->times_us);
    out->count = trials;
    for (uint32_t i = 0; i < trials; i++) {
        out->times_us[i] = run_trial(t, row, mode, seed * 1000003 + i);
        sum_us += out->times_us[i];
    }
    qsort(out->times_us, trials, sizeof *out->times_us, by_size);
    out->median_ms = (double)out->times_us[trials / 2] / 1000;
    out->mean_ms = (double)sum_us / trials / 1000;
    snprintf(out->label, sizeof out->label, "%" PRIu64 "-%" PRIu64 " ms", row->min_ms, row->max_ms);
    out->published_median_ms = (double)row->published_median_ms;
}

/* ---- output -------------------------------------------------------------------------------- */

static double deviation(const struct row *row, const struct election_curve *curve)
{
    return 100 * (curve->median_ms / (double)row->published_median_ms - 1);
}

static void print_table(const struct mode *mode, const struct election_curve *curves)
{
    printf("\n%s\n", mode->title);
    printf("  %-12s %10s %10s %10s %10s", "timeout", "median", "mean", "99 %", "max");
    printf(mode->ours ? "\n" : " %12s %10s %9s\n", "published", "mean", "median");
    for (int i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        const struct election_curve *c = &curves[i];
        printf("  %-12s %10.1f %10.1f %10.1f %10.1f", c->label, c->median_ms, c->mean_ms,
               (double)c->times_us[c->count * 99 / 100] / 1000,
               (double)c->times_us[c->count - 1] / 1000);
        if (!mode->ours && row->published_median_ms == 0) {
            printf(" %12s", ">10000");
        } else if (!mode->ours) {
            printf(" %12" PRIu64 " %10" PRIu64 " %+8.1f%%", row->published_median_ms,
                   row->published_mean_ms, deviation(row, c));
        }
        printf("\n");
    }
}

static void print_json(struct election_curve curves[MODES][ROWS], uint32_t trials)
{
    double worst = 0;
    printf("{\"trials\": %u", trials);
    for (int m = 0; m < MODES; m++) {
        printf(", \"%s\": {", modes[m].name);
        for (int i = 0; i < ROWS; i++) {
            const struct election_curve *c = &curves[m][i];
            printf("%s\"%" PRIu64 "-%" PRIu64 "\": {\"median_ms\": %.1f, \"mean_ms\": %.1f}",
                   i > 0 ? ", " : "", rows[i].min_ms, rows[i].max_ms, c->median_ms, c->mean_ms);
            if (m == 0 && i >= COMPARED_FROM) {
                double d = deviation(&rows[i], c);
                d = d < 0 ? -d : d;
                worst = d > worst ? d : worst;
            }
        }
        printf("}");
    }
    printf(", \"worst_deviation_percent\": %.1f}\n", worst);
}

struct arguments {
    bool json;
    uint32_t trials;
    uint64_t seed;
    const char *svg;
};

static bool parse(int argc, char **argv, struct arguments *a)
{
    *a = (struct arguments){.trials = 1000, .seed = 1};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--json") == 0) {
            a->json = true;
        } else if (strcmp(argv[i], "--trials") == 0 && more) {
            a->trials = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && more) {
            a->seed = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--svg") == 0 && more) {
            a->svg = argv[++i];
        } else {
            return false;
        }
    }
    return a->trials > 0 && a->trials <= 1000000;
}

int main(int argc, char **argv)
{
    static struct election_curve curves[MODES][ROWS];
    struct arguments a;
    if (!parse(argc, argv, &a)) {
        fprintf(stderr, "usage: %s [--json] [--trials N] [--seed N] [--svg FILE]\n", argv[0]);
        return 2;
    }
    struct trial *t = NEW(struct trial);
    for (int m = 0; m < MODES; m++) {
        for (int i = 0; i < ROWS; i++) {
            run_row(t, &rows[i], &modes[m], a.seed, a.trials, &curves[m][i]);
        }
        if (!a.json) {
            print_table(&modes[m], curves[m]);
        }
    }
    free(t);
    if (a.json) {
        print_json(curves, a.trials);
    }
    int status = 0;
    if (a.svg != NULL) {
        struct election_panel panels[MODES];
        for (int m = 0; m < MODES; m++) {
            panels[m] = (struct election_panel){modes[m].title, curves[m], ROWS};
        }
        status = elections_plot(a.svg, panels, MODES) ? 0 : 1;
    }
    for (int m = 0; m < MODES; m++) {
        for (int i = 0; i < ROWS; i++) {
            free(curves[m][i].times_us);
        }
    }
    return status;
}
