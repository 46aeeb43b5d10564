/* The search for an order: Wing & Gong 1993, with the memory of Lowe 2017 ("Testing for
 * linearizability"): depth first, place any operation that may come next (invoked before the first
 * return that is not accounted for), take it back if that leads nowhere, and never go on from a
 * configuration (what is placed, what state that left) that has led nowhere before.
 *
 * What keeps the number of configurations small, all without losing an order if there is one:
 *
 *   - A pure operation that is legal now is placed at once: later it would be no easier.
 *   - Of operations of one kind the one that returns first goes first: in an order that has them
 *     the other way round they can be swapped.
 *   - An unknown operation is placed only for the sake of the next one: where that would do the
 *     same without it, the order without it is tried instead.
 *   - A configuration that used more unknown operations than another one can do no more.
 *   - A write and its reads that go from a dead state to a dead state, and of which nothing that
 *     comes later could see anything, are as well done now: nothing else need be tried instead.
 *   - The model tells states apart only as far as anything observes them, and says when something
 *     that must happen no longer can. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/linearizability_internal.h"
#include "sim/linearizability_list.h"

#define NONE UINT32_MAX

/* A step down: one operation, and the pure ones that could follow. */
struct frame {
    uint32_t operation;
    uint32_t placed_before; /* length of the order */
    lin_state state_before;
    lin_state excused_before; /* see struct search */
    bool is_final;            /* if this leads nowhere, nothing else does */
};

struct search {
    const struct lin_model *model;
    void *part;
    struct lin_operation *operations; /* known ones by invocation, then unknown ones likewise */
    uint32_t known_count, count;

    /* Of those that are not placed: */
    struct lin_list waiting; /* by invocation; heads: known, unknown */
    struct lin_list returns; /* known ones by return */
    struct lin_list kinds;   /* one list for each kind, by return; unknown ones after known ones */
    uint32_t known_left;

    /* How many were invoked before this one returned. By known operation. */
    uint32_t *known_before, *unknown_before;
    uint64_t *placed;         /* bits, by known operation */
    uint64_t *placed_unknown; /* bits, by unknown operation, from 0 */

    lin_state state;
    /* If the last operation was unknown and nothing has needed it yet: the state before it. What
     * comes next must do something else from there. Otherwise LIN_NO_STATE. */
    lin_state excused;

    uint32_t *order;
    uint32_t order_count;
    struct frame *frames;
    uint32_t depth;

    struct lin_memo *memo;
    struct lin_budget *budget;
    bool gave_up;
    uint32_t frontier;
};

/* ---- preparing ------------------------------------------------------------------------------- */

/* What is to be searched of one operation of the history. False if it leaves no trace. */
static bool view(const struct lin_part *part, uint32_t number, struct lin_operation *out)
{
    uint32_t count;
    const struct history_operation *o = &history_operations(part->history, &count)[number];
    bool returned = o->returned < part->events;
    *out = (struct lin_operation){
        .number = number,
        .function = o->function,
        .known = returned,
        .value = o->value,
        .expected = o->expected,
        .invoked = o->invoked,
        .returned = returned ? o->returned : UINT32_MAX,
    };
    if (number == part->probe) {
        ASSERT(returned);
        out->function = HISTORY_READ;
        out->value = part->probe_value;
        return true;
    }
    if (o->invoked >= part->events || (returned && o->outcome == HISTORY_FAILED)) {
        return false;
    }
    return returned || o->function != HISTORY_READ;
}

static void collect(struct search *s, const struct lin_part *part)
{
    s->operations = alloc_zeroed((size_t)part->operations_count + 1, sizeof *s->operations);
    for (int known = 1; known >= 0; known--) {
        for (uint32_t i = 0; i < part->operations_count; i++) {
            struct lin_operation o;
            if (view(part, part->operations[i], &o) && o.known == known) {
                s->operations[s->count++] = o;
                s->known_count += o.known;
            }
        }
    }
}

struct by_return {
    uint32_t returned, operation;
};

static int compare_returns(const void *a, const void *b)
{
    const struct by_return *x = a, *y = b;
    return x->returned < y->returned ? -1 : x->returned > y->returned;
}

/* How many of the operations [lo, hi), which are by invocation, were invoked before this event. */
static uint32_t count_before(const struct search *s, uint32_t lo, uint32_t hi, uint32_t event)
{
    uint32_t first = lo;
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (s->operations[middle].invoked < event) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo - first;
}

/* An unknown operation that nothing can ever need. */
static bool is_useless(const struct lin_operation *o)
{
    return !o->known && (o->pure || o->makes == LIN_DEAD);
}

