/* What it takes to check client histories for linearizability.
 *
 *     bench_linearizability [--json]
 *
 * kv                50 clients, 10 keys, get, put and append, some unknown: 7,500 events
 * kv_illegal        the same with one get that returns what was there at first
 * kv_one_key        50 clients that append to one key
 * register          50 clients on one register, each value written once
 * register_illegal  the same with one read that returns what was there at first
 * register_few      20 clients on one register, five values, compare-and-set
 * long              50 clients, 100 keys, 200,000 events */
#include <time.h>

#include "../lib/generated_history.h"
#include "sim/linearizability.h"

struct row {
    const char *name;
    const struct lin_model *model;
    const struct made_options *options;
    bool spoil;
};

static const struct made_options kv = {
    .clients = 50,
    .operations = 3750,
    .keys = 10,
    .reads = 0.45,
    .appends = 0.5,
    .unknown = 0.02,
    .failed = 0.02,
    .late = 0.01,
};

static const struct made_options kv_one_key = {
    .clients = 50,
    .operations = 3750,
    .keys = 1,
    .reads = 0.45,
    .appends = 0.55,
    .unknown = 0.02,
    .failed = 0.02,
    .late = 0.01,
};

static const struct made_options written_once = {
    .clients = 50,
    .operations = 3750,
    .keys = 1,
    .reads = 0.5,
    .unknown = 0.05,
    .failed = 0.02,
    .late = 0.01,
};

static const struct made_options few_values = {
    .clients = 20,
    .operations = 3750,
    .keys = 1,
    .values = 5,
    .reads = 0.4,
    .compares = 0.3,
    .unknown = 0.05,
    .failed = 0.02,
    .late = 0.01,
};

static const struct made_options many_keys = {
    .clients = 50,
    .operations = 100000,
    .keys = 100,
    .reads = 0.6,
    .appends = 0.05,
    .unknown = 0.01,
    .failed = 0.02,
    .late = 0.01,
};

static const struct row rows[] = {
    {"kv", &lin_kv, &kv, false},
    {"kv_illegal", &lin_kv, &kv, true},
    {"kv_one_key", &lin_kv, &kv_one_key, false},
    {"register", &lin_register, &written_once, false},
    {"register_illegal", &lin_register, &written_once, true},
    {"register_few", &lin_register, &few_values, false},
    {"long", &lin_kv, &many_keys, false},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Let a read late in the history return what was there at first. */
static void spoil(struct made_history *h)
{
    uint32_t i = h->count * 9 / 10;
    while (h->operations[i].function != HISTORY_READ || h->operations[i].outcome != HISTORY_OK ||
           h->operations[i].value == NULL) {
        i++;
    }
    free(h->operations[i].value);
    h->operations[i].value = NULL;
}

static void run(const struct row *row, bool json, bool first)
{
    static const char *const answers[] = {
        [LIN_LEGAL] = "legal", [LIN_ILLEGAL] = "illegal", [LIN_GAVE_UP] = "gave up"};
    struct made_options options = *row->options;
    options.seed = 1;
    struct made_history made = made_history(&options);
    if (row->spoil) {
        spoil(&made);
    }
    struct history *h = made_whole(&made);
    struct lin_verdict v;
    double start = now();
    enum err e = linearizable_check(h, row->model, NULL, &v);
    double seconds = now() - start;
    ASSERT(e == ERR_OK);
    if (json) {
        printf("%s\"%s_ms\":%.1f", first ? "{" : ",", row->name, seconds * 1e3);
    } else {
        printf("%-18s %8u events  %-8s %10.1f ms  %11llu steps\n", row->name, made.events,
               answers[v.answer], seconds * 1e3, (unsigned long long)v.steps);
    }
    fflush(stdout);
    ASSERT(v.answer == (row->spoil ? LIN_ILLEGAL : LIN_LEGAL));
    lin_verdict_close(&v);
    history_free(h);
    made_free(&made);
}

int main(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run(&rows[i], json, i == 0);
    }
    if (json) {
        puts("}");
    }
    return 0;
}
