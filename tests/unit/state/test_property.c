/* Random histories against a model too plain to be wrong: a table of all keys that may occur, in
 * order, with the number of the value that each has (0: none). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "state/state.h"

enum { SNAPSHOTS_MAX = 4, VALUE_SIZES = 90 };

struct universe {
    struct bytes *keys; /* distinct, in order */
    size_t count;
};

struct model {
    uint32_t *values; /* one per key of the universe */
};

struct run {
    struct rng rng;
    struct universe universe;
    struct state *state;
    struct model model;
    struct model before; /* the open transaction */
    uint32_t last_value;
    double set_share; /* of writes; the others delete */
    size_t snapshot_count;
    struct {
        struct state_snapshot *snapshot;
        struct model model;
    } snapshots[SNAPSHOTS_MAX];
};

/* --- Keys and values --- */

/* Shapes that find out what a tree with shared prefixes and eight-byte heads may get wrong. */
enum shape { SHAPE_NUMBERED, SHAPE_ZEROS, SHAPE_RANDOM, SHAPE_DEEP, SHAPE_LONG, SHAPE_COUNT };

static size_t make_key(struct rng *r, enum shape shape, uint8_t *key)
{
    static const uint8_t few[] = {0, 0, 1, 255};
    size_t size = 0;
    switch (shape) {
    case SHAPE_NUMBERED:
        return (size_t)snprintf((char *)key, 64, "users/%07u", (unsigned)rng_range(r, 0, 50000));
    case SHAPE_ZEROS: /* trailing zeros, around the size of a head */
        size = rng_range(r, 0, 13);
        for (size_t i = 0; i < size; i++) {
            key[i] = few[rng_range(r, 0, sizeof few)];
        }
        return size;
    case SHAPE_RANDOM:
        size = rng_range(r, 0, 24);
        for (size_t i = 0; i < size; i++) {
            key[i] = (uint8_t)rng_next(r);
        }
        return size;
    case SHAPE_DEEP: /* the difference is far behind, at more than one place */
        memset(key, 'p', 40);
        key[rng_range(r, 0, 40)] = 'q';
        return 40 + (size_t)snprintf((char *)key + 40, 64, "%u", (unsigned)rng_range(r, 0, 900));
    default:
        size = rng_chance(r, 0.5) ? STATE_KEY_BYTES_MAX : rng_range(r, 3000, STATE_KEY_BYTES_MAX);
        memset(key, 'x', size);
        key[size - 1] = (uint8_t)rng_next(r);
        key[rng_range(r, 0, size)] = (uint8_t)rng_next(r);
        return size;
    }
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

static struct universe universe_new(struct rng *r, enum shape shape, size_t tries)
{
    uint8_t key[STATE_KEY_BYTES_MAX];
    struct universe u = {.keys = alloc_zeroed(tries, sizeof u.keys[0])};
    for (size_t i = 0; i < tries; i++) {
        size_t size = make_key(r, shape, key);
        u.keys[i] = bytes_of(memcpy(alloc_bytes(size + 1), key, size), size);
    }
    qsort(u.keys, tries, sizeof u.keys[0], compare_keys);
    for (size_t i = 0; i < tries; i++) {
        if (u.count > 0 && bytes_equal(u.keys[u.count - 1], u.keys[i])) {
            free((void *)u.keys[i].data);
        } else {
            u.keys[u.count++] = u.keys[i];
        }
    }
    return u;
}

static void universe_free(struct universe *u)
{
    for (size_t i = 0; i < u->count; i++) {
        free((void *)u->keys[i].data);
    }
    free(u->keys);
}

static struct bytes value_numbered(uint32_t number, uint8_t *buffer)
{
    size_t size = number % VALUE_SIZES;
    for (size_t i = 0; i < size; i++) {
        buffer[i] = (uint8_t)((number >> (8 * (i % 4))) + i);
    }
    return bytes_of(buffer, size);
}

static struct model model_copy(const struct run *run, const struct model *m)
{
    size_t size = run->universe.count * sizeof m->values[0];
    return (struct model){.values = memcpy(alloc_bytes(size), m->values, size)};
}

/* --- Comparing --- */

static void assert_entry(const struct run *run, const struct model *m, const struct state_cursor *c,
                         size_t i)
{
    uint8_t buffer[VALUE_SIZES];
    assert_true(bytes_equal(c->key, run->universe.keys[i]));
    assert_true(bytes_equal(c->value, value_numbered(m->values[i], buffer)));
}

/* The cursor, which is `on` an entry or not, goes over the model's keys from i; at most limit. */
static void assert_walk(const struct run *run, const struct model *m, struct state_cursor *c,
                        bool on, size_t i, size_t limit)
{
    for (; i < run->universe.count && limit > 0; i++) {
        if (m->values[i] != 0) {
            assert_true(on);
            assert_entry(run, m, c, i);
            on = state_next(c);
            limit--;
        }
    }
    assert_true(limit == 0 || !on);
}

static void assert_snapshots_hold(const struct run *run)
{
    struct state_cursor c;
    for (size_t i = 0; i < run->snapshot_count; i++) {
        bool on = state_seek_snapshot(&c, run->snapshots[i].snapshot, bytes_of(NULL, 0));
        assert_walk(run, &run->snapshots[i].model, &c, on, 0, SIZE_MAX);
    }
}

static void assert_all(const struct run *run)
{
    struct state_cursor c;
    bool on = state_seek(&c, run->state, bytes_of(NULL, 0));
    assert_walk(run, &run->model, &c, on, 0, SIZE_MAX);
    assert_snapshots_hold(run);
    state_check(run->state);
}

/* --- Steps --- */

static size_t any_key(struct run *run)
{
    return rng_range(&run->rng, 0, run->universe.count);
}

static void step_write(struct run *run)
{
    uint8_t buffer[VALUE_SIZES];
    size_t i = any_key(run);
    struct bytes key = run->universe.keys[i];
    if (rng_chance(&run->rng, run->set_share)) {
        uint32_t number = ++run->last_value;
        assert_int_equal(state_set(run->state, key, value_numbered(number, buffer)), ERR_OK);
        run->model.values[i] = number;
    } else {
        assert_int_equal(state_delete(run->state, key), run->model.values[i] != 0);
        run->model.values[i] = 0;
    }
}

static void step_get(struct run *run)
{
    uint8_t buffer[VALUE_SIZES];
    struct bytes value;
    size_t i = any_key(run);
    uint32_t number = run->model.values[i];
    assert_int_equal(state_get(run->state, run->universe.keys[i], &value), number != 0);
    if (number != 0) {
        assert_true(bytes_equal(value, value_numbered(number, buffer)));
    }
}

static void step_iterate(struct run *run)
{
    struct state_cursor c;
    size_t from = any_key(run);
    bool on = state_seek(&c, run->state, run->universe.keys[from]);
    assert_walk(run, &run->model, &c, on, from, 100);
}

/* Write between the steps of a cursor. */
static void step_iterate_and_write(struct run *run)
{
    struct state_cursor c;
    size_t i = any_key(run);
    bool on = state_seek(&c, run->state, run->universe.keys[i]);
    for (unsigned limit = 20; limit > 0; limit--) {
        while (i < run->universe.count && run->model.values[i] == 0) {
            i++;
        }
        assert_int_equal(on, i < run->universe.count);
        if (!on) {
            return;
        }
        assert_entry(run, &run->model, &c, i++);
        step_write(run);
        on = state_next(&c);
    }
}

static void step_delete_range(struct run *run)
{
    size_t lo = any_key(run);
    size_t hi = lo + rng_range(&run->rng, 0, 40);
    hi = hi < run->universe.count ? hi : run->universe.count - 1;
    size_t limit = rng_range(&run->rng, 0, 30);
    size_t expected = 0;
    for (size_t i = lo; i < hi && expected < limit; i++) {
        expected += run->model.values[i] != 0;
        run->model.values[i] = 0;
    }
    /* The lowest key may be empty, and an empty bound is none. */
    if (hi > 0) {
        struct state_range range = {.lo = run->universe.keys[lo], .hi = run->universe.keys[hi]};
        assert_int_equal(state_delete_range(run->state, range, limit), expected);
    }
}

static void step_transaction(struct run *run)
{
    if (!state_in_transaction(run->state)) {
        run->before = model_copy(run, &run->model);
        state_begin(run->state);
        return;
    }
    if (rng_chance(&run->rng, 0.5)) {
        state_commit(run->state);
        free(run->before.values);
    } else {
        state_rollback(run->state);
        free(run->model.values);
        run->model = run->before;
    }
}

static void step_take(struct run *run)
{
    if (!state_in_transaction(run->state) && run->snapshot_count < SNAPSHOTS_MAX) {
        size_t i = run->snapshot_count++;
        run->snapshots[i].snapshot = state_snapshot_take(run->state);
        run->snapshots[i].model = model_copy(run, &run->model);
        assert_true(state_hash_equal(state_snapshot_hash(run->snapshots[i].snapshot),
                                     state_hash(run->state)));
    }
}

static void step_release(struct run *run)
{
    if (run->snapshot_count > 0) {
        size_t i = rng_range(&run->rng, 0, run->snapshot_count);
        state_snapshot_release(run->state, run->snapshots[i].snapshot);
        free(run->snapshots[i].model.values);
        run->snapshots[i] = run->snapshots[--run->snapshot_count];
    }
}

/* Replace everything by a snapshot, as a follower does. */
static void step_restore(struct run *run)
{
    if (state_in_transaction(run->state) || run->snapshot_count == 0) {
        return;
    }
    size_t i = rng_range(&run->rng, 0, run->snapshot_count);
    struct state_hash expected = state_snapshot_hash(run->snapshots[i].snapshot);
    struct state_cursor c;
    state_restore_begin(run->state);
    bool on = state_seek_snapshot(&c, run->snapshots[i].snapshot, bytes_of(NULL, 0));
    for (; on; on = state_next(&c)) {
        assert_int_equal(state_restore_add(run->state, c.key, c.value), ERR_OK);
        if (rng_chance(&run->rng, 0.001)) {
            state_restore_cancel(run->state);
            return;
        }
    }
    assert_int_equal(state_restore_end(run->state, &expected), ERR_OK);
    free(run->model.values);
    run->model = model_copy(run, &run->snapshots[i].model);
}

static void step(struct run *run)
{
    unsigned dice = (unsigned)rng_range(&run->rng, 0, 1000);
    if (dice < 700) {
        step_write(run);
    } else if (dice < 850) {
        step_get(run);
    } else if (dice < 870) {
        step_iterate(run);
    } else if (dice < 880) {
        step_iterate_and_write(run);
    } else if (dice < 885) {
        step_delete_range(run);
    } else if (dice < 935) {
        step_transaction(run);
    } else if (dice < 950) {
        step_take(run);
    } else if (dice < 965) {
        step_release(run);
    } else if (dice < 966) {
        step_restore(run);
    } else if (dice < 990) {
        state_reclaim(run->state, rng_range(&run->rng, 0, 50));
    } else if (dice < 991) {
        assert_snapshots_hold(run);
    }
}

static void run_one(uint64_t seed, enum shape shape, size_t keys, unsigned steps)
{
    struct run run = {.set_share = 0.97};
    unsigned phase_steps = steps / 3;
    rng_seed(&run.rng, seed);
    run.universe = universe_new(&run.rng, shape, keys);
    run.state = state_new();
    run.model.values = alloc_zeroed(run.universe.count, sizeof run.model.values[0]);
    for (unsigned i = 1; i <= steps; i++) {
        step(&run);
        if (i % phase_steps == 0) {
            run.set_share = 1 - run.set_share; /* the tree shrinks, or grows again */
        }
        if (i % 1000 == 0) {
            assert_all(&run);
        }
    }
    if (state_in_transaction(run.state)) {
        step_transaction(&run);
    }
    assert_all(&run);
    while (run.snapshot_count > 0) {
        step_release(&run);
    }
    while (state_reclaim(run.state, 7)) {
    }
    assert_all(&run);
    state_free(run.state);
    free(run.model.values);
    universe_free(&run.universe);
}

static void small_states_are_what_the_model_says(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        for (enum shape shape = 0; shape < SHAPE_COUNT; shape++) {
            run_one(seed, shape, 5 + 10 * seed, 1500);
        }
    }
}

/* Enough for a tree of three levels. */
static void large_states_are_what_the_model_says(void **ctx)
{
    (void)ctx;
    for (uint64_t seed = 100; seed < 105; seed++) {
        run_one(seed, SHAPE_NUMBERED, 12000, 60000);
        run_one(seed, SHAPE_RANDOM, 9000, 60000);
        run_one(seed, SHAPE_ZEROS, 9000, 30000);
        run_one(seed, SHAPE_DEEP, 9000, 30000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_states_are_what_the_model_says),
        cmocka_unit_test(large_states_are_what_the_model_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
