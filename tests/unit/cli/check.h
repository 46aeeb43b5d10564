/* What the tests of cli/ share: what a verb prints, kept instead of shown. */
#ifndef MK_TESTS_CLI_CHECK_H
#define MK_TESTS_CLI_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

struct printed {
    char *out, *err;
    size_t out_size, err_size;
    FILE *out_before, *err_before;
};

static inline void print_begin(struct printed *p)
{
    fflush(NULL);
    p->out_before = stdout;
    p->err_before = stderr;
    stdout = open_memstream(&p->out, &p->out_size);
    stderr = open_memstream(&p->err, &p->err_size);
}

static inline void print_end(struct printed *p)
{
    fclose(stdout);
    fclose(stderr);
    stdout = p->out_before;
    stderr = p->err_before;
}

static inline void print_free(struct printed *p)
{
    free(p->out);
    free(p->err);
}

#endif
