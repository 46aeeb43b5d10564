/* What the operations of src/state cost, and the longest that any single one of them took: the
 * consensus loop waits for each.
 *
 *     bench_state_map [--keys N] [--passes N] [--json]
 *
 * Every operation is timed by itself. The whole is run several times with the same seed, so that
 * the i-th operation does the same work each time, and the fastest of its times counts: what
 * interrupted one of them (another process, the hypervisor) says nothing about the state. Means are
 * less what the timing takes. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "state/state.h"

enum {
    SMALL_KEYS = 100,
    SMALL_OPERATIONS = 1000000,
    RECLAIM_SLICE = 256,
    VALUE_SIZE = 20,
    ROWS_MAX = 64
};

struct row {
    char name[48];
    uint64_t keys;
    uint32_t *fastest_ns; /* of each operation, over the passes */
    size_t count;
    size_t capacity;
    size_t at; /* in this pass */
};

struct bench {
    struct row rows[ROWS_MAX];
    size_t row_count;
    double overhead_ns; /* of timing one operation */
    struct rng rng;
    struct state *state;
    uint64_t keys;
    uint32_t *order; /* all key numbers, shuffled */
};

/* --- Timing --- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Rows come in the same order in each pass. */
static struct row *next_row(struct bench *b, const char *name)
{
    if (b->row_count == ROWS_MAX) {
        abort();
    }
    struct row *r = &b->rows[b->row_count++];
    snprintf(r->name, sizeof r->name, "%s", name);
    r->keys = b->keys;
    r->at = 0;
    return r;
}

static void add_sample(struct row *r, uint64_t start_ns)
{
    uint64_t took_ns = now_ns() - start_ns;
    uint32_t sample_ns = took_ns < UINT32_MAX ? (uint32_t)took_ns : UINT32_MAX;
    if (r->at == r->capacity) {
        r->capacity = r->capacity > 0 ? 2 * r->capacity : 1024;
        r->fastest_ns = alloc_resize(r->fastest_ns, r->capacity, sizeof r->fastest_ns[0]);
    }
    size_t i = r->at++;
    if (i >= r->count) {
        r->fastest_ns[r->count++] = sample_ns;
    } else if (sample_ns < r->fastest_ns[i]) {
        r->fastest_ns[i] = sample_ns;
    }
}

#define TIMED(row, operation)          \
    do {                               \
        uint64_t start_ns_ = now_ns(); \
        operation;                     \
        add_sample((row), start_ns_);  \
    } while (0)

/* What timing itself takes, at best: part of every sample. */
static double measure_overhead(void)
{
    enum { TIMES = 100000 };
    uint64_t total_ns = 0;
    for (unsigned i = 0; i < TIMES; i++) {
        uint64_t fastest_ns = UINT64_MAX;
        for (unsigned j = 0; j < 5; j++) {
            uint64_t start_ns = now_ns();
            uint64_t took_ns = now_ns() - start_ns;
            fastest_ns = took_ns < fastest_ns ? took_ns : fastest_ns;
        }
        total_ns += fastest_ns;
    }
    return (double)total_ns / TIMES;
}

/* --- Keys and values of 20 bytes --- */

struct key {
    char text[24];
};

static struct bytes key_numbered(struct key *k, uint64_t number)
{
    int size = snprintf(k->text, sizeof k->text, "users/%014llu", (unsigned long long)number);
    return bytes_of(k->text, (size_t)size);
}

static struct bytes random_value(struct bench *b, uint64_t *buffer)
{
    buffer[0] = rng_next(&b->rng);
    buffer[1] = rng_next(&b->rng);
    buffer[2] = 0;
    return bytes_of(buffer, VALUE_SIZE);
}

static struct bytes random_key(struct bench *b, struct key *k)
{
    return key_numbered(k, 2 * rng_range(&b->rng, 0, b->keys));
}

/* Even numbers exist, odd ones do not. */
static struct bytes missing_key(struct bench *b, struct key *k)
{
    return key_numbered(k, 2 * rng_range(&b->rng, 0, b->keys) + 1);
}

