/* What a test asks for: each request of lua/moonkeeper/test/ is a function here. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "scenario/driver.h"
#include "scenario/options.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { NAME_MAX_BYTES = 64, CLOSED_LINES = 50, MS = 1000 };

/* A request until it is answered, exactly once. */
struct ask {
    struct driver *driver;
    uint64_t id;
    struct reader params;
    struct driver_cluster *cluster;
    uint32_t node;    /* whom it concerns; 0: nobody */
    uint32_t to;      /* the other end of a link */
    uint32_t waiting; /* answers of nodes that are still to come */
    enum err err;     /* the first of them that failed */
    struct why why;
    uint32_t history;   /* number of the call in the cluster's history */
    bool ready_only;    /* cluster_leader */
    uint64_t best_term; /* the same: of whoever leads, so far */
    uint32_t best_node;
};

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct ask *a, enum err err, const char *message, struct bytes result)
{
    script_host_reply(a->driver->host, a->id, err, message, slice_copy(result));
    free(a);
}

static void answer_nothing(struct ask *a)
{
    answer(a, ERR_OK, NULL, (struct bytes){0});
}

/* Consumes out. */
static void answer_buffer(struct ask *a, struct buffer *out)
{
    answer(a, ERR_OK, NULL, buffer_bytes(out));
    buffer_close(out);
}

static void fail(struct ask *a, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void fail(struct ask *a, enum err err, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    answer(a, err, text, (struct bytes){0});
}

/* "n2: the node does not run" */
static void fail_node(struct ask *a, uint32_t node, enum err err, const char *message)
{
    fail(a, err, "n%u: %s", node, message != NULL && message[0] != 0 ? message : err_message(err));
}

/* The answer of a node is the answer. */
static void pass_on(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    if (reply->err != ERR_OK) {
        fail_node(a, a->node, reply->err, reply->message);
    } else {
        answer(a, ERR_OK, NULL, reply->result);
    }
}

/* ---- parameters ------------------------------------------------------------------------------ */

static bool next_is_nil(struct ask *a)
{
    return reader_peek(&a->params) == WIRE_NIL || reader_peek(&a->params) == WIRE_NONE;
}

/* The next parameter as a string that ends with a zero, or "". */
static void next_text(struct ask *a, char *out, size_t capacity)
{
    out[0] = 0;
    if (next_is_nil(a)) {
        read_skip(&a->params);
    } else {
        read_text(&a->params, out, capacity);
    }
}

static uint32_t next_node(struct ask *a)
{
    uint64_t node = read_u64(&a->params);
    const struct target_options *o = &a->cluster->options;
    if (a->params.err == ERR_OK && (node < 1 || node > o->nodes + o->spares)) {
        reader_fail(&a->params, ERR_NOT_FOUND);
    }
    return a->params.err == ERR_OK ? (uint32_t)node : 0;
}

/* Fields of a map of options; each is taken by take(), which says whether it knows it. */
typedef bool take_field(struct reader *r, struct bytes key, void *ctx);

static bool next_fields(struct ask *a, take_field *take, void *ctx, const char *known)
{
    struct reader *r = &a->params;
    uint32_t count = reader_peek(r) == WIRE_ARRAY ? read_array(r) : read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(r, NAME_MAX_BYTES);
        if (r->err != ERR_OK || !take(r, key, ctx)) {
            fail(a, ERR_INVALID, "unknown option \"%.*s\"; there are %s", (int)key.size,
                 (const char *)key.data, known);
            return false;
        }
    }
    if (r->err != ERR_OK) {
        fail(a, ERR_INVALID, "an option is of the wrong type; there are %s", known);
        return false;
    }
    return true;
}

static bool is_key(struct bytes key, const char *name)
{
    return bytes_equal(key, bytes_of_string(name));
}

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
    struct bytes name = read_str_or_bin(r, NAME_MAX_BYTES);
    for (size_t i = 0; i < sizeof message_types / sizeof message_types[0]; i++) {
        if (is_key(name, message_types[i].name)) {
            return message_types[i].types;
        }
    }
    reader_fail(r, ERR_INVALID);
    return 0;
}

