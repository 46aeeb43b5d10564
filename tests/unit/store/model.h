/* What a store must hold, as a model: the state, and what was written since and may or may not be
 * found after a crash, record by record in order. */
#ifndef MK_TESTS_STORE_MODEL_H
#define MK_TESTS_STORE_MODEL_H

#include "rig.h"

struct atom {
    enum { ATOM_HARD_STATE, ATOM_TRUNCATE, ATOM_ENTRY, ATOM_BASE, ATOM_RESTART } kind;
    uint64_t seq;         /* of its write; for a base or restart, of the write before */
    uint64_t index, term; /* hard state: vote, term */
};

struct model_state {
    uint64_t term, vote;
    struct store_pos base;
    uint64_t *terms; /* of entry i + 1; also of those compacted */
    size_t count, capacity;
};

struct model {
    struct model_state durable; /* reported */
    struct model_state now;     /* with all atoms applied */
    struct atom *atoms;         /* not reported */
    size_t atoms_count;
    uint64_t seq;
    uint64_t commit; /* never truncated */
};

static inline void state_push(struct model_state *s, uint64_t term)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity == 0 ? 64 : 2 * s->capacity;
        s->terms = alloc_resize(s->terms, s->capacity, sizeof *s->terms);
    }
    s->terms[s->count++] = term;
}

static inline void state_apply(struct model_state *s, struct atom a)
{
    switch (a.kind) {
    case ATOM_HARD_STATE:
        s->term = a.term;
        s->vote = a.index;
        break;
    case ATOM_TRUNCATE:
        assert_true(a.index <= s->count + 1 && a.index > s->base.index);
        s->count = (size_t)a.index - 1;
        break;
    case ATOM_ENTRY:
        assert_int_equal(a.index, s->count + 1);
        state_push(s, a.term);
        break;
    case ATOM_BASE:
        if (a.index > s->base.index) {
            s->base = (struct store_pos){.index = a.index, .term = a.term};
        }
        break;
    case ATOM_RESTART:
        s->base = (struct store_pos){.index = a.index, .term = a.term};
        s->count = s->count < a.index ? s->count : (size_t)a.index - 1;
        while (s->count < a.index) {
            state_push(s, a.term);
        }
        break;
    }
}

static inline void state_copy(struct model_state *to, const struct model_state *from)
{
    uint64_t *terms = alloc_resize(to->terms, from->count + 1, sizeof *terms);
    if (from->count > 0) {
        memcpy(terms, from->terms, from->count * sizeof *terms);
    }
    *to = *from;
    to->terms = terms;
    to->capacity = from->count + 1;
}

static inline bool state_matches(const struct model_state *s, const struct rig *r)
{
    if (s->term != r->recovered.term || s->vote != r->recovered.vote ||
        s->base.index != r->recovered.base.index || s->base.term != r->recovered.base.term ||
        s->count != r->recovered.last.index) {
        return false;
    }
    for (size_t i = 0; i < r->entries_count; i++) {
        if (r->entries[i].term != s->terms[s->base.index + i]) {
            return false;
        }
    }
    return r->recovered.last.term == (s->count > 0 ? s->terms[s->count - 1] : 0);
}

static inline void model_close(struct model *m)
{
    free(m->durable.terms);
    free(m->now.terms);
    free(m->atoms);
}

static inline void model_add(struct model *m, struct atom a)
{
    a.seq = m->seq;
    m->atoms = alloc_resize(m->atoms, m->atoms_count + 1, sizeof *m->atoms);
    m->atoms[m->atoms_count++] = a;
    state_apply(&m->now, a);
}

/* The store reported seq. */
static inline void model_durable(struct model *m, uint64_t seq)
{
    size_t count = 0;
    while (count < m->atoms_count && m->atoms[count].seq <= seq &&
           !(m->atoms[count].kind >= ATOM_BASE && m->atoms[count].seq == seq)) {
        state_apply(&m->durable, m->atoms[count++]);
    }
    m->atoms_count -= count;
    if (m->atoms_count > 0) {
        memmove(m->atoms, m->atoms + count, m->atoms_count * sizeof *m->atoms);
    }
}

