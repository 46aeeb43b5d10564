/* The checker against one that tries every order: on small histories both give the same answer and
 * the same shortest illegal prefix. The histories are legal ones with a few answers replaced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/generated_history.h"
#include "sim/linearizability.h"

enum { OPERATIONS = 8, HISTORIES = 10000, TEXT_MAX = 128 };

/* ---- every order ----------------------------------------------------------------------------- */

struct orders {
    const struct made_history *h;
    uint32_t events;
    uint32_t key;
    bool nil_is_empty;
    bool placed[OPERATIONS];
};

struct text {
    bool is_nil;
    char bytes[TEXT_MAX];
};

static bool happened(const struct orders *s, uint32_t i)
{
    return s->h->operations[i].returned < s->events;
}

static bool is_text(const struct orders *s, const struct text *state, const char *value)
{
    if (value == NULL) {
        return s->nil_is_empty ? state->bytes[0] == 0 : state->is_nil;
    }
    return !state->is_nil && strcmp(state->bytes, value) == 0;
}

/* False if it is illegal in this state. */
static bool take_effect(const struct orders *s, const struct made_operation *o, struct text *state)
{
    char before[TEXT_MAX];
    snprintf(before, sizeof before, "%s", o->function == HISTORY_APPEND ? state->bytes : "");
    if (o->function == HISTORY_READ) {
        return is_text(s, state, o->value);
    }
    if (o->function == HISTORY_CAS && !is_text(s, state, o->expected)) {
        return false;
    }
    state->is_nil = false;
    snprintf(state->bytes, sizeof state->bytes, "%.60s%.60s", before, o->value);
    return true;
}

static bool must_wait(const struct orders *s, uint32_t i)
{
    for (uint32_t j = 0; j < s->h->count; j++) {
        if (!s->placed[j] && happened(s, j) &&
            s->h->operations[j].returned < s->h->operations[i].invoked) {
            return true;
        }
    }
    return false;
}

static bool has_order(struct orders *s, struct text state)
{
    bool is_complete = true;
    for (uint32_t i = 0; i < s->h->count; i++) {
        is_complete &= s->placed[i] || !happened(s, i);
    }
    for (uint32_t i = 0; i < s->h->count && !is_complete; i++) {
        const struct made_operation *o = &s->h->operations[i];
        struct text next = state;
        bool is_unheard_read = o->function == HISTORY_READ && !happened(s, i);
        if (s->placed[i] || o->invoked >= s->events || is_unheard_read || must_wait(s, i) ||
            !take_effect(s, o, &next)) {
            continue;
        }
        s->placed[i] = true;
        is_complete = has_order(s, next);
        s->placed[i] = false;
    }
    return is_complete;
}

static bool is_legal(const struct made_history *h, uint32_t events, uint32_t keys, bool kv)
{
    for (uint32_t key = 0; key < keys; key++) {
        struct orders s = {.h = h, .events = events, .key = key, .nil_is_empty = kv};
        for (uint32_t i = 0; i < h->count; i++) {
            const struct made_operation *o = &h->operations[i];
            s.placed[i] =
                (kv && o->key != key) || (happened(&s, i) && o->outcome == HISTORY_FAILED);
        }
        if (!has_order(&s, (struct text){.is_nil = !kv})) {
            return false;
        }
    }
    return true;
}

/* ---- wrong answers --------------------------------------------------------------------------- */

/* Replace what a read returned by something that was written, or by nil. */
static void spoil(struct made_history *h, struct rng *rng)
{
    struct made_operation *o = &h->operations[rng_range(rng, 0, h->count)];
    const struct made_operation *other = &h->operations[rng_range(rng, 0, h->count)];
    if (o->returned == UINT32_MAX) {
        return;
    }
    if (o->function == HISTORY_READ) {
        char *value = other->value == NULL ? NULL : alloc_string(other->value);
        free(o->value);
        o->value = value;
        o->outcome = HISTORY_OK;
    } else {
        o->outcome = o->outcome == HISTORY_OK ? HISTORY_FAILED : HISTORY_OK;
    }
}

struct tally {
    uint32_t legal, illegal, failure_ends_it;
};

static void compare(const struct made_history *h, uint32_t keys, const struct lin_model *m,
                    struct tally *tally)
{
    bool kv = m == &lin_kv;
    uint32_t shortest = 1;
    while (shortest <= h->events && is_legal(h, shortest, keys, kv)) {
        shortest++;
    }
    struct history *whole = made_whole(h);
    struct lin_verdict v;
    assert_int_equal(linearizable_check(whole, m, NULL, &v), ERR_OK);
    if (shortest > h->events) {
        assert_int_equal(v.answer, LIN_LEGAL);
        tally->legal++;
    } else {
        assert_int_equal(v.answer, LIN_ILLEGAL);
        assert_true(v.is_shortest);
        assert_int_equal(v.events, shortest);
        assert_int_equal(h->operations[v.operation].returned, shortest - 1);
        assert_true(v.words.size > 0);
        tally->illegal++;
        tally->failure_ends_it += h->operations[v.operation].outcome == HISTORY_FAILED;
    }
    lin_verdict_close(&v);
    history_free(whole);
}

static void compare_many(struct made_options options, const struct lin_model *m)
{
    struct rng rng;
    struct tally tally = {0};
    rng_seed(&rng, 1);
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        options.seed = seed;
        struct made_history h = made_history(&options);
        for (uint64_t wrong = rng_range(&rng, 0, 4); wrong > 0; wrong--) {
            spoil(&h, &rng);
        }
        compare(&h, options.keys, m, &tally);
        made_free(&h);
    }
    /* It says something only if there was enough of each. */
    assert_true(tally.legal > HISTORIES / 10);
    assert_true(tally.illegal > HISTORIES / 10);
    assert_true(tally.failure_ends_it > HISTORIES / 1000);
}

static void a_register_of_few_values(void **state)
{
    (void)state;
    compare_many((struct made_options){.clients = 4,
                                       .operations = OPERATIONS,
                                       .keys = 1,
                                       .values = 3,
                                       .reads = 0.4,
                                       .compares = 0.25,
                                       .failed = 0.1,
                                       .unknown = 0.2,
                                       .late = 0.2},
                 &lin_register);
}

static void a_register_where_each_value_is_written_once(void **state)
{
    (void)state;
    compare_many((struct made_options){.clients = 5,
                                       .operations = OPERATIONS,
                                       .keys = 1,
                                       .reads = 0.5,
                                       .compares = 0.1,
                                       .failed = 0.1,
                                       .unknown = 0.2,
                                       .late = 0.2},
                 &lin_register);
}

static void keys_with_appends(void **state)
{
    (void)state;
    compare_many((struct made_options){.clients = 4,
                                       .operations = OPERATIONS,
                                       .keys = 1,
                                       .values = 2,
                                       .reads = 0.4,
                                       .appends = 0.4,
                                       .compares = 0.05,
                                       .failed = 0.1,
                                       .unknown = 0.2,
                                       .late = 0.2},
                 &lin_kv);
}

static void several_keys(void **state)
{
    (void)state;
    compare_many((struct made_options){.clients = 3,
                                       .operations = OPERATIONS,
                                       .keys = 2,
                                       .values = 2,
                                       .reads = 0.4,
                                       .appends = 0.2,
                                       .compares = 0.1,
                                       .failed = 0.1,
                                       .unknown = 0.1,
                                       .late = 0.2},
                 &lin_kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_register_of_few_values),
        cmocka_unit_test(a_register_where_each_value_is_written_once),
        cmocka_unit_test(keys_with_appends),
        cmocka_unit_test(several_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
