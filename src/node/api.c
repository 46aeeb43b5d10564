/* clang-format off: a table */
/* The methods that RPC clients, scripts, HTTP and other nodes may call. Params are MessagePack
 * arrays; elements in [brackets] may be left out or nil.
 *
 *     status      [[member]]                           -> the status map, of this node or that one
 *     members     []                                   -> [{id, peer, client, http, voter}, ...]
 *     hooks       []                                   -> [{app, event, name, state, ...}, ...]
 *     propose     [machine, command, [args], [options]]  -> what the command returned
 *                     options: timeout_ms, forward (default true), fence (a token),
 *                     id (a key of yours)
 *     query       [machine, name, [args], [options]]   -> what the query returned
 *                     options: timeout_ms, read ("linearizable", "lease" or "local")
 *     load        [source, [options]]                  -> {name, version}: a state machine
 *     machines    []                                   -> [{name, version, hash}, ...]
 *     read_index  [[timeout_ms], [read]]               -> an index that a read must see
 *     barrier     [[timeout_ms]]                       -> the same, once it is applied here
 *     transfer    [[id], [timeout_ms]]                 -> the name of the new leader
 *     step_down   []                                   -> nil
 *     lead        [holder, ["done"]]                   -> {leads, ending, node, leader, term,
 * token, for_us}: whether this node leads, for the one who works for that and may so long snapshot
 * [[timeout_ms]]                       -> {index, term, bytes}: of one that holds all that is
 * applied now members_add      [id, peer address, [timeout_ms]]  -> the members, with a new learner
 *     members_promote  [id, [timeout_ms]]  once the learner has caught up  -> the members
 *     members_remove   [id, [timeout_ms]]                -> the members */
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    DEFAULT_TIMEOUT_MS = 5000,
    DEFAULT_SNAPSHOT_TIMEOUT_MS = 60000,
    TIMEOUT_MS_MAX = 600000,
    COMMAND_NAME_MAX = 256,
    STATUS_TIMEOUT_US = 1000000,
};

struct call {
    struct node *n;
    const struct node_caller *caller;
};

static void answer(const struct call *c, const struct node_reply *r)
{
    node_answer_later(c->n, c->caller->reply, c->caller->ctx, r);
}

static void fail(const struct call *c, enum err err, const char *message)
{
    answer(c, &(struct node_reply){.err = err, .message = message});
}

static void answer_buffer(const struct call *c, struct buffer *result)
{
    answer(c, &(struct node_reply){.err = ERR_OK, .result = buffer_bytes(result)});
    buffer_close(result);
}

/* ---- parameters ----------------------------------------------------------------------------- */

struct params {
    struct reader r;
    uint32_t left;
};

/* Is there a next one that is not nil? A nil is taken. */
static bool next_given(struct params *p)
{
    if (p->left == 0 || p->r.err != ERR_OK) {
        return false;
    }
    p->left--;
    if (reader_peek(&p->r) == WIRE_NIL) {
        read_nil(&p->r);
        return false;
    }
    return true;
}

static struct bytes next_raw(struct params *p)
{
    static const uint8_t nil = 0xc0;
    return next_given(p) ? read_raw(&p->r) : bytes_of(&nil, 1);
}

static struct bytes next_text(struct params *p, size_t size_max)
{
    if (!next_given(p)) {
        reader_fail(&p->r, ERR_INVALID);
        return (struct bytes){0};
    }
    return read_str_or_bin(&p->r, size_max);
}

static uint64_t timeout_us_of(uint64_t timeout_ms)
{
    return (timeout_ms < TIMEOUT_MS_MAX ? timeout_ms : TIMEOUT_MS_MAX) * 1000;
}

static uint64_t next_timeout_us(struct params *p)
{
    return timeout_us_of(next_given(p) ? read_u64(&p->r) : DEFAULT_TIMEOUT_MS);
}

static bool all_taken(struct params *p)
{
    while (p->left > 0) {
        p->left--;
        read_skip(&p->r);
    }
    return reader_end(&p->r) == ERR_OK;
}

struct options {
    uint64_t timeout_us;
    bool forward;
    bool fenced;
    uint64_t fence;
    bool keyed;
    uint8_t key[ENTRY_SESSION_BYTES];
    enum read_level level;
    raft_index index;
    const char *bad; /* NULL, or what is wrong */
};

/* A user's key stands for the hash of whatever value it is. */
static void take_key(struct options *o, struct bytes value)
{
    XXH128_hash_t hash = XXH3_128bits(value.data, value.size);
    memcpy(o->key, &hash, sizeof o->key);
    o->key[0] |= 1; /* all zero means no key */
    o->keyed = true;
}

