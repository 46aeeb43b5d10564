/* A run of `moonkeeper test`: files, the tests chosen from them, a process for each run of each. */
#ifndef MK_SCENARIO_SUITE_H
#define MK_SCENARIO_SUITE_H

#include "scenario/scenario.h"

struct suite_options {
    bool real;
    const uint64_t *seed; /* NULL: from 1 on */
    uint64_t seeds;       /* as many times what a test asks for; 0: not stated */
    const char *filter;   /* only tests whose name contains this; NULL: all */
    uint32_t jobs;        /* 0: as many as there are processors; real processes: 1 */
    const char *trace;    /* a file that every step is written to; NULL: none */
    const char *program;  /* see struct scenario_run */
    const char *tmp_dir;  /* likewise */
    uint64_t limit_ms;    /* of one run, in real time; 0: the default */
    uint32_t patience;    /* see struct scenario_run */
};

enum { SUITE_FAILED_SEEDS = 8 };

/* One test, and what its runs came to. */
struct suite_case {
    const struct scenario_file *file;
    uint32_t number; /* in the file */
    uint64_t first_seed, runs;
    uint64_t done, passed, failed, skipped;
    uint64_t simulated_us, took_us;
    uint64_t trace_hash;                       /* of all runs, in any order */
    uint64_t failed_seeds[SUITE_FAILED_SEEDS]; /* the first that were heard of */
    uint64_t seed;                             /* of the failure that is shown: the lowest */
    struct scenario_result result;             /* of that; or why it was skipped */
};

const struct scenario_case *suite_case_of(const struct suite_case *c);

struct suite {
    struct scenario_file *files;
    uint32_t files_count;
    struct suite_case *cases; /* in order */
    uint32_t cases_count;
    uint64_t took_us;
};

/* Loads a file, or all *.lua of a folder in the order of their names. To be called for each
 * argument. Errors: those of scenario_file_load(), with why. */
enum err suite_add(struct suite *s, const char *path, struct why *why);
/* Chooses the tests. After the last suite_add(). */
void suite_choose(struct suite *s, const struct suite_options *options);
/* Runs them. done is called for each, in order. Errors: IO. */
enum err suite_run(struct suite *s, const struct suite_options *options,
                   void (*done)(void *ctx, const struct suite *s, const struct suite_case *c),
                   void *ctx, struct why *why);
/* Accepts a zeroed one. */
void suite_close(struct suite *s);

#endif
