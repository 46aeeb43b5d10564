/* What had come in of a snapshot before a restart: kept as far as it is sound, and the transfer
 * goes on there. */
#include "snapshots.h"

static const struct store_pos at_90 = {.index = 90, .term = 2};
#define INCOMING "snapshot/incoming"
enum { ENTRIES = 10, CHUNK = 50000 };

static void begin(struct rig *r, uint64_t seed)
{
    rig_init(r, seed, false);
    rig_with_snapshots(r);
    rig_must_open(r);
    rig_vote(r, 1, 2, 1);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        rig_write(r, i + 1, i, 1, 2, 100);
    }
    rig_run(r);
}

static struct state *some_state(void)
{
    struct state *s = state_new();
    state_fill(s, 0, 800, 2000); /* blocks of 256 KiB: seven of them */
    return s;
}

/* The file that another node saved of it. */
static struct slice saved_file(struct state *state)
{
    struct rig r;
    rig_init(&r, 77, false);
    rig_with_snapshots(&r);
    rig_must_open(&r);
    rig_vote(&r, 1, 2, 1);
    for (uint64_t i = 1; i <= at_90.index; i += 10) {
        rig_write(&r, i + 1, i, 10, 2, 16);
    }
    rig_run(&r);
    assert_int_equal(rig_save(&r, state, at_90), ERR_OK);
    struct slice file = rig_read_file(&r, "snapshot/000000000000005a-0000000000000002.snap");
    rig_close(&r);
    return file;
}

/* The rest comes in, and is installed: also after the machine has lost power once more. */
static void finish(struct rig *r, struct slice file, struct state_hash hash)
{
    uint64_t from = pos_is(r->recovered.incoming, 90, 2) ? r->recovered.incoming_bytes : 0;
    assert_int_equal(rig_receive_part(r, at_90, slice_bytes(file), from, file.size, CHUNK), ERR_OK);
    struct state *loaded = rig_load(r, true);
    assert_true(state_hash_equal(state_hash(loaded), hash));
    state_free(loaded);
    assert_int_equal(rig_install(r), ERR_OK);
    rig_crash(r, true);
    rig_must_open(r);
    assert_true(pos_is(r->recovered.snapshot, 90, 2));
    assert_true(state_hash_equal(state_hash(r->restored), hash));
    assert_false(rig_has_file(r, INCOMING));
    assert_true(pos_is(r->recovered.incoming, 0, 0));
}

static void a_transfer_goes_on_after_a_restart_at_any_chunk(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    for (size_t upto = CHUNK; upto < file.size; upto += CHUNK) {
        struct rig r;
        begin(&r, upto);
        assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, upto, CHUNK), ERR_OK);
        rig_crash(&r, false);
        rig_must_open(&r);
        assert_true(pos_is(r.recovered.incoming, 90, 2));
        /* All but the block that was cut. */
        assert_in_range(r.recovered.incoming_bytes + (300 << 10), upto, upto + (300 << 10));
        finish(&r, file, state_hash(state));
        rig_close(&r);
    }
    slice_close(&file);
    state_free(state);
}

static void a_transfer_goes_on_after_power_was_lost_at_any_chunk(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    uint64_t kept = 0;
    for (size_t upto = CHUNK; upto < file.size; upto += CHUNK) {
        struct rig r;
        begin(&r, upto);
        assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, upto, CHUNK), ERR_OK);
        rig_crash(&r, true); /* its name, too, may be gone: nobody has synced the directory */
        rig_must_open(&r);
        kept += r.recovered.incoming_bytes;
        finish(&r, file, state_hash(state));
        rig_close(&r);
    }
    assert_true(kept > file.size);
    slice_close(&file);
    state_free(state);
}

static void what_is_damaged_comes_in_again(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    size_t upto = file.size * 2 / 3;
    for (size_t at = 0; at < upto; at += at < 300 ? 3 : 9973) {
        struct rig r;
        begin(&r, 5);
        assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, upto, CHUNK), ERR_OK);
        rig_drop(&r);
        assert_true(sim_fs_flip(r.sim, INCOMING, at, 0x10));
        rig_must_open(&r);
        assert_true(r.recovered.incoming_bytes <= at);
        finish(&r, file, state_hash(state));
        rig_close(&r);
    }
    slice_close(&file);
    state_free(state);
}

static void one_that_was_whole_comes_to_its_end_again(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 6);
    assert_int_equal(rig_receive(&r, at_90, slice_bytes(file), CHUNK), ERR_OK);
    rig_crash(&r, false);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.incoming, 90, 2));
    assert_true(r.recovered.incoming_bytes < file.size);
    assert_true(r.recovered.incoming_bytes + 100 > file.size); /* the footer */
    finish(&r, file, state_hash(state));
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

/* A sync fails, and the process dies before it can remove the file. What the sync should have
 * written can be read all the same, but would not be there after the next loss of power. */
