/* Questions to real nodes, over their client listeners and control sockets; and their events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "scenario/target_real_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

#define PATIENCE_US UINT64_C(1000000)

enum { EVENT_FIELDS_MAX = 1 << 20 };

/* ---- calls ---------------------------------------------------------------------------------- */

static void on_answer(void *ctx, const struct rpc_answer *a)
{
    struct real_call *call = ctx;
    struct target_real *t = call->target;
    LIST_REMOVE(call, link);
    t->stage->happened = true;
    const struct node_reply reply = {
        .err = a->err != ERR_OK && t->closing ? ERR_SHUTDOWN : a->err,
        .message = a->message,
        .leader = a->leader,
        .result = a->result,
    };
    call->reply(call->ctx, &reply);
    free(call);
}

static void ask(struct target_real *t, struct rpc_channel *channel, const char *method,
                struct bytes params, uint64_t timeout_us, node_reply_fn reply, void *ctx)
{
    if (channel == NULL) {
        reply(ctx,
              &(struct node_reply){.err = ERR_UNREACHABLE, .message = "the node does not run"});
        return;
    }
    struct real_call *call = NEW(struct real_call);
    *call = (struct real_call){.target = t, .reply = reply, .ctx = ctx};
    LIST_INSERT_HEAD(&t->calls, call, link);
    rpc_channel_call(channel, method, params, timeout_us, on_answer, call);
}

void target_real_call(struct target *target, uint32_t node, const char *method, struct bytes params,
                      node_reply_fn reply, void *ctx)
{
    struct target_real *t = target_real_of(target);
    ask(t, t->hosts[node - 1].calls, method, params, 0, reply, ctx);
}

void target_real_control(struct target *target, uint32_t node, const char *method,
                         struct bytes params, node_reply_fn reply, void *ctx)
{
    struct target_real *t = target_real_of(target);
    struct host *h = &t->hosts[node - 1];
    bool waits = strcmp(method, "eval") == 0; /* for as long as its Lua does */
    ask(t, h->state == HOST_UP ? h->control : NULL, method, params,
        waits ? 0 : t->stage->patience * PATIENCE_US, reply, ctx);
}

/* ---- events --------------------------------------------------------------------------------- */

void target_real_take_event(struct target_real *t, uint32_t node, struct bytes params)
{
    struct reader r = reader_of(params);
    struct real_event event = {.node = node};
    read_array_of(&r, 4);
    uint64_t time_us = read_u64(&r);
    read_text(&r, event.name, sizeof event.name);
    event.term = read_u64(&r);
    struct bytes fields = read_raw(&r);
    if (reader_end(&r) != ERR_OK || fields.size > EVENT_FIELDS_MAX) {
        target_real_fail(t, "n%u told of an event in a way that cannot be read", node);
        return;
    }
    event.time_us = time_us > t->stage->started_us ? time_us - t->stage->started_us : 0;
    event.fields = slice_copy(fields);
    if (t->events_count == t->events_capacity) {
        t->events_capacity = t->events_capacity == 0 ? 256 : t->events_capacity * 2;
        t->events = alloc_resize(t->events, t->events_capacity, sizeof *t->events);
    }
    size_t at = t->events_count++;
    for (; at > 0 && t->events[at - 1].time_us > event.time_us; at--) {
        t->events[at] = t->events[at - 1];
    }
    t->events[at] = event;
}

static bool is_wanted(const struct real_event *e, const struct target_events_filter *filter)
{
    return (filter->name == NULL || strcmp(filter->name, e->name) == 0) &&
           (filter->node == 0 || filter->node == e->node) && e->time_us >= filter->since_us;
}

static void write_event(struct buffer *out, const struct real_event *e)
{
    struct reader r = reader_of(slice_bytes(e->fields));
    uint32_t fields = read_map(&r);
    write_map(out, fields + 4);
    write_text(out, "time_ms");
    write_u64(out, e->time_us / 1000);
    write_text(out, "node");
    write_u64(out, e->node);
    write_text(out, "name");
    write_text(out, e->name);
    write_text(out, "term");
    write_u64(out, e->term);
    for (uint32_t i = 0; i < fields * 2; i++) {
        write_raw(out, read_raw(&r));
    }
}

struct events_question {
    struct target_real *target;
    struct target_events_filter filter;
    char name[32];
    uint32_t answers_due;
    node_reply_fn reply;
    void *ctx;
};

static void answer_events(struct events_question *q)
{
    const struct target_real *t = q->target;
    struct buffer out = {0};
    uint32_t count = 0;
    for (size_t i = 0; i < t->events_count; i++) {
        count += is_wanted(&t->events[i], &q->filter);
    }
    write_array(&out, count);
    for (size_t i = 0; i < t->events_count; i++) {
        if (is_wanted(&t->events[i], &q->filter)) {
            write_event(&out, &t->events[i]);
        }
    }
    q->reply(q->ctx, &(struct node_reply){.result = buffer_bytes(&out)});
    buffer_close(&out);
    free(q);
}

/* What a node told before it answered is here now. */
static void on_events_fence(void *ctx, const struct node_reply *reply)
{
    (void)reply;
    struct events_question *q = ctx;
    if (--q->answers_due == 0) {
        answer_events(q);
    }
}

void target_real_events(struct target *target, const struct target_events_filter *filter,
                        node_reply_fn reply, void *ctx)
{
    struct target_real *t = target_real_of(target);
    struct events_question *q = NEW(struct events_question);
    *q = (struct events_question){
        .target = t, .filter = *filter, .answers_due = 1, .reply = reply, .ctx = ctx};
    if (filter->name != NULL) {
        snprintf(q->name, sizeof q->name, "%s", filter->name);
        q->filter.name = q->name;
    }
    /* One answer is due until the end, our own: nobody frees q before that. */
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc) */
    for (uint32_t node = 1; node <= t->nodes; node++) {
        const struct host *h = &t->hosts[node - 1];
        if ((filter->node == 0 || filter->node == node) && h->state == HOST_UP && !h->paused) {
            q->answers_due++;
            target_real_control(target, node, "state", (struct bytes){0}, on_events_fence, q);
        }
    }
    on_events_fence(q, NULL);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
}
