/* Asking the nodes of a simulated cluster. What only tests may ask is answered from outside, at
 * once: looking costs no time and disturbs nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/target_sim_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

static void fail(node_reply_fn reply, void *ctx, enum err err, const char *message)
{
    reply(ctx, &(struct node_reply){.err = err, .message = message});
}

/* Consumes out. */
static void answer(node_reply_fn reply, void *ctx, struct buffer *out)
{
    reply(ctx, &(struct node_reply){.err = ERR_OK, .result = buffer_bytes(out)});
    buffer_close(out);
}

/* ---- what clients ask ------------------------------------------------------------------------ */

struct call {
    struct target_sim *target;
    node_reply_fn reply;
    void *ctx;
};

static void on_reply(void *ctx, const struct node_reply *reply)
{
    struct call *c = ctx;
    c->target->calls--;
    c->target->stage->happened = true;
    c->reply(c->ctx, reply);
    free(c);
}

void target_sim_call(struct target *target, uint32_t node, const char *method, struct bytes params,
                     node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct call *c = NEW(struct call);
    *c = (struct call){.target = t, .reply = reply, .ctx = ctx};
    t->calls++;
    if (!sim_process_call(target_sim_process(t, node), bytes_of_string(method), params, on_reply,
                          c)) {
        t->calls--;
        free(c);
        fail(reply, ctx, ERR_UNREACHABLE, "the node does not run");
    }
}

/* ---- what tests ask -------------------------------------------------------------------------- */

struct asked {
    struct target_sim *target;
    struct sim_process *process;
    struct node *node;
    struct reader *params;
    struct buffer *out;
    const char *message; /* of an error */
};

static enum err ask_state(struct asked *a)
{
    const struct raft *core = node_raft(a->node);
    raft_term term = raft_current_term(core);
    raft_id leader = raft_leader(core);
    bool leads = raft_role(core) == RAFT_LEADER;
    write_map(a->out, leader != 0 ? 7 : 6);
    write_text(a->out, "role");
    write_text(a->out, raft_role_name(raft_role(core)));
    write_text(a->out, "term");
    write_u64(a->out, term);
    if (leader != 0) {
        write_text(a->out, "leader");
        write_u64(a->out, leader);
    }
    write_text(a->out, "ready");
    write_bool(a->out, leads && raft_term_at(core, raft_commit_index(core)) == term);
    write_text(a->out, "commit_index");
    write_u64(a->out, raft_commit_index(core));
    write_text(a->out, "last_applied");
    write_u64(a->out, node_last_applied(a->node));
    write_text(a->out, "last_index");
    write_u64(a->out, raft_last_index(core));
    return ERR_OK;
}

static enum err ask_log(struct asked *a)
{
    raft_index index = read_u64(a->params);
    raft_term term = raft_term_at(node_raft(a->node), index);
    if (a->params->err != ERR_OK || term == 0) {
        write_nil(a->out);
        return a->params->err;
    }
    struct bytes body;
    raft_term cached_term;
    struct entry e;
    if (!node_log_entry(a->node, index, &cached_term, &body) || entry_decode(body, &e) != ERR_OK) {
        write_map(a->out, 1);
        write_text(a->out, "term");
        write_u64(a->out, term);
        return ERR_OK;
    }
    struct bytes command = node_opaque_command(&e);
    write_map(a->out, command.data != NULL ? 3 : 2);
    write_text(a->out, "term");
    write_u64(a->out, term);
    write_text(a->out, "kind");
    write_text(a->out, node_entry_kind_name(&e));
    if (command.data != NULL) {
        write_text(a->out, "bytes");
        write_bin(a->out, command);
    }
    return ERR_OK;
}

static enum err ask_vote(struct asked *a)
{
    struct raft_status status;
    raft_status(node_raft(a->node), &status);
    write_map(a->out, status.vote != 0 ? 2 : 1);
    write_text(a->out, "term");
    write_u64(a->out, status.term);
    if (status.vote != 0) {
        write_text(a->out, "voted_for");
        write_u64(a->out, status.vote);
    }
    return ERR_OK;
}

static enum err ask_campaign(struct asked *a)
{
    node_campaign(a->node);
    write_nil(a->out);
    return ERR_OK;
}

static enum err ask_submit(struct asked *a)
{
    struct bytes command = read_str_or_bin(a->params, UINT32_MAX);
    if (a->params->err != ERR_OK) {
        a->message = "submit takes a string";
        return ERR_INVALID;
    }
    struct raft_pos at;
    enum err err = node_submit(a->node, command, &at);
    if (err == ERR_OK) {
        write_array(a->out, 2);
        write_u64(a->out, at.index);
        write_u64(a->out, at.term);
    }
    return err;
}

