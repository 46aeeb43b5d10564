/* A store on a bench: on the simulated disk or in a directory of the real one, with an executor
 * that runs a job when the test says so, and what the store reported. Header only: each test
 * program is one file. */
#ifndef MK_TESTS_STORE_RIG_H
#define MK_TESTS_STORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/rng.h"
#include "net/posix_fs.h"
#include "sim/sim_fs.h"
#include "state/state.h"
#include "store/snapshot.h"
#include "store/store.h"

struct rig {
    struct sim_fs *sim; /* or */
    struct posix_fs *posix;
    char dir[64];
    const struct fs_port *fs;

    struct executor_port disk;
    struct executor_job *first, **end; /* submitted */

    struct entropy_port entropy;
    struct rng rng;

    struct store_options options;
    struct store *store;
    struct store_recovered recovered;
    struct store_entry *entries; /* recovered; entries[i] is of index base + 1 + i */
    size_t entries_count;

    struct state *restored;         /* from the snapshot that was recovered; NULL: none was */
    struct store_snapshot snapshot; /* which that was; about is not copied */
    char about[64];
    enum err pair_err; /* what the callback answers */

    uint64_t durable_seq;
    struct store_pos durable_last;
    unsigned reports;
    unsigned failures;
    enum err failure;
    struct why why;
};

static inline void rig_submit(void *ctx, struct executor_job *job)
{
    struct rig *r = ctx;
    job->next = NULL;
    *r->end = job;
    r->end = &job->next;
}

static inline void rig_fill(void *ctx, void *out, size_t size)
{
    struct rig *r = ctx;
    uint8_t *to = out;
    for (size_t i = 0; i < size; i++) {
        to[i] = (uint8_t)rng_next(&r->rng);
    }
}

static inline void rig_entry(void *ctx, uint64_t index, uint64_t term, struct slice body)
{
    struct rig *r = ctx;
    assert_int_equal(index, r->recovered.base.index + r->entries_count + 1);
    r->entries = alloc_resize(r->entries, r->entries_count + 1, sizeof *r->entries);
    r->entries[r->entries_count++] = (struct store_entry){.term = term, .body = slice_ref(body)};
}

static inline void rig_durable(void *ctx, uint64_t seq, struct store_pos last)
{
    struct rig *r = ctx;
    assert_true(seq > r->durable_seq);
    assert_int_equal(r->failures, 0);
    r->durable_seq = seq;
    r->durable_last = last;
    r->reports++;
}

static inline void rig_failed(void *ctx, enum err err, const struct why *why)
{
    struct rig *r = ctx;
    r->failures++;
    r->failure = err;
    r->why = *why;
}

/* ---- snapshots, for stores that have them --------------------------------------------------- */

static inline enum err rig_snapshot(void *ctx, const struct store_snapshot *snapshot,
                                    struct why *why)
{
    struct rig *r = ctx;
    (void)why;
    assert_null(r->restored);
    assert_int_equal(r->entries_count, 0);
    r->snapshot = *snapshot;
    assert_true(snapshot->about.size < sizeof r->about);
    memcpy(r->about, snapshot->about.data, snapshot->about.size);
    r->about[snapshot->about.size] = 0;
    r->restored = state_new();
    state_restore_begin(r->restored);
    return ERR_OK;
}

static inline enum err rig_pair(void *ctx, struct bytes key, struct bytes value)
{
    struct rig *r = ctx;
    return r->pair_err != ERR_OK ? r->pair_err : state_restore_add(r->restored, key, value);
}

static inline enum err rig_snapshot_end(void *ctx, struct why *why)
{
    struct rig *r = ctx;
    (void)why;
    return state_restore_end(r->restored, &r->snapshot.hash);
}

static inline void rig_with_snapshots(struct rig *r)
{
    r->options.snapshot = rig_snapshot;
    r->options.pair = rig_pair;
    r->options.snapshot_end = rig_snapshot_end;
}

static inline void rig_forget_restored(struct rig *r)
{
    if (r->restored != NULL) {
        if (r->pair_err != ERR_OK) {
            state_restore_cancel(r->restored);
        }
        state_free(r->restored);
    }
    r->restored = NULL;
    r->snapshot = (struct store_snapshot){0};
}

static inline void rig_init(struct rig *r, uint64_t seed, bool real)
{
    *r = (struct rig){0};
    rng_seed(&r->rng, seed);
    r->end = &r->first;
    r->disk = (struct executor_port){.ctx = r, .submit = rig_submit};
    r->entropy = (struct entropy_port){.ctx = r, .fill = rig_fill};
    if (real) {
        strcpy(r->dir, "/tmp/moonkeeper-store-XXXXXX");
        assert_non_null(mkdtemp(r->dir));
        assert_int_equal(posix_fs_open(r->dir, &r->posix, NULL), ERR_OK);
        r->fs = posix_fs_port(r->posix);
    } else {
        r->sim = sim_fs_new(seed, "sim/n1");
        r->fs = sim_fs_port(r->sim);
    }
    r->options = (struct store_options){.fs = r->fs,
                                        .disk = &r->disk,
                                        .entropy = &r->entropy,
                                        .segment_bytes = 16384,
                                        .cluster_id = 0xc1,
                                        .node_id = 1,
                                        .cluster_name = "prod",
                                        .node_name = "n1",
                                        .ctx = r,
                                        .entry = rig_entry,
                                        .durable = rig_durable,
                                        .failed = rig_failed};
}

