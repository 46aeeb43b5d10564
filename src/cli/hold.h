/* Holding something that the cluster gives (a lock, leadership), and running a program under it:
 * what `moonkeeper lock` and `moonkeeper lead` share.
 *
 * What is held is held until a time, which is moved on by asking the cluster again and again. The
 * program is killed at that time (guardian/leash.h), whatever becomes of this process; before, as
 * far as there is time, it is asked to stop. Signals are passed on to it. */
#ifndef MK_CLI_HOLD_H
#define MK_CLI_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/steady.h"

enum hold_state {
    HOLD_HELD,
    HOLD_ENDING, /* it is to be given up soon, and held until then: the program stops */
    HOLD_LOST,
};

/* Times are µs of CLOCK_BOOTTIME. */
struct hold {
    const struct cli *cli;
    const char *what; /* "the lock backup": for messages */
    uint64_t stop_us; /* the program has so long between SIGTERM and SIGKILL */
    void *ctx;
    /* Wait until it is held; writes the environment of the program. Errors: any; why is reported.
     */
    enum err (*acquire)(struct hold *h, struct why *why);
    /* Ask the cluster again; returns early when the steady is given up. */
    void (*keep)(struct hold *h);
    /* Give it back, or what acquire has got so far: all that ran is gone by now. */
    void (*release)(struct hold *h);

    struct steady *steady;
    /* Set by acquire and keep. */
    enum hold_state state;
    uint64_t token;
    uint64_t until_us; /* held for sure until then */
    uint64_t next_us;  /* keep it then */
    char environment[4][300];
    unsigned environment_count;
};

/* Acquire, run argv (NULL: until stdin ends or a signal comes), release. Returns the exit code: the
 * program's own, 128 + the signal that ended it, EXIT_LOST, or that of what failed. */
int hold_run(struct hold *h, char *const *argv);

/* The value of --flag, if there is one (text is not NULL), in µs. A mistake is reported:
 * EXIT_USAGE. */
int hold_duration(const struct cli *cli, const char *flag, const char *text, uint64_t *out_us);

/* For acquire: one more variable for the program. */
void hold_set(struct hold *h, const char *name, const char *value);
void hold_set_u64(struct hold *h, const char *name, uint64_t value);

#endif
