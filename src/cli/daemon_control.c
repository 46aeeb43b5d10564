#include "cli/daemon_control.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/daemon_eval.h"
#include "net/rpc_server.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    OUTPUT_BYTES_MAX = 64 << 20, /* of events: no test listens that slowly */
    COMMAND_BYTES_MAX = 16 << 20,
};

struct applied {
    raft_index index;
    struct slice command;
};

struct daemon_control {
    struct daemon_control_options options;
    struct rpc_server *rpc;
    struct daemon_eval *eval;
    struct rpc_call *events; /* who listens to them; NULL: nobody */
    /* Opaque commands that were applied, in order of their indexes. */
    struct applied *applied;
    size_t applied_count, applied_capacity;
};

/* ---- questions: each reads its parameters and writes its answer ------------------------------ */

struct asked {
    struct daemon_control *control;
    struct node *node;
    struct reader params;
    struct buffer out;
    const char *message; /* of an error; NULL: err_message() */
};

static void put_u64(struct asked *a, const char *key, uint64_t value)
{
    write_text(&a->out, key);
    write_u64(&a->out, value);
}

/* Tests know nodes by number: that of "n2" is 2. */
static void put_node(struct asked *a, const char *key, raft_id id)
{
    const struct membership_member *m = membership_find(node_members(a->node), id);
    put_u64(a, key, m != NULL ? strtoul(m->name + 1, NULL, 10) : 0);
}

static enum err ask_state(struct asked *a)
{
    const struct raft *core = node_raft(a->node);
    raft_term term = raft_current_term(core);
    raft_id leader = raft_leader(core);
    bool leads = raft_role(core) == RAFT_LEADER;
    write_map(&a->out, leader != 0 ? 7 : 6);
    write_text(&a->out, "role");
    write_text(&a->out, raft_role_name(raft_role(core)));
    put_u64(a, "term", term);
    if (leader != 0) {
        put_node(a, "leader", leader);
    }
    write_text(&a->out, "ready");
    write_bool(&a->out, leads && raft_term_at(core, raft_commit_index(core)) == term);
    put_u64(a, "commit_index", raft_commit_index(core));
    put_u64(a, "last_applied", node_last_applied(a->node));
    put_u64(a, "last_index", raft_last_index(core));
    return ERR_OK;
}

static enum err ask_vote(struct asked *a)
{
    struct raft_status status;
    raft_status(node_raft(a->node), &status);
    write_map(&a->out, status.vote != 0 ? 2 : 1);
    put_u64(a, "term", status.term);
    if (status.vote != 0) {
        put_node(a, "voted_for", status.vote);
    }
    return ERR_OK;
}

static enum err ask_log(struct asked *a)
{
    raft_index index = read_u64(&a->params);
    raft_term term = raft_term_at(node_raft(a->node), index), cached_term;
    struct bytes body;
    struct entry e;
    if (index == 0 || term == 0) {
        write_nil(&a->out);
        return ERR_OK;
    }
    bool known =
        node_log_entry(a->node, index, &cached_term, &body) && entry_decode(body, &e) == ERR_OK;
    struct bytes command = known ? node_opaque_command(&e) : (struct bytes){0};
    write_map(&a->out, 1u + known + (command.data != NULL));
    put_u64(a, "term", term);
    if (known) {
        write_text(&a->out, "kind");
        write_text(&a->out, node_entry_kind_name(&e));
    }
    if (command.data != NULL) {
        write_text(&a->out, "bytes");
        write_bin(&a->out, command);
    }
    return ERR_OK;
}

static enum err ask_campaign(struct asked *a)
{
    node_campaign(a->node);
    write_nil(&a->out);
    return ERR_OK;
}

static enum err ask_submit(struct asked *a)
{
    struct bytes command = read_str_or_bin(&a->params, COMMAND_BYTES_MAX);
    if (a->params.err != ERR_OK) {
        a->message = "submit takes a string";
        return ERR_INVALID;
    }
    struct raft_pos at;
    enum err e = node_submit(a->node, command, &at);
    if (e == ERR_OK) {
        write_array(&a->out, 2);
        write_u64(&a->out, at.index);
        write_u64(&a->out, at.term);
    }
    return e;
}

