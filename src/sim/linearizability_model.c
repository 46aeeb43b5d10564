/* The models register and kv: one value that is read, written, replaced if it is what is expected,
 * and (in kv) appended to.
 *
 * States are numbered by what can still be observed. Let the observed values of a part be those
 * that its reads returned and its compare-and-sets expected, sorted. A value is a state of its own
 * only if some observed value begins with it (is it, where nothing is appended); all others are
 * LIN_DEAD: no read will ever return them, nor what becomes of them by appending. So a state is
 * (the first observed value that begins with it, its length), and there are never more states
 * than prefixes of observed values, however many orders the appends can be put in. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/linearizability_internal.h"
#include "sim/linearizability_list.h"

#define NOTHING UINT32_MAX

struct register_part {
    const struct history *history;
    const struct lin_operation *operations;
    uint32_t count;
    bool nil_is_empty;
    bool appends;

    struct bytes *observed; /* sorted, distinct; nil first */
    uint32_t observed_count;

    /* Of what is not placed: */
    uint32_t *must; /* known operations that need an observed value, by value */
    /* Lists. Where something is appended, the first two are one list each, otherwise (like the
     * third) one for each observed value. */
    struct lin_list musts;    /* known operations that need a value, by return */
    struct lin_list makers;   /* those that leave a value that is not dead, by invocation */
    struct lin_list needs;    /* all that need the value, by invocation */
    struct lin_list changers; /* known ones that leave another value, by return */
    uint32_t *seen_until;     /* by operation: nothing invoked later can see what it wrote */
};

/* ---- values and states ----------------------------------------------------------------------- */

static int compare_values(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    if ((x->data == NULL) != (y->data == NULL)) {
        return x->data == NULL ? -1 : 1;
    }
    return bytes_compare(*x, *y);
}

static struct bytes value_of(const struct register_part *p, uint32_t number)
{
    struct bytes v = history_value(p->history, number);
    return v.data == NULL && p->nil_is_empty ? bytes_of("", 0) : v;
}

static bool begins_with(struct bytes v, struct bytes prefix)
{
    return v.size >= prefix.size && memcmp(v.data, prefix.data, prefix.size) == 0;
}

static lin_state state_at(uint32_t observed, size_t size)
{
    return (uint64_t)observed << 32 | size;
}

/* The value of a state that is not dead. */
static struct bytes bytes_of_state(const struct register_part *p, lin_state s)
{
    return bytes_of(p->observed[s >> 32].data, (uint32_t)s);
}

/* The observed value that the state is, or NOTHING. */
static uint32_t observed_at(const struct register_part *p, lin_state s)
{
    if (s == LIN_DEAD || p->observed[s >> 32].size != (uint32_t)s) {
        return NOTHING;
    }
    return (uint32_t)(s >> 32);
}

/* Order of v to the value that is prefix and rest. */
static int compare_joined(struct bytes v, struct bytes prefix, struct bytes rest)
{
    if (v.size <= prefix.size) {
        int order = memcmp(v.data, prefix.data, v.size);
        return order != 0 ? order : v.size < prefix.size || rest.size > 0 ? -1 : 0;
    }
    int order = memcmp(v.data, prefix.data, prefix.size);
    struct bytes tail = bytes_of(v.data + prefix.size, v.size - prefix.size);
    return order != 0 ? order : bytes_compare(tail, rest);
}