static enum read_level take_level(struct options *o, struct bytes text)
{
    if (bytes_is(text, "linearizable")) {
        return READ_LINEARIZABLE;
    }
    if (bytes_is(text, "lease")) {
        return READ_LEASE;
    }
    if (!bytes_is(text, "local")) {
        o->bad = "option read must be \"linearizable\", \"lease\" or \"local\"";
    }
    return READ_LOCAL;
}

static void take_option(struct params *p, struct options *o, struct bytes key)
{
    if (bytes_is(key, "timeout_ms")) {
        o->timeout_us = timeout_us_of(read_u64(&p->r));
    } else if (bytes_is(key, "forward")) {
        o->forward = read_bool(&p->r);
    } else if (bytes_is(key, "fence")) {
        o->fence = read_u64(&p->r);
        o->fenced = true;
    } else if (bytes_is(key, "id")) {
        take_key(o, read_raw(&p->r));
    } else if (bytes_is(key, "read")) {
        o->level = take_level(o, read_str_or_bin(&p->r, COMMAND_NAME_MAX));
    } else if (bytes_is(key, "index")) {
        o->index = read_u64(&p->r);
    } else {
        o->bad = "unknown option: known are timeout_ms, forward, fence, id, read and index";
        read_skip(&p->r);
    }
}

static struct options next_options(struct params *p)
{
    struct options o = {.timeout_us = timeout_us_of(DEFAULT_TIMEOUT_MS), .forward = true};
    if (!next_given(p)) {
        return o;
    }
    if (reader_peek(&p->r) == WIRE_ARRAY) { /* an empty Lua table looks like one */
        read_array_of(&p->r, 0);
        return o;
    }
    uint32_t count = read_map(&p->r);
    for (uint32_t i = 0; i < count && p->r.err == ERR_OK; i++) {
        struct bytes key = read_str_or_bin(&p->r, COMMAND_NAME_MAX);
        if (p->r.err == ERR_OK && reader_peek(&p->r) == WIRE_NIL) {
            read_nil(&p->r);
            continue;
        }
        take_option(p, &o, key);
        if (p->r.err != ERR_OK && o.bad == NULL) {
            o.bad =
                "an option is of the wrong type: timeout_ms, fence and index are whole numbers, "
                "forward is true or false, read is text";
        }
    }
    return o;
}

/* ---- methods -------------------------------------------------------------------------------- */

static void call_members(const struct call *c, struct params *p)
{
    (void)p;
    struct buffer out = {0};
    status_members(c->n, &out);
    answer_buffer(c, &out);
}

static void call_hooks(const struct call *c, struct params *p)
{
    (void)p;
    if (c->n->scripts == NULL) {
        struct buffer out = {0};
        write_array(&out, 0);
        answer_buffer(c, &out);
        return;
    }
    struct slice hooks = script_host_hooks(c->n->scripts);
    answer(c, &(struct node_reply){.err = ERR_OK, .result = slice_bytes(hooks)});
    slice_close(&hooks);
}

static void call_propose(const struct call *c, struct params *p)
{
    struct bytes machine = next_text(p, ENTRY_MACHINE_NAME_MAX);
    struct bytes command = next_text(p, COMMAND_NAME_MAX);
    struct bytes args = next_raw(p);
    struct options o = next_options(p);
    if (!all_taken(p) || o.bad != NULL) {
        fail(c, ERR_INVALID,
             o.bad != NULL ? o.bad : "propose takes [machine, command, args, {options}]");
        return;
    }
    if (o.fenced && o.fence == 0) { /* what a node that does not lead has for a token */
        fail(c, ERR_FENCED, "0 is the fencing token of no leadership");
        return;
    }
    struct buffer payload = {0};
    if (o.fenced) {
        write_array(&payload, 2);
        write_u64(&payload, o.fence);
    }
    write_array(&payload, 2);
    write_str(&payload, command);
    write_raw(&payload, args);
    proposals_add(c->n, &(struct proposal){.kind = ENTRY_COMMAND,
                                           .machine = machine,
                                           .payload = buffer_bytes(&payload),
                                           .key = o.keyed ? o.key : NULL,
                                           .timeout_us = o.timeout_us,
                                           .forward = o.forward,
                                           .reply = c->caller->reply,
                                           .ctx = c->caller->ctx});
    buffer_close(&payload);
}