/* Where the command of index is, or would be. */
static size_t applied_place(const struct daemon_control *c, raft_index index)
{
    size_t lo = 0, hi = c->applied_count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (c->applied[middle].index < index) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

static enum err ask_metrics(struct asked *a)
{
    struct slice lines = script_host_metrics(a->control->options.host);
    write_str(&a->out, slice_bytes(lines));
    slice_close(&lines);
    return ERR_OK;
}

static enum err ask_applied(struct asked *a)
{
    const struct daemon_control *c = a->control;
    raft_index index = read_u64(&a->params);
    size_t at = applied_place(c, index);
    if (index == 0 || node_last_applied(a->node) < index) {
        write_nil(&a->out);
    } else if (at < c->applied_count && c->applied[at].index == index) {
        write_bin(&a->out, slice_bytes(c->applied[at].command));
    } else {
        write_bool(&a->out, true);
    }
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err (*ask)(struct asked *a);
} questions[] = {
    {"state", ask_state},       {"vote", ask_vote},     {"log", ask_log},
    {"campaign", ask_campaign}, {"submit", ask_submit}, {"applied", ask_applied},
    {"metrics", ask_metrics},
};

static void answer(struct daemon_control *c, struct rpc_call *call, struct bytes params,
                   enum err (*ask)(struct asked *a))
{
    struct asked a = {.control = c, .node = c->options.node, .params = reader_of(params)};
    read_array(&a.params);
    enum err e = ask(&a);
    e = e != ERR_OK ? e : a.params.err;
    if (e == ERR_OK) {
        rpc_reply(call, buffer_bytes(&a.out));
    } else {
        rpc_fail(call, e, a.message, NULL, (struct bytes){0});
    }
    buffer_close(&a.out);
}

/* ---- events --------------------------------------------------------------------------------- */

static void listener_gone(void *ctx, struct rpc_call *call)
{
    struct daemon_control *c = ctx;
    if (c->events == call) {
        c->events = NULL;
    }
    rpc_reply(call, (struct bytes){0});
}

static void listen_to_events(struct daemon_control *c, struct rpc_call *call)
{
    if (c->events != NULL || rpc_call_is_notification(call)) {
        rpc_fail(call, ERR_BUSY, "somebody listens to the events already", NULL, (struct bytes){0});
        return;
    }
    c->events = call;
    rpc_call_on_disconnect(call, listener_gone, c);
}

void daemon_control_event(struct daemon_control *c, const char *name, raft_term term,
                          struct bytes fields)
{
    if (c == NULL || c->events == NULL) {
        return;
    }
    struct buffer params = {0};
    write_array(&params, 4);
    write_u64(&params, clock_now_us(c->options.clock));
    write_text(&params, name);
    write_u64(&params, term);
    if (fields.size > 0) {
        write_raw(&params, fields);
    } else {
        write_map(&params, 0);
    }
    rpc_call_notify(c->events, bytes_of_string("event"), buffer_bytes(&params));
    buffer_close(&params);
}

void daemon_control_applied(struct daemon_control *c, struct raft_pos pos,
                            const struct entry *entry)
{
    struct bytes command = c != NULL ? node_opaque_command(entry) : (struct bytes){0};
    if (command.data == NULL) {
        return;
    }
    if (c->applied_count == c->applied_capacity) {
        c->applied_capacity = c->applied_capacity == 0 ? 64 : c->applied_capacity * 2;
        c->applied = alloc_resize(c->applied, c->applied_capacity, sizeof *c->applied);
    }
    c->applied[c->applied_count++] =
        (struct applied){.index = pos.index, .command = slice_copy(command)};
}

/* ---- the listener --------------------------------------------------------------------------- */

static void on_request(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params)
{
    struct daemon_control *c = ctx;
    if (bytes_is(method, "events")) {
        listen_to_events(c, call);
        return;
    }
    if (bytes_is(method, "eval")) {
        daemon_eval_ask(c->eval, call, params);
        return;
    }
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        if (bytes_is(method, questions[i].name)) {
            answer(c, call, params, questions[i].ask);
            return;
        }
    }
    rpc_fail(call, ERR_NOT_FOUND, "a node cannot be asked that", NULL, (struct bytes){0});
}

enum err daemon_control_open(const struct daemon_control_options *options,
                             struct daemon_control **out, struct why *why)
{
    char directory[PATH_MAX], path[PATH_MAX + sizeof DAEMON_CONTROL_SOCKET + 1];
    struct rpc_server_options server = {.output_bytes_max = OUTPUT_BYTES_MAX,
                                        .frame_bytes_max = COMMAND_BYTES_MAX};
    if (realpath(options->data_dir, directory) == NULL) {
        return err_why(why, ERR_IO, "cannot find the data directory %s", options->data_dir);
    }
    snprintf(path, sizeof path, "%s/" DAEMON_CONTROL_SOCKET, directory);
    enum err e = address_of_path(path, &server.listen, why);
    if (e != ERR_OK) {
        return e;
    }
    struct daemon_control *c = NEW(struct daemon_control);
    c->options = *options;
    const struct rpc_server_callbacks callbacks = {.ctx = c, .on_request = on_request};
    e = rpc_server_open(options->loop, &server, &callbacks, options->log, &c->rpc, why);
    if (e != ERR_OK) {
        free(c);
        return e;
    }
    c->eval = daemon_eval_new(options->loop, options->host);
    atomic_store(&options->page->next, GUARDIAN_WAITS);
    *out = c;
    return ERR_OK;
}

void daemon_control_close(struct daemon_control *c)
{
    if (c == NULL) {
        return;
    }
    daemon_eval_free(c->eval);
    rpc_server_close(c->rpc);
    for (size_t i = 0; i < c->applied_count; i++) {
        slice_close(&c->applied[i].command);
    }
    free(c->applied);
    free(c);
}
