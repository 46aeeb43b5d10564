/* What is done to a cluster: to its processes, links, clocks and disks. */
#include <string.h>

#include "base/alloc.h"
#include "scenario/options.h"
#include "scenario/verbs.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- processes ------------------------------------------------------------------------------- */

static void on_started(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    if (reply->err != ERR_OK && a->err == ERR_OK) {
        a->err = err_why(&a->why, reply->err, "%s",
                         reply->message != NULL ? reply->message : err_message(reply->err));
    }
    if (--a->waiting > 0) {
        return;
    }
    if (a->err != ERR_OK) {
        ask_fail(a, a->err, "%s", a->why.text);
        return;
    }
    struct buffer out = {0};
    write_bool(&out, true);
    ask_answer_buffer(a, &out);
}

/* cluster_start [cluster, node or nil] -> true */
void verb_start(struct ask *a)
{
    struct target *t = a->cluster->target;
    if (!ask_next_is_nil(a)) {
        a->node = ask_next_node(a);
        if (a->node == 0) {
            ask_fail(a, ERR_INVALID, "there is no such node");
            return;
        }
        a->waiting = 1;
        t->vtable->start(t, a->node, on_started, a);
        return;
    }
    a->waiting = 1; /* our own, so that it does not end before all were asked */
    for (uint32_t node = 1; node <= a->cluster->options.nodes; node++) {
        if (!t->vtable->alive(t, node)) {
            a->waiting++;
            t->vtable->start(t, node, on_started, a);
        }
    }
    on_started(a, &(struct node_reply){.err = ERR_OK});
}

/* cluster_stop [cluster, node] */
void verb_stop(struct ask *a)
{
    a->cluster->target->vtable->stop(a->cluster->target, a->node, ask_pass_on, a);
}

