/* What scripts of different nodes say to each other (mk.cluster): messages, which are told to the
 * `message` hooks there, and calls, which a handler there answers. They share the peer links with
 * Raft and give way to it; what is too much is dropped and counted. A call has one answer: the
 * handler's, or an error. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "node/node_internal.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    CALLS_MAX = 1024, /* of all nodes, that the scripts here have not answered */
    DEFAULT_TIMEOUT_MS = 5000,
    TIMEOUT_MS_MAX = 600000,
    MESSAGE_BYTES_MAX = SCRIPT_MESSAGE_BYTES_MAX,
};

void messages_init(struct node *n)
{
    TAILQ_INIT(&n->messages.waiting);
}

static void refuse(struct node *n, node_reply_fn reply, void *ctx, enum err err,
                   const char *message)
{
    node_answer_later(n, reply, ctx, &(struct node_reply){.err = err, .message = message});
}

/* ---- calls that the scripts here answer ------------------------------------------------------ */

static void finish(struct node *n, struct message_call *call, const struct node_reply *reply)
{
    TAILQ_REMOVE(&n->messages.waiting, call, link);
    n->messages.count--;
    node_answer_later(n, call->reply, call->ctx, reply);
    free(call);
}

void messages_close(struct node *n)
{
    struct message_call *call;
    while ((call = TAILQ_FIRST(&n->messages.waiting)) != NULL) {
        finish(n, call, &(struct node_reply){.err = ERR_SHUTDOWN});
    }
}

static struct message_call *add(struct node *n, uint64_t deadline_us, node_reply_fn reply,
                                void *ctx)
{
    struct message_call *call = NEW(struct message_call);
    *call = (struct message_call){
        .id = ++n->messages.last_id, .deadline_us = deadline_us, .reply = reply, .ctx = ctx};
    TAILQ_INSERT_TAIL(&n->messages.waiting, call, link);
    n->messages.count++;
    return call;
}

/* Give the call to the scripts. what: all but its id. */
static void hand_over(struct node *n, struct script_call *what, node_reply_fn reply, void *ctx)
{
    if (n->scripts == NULL) {
        refuse(n, reply, ctx, ERR_NOT_FOUND, "that node runs no scripts");
        return;
    }
    if (n->stop.stage >= STOP_HOOKS) {
        refuse(n, reply, ctx, ERR_SHUTDOWN, NULL);
        return;
    }
    if (n->messages.count >= CALLS_MAX) {
        refuse(n, reply, ctx, ERR_BUSY, "that node has too many calls to answer");
        return;
    }
    struct message_call *call = add(n, what->until_us, reply, ctx);
    what->id = call->id;
    if (!script_host_call(n->scripts, what)) {
        n->counters.messages_dropped++;
        finish(n, call,
               &(struct node_reply){.err = ERR_BUSY,
                                    .message = "that node has too many calls to answer"});
    }
}

/* Each in full, or the reader has failed. */
static struct bytes read_topic(struct reader *r)
{
    struct bytes topic = read_str(r, SCRIPT_TOPIC_MAX - 1);
    if (topic.size == 0 || memchr(topic.data, 0, topic.size) != NULL) {
        reader_fail(r, ERR_INVALID);
    }
    return topic;
}

static struct bytes read_payload(struct reader *r)
{
    struct bytes payload = read_raw(r);
    if (payload.size > MESSAGE_BYTES_MAX) {
        reader_fail(r, ERR_TOO_LARGE);
    }
    return payload;
}

static uint64_t timeout_us_of(uint64_t timeout_ms)
{
    return (timeout_ms < TIMEOUT_MS_MAX ? timeout_ms : TIMEOUT_MS_MAX) * 1000;
}

static void copy_bytes(char *out, struct bytes text)
{
    memcpy(out, text.data, text.size);
    out[text.size] = 0;
}

