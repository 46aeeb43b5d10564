/* Snapshots among other work: how long a write waits for them, what they need of memory and space,
 * how they end early, and that they keep the log short. */
#include <malloc.h>

#include "snapshots.h"

static void begin(struct rig *r, uint64_t seed, uint64_t entries, bool real)
{
    rig_init(r, seed, real);
    rig_with_snapshots(r);
    rig_must_open(r);
    rig_vote(r, 1, 2, 1);
    for (uint64_t i = 1; i <= entries; i++) {
        rig_write(r, i + 1, i, 1, 2, 100);
    }
    rig_run(r);
    assert_int_equal(r->durable_seq, entries + 1);
}

static const struct store_pos at_10 = {.index = 10, .term = 2};
#define NAME_AT_10 "snapshot/000000000000000a-0000000000000002.snap"
#define NEW_AT_10  "snapshot/000000000000000a-0000000000000002.new"

static uint64_t file_bytes(const struct rig *r, const char *name)
{
    struct fs_file *file;
    uint64_t size = 0;
    if (r->fs->v->open(r->fs->ctx, name, FS_READ, &file) == ERR_OK) {
        assert_int_equal(r->fs->v->size(file, &size), ERR_OK);
        r->fs->v->close(file);
    }
    return size;
}

static void a_write_waits_for_one_short_job_of_a_save_at_most(void **unused)
{
    (void)unused;
    enum { JOB_BYTES_MAX = 256 << 10, UNSYNCED_BYTES_MAX = 5 << 18 };
    struct rig r;
    begin(&r, 1, 10, false);
    struct state *state = state_new();
    state_fill(state, 0, 100000, 80);
    struct saving saving;
    saving_begin(&saving, &r, state, at_10);
    uint64_t seq = r.durable_seq, index = 11, bytes = 0, syncs = sim_fs_syncs(r.sim), writes = 0;
    while (saving.done == 0) {
        /* Whatever the save is at: what is queued now is durable after that one job and its own. An
         * upkeep job of the log may be under way besides. */
        rig_write(&r, ++seq, index++, 1, 2, 100);
        unsigned jobs = 0;
        while (r.durable_seq < seq) {
            assert_true(rig_step(&r));
            jobs++;
        }
        assert_true(jobs <= 3);
        writes++;
        if (saving.done == 0) {
            uint64_t now = file_bytes(&r, NEW_AT_10);
            assert_true(now - bytes <= 2 * JOB_BYTES_MAX || now == 0);
            bytes = now > 0 ? now : bytes;
        }
    }
    assert_int_equal(saving.save.err, ERR_OK);
    saving_end(&saving);
    bytes = store_snapshot(r.store)->bytes;
    assert_true(bytes > 9 << 20);
    assert_true(writes > bytes / JOB_BYTES_MAX / 2);
    assert_true(sim_fs_syncs(r.sim) - syncs - writes >= bytes / UNSYNCED_BYTES_MAX);
    rig_close(&r);
    state_free(state);
}

static void a_large_state_is_saved_and_loaded_in_little_memory(void **unused)
{
    (void)unused;
    enum { EXTRA_BYTES_MAX = 4 << 20 };
    struct rig r;
    begin(&r, 2, 10, true);
    struct state *state = state_new();
    state_fill(state, 0, 100000, 200);
    struct saving saving;
    saving_begin(&saving, &r, state, at_10);
    size_t before = mallinfo2().uordblks + mallinfo2().hblkhd, most = before;
    while (rig_step(&r)) {
        size_t now = mallinfo2().uordblks + mallinfo2().hblkhd;
        most = now > most ? now : most;
    }
    assert_int_equal(saving.save.err, ERR_OK);
    assert_true(store_snapshot(r.store)->bytes > 20 << 20);
    assert_true(most - before < EXTRA_BYTES_MAX);
    saving_end(&saving);
    struct state *loaded = rig_load(&r, false);
    assert_non_null(loaded);
    assert_true(state_hash_equal(state_hash(loaded), state_hash(state)));
    state_free(loaded);
    rig_drop(&r);
    rig_must_open(&r);
    assert_true(state_hash_equal(state_hash(r.restored), state_hash(state)));
    rig_close(&r);
    state_free(state);
}

