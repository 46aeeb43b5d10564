/* Why a return cannot be explained, for people. A shortest illegal prefix ends with the return of a
 * read or of a compare-and-set, because a write or an append is legal wherever it is put; or with
 * word that something failed, of which others had already seen the effect. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sim/linearizability_internal.h"

enum { SHOWN_MAX_BYTES = 48, CANDIDATES_MAX = 16 };

struct explanation {
    const struct lin_part *part;
    const struct history_operation *operations; /* of the history */
    const struct history_operation *suspect;
    uint32_t suspect_number;
    struct lin_budget *budget;
    struct buffer *words;
    bool appends;
};

/* ---- words ----------------------------------------------------------------------------------- */

static void say_bytes(struct buffer *words, struct bytes v)
{
    for (size_t i = 0; i < v.size; i++) {
        if (isprint(v.data[i]) && v.data[i] != '"' && v.data[i] != '\\') {
            buffer_add_u8(words, v.data[i]);
        } else {
            buffer_add_format(words, "\\x%02x", (unsigned)v.data[i]);
        }
    }
}

/* In quotes; at most SHOWN_MAX_BYTES of it, from the byte `from` on. */
static void say_part(struct buffer *words, struct bytes v, size_t from)
{
    if (v.data == NULL) {
        buffer_add_format(words, "nil");
        return;
    }
    size_t size = v.size - from > SHOWN_MAX_BYTES ? SHOWN_MAX_BYTES : v.size - from;
    buffer_add_format(words, from > 0 ? "...\"" : "\"");
    say_bytes(words, bytes_of(v.data + from, size));
    buffer_add_format(words, from + size < v.size ? "\"..." : "\"");
}

static void say_value(const struct explanation *x, uint32_t number)
{
    say_part(x->words, history_value(x->part->history, number), 0);
}

static unsigned long long place_of(const struct explanation *x, uint32_t event)
{
    uint32_t count;
    return history_events(x->part->history, &count)[event].place;
}

/* Whether it happened, as far as that had been heard of. */
enum tense { DID, MAY_HAVE, DID_NOT };

static enum tense tense_of(const struct explanation *x, const struct history_operation *o)
{
    return o->returned >= x->part->events ? MAY_HAVE : o->outcome == HISTORY_FAILED ? DID_NOT : DID;
}

/* "client 3 wrote "4" (line 10 to 12)" */
static void say_operation(const struct explanation *x, const struct history_operation *o)
{
    static const char *const verbs[][3] = {
        [HISTORY_READ] = {"read", "may have read", "did not read"},
        [HISTORY_WRITE] = {"wrote", "may have written", "did not write"},
        [HISTORY_APPEND] = {"appended", "may have appended", "did not append"},
        [HISTORY_CAS] = {"replaced", "may have replaced", "did not replace"},
    };
    enum tense tense = tense_of(x, o);
    buffer_add_format(x->words, "client %llu %s ", (unsigned long long)o->client,
                      verbs[o->function][tense]);
    if (o->function == HISTORY_CAS) {
        say_value(x, o->expected);
        buffer_add_format(x->words, " by ");
    }
    say_value(x, o->value);
    buffer_add_format(x->words, " (%s %llu", history_places(x->part->history),
                      place_of(x, o->invoked));
    if (tense == MAY_HAVE) {
        buffer_add_format(x->words, " on");
    } else {
        buffer_add_format(x->words, " to %llu", place_of(x, o->returned));
    }
    buffer_add_format(x->words, ")");
}

/* ---- who made a value ------------------------------------------------------------------------ */

/* The value that the suspect needed. */
static uint32_t needed(const struct explanation *x)
{
    return x->suspect->function == HISTORY_CAS ? x->suspect->expected : x->suspect->value;
}

static const struct history_operation *operation_at(const struct explanation *x, uint32_t i)
{
    return &x->operations[x->part->operations[i]];
}

/* Sets the value whatever it was, or may have. */
static bool is_maker(const struct explanation *x, const struct history_operation *o)
{
    return (o->function == HISTORY_WRITE || o->function == HISTORY_CAS) &&
           tense_of(x, o) != DID_NOT && o->invoked < x->suspect->returned && o != x->suspect;
}

