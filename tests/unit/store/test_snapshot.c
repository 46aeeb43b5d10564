/* Snapshots on a disk that behaves: saving, sending, receiving, installing, and what a start finds.
 */
#include "snapshots.h"

/* A store in term 2 with so many entries, all durable. */
static void begin(struct rig *r, uint64_t seed, uint64_t entries)
{
    rig_init(r, seed, false);
    rig_with_snapshots(r);
    rig_must_open(r);
    rig_vote(r, 1, 2, 1);
    for (uint64_t i = 1; i <= entries; i++) {
        rig_write(r, i + 1, i, 1, 2, 100);
    }
    rig_run(r);
}

static struct state *some_state(uint64_t keys, size_t value_bytes)
{
    struct state *s = state_new();
    state_fill(s, 0, keys, value_bytes);
    return s;
}

static void a_saved_state_is_found_at_the_next_start(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 1, 20);
    assert_int_equal(store_snapshot(r.store)->last.index, 0);
    assert_null(store_hold(r.store));
    struct state *state = some_state(5000, 300);
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 10, .term = 2}), ERR_OK);
    const struct store_snapshot *known = store_snapshot(r.store);
    assert_true(pos_is(known->last, 10, 2));
    assert_int_equal(known->pairs, 5000);
    assert_true(state_hash_equal(known->hash, state_hash(state)));
    uint64_t bytes = known->bytes;
    store_compact(r.store, known->last);
    rig_run(&r);
    assert_true(store_idle(r.store));
    rig_crash(&r, true);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.snapshot, 10, 2));
    assert_true(pos_is(r.recovered.base, 10, 2));
    assert_true(pos_is(r.recovered.last, 20, 2));
    assert_int_equal(store_snapshot(r.store)->bytes, bytes);
    assert_string_equal(r.about, "about 10");
    assert_true(state_hash_equal(state_hash(r.restored), state_hash(state)));
    state_check(r.restored);
    rig_check_bodies(&r);
    rig_close(&r);
    state_free(state);
}

static void entries_kept_before_the_snapshot_are_delivered_too(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 2, 20);
    struct state *state = some_state(10, 10);
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 15, .term = 2}), ERR_OK);
    store_compact(r.store, (struct store_pos){.index = 5, .term = 2});
    rig_run(&r);
    rig_drop(&r);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.base, 5, 2));
    assert_true(pos_is(r.recovered.snapshot, 15, 2));
    assert_int_equal(r.entries_count, 15);
    rig_check_bodies(&r);
    rig_close(&r);
    state_free(state);
}

static struct slice saved_file(uint64_t seed, struct state *state)
{
    struct rig r;
    begin(&r, seed, 20);
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 10, .term = 2}), ERR_OK);
    struct slice file = rig_read_file(&r, "snapshot/000000000000000a-0000000000000002.snap");
    rig_close(&r);
    return file;
}

static void equal_states_give_equal_bytes(void **unused)
{
    (void)unused;
    struct state *one = some_state(3000, 100);
    struct state *other = state_new();
    state_fill(other, 1500, 3200, 99); /* another history */
    state_fill(other, 0, 1500, 50);
    state_fill(other, 0, 3000, 100);
    for (uint64_t i = 3000; i < 3200; i++) {
        char key[32];
        snprintf(key, sizeof key, "key-%06llu", (unsigned long long)(i * 7919 % 1000003));
        assert_true(state_delete(other, bytes_of(key, strlen(key))));
    }
    struct slice a = saved_file(3, one), b = saved_file(4, other);
    assert_true(bytes_equal(slice_bytes(a), slice_bytes(b)));
    slice_close(&a);
    slice_close(&b);
    state_free(one);
    state_free(other);
}

static void states_of_any_shape_survive(void **unused)
{
    (void)unused;
    static const size_t value_bytes[] = {0, 1, 262143, 262144, 300000, STATE_VALUE_BYTES_MAX};
    for (size_t i = 0; i < sizeof value_bytes / sizeof value_bytes[0]; i++) {
        struct rig r;
        begin(&r, 5, 3);
        struct state *state = some_state(i == 0 ? 0 : 3, value_bytes[i]);
        uint8_t long_key[STATE_KEY_BYTES_MAX] = {0};
        if (i > 0) {
            state_set(state, (struct bytes){0}, (struct bytes){0});
            state_set(state, bytes_of(long_key, sizeof long_key), bytes_of("v", 1));
        }
        assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 3, .term = 2}), ERR_OK);
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
}

