/* One promise of state.h at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "state/state.h"

static struct bytes text(const char *t)
{
    return bytes_of_string(t);
}

static void set(struct state *s, const char *key, const char *value)
{
    assert_int_equal(state_set(s, text(key), text(value)), ERR_OK);
}

static void assert_value(const struct state *s, struct bytes key, struct bytes expected)
{
    struct bytes value;
    assert_true(state_get(s, key, &value));
    assert_true(bytes_equal(value, expected));
}

static void an_empty_state_has_nothing(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    struct bytes value;
    struct state_cursor c;
    assert_false(state_get(s, text(""), &value));
    assert_false(state_delete(s, text("a")));
    assert_false(state_seek(&c, s, text("")));
    assert_int_equal(state_count(s), 0);
    assert_true(state_hash_equal(state_hash(s), (struct state_hash){0}));
    state_check(s);
    state_free(s);
    state_free(NULL);
}

static void keys_and_values_may_be_empty_and_binary(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    const struct bytes none = {.data = NULL, .size = 0};
    const struct bytes zero = bytes_of("\0", 1);
    const struct bytes zeros = bytes_of("\0\0\0\0\0\0\0\0\0", 9);
    const struct bytes high = bytes_of("\xff", 1);
    const struct bytes ordered[] = {none, zero, zeros, high};

    assert_int_equal(state_set(s, high, zeros), ERR_OK);
    assert_int_equal(state_set(s, none, high), ERR_OK);
    assert_int_equal(state_set(s, zeros, none), ERR_OK);
    assert_int_equal(state_set(s, zero, zero), ERR_OK);
    assert_value(s, none, high);
    assert_value(s, zero, zero);
    assert_value(s, zeros, none);
    assert_value(s, high, zeros);
    assert_int_equal(state_bytes(s), 0 + 1 + 9 + 1 + 1 + 1 + 0 + 9);
    state_check(s);

    struct state_cursor c;
    size_t i = 0;
    for (bool on = state_seek(&c, s, none); on; on = state_next(&c)) {
        assert_true(bytes_equal(c.key, ordered[i++]));
    }
    assert_int_equal(i, 4);
    assert_true(state_delete(s, none));
    assert_int_equal(state_count(s), 3);
    state_free(s);
}

static void what_is_too_large_is_refused_and_changes_nothing(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    uint8_t *big = alloc_zeroed(1, STATE_VALUE_BYTES_MAX + 1);
    set(s, "k", "v");
    struct state_hash before = state_hash(s);
    assert_int_equal(state_set(s, bytes_of(big, STATE_KEY_BYTES_MAX + 1), text("v")),
                     ERR_TOO_LARGE);
    assert_int_equal(state_set(s, text("k"), bytes_of(big, STATE_VALUE_BYTES_MAX + 1)),
                     ERR_TOO_LARGE);
    assert_true(state_hash_equal(state_hash(s), before));

    struct bytes longest = bytes_of(big, STATE_KEY_BYTES_MAX);
    struct bytes largest = bytes_of(big, STATE_VALUE_BYTES_MAX);
    assert_int_equal(state_set(s, longest, largest), ERR_OK);
    assert_value(s, longest, largest);
    state_check(s);
    struct state_cursor c;
    assert_true(state_seek(&c, s, longest));
    set(s, "l", "");
    assert_true(state_next(&c));
    assert_true(bytes_equal(c.key, text("k")));
    state_free(s);
    free(big);
}

static void arguments_may_be_borrowed_from_the_state(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "a", "one");
    struct state_cursor c;
    assert_true(state_seek(&c, s, text("a")));
    assert_int_equal(state_set(s, c.key, bytes_of(c.value.data, 2)), ERR_OK);
    assert_value(s, text("a"), text("on"));
    assert_true(state_seek(&c, s, text("a")));
    assert_true(state_delete(s, c.key));
    assert_int_equal(state_count(s), 0);
    state_free(s);
}

/* 8 random bytes a key would never share a prefix, and counters would always: these do both. */
static struct bytes numbered(char *buffer, unsigned i)
{
    int size = snprintf(buffer, 32, "item/%05u/%02x", i, (i * 2654435761u) >> 24);
    return bytes_of(buffer, (size_t)size);
}

