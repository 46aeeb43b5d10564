#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "state/pool.h"

enum { PIECES = 3000, HEAD = sizeof(struct object) };

static uint32_t any_size(struct rng *r)
{
    static const uint32_t top[] = {64, 300, 2048, POOL_PIECE_BYTES_MAX, 100000};
    return (uint32_t)rng_range(r, HEAD, top[rng_range(r, 0, 5)] + 1);
}

static void fill(struct object *o, uint8_t with)
{
    memset((uint8_t *)o + HEAD, with, o->size_bytes - HEAD);
}

static void assert_filled(const struct object *o, uint8_t with)
{
    const uint8_t *at = (const uint8_t *)o + HEAD;
    for (uint32_t i = 0; i < o->size_bytes - HEAD; i++) {
        assert_int_equal(at[i], with);
    }
}

static void pieces_of_all_sizes_keep_out_of_each_other(void **ctx)
{
    (void)ctx;
    static struct object *pieces[PIECES];
    struct rng rng;
    struct pool p;
    rng_seed(&rng, 3);
    pool_init(&p);
    for (unsigned step = 0; step < 40000; step++) {
        size_t i = rng_range(&rng, 0, PIECES);
        if (pieces[i] != NULL) {
            assert_filled(pieces[i], (uint8_t)i);
            pool_free(&p, pieces[i]);
            pieces[i] = NULL;
        } else if (step < 30000) {
            uint32_t size = any_size(&rng);
            pieces[i] = pool_alloc(&p, size);
            assert_int_equal(pieces[i]->size_bytes, size);
            assert_int_equal((uintptr_t)pieces[i] % 8, 0);
            fill(pieces[i], (uint8_t)i);
        }
        if (step % 7 == 0 && pool_has_empty(&p)) {
            pool_trim(&p);
        }
    }
    for (size_t i = 0; i < PIECES; i++) {
        if (pieces[i] != NULL) {
            assert_filled(pieces[i], (uint8_t)i);
            pool_free(&p, pieces[i]);
        }
    }
    pool_close(&p);
}

static void every_size_has_a_place(void **ctx)
{
    (void)ctx;
    struct pool p;
    pool_init(&p);
    for (uint32_t size = HEAD; size <= POOL_PIECE_BYTES_MAX + 8; size++) {
        struct object *a = pool_alloc(&p, size);
        struct object *b = pool_alloc(&p, size);
        fill(a, 1);
        fill(b, 2);
        assert_filled(a, 1);
        pool_free(&p, a);
        pool_free(&p, b);
    }
    pool_close(&p);
}

/* Not by the free that empties it: that one may be one of thousands in a slice. */
static void empty_slabs_go_back_one_at_a_time(void **ctx)
{
    (void)ctx;
    static struct object *pieces[PIECES];
    struct pool p;
    pool_init(&p);
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = pool_alloc(&p, 1000);
    }
    assert_false(pool_has_empty(&p));
    for (size_t i = 0; i < PIECES; i++) {
        pool_free(&p, pieces[i]);
    }
    size_t total = 0;
    unsigned slabs = 0;
    while (pool_has_empty(&p)) {
        size_t size = pool_trim(&p);
        assert_true(size <= 256 * 1024);
        total += size;
        slabs++;
    }
    assert_true(slabs > 5);
    assert_true(total > PIECES * 1000 * 9 / 10);
    pool_close(&p);
}

static void empty_slabs_are_used_again(void **ctx)
{
    (void)ctx;
    static struct object *pieces[PIECES];
    struct pool p;
    pool_init(&p);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            pieces[i] = pool_alloc(&p, round == 0 ? 1000 : 2000);
            fill(pieces[i], 3);
        }
        for (size_t i = 0; i < PIECES && round == 0; i++) {
            pool_free(&p, pieces[i]);
        }
    }
    /* What has not been used is the small slabs that a class begins with. */
    size_t left = 0;
    while (pool_has_empty(&p)) {
        left += pool_trim(&p);
    }
    assert_true(left < 256 * 1024);
    for (size_t i = 0; i < PIECES; i++) {
        assert_filled(pieces[i], 3);
        pool_free(&p, pieces[i]);
    }
    pool_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_all_sizes_keep_out_of_each_other),
        cmocka_unit_test(every_size_has_a_place),
        cmocka_unit_test(empty_slabs_go_back_one_at_a_time),
        cmocka_unit_test(empty_slabs_are_used_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
