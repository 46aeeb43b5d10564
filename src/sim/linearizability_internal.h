/* What the parts of the linearizability checker share. Private.
 *
 *     linearizability.c          keys apart, the search for each, the shortest illegal prefix
 *     linearizability_explain.c  what was wrong, in words
 *     linearizability_search.c   one part: the depth-first search for an order
 *     linearizability_memo.c     the configurations that the search has been in
 *     linearizability_model.c    the models: register and kv */
#ifndef MK_SIM_LINEARIZABILITY_INTERNAL_H
#define MK_SIM_LINEARIZABILITY_INTERNAL_H

#include "sim/linearizability.h"

/* ---- models ---------------------------------------------------------------------------------- */

/* A state of a model, as it numbers them. */
typedef uint64_t lin_state;

/* The state that can do least: whatever is legal in it is legal in every state and leads to the
 * same state from there, or to one that can do more. All states that no operation of the part will
 * ever tell from such a state are this one: that keeps the number of states small. */
#define LIN_DEAD     UINT64_MAX
#define LIN_NO_STATE (UINT64_MAX - 1)

/* An operation of one part of a history, as the search sees it. */
struct lin_operation {
    uint32_t number; /* in the history */
    enum history_function function;
    bool known;     /* it happened, before returned; otherwise it may have, at any time */
    uint32_t value; /* as in the history */
    uint32_t expected;
    uint32_t invoked;  /* events; */
    uint32_t returned; /* UINT32_MAX if not known */

    /* Set by the model. */
    bool pure;       /* changes no state: it is legal or it is not */
    uint32_t reads;  /* observed value without which it is illegal, or UINT32_MAX */
    lin_state makes; /* whatever state it leaves, if that does not depend on the one before */
    uint32_t kind;   /* equal for operations that do the same in every state */
};

/* What an operation means. A model works on one part of a history: prepare() is given all of its
 * operations (in the order: known ones by invocation, unknown ones by invocation), and place() and
 * lift() say which of them have been given their place in the order; lifted are those that were
 * placed last. */
struct lin_model {
    const char *name;
    bool by_key; /* operations on different keys have nothing to do with each other */
    bool (*knows)(enum history_function function);
    void *(*prepare)(const struct history *h, struct lin_operation *operations, uint32_t count);
    void (*close)(void *part);
    lin_state (*initial)(const void *part);
    /* False if it is illegal there. */
    bool (*step)(const void *part, lin_state from, const struct lin_operation *o, lin_state *to);
    void (*place)(void *part, uint32_t operation);
    void (*lift)(void *part, uint32_t operation);
    /* The state that stands for this one, given what is not placed yet: LIN_DEAD or itself. */
    lin_state (*settle)(const void *part, lin_state state);
    /* True if something that must happen no longer can, now that this state was left for that. */
    bool (*is_hopeless)(const void *part, lin_state left, lin_state state);
    /* True if nothing that is not placed could see what this operation, which is, has done: not now
     * and not if it had its place anywhere later. */
    bool (*leaves_no_trace)(const void *part, uint32_t operation);
};

/* ---- memory of configurations ---------------------------------------------------------------- */

struct lin_memo;

struct lin_memo *lin_memo_new(size_t memory_max_bytes);
void lin_memo_free(struct lin_memo *m);

/* Which operations have been placed, and the state that they left. Bits of known operations start
 * at the word of the first that is not placed: all before are. */
struct lin_configuration {
    lin_state state;
    uint32_t known_first; /* word of the first bits of known[] */
    uint32_t known_words;
    uint32_t unknown_words;
    const uint64_t *known;
    const uint64_t *unknown;
};

enum lin_memo_answer { LIN_MEMO_NEW, LIN_MEMO_SEEN, LIN_MEMO_FULL };

/* Has the search been in this configuration, or in one that is the same but for fewer unknown
 * operations used (and can therefore do as much)? If not, it is noted. *steps counts comparisons.
 */
enum lin_memo_answer lin_memo_visit(struct lin_memo *m, const struct lin_configuration *c,
                                    uint64_t *steps);

/* ---- one part -------------------------------------------------------------------------------- */

/* Some operations of a history, up to an event. */
struct lin_part {
    const struct history *history;
    const struct lin_model *model;
    const uint32_t *operations; /* by invocation */
    uint32_t operations_count;
    uint32_t events; /* only this many events of the history have happened */
    /* A question: what if this operation had been a read of this value? UINT32_MAX: none. */
    uint32_t probe, probe_value;
};

struct lin_budget {
    uint64_t steps;
    struct lin_limits limits;
};

struct lin_outcome {
    enum lin_answer answer;
    /* LIN_ILLEGAL: some return that no order reaches beyond. Prefixes that end before it are legal;
     * the one that ends with it is illegal unless only what happened later makes it so. */
    uint32_t frontier;
    /* LIN_LEGAL: the order, as numbers of operations. Free with free(). */
    uint32_t *order;
    uint32_t order_count;
};

void lin_search(const struct lin_part *part, struct lin_budget *budget, struct lin_outcome *out);

/* Say in words why the return of this operation, a read or a compare-and-set that is OK, ends the
 * shortest illegal prefix of the part. */
void lin_explain(const struct lin_part *part, uint32_t operation, struct lin_budget *budget,
                 struct buffer *words);
/* The same of one that failed: introduces an explanation of the part without it. */
void lin_explain_failure(const struct lin_part *part, uint32_t operation, struct buffer *words);

#endif