static void a_save_without_space_leaves_the_old_one_and_can_be_tried_again(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 3, 20, false);
    struct state *state = state_new();
    state_fill(state, 0, 3000, 200);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    uint64_t used = sim_fs_used_bytes(r.sim), bytes = store_snapshot(r.store)->bytes;
    const struct store_pos at_20 = {.index = 20, .term = 2};
    for (uint64_t room = 0; room < bytes; room += 50000) {
        sim_fs_set_capacity(r.sim, used + room);
        assert_int_equal(rig_save(&r, state, at_20), ERR_NO_SPACE);
        assert_non_null(strstr(r.why.text, "no space left for a snapshot"));
        assert_int_equal(sim_fs_used_bytes(r.sim), used);
        assert_true(pos_is(store_snapshot(r.store)->last, 10, 2));
        assert_true(store_accepts_entries(r.store));
    }
    assert_int_equal(r.failures, 0);
    rig_crash(&r, true);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.snapshot, 10, 2));
    sim_fs_set_capacity(r.sim, used + bytes);
    assert_int_equal(rig_save(&r, state, at_20), ERR_OK);
    rig_close(&r);
    state_free(state);
}

static void a_snapshot_that_does_not_fit_is_dropped_as_it_comes_in(void **unused)
{
    (void)unused;
    struct rig r, other;
    begin(&r, 4, 10, false);
    begin(&other, 5, 1, false);
    struct state *state = state_new();
    state_fill(state, 0, 3000, 200);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    struct slice file = rig_read_file(&r, NAME_AT_10);
    uint64_t used = sim_fs_used_bytes(other.sim);
    sim_fs_set_capacity(other.sim, used + file.size / 2);
    assert_int_equal(rig_receive(&other, at_10, slice_bytes(file), 10000), ERR_NO_SPACE);
    assert_int_equal(sim_fs_used_bytes(other.sim), used);
    assert_int_equal(other.failures, 0);
    sim_fs_set_capacity(other.sim, UINT64_MAX);
    assert_int_equal(rig_receive(&other, at_10, slice_bytes(file), 10000), ERR_OK);
    assert_int_equal(rig_install(&other), ERR_OK);
    slice_close(&file);
    rig_close(&r);
    rig_close(&other);
    state_free(state);
}

/* A snapshot that is in place is never beyond what the log holds for good, so a log that is found
 * to end before it was cut short by an install and by nothing else. */
static void a_snapshot_waits_for_its_last_entry_to_be_in_the_log(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 6, 5, false);
    struct state *state = state_new();
    state_fill(state, 0, 10, 10);
    sim_fs_set_capacity(r.sim, sim_fs_used_bytes(r.sim) + 4096); /* no segment, but a snapshot */
    uint64_t seq = r.durable_seq, index = 6;
    while (store_accepts_entries(r.store) || r.durable_seq == seq) {
        rig_write(&r, ++seq, index++, 1, 2, 1000);
        rig_run(&r);
        assert_true(index < 200);
    }
    const struct store_pos last = {.index = index - 1, .term = 2};
    assert_int_equal(rig_save(&r, state, last), ERR_NO_SPACE);
    assert_int_equal(store_snapshot(r.store)->last.index, 0);
    sim_fs_set_capacity(r.sim, UINT64_MAX);
    store_poll(r.store);
    assert_int_equal(rig_save(&r, state, last), ERR_OK);
    assert_int_equal(r.durable_seq, seq);
    rig_close(&r);
    state_free(state);
}

static void a_stop_ends_a_save_at_its_next_step(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 7, 10, false);
    struct state *state = state_new();
    state_fill(state, 0, 20000, 200);
    struct saving saving;
    saving_begin(&saving, &r, state, at_10);
    for (int i = 0; i < 5; i++) {
        rig_step(&r);
    }
    store_cancel(r.store);
    unsigned jobs = 0;
    while (rig_step(&r)) {
        jobs++;
    }
    assert_true(jobs <= 3);
    assert_int_equal(saving.done, 1);
    assert_int_equal(saving.save.err, ERR_CANCELLED);
    assert_false(rig_has_file(&r, NEW_AT_10));
    assert_true(store_idle(r.store));
    saving_end(&saving);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    rig_close(&r);
    state_free(state);
}

static void a_stop_ends_a_verification_at_its_next_step(void **unused)
{
    (void)unused;
    struct rig r, other;
    begin(&r, 12, 10, false);
    begin(&other, 13, 1, false);
    struct state *state = state_new();
    state_fill(state, 0, 20000, 200);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    struct slice file = rig_read_file(&r, NAME_AT_10);
    unsigned done = 0;
    struct store_receive chunk = {
        .last = at_10, .bytes = file, .end = true, .done = count_done, .ctx = &done};
    store_receive(other.store, &chunk);
    for (int i = 0; i < 4; i++) {
        rig_step(&other);
    }
    assert_int_equal(done, 0);
    store_cancel(other.store);
    rig_step(&other);
    assert_int_equal(done, 1);
    assert_int_equal(chunk.err, ERR_CANCELLED);
    assert_null(store_incoming(other.store));
    rig_run(&other);
    assert_true(store_idle(other.store));
    assert_int_equal(rig_receive(&other, at_10, slice_bytes(file), 100000), ERR_OK);
    slice_close(&file);
    rig_close(&r);
    rig_close(&other);
    state_free(state);
}