static void call_query(const struct call *c, struct params *p)
{
    struct bytes machine = next_text(p, ENTRY_MACHINE_NAME_MAX);
    struct bytes name = next_text(p, COMMAND_NAME_MAX);
    struct bytes args = next_raw(p);
    struct options o = next_options(p);
    if (!all_taken(p) || o.bad != NULL) {
        fail(c, ERR_INVALID,
             o.bad != NULL ? o.bad : "query takes [machine, name, args, {options}]");
        return;
    }
    struct buffer query = {0};
    write_array(&query, 3);
    write_str(&query, machine);
    write_str(&query, name);
    write_raw(&query, args);
    reads_add(c->n, &(struct read_request){.kind = READ_QUERY,
                                           .level = o.level,
                                           .query = buffer_bytes(&query),
                                           .index = o.index,
                                           .timeout_us = o.timeout_us,
                                           .caller = *c->caller});
    buffer_close(&query);
}

static void call_load(const struct call *c, struct params *p)
{
    struct bytes source = next_text(p, MACHINE_SOURCE_BYTES_MAX);
    struct options o = next_options(p);
    if (!all_taken(p) || o.bad != NULL) {
        fail(c, ERR_INVALID, o.bad != NULL ? o.bad : "load takes [source, {options}]");
        return;
    }
    struct machine_info info;
    struct why why = {""};
    enum err err = machines_check(source, &info, &why);
    if (err != ERR_OK) {
        fail(c, err, why.text);
        return;
    }
    proposals_add(c->n, &(struct proposal){.kind = ENTRY_MACHINE,
                                           .payload = source,
                                           .timeout_us = o.timeout_us,
                                           .forward = o.forward,
                                           .reply = c->caller->reply,
                                           .ctx = c->caller->ctx});
}

static void call_machines(const struct call *c, struct params *p)
{
    (void)p;
    struct buffer out = {0};
    struct machine_info info;
    size_t count = 0;
    while (machines_list(c->n->machines, count, &info)) {
        count++;
    }
    write_array(&out, (uint32_t)count);
    for (size_t i = 0; machines_list(c->n->machines, i, &info); i++) {
        char hash[17];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)info.hash);
        write_map(&out, 3);
        write_text(&out, "name");
        write_text(&out, info.name);
        write_text(&out, "version");
        write_u64(&out, info.version);
        write_text(&out, "hash");
        write_text(&out, hash);
    }
    answer_buffer(c, &out);
}

static void call_read(const struct call *c, struct params *p, enum read_kind kind)
{
    uint64_t timeout_us = next_timeout_us(p);
    struct options o = {.level = READ_LINEARIZABLE};
    if (next_given(p)) {
        o.level = take_level(&o, read_str_or_bin(&p->r, COMMAND_NAME_MAX));
    }
    if (!all_taken(p) || o.bad != NULL || o.level == READ_LOCAL) {
        fail(c, ERR_INVALID, "takes [timeout_ms, \"linearizable\" or \"lease\"]");
        return;
    }
    reads_add(c->n,
              &(struct read_request){
                  .kind = kind, .level = o.level, .timeout_us = timeout_us, .caller = *c->caller});
}

static void call_read_index(const struct call *c, struct params *p)
{
    call_read(c, p, READ_INDEX);
}

static void call_barrier(const struct call *c, struct params *p)
{
    call_read(c, p, READ_BARRIER);
}

/* The member of that name. False, and the call is answered, if there is none. */
static bool find_target(const struct call *c, struct bytes name, raft_id *out)
{
    *out = 0;
    if (name.size == 0) {
        return true;
    }
    const struct membership *members = members_now(c->n);
    for (uint32_t i = 0; i < members->count; i++) {
        if (bytes_is(name, members->at[i].name)) {
            *out = members->at[i].id;
            return true;
        }
    }
    char message[MEMBER_NAME_MAX + 64];
    snprintf(message, sizeof message, "there is no member \"%.*s\"", (int)name.size,
             (const char *)name.data);
    fail(c, ERR_NOT_FOUND, message);
    return false;
}

static void call_status(const struct call *c, struct params *p)
{
    struct node *n = c->n;
    struct bytes name = next_given(p) ? read_str_or_bin(&p->r, MEMBER_NAME_MAX) : (struct bytes){0};
    raft_id member;
    if (!all_taken(p)) {
        fail(c, ERR_INVALID, "status takes [id of a member, or nil]");
        return;
    }
    if (!find_target(c, name, &member)) {
        return;
    }
    if (member == 0 || member == n->id) {
        struct buffer out = {0};
        node_status(n, &out);
        answer_buffer(c, &out);
        return;
    }
    const struct outlet *o = sender_outlet(n, member);
    if (o == NULL || !o->up) {
        fail(c, ERR_UNREACHABLE, "there is no link to that node");
        return;
    }
    if (relay_is_full(n)) {
        fail(c, ERR_BUSY, NULL);
        return;
    }
    relay_request(n, member, "status", (struct bytes){0}, STATUS_TIMEOUT_US, c->caller->reply,
                  c->caller->ctx);
}

