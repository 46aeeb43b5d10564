/* Programs that scripts run with mk.exec: what they do, and what was run. Simulation only; on real
 * processes they are what they are. */
#include "scenario/verbs.h"
#include "wire/reader.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static bool take_run_ms(struct reader *r, struct target_program *p)
{
    p->for_ever = false;
    if (reader_peek(r) != WIRE_ARRAY) {
        p->run_min_us = p->run_max_us = read_ms_as_us(r);
        return true;
    }
    read_array_of(r, 2);
    p->run_min_us = read_ms_as_us(r);
    p->run_max_us = read_ms_as_us(r);
    return true;
}

static bool take_program(struct reader *r, struct bytes key, void *ctx)
{
    struct target_program *p = ctx;
    if (bytes_is(key, "run_ms")) {
        return take_run_ms(r, p);
    }
    if (bytes_is(key, "node")) {
        p->node = read_u32_max(r, UINT32_MAX);
        return true;
    }
    if (bytes_is(key, "code")) {
        p->code = (int)read_u32_max(r, 255);
    } else if (bytes_is(key, "stdout")) {
        p->output = read_str_or_bin(r, TEXT_BYTES_MAX);
    } else if (bytes_is(key, "stderr")) {
        p->errors = read_str_or_bin(r, TEXT_BYTES_MAX);
    } else if (bytes_is(key, "stop_ms")) {
        p->exits_when_asked = true;
        p->stop_us = read_ms_as_us(r);
    } else if (bytes_is(key, "ignores_stop")) {
        p->ignores_stop = read_bool(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_program [cluster, name, {run_ms, code, stdout, stderr, stop_ms, ignores_stop,
 * node}] */
void verb_program(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct target_program p = {.for_ever = true};
    char name[ASK_NAME_MAX];
    ask_next_text(a, name, sizeof name);
    p.name = name;
    if (!ask_next_fields(a, take_program, &p,
                         "run_ms, code, stdout, stderr, stop_ms, ignores_stop, node")) {
        return;
    }
    if (t->vtable->program == NULL) {
        ask_fail(a, ERR_INVALID, "programs are made up in simulation only: t.requires(\"sim\")");
    } else if (name[0] == 0 || p.run_min_us > p.run_max_us) {
        ask_fail(a, ERR_INVALID, "program(name, { run_ms = { least, most }, ... })");
    } else {
        t->vtable->program(t, &p);
        ask_answer_nothing(a);
    }
}

/* cluster_programs [cluster] -> array */
void verb_programs(struct ask *a)
{
    struct target *t = a->cluster->target;
    if (t->vtable->programs == NULL) {
        ask_fail(a, ERR_INVALID, "programs are counted in simulation only: t.requires(\"sim\")");
        return;
    }
    struct buffer out = {0};
    t->vtable->programs(t, &out);
    ask_answer_buffer(a, &out);
}