static inline void rig_forget(struct rig *r)
{
    for (size_t i = 0; i < r->entries_count; i++) {
        slice_close(&r->entries[i].body);
    }
    free(r->entries);
    r->entries = NULL;
    r->entries_count = 0;
}

static inline enum err rig_open(struct rig *r)
{
    rig_forget(r);
    rig_forget_restored(r);
    r->recovered.base = (struct store_pos){0};
    r->durable_seq = 0;
    r->durable_last = (struct store_pos){0};
    r->reports = r->failures = 0;
    r->why.text[0] = 0;
    r->store = NULL;
    enum err err = store_open(&r->options, &r->store, &r->recovered, &r->why);
    if (err == ERR_OK) {
        assert_int_equal(r->recovered.last.index, r->recovered.base.index + r->entries_count);
    }
    return err;
}

static inline void rig_must_open(struct rig *r)
{
    enum err err = rig_open(r);
    if (err != ERR_OK) {
        fail_msg("store_open: %s: %s", err_name(err), r->why.text);
    }
}

/* Runs the oldest job. False: there is none. */
static inline bool rig_step(struct rig *r)
{
    struct executor_job *job = r->first;
    if (job == NULL) {
        return false;
    }
    r->first = job->next;
    if (r->first == NULL) {
        r->end = &r->first;
    }
    if (r->sim != NULL) {
        sim_fs_job_begin(r->sim);
    }
    job->run(job);
    if (r->sim != NULL) {
        sim_fs_job_end(r->sim);
    }
    job->done(job);
    return true;
}

static inline void rig_run(struct rig *r)
{
    while (rig_step(r)) {
    }
}

/* The process is gone. */
static inline void rig_drop(struct rig *r)
{
    r->first = NULL;
    r->end = &r->first;
    store_close(r->store);
    r->store = NULL;
}

static inline void rig_crash(struct rig *r, bool host)
{
    if (host) {
        sim_fs_crash_host(r->sim);
    } else {
        sim_fs_crash_process(r->sim);
    }
    rig_drop(r);
}

static inline void rig_close(struct rig *r)
{
    rig_drop(r);
    rig_forget(r);
    rig_forget_restored(r);
    sim_fs_free(r->sim);
    if (r->posix != NULL) {
        posix_fs_close(r->posix);
        char command[96];
        snprintf(command, sizeof command, "rm -r %s", r->dir);
        assert_int_equal(system(command), 0);
    }
}

/* A body that says whose it is, of the given size (at least 16). */
static inline struct slice rig_body(uint64_t index, uint64_t term, size_t size)
{
    struct blob *b = blob_new(size < 16 ? 16 : size);
    memset(b->data, (int)(index * 7 + term), b->size);
    memcpy(b->data, &index, 8);
    memcpy(b->data + 8, &term, 8);
    return slice_of_take(b);
}

static inline bool rig_body_is(struct slice body, uint64_t index, uint64_t term)
{
    uint64_t found[2];
    if (body.size < sizeof found) {
        return false;
    }
    memcpy(found, body.data, sizeof found);
    for (size_t i = sizeof found; i < body.size; i++) {
        if (body.data[i] != (uint8_t)(index * 7 + term)) {
            return false;
        }
    }
    return found[0] == index && found[1] == term;
}

/* Queues entries [lo, lo + count) of a term. */
static inline void rig_write(struct rig *r, uint64_t seq, uint64_t lo, uint32_t count,
                             uint64_t term, size_t size)
{
    struct store_entry entries[64];
    assert_true(count <= 64);
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct store_entry){.term = term, .body = rig_body(lo + i, term, size)};
    }
    store_write(r->store, &(struct store_write){
                              .write_seq = seq, .lo = lo, .count = count, .entries = entries});
    for (uint32_t i = 0; i < count; i++) {
        slice_close(&entries[i].body);
    }
}

static inline void rig_vote(struct rig *r, uint64_t seq, uint64_t term, uint64_t vote)
{
    store_write(r->store, &(struct store_write){
                              .write_seq = seq, .hard_state = true, .term = term, .vote = vote});
}

/* All recovered entries are as rig_write() made them. */
static inline void rig_check_bodies(const struct rig *r)
{
    for (size_t i = 0; i < r->entries_count; i++) {
        assert_true(
            rig_body_is(r->entries[i].body, r->recovered.base.index + 1 + i, r->entries[i].term));
    }
}

#endif