static void call_transfer(const struct call *c, struct params *p)
{
    struct node *n = c->n;
    struct bytes name = next_given(p) ? read_str_or_bin(&p->r, MEMBER_NAME_MAX) : (struct bytes){0};
    uint64_t timeout_us = next_timeout_us(p);
    raft_id target;
    if (!all_taken(p)) {
        fail(c, ERR_INVALID, "transfer takes [id or nil, timeout_ms]");
        return;
    }
    if (!find_target(c, name, &target)) {
        return;
    }
    if (node_is_leader(n) && target == n->id) {
        struct buffer result = {0};
        write_text(&result, n->name); /* nothing to do */
        answer_buffer(c, &result);
        return;
    }
    if (node_is_leader(n)) {
        transfer_begin(n, target, timeout_us, c->caller->reply, c->caller->ctx);
        return;
    }
    const struct outlet *o = sender_outlet(n, raft_leader(n->raft));
    if (o == NULL || !o->up) {
        fail(c, ERR_NOT_LEADER, "there is no leader to ask");
        return;
    }
    if (relay_is_full(n)) {
        fail(c, ERR_BUSY, NULL);
        return;
    }
    struct buffer params = {0};
    write_array(&params, 2);
    if (name.size > 0) {
        write_str(&params, name);
    } else {
        write_nil(&params);
    }
    write_u64(&params, timeout_us / 1000);
    relay_request(n, o->id, "transfer", buffer_bytes(&params), timeout_us, c->caller->reply,
                  c->caller->ctx);
    buffer_close(&params);
}

static void change_members(const struct call *c, struct params *p, enum change_kind kind)
{
    struct change_request q = {.kind = kind, .reply = c->caller->reply, .ctx = c->caller->ctx};
    struct bytes name = next_text(p, MEMBER_NAME_MAX);
    struct bytes address = kind == CHANGE_ADD ? next_text(p, MEMBER_ADDRESS_MAX) : name;
    q.timeout_us = next_timeout_us(p);
    if (!all_taken(p) || name.size == 0 || address.size == 0 || memchr(name.data, 0, name.size) ||
        memchr(address.data, 0, address.size)) {
        fail(c, ERR_INVALID,
             kind == CHANGE_ADD ? "members_add takes [id, peer address, timeout_ms]"
                                : "members_promote and members_remove take [id, timeout_ms]");
        return;
    }
    memcpy(q.name, name.data, name.size);
    if (kind == CHANGE_ADD) {
        memcpy(q.address, address.data, address.size);
    }
    change_begin(c->n, &q);
}

static void call_members_add(const struct call *c, struct params *p)
{
    change_members(c, p, CHANGE_ADD);
}

static void call_members_promote(const struct call *c, struct params *p)
{
    change_members(c, p, CHANGE_PROMOTE);
}

static void call_members_remove(const struct call *c, struct params *p)
{
    change_members(c, p, CHANGE_REMOVE);
}

static void call_step_down(const struct call *c, struct params *p)
{
    (void)p;
    struct node *n = c->n;
    if (!node_is_leader(n)) {
        fail(c, ERR_NOT_LEADER, NULL);
        return;
    }
    struct raft_event event = {.type = RAFT_EVENT_STEP_DOWN,
                               .now_us = node_now(n),
                               .step_down = {.reason = RAFT_STEP_DOWN_REQUESTED}};
    node_turn(n, &event);
    fail(c, n->turn_result, NULL);
}

static void call_lead(const struct call *c, struct params *p)
{
    uint64_t holder = next_given(p) ? read_u64(&p->r) : 0;
    bool done = next_given(p) && bytes_is(read_str_or_bin(&p->r, 16), "done");
    struct buffer result = {0};
    if (!all_taken(p) || holder == 0) {
        fail(c, ERR_INVALID, "lead takes [a number of the holder's own, \"done\" or nil]");
        return;
    }
    enum err err = lending_ask(c->n, holder, done, &result);
    if (err == ERR_OK) {
        answer_buffer(c, &result);
    } else {
        fail(c, err,
             err == ERR_BUSY ? "too many work for this node's leadership"
                             : "this cluster has no leases (lease = false in its configuration)");
    }
}