static void equal_contents_have_equal_hashes_whatever_the_history(void **ctx)
{
    (void)ctx;
    enum { COUNT = 5000 };
    char k[32];
    struct state *up = state_new();
    struct state *down = state_new();
    for (unsigned i = 0; i < COUNT; i++) {
        state_set(up, numbered(k, i), text("final"));
        state_set(down, numbered(k, COUNT - 1 - i), text("draft"));
        state_set(down, numbered(k, COUNT + i), text("more"));
    }
    assert_false(state_hash_equal(state_hash(up), state_hash(down)));
    for (unsigned i = 0; i < COUNT; i++) {
        state_delete(down, numbered(k, COUNT + (i * 7) % COUNT));
        state_set(down, numbered(k, (i * 3) % COUNT), text("final"));
    }
    assert_true(state_hash_equal(state_hash(up), state_hash(down)));
    assert_int_equal(state_bytes(up), state_bytes(down));
    state_check(up);
    state_check(down);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(state_delete(up, numbered(k, i)));
    }
    assert_true(state_hash_equal(state_hash(up), (struct state_hash){0}));
    state_free(up);
    state_free(down);
}

static void the_hash_knows_where_the_key_ends(void **ctx)
{
    (void)ctx;
    struct state *a = state_new();
    struct state *b = state_new();
    set(a, "ab", "c");
    set(b, "a", "bc");
    assert_false(state_hash_equal(state_hash(a), state_hash(b)));
    state_free(a);
    state_free(b);
}

/* The hash is compared between nodes and kept in files: it must not change by accident. */
static void the_hash_is_the_same_in_every_build(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "leader", "n1");
    set(s, "term", "42");
    struct state_hash h = state_hash(s);
    assert_int_equal(h.hi, 0x0fedf5b72b58d426u);
    assert_int_equal(h.lo, 0x3d0843449c89450au);
    state_free(s);
}

static void a_loop_may_delete_what_it_passes(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 3000; i++) {
        state_set(s, numbered(k, i), text("v"));
    }
    unsigned i = 0;
    struct state_cursor c;
    for (bool on = state_seek(&c, s, text("")); on; on = state_next(&c)) {
        assert_true(bytes_equal(c.key, numbered(k, i)));
        if (i % 3 != 0) {
            assert_true(state_delete(s, c.key));
        }
        i++;
    }
    assert_int_equal(i, 3000);
    assert_int_equal(state_count(s), 1000);
    state_check(s);
    state_free(s);
}

static void a_cursor_goes_on_after_its_key_when_everything_around_it_changed(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "b", "");
    set(s, "d", "");
    struct state_cursor c;
    assert_true(state_seek(&c, s, text("b")));
    state_restore_begin(s);
    assert_int_equal(state_restore_add(s, text("a"), text("")), ERR_OK);
    assert_int_equal(state_restore_add(s, text("c"), text("")), ERR_OK);
    assert_int_equal(state_restore_end(s, NULL), ERR_OK);
    assert_true(state_next(&c));
    assert_true(bytes_equal(c.key, text("c")));
    state_delete(s, text("c"));
    state_delete(s, text("a"));
    assert_false(state_next(&c));
    state_free(s);
}

static void a_cursor_goes_on_after_a_rollback(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "a", "");
    set(s, "b", "");
    set(s, "c", "");
    state_begin(s);
    set(s, "0", "");
    struct state_cursor c;
    assert_true(state_seek(&c, s, text("a")));
    state_rollback(s);
    assert_true(state_next(&c));
    assert_true(bytes_equal(c.key, text("b")));
    state_free(s);
}