#define TYPES_KNOWN                                                                                \
    "type (vote, append, snapshot, timeout_now, vote_reply, append_reply, snapshot_reply, other, " \
    "requests, replies, all)"

/* ---- the test itself ------------------------------------------------------------------------- */

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
        struct bytes mode = read_str_or_bin(r, NAME_MAX_BYTES);
        c->sim |= is_key(mode, "sim");
        c->real |= is_key(mode, "real");
    }
}

static void read_case(struct reader *r, struct scenario_case *c)
{
    uint32_t count = read_map(r);
    for (uint32_t i = 0; i < count && r->err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(r, NAME_MAX_BYTES);
        if (is_key(key, "name")) {
            c->name = copy_text(read_str_or_bin(r, UINT32_MAX));
        } else if (is_key(key, "line")) {
            c->line = (uint32_t)read_u64(r);
        } else if (is_key(key, "modes")) {
            read_modes(r, c);
        } else if (is_key(key, "seeds")) {
            c->seeds = read_u64(r);
        } else if (is_key(key, "timeout_ms")) {
            c->timeout_ms = read_u64(r);
        } else {
            read_skip(r);
        }
    }
}

/* scenario_loaded [cases] -> number of the one to run, from 1 on; nil: none */
static void ask_loaded(struct ask *a)
{
    struct driver *d = a->driver;
    if (d->file == NULL) {
        struct buffer out = {0};
        write_u64(&out, d->run->number + 1);
        answer_buffer(a, &out);
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
    answer_nothing(a);
}

/* What the Lua side told of an end. */
struct told {
    struct bytes outcome, message, where, trace;
};

static bool take_told(struct reader *r, struct bytes key, void *ctx)
{
    struct told *told = ctx;
    struct bytes *field = is_key(key, "outcome")   ? &told->outcome
                          : is_key(key, "message") ? &told->message
                          : is_key(key, "where")   ? &told->where
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
static void ask_ended(struct ask *a)
{
    struct told told = {0};
    struct driver *d = a->driver;
    if (!next_fields(a, take_told, &told, "outcome, message, where, trace")) {
        driver_fail(d, NULL, "the test ended in an unknown way");
        return;
    }
    struct scenario_result *r = d->result;
    d->ended = true;
    set_text(&r->message, told.message);
    set_text(&r->where, told.where);
    set_text(&r->trace, told.trace);
    r->outcome = is_key(told.outcome, "passed")    ? SCENARIO_PASSED
                 : is_key(told.outcome, "skipped") ? SCENARIO_SKIPPED
                                                   : SCENARIO_FAILED;
    answer_nothing(a);
}

/* ---- clusters -------------------------------------------------------------------------------- */

void driver_cluster_keep(struct driver_cluster *c)
{
    if (c->target != NULL && c->target->vtable->keep != NULL) {
        c->target->vtable->keep(c->target);
    }
}

void driver_cluster_free(struct driver_cluster *c)
{
    if (c->target != NULL) {
        c->target->vtable->close(c->target);
        c->target = NULL;
    }
    if (c->trace != NULL) {
        fclose(c->trace);
        c->trace = NULL;
    }
    kv_history_free(c->history);
    c->history = NULL;
    buffer_close(&c->closed);
    target_options_close(&c->options);
}

/* cluster_open [options] -> {number, nodes, spares} */
static void ask_open(struct ask *a)
{
    struct driver *d = a->driver;
    if (d->clusters_count == DRIVER_CLUSTERS_MAX) {
        fail(a, ERR_INVALID, "a test has at most %d clusters", DRIVER_CLUSTERS_MAX);
        return;
    }
    struct why why = {""};
    struct driver_cluster *c = NEW(struct driver_cluster);
    enum err err = options_read(read_raw(&a->params), d->run->seed, &c->options, &why);
    if (err == ERR_OK) {
        err = d->stage->vtable->open(d->stage, &c->options, &c->target, &why);
    }
    if (err != ERR_OK) {
        target_options_close(&c->options);
        free(c);
        fail(a, err, "%s", why.text);
        return;
    }
    c->history = kv_history_new();
    c->has_others = c->options.scripts_count > 0;
    c->target->vtable->set_live(c->target, d->run->live, d->run->live_ctx);
    d->clusters = alloc_resize(d->clusters, d->clusters_count + 1, sizeof *d->clusters);
    d->clusters[d->clusters_count++] = c;
    struct buffer out = {0};
    write_map(&out, 3);
    write_text(&out, "number");
    write_u64(&out, d->clusters_count);
    write_text(&out, "nodes");
    write_u64(&out, c->options.nodes);
    write_text(&out, "spares");
    write_u64(&out, c->options.spares);
    answer_buffer(a, &out);
}

struct end {
    struct driver *driver;
    struct driver_cluster *cluster;
    void (*done)(void *ctx, const char *why);
    void *ctx;
};

static void on_end_checked(void *ctx, const struct node_reply *reply)
{
    struct end *e = ctx;
    struct driver_cluster *c = e->cluster;
    struct buffer why = {0};
    if (reply->err == ERR_SHUTDOWN && e->driver->ended) {
        /* it is being closed under us */
    } else if (reply->err != ERR_OK) {
        buffer_add_format(&why, "%s",
                          reply->message != NULL ? reply->message : err_message(reply->err));
    } else if (!c->has_others) {
        kv_history_check(c->history, &why);
    }
    e->done(e->ctx, why.size > 0 ? buffer_text(&why) : NULL);
    buffer_close(&why);
    free(e);
}

void driver_cluster_end(struct driver *d, struct driver_cluster *c,
                        void (*done)(void *ctx, const char *why), void *ctx)
{
    struct end *e = NEW(struct end);
    *e = (struct end){.driver = d, .cluster = c, .done = done, .ctx = ctx};
    c->target->vtable->check(c->target, NULL, true, on_end_checked, e);
}

/* The target must not be closed from inside one of its replies: whoever waits for this does it. */
static void on_closed(void *ctx, const char *why)
{
    struct ask *a = ctx;
    if (why != NULL) {
        fail(a, ERR_REJECTED, "%s", why);
        return;
    }
    a->cluster->abandoned = true;
    a->cluster->ended = true;
    answer_nothing(a);
}

void driver_close_ended(struct driver *d)
{
    for (uint32_t i = 0; i < d->clusters_count; i++) {
        struct driver_cluster *c = d->clusters[i];
        if (c->ended && c->target != NULL) {
            c->target->vtable->timeline(c->target, CLOSED_LINES, &c->closed);
            d->result->trace_hash =
                d->result->trace_hash * 31 + c->target->vtable->trace_hash(c->target);
            c->target->vtable->close(c->target);
            c->target = NULL;
        }
    }
}

/* cluster_close [cluster, check]; without a check it is left as it is, for its timeline */
static void ask_close(struct ask *a)
{
    if (read_bool(&a->params)) {
        driver_cluster_end(a->driver, a->cluster, on_closed, a);
    } else {
        a->cluster->abandoned = true;
        answer_nothing(a);
    }
}

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
        fail(a, a->err, "%s", a->why.text);
        return;
    }
    struct buffer out = {0};
    write_bool(&out, true);
    answer_buffer(a, &out);
}

