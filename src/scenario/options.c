#include "scenario/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "node/config.h"
#include "script/script.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { MS = 1000, LOG_ENTRIES_MAX = 100000, NAME_MAX_BYTES = 64, PATH_MAX_BYTES = 4096 };

/* One reading: where it stands, and what was wrong. */
struct reading {
    struct reader r;
    const char *verb;
    struct target_options *o;
    struct bytes config; /* of all scripts that have none of their own */
    const char *key;
    struct why *why;
    enum err err;
};

static void fail(struct reading *g, const char *expected)
{
    if (g->err == ERR_OK) {
        g->err = err_why(g->why, ERR_INVALID, "%s: %s is %s", g->verb, g->key, expected);
    }
}

static bool took(struct reading *g, const char *expected)
{
    if (g->err == ERR_OK && g->r.err != ERR_OK) {
        fail(g, expected);
    }
    return g->err == ERR_OK;
}

/* ---- one value ------------------------------------------------------------------------------- */

static void take_count(struct reading *g, void *out)
{
    uint64_t value = read_u64(&g->r);
    if (took(g, "a whole number")) {
        *(uint64_t *)out = value;
    }
}

static void take_nodes(struct reading *g, void *out)
{
    uint32_t value = read_u32_max(&g->r, TARGET_NODES_MAX);
    if (took(g, "a number of nodes, 0 to 16")) {
        *(uint32_t *)out = value;
    }
}

static void take_flag(struct reading *g, void *out)
{
    bool value = read_bool(&g->r);
    if (took(g, "true or false")) {
        *(bool *)out = value;
    }
}

static void take_probability(struct reading *g, void *out)
{
    double value = read_f64(&g->r);
    static const char expected[] = "a probability, 0 to 1";
    if (took(g, expected) && !(value >= 0 && value <= 1)) {
        fail(g, expected);
    }
    *(double *)out = value;
}

/* {min, max} or one number for both, in ms; out: two uint64_t in units of 1/scale ms. */
static void take_span(struct reading *g, uint64_t *out, double scale)
{
    static const char expected[] = "{ least, most } in ms";
    double min, max;
    if (reader_peek(&g->r) == WIRE_ARRAY) {
        read_array_of(&g->r, 2);
        min = read_f64(&g->r);
        max = read_f64(&g->r);
    } else {
        min = max = read_f64(&g->r);
    }
    if (took(g, expected) && !(min >= 0 && min <= max && max <= 1e9)) {
        fail(g, expected);
    }
    if (g->err == ERR_OK) {
        out[0] = (uint64_t)(min * scale);
        out[1] = (uint64_t)(max * scale);
    }
}

static void take_ms(struct reading *g, void *out)
{
    take_span(g, out, 1);
}

static void take_us(struct reading *g, void *out)
{
    take_span(g, out, MS);
}

/* ---- scripts --------------------------------------------------------------------------------- */

static char *take_text(struct reading *g, size_t bytes_max, const char *expected)
{
    struct bytes text = read_str_or_bin(&g->r, bytes_max);
    if (!took(g, expected) || text.size == 0 || memchr(text.data, 0, text.size) != NULL) {
        fail(g, expected);
        return NULL;
    }
    char *copy = alloc_zeroed(text.size + 1, 1);
    memcpy(copy, text.data, text.size);
    return copy;
}

/* Before any target has it: those of real processes alone would say so. */
static void check_lua_path(struct reading *g, const char *lua_path)
{
    struct bytes template;
    if (lua_path != NULL && config_lua_path_is_bad(lua_path, &template)) {
        fail(g, "a list with a \"?\" in each template of a lua_path: \"lib/?.lua;lib/?/init.lua\"");
    }
}

static void take_script(struct reading *g)
{
    static const char expected[] =
        "a list of files, or of { script = file, name = text, config = table, lua_path = text }";
    struct target_script *s = &g->o->scripts[g->o->scripts_count++];
    if (reader_peek(&g->r) != WIRE_MAP) {
        s->path = take_text(g, PATH_MAX_BYTES, expected);
    } else {
        uint32_t count = read_map(&g->r);
        for (uint32_t i = 0; i < count && g->err == ERR_OK; i++) {
            struct bytes key = read_str_or_bin(&g->r, NAME_MAX_BYTES);
            if (bytes_is(key, "script") && s->path == NULL) {
                s->path = take_text(g, PATH_MAX_BYTES, expected);
            } else if (bytes_is(key, "name") && s->name == NULL) {
                s->name = take_text(g, NAME_MAX_BYTES, expected);
            } else if (bytes_is(key, "lua_path") && s->lua_path == NULL) {
                s->lua_path = take_text(g, PATH_MAX_BYTES, expected);
                check_lua_path(g, s->lua_path);
            } else if (bytes_is(key, "config")) {
                buffer_add_bytes(&s->config, read_raw(&g->r));
            } else {
                fail(g, expected);
            }
        }
    }
    if (s->path == NULL) {
        fail(g, expected);
    } else if (s->name == NULL) {
        char name[SCRIPT_NAME_MAX];
        script_default_name(s->path, name);
        s->name = alloc_string(name);
    }
}

