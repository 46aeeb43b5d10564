/* Test files in Lua (lua/moonkeeper/test.lua): what tests one holds, and running one of them.
 *
 * A test runs in an application of its own script host (script/script.h), so its body is a task.
 * What it does to clusters are requests, which the driver maps to a target (target.h). While the
 * test has something to do, time stands still; when all of its tasks wait, the driver lets time go
 * on up to the next thing that one of them waits for. */
#ifndef MK_SCENARIO_SCENARIO_H
#define MK_SCENARIO_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

struct scenario_case {
    char *name; /* with the names of the groups around it: "elections > a majority elects" */
    uint32_t line;
    bool sim, real; /* the modes it is for */
    uint64_t seeds;
    uint64_t timeout_ms;
};

struct scenario_file {
    char *path;
    struct buffer text;
    struct scenario_case *cases; /* in the order of the file */
    uint32_t count;
};

/* Reads the file and runs its main chunk. Close *out whatever the answer was.
 * Errors: NOT_FOUND, IO; INVALID (it does not load: why begins with its path, and the line). */
enum err scenario_file_load(const char *path, struct scenario_file *out, struct why *why);
/* Accepts a zeroed one. */
void scenario_file_close(struct scenario_file *file);

struct scenario_run {
    const struct scenario_file *file;
    uint32_t number; /* of the case, from 0 */
    bool real;
    uint64_t seed;
    const char *program; /* real: the moonkeeper to start; NULL: this one */
    const char *tmp_dir; /* real: where clusters make their directories; NULL: the system's */
    uint32_t patience;   /* real: waits last so many times as long before they fail; 0: as long */
    /* Told each line of what happens; NULL: nobody. */
    void (*live)(void *ctx, const char *line);
    void *live_ctx;
};

enum scenario_outcome { SCENARIO_PASSED, SCENARIO_FAILED, SCENARIO_SKIPPED };

struct scenario_result {
    enum scenario_outcome outcome;
    struct buffer message;  /* FAILED: what is wrong, several lines. SKIPPED: why */
    struct buffer where;    /* "file.lua:12", or empty */
    struct buffer trace;    /* Lua's traceback; may be empty */
    struct buffer timeline; /* FAILED: what happened last */
    struct buffer log;      /* FAILED: what the test printed */
    uint64_t simulated_us;
    uint64_t trace_hash; /* of all that happened; 0 on real processes */
};

/* Close *out afterwards. */
void scenario_run(const struct scenario_run *run, struct scenario_result *out);
void scenario_result_close(struct scenario_result *r);

/* To and from the process that ran it. Errors of decode: INVALID, TRUNCATED. */
void scenario_result_encode(const struct scenario_result *r, struct buffer *out);
enum err scenario_result_decode(struct bytes data, struct scenario_result *out);

#endif
