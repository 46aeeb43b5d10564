/* The body of a log entry: everything but its index and term, which the log keeps.
 *
 * On disk and on the wire it is the MessagePack array
 *     [kind, machine, session, seq, time_ms, payload]
 * with session of 16 bytes, or of none when it is all zero. */
#ifndef MK_WIRE_ENTRY_H
#define MK_WIRE_ENTRY_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* The numbers are the format: never renumber. */
enum entry_kind {
    ENTRY_NOOP = 0,    /* what a leader begins its term with (§8) */
    ENTRY_COMMAND = 1, /* for a replicated machine */
    ENTRY_CONFIG = 2,  /* a struct membership (wire/membership.h) */
    ENTRY_MACHINE = 3, /* a machine's source enters the cluster */
    ENTRY_SESSION = 4, /* sessions open and expire */
    ENTRY_KIND_COUNT
};

enum { ENTRY_MACHINE_NAME_MAX = 64, ENTRY_SESSION_BYTES = 16 };

#define ENTRY_TIME_MS_MAX ((INT64_C(1) << 53) - 1)

struct entry {
    enum entry_kind kind;
    struct bytes machine; /* name; at most ENTRY_MACHINE_NAME_MAX bytes, may be empty */
    uint8_t session[ENTRY_SESSION_BYTES]; /* all zero: none */
    uint64_t seq;
    int64_t
        time_ms; /* the leader's wall clock as its term began, and then its monotonic clock; never
                    less than the previous entry's;
                    0 to ENTRY_TIME_MS_MAX, so that adding to it cannot overflow */
    struct bytes payload;
};

/* Append the encoding of e to out. */
void entry_encode(const struct entry *e, struct buffer *out);
/* out's views point into body.
 * Errors: TRUNCATED, INVALID, TOO_LARGE (the machine's name). */
enum err entry_decode(struct bytes body, struct entry *out);
/* [cmd, args] of an ENTRY_COMMAND's payload, which holds [token, [cmd, args]] where it was proposed
 * with a fencing token: *fence, 0 for none. */
struct bytes entry_command(struct bytes payload, uint64_t *fence);
/* The kind alone, at the cost of two comparisons; ENTRY_KIND_COUNT if body does not begin like an
 * entry. Says nothing on whether the rest is well formed. */
enum entry_kind entry_kind_of(struct bytes body);
/* "noop"; of what is no kind, "unknown". The word that hooks, tests and the CLI have for it. */
const char *entry_kind_name(enum entry_kind kind);

#endif