/* Where index is, or would be. */
static size_t opaque_place(const struct target_sim *t, raft_index index)
{
    size_t lo = 0, hi = t->opaque_count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (t->opaque[middle].index < index) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

static enum err ask_applied(struct asked *a)
{
    const struct target_sim *t = a->target;
    raft_index index = read_u64(a->params);
    size_t at = opaque_place(t, index);
    if (index == 0 || node_last_applied(a->node) < index) {
        write_nil(a->out);
    } else if (at < t->opaque_count && t->opaque[at].index == index) {
        write_bin(a->out, slice_bytes(t->opaque[at].command));
    } else {
        write_bool(a->out, true);
    }
    return a->params->err;
}

void target_sim_applied(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                        enum err outcome, bool duplicate)
{
    (void)host;
    (void)outcome;
    (void)duplicate;
    struct target_sim *t = ctx;
    struct bytes command = node_opaque_command(entry);
    size_t at = opaque_place(t, pos.index);
    if (command.data == NULL || at < t->opaque_count) {
        return; /* an earlier node had it: the checker compares them */
    }
    if (t->opaque_count == t->opaque_capacity) {
        t->opaque_capacity = t->opaque_capacity == 0 ? 64 : t->opaque_capacity * 2;
        t->opaque = alloc_resize(t->opaque, t->opaque_capacity, sizeof *t->opaque);
    }
    t->opaque[t->opaque_count++] =
        (struct opaque_applied){.index = pos.index, .command = slice_copy(command)};
}

static enum err ask_metrics(struct asked *a)
{
    struct slice lines = sim_process_metrics(a->process);
    write_str(a->out, slice_bytes(lines));
    slice_close(&lines);
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err (*ask)(struct asked *a);
    bool acts; /* on the node */
} questions[] = {
    {"state", ask_state, false},     {"log", ask_log, false},          {"vote", ask_vote, false},
    {"applied", ask_applied, false}, {"campaign", ask_campaign, true}, {"submit", ask_submit, true},
    {"metrics", ask_metrics, false},
};

static enum err ask(struct asked *a, size_t question)
{
    struct sim_process *p = a->process;
    if (!questions[question].acts) {
        return questions[question].ask(a);
    }
    if (sim_process_paused(p)) {
        a->message = "the node is paused";
        return ERR_TIMEOUT;
    }
    enum err err = questions[question].ask(a);
    sim_process_disturbed(p);
    return err;
}

struct eval {
    struct target_sim *target;
    node_reply_fn reply;
    void *ctx;
};

static void on_evaluated(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct eval *e = ctx;
    e->target->stage->happened = true;
    e->reply(e->ctx, &(struct node_reply){.err = err, .message = message, .result = results});
    free(e);
}

/* "eval": [source, arguments...] */
static void evaluate(struct target_sim *t, struct sim_process *p, struct reader *params,
                     uint32_t count, node_reply_fn reply, void *ctx)
{
    struct bytes source = read_str_or_bin(params, UINT32_MAX);
    struct buffer args = {0};
    if (count == 0 || params->err != ERR_OK) {
        fail(reply, ctx, ERR_INVALID, "eval takes Lua source, and arguments for it");
        return;
    }
    write_array(&args, count - 1);
    for (uint32_t i = 1; i < count; i++) {
        write_raw(&args, read_raw(params));
    }
    struct eval *e = NEW(struct eval);
    *e = (struct eval){.target = t, .reply = reply, .ctx = ctx};
    const struct script_eval eval = {
        .source = source, .args = buffer_bytes(&args), .done = on_evaluated, .ctx = e};
    if (!sim_process_eval(p, &eval)) {
        free(e);
        fail(reply, ctx, ERR_UNREACHABLE, "the node does not run");
    }
    buffer_close(&args);
}

void target_sim_control(struct target *target, uint32_t node, const char *method,
                        struct bytes params, node_reply_fn reply, void *ctx)
{
    struct target_sim *t = target_sim_of(target);
    struct sim_process *p = target_sim_process(t, node);
    if (!sim_process_running(p)) {
        fail(reply, ctx, ERR_UNREACHABLE, "the node does not run");
        return;
    }
    struct reader r = reader_of(params);
    uint32_t count = read_array(&r);
    if (strcmp(method, "eval") == 0) {
        evaluate(t, p, &r, count, reply, ctx);
        return;
    }
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        if (strcmp(method, questions[i].name) == 0) {
            struct buffer out = {0};
            struct asked a = {
                .target = t, .process = p, .node = sim_process_node(p), .params = &r, .out = &out};
            enum err err = ask(&a, i);
            if (err == ERR_OK) {
                answer(reply, ctx, &out);
            } else {
                buffer_close(&out);
                fail(reply, ctx, err, a.message);
            }
            return;
        }
    }
    fail(reply, ctx, ERR_INVALID, "a node cannot be asked that");
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool is_wanted(const struct sim_event *e, const struct target_events_filter *filter)
{
    return (filter->name == NULL || strcmp(filter->name, e->name) == 0) &&
           (filter->node == 0 || filter->node - 1 == e->host) && e->time_us >= filter->since_us;
}

static void write_event(struct buffer *out, const struct sim_event *e)
{
    struct reader r = reader_of(slice_bytes(e->fields));
    uint32_t fields = e->fields.size > 0 ? read_map(&r) : 0;
    write_map(out, fields + 4);
    write_text(out, "time_ms");
    write_u64(out, e->time_us / 1000);
    write_text(out, "node");
    write_u64(out, e->host + 1);
    write_text(out, "name");
    write_text(out, e->name);
    write_text(out, "term");
    write_u64(out, e->term);
    for (uint32_t i = 0; i < fields * 2; i++) {
        write_raw(out, read_raw(&r));
    }
}

void target_sim_events(struct target *target, const struct target_events_filter *filter,
                       node_reply_fn reply, void *ctx)
{
    const struct events *events = cluster_events(target_sim_of(target)->cluster);
    uint32_t count = 0;
    for (uint64_t i = events_begin(events); i < events_end(events); i++) {
        count += is_wanted(events_at(events, i), filter);
    }
    struct buffer out = {0};
    write_array(&out, count);
    for (uint64_t i = events_begin(events); i < events_end(events); i++) {
        if (is_wanted(events_at(events, i), filter)) {
            write_event(&out, events_at(events, i));
        }
    }
    answer(reply, ctx, &out);
}