static void shuffle(struct bench *b)
{
    b->order = alloc_resize(b->order, b->keys, sizeof b->order[0]);
    for (uint32_t i = 0; i < b->keys; i++) {
        b->order[i] = i;
    }
    for (uint64_t i = b->keys; i > 1; i--) {
        uint64_t j = rng_range(&b->rng, 0, i);
        uint32_t swap = b->order[i - 1];
        b->order[i - 1] = b->order[j];
        b->order[j] = swap;
    }
}

/* --- What is measured --- */

/* What this machine adds to anything. A longest time that is near one of these says nothing about
 * the state: on virtual machines the first use of a page alone can take a third of a millisecond.
 */
static void noise(struct bench *b)
{
    enum { PAGES = 20000, PAGE_BYTES = 4096 };
    struct row *none = next_row(b, "(nothing)");
    for (uint64_t i = 0; i < b->keys; i++) {
        TIMED(none, (void)0);
    }
    struct row *touch = next_row(b, "(first use of a page)");
    volatile char *pages = alloc_bytes((size_t)PAGES * PAGE_BYTES);
    for (size_t i = 0; i < PAGES; i++) {
        TIMED(touch, pages[i * PAGE_BYTES] = 1);
    }
    free((void *)(uintptr_t)pages);
}

static void fill(struct bench *b, const char *name, bool in_order)
{
    struct row *r = next_row(b, name);
    for (uint64_t i = 0; i < b->keys; i++) {
        struct key k;
        uint64_t v[3];
        struct bytes key = key_numbered(&k, 2 * (in_order ? i : b->order[i]));
        struct bytes value = random_value(b, v);
        TIMED(r, state_set(b->state, key, value));
    }
}

static void empty(struct bench *b)
{
    struct row *r = next_row(b, "delete");
    for (uint64_t i = 0; i < b->keys; i++) {
        struct key k;
        struct bytes key = key_numbered(&k, 2 * b->order[i]);
        TIMED(r, state_delete(b->state, key));
    }
}

static void get(struct bench *b, uint64_t operations)
{
    struct row *hit = next_row(b, "get");
    struct row *miss = next_row(b, "get, not there");
    for (uint64_t i = 0; i < operations; i++) {
        struct key k;
        struct bytes value;
        struct bytes key = random_key(b, &k);
        TIMED(hit, state_get(b->state, key, &value));
        key = missing_key(b, &k);
        TIMED(miss, state_get(b->state, key, &value));
    }
}

static void replace(struct bench *b, struct row *r, uint64_t operations)
{
    for (uint64_t i = 0; i < operations; i++) {
        struct key k;
        uint64_t v[3];
        struct bytes key = random_key(b, &k);
        struct bytes value = random_value(b, v);
        TIMED(r, state_set(b->state, key, value));
    }
}

static void transactions(struct bench *b, uint64_t operations)
{
    struct row *begin = next_row(b, "begin");
    struct row *commit = next_row(b, "commit of 2 sets, 1 delete");
    struct row *rollback = next_row(b, "rollback of 2 sets, 1 delete");
    for (uint64_t i = 0; i < operations; i++) {
        struct key k;
        uint64_t v[3];
        struct bytes value = random_value(b, v);
        TIMED(begin, state_begin(b->state));
        state_set(b->state, random_key(b, &k), value);
        struct bytes key = missing_key(b, &k);
        state_set(b->state, key, value);
        state_delete(b->state, key);
        if (i % 2 == 0) {
            TIMED(commit, state_commit(b->state));
        } else {
            TIMED(rollback, state_rollback(b->state));
        }
    }
}

static void iterate(struct bench *b)
{
    static struct state_cursor c;
    struct row *r = next_row(b, "cursor step");
    bool on = state_seek(&c, b->state, bytes_of(NULL, 0));
    while (on) {
        TIMED(r, on = state_next(&c));
    }
}