static void make_lists(struct search *s)
{
    uint32_t n = s->count;
    lin_list_init(&s->waiting, n, 2);
    lin_list_init(&s->returns, n, 1);
    lin_list_init(&s->kinds, n, n);
    struct by_return *sorted = alloc_zeroed((size_t)n + 1, sizeof *sorted);
    for (uint32_t i = 0; i < n; i++) {
        if (!is_useless(&s->operations[i])) {
            lin_list_add(&s->waiting, i < s->known_count ? n : n + 1, i);
        }
        sorted[i] = (struct by_return){s->operations[i].returned, i};
    }
    qsort(sorted, s->known_count, sizeof *sorted, compare_returns);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t o = sorted[i].operation;
        if (i < s->known_count) {
            lin_list_add(&s->returns, n, o);
        }
        lin_list_add(&s->kinds, n + s->operations[o].kind, o);
    }
    free(sorted);
}

static void search_init(struct search *s, const struct lin_part *part, struct lin_budget *budget)
{
    *s = (struct search){.model = part->model, .budget = budget, .excused = LIN_NO_STATE};
    collect(s, part);
    s->known_left = s->known_count;
    s->part = s->model->prepare(part->history, s->operations, s->count);
    make_lists(s);
    size_t n = s->count, known = s->known_count;
    s->known_before = alloc_zeroed(known + 1, sizeof *s->known_before);
    s->unknown_before = alloc_zeroed(known + 1, sizeof *s->unknown_before);
    for (uint32_t i = 0; i < s->known_count; i++) {
        uint32_t returned = s->operations[i].returned;
        s->known_before[i] = count_before(s, 0, s->known_count, returned);
        s->unknown_before[i] = count_before(s, s->known_count, s->count, returned);
    }
    s->placed = alloc_zeroed(known / 64 + 1, sizeof *s->placed);
    s->placed_unknown = alloc_zeroed((n - known) / 64 + 1, sizeof *s->placed_unknown);
    s->order = alloc_zeroed(n + 1, sizeof *s->order);
    s->frames = alloc_zeroed(n + 1, sizeof *s->frames);
    s->memo = lin_memo_new(budget->limits.memory_max_bytes);
    s->state = s->model->initial(s->part);
}

static void search_close(struct search *s)
{
    lin_memo_free(s->memo);
    s->model->close(s->part);
    free(s->operations);
    lin_list_close(&s->waiting);
    lin_list_close(&s->returns);
    lin_list_close(&s->kinds);
    free(s->known_before);
    free(s->unknown_before);
    free(s->placed);
    free(s->placed_unknown);
    free(s->order);
    free(s->frames);
}

/* ---- placing and lifting --------------------------------------------------------------------- */

static void flip_bit(struct search *s, uint32_t operation)
{
    bool known = operation < s->known_count;
    uint32_t bit = known ? operation : operation - s->known_count;
    (known ? s->placed : s->placed_unknown)[bit / 64] ^= UINT64_C(1) << bit % 64;
}

static void place(struct search *s, uint32_t operation)
{
    lin_list_take(&s->waiting, operation);
    lin_list_take(&s->kinds, operation);
    if (operation < s->known_count) {
        lin_list_take(&s->returns, operation);
        s->known_left--;
    }
    flip_bit(s, operation);
    s->model->place(s->part, operation);
    s->order[s->order_count++] = operation;
}

static void lift_last(struct search *s)
{
    uint32_t operation = s->order[--s->order_count];
    s->model->lift(s->part, operation);
    flip_bit(s, operation);
    if (operation < s->known_count) {
        lin_list_put_back(&s->returns, operation);
        s->known_left++;
    }
    lin_list_put_back(&s->kinds, operation);
    lin_list_put_back(&s->waiting, operation);
}

/* The first return that is not accounted for: what comes next was invoked before it. */
static uint32_t deadline(const struct search *s)
{
    uint32_t first = s->returns.next[s->count];
    return first == s->count ? UINT32_MAX : s->operations[first].returned;
}