/* What surely came between o and the suspect, and set the value. NULL if there is nothing. */
static const struct history_operation *overwriter(const struct explanation *x,
                                                  const struct history_operation *o)
{
    for (uint32_t i = x->part->operations_count; i-- > 0;) {
        const struct history_operation *later = operation_at(x, i);
        if (is_maker(x, later) && later->outcome == HISTORY_OK && later->invoked > o->returned &&
            later->returned < x->suspect->invoked) {
            return later;
        }
    }
    return NULL;
}

static bool is_initial(const struct explanation *x, uint32_t value)
{
    return value == HISTORY_NIL ||
           (x->part->model->by_key && history_value(x->part->history, value).size == 0);
}

static bool is_value(const struct explanation *x, uint32_t a, uint32_t b)
{
    return a == b || (x->part->model->by_key && is_initial(x, a) && is_initial(x, b));
}

/* If nobody wrote what was needed, or all who did were overwritten: say so. */
static void explain_needed_value(const struct explanation *x)
{
    const struct history_operation *last = NULL;
    for (uint32_t i = 0; i < x->part->operations_count; i++) {
        const struct history_operation *o = operation_at(x, i);
        if (is_maker(x, o) && is_value(x, o->value, needed(x))) {
            last = o;
            if (o->returned >= x->part->events || overwriter(x, o) == NULL) {
                return;
            }
        }
    }
    buffer_add_format(x->words, "  ");
    if (last != NULL) {
        say_operation(x, last);
        buffer_add_format(x->words, ", but after that ");
        say_operation(x, overwriter(x, last));
    } else if (is_initial(x, needed(x))) {
        buffer_add_format(x->words, "it was so at first only");
    } else {
        say_value(x, needed(x));
        buffer_add_format(x->words, " had not been written by anybody");
    }
    buffer_add_format(x->words, "\n");
}

/* ---- what else it could have been ------------------------------------------------------------ */

static bool could_be(const struct explanation *x, uint32_t value)
{
    struct lin_part part = *x->part;
    struct lin_outcome outcome;
    part.probe = x->suspect_number;
    part.probe_value = value;
    lin_search(&part, x->budget, &outcome);
    free(outcome.order);
    return outcome.answer == LIN_LEGAL;
}

struct candidates {
    uint32_t values[CANDIDATES_MAX];
    uint32_t count;
    bool is_complete;
};

static void add_candidate(const struct explanation *x, struct candidates *c, uint32_t value)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (is_value(x, c->values[i], value)) {
            return;
        }
    }
    if (c->count == CANDIDATES_MAX) {
        c->is_complete = false;
    } else if (!is_value(x, value, needed(x))) {
        c->values[c->count++] = value;
    }
}

static void explain_possible_values(const struct explanation *x)
{
    struct candidates c = {.is_complete = true};
    for (uint32_t i = x->part->operations_count; i-- > 0;) {
        const struct history_operation *o = operation_at(x, i);
        if (is_maker(x, o) && (o->returned >= x->part->events || overwriter(x, o) == NULL)) {
            add_candidate(x, &c, o->value);
        }
    }
    add_candidate(x, &c, HISTORY_NIL);
    uint32_t possible = 0;
    for (uint32_t i = 0; i < c.count; i++) {
        if (could_be(x, c.values[i])) {
            c.values[possible++] = c.values[i];
        }
    }
    for (uint32_t i = 0; i < possible; i++) {
        buffer_add_format(x->words, i == 0             ? "  what it could have been: "
                                    : i + 1 < possible ? ", "
                                                       : " or ");
        say_value(x, c.values[i]);
    }
    if (possible > 0) {
        buffer_add_format(x->words, c.is_complete ? "\n" : ", and perhaps more\n");
    }
}

/* ---- values that grow ------------------------------------------------------------------------ */

/* The value after the operations of an order. */
static void replay(const struct explanation *x, const struct lin_outcome *order,
                   struct buffer *value)
{
    for (uint32_t i = 0; i < order->order_count; i++) {
        const struct history_operation *o = &x->operations[order->order[i]];
        if (o->function == HISTORY_WRITE || o->function == HISTORY_CAS) {
            buffer_clear(value);
        }
        if (o->function != HISTORY_READ) {
            buffer_add_bytes(value, history_value(x->part->history, o->value));
        }
    }
}