void messages_take_call(struct node *n, raft_id from, struct bytes params, node_reply_fn reply,
                        void *ctx)
{
    struct reader r = reader_of(params);
    read_array_of(&r, 3);
    struct bytes topic = read_topic(&r);
    struct bytes payload = read_payload(&r);
    uint64_t timeout_us = timeout_us_of(read_u64(&r));
    const char *name = members_name(n, from);
    enum err err = reader_end(&r);
    n->counters.messages_received++;
    if (err != ERR_OK || name[0] == 0) {
        refuse(n, reply, ctx, err == ERR_OK ? ERR_REJECTED : err,
               err == ERR_OK ? "that node does not know this one as a member" : NULL);
        return;
    }
    struct script_call what = {.payload = slice_copy(payload),
                               .until_us = node_now(n) + timeout_us};
    copy_bytes(what.topic, topic);
    text_copy(what.from, sizeof what.from, name);
    hand_over(n, &what, reply, ctx);
    slice_close(&what.payload);
}

void messages_answered(struct node *n, struct bytes params)
{
    char code[32], message[512];
    struct reader r = reader_of(params);
    read_array_of(&r, 4);
    uint64_t id = read_u64(&r);
    read_text(&r, code, sizeof code);
    read_text(&r, message, sizeof message);
    struct bytes result = read_raw(&r);
    if (reader_end(&r) != ERR_OK) {
        return;
    }
    struct message_call *call;
    TAILQ_FOREACH (call, &n->messages.waiting, link) {
        if (call->id == id) {
            enum err err = err_from_name(code);
            finish(n, call,
                   &(struct node_reply){.err = err == ERR_COUNT ? ERR_REJECTED : err,
                                        .message = message[0] != 0 ? message : NULL,
                                        .result = err == ERR_OK ? result : (struct bytes){0}});
            return;
        }
    }
}

void messages_tick(struct node *n, uint64_t now_us)
{
    struct message_call *call = TAILQ_FIRST(&n->messages.waiting);
    while (call != NULL) {
        struct message_call *next = TAILQ_NEXT(call, link);
        if (now_us >= call->deadline_us) {
            finish(n, call, &(struct node_reply){.err = ERR_TIMEOUT});
        }
        call = next;
    }
}

uint64_t messages_deadline(const struct node *n)
{
    uint64_t at = UINT64_MAX;
    const struct message_call *call;
    TAILQ_FOREACH (call, &n->messages.waiting, link) {
        at = call->deadline_us < at ? call->deadline_us : at;
    }
    return at;
}

/* ---- messages to the scripts here ------------------------------------------------------------ */

static void tell(struct node *n, const char *from, struct bytes topic, struct bytes payload)
{
    if (n->scripts == NULL) {
        return;
    }
    struct buffer fields = {0};
    write_map(&fields, 3);
    write_text(&fields, "from");
    write_text(&fields, from);
    write_text(&fields, "topic");
    write_str(&fields, topic);
    write_text(&fields, "payload");
    write_raw(&fields, payload);
    struct script_event *event = script_event_new("message");
    event->seq = ++n->news.seq;
    event->time_ms = clock_wall_ms(n->ports.clock);
    event->term = raft_current_term(n->raft);
    event->fields = slice_copy(buffer_bytes(&fields));
    script_host_post(n->scripts, event);
    buffer_close(&fields);
}

void messages_take(struct node *n, raft_id from, struct bytes params)
{
    struct reader r = reader_of(params);
    read_array_of(&r, 2);
    struct bytes topic = read_topic(&r);
    struct bytes payload = read_payload(&r);
    enum err err = reader_end(&r);
    const char *name = members_name(n, from);
    n->counters.messages_received++;
    if (err != ERR_OK) {
        node_dropped(n, from, "malformed message of a script", err);
    } else if (name[0] != 0) {
        tell(n, name, topic, payload);
    }
}

/* ---- requests of the scripts here ------------------------------------------------------------ */

