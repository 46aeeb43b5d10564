/* Operating errors: one table, each with a short machine name and a message for people.
 *
 * Functions that can fail return enum err (ERR_OK is 0). Where a caller needs to tell a person what
 * went wrong and where, it passes a struct why, which the failing function fills with one sentence:
 * what failed, where, and what to do. A struct why is optional everywhere (NULL is accepted). */
#ifndef MK_BASE_ERR_H
#define MK_BASE_ERR_H

/* clang-format off */
#define ERR_TABLE(X)                                                                               \
    X(OK, "ok", "success")                                                                         \
    X(NOT_LEADER, "not_leader", "this node is not the leader")                                     \
    X(OUTCOME_UNKNOWN, "outcome_unknown", "the command may or may not have been committed")        \
    X(TIMEOUT, "timeout", "the time allowed ran out")                                              \
    X(CONFLICT, "conflict", "the expected version does not match")                                 \
    X(FENCED, "fenced", "a newer fencing token exists")                                            \
    X(NOT_FOUND, "not_found", "no such thing")                                                     \
    X(REJECTED, "rejected", "the state machine rejected the command")                              \
    X(BUSY, "busy", "too much work is queued; try again")                                          \
    X(TOO_LARGE, "too_large", "larger than the limit")                                             \
    X(UNREACHABLE, "unreachable", "no connection could be made")                                   \
    X(SHUTDOWN, "shutdown", "the node is shutting down")                                           \
    X(IO, "io", "input or output failed")                                                          \
    X(INVALID, "invalid", "malformed or not allowed")                                              \
    X(CORRUPT, "corrupt", "stored data does not match its checksum")                               \
    X(EXISTS, "exists", "already exists")                                                          \
    X(NO_SPACE, "no_space", "the disk is full")                                                    \
    X(LOCKED, "locked", "in use by another process")                                               \
    X(WRONG_CLUSTER, "wrong_cluster", "belongs to another cluster")                                \
    X(WRONG_NODE, "wrong_node", "belongs to another node or to a node whose disk was replaced")    \
    X(VERSION, "version", "protocol or format version is not supported")                           \
    X(CANCELLED, "cancelled", "the operation was cancelled")                                       \
    X(TRUNCATED, "truncated", "more bytes are needed")                                             \
    X(EXPIRED, "expired", "the session has expired")
/* clang-format on */

enum err {
#define X(name, text, message) ERR_##name,
    ERR_TABLE(X)
#undef X
        ERR_COUNT
};

/* "not_leader"; stable: it is on the wire and in Lua's err.code. */
const char *err_name(enum err e);
/* One clause for people. */
const char *err_message(enum err e);
/* The error with this name. ERR_COUNT if there is none. */
enum err err_from_name(const char *name);
/* The error that an errno value stands for (ENOSPC and EDQUOT are ERR_NO_SPACE, ...). */
enum err err_from_errno(int number);

/* One sentence on a failure, for a person. Always terminated; "" when there is nothing to add. */
struct why {
    char text[512];
};

/* Format into w (which may be NULL) and return e, so that `return err_why(why, ERR_IO, ...)` reads
 * as one statement. Text longer than the buffer is cut. */
enum err err_why(struct why *w, enum err e, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
