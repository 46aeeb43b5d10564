/* Work in child processes, several at a time: what one of them does (a crash, a failed assertion, a
 * loop without end) is its own. Results come back through pipes.
 *
 * Children die with this process. Nothing else may be waiting for children meanwhile. */
#ifndef MK_SCENARIO_JOBS_H
#define MK_SCENARIO_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

enum { JOBS_MAX = 256 };

/* How a job ended. */
struct jobs_end {
    uint64_t number;
    struct bytes result; /* what it wrote to its pipe */
    struct bytes errors; /* what it wrote to stderr; its end, if it was much */
    int exit_code;       /* where signal is 0 */
    int signal;          /* that killed it; 0: none */
    bool late;           /* killed for taking longer than limit_ms */
    uint64_t took_us;
};

struct jobs_options {
    uint32_t jobs; /* processes at a time */
    uint64_t count;
    uint64_t limit_ms; /* for each; 0: none */
    /* In a child: do job number, write the result to pipe_end. Its return value is the exit code.
     */
    int (*work)(void *ctx, uint64_t number, int pipe_end);
    /* In this process, in the order in which they end. False: begin no further ones. */
    bool (*ended)(void *ctx, const struct jobs_end *end);
    void *ctx;
};

/* Jobs 0 .. count - 1 are begun in this order. Returns when all that were begun have ended.
 * Errors: IO (no pipe, no process). */
enum err jobs_run(const struct jobs_options *options, struct why *why);

/* Processors that this process may use. */
uint32_t jobs_processors(void);

/* Writes all of it; false if the other end is gone. */
bool jobs_write(int pipe_end, struct bytes data);

#endif