static void ranges_are_deleted_in_steps(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 1000; i++) {
        state_set(s, numbered(k, i), text("v"));
    }
    set(s, "item", "stays");
    set(s, "itez", "goes last");
    struct state_range all = {.lo = text("item/00100"), .hi = text("item/00900")};
    assert_int_equal(state_delete_range(s, all, 500), 500);
    assert_int_equal(state_delete_range(s, all, 500), 300);
    assert_int_equal(state_delete_range(s, all, 500), 0);
    assert_int_equal(state_count(s), 202);
    assert_int_equal(state_delete_prefix(s, text("item/"), 1000), 200);
    assert_int_equal(state_delete_prefix(s, text("item/"), 1000), 0);
    struct state_range open = {.lo = text("itf")};
    assert_int_equal(state_delete_range(s, open, 10), 0);
    open.lo = text("item0");
    assert_int_equal(state_delete_range(s, open, 10), 1);
    assert_value(s, text("item"), text("stays"));
    assert_int_equal(state_delete_prefix(s, text(""), 10), 1);
    state_check(s);
    state_free(s);
}

static void a_rolled_back_transaction_leaves_no_trace(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 500; i++) {
        state_set(s, numbered(k, i), text("v"));
    }
    struct state_hash before = state_hash(s);
    state_begin(s);
    assert_true(state_in_transaction(s));
    for (unsigned i = 250; i < 2000; i++) {
        state_set(s, numbered(k, i), text("first"));
        state_set(s, numbered(k, i), text("second"));
        state_delete(s, numbered(k, i - 200));
    }
    state_rollback(s);
    assert_false(state_in_transaction(s));
    assert_true(state_hash_equal(state_hash(s), before));
    assert_int_equal(state_count(s), 500);
    assert_value(s, numbered(k, 499), text("v"));
    state_check(s);
    state_free(s);
}

static void a_state_can_be_freed_in_the_middle_of_anything(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "a", "1");
    state_begin(s);
    set(s, "a", "2");
    set(s, "b", "2");
    state_free(s);

    s = state_new();
    set(s, "a", "1");
    state_restore_begin(s);
    state_restore_add(s, text("c"), text("3"));
    state_free(s);
}

static void a_restore_replaces_everything(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *from = state_new();
    struct state *s = state_new();
    set(s, "old", "1");
    for (unsigned i = 0; i < 10000; i++) {
        state_set(from, numbered(k, (i * 7) % 10000), text("v"));
    }
    struct state_cursor c;
    state_restore_begin(s);
    for (bool on = state_seek(&c, from, text("")); on; on = state_next(&c)) {
        assert_int_equal(state_restore_add(s, c.key, c.value), ERR_OK);
    }
    assert_value(s, text("old"), text("1"));
    struct state_hash expected = state_hash(from);
    assert_int_equal(state_restore_end(s, &expected), ERR_OK);
    assert_int_equal(state_count(s), 10000);
    assert_true(state_hash_equal(state_hash(s), expected));
    state_check(s);
    state_free(from);
    state_free(s);
}

static void a_restore_refuses_what_is_out_of_order_or_not_what_was_promised(void **ctx)
{
    (void)ctx;
    struct state *s = state_new();
    set(s, "old", "1");
    struct state_hash before = state_hash(s);
    static const uint8_t big[STATE_KEY_BYTES_MAX + 1];

    state_restore_begin(s);
    assert_int_equal(state_restore_add(s, text("b"), text("")), ERR_OK);
    assert_int_equal(state_restore_add(s, text("b"), text("")), ERR_CORRUPT);
    assert_int_equal(state_restore_add(s, text("a"), text("")), ERR_CORRUPT);
    assert_int_equal(state_restore_add(s, bytes_of(big, sizeof big), text("")), ERR_TOO_LARGE);
    assert_int_equal(state_restore_add(s, text("c"), text("")), ERR_OK);
    assert_int_equal(state_restore_end(s, &before), ERR_CORRUPT);
    assert_true(state_hash_equal(state_hash(s), before));

    state_restore_begin(s);
    state_restore_cancel(s);
    assert_value(s, text("old"), text("1"));
    while (state_reclaim(s, 1)) {
    }
    state_check(s);
    state_free(s);
}