static void the_one_before_goes_unless_it_is_held(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 6, 30);
    struct state *state = some_state(10, 10);
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 10, .term = 2}), ERR_OK);
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 20, .term = 2}), ERR_OK);
    assert_false(rig_has_file(&r, "snapshot/000000000000000a-0000000000000002.snap"));
    const struct store_snapshot *held = store_hold(r.store);
    assert_ptr_equal(held, store_hold(r.store));
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 30, .term = 2}), ERR_OK);
    assert_true(pos_is(store_snapshot(r.store)->last, 30, 2));
    assert_true(rig_has_file(&r, "snapshot/0000000000000014-0000000000000002.snap"));
    store_unhold(r.store, held);
    rig_run(&r);
    assert_true(rig_has_file(&r, "snapshot/0000000000000014-0000000000000002.snap"));
    store_unhold(r.store, held);
    rig_run(&r);
    assert_false(rig_has_file(&r, "snapshot/0000000000000014-0000000000000002.snap"));
    assert_int_equal(rig_save(&r, state, (struct store_pos){.index = 30, .term = 2}), ERR_EXISTS);
    assert_true(rig_has_file(&r, "snapshot/000000000000001e-0000000000000002.snap"));
    assert_true(store_idle(r.store));
    rig_close(&r);
    state_free(state);
}

/* ---- from one node to another --------------------------------------------------------------- */

static void piece_done(struct store_piece *piece)
{
    bool *done = piece->ctx;
    *done = true;
}

/* The file of the snapshot in place, read piece by piece while another takes its place. */
static struct slice sent_file(struct rig *r, struct state *state, size_t piece_bytes)
{
    const struct store_snapshot *held = store_hold(r->store);
    struct buffer all = {0};
    bool end = false;
    while (!end) {
        bool done = false;
        struct store_piece piece = {.held = held,
                                    .offset_bytes = all.size,
                                    .bytes_max = piece_bytes,
                                    .done = piece_done,
                                    .ctx = &done};
        store_piece(r->store, &piece);
        rig_run(r);
        assert_true(done);
        assert_int_equal(piece.err, ERR_OK);
        buffer_add_bytes(&all, slice_bytes(piece.bytes));
        end = piece.end;
        slice_close(&piece.bytes);
        if (pos_is(store_snapshot(r->store)->last, 10, 2)) {
            state_fill(state, 0, 1, 1);
            assert_int_equal(rig_save(r, state, (struct store_pos){.index = 11, .term = 2}),
                             ERR_OK);
        }
    }
    assert_int_equal(all.size, held->bytes);
    store_unhold(r->store, held);
    rig_run(r);
    struct slice file = slice_copy(buffer_bytes(&all));
    buffer_close(&all);
    return file;
}

static const struct store_pos at_10 = {.index = 10, .term = 2};

static void what_is_sent_is_received_loaded_and_installed(void **unused)
{
    (void)unused;
    struct rig leader, follower;
    begin(&leader, 7, 20);
    begin(&follower, 8, 4);
    rig_write(&follower, 6, 5, 2, 2, 6000); /* into another segment */
    rig_run(&follower);
    struct state *state = some_state(4000, 200);
    struct state_hash hash = state_hash(state);
    assert_int_equal(rig_save(&leader, state, at_10), ERR_OK);
    struct slice file = sent_file(&leader, state, 100000);
    assert_int_equal(rig_receive(&follower, at_10, slice_bytes(file), 30000), ERR_OK);
    const struct store_snapshot *incoming = store_incoming(follower.store);
    assert_true(pos_is(incoming->last, 10, 2));
    assert_int_equal(incoming->pairs, 4000);
    assert_true(bytes_equal(incoming->about, bytes_of("about 10", 8)));
    assert_int_equal(store_snapshot(follower.store)->last.index, 0);
    struct state *loaded = rig_load(&follower, true);
    assert_true(state_hash_equal(state_hash(loaded), hash));
    state_free(loaded);
    assert_int_equal(rig_install(&follower), ERR_OK);
    assert_null(store_incoming(follower.store));
    assert_true(pos_is(store_snapshot(follower.store)->last, 10, 2));
    struct store_status status;
    store_status(follower.store, &status);
    assert_int_equal(status.log_bytes, 0);
    rig_write(&follower, 100, 11, 3, 2, 100);
    rig_run(&follower);
    assert_int_equal(follower.durable_seq, 100);
    rig_crash(&follower, true);
    rig_must_open(&follower);
    assert_true(pos_is(follower.recovered.base, 10, 2));
    assert_true(pos_is(follower.recovered.last, 13, 2));
    assert_int_equal(follower.recovered.term, 2);
    assert_int_equal(follower.recovered.vote, 1);
    assert_true(state_hash_equal(state_hash(follower.restored), hash));
    rig_check_bodies(&follower);
    slice_close(&file);
    rig_close(&leader);
    rig_close(&follower);
    state_free(state);
}

