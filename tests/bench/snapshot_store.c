/* What a large snapshot does to the log beside it: the time from a write of the log to its being
 * durable while nothing else is done, and while a state is saved, received and verified.
 *
 *     bench_snapshot_store [--dir DIR] [--megabytes N] [--json]
 *
 * One write after the other, each a batch and so a sync of the log. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/disk_thread.h"
#include "net/posix_fs.h"
#include "net/system_entropy.h"
#include "store/snapshot.h"

enum { ENTRY_BYTES = 256, VALUE_BYTES = 1000, CHUNK_BYTES = 256 << 10, QUIET_WRITES = 1000 };

struct bench {
    uint64_t megabytes;
    bool json;
    struct store *store;
    struct disk_thread *disk;
    int wake; /* eventfd */
    uint64_t seq, durable, index;
    bool over; /* what the writes go on beside has ended */
    struct store_receive chunk;
    const struct store_snapshot *held;
    struct store_piece piece;
};

/* Of the times of the writes, in microseconds. */
struct figures {
    const char *name;
    double seconds;
    uint64_t writes;
    double median_us, p99_us, max_us;
};

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_snapshot_store: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void must_ok(enum err err, const struct why *why)
{
    if (err != ERR_OK) {
        fprintf(stderr, "bench_snapshot_store: %s: %s\n", err_name(err), why->text);
        exit(1);
    }
}

/* ---- the store ------------------------------------------------------------------------------ */

static void on_wake(void *ctx)
{
    const struct bench *b = ctx;
    must(eventfd_write(b->wake, 1) == 0, "eventfd");
}

static void on_durable(void *ctx, uint64_t seq, struct store_pos last)
{
    struct bench *b = ctx;
    (void)last;
    b->durable = seq;
}

static void on_failed(void *ctx, enum err err, const struct why *why)
{
    (void)ctx;
    must_ok(err, why);
}

static enum err on_snapshot(void *ctx, const struct store_snapshot *snapshot, struct why *why)
{
    (void)ctx;
    (void)snapshot;
    (void)why;
    return ERR_OK;
}

static enum err on_pair(void *ctx, struct bytes key, struct bytes value)
{
    (void)ctx;
    (void)key;
    (void)value;
    return ERR_OK;
}

static enum err on_snapshot_end(void *ctx, struct why *why)
{
    (void)ctx;
    (void)why;
    return ERR_OK;
}

static void drain(struct bench *b)
{
    eventfd_t count;
    must(eventfd_read(b->wake, &count) == 0, "eventfd");
    disk_thread_drain(b->disk);
}

static void write_one(struct bench *b)
{
    struct blob *body = blob_new(ENTRY_BYTES);
    memset(body->data, 'x', body->size);
    struct store_entry entry = {.term = 1, .body = slice_of_take(body)};
    store_write(b->store, &(struct store_write){.write_seq = ++b->seq,
                                                .hard_state = b->seq == 1,
                                                .term = 1,
                                                .vote = 1,
                                                .lo = ++b->index,
                                                .count = 1,
                                                .entries = &entry});
    slice_close(&entry.body);
    while (b->durable < b->seq) {
        drain(b);
    }
}

static void open_store(struct bench *b, struct posix_fs *fs)
{
    struct store_options options = {.fs = posix_fs_port(fs),
                                    .disk = disk_thread_port(b->disk),
                                    .entropy = system_entropy(),
                                    .cluster_id = 1,
                                    .node_id = 1,
                                    .ctx = b,
                                    .snapshot = on_snapshot,
                                    .pair = on_pair,
                                    .snapshot_end = on_snapshot_end,
                                    .durable = on_durable,
                                    .failed = on_failed};
    struct store_recovered recovered;
    struct why why;
    must_ok(store_open(&options, &b->store, &recovered, &why), &why);
}

/* ---- measuring ------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Writes until it is over, or so many. */
static struct figures measure(struct bench *b, const char *name, uint64_t writes)
{
    double *times = NULL;
    size_t count = 0;
    double start = now_us();
    while (writes > 0 ? count < writes : !b->over) {
        double before = now_us();
        write_one(b);
        times = alloc_resize(times, count + 1, sizeof *times);
        times[count++] = now_us() - before;
    }
    struct figures f = {.name = name, .seconds = (now_us() - start) / 1e6, .writes = count};
    qsort(times, count, sizeof *times, compare);
    if (count > 0) {
        f.median_us = times[count / 2];
        f.p99_us = times[count * 99 / 100];
        f.max_us = times[count - 1];
    }
    free(times);
    return f;
}