static void a_snapshot_stays_as_it_was(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 5000; i++) {
        state_set(s, numbered(k, i), text("then"));
    }
    struct state_hash then = state_hash(s);
    struct state_snapshot *snapshot = state_snapshot_take(s);
    for (unsigned i = 0; i < 5000; i++) {
        state_set(s, numbered(k, i * 2), text("now"));
        state_delete(s, numbered(k, i * 2 + 1));
    }
    struct bytes value;
    unsigned i = 0;
    struct state_cursor c;
    for (bool on = state_seek_snapshot(&c, snapshot, text("")); on; on = state_next(&c)) {
        assert_true(bytes_equal(c.key, numbered(k, i++)));
        assert_true(bytes_equal(c.value, text("then")));
    }
    assert_int_equal(i, 5000);
    assert_int_equal(state_snapshot_count(snapshot), 5000);
    assert_true(state_hash_equal(state_snapshot_hash(snapshot), then));
    assert_true(state_snapshot_get(snapshot, numbered(k, 1), &value));
    assert_false(state_snapshot_get(snapshot, numbered(k, 5000), &value));
    assert_false(state_get(s, numbered(k, 1), &value));
    state_check(s);
    state_snapshot_release(s, snapshot);
    state_check(s);
    state_free(s);
}

static void what_only_a_snapshot_held_is_freed_in_small_steps(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 2000; i++) {
        state_set(s, numbered(k, i), text("then"));
    }
    uint64_t alone = state_memory_bytes(s);
    struct state_snapshot *snapshot = state_snapshot_take(s);
    for (unsigned i = 0; i < 2000; i++) {
        state_set(s, numbered(k, i), text("late"));
    }
    uint64_t both = state_memory_bytes(s);
    state_snapshot_release(s, snapshot);
    assert_int_equal(state_memory_bytes(s), both);

    unsigned steps = 0;
    uint64_t left = both;
    while (state_reclaim(s, 10)) {
        assert_true(state_memory_bytes(s) <= left);
        left = state_memory_bytes(s);
        steps++;
    }
    assert_true(steps >= 200);
    assert_int_equal(state_memory_bytes(s), alone);
    state_check(s);
    state_free(s);
}

/* Without state_reclaim ever being called. */
static void writes_alone_keep_the_memory_bounded(void **ctx)
{
    (void)ctx;
    char k[32];
    struct state *s = state_new();
    for (unsigned i = 0; i < 1000; i++) {
        state_set(s, numbered(k, i), text("v0000000"));
    }
    uint64_t alone = state_memory_bytes(s);
    for (unsigned round = 0; round < 200; round++) {
        struct state_snapshot *snapshot = state_snapshot_take(s);
        for (unsigned i = 0; i < 100; i++) {
            char v[16];
            snprintf(v, sizeof v, "v%07u", round);
            set(s, (const char *)numbered(k, (i * 37) % 1000).data, v);
        }
        state_snapshot_release(s, snapshot);
    }
    assert_true(state_memory_bytes(s) < 2 * alone);
    state_check(s);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_state_has_nothing),
        cmocka_unit_test(keys_and_values_may_be_empty_and_binary),
        cmocka_unit_test(what_is_too_large_is_refused_and_changes_nothing),
        cmocka_unit_test(arguments_may_be_borrowed_from_the_state),
        cmocka_unit_test(equal_contents_have_equal_hashes_whatever_the_history),
        cmocka_unit_test(the_hash_knows_where_the_key_ends),
        cmocka_unit_test(the_hash_is_the_same_in_every_build),
        cmocka_unit_test(a_loop_may_delete_what_it_passes),
        cmocka_unit_test(a_cursor_goes_on_after_its_key_when_everything_around_it_changed),
        cmocka_unit_test(a_cursor_goes_on_after_a_rollback),
        cmocka_unit_test(ranges_are_deleted_in_steps),
        cmocka_unit_test(a_rolled_back_transaction_leaves_no_trace),
        cmocka_unit_test(a_state_can_be_freed_in_the_middle_of_anything),
        cmocka_unit_test(a_restore_replaces_everything),
        cmocka_unit_test(a_restore_refuses_what_is_out_of_order_or_not_what_was_promised),
        cmocka_unit_test(a_snapshot_stays_as_it_was),
        cmocka_unit_test(what_only_a_snapshot_held_is_freed_in_small_steps),
        cmocka_unit_test(writes_alone_keep_the_memory_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
