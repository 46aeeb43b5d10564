/* Is a history linearizable: is there one order of its operations that respects real time (what
 * returned before another was invoked comes before it) and in which each does what the model says?
 * Herlihy & Wing 1990. Failed operations are left out; unknown ones may be put anywhere after their
 * invocation, or be left out.
 *
 * The answer is exact. The question is NP-complete, so there are limits, and a third answer. */
#ifndef MK_SIM_LINEARIZABILITY_H
#define MK_SIM_LINEARIZABILITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "sim/history.h"

struct lin_model;

/* One value, nil at first: read, write, compare-and-set. Keys are ignored. */
extern const struct lin_model lin_register;
/* A value for each key, empty at first (nil is the same): read, write, append, compare-and-set. */
extern const struct lin_model lin_kv;

const char *lin_model_name(const struct lin_model *m);
/* NULL if there is none of that name: "register", "kv". */
const struct lin_model *lin_model_of(const char *name);

/* 0: the default. */
struct lin_limits {
    uint64_t steps_max; /* operations tried and configurations compared */
    size_t memory_max_bytes;
};

enum lin_answer { LIN_LEGAL, LIN_ILLEGAL, LIN_GAVE_UP };

struct lin_verdict {
    enum lin_answer answer;
    uint64_t steps;
    /* LIN_ILLEGAL: the operation whose return cannot be explained, and how many events the shortest
     * illegal prefix has; that return is the last of them. It is a read or a compare-and-set, or
     * something that failed although others saw its effect. (Where the limits did not allow to
     * find the shortest, is_shortest is false and the prefix is a longer illegal one.) */
    uint32_t operation;
    uint32_t events;
    bool is_shortest;
    struct buffer words; /* for people, several lines; "" if legal */
};

/* limits may be NULL. The verdict is in place; close it whatever the answer was.
 * Errors: ERR_INVALID if the model does not know a function of the history (words says which). */
enum err linearizable_check(const struct history *h, const struct lin_model *m,
                            const struct lin_limits *limits, struct lin_verdict *verdict);
/* Accepts a zeroed one. */
void lin_verdict_close(struct lin_verdict *v);

#endif
