/* Histories made by clients of one atomic store that really run at the same time: each operation
 * takes effect at one moment between its invocation and its return, so the history is linearizable.
 * Some fail and have no effect; of some the outcome is unknown, and they take effect later or
 * never.
 *
 * Held as arrays, so that a test can put a wrong answer in before it makes a struct history. */
#ifndef MK_TESTS_GENERATED_HISTORY_H
#define MK_TESTS_GENERATED_HISTORY_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/rng.h"
#include "sim/history.h"

struct made_operation {
    uint32_t client;
    uint32_t key;
    enum history_function function;
    enum history_outcome outcome;
    char *value, *expected;     /* NULL: nil */
    uint32_t invoked, returned; /* events; UINT32_MAX: never heard of */
};

struct made_history {
    struct made_operation *operations;
    uint32_t count;
    uint32_t events;
};

struct made_options {
    uint64_t seed;
    uint32_t clients, operations, keys;
    uint32_t values; /* different ones that are written; 0: each is written once */
    /* Shares of operations. What is left are writes. */
    double reads, compares, appends;
    double failed, unknown;
    double late; /* chance, at each event, that something unknown takes effect after all */
};

enum made_phase { MADE_IDLE, MADE_INVOKED, MADE_DONE };

struct maker {
    const struct made_options *options;
    struct made_history *h;
    struct rng rng;
    struct buffer *keys; /* what each key holds */
    bool *is_set;
    uint32_t *current; /* by client: its operation */
    enum made_phase *phase;
    uint32_t *late; /* unknown operations that may still take effect */
    uint32_t late_count;
};

static inline char *made_value(struct maker *m)
{
    char text[32];
    uint64_t number =
        m->options->values == 0 ? m->h->count : rng_range(&m->rng, 0, m->options->values);
    snprintf(text, sizeof text, "%llu;", (unsigned long long)number);
    return alloc_string(text);
}

static inline void made_invoke(struct maker *m, uint32_t client)
{
    const struct made_options *p = m->options;
    struct made_operation *o = &m->h->operations[m->h->count];
    double kind = rng_unit(&m->rng);
    *o = (struct made_operation){
        .client = client,
        .key = (uint32_t)rng_range(&m->rng, 0, p->keys),
        .function = kind < p->reads                              ? HISTORY_READ
                    : kind < p->reads + p->compares              ? HISTORY_CAS
                    : kind < p->reads + p->compares + p->appends ? HISTORY_APPEND
                                                                 : HISTORY_WRITE,
        .invoked = m->h->events++,
        .returned = UINT32_MAX,
    };
    if (o->function != HISTORY_READ) {
        o->value = made_value(m);
    }
    if (o->function == HISTORY_CAS) {
        o->expected = m->is_set[o->key] ? alloc_string(buffer_text(&m->keys[o->key])) : NULL;
    }
    m->current[client] = m->h->count++;
    m->phase[client] = MADE_INVOKED;
}

/* Takes effect now. False if it is a compare-and-set that does not find what it expects. */
static inline bool made_apply(struct maker *m, struct made_operation *o)
{
    struct buffer *key = &m->keys[o->key];
    if (o->function == HISTORY_READ) {
        o->value = m->is_set[o->key] ? alloc_string(buffer_text(key)) : NULL;
        return true;
    }
    if (o->function == HISTORY_CAS) {
        bool equal = o->expected == NULL
                         ? !m->is_set[o->key]
                         : m->is_set[o->key] && strcmp(buffer_text(key), o->expected) == 0;
        if (!equal) {
            return false;
        }
    }
    if (o->function != HISTORY_APPEND) {
        buffer_clear(key);
    }
    buffer_add(key, o->value, strlen(o->value));
    m->is_set[o->key] = true;
    return true;
}

