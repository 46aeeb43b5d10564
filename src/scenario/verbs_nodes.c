/* What nodes are asked, and what a test looks at. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/verbs.h"
#include "wire/reader.h"
#include "wire/writer.h"

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
        struct bytes key = read_str_or_bin(&r, ASK_NAME_MAX);
        if (bytes_is(key, "role")) {
            s.leads = bytes_is(read_str_or_bin(&r, ASK_NAME_MAX), "leader");
        } else if (bytes_is(key, "ready")) {
            s.ready = read_bool(&r);
        } else if (bytes_is(key, "term")) {
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
    ask_answer_buffer(a, &out);
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
    if (ask_next_is_nil(a)) {
        read_skip(&a->params);
        return UINT32_MAX;
    }
    uint32_t set = 0;
    uint32_t count =
        reader_peek(&a->params) == WIRE_MAP ? read_map(&a->params) : read_array(&a->params);
    for (uint32_t i = 0; i < count && a->params.err == ERR_OK; i++) {
        uint32_t node = ask_next_node(a);
        set |= node > 0 ? UINT32_C(1) << node : 0;
    }
    return set;
}

/* cluster_leader [cluster, among or nil, ready] -> number or nil: who leads in the highest term */
void verb_leader(struct ask *a)
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
void verb_control(struct ask *a)
{
    struct target *t = a->cluster->target;
    char method[ASK_NAME_MAX];
    ask_next_text(a, method, sizeof method);
    a->cluster->has_others |= strcmp(method, "eval") == 0;
    t->vtable->control(t, a->node, method, read_raw(&a->params), ask_pass_on, a);
}

static void on_called(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    struct stage *stage = a->driver->stage;
    if (a->cluster->history != NULL) {
        kv_history_end(a->cluster->history, a->history, reply, stage->vtable->now_us(stage));
    }
    ask_pass_on(a, reply);
}

/* node_call [cluster, node, method, params] */
void verb_call(struct ask *a)
{
    struct target *t = a->cluster->target;
    struct stage *stage = a->driver->stage;
    char method[ASK_NAME_MAX];
    ask_next_text(a, method, sizeof method);
    struct bytes params = read_raw(&a->params);
    a->history =
        kv_history_begin(a->cluster->history, method, params, stage->vtable->now_us(stage));
    t->vtable->call(t, a->node, method, params, on_called, a);
}

/* ---- looking --------------------------------------------------------------------------------- */

struct events_options {
    struct target_events_filter filter;
    char name[ASK_NAME_MAX];
};

static bool take_events(struct reader *r, struct bytes key, void *ctx)
{
    struct events_options *o = ctx;
    if (bytes_is(key, "name")) {
        read_text(r, o->name, sizeof o->name);
        o->filter.name = o->name;
    } else if (bytes_is(key, "node")) {
        o->filter.node = (uint32_t)read_u64(r);
    } else if (bytes_is(key, "since_ms")) {
        o->filter.since_us = read_ms_as_us(r);
    } else {
        return false;
    }
    return true;
}

/* cluster_events [cluster, {name, node, since_ms}] -> array */
void verb_events(struct ask *a)
{
    struct events_options o = {0};
    if (ask_next_fields(a, take_events, &o, "name, node, since_ms")) {
        a->cluster->target->vtable->events(a->cluster->target, &o.filter, ask_pass_on, a);
    }
}

static void on_checked(void *ctx, const struct node_reply *reply)
{
    struct ask *a = ctx;
    struct buffer why = {0};
    if (reply->err != ERR_OK) {
        ask_fail(a, reply->err, "%s", reply->message != NULL ? reply->message : "");
    } else if (a->history != KV_HISTORY_NONE && !kv_history_check(a->cluster->history, &why)) {
        ask_fail(a, ERR_REJECTED, "%s", buffer_text(&why));
    } else {
        ask_answer_nothing(a);
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
void verb_check(struct ask *a)
{
    struct target *t = a->cluster->target;
    char rule[ASK_NAME_MAX];
    ask_next_text(a, rule, sizeof rule);
    bool linearizable = strcmp(rule, "linearizable") == 0;
    bool all = rule[0] == 0 && !a->cluster->has_others;
    a->history = all || linearizable ? 0 : KV_HISTORY_NONE;
    if (linearizable) {
        on_checked(a, &(struct node_reply){.err = ERR_OK});
    } else if (rule[0] != 0 && !is_rule(rule)) {
        ask_fail(a, ERR_INVALID,
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
void verb_trace(struct ask *a)
{
    struct driver_cluster *c = a->cluster;
    char path[1024];
    ask_next_text(a, path, sizeof path);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        ask_fail(a, err_from_errno(errno), "%s: %s", path, strerror(errno));
        return;
    }
    c->target->vtable->set_live(c->target, write_line, file);
    if (c->trace != NULL) {
        fclose(c->trace);
    }
    c->trace = file;
    ask_answer_nothing(a);
}