/* The state of the value that is prefix and rest; observed values before lo begin otherwise. */
static lin_state state_of_joined(const struct register_part *p, uint32_t lo, struct bytes prefix,
                                 struct bytes rest)
{
    size_t size = prefix.size + rest.size;
    uint32_t hi = p->observed_count;
    while (lo < hi) {
        uint32_t middle = lo + (hi - lo) / 2;
        if (compare_joined(p->observed[middle], prefix, rest) < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    if (lo == p->observed_count || p->observed[lo].size < size ||
        memcmp(p->observed[lo].data, prefix.data, prefix.size) != 0 ||
        memcmp(p->observed[lo].data + prefix.size, rest.data, rest.size) != 0) {
        return LIN_DEAD;
    }
    return state_at(lo, size);
}

static uint32_t find_observed(const struct register_part *p, struct bytes v)
{
    const struct bytes *found = p->observed_count == 0 ? NULL
                                                       : bsearch(&v, p->observed, p->observed_count,
                                                                 sizeof v, compare_values);
    return found == NULL ? NOTHING : (uint32_t)(found - p->observed);
}

static lin_state state_of(const struct register_part *p, struct bytes v)
{
    if (p->appends) {
        return state_of_joined(p, 0, bytes_of("", 0), v);
    }
    uint32_t found = find_observed(p, v);
    return found == NOTHING ? LIN_DEAD : state_at(found, v.size);
}

/* ---- the part -------------------------------------------------------------------------------- */

static void collect_observed(struct register_part *p)
{
    p->observed = alloc_zeroed((size_t)p->count + 1, sizeof *p->observed);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct lin_operation *o = &p->operations[i];
        p->appends |= o->function == HISTORY_APPEND;
        if (o->function == HISTORY_READ) {
            p->observed[p->observed_count++] = value_of(p, o->value);
        } else if (o->function == HISTORY_CAS) {
            p->observed[p->observed_count++] = value_of(p, o->expected);
        }
    }
    qsort(p->observed, p->observed_count, sizeof *p->observed, compare_values);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->observed_count; i++) {
        if (kept == 0 || compare_values(&p->observed[kept - 1], &p->observed[i]) != 0) {
            p->observed[kept++] = p->observed[i];
        }
    }
    p->observed_count = kept;
}

static void read_meaning(const struct register_part *p, struct lin_operation *o)
{
    o->reads = o->function == HISTORY_READ  ? find_observed(p, value_of(p, o->value))
               : o->function == HISTORY_CAS ? find_observed(p, value_of(p, o->expected))
                                            : NOTHING;
    o->makes = o->function == HISTORY_WRITE || o->function == HISTORY_CAS
                   ? state_of(p, value_of(p, o->value))
                   : LIN_NO_STATE;
    o->pure = o->function == HISTORY_READ ||
              (o->function == HISTORY_CAS && o->reads == observed_at(p, o->makes));
}

/* Operations that are equal in these do the same in every state. */
struct meaning {
    uint32_t function, reads;
    lin_state makes;
    uint32_t appended;
    uint32_t operation;
};

static int compare_meanings(const void *a, const void *b)
{
    return memcmp(a, b, offsetof(struct meaning, operation));
}

static void number_kinds(struct lin_operation *operations, uint32_t count)
{
    struct meaning *all = alloc_zeroed((size_t)count + 1, sizeof *all);
    for (uint32_t i = 0; i < count; i++) {
        const struct lin_operation *o = &operations[i];
        all[i] = (struct meaning){.function = o->function,
                                  .reads = o->reads,
                                  .makes = o->makes,
                                  .appended = o->function == HISTORY_APPEND ? o->value : 0,
                                  .operation = i};
    }
    qsort(all, count, sizeof *all, compare_meanings);
    uint32_t kind = 0;
    for (uint32_t i = 0; i < count; i++) {
        kind += i > 0 && compare_meanings(&all[i - 1], &all[i]) != 0;
        operations[all[i].operation].kind = kind;
    }
    free(all);
}

struct by_event {
    uint32_t event, operation;
};

static int compare_events(const void *a, const void *b)
{
    const struct by_event *x = a, *y = b;
    return x->event < y->event ? -1 : x->event > y->event;
}

static bool is_maker(const struct lin_operation *o)
{
    return !o->pure && o->makes != LIN_NO_STATE && o->makes != LIN_DEAD;
}