static void installing_drops_a_longer_log_that_went_another_way(void **unused)
{
    (void)unused;
    struct state *state = some_state(10, 10);
    struct slice file = saved_file(9, state);
    struct rig r;
    rig_init(&r, 10, false);
    rig_with_snapshots(&r);
    rig_must_open(&r);
    rig_vote(&r, 1, 1, 1);
    rig_write(&r, 2, 1, 60, 1, 400); /* several segments */
    rig_vote(&r, 3, 5, 1);
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1 << 20), ERR_OK);
    struct store_install install = {.done = install_done, .ctx = &(unsigned){0}};
    store_install(r.store, &install);
    rig_write(&r, 4, 11, 20, 5, 400); /* queued behind it */
    rig_run(&r);
    assert_int_equal(install.err, ERR_OK);
    assert_int_equal(r.durable_seq, 4);
    struct store_status status;
    store_status(r.store, &status);
    assert_true(status.segments <= 2);
    rig_crash(&r, true);
    rig_must_open(&r);
    assert_true(pos_is(r.recovered.base, 10, 2));
    assert_true(pos_is(r.recovered.last, 30, 5));
    assert_int_equal(r.recovered.term, 5);
    rig_check_bodies(&r);
    rig_close(&r);
    slice_close(&file);
    state_free(state);
}

static void what_does_not_continue_is_refused(void **unused)
{
    (void)unused;
    struct state *state = some_state(100, 100);
    struct slice file = saved_file(11, state);
    struct rig r;
    begin(&r, 12, 1);
    unsigned done = 0;
    struct slice head = slice_of(file.owner, 0, 100), tail = slice_of(file.owner, 100, 100);
    struct store_receive chunk = {
        .last = at_10, .offset_bytes = 100, .bytes = tail, .done = count_done, .ctx = &done};
    store_receive(r.store, &chunk);
    rig_run(&r);
    assert_int_equal(chunk.err, ERR_INVALID); /* nothing before it */
    chunk = (struct store_receive){.last = at_10, .bytes = head, .done = count_done, .ctx = &done};
    store_receive(r.store, &chunk);
    rig_run(&r);
    assert_int_equal(chunk.err, ERR_OK);
    chunk = (struct store_receive){.last = {.index = 11, .term = 2},
                                   .offset_bytes = 100,
                                   .bytes = tail,
                                   .done = count_done,
                                   .ctx = &done};
    store_receive(r.store, &chunk);
    rig_run(&r);
    assert_int_equal(chunk.err, ERR_INVALID); /* of another snapshot */
    assert_int_equal(done, 3);
    /* Whole, but not the one that was announced. */
    const struct store_pos other = {.index = 10, .term = 1};
    assert_int_equal(rig_receive(&r, other, slice_bytes(file), 1 << 20), ERR_CORRUPT);
    assert_null(store_incoming(r.store));
    /* Cut short. */
    assert_int_equal(rig_receive(&r, at_10, bytes_of(file.data, file.size - 1), 1 << 20),
                     ERR_CORRUPT);
    /* A byte too much. */
    struct buffer longer = {0};
    buffer_add_bytes(&longer, slice_bytes(file));
    buffer_add_u8(&longer, 0);
    assert_int_equal(rig_receive(&r, at_10, buffer_bytes(&longer), 1 << 20), ERR_CORRUPT);
    buffer_close(&longer);
    assert_false(rig_has_file(&r, "snapshot/incoming"));
    /* And after all that the right one. */
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1000), ERR_OK);
    /* What waits to be installed is not written over; once dropped it is. */
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1000), ERR_BUSY);
    store_drop_incoming(r.store);
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1000), ERR_OK);
    slice_close(&head);
    slice_close(&tail);
    slice_close(&file);
    rig_close(&r);
    state_free(state);
}

static void a_snapshot_of_another_cluster_is_refused(void **unused)
{
    (void)unused;
    struct state *state = some_state(100, 100);
    struct slice file = saved_file(13, state);
    struct rig r;
    rig_init(&r, 14, false);
    rig_with_snapshots(&r);
    r.options.cluster_id = 0xc2;
    rig_must_open(&r);
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), 1 << 20), ERR_WRONG_CLUSTER);
    assert_non_null(strstr(r.why.text, "00000000000000c1"));
    slice_close(&file);
    rig_close(&r);
    state_free(state);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void every_flipped_byte_is_noticed(void **unused)
{
    (void)unused;
    struct state *state = some_state(60, 20);
    struct slice file = saved_file(15, state);
    struct rig r;
    begin(&r, 16, 1);
    uint8_t *copy = alloc_bytes(file.size);
    for (size_t i = 0; i < file.size; i++) {
        memcpy(copy, file.data, file.size);
        copy[i] ^= (uint8_t)(1 << i % 8);
        enum err err = rig_receive(&r, at_10, bytes_of(copy, file.size), file.size);
        assert_int_equal(err, ERR_CORRUPT);
        assert_true(r.why.text[0] != 0);
    }
    free(copy);
    assert_int_equal(rig_receive(&r, at_10, slice_bytes(file), file.size), ERR_OK);
    slice_close(&file);
    rig_close(&r);
    state_free(state);
}

