/* What a command costs on the consensus loop, from its MessagePack to its MessagePack result,
 * through Lua, st and the state: the shipped kv machine, one entry at a time.
 *
 *     bench_machine [--keys N] [--value BYTES] [--json]
 *
 * Run from the source folder (it reads lua/moonkeeper/machines/kv.sm.lua). Commands are timed in
 * batches, their MessagePack being built beforehand; the median batch tells what a command costs
 * even when the machine is busy with other things. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "script/machine.h"
#include "state/state.h"
#include "wire/writer.h"

enum { BATCH = 64, BATCHES_MAX = 10000 };

struct bench {
    struct state *state;
    struct machines *machines;
    struct rng rng;
    uint64_t index;
    uint32_t keys;
    size_t value_bytes;
    bool json;
    struct buffer payloads[BATCH];
    struct buffer result;
    char *value;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, const struct why *why)
{
    fprintf(stderr, "bench_machine: %s: %s\n", what, why->text);
    exit(1);
}

static void write_key(struct buffer *out, uint32_t number)
{
    char key[32];
    snprintf(key, sizeof key, "user/%08u", number);
    write_text(out, "key");
    write_text(out, key);
}

static void build_set(struct bench *b, struct buffer *out, uint32_t number, bool conditional)
{
    write_array(out, 2);
    write_text(out, "set");
    write_map(out, conditional ? 3 : 2);
    write_key(out, number);
    write_text(out, "value");
    write_str(out, bytes_of(b->value, b->value_bytes));
    if (conditional) {
        write_text(out, "if_version");
        write_u64(out, 0); /* a conflict: the path that raises and rolls back */
    }
}

static void build_key(struct buffer *out, const char *command, uint32_t number)
{
    if (command != NULL) {
        write_array(out, 2);
        write_text(out, command);
    }
    write_map(out, 1);
    write_key(out, number);
}

static enum err apply(struct bench *b, const struct buffer *payload, struct why *why)
{
    b->index++;
    struct machine_command command = {
        .machine = bytes_of_string("kv"),
        .payload = buffer_bytes(payload),
        .at = {.index = b->index, .term = 3, .time_ms = 1700000000000 + (int64_t)b->index},
    };
    buffer_clear(&b->result);
    return machines_apply(b->machines, &command, &b->result, why);
}

static enum err query(struct bench *b, const struct buffer *payload, struct why *why)
{
    struct machine_query q = {
        .machine = bytes_of_string("kv"),
        .name = bytes_of_string("get"),
        .args = buffer_bytes(payload),
        .at = {.index = b->index, .term = 3},
    };
    buffer_clear(&b->result);
    return machines_query(b->machines, &q, &b->result, why);
}

enum operation { SET_NEW, SET, CONFLICT, GET, DELETE, OPERATIONS };
static const char *const names[OPERATIONS] = {"set, a new key", "set", "set, refused", "get",
                                              "delete"};

/* Mean of a batch whose first command is number first of the operation. */
static double time_batch(struct bench *b, enum operation operation, uint32_t first)
{
    bool by_number = operation == SET_NEW || operation == DELETE;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t number = by_number ? first + i : (uint32_t)rng_range(&b->rng, 0, b->keys);
        struct buffer *out = &b->payloads[i];
        buffer_clear(out);
        if (operation == GET || operation == DELETE) {
            build_key(out, operation == GET ? NULL : "delete", number);
        } else {
            build_set(b, out, number, operation == CONFLICT);
        }
    }
    struct why why = {.text = ""};
    enum err expected = operation == CONFLICT ? ERR_CONFLICT : ERR_OK;
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        enum err e =
            operation == GET ? query(b, &b->payloads[i], &why) : apply(b, &b->payloads[i], &why);
        if (e != expected) {
            fail(names[operation], &why);
        }
    }
    return (double)(now_ns() - start) / BATCH;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct bench *b, enum operation operation)
{
    static double batches[BATCHES_MAX];
    bool by_number = operation == SET_NEW || operation == DELETE;
    uint32_t count = by_number && b->keys / BATCH < BATCHES_MAX ? b->keys / BATCH : BATCHES_MAX;
    for (uint32_t i = 0; i < count; i++) {
        batches[i] = time_batch(b, operation, i * BATCH);
    }
    qsort(batches, count, sizeof *batches, compare);
    double median = batches[count / 2];
    double best = batches[0];
    if (b->json) {
        printf("{\"name\":\"kv %s\",\"keys\":%u,\"value_bytes\":%zu,\"operations\":%u,"
               "\"ns\":%.1f,\"best_ns\":%.1f}\n",
               names[operation], b->keys, b->value_bytes, count * BATCH, median, best);
    } else {
        printf("kv %-16s %8.0f ns    best batch %6.0f ns\n", names[operation], median, best);
    }
}

static void install_kv(struct bench *b)
{
    struct why why = {.text = ""};
    struct buffer source = {0};
    FILE *f = fopen("lua/moonkeeper/machines/kv.sm.lua", "rb");
    if (f == NULL) {
        snprintf(why.text, sizeof why.text, "no kv.sm.lua: run this from the source folder");
        fail("open", &why);
    }
    source.size = fread(buffer_reserve(&source, 1 << 16), 1, 1 << 16, f);
    fclose(f);
    struct machine_at at = {.index = ++b->index, .term = 1};
    if (machines_install(b->machines, &at, buffer_bytes(&source), NULL, &why) != ERR_OK) {
        fail("install", &why);
    }
    buffer_close(&source);
}

int main(int argc, char **argv)
{
    struct bench b = {.keys = 100000, .value_bytes = 256};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            b.json = true;
        } else if (strcmp(argv[i], "--keys") == 0 && i + 1 < argc) {
            b.keys = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--value") == 0 && i + 1 < argc) {
            b.value_bytes = strtoul(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: bench_machine [--keys N] [--value BYTES] [--json]\n");
            return 2;
        }
    }
    struct why why = {.text = ""};
    b.state = state_new();
    struct machines_options options = {.state = b.state};
    b.machines = machines_new(&options, &why);
    if (b.machines == NULL) {
        fail("start", &why);
    }
    if (b.keys < BATCH) {
        b.keys = BATCH;
    }
    b.keys -= b.keys % BATCH;
    rng_seed(&b.rng, 1);
    b.value = alloc_bytes(b.value_bytes + 1);
    memset(b.value, 'v', b.value_bytes + 1);
    install_kv(&b);
    for (int operation = 0; operation < OPERATIONS; operation++) {
        measure(&b, (enum operation)operation);
    }
    machines_free(b.machines);
    state_free(b.state);
    for (int i = 0; i < BATCH; i++) {
        buffer_close(&b.payloads[i]);
    }
    buffer_close(&b.result);
    free(b.value);
    return 0;
}