static void take_scripts(struct reading *g, void *out)
{
    (void)out;
    uint32_t count = read_array(&g->r);
    if (took(g, "a list of files") && count > TARGET_SCRIPTS_MAX) {
        fail(g, "a list of at most 16 files");
    }
    for (uint32_t i = 0; i < count && g->err == ERR_OK; i++) {
        take_script(g);
    }
}

static void take_config(struct reading *g, void *out)
{
    (void)out;
    if (reader_peek(&g->r) != WIRE_MAP) {
        fail(g, "a table: what mk.config is to the scripts");
        return;
    }
    g->config = read_raw(&g->r);
}

/* ---- logs ------------------------------------------------------------------------------------ */

static void take_terms(struct reading *g, struct target_log *log)
{
    static const char expected[] = "for each node a list of terms that never fall, from 1 on";
    uint32_t count = read_array(&g->r);
    if (!took(g, expected) || count > LOG_ENTRIES_MAX || log->terms != NULL) {
        fail(g, expected);
        return;
    }
    log->terms = alloc_zeroed(count > 0 ? count : 1, sizeof *log->terms);
    log->count = count;
    uint64_t last = 1;
    for (uint32_t i = 0; i < count; i++) {
        log->terms[i] = read_u64(&g->r);
        if (!took(g, expected) || log->terms[i] < last || log->terms[i] > UINT32_MAX) {
            fail(g, expected);
            return;
        }
        last = log->terms[i];
    }
}

