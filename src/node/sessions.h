/* Deduplication of commands: a command that arrives in the log twice takes effect once.
 *
 * A session belongs to one process that proposes. It is opened by an entry of its own, and numbers
 * its commands; the replicated state keeps which numbers were applied (thesis §6.3). The proposer
 * learns a result by applying the entry itself, so results are not kept.
 *
 * A key is one that a user gave to one command ("id" of a proposal). It may come back through
 * another node, so its outcome is kept, for the same time; the oldest go first beyond a limit.
 *
 * Everything is kept in struct state, under the system prefix: it is part of the hash, of
 * snapshots, and the same on all nodes. Time is the entries' time, which never goes back: records
 * expire at the same index everywhere. A session that is not known (never opened, or expired) is
 * refused.
 *
 *     00 's' session            -> last_ms, low, [from, to) ...      numbers <= low or in a range
 * are done 00 'k' key                -> time_ms, error, message, result 00 'e' expiry_ms 's'|'k'
 * session|key -> nothing                   in order of expiry 00 'n'                    -> number
 * of keys */
#ifndef MK_NODE_SESSIONS_H
#define MK_NODE_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "state/state.h"
#include "wire/entry.h"

/* These numbers decide outcomes: they must be the same on all nodes. */
enum {
    SESSIONS_RANGES_MAX = 128,  /* gaps remembered in one session; the oldest is closed beyond it */
    SESSIONS_KEYS_MAX = 100000, /* user's keys remembered */
    SESSIONS_RESULT_BYTES_MAX = 4096, /* of a key's outcome; a longer result is forgotten */
    SESSIONS_EXPIRE_PER_ENTRY = 4,
};

struct seq_range {
    uint64_t from, to; /* [from, to) */
};

/* Numbers <= low and those in the ranges were applied; ranges ascend and do not touch. */
struct session_record {
    int64_t last_ms; /* when it is due to expire is derived from this */
    uint64_t low;
    uint32_t ranges_count;
    struct seq_range ranges[SESSIONS_RANGES_MAX + 1];
};

/* Zeroed, but for the first two. What is kept beside the state only says what the state says, so
 * that most commands need not look there: the session used last, and until when nothing expires. */
struct sessions {
    struct state *state; /* borrowed */
    int64_t ttl_ms;
    bool has_latest;
    uint8_t latest_id[ENTRY_SESSION_BYTES];
    struct session_record latest;
    int64_t quiet_until_ms; /* no record is due before; 0: not known */
};

/* The outcome of a command, kept for a key. Views. */
struct outcome {
    enum err err;
    struct bytes message;
    struct bytes result; /* MessagePack */
    bool result_forgotten;
};

enum session_verdict {
    SESSION_FRESH,     /* apply it, then sessions_record() */
    SESSION_DUPLICATE, /* it was applied before: do nothing */
    SESSION_EXPIRED,   /* refuse it */
};

/* A command with a session and seq > 0 belongs to a session; with seq 0, session is a key; without
 * a session it is always fresh. For the duplicate of a key, *outcome is what it came to (borrowed
 * until the next write). */
enum session_verdict sessions_check(struct sessions *s, const struct entry *e,
                                    struct outcome *outcome);
/* The command was applied. outcome matters for keys. */
void sessions_record(struct sessions *s, const struct entry *e, const struct outcome *outcome);

/* Apply an ENTRY_SESSION whose payload is the MessagePack integer opened_ms, the proposer's idea of
 * the time. Opening twice is harmless. Errors: EXPIRED: too old to be told from a session that was
 * open and has expired; INVALID. */
enum err sessions_open(struct sessions *s, const struct entry *e);

/* Drop what has expired by this time. A bounded amount of work. */
void sessions_expire(struct sessions *s, int64_t time_ms);

/* Another state has taken the place of the one that was. */
void sessions_replaced(struct sessions *s);

#endif
