/* Recovery of a log whose records someone else made up. The input is a script: each step writes one
 * record with sound checksums but any number, kind, index and term, or raw bytes, or flips a bit.
 *
 * Holds: the store opens, or says in a sentence why not; what it opened it opens again, the same;
 * and it can be written to. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "sim/sim_fs.h"
#include "store/segment.h"
#include "store/store.h"

#define SEGMENT "wal/0000000000000001.log"

enum { SEGMENT_BYTES = 32768, STEPS_MAX = 200 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct script *s)
{
    if (s->left == 0) {
        return 0;
    }
    s->left--;
    return *s->at++;
}

struct bench {
    struct sim_fs *disk;
    struct executor_port executor;
    struct executor_job *first, **end;
    struct entropy_port entropy;
    uint64_t durable;
    uint64_t entries;
};

static void submit(void *ctx, struct executor_job *job)
{
    struct bench *b = ctx;
    job->next = NULL;
    *b->end = job;
    b->end = &job->next;
}

static void fill(void *ctx, void *out, size_t size)
{
    (void)ctx;
    memset(out, 0x5a, size);
}

static void on_entry(void *ctx, uint64_t index, uint64_t term, struct slice body)
{
    struct bench *b = ctx;
    (void)index;
    (void)term;
    (void)body;
    b->entries++;
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
    (void)why;
    ASSERT(err == ERR_OK); /* this disk does not fail */
}

static enum err open_store(struct bench *b, struct store **store, struct store_recovered *recovered)
{
    struct why why = {{0}};
    b->entries = 0;
    b->first = NULL;
    b->end = &b->first;
    struct store_options options = {.fs = sim_fs_port(b->disk),
                                    .disk = &b->executor,
                                    .entropy = &b->entropy,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .cluster_id = 1,
                                    .node_id = 1,
                                    .ctx = b,
                                    .entry = on_entry,
                                    .durable = on_durable,
                                    .failed = on_failed};
    enum err err = store_open(&options, store, recovered, &why);
    ASSERT((err == ERR_OK) == (why.text[0] == 0));
    if (err == ERR_OK) {
        ASSERT(recovered->last.index == recovered->base.index + b->entries);
    }
    return err;
}

static void write_at(struct bench *b, uint64_t at, const void *bytes, size_t size)
{
    const struct fs_port *fs = sim_fs_port(b->disk);
    struct bytes piece = bytes_of(bytes, size);
    struct fs_file *file;
    enum err err = fs->v->open(fs->ctx, SEGMENT, FS_WRITE, &file);
    ASSERT(err == ERR_OK);
    err = fs->v->write(file, at, &piece, 1);
    ASSERT(err == ERR_OK);
    fs->v->close(file);
}

static uint64_t salt_of_segment(struct bench *b)
{
    const struct fs_port *fs = sim_fs_port(b->disk);
    uint8_t page[SEGMENT_HEADER_BYTES];
    struct segment_header header;
    struct fs_file *file;
    size_t got;
    enum err err = fs->v->open(fs->ctx, SEGMENT, FS_READ, &file);
    ASSERT(err == ERR_OK);
    err = fs->v->read(file, 0, page, sizeof page, &got);
    ASSERT(err == ERR_OK);
    fs->v->close(file);
    err = segment_header_decode(page, &header);
    ASSERT(err == ERR_OK);
    return header.salt;
}

/* What would be right, or something near it, or anything. */
static uint64_t near(struct script *s, uint64_t right)
{
    uint8_t choice = next(s);
    if (choice < 192) {
        return right;
    }
    return choice == 255 ? UINT64_MAX - next(s) : right + choice % 8 - 4;
}

static void write_script(struct bench *b, struct script *s)
{
    const uint64_t salt = salt_of_segment(b);
    uint64_t at = SEGMENT_HEADER_BYTES, batch = 1, index = 1, term = 1;
    for (int i = 0; s->left > 0 && i < STEPS_MAX; i++) {
        uint8_t kind = next(s);
        uint8_t body[255] = {0};
        if (kind == 255) {
            sim_fs_flip(b->disk, SEGMENT, SEGMENT_HEADER_BYTES + next(s) * 64u + next(s), next(s));
            continue;
        }
        struct record r = {.kind = (enum record_kind)(kind % RECORD_KIND_END),
                           .ends_batch = (kind & 0x40) != 0,
                           .batch = (kind & 0x80) != 0 ? near(s, batch) : batch,
                           .index = near(s, index),
                           .term = near(s, term),
                           .body_bytes = next(s)};
        memset(body, i, sizeof body);
        uint8_t header[RECORD_HEADER_BYTES];
        record_encode(salt, &r, bytes_of(body, r.body_bytes), header);
        write_at(b, at, header, sizeof header);
        write_at(b, at + sizeof header, body, r.body_bytes);
        at += record_bytes(r.body_bytes);
        batch = r.ends_batch ? r.batch + 1 : r.batch;
        index = r.kind == RECORD_ENTRY ? r.index + 1 : index;
        term = r.term;
    }
}

static void run_all(struct bench *b)
{
    while (b->first != NULL) {
        struct executor_job *job = b->first;
        b->first = job->next;
        if (b->first == NULL) {
            b->end = &b->first;
        }
        job->run(job);
        job->done(job);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bench b = {.disk = sim_fs_new(1, "fuzz")};
    b.executor = (struct executor_port){.ctx = &b, .submit = submit};
    b.entropy = (struct entropy_port){.fill = fill};
    struct store *store = NULL;
    struct store_recovered first, second;
    enum err err = open_store(&b, &store, &first);
    ASSERT(err == ERR_OK);
    store_close(store);
    write_script(&b, &(struct script){.at = data, .left = size});
    if (open_store(&b, &store, &first) == ERR_OK) {
        store_close(store);
        err = open_store(&b, &store, &second);
        ASSERT(err == ERR_OK);
        ASSERT(memcmp(&first, &second, sizeof first) == 0);
        struct store_entry entry = {.term = UINT64_MAX};
        store_write(
            store, &(struct store_write){
                       .write_seq = 1, .lo = second.last.index + 1, .count = 1, .entries = &entry});
        run_all(&b);
        ASSERT(b.durable == 1);
        store_close(store);
        err = open_store(&b, &store, &first);
        ASSERT(err == ERR_OK);
        ASSERT(first.last.index == second.last.index + 1);
        store_close(store);
    }
    sim_fs_free(b.disk);
    return 0;
}