static void damage_is_refused_where_the_log_does_not_hold_the_rest(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 17, 20);
    struct state *state = some_state(60, 20);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    store_compact(r.store, (struct store_pos){.index = 1, .term = 2});
    rig_run(&r);
    rig_drop(&r);
    assert_true(sim_fs_flip(r.sim, "snapshot/000000000000000a-0000000000000002.snap", 500, 0x10));
    assert_int_equal(rig_open(&r), ERR_CORRUPT);
    assert_non_null(strstr(r.why.text, "snapshot/000000000000000a-0000000000000002.snap"));
    assert_non_null(strstr(r.why.text, "replace"));
    assert_true(sim_fs_flip(r.sim, "snapshot/000000000000000a-0000000000000002.snap", 500, 0x10));
    rig_must_open(&r);
    rig_close(&r);
    state_free(state);
}

static void damage_is_set_aside_where_the_log_holds_everything(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 18, 20);
    struct state *state = some_state(60, 20);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    rig_drop(&r);
    assert_true(sim_fs_flip(r.sim, "snapshot/000000000000000a-0000000000000002.snap", 500, 0x10));
    rig_must_open(&r);
    assert_null(r.restored);
    assert_int_equal(r.entries_count, 20);
    assert_true(rig_has_file(&r, "snapshot/000000000000000a-0000000000000002.damaged"));
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    rig_drop(&r);
    rig_must_open(&r);
    assert_non_null(r.restored);
    rig_close(&r);
    state_free(state);
}

static void a_missing_snapshot_is_refused(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 19, 20);
    struct state *state = some_state(60, 20);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    store_compact(r.store, at_10);
    rig_run(&r);
    rig_drop(&r);
    const struct fs_port *fs = r.fs;
    assert_int_equal(fs->v->remove(fs->ctx, "snapshot/000000000000000a-0000000000000002.snap"),
                     ERR_OK);
    assert_int_equal(rig_open(&r), ERR_CORRUPT);
    assert_non_null(strstr(r.why.text, "begins after entry 10"));
    rig_close(&r);
    state_free(state);
}

static void a_directory_without_identity_that_has_a_snapshot_is_refused(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 20, 20);
    struct state *state = some_state(60, 20);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    rig_drop(&r);
    assert_int_equal(r.fs->v->remove(r.fs->ctx, "identity"), ERR_OK);
    assert_int_equal(r.fs->v->remove(r.fs->ctx, "wal/0000000000000001.log"), ERR_OK);
    assert_int_equal(rig_open(&r), ERR_CORRUPT);
    assert_non_null(strstr(r.why.text, "identity"));
    rig_close(&r);
    state_free(state);
}

static void a_pair_that_the_node_cannot_take_ends_the_start(void **unused)
{
    (void)unused;
    struct rig r;
    begin(&r, 21, 20);
    struct state *state = some_state(60, 20);
    assert_int_equal(rig_save(&r, state, at_10), ERR_OK);
    rig_drop(&r);
    r.pair_err = ERR_TOO_LARGE;
    assert_int_equal(rig_open(&r), ERR_TOO_LARGE);
    assert_true(r.why.text[0] != 0);
    rig_forget_restored(&r);
    r.pair_err = ERR_OK;
    rig_must_open(&r);
    rig_close(&r);
    state_free(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_state_is_found_at_the_next_start),
        cmocka_unit_test(entries_kept_before_the_snapshot_are_delivered_too),
        cmocka_unit_test(equal_states_give_equal_bytes),
        cmocka_unit_test(states_of_any_shape_survive),
        cmocka_unit_test(the_one_before_goes_unless_it_is_held),
        cmocka_unit_test(what_is_sent_is_received_loaded_and_installed),
        cmocka_unit_test(installing_drops_a_longer_log_that_went_another_way),
        cmocka_unit_test(what_does_not_continue_is_refused),
        cmocka_unit_test(a_snapshot_of_another_cluster_is_refused),
        cmocka_unit_test(every_flipped_byte_is_noticed),
        cmocka_unit_test(damage_is_refused_where_the_log_does_not_hold_the_rest),
        cmocka_unit_test(damage_is_set_aside_where_the_log_holds_everything),
        cmocka_unit_test(a_missing_snapshot_is_refused),
        cmocka_unit_test(a_directory_without_identity_that_has_a_snapshot_is_refused),
        cmocka_unit_test(a_pair_that_the_node_cannot_take_ends_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