static void print(const struct bench *b, const struct figures *f, bool first)
{
    if (b->json) {
        printf("%s\"%s\": {\"seconds\": %.2f, \"writes\": %llu, \"median_us\": %.0f, "
               "\"p99_us\": %.0f, \"max_us\": %.0f}",
               first ? "" : ", ", f->name, f->seconds, (unsigned long long)f->writes, f->median_us,
               f->p99_us, f->max_us);
    } else {
        printf("%-8s %8.2f %8llu %10.0f %10.0f %10.0f\n", f->name, f->seconds,
               (unsigned long long)f->writes, f->median_us, f->p99_us, f->max_us);
    }
}

/* ---- what goes on beside -------------------------------------------------------------------- */

static void saved(struct store_save *save)
{
    struct bench *b = save->ctx;
    must_ok(save->err, &save->why);
    b->over = true;
}

static void next_piece(struct bench *b);

static void received(struct store_receive *chunk)
{
    struct bench *b = chunk->ctx;
    must_ok(chunk->err, &chunk->why);
    slice_close(&b->piece.bytes);
    if (chunk->end) {
        b->over = true;
    } else {
        next_piece(b);
    }
}

static void piece_read(struct store_piece *piece)
{
    struct bench *b = piece->ctx;
    must_ok(piece->err, &piece->why);
    b->chunk = (struct store_receive){.last = b->held->last,
                                      .offset_bytes = piece->offset_bytes,
                                      .bytes = piece->bytes,
                                      .end = piece->end,
                                      .done = received,
                                      .ctx = b};
    store_receive(b->store, &b->chunk);
}

static void next_piece(struct bench *b)
{
    b->piece.offset_bytes = b->chunk.offset_bytes + b->chunk.bytes.size;
    b->piece.bytes = (struct slice){0};
    store_piece(b->store, &b->piece);
}

static struct state *make_state(uint64_t megabytes)
{
    struct state *s = state_new();
    uint8_t value[VALUE_BYTES];
    struct {
        uint64_t at;
    } key;
    for (uint64_t i = 0; i < megabytes * 1000; i++) {
        key.at = i * 0x9e3779b97f4a7c15u;
        memset(value, (int)i, sizeof value);
        must(state_set(s, bytes_of(&key, sizeof key), bytes_of(value, sizeof value)) == ERR_OK,
             "state");
    }
    return s;
}

static void run(struct bench *b)
{
    struct state *state = make_state(b->megabytes);
    struct figures quiet = measure(b, "quiet", QUIET_WRITES);
    struct state_snapshot *root = state_snapshot_take(state);
    struct store_save save = {
        .last = {.index = b->index, .term = 1}, .root = root, .done = saved, .ctx = b};
    store_save(b->store, &save);
    struct figures saving = measure(b, "save", 0);
    state_snapshot_release(state, root);
    b->over = false;
    b->held = store_hold(b->store);
    b->piece = (struct store_piece){
        .held = b->held, .bytes_max = CHUNK_BYTES, .done = piece_read, .ctx = b};
    b->chunk = (struct store_receive){0};
    next_piece(b);
    struct figures receiving = measure(b, "receive", 0);
    store_drop_incoming(b->store);
    store_unhold(b->store, b->held);
    if (b->json) {
        printf("{\"megabytes\": %llu, ", (unsigned long long)b->megabytes);
    } else {
        printf("%-8s %8s %8s %10s %10s %10s\n", "", "seconds", "writes", "median us", "p99 us",
               "max us");
    }
    print(b, &quiet, true);
    print(b, &saving, false);
    print(b, &receiving, false);
    printf(b->json ? "}\n" : "");
    state_free(state);
}

/* ---- main ----------------------------------------------------------------------------------- */

static void remove_directory(const char *dir)
{
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    must(system(command) == 0, "removing the directory");
}

static void parse(struct bench *b, int argc, char **argv, char **parent)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            b->json = true;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            *parent = argv[++i];
        } else if (strcmp(argv[i], "--megabytes") == 0 && i + 1 < argc) {
            b->megabytes = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: bench_snapshot_store [--dir DIR] [--megabytes N] [--json]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct bench b = {.megabytes = 200};
    char *parent = ".";
    char dir[512];
    parse(&b, argc, argv, &parent);
    snprintf(dir, sizeof dir, "%s/bench-snapshot-XXXXXX", parent);
    must(mkdtemp(dir) != NULL, dir);
    b.wake = eventfd(0, EFD_CLOEXEC);
    must(b.wake >= 0, "eventfd");
    must(disk_thread_start(on_wake, &b, &b.disk) == ERR_OK, "disk thread");
    struct posix_fs *fs;
    must(posix_fs_open(dir, &fs, NULL) == ERR_OK, dir);
    open_store(&b, fs);
    run(&b);
    disk_thread_stop(b.disk);
    store_close(b.store);
    posix_fs_close(fs);
    close(b.wake);
    remove_directory(dir);
    return 0;
}
