/* What a test file says of its tests, and how one of them ended. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "scenario/verbs.h"
#include "wire/reader.h"
#include "wire/writer.h"

static char *copy_text(struct bytes text)
{
    char *copy = alloc_zeroed(text.size + 1, 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return copy;
}

static void read_modes(struct reader *r, struct scenario_case *c)
{
    uint32_t count = read_array(r);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes mode = read_str_or_bin(r, ASK_NAME_MAX);
        c->sim |= bytes_is(mode, "sim");
        c->real |= bytes_is(mode, "real");
    }
}

static void read_case(struct reader *r, struct scenario_case *c)
{
    uint32_t count = read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(r, ASK_NAME_MAX);
        if (bytes_is(key, "name")) {
            c->name = copy_text(read_str_or_bin(r, UINT32_MAX));
        } else if (bytes_is(key, "line")) {
            c->line = (uint32_t)read_u64(r);
        } else if (bytes_is(key, "modes")) {
            read_modes(r, c);
        } else if (bytes_is(key, "seeds")) {
            c->seeds = read_u64(r);
        } else if (bytes_is(key, "timeout_ms")) {
            c->timeout_ms = read_u64(r);
        } else {
            read_skip(r);
        }
    }
}

/* scenario_loaded [cases] -> number of the one to run, from 1 on; nil: none */
void verb_loaded(struct ask *a)
{
    struct driver *d = a->driver;
    if (d->file == NULL) {
        struct buffer out = {0};
        write_u64(&out, d->run->number + 1);
        ask_answer_buffer(a, &out);
        return;
    }
    uint32_t count = read_array(&a->params);
    d->file->cases = alloc_zeroed(count > 0 ? count : 1, sizeof *d->file->cases);
    for (uint32_t i = 0; i < count; i++) {
        read_case(&a->params, &d->file->cases[i]);
        ASSERT(a->params.err == ERR_OK); /* from our own Lua */
        ASSERT(d->file->cases[i].name != NULL);
        d->file->count++;
    }
    d->ended = true;
    ask_answer_nothing(a);
}

/* What the Lua side told of an end. */
struct told {
    struct bytes outcome, message, where, trace;
};

static bool take_told(struct reader *r, struct bytes key, void *ctx)
{
    struct told *told = ctx;
    struct bytes *field = bytes_is(key, "outcome")   ? &told->outcome
                          : bytes_is(key, "message") ? &told->message
                          : bytes_is(key, "where")   ? &told->where
                                                     : &told->trace;
    *field = read_str_or_bin(r, UINT32_MAX);
    return true;
}

static void set_text(struct buffer *out, struct bytes text)
{
    buffer_clear(out);
    buffer_add_bytes(out, text);
}

/* scenario_ended [{outcome, message, where, trace}]; scenario_unloadable [the same] */
void verb_ended(struct ask *a)
{
    struct told told = {0};
    struct driver *d = a->driver;
    if (!ask_next_fields(a, take_told, &told, "outcome, message, where, trace")) {
        driver_fail(d, NULL, "the test ended in an unknown way");
        return;
    }
    struct scenario_result *r = d->result;
    d->ended = true;
    set_text(&r->message, told.message);
    set_text(&r->where, told.where);
    set_text(&r->trace, told.trace);
    r->outcome = bytes_is(told.outcome, "passed")    ? SCENARIO_PASSED
                 : bytes_is(told.outcome, "skipped") ? SCENARIO_SKIPPED
                                                     : SCENARIO_FAILED;
    ask_answer_nothing(a);
}