static bool contains(struct bytes whole, struct bytes part)
{
    return part.size == 0 ||
           (whole.size > 0 && memmem(whole.data, whole.size, part.data, part.size) != NULL);
}

/* An append that had returned before the suspect began, and nothing can have erased since. */
static void explain_lost_append(const struct explanation *x)
{
    struct bytes read = history_value(x->part->history, needed(x));
    uint32_t cleared = 0; /* the last event at which something may have set the value */
    for (uint32_t i = 0; i < x->part->operations_count; i++) {
        const struct history_operation *o = operation_at(x, i);
        if (is_maker(x, o)) {
            cleared = o->returned > cleared ? o->returned : cleared;
        }
    }
    for (uint32_t i = 0; i < x->part->operations_count; i++) {
        const struct history_operation *o = operation_at(x, i);
        struct bytes v = history_value(x->part->history, o->value);
        if (o->function == HISTORY_APPEND && o->outcome == HISTORY_OK && o->invoked >= cleared &&
            o->returned < x->suspect->invoked && !contains(read, v)) {
            buffer_add_format(x->words, "  it lacks what ");
            say_operation(x, o);
            buffer_add_format(x->words, "\n");
            return;
        }
    }
}

/* Show one order of all that went before, and where its value and the one that was read part. */
static void explain_by_example(const struct explanation *x)
{
    uint32_t *others = alloc_zeroed(x->part->operations_count, sizeof *others);
    struct lin_part part = *x->part;
    part.operations = others;
    part.operations_count = 0;
    for (uint32_t i = 0; i < x->part->operations_count; i++) {
        if (operation_at(x, i) != x->suspect) {
            others[part.operations_count++] = x->part->operations[i];
        }
    }
    struct lin_outcome outcome;
    struct buffer value = {0};
    lin_search(&part, x->budget, &outcome);
    if (outcome.answer == LIN_LEGAL) {
        replay(x, &outcome, &value);
        struct bytes read = history_value(part.history, needed(x));
        size_t same = 0;
        while (same < read.size && same < value.size && read.data[same] == value.data[same]) {
            same++;
        }
        size_t from = same > SHOWN_MAX_BYTES / 2 ? same - SHOWN_MAX_BYTES / 2 : 0;
        buffer_add_format(x->words, "  what it could have been, in one of the orders: ");
        say_part(x->words, bytes_of(buffer_text(&value), value.size), from);
        buffer_add_format(x->words, "\n  what was read, from the same byte on:         ");
        say_part(x->words, read.data == NULL ? bytes_of("", 0) : read, from);
        buffer_add_format(x->words,
                          "\n  (they agree for %zu bytes; the one has %zu, the other %zu)\n", same,
                          value.size, read.size);
    }
    buffer_close(&value);
    free(outcome.order);
    free(others);
}

static struct explanation start(const struct lin_part *part, uint32_t operation,
                                struct lin_budget *budget, struct buffer *words)
{
    uint32_t count;
    struct explanation x = {
        .part = part,
        .operations = history_operations(part->history, &count),
        .suspect_number = operation,
        .budget = budget,
        .words = words,
    };
    x.suspect = &x.operations[operation];
    for (uint32_t i = 0; i < part->operations_count; i++) {
        x.appends |= operation_at(&x, i)->function == HISTORY_APPEND;
    }
    if (part->model->by_key) {
        buffer_add_format(words, "key ");
        say_value(&x, x.suspect->key);
        buffer_add_format(words, ": ");
    }
    return x;
}

void lin_explain(const struct lin_part *part, uint32_t operation, struct lin_budget *budget,
                 struct buffer *words)
{
    const struct explanation x = start(part, operation, budget, words);
    say_operation(&x, x.suspect);
    buffer_add_format(words, ", which no order of the operations explains\n");
    if (x.appends) {
        explain_lost_append(&x);
        explain_by_example(&x);
    } else {
        explain_needed_value(&x);
        explain_possible_values(&x);
    }
}

void lin_explain_failure(const struct lin_part *part, uint32_t operation, struct buffer *words)
{
    const struct explanation x = start(part, operation, NULL, words);
    say_operation(&x, x.suspect);
    buffer_add_format(words, ", as was heard there; but without that:\n");
}