/* Whatever it leaves, it is not what was there before, or there by its own doing. */
static bool is_changer(const struct lin_operation *o)
{
    return o->known && !o->pure && o->function != HISTORY_APPEND;
}

/* Its list among musts, and among makers. */
static uint32_t musts_head(const struct register_part *p, const struct lin_operation *o)
{
    return p->count + (p->appends ? 0 : o->reads);
}

static uint32_t makers_head(const struct register_part *p, const struct lin_operation *o)
{
    return p->count + (p->appends ? 0 : observed_at(p, o->makes));
}

/* Add an operation to those lists that are sorted by what it is now the next in order of. */
static void list_by_return(struct register_part *p, uint32_t i)
{
    const struct lin_operation *o = &p->operations[i];
    if (o->known && o->reads != NOTHING) {
        lin_list_add(&p->musts, musts_head(p, o), i);
    }
    if (is_changer(o)) {
        lin_list_add(&p->changers, p->count, i);
    }
}

static void list_by_invocation(struct register_part *p, uint32_t i)
{
    const struct lin_operation *o = &p->operations[i];
    if (is_maker(o)) {
        lin_list_add(&p->makers, makers_head(p, o), i);
    }
    if (o->reads != NOTHING) {
        lin_list_add(&p->needs, p->count + o->reads, i);
    }
}

/* The first return of a changer that was invoked after this one had returned. */
static void find_what_is_seen(struct register_part *p, const struct by_event *invocations)
{
    uint32_t earliest = UINT32_MAX, later = p->count;
    p->seen_until = alloc_zeroed((size_t)p->count + 1, sizeof *p->seen_until);
    struct by_event *returns = alloc_zeroed((size_t)p->count + 1, sizeof *returns);
    for (uint32_t i = 0; i < p->count; i++) {
        returns[i] = (struct by_event){p->operations[i].returned, i};
    }
    qsort(returns, p->count, sizeof *returns, compare_events);
    for (uint32_t i = p->count; i-- > 0;) {
        for (; later > 0 && invocations[later - 1].event > returns[i].event; later--) {
            const struct lin_operation *o = &p->operations[invocations[later - 1].operation];
            if (is_changer(o) && o->returned < earliest) {
                earliest = o->returned;
            }
        }
        p->seen_until[returns[i].operation] = earliest;
    }
    free(returns);
}

static void make_lists(struct register_part *p)
{
    uint32_t n = p->count, heads = p->observed_count + 1;
    lin_list_init(&p->musts, n, heads);
    lin_list_init(&p->makers, n, heads);
    lin_list_init(&p->needs, n, heads);
    lin_list_init(&p->changers, n, 1);
    struct by_event *sorted = alloc_zeroed((size_t)n + 1, sizeof *sorted);
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = (struct by_event){p->operations[i].returned, i};
    }
    qsort(sorted, n, sizeof *sorted, compare_events);
    for (uint32_t i = 0; i < n; i++) {
        list_by_return(p, sorted[i].operation);
    }
    for (uint32_t i = 0; i < n; i++) {
        sorted[i] = (struct by_event){p->operations[i].invoked, i};
    }
    qsort(sorted, n, sizeof *sorted, compare_events);
    for (uint32_t i = 0; i < n; i++) {
        list_by_invocation(p, sorted[i].operation);
    }
    find_what_is_seen(p, sorted);
    free(sorted);
}

static void *prepare(const struct history *h, bool nil_is_empty, struct lin_operation *operations,
                     uint32_t count)
{
    struct register_part *p = NEW(struct register_part);
    *p = (struct register_part){
        .history = h, .operations = operations, .count = count, .nil_is_empty = nil_is_empty};
    collect_observed(p);
    for (uint32_t i = 0; i < count; i++) {
        read_meaning(p, &operations[i]);
    }
    number_kinds(operations, count);
    p->must = alloc_zeroed((size_t)p->observed_count + 1, sizeof *p->must);
    for (uint32_t i = 0; i < count; i++) {
        if (operations[i].known && operations[i].reads != NOTHING) {
            p->must[operations[i].reads]++;
        }
    }
    make_lists(p);
    return p;
}

