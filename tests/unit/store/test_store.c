/* What the store promises, on the simulated disk and on a real one. */
#include "rig.h"

static int on_sim(void **state)
{
    struct rig *r = NEW(struct rig);
    rig_init(r, 1, false);
    *state = r;
    return 0;
}

static int on_posix(void **state)
{
    struct rig *r = NEW(struct rig);
    rig_init(r, 1, true);
    *state = r;
    return 0;
}

static int end(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static void reopen(struct rig *r)
{
    rig_run(r);
    rig_drop(r);
    rig_must_open(r);
}

static void a_new_directory_is_fresh_once(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    assert_true(r->recovered.fresh);
    assert_int_equal(r->recovered.last.index, 0);
    uint8_t uuid[STORE_UUID_BYTES];
    memcpy(uuid, r->recovered.uuid, sizeof uuid);
    reopen(r);
    assert_false(r->recovered.fresh);
    assert_memory_equal(uuid, r->recovered.uuid, sizeof uuid);
}

static void what_was_written_is_there_after_a_restart(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_vote(r, 1, 3, 2);
    rig_write(r, 2, 1, 10, 3, 100);
    rig_write(r, 3, 11, 5, 3, 9000); /* larger than what is copied, and than a page */
    rig_run(r);
    assert_int_equal(r->durable_seq, 3);
    assert_int_equal(r->durable_last.index, 15);
    assert_int_equal(r->durable_last.term, 3);
    reopen(r);
    assert_int_equal(r->recovered.term, 3);
    assert_int_equal(r->recovered.vote, 2);
    assert_int_equal(r->recovered.last.index, 15);
    assert_int_equal(r->recovered.last.term, 3);
    rig_check_bodies(r);
    rig_write(r, 1, 16, 1, 4, 0);
    reopen(r);
    assert_int_equal(r->recovered.last.index, 16);
    assert_int_equal(r->recovered.last.term, 4);
    rig_check_bodies(r);
}

static void writes_wait_for_the_sync_under_way_and_go_out_together(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_run(r);
    rig_write(r, 1, 1, 1, 1, 50);
    for (uint64_t i = 2; i <= 20; i++) {
        rig_write(r, i, i, 1, 1, 50);
    }
    assert_int_equal(r->reports, 0); /* never from inside store_write */
    assert_true(rig_step(r));
    assert_int_equal(r->durable_seq, 1);
    assert_true(rig_step(r));
    assert_int_equal(r->durable_seq, 20);
    assert_int_equal(r->reports, 2);
    struct store_status status;
    store_status(r->store, &status);
    assert_int_equal(status.batches, 2);
    assert_int_equal(status.writes, 20);
    assert_int_equal(status.queued_writes, 0);
    assert_true(store_idle(r->store));
}

static void a_report_without_entries_has_no_position(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_write(r, 1, 1, 3, 1, 50);
    rig_vote(r, 2, 2, 1);
    rig_run(r);
    assert_int_equal(r->durable_seq, 2);
    assert_int_equal(r->durable_last.index, 0);
}

static void truncated_entries_stay_away(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_write(r, 1, 1, 20, 1, 1000); /* more than one segment */
    rig_write(r, 2, 21, 10, 1, 1000);
    rig_run(r);
    struct store_entry e = {.term = 2, .body = rig_body(8, 2, 100)};
    store_write(r->store, &(struct store_write){.write_seq = 3,
                                                .hard_state = true,
                                                .term = 2,
                                                .truncate_from = 8,
                                                .lo = 8,
                                                .count = 1,
                                                .entries = &e});
    slice_close(&e.body);
    reopen(r);
    assert_int_equal(r->recovered.last.index, 8);
    assert_int_equal(r->recovered.last.term, 2);
    assert_int_equal(r->entries[6].term, 1);
    assert_int_equal(r->entries[7].term, 2);
    rig_check_bodies(r);
    store_write(r->store, &(struct store_write){.write_seq = 1, .truncate_from = 5});
    reopen(r);
    assert_int_equal(r->recovered.last.index, 4);
    assert_int_equal(r->recovered.last.term, 1);
}

static void the_log_goes_on_over_many_segments(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    for (uint64_t i = 0; i < 100; i++) {
        rig_write(r, i + 1, 1 + 5 * i, 5, 1 + i / 10, 300);
        rig_run(r);
    }
    struct store_status status;
    store_status(r->store, &status);
    assert_true(status.segments > 8);
    assert_int_equal(status.spares, 1);
    reopen(r);
    assert_int_equal(r->recovered.last.index, 500);
    rig_check_bodies(r);
}

/* As told by a store that has just found it on the disk, and put its mark there if it had room. */
static void check_log_bytes(struct rig *r)
{
    enum { MARK_BYTES = 48 };
    struct store_status told, found;
    rig_run(r);
    store_status(r->store, &told);
    reopen(r);
    store_status(r->store, &found);
    assert_in_range(found.log_bytes, told.log_bytes, told.log_bytes + MARK_BYTES);
}

static void how_long_the_log_is_does_not_depend_on_how_it_came_about(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    for (uint64_t i = 0; i < 40; i++) {
        rig_write(r, i + 1, 1 + 5 * i, 5, 1, 300);
        rig_run(r);
    }
    store_compact(r->store, (struct store_pos){.index = 20, .term = 1});
    check_log_bytes(r);
    rig_write(r, 1, 201, 60, 1, 300);
    rig_run(r);
    store_compact(r->store, (struct store_pos){.index = 60, .term = 1});
    check_log_bytes(r);
    rig_write(r, 1, 261, 1, 1, 300);
    rig_run(r);
    store_write(r->store, &(struct store_write){.write_seq = 2, .truncate_from = 100});
    check_log_bytes(r);
    rig_write(r, 1, 100, 1, 1, 300);
    check_log_bytes(r);
}

static void an_entry_larger_than_a_segment_gets_a_segment_of_its_own(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_write(r, 1, 1, 1, 1, 100000);
    rig_write(r, 2, 2, 30, 1, 2000);
    rig_run(r);
    assert_int_equal(r->durable_seq, 2);
    rig_write(r, 3, 32, 1, 1, 10);
    reopen(r);
    assert_int_equal(r->recovered.last.index, 32);
    rig_check_bodies(r);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void count_done(struct store_read *read)
{
    ++*(int *)read->ctx;
}

static struct store_read read_now(struct rig *r, uint64_t lo, uint64_t hi, size_t bytes_max)
{
    int done = 0;
    struct store_read read = {
        .lo = lo, .hi = hi, .bytes_max = bytes_max, .done = count_done, .ctx = &done};
    store_read(r->store, &read);
    assert_int_equal(done, 0);
    rig_run(r);
    assert_int_equal(done, 1);
    for (uint32_t i = 0; i < read.count; i++) {
        assert_true(rig_body_is(read.entries[i].body, lo + i, read.entries[i].term));
    }
    return read;
}

static void entries_are_read_again_in_pieces(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    for (uint64_t i = 0; i < 20; i++) {
        rig_write(r, i + 1, 1 + 10 * i, 10, 1 + i, 200);
    }
    rig_run(r);
    uint64_t next = 1;
    while (next <= 200) {
        struct store_read read = read_now(r, next, 201, 3000);
        assert_int_equal(read.err, ERR_OK);
        assert_in_range(read.count, 1, 14);
        assert_int_equal(read.entries[0].term, 1 + (next - 1) / 10);
        next += read.count;
        store_read_close(&read);
    }
    struct store_read read = read_now(r, 7, 9, 1 << 20);
    assert_int_equal(read.count, 2);
    store_read_close(&read);
    read = read_now(r, 7, 20, 1); /* at least one */
    assert_int_equal(read.count, 1);
    store_read_close(&read);
    read = read_now(r, 201, 300, 1000);
    assert_int_equal(read.err, ERR_OK);
    assert_int_equal(read.count, 0);
    store_read_close(&read);
}

static void a_read_gives_the_log_as_it_stood_when_it_ran(void **state)
{
    struct rig *r = *state;
    int done = 0;
    struct store_read before = {
        .lo = 1, .hi = 9, .bytes_max = 9999, .done = count_done, .ctx = &done};
    struct store_read after = before;
    rig_must_open(r);
    rig_write(r, 1, 1, 8, 1, 100);
    rig_run(r);
    store_read(r->store, &before);
    store_write(r->store, &(struct store_write){
                              .write_seq = 2, .hard_state = true, .term = 2, .truncate_from = 4});
    store_read(r->store, &after);
    rig_run(r);
    assert_int_equal(done, 2);
    assert_int_equal(before.count, 8);
    assert_int_equal(after.count, 3);
    store_read_close(&before);
    store_read_close(&after);
}

/* ---- compaction ----------------------------------------------------------------------------- */

static void compacted_segments_are_recycled_and_stale_records_do_not_read_as_new(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    uint64_t index = 1;
    for (uint64_t round = 1; round <= 30; round++) {
        for (int i = 0; i < 10; i++, index += 4) {
            rig_write(r, index, index, 4, round, 200);
        }
        rig_run(r);
        store_compact(r->store, (struct store_pos){.index = index - 5, .term = round});
        rig_run(r);
        struct store_status status;
        store_status(r->store, &status);
        assert_in_range(status.segments, 1, 3);
        assert_in_range(status.spares, 1, 2);
        if (round % 7 == 0) {
            reopen(r);
            assert_int_equal(r->recovered.base.index, index - 5);
            assert_int_equal(r->recovered.base.term, round);
            assert_int_equal(r->recovered.last.index, index - 1);
            assert_int_equal(r->entries_count, 4);
            rig_check_bodies(r);
        }
    }
    struct store_read read = read_now(r, 1, 5, 1000);
    assert_int_equal(read.err, ERR_NOT_FOUND);
    store_read_close(&read);
}

static void compaction_of_everything_and_truncation_to_the_base_recover(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_write(r, 1, 1, 40, 1, 500);
    rig_run(r);
    store_write(r->store, &(struct store_write){
                              .write_seq = 2, .hard_state = true, .term = 2, .truncate_from = 5});
    rig_run(r);
    store_compact(r->store, (struct store_pos){.index = 4, .term = 1});
    rig_run(r);
    reopen(r);
    assert_int_equal(r->recovered.base.index, 4);
    assert_int_equal(r->recovered.last.index, 4);
    assert_int_equal(r->recovered.last.term, 1);
    for (uint64_t i = 0; i < 40; i++) {
        rig_write(r, i + 1, 5 + i, 1, 2, 600);
    }
    rig_run(r);
    reopen(r);
    assert_int_equal(r->recovered.last.index, 44);
    rig_check_bodies(r);
}

/* ---- identity ------------------------------------------------------------------------------- */

static void a_directory_of_another_cluster_or_node_is_refused(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    rig_drop(r);
    r->options.cluster_id = 0xc2;
    r->options.cluster_name = "test";
    assert_int_equal(rig_open(r), ERR_WRONG_CLUSTER);
    assert_non_null(strstr(r->why.text, "\"prod\""));
    assert_non_null(strstr(r->why.text, "\"test\""));
    r->options.cluster_id = 0xc1;
    r->options.node_id = 2;
    r->options.node_name = "n2";
    assert_int_equal(rig_open(r), ERR_WRONG_NODE);
    assert_non_null(strstr(r->why.text, "\"n1\""));
    assert_non_null(strstr(r->why.text, "\"n2\""));
    r->options.node_id = 1;
    r->options.node_name = "a new name for people";
    rig_must_open(r);
}

static void a_directory_in_use_is_refused(void **state)
{
    struct rig *r = *state;
    rig_must_open(r);
    struct store *second = NULL;
    struct store_recovered recovered;
    struct why why;
    assert_int_equal(store_open(&r->options, &second, &recovered, &why), ERR_LOCKED);
    assert_non_null(strstr(why.text, r->fs->v->path(r->fs->ctx)));
    assert_null(second);
    rig_drop(r);
    rig_must_open(r);
}

static void a_peer_with_another_storage_is_refused_until_forgotten(void **state)
{
    struct rig *r = *state;
    uint8_t a[STORE_UUID_BYTES] = {0xa, 1}, b[STORE_UUID_BYTES] = {0xb, 2};
    rig_must_open(r);
    assert_int_equal(store_known_peer(r->store, 2, a), ERR_OK);
    assert_int_equal(store_known_peer(r->store, 3, b), ERR_OK);
    assert_int_equal(store_known_peer(r->store, 2, a), ERR_OK);
    assert_int_equal(store_known_peer(r->store, 2, b), ERR_WRONG_NODE);
    reopen(r);
    assert_int_equal(store_known_peer(r->store, 2, b), ERR_WRONG_NODE);
    assert_int_equal(store_known_peer(r->store, 3, b), ERR_OK);
    store_forget_peer(r->store, 2);
    reopen(r);
    assert_int_equal(store_known_peer(r->store, 2, b), ERR_OK);
    assert_int_equal(store_known_peer(r->store, 3, a), ERR_WRONG_NODE);
}

#define BOTH(test)                                 \
    {"sim: " #test, test, on_sim, end, NULL},      \
    {                                              \
        "posix: " #test, test, on_posix, end, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_new_directory_is_fresh_once),
        BOTH(what_was_written_is_there_after_a_restart),
        BOTH(writes_wait_for_the_sync_under_way_and_go_out_together),
        BOTH(a_report_without_entries_has_no_position),
        BOTH(truncated_entries_stay_away),
        BOTH(the_log_goes_on_over_many_segments),
        BOTH(how_long_the_log_is_does_not_depend_on_how_it_came_about),
        BOTH(an_entry_larger_than_a_segment_gets_a_segment_of_its_own),
        BOTH(entries_are_read_again_in_pieces),
        BOTH(a_read_gives_the_log_as_it_stood_when_it_ran),
        BOTH(compacted_segments_are_recycled_and_stale_records_do_not_read_as_new),
        BOTH(compaction_of_everything_and_truncation_to_the_base_recover),
        BOTH(a_directory_of_another_cluster_or_node_is_refused),
        BOTH(a_directory_in_use_is_refused),
        BOTH(a_peer_with_another_storage_is_refused_until_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