static void seek(struct bench *b, uint64_t operations)
{
    static struct state_cursor c;
    struct row *r = next_row(b, "cursor seek");
    for (uint64_t i = 0; i < operations; i++) {
        struct key k;
        struct bytes key = missing_key(b, &k);
        TIMED(r, state_seek(&c, b->state, key));
    }
}

/* The writes after a snapshot copy what they touch; what it held is freed in slices. */
static void snapshots(struct bench *b, uint64_t operations)
{
    struct row *take = next_row(b, "snapshot take");
    struct row *set = next_row(b, "set (replace) under a snapshot");
    struct row *release = next_row(b, "snapshot release");
    struct row *reclaim = next_row(b, "reclaim, slice of 256");
    for (unsigned i = 0; i < 5; i++) {
        struct state_snapshot *snapshot;
        TIMED(take, snapshot = state_snapshot_take(b->state));
        replace(b, set, operations);
        TIMED(release, state_snapshot_release(b->state, snapshot));
        bool more = true;
        while (more) {
            TIMED(reclaim, more = state_reclaim(b->state, RECLAIM_SLICE));
        }
    }
}

static void restore(struct bench *b)
{
    struct row *add = next_row(b, "restore add");
    struct row *end = next_row(b, "restore end");
    struct row *reclaim = next_row(b, "reclaim of a replaced state, slice of 256");
    state_restore_begin(b->state);
    for (uint64_t i = 0; i < b->keys; i++) {
        struct key k;
        uint64_t v[3];
        struct bytes key = key_numbered(&k, 2 * i);
        struct bytes value = random_value(b, v);
        TIMED(add, state_restore_add(b->state, key, value));
    }
    TIMED(end, state_restore_end(b->state, NULL));
    bool more = true;
    while (more) {
        TIMED(reclaim, more = state_reclaim(b->state, RECLAIM_SLICE));
    }
}

static void values_of_1_mib(struct bench *b)
{
    enum { SIZE = 1024 * 1024 };
    char *data = alloc_zeroed(1, SIZE);
    struct row *r = next_row(b, "set of a 1 MiB value");
    for (unsigned i = 0; i < 100; i++) {
        memset(data, (int)i, SIZE);
        struct bytes value = bytes_of(data, SIZE);
        TIMED(r, state_set(b->state, bytes_of("large", 5), value));
    }
    state_delete(b->state, bytes_of("large", 5));
    free(data);
}

/* Memory of this process that is in use, in bytes. 0 if the system does not tell. */
static double resident(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        pages = fscanf(f, "%*u %lu", &pages) == 1 ? pages : 0;
        fclose(f);
    }
    return (double)pages * 4096;
}

/* Bytes for each entry, all included but, in the first of several passes, the samples too. */
static double fill_and_weigh(struct bench *b, const char *name, bool in_order)
{
    double before = resident();
    b->state = state_new();
    fill(b, name, in_order);
    return (resident() - before) / (double)b->keys;
}

static void run_small(struct bench *b)
{
    b->keys = SMALL_KEYS;
    shuffle(b);
    b->state = state_new();
    fill(b, "set (insert), any order", false);
    get(b, SMALL_OPERATIONS);
    replace(b, next_row(b, "set (replace)"), SMALL_OPERATIONS);
    transactions(b, SMALL_OPERATIONS);
    seek(b, SMALL_OPERATIONS);
    snapshots(b, 200);
    empty(b);
    state_free(b->state);
}

struct weights {
    double any_order;
    double in_order;
};

static struct weights run_large(struct bench *b, uint64_t keys)
{
    struct weights w;
    b->keys = keys;
    shuffle(b);
    noise(b);
    w.in_order = fill_and_weigh(b, "set (insert), in order", true);
    state_free(b->state);
    w.any_order = fill_and_weigh(b, "set (insert), any order", false);
    get(b, keys);
    replace(b, next_row(b, "set (replace)"), keys);
    transactions(b, keys);
    seek(b, keys);
    iterate(b);
    snapshots(b, keys / 5);
    values_of_1_mib(b);
    empty(b);
    fill(b, "set (insert), any order, memory in use before", false);
    restore(b);
    state_free(b->state);
    return w;
}

