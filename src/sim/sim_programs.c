#include "sim/sim_programs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/assert.h"

enum { FIRST_NUMBER = 1000, FIRST_CAPACITY = 16 };

struct definition {
    struct sim_program program; /* its name and texts are its own */
    struct slice output, errors;
    LIST_ENTRY(definition) link;
};

struct sim_programs {
    LIST_HEAD(, definition) definitions;
    struct sim_run *runs;
    uint64_t count, capacity;
};

struct sim_programs *sim_programs_new(void)
{
    struct sim_programs *all = NEW(struct sim_programs);
    LIST_INIT(&all->definitions);
    return all;
}

static void definition_free(struct definition *d)
{
    free((void *)(uintptr_t)d->program.name);
    slice_close(&d->output);
    slice_close(&d->errors);
    free(d);
}

void sim_programs_free(struct sim_programs *all)
{
    if (all == NULL) {
        return;
    }
    for (struct definition *d = LIST_FIRST(&all->definitions), *next; d != NULL; d = next) {
        next = LIST_NEXT(d, link);
        definition_free(d);
    }
    for (uint64_t i = 0; i < all->count; i++) {
        free(all->runs[i].name);
        free(all->runs[i].arguments);
    }
    free(all->runs);
    free(all);
}

static struct definition *find(const struct sim_programs *all, uint32_t host, const char *name)
{
    struct definition *d;
    LIST_FOREACH (d, &all->definitions, link) {
        if (d->program.host == host && strcmp(d->program.name, name) == 0) {
            return d;
        }
    }
    return NULL;
}

void sim_programs_define(struct sim_programs *all, const struct sim_program *program)
{
    struct definition *old = find(all, program->host, program->name);
    struct definition *d = NEW(struct definition);
    d->program = *program;
    d->program.name = alloc_string(program->name);
    d->output = slice_copy(program->output);
    d->errors = slice_copy(program->errors);
    d->program.output = slice_bytes(d->output);
    d->program.errors = slice_bytes(d->errors);
    LIST_INSERT_HEAD(&all->definitions, d, link);
    if (old != NULL) {
        LIST_REMOVE(old, link);
        definition_free(old);
    }
}

const struct sim_program *sim_programs_find(const struct sim_programs *all, uint32_t host,
                                            const char *name)
{
    const struct definition *d = find(all, host, name);
    d = d != NULL ? d : find(all, SIM_EVERY_HOST, name);
    return d != NULL ? &d->program : NULL;
}

static char *join(const char *const *words)
{
    struct buffer text = {0};
    for (size_t i = 0; words[i] != NULL; i++) {
        buffer_add(&text, " ", i > 0);
        buffer_add(&text, words[i], strlen(words[i]));
    }
    char *joined = alloc_string(buffer_text(&text));
    buffer_close(&text);
    return joined;
}

uint64_t sim_programs_begin(struct sim_programs *all, uint32_t host, const char *const *argv,
                            uint64_t token, uint64_t now_us)
{
    if (all->count == all->capacity) {
        all->capacity = all->capacity == 0 ? FIRST_CAPACITY : all->capacity * 2;
        all->runs = alloc_resize(all->runs, all->capacity, sizeof *all->runs);
    }
    all->runs[all->count] = (struct sim_run){.host = host,
                                             .number = FIRST_NUMBER + all->count,
                                             .name = alloc_string(argv[0]),
                                             .arguments = join(argv + 1),
                                             .token = token,
                                             .began_us = now_us};
    return all->count++;
}

void sim_programs_end(struct sim_programs *all, uint64_t run, int status, uint64_t now_us)
{
    ASSERT(run < all->count);
    struct sim_run *r = &all->runs[run];
    ASSERT(!r->ended);
    r->ended = true;
    r->ended_us = now_us;
    r->status = status;
}

uint64_t sim_programs_runs(const struct sim_programs *all)
{
    return all->count;
}

const struct sim_run *sim_programs_run(const struct sim_programs *all, uint64_t run)
{
    ASSERT(run < all->count);
    return &all->runs[run];
}