static void *prepare_register(const struct history *h, struct lin_operation *operations,
                              uint32_t count)
{
    return prepare(h, false, operations, count);
}

static void *prepare_kv(const struct history *h, struct lin_operation *operations, uint32_t count)
{
    return prepare(h, true, operations, count);
}

static void close_part(void *part)
{
    struct register_part *p = part;
    free(p->observed);
    free(p->must);
    free(p->seen_until);
    lin_list_close(&p->musts);
    lin_list_close(&p->makers);
    lin_list_close(&p->needs);
    lin_list_close(&p->changers);
    free(p);
}

/* ---- what the search asks -------------------------------------------------------------------- */

static lin_state initial(const void *part)
{
    const struct register_part *p = part;
    return state_of(p, value_of(p, HISTORY_NIL));
}

static lin_state append(const struct register_part *p, lin_state from, uint32_t value)
{
    if (from == LIN_DEAD) {
        return LIN_DEAD;
    }
    struct bytes rest = value_of(p, value), before = bytes_of_state(p, from);
    uint32_t lo = (uint32_t)(from >> 32);
    struct bytes first = p->observed[lo];
    if (first.size >= before.size + rest.size &&
        memcmp(first.data + before.size, rest.data, rest.size) == 0) {
        return state_at(lo, before.size + rest.size);
    }
    return state_of_joined(p, lo, before, rest);
}

static bool step(const void *part, lin_state from, const struct lin_operation *o, lin_state *to)
{
    const struct register_part *p = part;
    if (o->reads != NOTHING && o->reads != observed_at(p, from)) {
        return false;
    }
    *to = o->function == HISTORY_READ     ? from
          : o->function == HISTORY_APPEND ? append(p, from, o->value)
                                          : o->makes;
    return true;
}

static void place(void *part, uint32_t operation)
{
    struct register_part *p = part;
    const struct lin_operation *o = &p->operations[operation];
    if (o->reads != NOTHING) {
        lin_list_take(&p->needs, operation);
        if (o->known) {
            p->must[o->reads]--;
            lin_list_take(&p->musts, operation);
        }
    }
    if (is_maker(o)) {
        lin_list_take(&p->makers, operation);
    }
    if (is_changer(o)) {
        lin_list_take(&p->changers, operation);
    }
}

static void lift(void *part, uint32_t operation)
{
    struct register_part *p = part;
    const struct lin_operation *o = &p->operations[operation];
    if (o->reads != NOTHING) {
        lin_list_put_back(&p->needs, operation);
        if (o->known) {
            p->must[o->reads]++;
            lin_list_put_back(&p->musts, operation);
        }
    }
    if (is_maker(o)) {
        lin_list_put_back(&p->makers, operation);
    }
    if (is_changer(o)) {
        lin_list_put_back(&p->changers, operation);
    }
}

/* The event at which the first of a list was invoked, or returned; UINT32_MAX if it is empty. */
static uint32_t first_invoked(const struct register_part *p, const struct lin_list *l,
                              uint32_t head)
{
    uint32_t first = l->next[head];
    return first == head ? UINT32_MAX : p->operations[first].invoked;
}

static uint32_t first_returned(const struct register_part *p, const struct lin_list *l,
                               uint32_t head)
{
    uint32_t first = l->next[head];
    return first == head ? UINT32_MAX : p->operations[first].returned;
}

/* Something needs this observed value before anything makes it again. */
static bool is_out_of_reach(const struct register_part *p, uint32_t observed)
{
    uint32_t head = p->count + observed;
    return first_invoked(p, &p->makers, head) > first_returned(p, &p->musts, head);
}