static void what_a_failed_sync_left_is_not_trusted(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 7);
    size_t before = CHUNK * 20; /* the next chunk fills a mebibyte, and is synced */
    assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, before, CHUNK), ERR_OK);
    sim_fs_fail(r.sim, SIM_FS_SYNC, 1, ERR_IO);
    sim_fs_stop_after(r.sim, 2); /* the write and the sync */
    assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), before, before + CHUNK, CHUNK),
                     ERR_IO);
    rig_crash(&r, false);
    sim_fs_heal(r.sim);
    assert_true(rig_has_file(&r, INCOMING));
    rig_must_open(&r);
    assert_true(r.recovered.incoming_bytes > before / 2);
    finish(&r, file, state_hash(state));
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

static void what_the_log_holds_by_now_is_not_kept(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 8);
    assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, file.size / 2, CHUNK),
                     ERR_OK);
    for (uint64_t i = ENTRIES + 1; i <= at_90.index; i += 10) {
        rig_write(&r, i + 1, i, 10, 2, 100);
    }
    rig_run(&r);
    rig_crash(&r, false);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.last, 90, 2));
    assert_true(pos_is(r.recovered.incoming, 0, 0));
    assert_false(rig_has_file(&r, INCOMING));
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

/* The log caught up by itself: the transfer never ends, and its file would take up the disk. */
static void what_a_save_has_overtaken_goes_at_once(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 10);
    assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, file.size / 2, CHUNK),
                     ERR_OK);
    for (uint64_t i = ENTRIES + 1; i <= at_90.index + 10; i += 10) {
        rig_write(&r, i + 1, i, 10, 2, 100);
    }
    rig_run(&r);
    const struct store_pos before = {.index = 89, .term = 2};
    assert_int_equal(rig_save(&r, state, before), ERR_OK);
    assert_true(rig_has_file(&r, INCOMING)); /* newer than what was saved: it may be wanted */
    assert_int_equal(rig_save(&r, state, at_90), ERR_OK);
    assert_false(rig_has_file(&r, INCOMING));
    /* A later one comes in as ever, also while one is saved that is older, and is kept. */
    const struct store_pos later = {.index = 300, .term = 2};
    assert_int_equal(rig_receive_part(&r, later, slice_bytes(file), 0, CHUNK, CHUNK), ERR_OK);
    const struct store_pos last = {.index = 100, .term = 2};
    assert_int_equal(rig_save(&r, state, last), ERR_OK);
    assert_int_equal(rig_receive_part(&r, later, slice_bytes(file), CHUNK, 2 * CHUNK, CHUNK),
                     ERR_OK);
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

/* Whole, it is the node that decides: it may be loading it. */
static void what_came_in_whole_survives_a_save(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 11);
    assert_int_equal(rig_receive(&r, at_90, slice_bytes(file), CHUNK), ERR_OK);
    for (uint64_t i = ENTRIES + 1; i <= at_90.index; i += 10) {
        rig_write(&r, i + 1, i, 10, 2, 100);
    }
    rig_run(&r);
    assert_int_equal(rig_save(&r, state, at_90), ERR_OK);
    assert_non_null(store_incoming(r.store));
    assert_true(rig_has_file(&r, INCOMING));
    store_drop_incoming(r.store);
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

static void another_one_may_come_in_instead(void **unused)
{
    (void)unused;
    struct state *state = some_state();
    struct slice file = saved_file(state);
    struct rig r;
    begin(&r, 9);
    const struct store_pos other = {.index = 80, .term = 2};
    assert_int_equal(rig_receive_part(&r, other, slice_bytes(file), 0, CHUNK, CHUNK), ERR_OK);
    assert_int_equal(rig_receive_part(&r, at_90, slice_bytes(file), 0, file.size / 2, CHUNK),
                     ERR_OK);
    rig_crash(&r, false);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.incoming, 90, 2));
    /* What continues it must be of the same. */
    assert_int_equal(rig_receive_part(&r, other, slice_bytes(file), r.recovered.incoming_bytes,
                                      r.recovered.incoming_bytes + 1, CHUNK),
                     ERR_INVALID);
    assert_int_equal(rig_receive(&r, at_90, slice_bytes(file), CHUNK), ERR_OK);
    assert_int_equal(rig_install(&r), ERR_OK);
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_transfer_goes_on_after_a_restart_at_any_chunk),
        cmocka_unit_test(a_transfer_goes_on_after_power_was_lost_at_any_chunk),
        cmocka_unit_test(what_is_damaged_comes_in_again),
        cmocka_unit_test(one_that_was_whole_comes_to_its_end_again),
        cmocka_unit_test(what_a_failed_sync_left_is_not_trusted),
        cmocka_unit_test(what_the_log_holds_by_now_is_not_kept),
        cmocka_unit_test(what_a_save_has_overtaken_goes_at_once),
        cmocka_unit_test(what_came_in_whole_survives_a_save),
        cmocka_unit_test(another_one_may_come_in_instead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