static void a_save_that_an_install_overtook_gives_way(void **unused)
{
    (void)unused;
    struct rig r, other;
    begin(&other, 8, 10, false);
    begin(&r, 9, 5, false);
    struct state *state = state_new();
    state_fill(state, 0, 5000, 200);
    assert_int_equal(rig_save(&other, state, at_10), ERR_OK);
    struct slice file = rig_read_file(&other, NAME_AT_10);
    for (unsigned steps = 0; steps < 30; steps++) {
        rig_close(&r);
        begin(&r, 9, 5, false);
        assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1 << 20), ERR_OK);
        struct saving saving;
        saving_begin(&saving, &r, state, (struct store_pos){.index = 5, .term = 2});
        for (unsigned i = 0; i < steps; i++) {
            rig_step(&r);
        }
        assert_int_equal(rig_install(&r), ERR_OK);
        assert_int_equal(saving.done, 1);
        assert_true(saving.save.err == ERR_EXISTS || saving.save.err == ERR_OK);
        saving_end(&saving);
        assert_true(pos_is(store_snapshot(r.store)->last, 10, 2));
        assert_true(store_idle(r.store));
        assert_false(rig_has_file(&r, "snapshot/0000000000000005-0000000000000002.snap"));
        assert_false(rig_has_file(&r, "snapshot/0000000000000005-0000000000000002.new"));
        rig_drop(&r);
        rig_must_open(&r);
        assert_true(pos_is(r.recovered.last, 10, 2));
    }
    slice_close(&file);
    rig_close(&other);
    rig_close(&r);
    state_free(state);
}

static void what_was_left_over_is_cleared_away_at_the_start(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 10, 10, false);
    struct state *state = state_new();
    state_fill(state, 0, 5000, 200);
    struct saving saving;
    saving_begin(&saving, &r, state, at_10);
    unsigned done = 0;
    struct store_receive chunk = {.last = {.index = 50, .term = 2},
                                  .bytes = slice_copy(bytes_of("beginning", 9)),
                                  .done = count_done,
                                  .ctx = &done};
    store_receive(r.store, &chunk);
    for (int i = 0; i < 5; i++) {
        rig_step(&r);
    }
    assert_true(rig_has_file(&r, NEW_AT_10));
    assert_true(rig_has_file(&r, "snapshot/incoming"));
    rig_crash(&r, false);
    saving_end(&saving);
    slice_close(&chunk.bytes);
    rig_must_open(&r);
    assert_false(rig_has_file(&r, NEW_AT_10));
    assert_false(rig_has_file(&r, "snapshot/incoming"));
    rig_close(&r);
    state_free(state);
}

static void a_snapshot_every_ten_entries_keeps_the_log_short(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 11, 0, false);
    struct state *state = state_new();
    struct store_status status;
    uint64_t used = 0, seq = r.durable_seq;
    for (uint64_t index = 1; index <= 2000; index++) {
        state_fill(state, index % 20, index % 20 + 1, 10);
        rig_write(&r, ++seq, index, 1, 2, 100);
        rig_run(&r);
        store_status(r.store, &status);
        assert_true(status.log_bytes < 2000);
        if (index % 10 == 0) {
            const struct store_pos last = {.index = index, .term = 2};
            assert_int_equal(rig_save(&r, state, last), ERR_OK);
            store_compact(r.store, last);
            rig_run(&r);
            store_status(r.store, &status);
            assert_int_equal(status.log_bytes, 0);
        }
        if (index == 1000) {
            used = sim_fs_used_bytes(r.sim);
        }
    }
    assert_true(status.segments <= 2);
    assert_true(sim_fs_used_bytes(r.sim) <= used + r.options.segment_bytes);
    rig_close(&r);
    state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_waits_for_one_short_job_of_a_save_at_most),
        cmocka_unit_test(a_large_state_is_saved_and_loaded_in_little_memory),
        cmocka_unit_test(a_save_without_space_leaves_the_old_one_and_can_be_tried_again),
        cmocka_unit_test(a_snapshot_that_does_not_fit_is_dropped_as_it_comes_in),
        cmocka_unit_test(a_snapshot_waits_for_its_last_entry_to_be_in_the_log),
        cmocka_unit_test(a_stop_ends_a_save_at_its_next_step),
        cmocka_unit_test(a_stop_ends_a_verification_at_its_next_step),
        cmocka_unit_test(a_save_that_an_install_overtook_gives_way),
        cmocka_unit_test(what_was_left_over_is_cleared_away_at_the_start),
        cmocka_unit_test(a_snapshot_every_ten_entries_keeps_the_log_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