static void call_snapshot(const struct call *c, struct params *p)
{
    uint64_t timeout_us =
        timeout_us_of(next_given(p) ? read_u64(&p->r) : DEFAULT_SNAPSHOT_TIMEOUT_MS);
    if (!all_taken(p)) {
        fail(c, ERR_INVALID, "snapshot takes [timeout_ms]");
        return;
    }
    snapshot_take_ask(c->n, timeout_us, c->caller->reply, c->caller->ctx);
}

static const struct {
    const char *name;
    void (*call)(const struct call *c, struct params *p);
} methods[] = {
    {"propose", call_propose},
    {"query", call_query},
    {"status", call_status},
    {"members", call_members},
    {"hooks", call_hooks},
    {"load", call_load},
    {"read_index", call_read_index},
    {"barrier", call_barrier},
    {"transfer", call_transfer},
    {"step_down", call_step_down},
    {"lead", call_lead},
    {"machines", call_machines},
    {"snapshot", call_snapshot},
    {"members_add", call_members_add},
    {"members_promote", call_members_promote},
    {"members_remove", call_members_remove},
};

void node_call(struct node *n, struct bytes method, struct bytes params, node_reply_fn reply,
               void *ctx)
{
    node_call_from(n, method, params, &(struct node_caller){.reply = reply, .ctx = ctx});
}

void node_call_from(struct node *n, struct bytes method, struct bytes params,
                    const struct node_caller *caller)
{
    struct call c = {.n = n, .caller = caller};
    struct params p = {.r = reader_of(params)};
    p.left = params.size > 0 ? read_array(&p.r) : 0;
    if (p.r.err != ERR_OK) {
        fail(&c, ERR_INVALID, "params must be an array");
        return;
    }
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (bytes_is(method, methods[i].name)) {
            methods[i].call(&c, &p);
            return;
        }
    }
    fail(&c, ERR_NOT_FOUND,
         "unknown method; known are propose, query, status, members, hooks, load, machines, "
         "read_index, barrier, transfer, step_down, lead, snapshot, members_add, members_promote "
         "and "
         "members_remove");
}

/* ---- scripts -------------------------------------------------------------------------------- */

struct asking { /* a script, that waits for the answer */
    struct script_host *host;
    uint64_t id;
};

static void answer_script(void *ctx, const struct node_reply *reply)
{
    struct asking *c = ctx;
    script_host_reply(c->host, c->id, reply->err, reply->message, slice_copy(reply->result));
    free(c);
}

static void resume_feed(struct node *n, const struct script_request *request)
{
    struct reader r = reader_of(slice_bytes(request->params));
    read_array_of(&r, 2);
    uint64_t from = read_u64(&r);
    uint64_t feed = read_u64(&r);
    enum err err = reader_end(&r);
    if (err == ERR_OK) {
        feed_resume(n, from, feed);
    }
    script_host_reply(n->scripts, request->id, err, NULL, (struct slice){0});
}

static void ask_for_script(struct node *n, const struct script_request *request)
{
    struct asking *c = NEW(struct asking);
    *c = (struct asking){.host = n->scripts, .id = request->id};
    struct bytes params = slice_bytes(request->params);
    if (strcmp(request->method, "cluster_call") == 0) {
        messages_call(n, params, answer_script, c);
    } else if (strcmp(request->method, "cluster_send") == 0) {
        messages_send(n, params, answer_script, c);
    } else {
        node_call(n, bytes_of_string(request->method), params, answer_script, c);
    }
}

void node_script_request(struct node *n, struct script_request *request_take)
{
    struct script_request *request = request_take;
    if (strcmp(request->method, "commit_resume") == 0) {
        resume_feed(n, request);
    } else if (strcmp(request->method, "leader_idle") == 0) {
        transfer_leader_idle(n);
        script_host_reply(n->scripts, request->id, ERR_OK, NULL, (struct slice){0});
    } else if (strcmp(request->method, "shutdown") == 0) {
        if (n->ports.want_shutdown != NULL) {
            n->ports.want_shutdown(n->ports.ctx);
        }
        script_host_reply(n->scripts, request->id, ERR_OK, NULL, (struct slice){0});
    } else if (strcmp(request->method, "message_answer") == 0) {
        messages_answered(n, slice_bytes(request->params));
    } else {
        ask_for_script(n, request);
    }
    script_request_free(request);
}