/* --- Reporting --- */

struct summary {
    double mean_ns;
    uint32_t longest_ns;
};

static struct summary summary_of(const struct bench *b, const struct row *r)
{
    struct summary all = {0};
    for (size_t i = 0; i < r->count; i++) {
        all.mean_ns += r->fastest_ns[i];
        all.longest_ns = r->fastest_ns[i] > all.longest_ns ? r->fastest_ns[i] : all.longest_ns;
    }
    all.mean_ns = r->count > 0 ? all.mean_ns / (double)r->count - b->overhead_ns : 0;
    all.mean_ns = all.mean_ns > 0 ? all.mean_ns : 0;
    return all;
}

/* Of operations on small values. */
static uint32_t longest_ns(const struct bench *b)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < b->row_count; i++) {
        const struct row *r = &b->rows[i];
        uint32_t of_row = summary_of(b, r).longest_ns;
        bool counts = strstr(r->name, "MiB") == NULL && r->name[0] != '(';
        longest = counts && of_row > longest ? of_row : longest;
    }
    return longest;
}

static void print_table(const struct bench *b, struct weights w)
{
    printf("%-46s %9s %9s %9s %11s\n", "operation", "keys", "times", "mean ns", "longest us");
    for (size_t i = 0; i < b->row_count; i++) {
        const struct row *r = &b->rows[i];
        struct summary all = summary_of(b, r);
        printf("%-46s %9llu %9zu %9.0f %11.1f\n", r->name, (unsigned long long)r->keys, r->count,
               all.mean_ns, all.longest_ns / 1000.0);
    }
    printf("\nlongest single operation (values of 20 bytes): %.1f us\n", longest_ns(b) / 1000.0);
    printf("memory per entry of 40 bytes: %.1f bytes (any order), %.1f bytes (in order)\n",
           w.any_order, w.in_order);
}

static void print_json(const struct bench *b, struct weights w)
{
    printf("{\"operations\":[");
    for (size_t i = 0; i < b->row_count; i++) {
        const struct row *r = &b->rows[i];
        struct summary all = summary_of(b, r);
        printf("%s{\"name\":\"%s\",\"keys\":%llu,\"times\":%zu,\"mean_ns\":%.1f,"
               "\"longest_ns\":%u}",
               i > 0 ? "," : "", r->name, (unsigned long long)r->keys, r->count, all.mean_ns,
               all.longest_ns);
    }
    printf("],\"longest_ns\":%u,\"entry_bytes_any_order\":%.1f,\"entry_bytes_in_order\":%.1f}\n",
           longest_ns(b), w.any_order, w.in_order);
}

int main(int argc, char **argv)
{
    bool json = false;
    uint64_t keys = 1000000;
    uint64_t passes = 3;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--keys") == 0 && i + 1 < argc) {
            keys = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--passes") == 0 && i + 1 < argc) {
            passes = strtoull(argv[++i], NULL, 10);
        } else {
            keys = 0;
        }
    }
    if (keys < 1 || keys > UINT32_MAX || passes < 1) {
        fprintf(stderr, "usage: %s [--keys N] [--passes N] [--json]\n", argv[0]);
        return 2;
    }
    static struct bench b;
    struct weights w = {0};
    b.overhead_ns = measure_overhead();
    for (uint64_t pass = 0; pass < passes; pass++) {
        rng_seed(&b.rng, 1);
        b.row_count = 0;
        run_small(&b);
        w = run_large(&b, keys);
    }
    if (json) {
        print_json(&b, w);
    } else {
        print_table(&b, w);
    }
    for (size_t i = 0; i < b.row_count; i++) {
        free(b.rows[i].fastest_ns);
    }
    free(b.order);
    return 0;
}