static bool take_crash(struct reader *r, struct bytes key, void *ctx)
{
    struct target_crash *how = ctx;
    if (bytes_is(key, "host")) {
        how->host = read_bool(r);
    } else if (bytes_is(key, "auto_restart")) {
        how->auto_restart = read_bool(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_crash [cluster, node, {host, auto_restart}] */
void verb_crash(struct ask *a)
{
    struct target_crash how = {0};
    if (ask_next_fields(a, take_crash, &how, "host, auto_restart")) {
        a->cluster->target->vtable->crash(a->cluster->target, a->node, &how, ask_pass_on, a);
    }
}

/* cluster_pause [cluster, node, paused] */
void verb_pause(struct ask *a)
{
    struct target *t = a->cluster->target;
    uint32_t node = a->node;
    bool paused = read_bool(&a->params);
    if (!t->vtable->alive(t, node)) {
        ask_fail_node(a, node, ERR_NOT_FOUND, "it does not run");
        return;
    }
    t->vtable->pause(t, node, paused);
    ask_answer_nothing(a);
}

/* cluster_wipe [cluster, node] */
void verb_wipe(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct why why = {""};
    enum err e = t->vtable->wipe(t, a->node, &why);
    if (e != ERR_OK) {
        ask_fail_node(a, a->node, e, why.text);
        return;
    }
    ask_answer_nothing(a);
}

/* cluster_reload [cluster, node, {scripts, config} or nil] -> {apps, restart} */
void verb_reload(struct ask *a)
{
    struct target *t = a->cluster->target;
    if (ask_next_is_nil(a)) {
        t->vtable->reload(t, a->node, NULL, ask_pass_on, a);
        return;
    }
    struct target_options *options = NEW(struct target_options);
    struct why why = {""};
    enum err e = options_read_scripts(read_raw(&a->params), options, &why);
    if (e != ERR_OK) {
        target_options_free(options);
        ask_fail(a, e, "%s", why.text);
        return;
    }
    struct target_options **kept = &a->cluster->reloaded[a->node - 1], *before = *kept;
    *kept = options;
    a->cluster->has_others |= options->scripts_count > 0;
    t->vtable->reload(t, a->node, options, ask_pass_on, a); /* a may be gone */
    target_options_free(before);
}

/* node_alive [cluster, node] -> bool */
void verb_alive(struct ask *a)
{
    struct buffer out = {0};
    write_bool(&out, a->cluster->target->vtable->alive(a->cluster->target, a->node));
    ask_answer_buffer(a, &out);
}

/* ---- links ----------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned types;
} message_types[] = {
    {"vote", TARGET_VOTE},
    {"append", TARGET_APPEND},
    {"snapshot", TARGET_SNAPSHOT},
    {"install_snapshot", TARGET_SNAPSHOT},
    {"timeout_now", TARGET_TIMEOUT_NOW},
    {"vote_reply", TARGET_VOTE_REPLY},
    {"append_reply", TARGET_APPEND_REPLY},
    {"snapshot_reply", TARGET_SNAPSHOT_REPLY},
    {"other", TARGET_OTHER},
    {"requests", TARGET_REQUESTS},
    {"replies", TARGET_REPLIES},
    {"all", TARGET_MESSAGES},
};

static unsigned read_types(struct reader *r)
{
    struct bytes name = read_str_or_bin(r, ASK_NAME_MAX);
    for (size_t i = 0; i < sizeof message_types / sizeof message_types[0]; i++) {
        if (bytes_is(name, message_types[i].name)) {
            return message_types[i].types;
        }
    }
    reader_fail(r, ERR_INVALID);
    return 0;
}

/* message_types [] -> array of names: check.lua holds what tests say against it */
void verb_message_types(struct ask *a)
{
    const size_t count = sizeof message_types / sizeof message_types[0];
    struct buffer out = {0};
    write_array(&out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        write_text(&out, message_types[i].name);
    }
    ask_answer_buffer(a, &out);
}

static struct target_link link_of(const struct ask *a)
{
    return (struct target_link){.from = a->node, .to = a->to};
}

/* cluster_cut [cluster, from, to, cut] */
void verb_cut(struct ask *a)
{
    struct target_link link = link_of(a);
    a->cluster->target->vtable->cut(a->cluster->target, link, read_bool(&a->params));
    ask_answer_nothing(a);
}

/* cluster_heal [cluster] */
void verb_heal(struct ask *a)
{
    a->cluster->target->vtable->heal(a->cluster->target);
    ask_answer_nothing(a);
}

static double read_probability(struct reader *r)
{
    double p = read_f64(r);
    if (!(p >= 0 && p <= 1)) {
        reader_fail(r, ERR_INVALID);
    }
    return p;
}

static bool take_delay(struct reader *r, struct bytes key, void *ctx)
{
    struct target_delay *rule = ctx;
    if (bytes_is(key, "min_ms")) {
        rule->min_us = read_ms_as_us(r);
    } else if (bytes_is(key, "max_ms")) {
        rule->max_us = read_ms_as_us(r);
    } else if (bytes_is(key, "type")) {
        rule->types = read_types(r);
    } else if (bytes_is(key, "probability")) {
        rule->probability = read_probability(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_delay [cluster, from, to, {min_ms, max_ms, type, probability}] */
void verb_delay(struct ask *a)
{
    struct target_link link = link_of(a);
    struct target_delay rule = {.types = TARGET_MESSAGES, .probability = 1};
    if (!ask_next_fields(a, take_delay, &rule, "min_ms, max_ms, probability (0 to 1), type")) {
        return;
    }
    if (rule.min_us > rule.max_us) {
        ask_fail(a, ERR_INVALID, "delay: the least is more than the most");
        return;
    }
    a->cluster->target->vtable->delay(a->cluster->target, link, &rule);
    ask_answer_nothing(a);
}

static bool take_drop(struct reader *r, struct bytes key, void *ctx)
{
    struct target_drop *rule = ctx;
    if (bytes_is(key, "p")) {
        rule->probability = read_probability(r);
    } else if (bytes_is(key, "type")) {
        rule->types = read_types(r);
    } else if (bytes_is(key, "count")) {
        rule->count = read_u64(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_drop [cluster, from, to, {p, type, count}] */
void verb_drop(struct ask *a)
{
    struct target_link link = link_of(a);
    struct target_drop rule = {.types = TARGET_MESSAGES, .probability = 1};
    if (ask_next_fields(a, take_drop, &rule, "p (0 to 1), count, type")) {
        a->cluster->target->vtable->drop(a->cluster->target, link, &rule);
        ask_answer_nothing(a);
    }
}

struct rpcs_filter {
    uint64_t node;
    unsigned types;
};

static bool take_rpcs(struct reader *r, struct bytes key, void *ctx)
{
    struct rpcs_filter *filter = ctx;
    if (bytes_is(key, "node")) {
        filter->node = read_u64(r);
    } else if (bytes_is(key, "type")) {
        filter->types = read_types(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_rpcs [cluster, {node, type}] -> {count, bytes} */
void verb_rpcs(struct ask *a)
{
    struct rpcs_filter filter = {.types = TARGET_REQUESTS};
    if (!ask_next_fields(a, take_rpcs, &filter, "node, type")) {
        return;
    }
    const struct target *t = a->cluster->target;
    struct target_rpcs sum = t->vtable->rpcs(t, (uint32_t)filter.node, filter.types);
    struct buffer out = {0};
    write_map(&out, 2);
    write_text(&out, "count");
    write_u64(&out, sum.count);
    write_text(&out, "bytes");
    write_u64(&out, sum.bytes);
    ask_answer_buffer(a, &out);
}

/* ---- clocks and disks ------------------------------------------------------------------------ */

static void answer_err(struct ask *a, enum err err, const struct why *why)
{
    if (err == ERR_OK) {
        ask_answer_nothing(a);
    } else {
        ask_fail(a, err, "%s", why->text);
    }
}

/* cluster_skew [cluster, node, offset_ms, ppm] */
void verb_skew(struct ask *a)
{
    struct target *t = a->cluster->target;
    uint32_t node = a->node;
    int64_t offset_ms = read_i64(&a->params);
    int64_t ppm = read_i64(&a->params);
    struct why why = {""};
    if (t->vtable->skew == NULL) {
        ask_fail(a, ERR_INVALID, "clocks are skewed in simulation only: t.requires(\"sim\")");
    } else if (a->params.err != ERR_OK || ppm < INT32_MIN || ppm > INT32_MAX) {
        ask_fail(a, ERR_INVALID, "skew(id, offset_ms, ppm) takes whole numbers");
    } else {
        enum err err = t->vtable->skew(t, node, offset_ms, (int32_t)ppm, &why);
        answer_err(a, err, &why);
    }
}

#define WALL_MS_MAX INT64_C(253402300799999) /* the end of the year 9999 */

/* cluster_set_wall [cluster, node, wall_ms] */
void verb_set_wall(struct ask *a)
{
    struct target *t = a->cluster->target;
    int64_t wall_ms = read_i64(&a->params);
    if (t->vtable->set_wall == NULL) {
        ask_fail(a, ERR_INVALID, "clocks are set in simulation only: t.requires(\"sim\")");
    } else if (a->params.err != ERR_OK || wall_ms < 0 || wall_ms > WALL_MS_MAX) {
        ask_fail(a, ERR_INVALID, "set_wall(id, wall_ms) takes whole ms since 1970");
    } else {
        t->vtable->set_wall(t, a->node, wall_ms);
        ask_answer_nothing(a);
    }
}

struct disk_options {
    struct target_disk fault;
    char file[256];
};

static bool take_disk(struct reader *r, struct bytes key, void *ctx)
{
    struct disk_options *o = ctx;
    if (bytes_is(key, "ms")) {
        o->fault.ms = read_f64(r);
    } else if (bytes_is(key, "bytes")) {
        o->fault.bytes = read_u64(r);
    } else if (bytes_is(key, "offset")) {
        o->fault.offset = read_u64(r);
    } else if (bytes_is(key, "of")) {
        struct bytes of = read_str_or_bin(r, ASK_NAME_MAX);
        o->fault.of_scripts = bytes_is(of, "scripts");
        if (!o->fault.of_scripts && !bytes_is(of, "log")) {
            reader_fail(r, ERR_INVALID);
        }
    } else if (bytes_is(key, "file")) {
        read_text(r, o->file, sizeof o->file);
        o->fault.file = o->file;
    } else {
        return false;
    }
    return true;
}

/* cluster_disk [cluster, node, kind, {ms, bytes, file, offset, of}] */
void verb_disk(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct disk_options o = {0};
    char kind[ASK_NAME_MAX];
    ask_next_text(a, kind, sizeof kind);
    o.fault.kind = kind;
    if (!ask_next_fields(a, take_disk, &o, "ms, bytes, file, offset, of (\"log\", \"scripts\")")) {
        return;
    }
    if (t->vtable->disk == NULL) {
        ask_fail(a, ERR_INVALID, "disks fail in simulation only: t.requires(\"sim\")");
        return;
    }
    struct why why = {""};
    enum err err = t->vtable->disk(t, a->node, &o.fault, &why);
    answer_err(a, err, &why);
}
