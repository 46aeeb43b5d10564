/* The trail against a plain array, and its corners. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/rng.h"
#include "raft/trail.h"

enum { MODEL_MAX = 4000 };

/* Entries by index; base and last as in the trail. */
struct model {
    raft_term terms[MODEL_MAX];
    uint32_t sizes[MODEL_MAX];
    raft_index base;
    raft_index last;
};

static void append(struct trail *t, struct model *m, raft_term term, uint32_t size_bytes)
{
    trail_append(t, term, size_bytes);
    m->last++;
    m->terms[m->last] = term;
    m->sizes[m->last] = size_bytes;
}

static raft_index model_agree(const struct model *m, raft_index limit, raft_term term)
{
    raft_index i = limit < m->last ? limit : m->last;
    while (i > m->base && m->terms[i] > term) {
        i--;
    }
    return i > m->base ? i : m->base;
}

static void compare(const struct trail *t, const struct model *m, struct rng *rng)
{
    assert_int_equal(t->base.index, m->base);
    assert_int_equal(t->last, m->last);
    assert_int_equal(trail_last(t).term, m->terms[m->last]);
    raft_index index = rng_range(rng, 0, m->last + 3);
    bool known = index >= m->base && index <= m->last;
    assert_int_equal(trail_term(t, index), known ? m->terms[index] : 0);
    raft_term term = rng_range(rng, 0, m->terms[m->last] + 2);
    assert_int_equal(trail_agree(t, index, term), model_agree(m, index, term));
    assert_int_equal(trail_has(t, (struct raft_pos){.index = index, .term = term}),
                     known && m->terms[index] == term);
    if (m->last == m->base) {
        return;
    }
    raft_index lo = rng_range(rng, m->base + 1, m->last + 1);
    raft_index hi = rng_range(rng, lo + 1, m->last + 2);
    uint64_t limit = rng_range(rng, 0, 400);
    uint64_t sum = 0;
    raft_index fits = lo + 1;
    for (raft_index i = lo; i < hi; i++) {
        sum += m->sizes[i];
        fits = sum <= limit ? i + 1 : fits;
    }
    assert_int_equal(trail_bytes(t, lo, hi), sum);
    assert_int_equal(trail_fit(t, lo, hi, limit), fits);
}

static void it_is_an_array_cut_at_both_ends(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        static struct model m;
        struct trail t;
        rng_seed(&rng, seed);
        m = (struct model){.base = 5, .last = 5};
        m.terms[5] = 2;
        trail_init(&t, (struct raft_pos){.index = 5, .term = 2});
        for (int i = 0; i < 3000; i++) {
            if (rng_chance(&rng, 0.9)) {
                raft_term term = m.terms[m.last] + rng_chance(&rng, 0.05);
                append(&t, &m, term, (uint32_t)rng_range(&rng, 0, 100));
            } else if (rng_chance(&rng, 0.5)) {
                raft_index from = rng_range(&rng, m.base + 1, m.last + 2);
                trail_truncate(&t, from);
                m.last = from - 1;
            } else if (rng_chance(&rng, 0.2)) {
                m.base = rng_range(&rng, m.base, m.last + 1);
                trail_compact(&t, (struct raft_pos){.index = m.base, .term = m.terms[m.base]});
            }
            compare(&t, &m, &rng);
        }
        trail_close(&t);
    }
}

static void a_snapshot_replaces_it(void **state)
{
    (void)state;
    struct trail t;
    trail_init(&t, (struct raft_pos){0});
    trail_append(&t, 1, 10);
    trail_append(&t, 2, 10);
    trail_reset(&t, (struct raft_pos){.index = 100, .term = 7});
    assert_int_equal(t.last, 100);
    assert_int_equal(trail_term(&t, 100), 7);
    assert_int_equal(trail_term(&t, 2), 0);
    trail_append(&t, 7, 30);
    trail_append(&t, 8, 40);
    assert_int_equal(trail_bytes(&t, 101, 103), 70);
    assert_int_equal(trail_agree(&t, 102, 7), 101);
    assert_int_equal(trail_agree(&t, 102, 6), 100);
    trail_close(&t);
}

static void an_entry_larger_than_the_limit_fits_alone(void **state)
{
    (void)state;
    struct trail t;
    trail_init(&t, (struct raft_pos){0});
    trail_append(&t, 1, 1000);
    trail_append(&t, 1, 1);
    assert_int_equal(trail_fit(&t, 1, 3, 10), 2);
    assert_int_equal(trail_fit(&t, 1, 3, 0), 2);
    assert_int_equal(trail_fit(&t, 1, 3, 1001), 3);
    trail_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_an_array_cut_at_both_ends),
        cmocka_unit_test(a_snapshot_replaces_it),
        cmocka_unit_test(an_entry_larger_than_the_limit_fits_alone),
    };
    return cmocka_run_group_tests_name("raft/trail", tests, NULL, NULL);
}
