/* Programs that scripts run: no shell, each a process group of its own.
 *
 * The caller numbers processes (never 0, never twice) and calls. Calls that take a number are
 * answered exactly once, on any thread, through what the implementation was given for that; the
 * others have no answer. A number of a process that is not known is answered with NOT_FOUND, and
 * ignored where there is no answer. All of a process's calls are carried out in order.
 *
 * What a process leaves behind when it ends (others in its group) is killed with it; of one that is
 * bound to a leadership or to a lock, also what has left the group, before its end is told. A
 * process is killed when it is released, when this port or its node ends, and, if it works for a
 * leadership, when the lease of that ends; under a lock, when that is not known to be held any
 * more: the last three by the guardian, so that it does not matter what state the node is in.
 *
 * All functions may be called from the script host's thread, lease() from any. None calls back. */
#ifndef MK_PORT_PROCESS_H
#define MK_PORT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

enum process_stream { PROCESS_STDOUT, PROCESS_STDERR, PROCESS_STREAMS };

/* What is kept of a stream until it is read; then whoever writes to it waits. */
enum { PROCESS_UNREAD_MAX = 65536 };

struct process_spec {
    const char *const *argv;    /* NULL at the end; argv[0] is looked up in PATH */
    const char *const *env;     /* "NAME=value", NULL at the end: added to the node's environment */
    const char *cwd;            /* NULL: the node's */
    bool input;                 /* stdin is written to; else it is empty */
    bool read[PROCESS_STREAMS]; /* is read; else it goes nowhere */
    uint64_t token;             /* of the leadership that it works for; 0: none */
    uint64_t lease_until_us;    /* it is killed then, unless lease() extends it */
    uint64_t hold_until_us;     /* likewise, and hold() extends it; 0: no such bound */
};

struct process_read {
    enum process_stream stream;
    /* In bytes of the stream: answered with what is there from offset on, as soon as there is
     * something. What is before is forgotten. A call that was given up loses nothing. */
    uint64_t offset;
};

/* When a process is killed that is bound so. */
static inline uint64_t process_deadline_us(uint64_t lease_until_us, uint64_t hold_until_us)
{
    return hold_until_us != 0 && hold_until_us < lease_until_us ? hold_until_us : lease_until_us;
}

struct process_port {
    void *ctx;
    /* Answer: the process id. Errors: NOT_FOUND (no such program or directory), IO, BUSY (too many
     * processes), NOT_LEADER (its lease is over), FENCED (hold_until_us is). spec is borrowed. */
    void (*start)(void *ctx, uint64_t call, uint64_t process, const struct process_spec *spec);
    /* Answer: bytes (bin), or nil at the end of the stream. One such call per stream at a time: a
     * later one takes the place of an earlier one, which is answered with CANCELLED. */
    void (*read)(void *ctx, uint64_t call, uint64_t process, struct process_read what);
    /* Answer: nil, when all is written. Errors: IO, it does not read (any more). data is
     * borrowed. */
    void (*write)(void *ctx, uint64_t call, uint64_t process, struct bytes data);
    /* Answer: its exit code, or minus the signal that killed it, once it has ended and is
     * reaped. */
    void (*wait)(void *ctx, uint64_t call, uint64_t process);

    /* Kill it if it still runs, and forget it. Its calls not yet answered are, with CANCELLED.
     * Answer: nil, when it is gone, and with it what is killed with it. call 0: nobody asks. */
    void (*release)(void *ctx, uint64_t call, uint64_t process);

    void (*close_input)(void *ctx, uint64_t process);
    /* Its stdout is read no more: SIGPIPE for who goes on writing. */
    void (*close_output)(void *ctx, uint64_t process);
    /* To all of its group. Nothing happens once it has ended. */
    void (*signal)(void *ctx, uint64_t process, int signal);
    /* What it was started under is held until then. */
    void (*hold)(void *ctx, uint64_t process, uint64_t until_us);
    /* The leadership of token is leased until then: so are the processes that work for it. */
    void (*lease)(void *ctx, uint64_t token, uint64_t until_us);
};

#endif
