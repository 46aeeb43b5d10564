/* How close the log comes to the disk: batches of entries through store, disk thread and file,
 * beside a bare loop that writes as many bytes to an old file and syncs them.
 *
 *     bench_wal [--dir DIR] [--seconds N] [--json]
 *
 * One write after the other, so that a batch is what one call to store_write() brought; the last
 * line keeps many writes waiting, as many clients would, and lets the store make the batches. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "net/disk_thread.h"
#include "net/posix_fs.h"
#include "net/system_entropy.h"
#include "store/segment.h"
#include "store/store.h"

enum { ENTRY_BYTES = 256, QUEUE_WRITES = 1024, COMPACT_EVERY = 100000 };

struct bench {
    const char *dir;
    double seconds;
    bool json;
    struct store *store;
    struct disk_thread *disk;
    int wake; /* eventfd */
    uint64_t seq, durable;
    uint64_t index;
};

struct figures {
    double batches_per_s;
    double entries_per_s;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_wal: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

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
    fprintf(stderr, "bench_wal: %s: %s\n", err_name(err), why->text);
    exit(1);
}

static void wait_for(struct bench *b, uint64_t seq)
{
    while (b->durable < seq) {
        eventfd_t count;
        must(eventfd_read(b->wake, &count) == 0, "eventfd");
        disk_thread_drain(b->disk);
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
                                    .durable = on_durable,
                                    .failed = on_failed};
    struct store_recovered recovered;
    struct why why;
    if (store_open(&options, &b->store, &recovered, &why) != ERR_OK) {
        fprintf(stderr, "bench_wal: %s\n", why.text);
        exit(1);
    }
    b->index = recovered.last.index;
}

static void write_entries(struct bench *b, const struct store_entry *entries, uint32_t count)
{
    store_write(b->store,
                &(struct store_write){
                    .write_seq = ++b->seq, .lo = b->index + 1, .count = count, .entries = entries});
    b->index += count;
    if (b->index / COMPACT_EVERY != (b->index - count) / COMPACT_EVERY) {
        /* As after a snapshot: what is older than the last ones is not needed any more. */
        uint64_t upto = b->index / COMPACT_EVERY * COMPACT_EVERY - COMPACT_EVERY;
        if (upto > 0) {
            store_compact(b->store, (struct store_pos){.index = upto, .term = 1});
        }
    }
}

/* ahead: how many writes may wait for the disk. */
static struct figures run_store(struct bench *b, uint32_t count, uint64_t ahead)
{
    struct store_entry *entries = alloc_zeroed(count, sizeof *entries);
    struct blob *block = blob_new((size_t)count * ENTRY_BYTES);
    memset(block->data, 'x', block->size);
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct store_entry){
            .term = 1, .body = slice_of(block, (size_t)i * ENTRY_BYTES, ENTRY_BYTES)};
    }
    struct store_status before, after;
    uint64_t index = b->index;
    store_status(b->store, &before);
    double start = now(), end = start;
    while (end - start < b->seconds) {
        write_entries(b, entries, count);
        if (b->seq >= ahead) {
            wait_for(b, b->seq - ahead + 1);
        }
        end = now();
    }
    wait_for(b, b->seq);
    end = now();
    store_status(b->store, &after);
    for (uint32_t i = 0; i < count; i++) {
        slice_close(&entries[i].body);
    }
    blob_unref(block);
    free(entries);
    return (struct figures){.batches_per_s =
                                (double)(after.batches - before.batches) / (end - start),
                            .entries_per_s = (double)(b->index - index) / (end - start)};
}

/* The floor: as many bytes, to a file that was written before. */
static double run_floor(const struct bench *b, size_t bytes)
{
    enum { FILE_BYTES = 8 << 20 };
    char path[512];
    snprintf(path, sizeof path, "%s/floor", b->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0, path);
    uint8_t *block = alloc_zeroed(1, FILE_BYTES);
    must(write(fd, block, FILE_BYTES) == FILE_BYTES && fsync(fd) == 0, "write");
    memset(block, 'y', bytes);
    uint64_t syncs = 0;
    off_t at = 0;
    double start = now(), end = start;
    while (end - start < b->seconds) {
        at = at + (off_t)bytes > FILE_BYTES ? 0 : at;
        must(pwrite(fd, block, bytes, at) == (ssize_t)bytes && fdatasync(fd) == 0, "sync");
        at += (off_t)bytes;
        syncs++;
        end = now();
    }
    free(block);
    close(fd);
    unlink(path);
    return (double)syncs / (end - start);
}

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
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            b->seconds = strtod(argv[++i], NULL);
        } else {
            fprintf(stderr, "usage: bench_wal [--dir DIR] [--seconds N] [--json]\n");
            exit(2);
        }
    }
}

static void report_batches(struct bench *b, uint32_t count)
{
    size_t bytes = count * (size_t)record_bytes(ENTRY_BYTES);
    /* The floor before and after: the speed of a disk drifts. */
    double floor = run_floor(b, bytes);
    struct figures f = run_store(b, count, 1);
    floor = (floor + run_floor(b, bytes)) / 2;
    if (b->json) {
        printf("\"batch_%u\": {\"floor_syncs_per_s\": %.0f, \"batches_per_s\": %.0f, "
               "\"entries_per_s\": %.0f, \"ratio\": %.3f}, ",
               count, floor, f.batches_per_s, f.entries_per_s, f.batches_per_s / floor);
    } else {
        printf("%14u %14.0f %14.0f %14.0f %8.3f\n", count, floor, f.batches_per_s, f.entries_per_s,
               f.batches_per_s / floor);
    }
}

static void report_queue(struct bench *b)
{
    struct figures f = run_store(b, 1, QUEUE_WRITES);
    if (b->json) {
        printf("\"queue_%d\": {\"batches_per_s\": %.0f, \"entries_per_s\": %.0f}", QUEUE_WRITES,
               f.batches_per_s, f.entries_per_s);
    } else {
        printf("%7d queued %14s %14.0f %14.0f\n", QUEUE_WRITES, "", f.batches_per_s,
               f.entries_per_s);
    }
}

static void report(struct bench *b)
{
    if (b->json) {
        printf("{");
    } else {
        printf("%14s %14s %14s %14s %8s\n", "entries/batch", "floor syncs/s", "batches/s",
               "entries/s", "ratio");
    }
    report_batches(b, 1);
    report_batches(b, 16);
    report_batches(b, 128);
    report_queue(b);
    printf(b->json ? "}\n" : "");
}

int main(int argc, char **argv)
{
    struct bench b = {.seconds = 2};
    char *parent = ".";
    char dir[512];
    parse(&b, argc, argv, &parent);
    snprintf(dir, sizeof dir, "%s/bench-wal-XXXXXX", parent);
    must(mkdtemp(dir) != NULL, dir);
    b.dir = dir;
    b.wake = eventfd(0, EFD_CLOEXEC);
    must(b.wake >= 0, "eventfd");
    must(disk_thread_start(on_wake, &b, &b.disk) == ERR_OK, "disk thread");
    struct posix_fs *fs;
    must(posix_fs_open(dir, &fs, NULL) == ERR_OK, dir);
    open_store(&b, fs);
    report(&b);
    disk_thread_stop(b.disk);
    store_close(b.store);
    posix_fs_close(fs);
    close(b.wake);
    remove_directory(dir);
    return 0;
}