static void take_logs(struct reading *g, void *out)
{
    (void)out;
    bool is_list = reader_peek(&g->r) == WIRE_ARRAY;
    uint32_t count = is_list ? read_array(&g->r) : read_map(&g->r);
    for (uint32_t i = 0; i < count && took(g, "a table of logs, by node"); i++) {
        uint64_t node = is_list ? i + 1 : read_u64(&g->r);
        if (g->r.err != ERR_OK || node < 1 || node > TARGET_NODES_MAX) {
            fail(g, "a table of logs, by number of the node");
            return;
        }
        take_terms(g, &g->o->logs[node - 1]);
    }
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void take_snapshot(struct reading *g, void *out)
{
    (void)out;
    static const char expected[] = "{ entries = number, bytes = number, keep_entries = number }";
    struct target_options *o = g->o;
    const struct {
        const char *name;
        uint64_t *out;
    } fields[] = {{"entries", &o->snapshot_entries},
                  {"bytes", &o->snapshot_bytes},
                  {"keep_entries", &o->snapshot_keep_entries}};
    uint32_t count = read_map(&g->r);
    for (uint32_t i = 0; i < count && took(g, expected); i++) {
        struct bytes key = read_str_or_bin(&g->r, NAME_MAX_BYTES);
        size_t at = 0;
        while (at < 3 && !bytes_is(key, fields[at].name)) {
            at++;
        }
        if (at == 3) {
            fail(g, expected);
            return;
        }
        *fields[at].out = read_u64(&g->r);
    }
    took(g, expected);
}

/* ---- all ------------------------------------------------------------------------------------- */

struct option {
    const char *name;
    void (*take)(struct reading *g, void *out);
    void *out;
};

static enum err unknown(struct reading *g, struct bytes key, const struct option *table,
                        size_t count)
{
    const char *names[32];
    char word[NAME_MAX_BYTES + 1];
    for (size_t i = 0; i < count; i++) {
        names[i] = table[i].name;
    }
    snprintf(word, sizeof word, "%.*s", (int)key.size, (const char *)key.data);
    const char *nearest = nearest_name(word, names, count);
    return err_why(g->why, ERR_INVALID, "%s: there is no option \"%s\"%s%s%s", g->verb, word,
                   nearest != NULL ? "; did you mean \"" : "", nearest != NULL ? nearest : "",
                   nearest != NULL ? "\"?" : "");
}

static enum err check(struct reading *g)
{
    struct target_options *o = g->o;
    if (o->nodes < 1 || o->nodes + o->spares > TARGET_NODES_MAX) {
        return err_why(g->why, ERR_INVALID, "t.cluster: n and spares are 1 to %d nodes",
                       TARGET_NODES_MAX);
    }
    if (o->election_min_ms < 1 || o->heartbeat_ms < 1 || o->heartbeat_ms >= o->election_min_ms) {
        return err_why(g->why, ERR_INVALID,
                       "t.cluster: heartbeat_ms (%" PRIu64 ") must be below election_ms (%" PRIu64
                       ", %" PRIu64 ")",
                       o->heartbeat_ms, o->election_min_ms, o->election_max_ms);
    }
    for (uint32_t i = o->nodes + o->spares; i < TARGET_NODES_MAX; i++) {
        if (o->logs[i].terms != NULL) {
            return err_why(g->why, ERR_INVALID, "t.cluster: logs: there is no node %u", i + 1);
        }
    }
    return ERR_OK;
}

static enum err give_config(struct reading *g)
{
    for (uint32_t i = 0; i < g->o->scripts_count; i++) {
        if (g->o->scripts[i].config.size == 0) {
            buffer_add_bytes(&g->o->scripts[i].config, g->config);
        }
    }
    return ERR_OK;
}

static struct target_options defaults(uint64_t seed)
{
    return (struct target_options){
        .nodes = 3,
        .seed = seed,
        .election_min_ms = 150,
        .election_max_ms = 300,
        .heartbeat_ms = 50,
        .latency_min_us = 1 * MS,
        .latency_max_us = 3 * MS,
        .reorder_min_us = 5 * MS,
        .reorder_max_us = 50 * MS,
        .prevote = true,
        .check_quorum = true,
        .fast_failover = true,
        .lease = true,
    };
}

/* "mode" is for those who want to say it; a test runs in one mode. */
static void take_mode(struct reading *g, void *out)
{
    (void)out;
    read_skip(&g->r);
}

static enum err take_options(struct reading *g, const struct option *table, size_t table_count)
{
    uint32_t count = reader_peek(&g->r) == WIRE_ARRAY ? read_array(&g->r) * 0 : read_map(&g->r);
    for (uint32_t i = 0; i < count && g->err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(&g->r, NAME_MAX_BYTES);
        size_t at = 0;
        while (at < table_count && !bytes_is(key, table[at].name)) {
            at++;
        }
        if (at == table_count) {
            return unknown(g, key, table, table_count);
        }
        g->key = table[at].name;
        table[at].take(g, table[at].out);
    }
    if (g->err == ERR_OK && g->r.err != ERR_OK) {
        g->err = err_why(g->why, ERR_INVALID, "%s takes a table of named options", g->verb);
    }
    return g->err;
}

enum err options_read(struct bytes map, uint64_t seed, struct target_options *out, struct why *why)
{
    *out = defaults(seed);
    const struct option table[] = {
        {"n", take_nodes, &out->nodes},
        {"spares", take_nodes, &out->spares},
        {"mode", take_mode, NULL},
        {"seed", take_count, &out->seed},
        {"election_ms", take_ms, &out->election_min_ms},
        {"heartbeat_ms", take_count, &out->heartbeat_ms},
        {"latency_ms", take_us, &out->latency_min_us},
        {"loss", take_probability, &out->loss},
        {"duplicate", take_probability, &out->duplicate},
        {"reorder", take_probability, &out->reorder},
        {"reorder_ms", take_us, &out->reorder_min_us},
        {"prevote", take_flag, &out->prevote},
        {"check_quorum", take_flag, &out->check_quorum},
        {"fast_failover", take_flag, &out->fast_failover},
        {"lease", take_flag, &out->lease},
        {"snapshot", take_snapshot, NULL},
        {"scripts", take_scripts, NULL},
        {"config", take_config, NULL},
        {"logs", take_logs, NULL},
    };
    struct reading g = {.r = reader_of(map), .verb = "t.cluster", .o = out, .why = why};
    enum err e = take_options(&g, table, sizeof table / sizeof table[0]);
    e = e == ERR_OK ? check(&g) : e;
    return e == ERR_OK ? give_config(&g) : e;
}

enum err options_read_scripts(struct bytes map, struct target_options *out, struct why *why)
{
    *out = (struct target_options){0};
    const struct option table[] = {
        {"scripts", take_scripts, NULL},
        {"config", take_config, NULL},
    };
    struct reading g = {.r = reader_of(map), .verb = "reload", .o = out, .why = why};
    enum err e = take_options(&g, table, sizeof table / sizeof table[0]);
    return e == ERR_OK ? give_config(&g) : e;
}