/* Where nothing is appended, a value is dead if nothing needs it, or only what comes after
 * something that is going to change it. (Not if that is going to miss it: leaving it would be
 * hopeless.) */
static lin_state settle(const void *part, lin_state state)
{
    const struct register_part *p = part;
    uint32_t at = observed_at(p, state);
    if (p->appends || at == NOTHING) {
        return state;
    }
    uint32_t needed = first_invoked(p, &p->needs, p->count + at);
    uint32_t changed = first_returned(p, &p->changers, p->count);
    return needed == UINT32_MAX || (changed < needed && !is_out_of_reach(p, at)) ? LIN_DEAD : state;
}

static bool leaves_no_trace(const void *part, uint32_t operation)
{
    const struct register_part *p = part;
    if (p->appends) {
        return false;
    }
    uint32_t at = observed_at(p, p->operations[operation].makes);
    uint32_t needed = at == NOTHING ? UINT32_MAX : first_invoked(p, &p->needs, p->count + at);
    return needed == UINT32_MAX || needed > p->seen_until[operation];
}

static bool lacks_a_maker(const struct register_part *p, lin_state state)
{
    for (uint32_t i = 0; i < p->observed_count; i++) {
        if (i != observed_at(p, state) && is_out_of_reach(p, i)) {
            return true;
        }
    }
    return false;
}

/* Can appending make this observed value of that state? */
static bool grows_into(const struct register_part *p, lin_state state, uint32_t observed)
{
    return state != LIN_DEAD && begins_with(p->observed[observed], bytes_of_state(p, state));
}

/* Something must read before anything can reset the value, and will not find what it needs. */
static bool has_outgrown(const struct register_part *p, lin_state left, lin_state state)
{
    uint32_t need = p->musts.next[p->count], reset = p->makers.next[p->count];
    if (need == p->count) {
        return false;
    }
    if (reset == p->count) {
        uint32_t at = left == LIN_NO_STATE ? NOTHING : observed_at(p, left);
        if (at != NOTHING && p->must[at] > 0 && !grows_into(p, state, at)) {
            return true;
        }
    } else if (p->operations[reset].invoked < p->operations[need].returned) {
        return false;
    }
    return !grows_into(p, state, p->operations[need].reads);
}

static bool is_hopeless(const void *part, lin_state left, lin_state state)
{
    const struct register_part *p = part;
    if (p->appends) {
        return has_outgrown(p, left, state);
    }
    if (left == LIN_NO_STATE) {
        return lacks_a_maker(p, state);
    }
    uint32_t at = observed_at(p, left);
    return at != NOTHING && left != state && is_out_of_reach(p, at);
}

static bool register_knows(enum history_function function)
{
    return function != HISTORY_APPEND;
}

static bool kv_knows(enum history_function function)
{
    return function <= HISTORY_APPEND;
}

const struct lin_model lin_register = {
    .name = "register",
    .by_key = false,
    .knows = register_knows,
    .prepare = prepare_register,
    .close = close_part,
    .initial = initial,
    .step = step,
    .place = place,
    .lift = lift,
    .settle = settle,
    .is_hopeless = is_hopeless,
    .leaves_no_trace = leaves_no_trace,
};

const struct lin_model lin_kv = {
    .name = "kv",
    .by_key = true,
    .knows = kv_knows,
    .prepare = prepare_kv,
    .close = close_part,
    .initial = initial,
    .step = step,
    .place = place,
    .lift = lift,
    .settle = settle,
    .is_hopeless = is_hopeless,
    .leaves_no_trace = leaves_no_trace,
};

const char *lin_model_name(const struct lin_model *m)
{
    return m->name;
}

const struct lin_model *lin_model_of(const char *name)
{
    return strcmp(name, lin_register.name) == 0 ? &lin_register
           : strcmp(name, lin_kv.name) == 0     ? &lin_kv
                                                : NULL;
}