static inline void made_go_on(struct maker *m, uint32_t client)
{
    struct made_operation *o = &m->h->operations[m->current[client]];
    if (m->phase[client] == MADE_DONE) {
        o->returned = m->h->events++;
        m->phase[client] = MADE_IDLE;
    } else if (rng_chance(&m->rng, m->options->unknown)) {
        m->late[m->late_count++] = m->current[client];
        m->phase[client] = MADE_IDLE;
    } else if (rng_chance(&m->rng, m->options->failed) || !made_apply(m, o)) {
        o->outcome = HISTORY_FAILED;
        m->phase[client] = MADE_DONE;
    } else {
        o->outcome = HISTORY_OK;
        m->phase[client] = MADE_DONE;
    }
}

static inline struct made_history made_history(const struct made_options *options)
{
    struct made_history h = {.operations = alloc_zeroed(options->operations, sizeof *h.operations)};
    struct maker m = {.options = options,
                      .h = &h,
                      .keys = alloc_zeroed(options->keys, sizeof *m.keys),
                      .is_set = alloc_zeroed(options->keys, sizeof *m.is_set),
                      .current = alloc_zeroed(options->clients, sizeof *m.current),
                      .phase = alloc_zeroed(options->clients, sizeof *m.phase),
                      .late = alloc_zeroed(options->operations, sizeof *m.late)};
    rng_seed(&m.rng, options->seed);
    while (h.count < options->operations) {
        uint32_t client = (uint32_t)rng_range(&m.rng, 0, options->clients);
        if (m.phase[client] == MADE_IDLE) {
            made_invoke(&m, client);
        } else {
            made_go_on(&m, client);
        }
        if (m.late_count > 0 && rng_chance(&m.rng, options->late)) {
            uint32_t i = (uint32_t)rng_range(&m.rng, 0, m.late_count);
            struct made_operation *o = &h.operations[m.late[i]];
            m.late[i] = m.late[--m.late_count];
            if (o->function != HISTORY_READ) {
                made_apply(&m, o);
            }
        }
    }
    for (uint32_t i = 0; i < options->keys; i++) {
        buffer_close(&m.keys[i]);
    }
    free(m.keys);
    free(m.is_set);
    free(m.current);
    free(m.phase);
    free(m.late);
    return h;
}

static inline void made_free(struct made_history *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        free(h->operations[i].value);
        free(h->operations[i].expected);
    }
    free(h->operations);
    *h = (struct made_history){0};
}

static inline struct bytes made_bytes(const char *text)
{
    return text == NULL ? bytes_of(NULL, 0) : bytes_of_string(text);
}

/* The first events of it, as the checker takes them; places are numbers of events. */
static inline struct history *made_prefix(const struct made_history *h, uint32_t events)
{
    struct history *out = history_new("event");
    /* Operations are by invocation, and so get the same numbers. */
    uint32_t *returns = alloc_zeroed((size_t)h->events + 1, sizeof *returns);
    uint32_t *invokes = alloc_zeroed((size_t)h->events + 1, sizeof *invokes);
    for (uint32_t i = 0; i < h->count; i++) {
        invokes[h->operations[i].invoked] = i + 1;
        if (h->operations[i].returned < h->events) {
            returns[h->operations[i].returned] = i + 1;
        }
    }
    for (uint32_t event = 0; event < events; event++) {
        ASSERT((invokes[event] == 0) != (returns[event] == 0));
        uint32_t number = invokes[event] != 0 ? invokes[event] - 1 : returns[event] - 1;
        const struct made_operation *o = &h->operations[number];
        char key[16];
        snprintf(key, sizeof key, "k%u", o->key);
        if (invokes[event] != 0) {
            const struct history_call call = {.client = o->client,
                                              .function = o->function,
                                              .key = bytes_of_string(key),
                                              .value = made_bytes(o->value),
                                              .expected = made_bytes(o->expected),
                                              .place = event};
            uint32_t made;
            enum err e = history_invoke(out, &call, &made);
            ASSERT(e == ERR_OK);
            ASSERT(made == number);
        } else {
            enum err e = history_return(out, number, o->outcome, made_bytes(o->value), event);
            ASSERT(e == ERR_OK);
        }
    }
    free(returns);
    free(invokes);
    return out;
}

static inline struct history *made_whole(const struct made_history *h)
{
    return made_prefix(h, h->events);
}

#endif