/* The store was opened again: it must hold what was durable and a prefix of the rest. */
static inline void model_check(struct model *m, const struct rig *r)
{
    size_t taken = 0;
    while (!state_matches(&m->durable, r)) {
        if (taken == m->atoms_count) {
            fail_msg(
                "recovered last %llu/%llu base %llu term %llu vote %llu: not among what may be "
                "there (%zu records in doubt)",
                (unsigned long long)r->recovered.last.index,
                (unsigned long long)r->recovered.last.term,
                (unsigned long long)r->recovered.base.index, (unsigned long long)r->recovered.term,
                (unsigned long long)r->recovered.vote, m->atoms_count);
        }
        state_apply(&m->durable, m->atoms[taken++]);
    }
    rig_check_bodies(r);
    m->atoms_count = 0;
    m->seq = 0;
    state_copy(&m->now, &m->durable);
}

/* ---- a random load -------------------------------------------------------------------------- */

/* The last index that is durable and that nothing under way truncates. */
static inline uint64_t model_safe(const struct model *m)
{
    uint64_t safe = m->durable.count;
    for (size_t i = 0; i < m->atoms_count; i++) {
        if (m->atoms[i].kind == ATOM_TRUNCATE && m->atoms[i].index <= safe) {
            safe = m->atoms[i].index - 1;
        }
        if (m->atoms[i].kind == ATOM_RESTART && m->atoms[i].index < safe) {
            safe = m->atoms[i].index;
        }
    }
    return safe;
}

static inline void model_write(struct model *m, struct rig *r, struct rng *rng, bool hard_state,
                               bool truncate, uint32_t count)
{
    struct store_entry entries[16];
    struct store_write w = {.write_seq = ++m->seq, .entries = entries, .count = count};
    if (hard_state || truncate || m->now.term == 0) {
        w.hard_state = true;
        w.term = m->now.term + 1;
        w.vote = rng_range(rng, 0, 4);
        model_add(m, (struct atom){.kind = ATOM_HARD_STATE, .index = w.vote, .term = w.term});
    }
    if (truncate && m->now.count > m->commit) {
        w.truncate_from = rng_range(rng, m->commit + 1, m->now.count + 1);
        model_add(m, (struct atom){.kind = ATOM_TRUNCATE, .index = w.truncate_from});
    }
    w.lo = m->now.count + 1;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t index = m->now.count + 1;
        size_t size = rng_chance(rng, 0.02) ? 20000 : (size_t)rng_range(rng, 16, 1500);
        entries[i] =
            (struct store_entry){.term = m->now.term, .body = rig_body(index, m->now.term, size)};
        model_add(m, (struct atom){.kind = ATOM_ENTRY, .index = index, .term = m->now.term});
    }
    store_write(r->store, &w);
    for (uint32_t i = 0; i < count; i++) {
        slice_close(&entries[i].body);
    }
}

static inline void model_compact(struct model *m, struct rig *r, struct rng *rng)
{
    uint64_t index = rng_range(rng, m->now.base.index, m->commit + 1);
    if (index == 0) {
        return;
    }
    struct atom a = {.kind = ATOM_BASE, .index = index, .term = m->now.terms[index - 1]};
    model_add(m, a);
    store_compact(r->store, (struct store_pos){.index = a.index, .term = a.term});
}

static inline void model_step(struct model *m, struct rig *r, struct rng *rng)
{
    uint64_t safe = model_safe(m);
    if (safe > m->commit) {
        m->commit = rng_range(rng, m->commit, safe + 1);
    }
    switch (rng_range(rng, 0, 10)) {
    case 0:
        model_write(m, r, rng, true, false, 0);
        break;
    case 1:
        model_write(m, r, rng, true, true, (uint32_t)rng_range(rng, 0, 4));
        break;
    case 2:
        model_compact(m, r, rng);
        break;
    case 3:
        model_write(m, r, rng, true, false, (uint32_t)rng_range(rng, 1, 16));
        break;
    default:
        model_write(m, r, rng, false, false, (uint32_t)rng_range(rng, 1, 8));
        break;
    }
}

#endif