struct message {
    struct bytes to, topic, payload;
    uint64_t timeout_us;
};

/* [id, topic, payload, [timeout_ms]]. Errors: INVALID, TOO_LARGE. */
static enum err read_message(struct bytes params, struct message *out)
{
    struct reader r = reader_of(params);
    uint32_t count = read_array(&r);
    out->to = read_str(&r, SCRIPT_NAME_MAX - 1);
    out->topic = read_topic(&r);
    out->payload = read_payload(&r);
    out->timeout_us = timeout_us_of(count > 3 ? read_u64(&r) : DEFAULT_TIMEOUT_MS);
    return reader_end(&r);
}

/* The member of that name; 0, and the script is answered, if it cannot be asked. */
static raft_id find_receiver(struct node *n, struct bytes name, node_reply_fn reply, void *ctx)
{
    const struct membership *members = members_now(n);
    for (uint32_t i = 0; i < members->count; i++) {
        raft_id id = members->at[i].id;
        if (!bytes_is(name, members->at[i].name)) {
            continue;
        }
        const struct outlet *o = sender_outlet(n, id);
        if (id == n->id || (o != NULL && o->up)) {
            return id;
        }
        refuse(n, reply, ctx, ERR_UNREACHABLE, "there is no link to that node");
        return 0;
    }
    struct why why;
    err_why(&why, ERR_NOT_FOUND, "%.*s is no member", (int)name.size, (const char *)name.data);
    refuse(n, reply, ctx, ERR_NOT_FOUND, why.text);
    return 0;
}

/* Its receiver; 0, and it is answered, if it cannot be sent. */
static raft_id take_message(struct node *n, struct bytes params, struct message *m,
                            node_reply_fn reply, void *ctx)
{
    enum err err = read_message(params, m);
    if (err != ERR_OK) {
        refuse(n, reply, ctx, err, NULL);
        return 0;
    }
    return find_receiver(n, m->to, reply, ctx);
}

void messages_call(struct node *n, struct bytes params, node_reply_fn reply, void *ctx)
{
    struct message m;
    raft_id to = take_message(n, params, &m, reply, ctx);
    if (to == 0) {
        return;
    }
    enum err err = ERR_OK;
    struct buffer onward = {0};
    write_array(&onward, 3);
    write_str(&onward, m.topic);
    write_raw(&onward, m.payload);
    write_u64(&onward, m.timeout_us / 1000);
    if (to == n->id) {
        messages_take_call(n, to, buffer_bytes(&onward), reply, ctx);
    } else {
        const struct relay_question q = {.to = to,
                                         .method = "message_call",
                                         .timeout_us = m.timeout_us,
                                         .reply = reply,
                                         .ctx = ctx};
        err = relay_request_behind(n, &q, buffer_bytes(&onward));
    }
    if (err != ERR_OK) {
        refuse(n, reply, ctx, err, "too many messages wait to be sent to that node");
    }
    buffer_close(&onward);
}

void messages_send(struct node *n, struct bytes params, node_reply_fn reply, void *ctx)
{
    struct message m;
    raft_id to = take_message(n, params, &m, reply, ctx);
    if (to == 0) {
        return;
    }
    enum err err = ERR_OK;
    struct buffer onward = {0};
    write_array(&onward, 2);
    write_str(&onward, m.topic);
    write_raw(&onward, m.payload);
    if (to == n->id) {
        messages_take(n, to, buffer_bytes(&onward));
    } else {
        err = relay_notify_behind(n, to, "message", buffer_bytes(&onward));
    }
    buffer_close(&onward);
    if (err != ERR_OK) {
        refuse(n, reply, ctx, err, "too many messages wait to be sent to that node");
        return;
    }
    static const uint8_t yes = 0xc3;
    node_answer_later(n, reply, ctx,
                      &(struct node_reply){.err = ERR_OK, .result = bytes_of(&yes, 1)});
}