/* cluster_start [cluster, node or nil] -> true */
static void ask_start(struct ask *a)
{
    struct target *t = a->cluster->target;
    if (!next_is_nil(a)) {
        a->node = next_node(a);
        if (a->node == 0) {
            fail(a, ERR_INVALID, "there is no such node");
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
static void ask_stop(struct ask *a)
{
    a->cluster->target->vtable->stop(a->cluster->target, a->node, pass_on, a);
}

static bool take_crash(struct reader *r, struct bytes key, void *ctx)
{
    struct target_crash *how = ctx;
    if (is_key(key, "host")) {
        how->host = read_bool(r);
    } else if (is_key(key, "auto_restart")) {
        how->auto_restart = read_bool(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_crash [cluster, node, {host, auto_restart}] */
static void ask_crash(struct ask *a)
{
    struct target_crash how = {0};
    if (next_fields(a, take_crash, &how, "host, auto_restart")) {
        a->cluster->target->vtable->crash(a->cluster->target, a->node, &how, pass_on, a);
    }
}

/* cluster_pause [cluster, node, paused] */
static void ask_pause(struct ask *a)
{
    struct target *t = a->cluster->target;
    uint32_t node = a->node;
    bool paused = read_bool(&a->params);
    if (!t->vtable->alive(t, node)) {
        fail_node(a, node, ERR_NOT_FOUND, "it does not run");
        return;
    }
    t->vtable->pause(t, node, paused);
    answer_nothing(a);
}

/* node_alive [cluster, node] -> bool */
static void ask_alive(struct ask *a)
{
    struct buffer out = {0};
    write_bool(&out, a->cluster->target->vtable->alive(a->cluster->target, a->node));
    answer_buffer(a, &out);
}

/* ---- links ----------------------------------------------------------------------------------- */

static struct target_link link_of(const struct ask *a)
{
    return (struct target_link){.from = a->node, .to = a->to};
}

/* cluster_cut [cluster, from, to, cut] */
static void ask_cut(struct ask *a)
{
    struct target_link link = link_of(a);
    a->cluster->target->vtable->cut(a->cluster->target, link, read_bool(&a->params));
    answer_nothing(a);
}

/* cluster_heal [cluster] */
static void ask_heal(struct ask *a)
{
    a->cluster->target->vtable->heal(a->cluster->target);
    answer_nothing(a);
}

static uint64_t read_ms_as_us(struct reader *r)
{
    double ms = read_f64(r);
    if (!(ms >= 0 && ms <= 1e9)) {
        reader_fail(r, ERR_INVALID);
        return 0;
    }
    return (uint64_t)(ms * MS);
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
    if (is_key(key, "min_ms")) {
        rule->min_us = read_ms_as_us(r);
    } else if (is_key(key, "max_ms")) {
        rule->max_us = read_ms_as_us(r);
    } else if (is_key(key, "type")) {
        rule->types = read_types(r);
    } else if (is_key(key, "probability")) {
        rule->probability = read_probability(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_delay [cluster, from, to, {min_ms, max_ms, type, probability}] */
static void ask_delay(struct ask *a)
{
    struct target_link link = link_of(a);
    struct target_delay rule = {.types = TARGET_MESSAGES, .probability = 1};
    if (!next_fields(a, take_delay, &rule, "min_ms, max_ms, probability (0 to 1), " TYPES_KNOWN)) {
        return;
    }
    if (rule.min_us > rule.max_us) {
        fail(a, ERR_INVALID, "delay: the least is more than the most");
        return;
    }
    a->cluster->target->vtable->delay(a->cluster->target, link, &rule);
    answer_nothing(a);
}

static bool take_drop(struct reader *r, struct bytes key, void *ctx)
{
    struct target_drop *rule = ctx;
    if (is_key(key, "p")) {
        rule->probability = read_probability(r);
    } else if (is_key(key, "type")) {
        rule->types = read_types(r);
    } else if (is_key(key, "count")) {
        rule->count = read_u64(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_drop [cluster, from, to, {p, type, count}] */
static void ask_drop(struct ask *a)
{
    struct target_link link = link_of(a);
    struct target_drop rule = {.types = TARGET_MESSAGES, .probability = 1};
    if (next_fields(a, take_drop, &rule, "p (0 to 1), count, " TYPES_KNOWN)) {
        a->cluster->target->vtable->drop(a->cluster->target, link, &rule);
        answer_nothing(a);
    }
}

struct rpcs_filter {
    uint64_t node;
    unsigned types;
};

static bool take_rpcs(struct reader *r, struct bytes key, void *ctx)
{
    struct rpcs_filter *filter = ctx;
    if (is_key(key, "node")) {
        filter->node = read_u64(r);
    } else if (is_key(key, "type")) {
        filter->types = read_types(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_rpcs [cluster, {node, type}] -> {count, bytes} */
static void ask_rpcs(struct ask *a)
{
    struct rpcs_filter filter = {.types = TARGET_REQUESTS};
    if (!next_fields(a, take_rpcs, &filter, "node, " TYPES_KNOWN)) {
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
    answer_buffer(a, &out);
}

/* ---- clocks and disks ------------------------------------------------------------------------ */

static void answer_err(struct ask *a, enum err err, const struct why *why)
{
    if (err == ERR_OK) {
        answer_nothing(a);
    } else {
        fail(a, err, "%s", why->text);
    }
}

/* cluster_skew [cluster, node, offset_ms, ppm] */
static void ask_skew(struct ask *a)
{
    struct target *t = a->cluster->target;
    uint32_t node = a->node;
    int64_t offset_ms = read_i64(&a->params);
    int64_t ppm = read_i64(&a->params);
    struct why why = {""};
    if (t->vtable->skew == NULL) {
        fail(a, ERR_INVALID, "clocks are skewed in simulation only: t.requires(\"sim\")");
    } else if (a->params.err != ERR_OK || ppm < INT32_MIN || ppm > INT32_MAX) {
        fail(a, ERR_INVALID, "skew(id, offset_ms, ppm) takes whole numbers");
    } else {
        enum err err = t->vtable->skew(t, node, offset_ms, (int32_t)ppm, &why);
        answer_err(a, err, &why);
    }
}

struct disk_options {
    struct target_disk fault;
    char file[256];
};

static bool take_disk(struct reader *r, struct bytes key, void *ctx)
{
    struct disk_options *o = ctx;
    if (is_key(key, "ms")) {
        o->fault.ms = read_f64(r);
    } else if (is_key(key, "bytes")) {
        o->fault.bytes = read_u64(r);
    } else if (is_key(key, "offset")) {
        o->fault.offset = read_u64(r);
    } else if (is_key(key, "file")) {
        read_text(r, o->file, sizeof o->file);
        o->fault.file = o->file;
    } else {
        return false;
    }
    return true;
}

/* cluster_disk [cluster, node, kind, {ms, bytes, file, offset}] */
static void ask_disk(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct disk_options o = {0};
    char kind[NAME_MAX_BYTES];
    next_text(a, kind, sizeof kind);
    o.fault.kind = kind;
    if (!next_fields(a, take_disk, &o, "ms, bytes, file, offset")) {
        return;
    }
    if (t->vtable->disk == NULL) {
        fail(a, ERR_INVALID, "disks fail in simulation only: t.requires(\"sim\")");
        return;
    }
    struct why why = {""};
    enum err err = t->vtable->disk(t, a->node, &o.fault, &why);
    answer_err(a, err, &why);
}

/* ---- asking nodes ---------------------------------------------------------------------------- */

/* What a node said of itself. */
struct node_state {
    bool leads, ready;
    uint64_t term;
};

static struct node_state read_state(struct bytes map)
{
    struct node_state s = {0};
    struct reader r = reader_of(map);
    uint32_t count = read_map(&r);
    for (uint32_t i = 0; i < count && r.err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(&r, NAME_MAX_BYTES);
        if (is_key(key, "role")) {
            s.leads = is_key(read_str_or_bin(&r, NAME_MAX_BYTES), "leader");
        } else if (is_key(key, "ready")) {
            s.ready = read_bool(&r);
        } else if (is_key(key, "term")) {
            s.term = read_u64(&r);
        } else {
            read_skip(&r);
        }
    }
    return s;
}

static void leader_told(struct ask *a)
{
    if (--a->waiting > 0) {
        return;
    }
    struct buffer out = {0};
    if (a->best_node == 0) {
        write_nil(&out);
    } else {
        write_u64(&out, a->best_node);
    }
    answer_buffer(a, &out);
}

struct state_asked {
    struct ask *ask;
    uint32_t node;
};

static void on_state(void *ctx, const struct node_reply *reply)
{
    struct state_asked *asked = ctx;
    struct ask *a = asked->ask;
    if (reply->err == ERR_OK) {
        struct node_state s = read_state(reply->result);
        if (s.leads && s.term > a->best_term) {
            a->best_term = s.term;
            a->best_node = s.ready || !a->ready_only ? asked->node : 0;
        }
    }
    free(asked);
    leader_told(a);
}

static uint32_t next_set(struct ask *a)
{
    if (next_is_nil(a)) {
        read_skip(&a->params);
        return UINT32_MAX;
    }
    uint32_t set = 0;
    uint32_t count =
        reader_peek(&a->params) == WIRE_MAP ? read_map(&a->params) : read_array(&a->params);
    for (uint32_t i = 0; i < count && a->params.err == ERR_OK; i++) {
        uint32_t node = next_node(a);
        set |= node > 0 ? UINT32_C(1) << node : 0;
    }
    return set;
}

/* cluster_leader [cluster, among or nil, ready] -> number or nil: who leads in the highest term */
static void ask_leader(struct ask *a)
{
    struct target *t = a->cluster->target;
    uint32_t among = next_set(a);
    a->ready_only = read_bool(&a->params);
    a->waiting = 1;
    struct buffer params = {0};
    write_array(&params, 0);
    for (uint32_t node = 1; node <= a->cluster->options.nodes + a->cluster->options.spares;
         node++) {
        if ((among & UINT32_C(1) << node) == 0 || !t->vtable->alive(t, node) ||
            t->vtable->paused(t, node)) {
            continue;
        }
        struct state_asked *asked = NEW(struct state_asked);
        *asked = (struct state_asked){.ask = a, .node = node};
        a->waiting++;
        t->vtable->control(t, node, "state", buffer_bytes(&params), on_state, asked);
    }
    buffer_close(&params);
    leader_told(a);
}

/* node_control [cluster, node, method, params] */
static void ask_control(struct ask *a)
{
    struct target *t = a->cluster->target;
    char method[NAME_MAX_BYTES];
    next_text(a, method, sizeof method);
    a->cluster->has_others |= strcmp(method, "eval") == 0;
    t->vtable->control(t, a->node, method, read_raw(&a->params), pass_on, a);
}

static void on_called(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    struct stage *stage = a->driver->stage;
    if (a->cluster->history != NULL) {
        kv_history_end(a->cluster->history, a->history, reply, stage->vtable->now_us(stage));
    }
    pass_on(a, reply);
}

/* node_call [cluster, node, method, params] */
static void ask_call(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct stage *stage = a->driver->stage;
    char method[NAME_MAX_BYTES];
    next_text(a, method, sizeof method);
    struct bytes params = read_raw(&a->params);
    a->history =
        kv_history_begin(a->cluster->history, method, params, stage->vtable->now_us(stage));
    t->vtable->call(t, a->node, method, params, on_called, a);
}

/* ---- looking --------------------------------------------------------------------------------- */

struct events_options {
    struct target_events_filter filter;
    char name[NAME_MAX_BYTES];
};

static bool take_events(struct reader *r, struct bytes key, void *ctx)
{
    struct events_options *o = ctx;
    if (is_key(key, "name")) {
        read_text(r, o->name, sizeof o->name);
        o->filter.name = o->name;
    } else if (is_key(key, "node")) {
        o->filter.node = (uint32_t)read_u64(r);
    } else if (is_key(key, "since_ms")) {
        o->filter.since_us = read_ms_as_us(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_events [cluster, {name, node, since_ms}] -> array */
static void ask_events(struct ask *a)
{
    struct events_options o = {0};
    if (next_fields(a, take_events, &o, "name, node, since_ms")) {
        a->cluster->target->vtable->events(a->cluster->target, &o.filter, pass_on, a);
    }
}

static void on_checked(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    struct buffer why = {0};
    if (reply->err != ERR_OK) {
        fail(a, reply->err, "%s", reply->message != NULL ? reply->message : "");
    } else if (a->history != KV_HISTORY_NONE && !kv_history_check(a->cluster->history, &why)) {
        fail(a, ERR_REJECTED, "%s", buffer_text(&why));
    } else {
        answer_nothing(a);
    }
    buffer_close(&why);
}

static bool is_rule(const char *rule)
{
    size_t i = 0;
    while (target_rules[i] != NULL && strcmp(target_rules[i], rule) != 0) {
        i++;
    }
    return target_rules[i] != NULL;
}

/* cluster_check [cluster, rule or nil] */
static void ask_check(struct ask *a)
{
    struct target *t = a->cluster->target;
    char rule[NAME_MAX_BYTES];
    next_text(a, rule, sizeof rule);
    bool linearizable = strcmp(rule, "linearizable") == 0;
    bool all = rule[0] == 0 && !a->cluster->has_others;
    a->history = all || linearizable ? 0 : KV_HISTORY_NONE;
    if (linearizable) {
        on_checked(a, &(struct node_reply){.err = ERR_OK});
    } else if (rule[0] != 0 && !is_rule(rule)) {
        fail(a, ERR_INVALID,
             "there is no rule \"%s\"; there are election_safety, log_matching, "
             "leader_completeness, state_machine_safety, durability, linearizable",
             rule);
    } else {
        t->vtable->check(t, rule[0] != 0 ? rule : NULL, false, on_checked, a);
    }
}

static void write_line(void *ctx, const char *line)
{
    fputs(line, ctx);
}

/* cluster_trace [cluster, path] */
static void ask_trace(struct ask *a)
{
    struct driver_cluster *c = a->cluster;
    char path[1024];
    next_text(a, path, sizeof path);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        fail(a, err_from_errno(errno), "%s: %s", path, strerror(errno));
        return;
    }
    c->target->vtable->set_live(c->target, write_line, file);
    if (c->trace != NULL) {
        fclose(c->trace);
    }
    c->trace = file;
    answer_nothing(a);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct {
    const char *method;
    void (*ask)(struct ask *a);
    enum { FREE, CLUSTER, NODE, LINK } of; /* the cluster, node or link its first parameters name */
} table[] = {
    {"scenario_loaded", ask_loaded, FREE},   {"scenario_unloadable", ask_ended, FREE},
    {"scenario_ended", ask_ended, FREE},     {"cluster_open", ask_open, FREE},
    {"cluster_close", ask_close, CLUSTER},   {"cluster_start", ask_start, CLUSTER},
    {"cluster_stop", ask_stop, NODE},        {"cluster_crash", ask_crash, NODE},
    {"cluster_pause", ask_pause, NODE},      {"cluster_cut", ask_cut, LINK},
    {"cluster_heal", ask_heal, CLUSTER},     {"cluster_delay", ask_delay, LINK},
    {"cluster_drop", ask_drop, LINK},        {"cluster_rpcs", ask_rpcs, CLUSTER},
    {"cluster_skew", ask_skew, NODE},        {"cluster_disk", ask_disk, NODE},
    {"cluster_leader", ask_leader, CLUSTER}, {"cluster_events", ask_events, CLUSTER},
    {"cluster_check", ask_check, CLUSTER},   {"cluster_trace", ask_trace, CLUSTER},
    {"node_alive", ask_alive, NODE},         {"node_control", ask_control, NODE},
    {"node_call", ask_call, NODE},
};

/* False, and it is answered, if there is no such cluster. */
static bool find_cluster(struct ask *a)
{
    struct driver *d = a->driver;
    uint64_t number = read_u64(&a->params);
    if (a->params.err != ERR_OK || number < 1 || number > d->clusters_count) {
        fail(a, ERR_INVALID, "there is no such cluster");
        return false;
    }
    a->cluster = d->clusters[number - 1];
    if (a->cluster->target == NULL || a->cluster->ended) {
        fail(a, ERR_INVALID, "the cluster is closed");
        return false;
    }
    return true;
}

static bool find_subject(struct ask *a, int of)
{
    if (of >= CLUSTER && !find_cluster(a)) {
        return false;
    }
    if (of >= NODE) {
        a->node = next_node(a);
    }
    if (of >= LINK) {
        a->to = next_node(a);
    }
    if (a->params.err != ERR_OK) {
        fail(a, ERR_INVALID, "there is no such node");
        return false;
    }
    return true;
}

static void carry_out(struct ask *a, const char *method)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(method, table[i].method) == 0) {
            if (find_subject(a, (int)table[i].of)) {
                table[i].ask(a);
            }
            return;
        }
    }
    fail(a, ERR_NOT_FOUND, "a test has no node of its own: ask a node of its cluster for \"%s\"",
         method);
}

void driver_request(void *ctx, struct script_request *request)
{
    struct ask *a = NEW(struct ask);
    a->driver = ctx;
    a->id = request->id;
    a->params = reader_of(slice_bytes(request->params));
    read_array(&a->params);
    carry_out(a, request->method);
    script_request_free(request);
}
