/* Replicated state machines written in Lua, applied on the consensus loop.
 *
 * Every node runs the same committed entries through the same functions and must arrive at the same
 * state, bit for bit. So all that a machine can see is in the entry and in the state: the sandbox
 * (machine_sandbox.h) leaves out everything else, and what remains has one defined result.
 *
 * One restricted lua_State serves all machines; each has an environment of its own, frozen once it
 * is loaded. What a machine keeps, it keeps in `st` (st.h), which is a view of struct state.
 *
 * Errors of machines_apply and machines_install come in two sorts, and only these two:
 *   - a deterministic outcome, the same on every node: ERR_OK, or the command is refused and its
 *     writes are rolled back. It is the answer to the proposer.
 *   - ERR_IO: this node failed (memory, or the state does not hold what it must). The state is as
 *     before the call; the caller must stop applying, for what the others did is unknown.
 *
 * Transactions: machines_apply and machines_install open one of their own on the state and close it
 * before they return. The caller has none open; what it records about the entry (sessions, the
 * applied index) it writes afterwards, whatever the outcome, before the next entry. A snapshot is
 * taken between entries, so it sees both or neither.
 *
 * Not thread-safe: one thread owns it, the loop. */
#ifndef MK_SCRIPT_MACHINE_H
#define MK_SCRIPT_MACHINE_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;
struct state;

/* The first byte of every key in the state says whose it is. The system's own records
 * (sessions, the applied index, ...) are 0x00, one more byte, ...; the source of machine "kv" is at
 * 0x00 'm' "kv"; what "kv" keeps is at 0x01 "kv" 0x00, path (st.h). */
#define MACHINES_KEY_SYSTEM  0x00
#define MACHINES_KEY_SOURCES 'm'
#define MACHINES_KEY_DATA    0x01

/* A name is a lower-case letter, then lower-case letters, digits, '_', '-' or '.'. */
#define MACHINE_NAME_BYTES_MAX   63
#define MACHINE_SOURCE_BYTES_MAX (512 * 1024)

/* Limits that must be the same on all nodes: they decide whether a command is rejected. */
#define MACHINES_INSTRUCTIONS_MAX_DEFAULT 10000000

struct machines_options {
    struct state *state;   /* borrowed */
    const struct log *log; /* borrowed, may be NULL */
    /* Work allowed per command, in VM instructions; library functions charge for the bytes and
     * elements that they handle. A replicated limit. 0: the default. */
    uint64_t instructions_max;
    /* What the Lua state may hold, a limit of this node alone: reaching it is ERR_IO. 0: 256 MiB.
     */
    size_t memory_bytes_max;
};

struct machines;

/* NULL if the Lua library is not one that this build can make deterministic (why says so). */
struct machines *machines_new(const struct machines_options *options, struct why *why);
/* Accepts NULL. */
void machines_free(struct machines *m);

struct machine_info {
    char name[MACHINE_NAME_BYTES_MAX + 1];
    uint64_t version;
    uint64_t hash; /* XXH3 of the source: for people and for comparing; not a secret */
};

/* Whether the source could be installed, judged without any state: used before it is proposed.
 * Errors: ERR_INVALID with the reason (and line) in why; ERR_TOO_LARGE. */
enum err machines_check(struct bytes source, struct machine_info *out, struct why *why);

/* Where in the log a command stands. */
struct machine_at {
    uint64_t index;
    uint64_t term;
    int64_t time_ms; /* the entry's own time */
};

/* Apply a committed ENTRY_MACHINE whose payload is the source. The same version and source again
 * changes nothing; a lower version is ignored (both ERR_OK). A new machine runs init(st); a higher
 * version runs migrate(st, from) if it has one. The source is kept in the state, so snapshots have
 * it. info (may be NULL) receives what the source says it is. Errors: ERR_CONFLICT: this version is
 * installed with another source. ERR_INVALID: does not load. ERR_REJECTED: init or migrate raised
 * an error or ran over the limit. ERR_IO: see above. */
enum err machines_install(struct machines *m, const struct machine_at *at, struct bytes source,
                          struct machine_info *info, struct why *why);

/* Load the machines that the state holds, and only those: after a snapshot was restored into it.
 * Errors: ERR_CORRUPT: a source in the state does not load. ERR_IO. */
enum err machines_reload(struct machines *m, struct why *why);

struct machine_command {
    struct bytes machine; /* name */
    struct bytes payload; /* MessagePack [cmd, args], or [cmd] */
    struct machine_at at;
    uint64_t fence; /* the token it was proposed under, 0 for none; in meta.fence */
};

/* Apply a committed command. result is appended to: the MessagePack of what the command returned
 * (nil if nothing). When the command is refused, result receives the MessagePack of the error value
 * if that was a table, else nil, and why the message.
 * Errors: ERR_NOT_FOUND: no such machine or command. ERR_INVALID: malformed payload.
 * ERR_REJECTED: error() or the instruction limit. ERR_CONFLICT, ERR_FENCED, ERR_NOT_FOUND,
 * ERR_TOO_LARGE, ERR_BUSY, ERR_EXPIRED, ERR_EXISTS: as error{code="conflict"} etc. asks.
 * ERR_IO: see above. */
enum err machines_apply(struct machines *m, const struct machine_command *command,
                        struct buffer *result, struct why *why);

struct machine_query {
    struct bytes machine;
    struct bytes name;
    struct bytes args;    /* MessagePack; empty: none */
    struct machine_at at; /* last applied: meta of the query */
};

/* Run a query. st is read-only (a write raises), the limit is the same as for commands, nothing of
 * it stays. result as for machines_apply. Errors: as machines_apply; ERR_IO here concerns the query
 * alone (the node may go on). */
enum err machines_query(struct machines *m, const struct machine_query *query,
                        struct buffer *result, struct why *why);

/* When the i-th installed machine (machines_list) wants its command "wake" proposed: what its
 * function wake(st, meta) returns, in ms from now on; now is what an entry proposed now would bear.
 * False if it has no such function or wants nothing; a function that fails or returns something
 * else has the reason in why, else why is empty. st is read-only, nothing of the call stays. The
 * limit is far below a command's, for the leader asks again and again: 100,000 instructions. */
bool machines_wake(struct machines *m, size_t i, const struct machine_at *now, int64_t *in_ms,
                   struct why *why);

/* The i-th installed machine, in order of names. False when there are no more. */
bool machines_list(const struct machines *m, size_t i, struct machine_info *out);

#endif