/* Place every pure operation that is legal now. Returns true if there was one. */
static bool place_pure(struct search *s)
{
    uint32_t before = s->order_count, next;
    lin_state same;
    for (uint32_t i = s->waiting.next[s->count]; i < s->count; i = next) {
        const struct lin_operation *o = &s->operations[i];
        next = s->waiting.next[i];
        if (o->invoked > deadline(s)) {
            break;
        }
        s->budget->steps++;
        if (o->pure && s->model->step(s->part, s->state, o, &same)) {
            place(s, i);
        }
    }
    s->state = s->model->settle(s->part, s->state);
    return s->order_count > before;
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* Another of its kind may come next and returns earlier. */
static bool has_better(const struct search *s, uint32_t operation)
{
    uint32_t limit = deadline(s);
    uint32_t i = s->kinds.prev[operation];
    for (; i < s->count; i = s->kinds.prev[i]) {
        if (s->operations[i].invoked < limit) {
            return true;
        }
    }
    return false;
}

/* Would the last operation, which was unknown, have been for nothing? */
static bool leaves_no_excuse(const struct search *s, const struct lin_operation *o, lin_state to)
{
    lin_state without;
    return s->excused != LIN_NO_STATE && s->model->step(s->part, s->excused, o, &without) &&
           without == to;
}

/* Go down by one operation that may come next. False if that is illegal or of no use. */
static bool try_operation(struct search *s, uint32_t operation)
{
    const struct lin_operation *o = &s->operations[operation];
    const struct frame f = {.operation = operation,
                            .placed_before = s->order_count,
                            .state_before = s->state,
                            .excused_before = s->excused};
    lin_state to;
    s->budget->steps++;
    if (!s->model->step(s->part, s->state, o, &to) || (!o->known && to == s->state) ||
        leaves_no_excuse(s, o, to) || has_better(s, operation)) {
        return false;
    }
    place(s, operation);
    if (s->model->is_hopeless(s->part, f.state_before, to) ||
        (!o->known && s->model->settle(s->part, to) == LIN_DEAD)) {
        lift_last(s);
        return false;
    }
    s->state = to;
    bool is_used = place_pure(s) || o->known;
    s->excused = is_used ? LIN_NO_STATE : f.state_before;
    s->frames[s->depth] = f;
    s->frames[s->depth++].is_final = f.state_before == LIN_DEAD && s->state == LIN_DEAD &&
                                     s->model->leaves_no_trace(s->part, operation);
    return true;
}

/* Go down by the first operation after this one (NONE: by the first of all) with which one can. */
static bool go_down(struct search *s, uint32_t after)
{
    uint32_t limit = deadline(s), n = s->count;
    uint32_t i = after == NONE ? s->waiting.next[n] : s->waiting.next[after];
    if (after == NONE || after < s->known_count) {
        for (; i < n && s->operations[i].invoked < limit; i = s->waiting.next[i]) {
            if (try_operation(s, i)) {
                return true;
            }
        }
        i = s->waiting.next[n + 1];
    }
    for (; i < n && s->operations[i].invoked < limit; i = s->waiting.next[i]) {
        if (try_operation(s, i)) {
            return true;
        }
    }
    return false;
}

/* Go up until another way down is found. False if there is none. */
static bool go_elsewhere(struct search *s)
{
    while (s->depth > 0) {
        const struct frame f = s->frames[--s->depth];
        while (s->order_count > f.placed_before) {
            lift_last(s);
        }
        s->state = f.state_before;
        s->excused = f.excused_before;
        if (!f.is_final && go_down(s, f.operation)) {
            return true;
        }
    }
    return false;
}

/* ---- the search ------------------------------------------------------------------------------ */

/* False if going on from here is known to lead nowhere. */
static bool visit(struct search *s)
{
    uint32_t first = s->waiting.next[s->count], due = s->returns.next[s->count];
    uint32_t limit = deadline(s);
    s->frontier = limit > s->frontier ? limit : s->frontier;
    ASSERT(first < s->known_before[due]);
    uint32_t word = first / 64, unknown = s->unknown_before[due];
    struct lin_configuration c = {
        .state = s->state,
        .known_first = word,
        .known_words = (s->known_before[due] - 1) / 64 - word + 1,
        .known = s->placed + word,
        .unknown_words = (unknown + 63) / 64,
        .unknown = s->placed_unknown,
    };
    enum lin_memo_answer answer = lin_memo_visit(s->memo, &c, &s->budget->steps);
    if (answer == LIN_MEMO_FULL || s->budget->steps > s->budget->limits.steps_max) {
        s->gave_up = true;
    }
    return answer == LIN_MEMO_NEW;
}

static enum lin_answer run(struct search *s)
{
    place_pure(s);
    if (s->known_left > 0 && s->model->is_hopeless(s->part, LIN_NO_STATE, s->state)) {
        return LIN_ILLEGAL;
    }
    while (s->known_left > 0) {
        bool is_new = visit(s);
        if (s->gave_up) {
            return LIN_GAVE_UP;
        }
        if (!(is_new && go_down(s, NONE)) && !go_elsewhere(s)) {
            return LIN_ILLEGAL;
        }
    }
    return LIN_LEGAL;
}

void lin_search(const struct lin_part *part, struct lin_budget *budget, struct lin_outcome *out)
{
    struct search s;
    search_init(&s, part, budget);
    *out = (struct lin_outcome){.answer = run(&s), .frontier = s.frontier};
    if (out->answer == LIN_LEGAL) {
        out->order_count = s.order_count;
        out->order = alloc_zeroed((size_t)s.order_count + 1, sizeof *out->order);
        for (uint32_t i = 0; i < s.order_count; i++) {
            out->order[i] = s.operations[s.order[i]].number;
        }
    }
    search_close(&s);
}
