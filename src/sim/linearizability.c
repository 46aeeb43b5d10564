#include "sim/linearizability.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/linearizability_internal.h"

static const struct lin_limits default_limits = {
    .steps_max = 200 * 1000 * 1000,
    .memory_max_bytes = (size_t)1 << 30,
};

struct check {
    const struct history *history;
    const struct history_operation *operations;
    const struct lin_model *model;
    struct lin_budget budget;
    struct lin_verdict *verdict;
    uint32_t *sorted; /* numbers of operations, by key, then by invocation */
    bool gave_up;
};

/* ---- the shortest illegal prefix of a part --------------------------------------------------- */

/* Answer for the prefix of this many events. */
static struct lin_outcome search_prefix(struct check *c, struct lin_part *part, uint32_t events)
{
    struct lin_outcome outcome;
    part->events = events;
    lin_search(part, &c->budget, &outcome);
    free(outcome.order);
    outcome.order = NULL;
    return outcome;
}

/* The operation of the part whose return is the last of the events [0, events), or UINT32_MAX. */
static uint32_t last_return(const struct check *c, const struct lin_part *part, uint32_t events)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < part->operations_count; i++) {
        const struct history_operation *o = &c->operations[part->operations[i]];
        if (o->returned < events &&
            (found == UINT32_MAX || o->returned > c->operations[found].returned)) {
            found = part->operations[i];
        }
    }
    return found;
}

/* Cut an illegal part down to its shortest illegal prefix; the operation whose return ends it.
 * Every longer prefix of an illegal one is illegal, too: narrow (legal, illegal) down. */
static uint32_t find_shortest(struct check *c, struct lin_part *part, uint32_t frontier,
                              bool *is_shortest)
{
    uint32_t legal = frontier, illegal = part->events;
    bool gave_up = false;
    /* Usually it is the frontier's return itself. */
    uint32_t guess = frontier + 1;
    while (legal + 1 < illegal && !gave_up) {
        struct lin_outcome o = search_prefix(c, part, guess);
        gave_up = o.answer == LIN_GAVE_UP;
        if (o.answer == LIN_ILLEGAL) {
            illegal = guess;
            legal = o.frontier > legal ? o.frontier : legal;
        } else {
            legal = guess;
        }
        guess = legal + (illegal - legal) / 2;
    }
    /* Only a return of the part makes a difference. */
    uint32_t operation = last_return(c, part, illegal);
    ASSERT(operation != UINT32_MAX);
    part->events = c->operations[operation].returned + 1;
    *is_shortest = !gave_up;
    return operation;
}

/* ---- parts ----------------------------------------------------------------------------------- */

struct by_key {
    uint32_t key, number;
};

static int compare_keys(const void *a, const void *b)
{
    const struct by_key *x = a, *y = b;
    if (x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->number < y->number ? -1 : x->number > y->number;
}

/* The key that an operation is told apart by. */
static uint32_t key_of(const struct check *c, uint32_t operation)
{
    return c->model->by_key ? c->operations[operation].key : 0;
}

static void sort_by_key(struct check *c, uint32_t count)
{
    struct by_key *all = alloc_zeroed((size_t)count + 1, sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        all[i] = (struct by_key){.key = key_of(c, i), .number = i};
    }
    qsort(all, count, sizeof *all, compare_keys);
    c->sorted = alloc_zeroed((size_t)count + 1, sizeof *c->sorted);
    for (uint32_t i = 0; i < count; i++) {
        c->sorted[i] = all[i].number;
    }
    free(all);
}

/* Look at one part, only as far as it can make the illegal prefix shorter. */
static void check_part(struct check *c, struct lin_part *part, struct lin_part *worst)
{
    if (c->verdict->answer == LIN_ILLEGAL) {
        part->events = c->verdict->events;
    }
    struct lin_outcome outcome = search_prefix(c, part, part->events);
    if (outcome.answer == LIN_GAVE_UP) {
        c->gave_up = true;
    } else if (outcome.answer == LIN_ILLEGAL) {
        c->verdict->answer = LIN_ILLEGAL;
        c->verdict->operation = find_shortest(c, part, outcome.frontier, &c->verdict->is_shortest);
        c->verdict->events = part->events;
        *worst = *part;
    }
}

static void check_parts(struct check *c, uint32_t count, struct lin_part *worst)
{
    uint32_t events;
    history_events(c->history, &events);
    for (uint32_t lo = 0, hi; lo < count; lo = hi) {
        hi = lo + 1;
        while (hi < count && key_of(c, c->sorted[hi]) == key_of(c, c->sorted[lo])) {
            hi++;
        }
        struct lin_part part = {
            .history = c->history,
            .model = c->model,
            .operations = c->sorted + lo,
            .operations_count = hi - lo,
            .events = events,
            .probe = UINT32_MAX,
        };
        check_part(c, &part, worst);
    }
}

/* ---- the verdict ----------------------------------------------------------------------------- */

/* While it is the failure of something that makes the part illegal, say so, and go on without it:
 * then something that others saw is what cannot be explained. */
static void explain_operation(struct check *c, const struct lin_part *worst)
{
    uint32_t *others = alloc_zeroed((size_t)worst->operations_count + 1, sizeof *others);
    struct lin_part part = *worst;
    struct lin_outcome outcome = {.answer = LIN_ILLEGAL};
    uint32_t operation = c->verdict->operation;
    while (outcome.answer == LIN_ILLEGAL && c->operations[operation].outcome == HISTORY_FAILED) {
        lin_explain_failure(&part, operation, &c->verdict->words);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < part.operations_count; i++) {
            if (part.operations[i] != operation) {
                others[kept++] = part.operations[i];
            }
        }
        part.operations = others;
        part.operations_count = kept;
        outcome = search_prefix(c, &part, part.events);
        if (outcome.answer == LIN_ILLEGAL) {
            bool is_shortest;
            operation = find_shortest(c, &part, outcome.frontier, &is_shortest);
        }
    }
    if (outcome.answer == LIN_ILLEGAL) {
        lin_explain(&part, operation, &c->budget, &c->verdict->words);
    }
    free(others);
}

