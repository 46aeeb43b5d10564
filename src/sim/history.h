/* What clients asked of a register or of a key-value store, and what they heard: the input of the
 * linearizability checker. Built by appending events in the order in which they happened; every
 * operation is one invocation and at most one return.
 *
 * An operation that failed did not happen. One whose outcome is unknown (or that has not returned)
 * may have happened, once, at any time after its invocation, or never.
 *
 * Keys and values are bytes, or nil: struct bytes whose data is NULL. The history keeps one copy of
 * each and numbers them; number HISTORY_NIL is nil. Equal numbers are equal bytes. */
#ifndef MK_SIM_HISTORY_H
#define MK_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum {
    HISTORY_NIL = 0,
    HISTORY_OPERATIONS_MAX = 1 << 20,
    HISTORY_VALUES_MAX_BYTES = 256 << 20,
};

enum history_function { HISTORY_READ, HISTORY_WRITE, HISTORY_CAS, HISTORY_APPEND };
enum history_outcome { HISTORY_UNKNOWN, HISTORY_OK, HISTORY_FAILED };

struct history_operation {
    uint64_t client;
    enum history_function function;
    enum history_outcome outcome;
    bool heard; /* of its outcome, even if that is that it is unknown */
    uint32_t key;
    uint32_t value;    /* what is written or appended; of a read that is OK: what it returned */
    uint32_t expected; /* CAS: the value it replaces */
    uint32_t invoked;  /* number of the event */
    uint32_t returned; /* UINT32_MAX unless OK or FAILED */
};

struct history_event {
    uint32_t operation;
    uint64_t place; /* the caller's name for the moment: a line, a time; only for explanations */
};

struct history;

/* places: what the places of events are, in explanations: "line". Borrowed for good. */
struct history *history_new(const char *places);
/* Accepts NULL. */
void history_free(struct history *h);

struct history_call {
    uint64_t client;
    enum history_function function;
    struct bytes key;
    struct bytes value; /* not of a read */
    struct bytes expected;
    uint64_t place;
};

/* An operation begins; *operation is its number, counting from 0.
 * Errors: ERR_TOO_LARGE beyond HISTORY_OPERATIONS_MAX or HISTORY_VALUES_MAX_BYTES. */
enum err history_invoke(struct history *h, const struct history_call *call, uint32_t *operation);

/* Its outcome is heard of. value: what a read that is OK returned; ignored otherwise.
 * Errors: ERR_INVALID if it has returned before, ERR_TOO_LARGE. */
enum err history_return(struct history *h, uint32_t operation, enum history_outcome outcome,
                        struct bytes value, uint64_t place);

/* By number, which is by time of invocation. Borrowed until the next invocation. */
const struct history_operation *history_operations(const struct history *h, uint32_t *count);
/* By time. Borrowed until the next event. */
const struct history_event *history_events(const struct history *h, uint32_t *count);
/* The key or value with this number. Borrowed. */
struct bytes history_value(const struct history *h, uint32_t number);
const char *history_places(const struct history *h);

#endif