static void explain(struct check *c, const struct lin_part *worst)
{
    struct lin_verdict *v = c->verdict;
    explain_operation(c, worst);
    uint32_t count;
    const struct history_event *events = history_events(c->history, &count);
    buffer_add_format(&v->words, "the %sillegal prefix has %u of %u events; it ends at %s %llu\n",
                      v->is_shortest ? "shortest " : "", v->events, count,
                      history_places(c->history), (unsigned long long)events[v->events - 1].place);
}

static enum err refuse_unknown_functions(const struct check *c, uint32_t count)
{
    static const char *const names[] = {"read", "write", "cas", "append"};
    uint32_t events_count;
    const struct history_event *events = history_events(c->history, &events_count);
    for (uint32_t i = 0; i < count; i++) {
        const struct history_operation *o = &c->operations[i];
        if (!c->model->knows(o->function)) {
            buffer_add_format(
                &c->verdict->words, "%s %llu: the model %s knows no %s", history_places(c->history),
                (unsigned long long)events[o->invoked].place, c->model->name, names[o->function]);
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

enum err linearizable_check(const struct history *h, const struct lin_model *m,
                            const struct lin_limits *limits, struct lin_verdict *verdict)
{
    uint32_t count;
    struct check c = {.history = h,
                      .operations = history_operations(h, &count),
                      .model = m,
                      .budget.limits = limits != NULL ? *limits : default_limits,
                      .verdict = verdict};
    struct lin_limits *l = &c.budget.limits;
    l->steps_max = l->steps_max != 0 ? l->steps_max : default_limits.steps_max;
    l->memory_max_bytes =
        l->memory_max_bytes != 0 ? l->memory_max_bytes : default_limits.memory_max_bytes;
    *verdict = (struct lin_verdict){.answer = LIN_LEGAL};
    enum err e = refuse_unknown_functions(&c, count);
    if (e != ERR_OK) {
        return e;
    }
    struct lin_part worst = {0};
    sort_by_key(&c, count);
    check_parts(&c, count, &worst);
    if (verdict->answer == LIN_ILLEGAL) {
        verdict->is_shortest = verdict->is_shortest && !c.gave_up;
        explain(&c, &worst);
    } else if (c.gave_up) {
        verdict->answer = LIN_GAVE_UP;
        buffer_add_format(&verdict->words,
                          "no answer within %llu steps and %zu MB: too much happened at once\n",
                          (unsigned long long)l->steps_max, l->memory_max_bytes >> 20);
    }
    verdict->steps = c.budget.steps;
    free(c.sorted);
    return ERR_OK;
}

void lin_verdict_close(struct lin_verdict *v)
{
    buffer_close(&v->words);
    *v = (struct lin_verdict){0};
}
