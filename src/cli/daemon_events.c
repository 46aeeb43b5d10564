#include "cli/daemon_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "script/json.h"
#include "wire/writer.h"

enum {
    STREAMS_MAX = 64,
    KEPT_MAX = 64, /* events */
    LOOK_EVERY_US = 1000000,
};

struct stream {
    LIST_ENTRY(stream) entry;
    struct daemon_events *events;
    struct http_call *call;
    bool gone; /* its reader has left */
};

/* One look at all members. It lives until all have answered, and may outlive the daemon_events. */
struct look {
    struct daemon_events *events; /* NULL: nobody is interested any more */
    uint32_t expected;            /* answers */
    struct buffer nodes;          /* encoded maps */
    uint32_t nodes_count;
    struct buffer hooks; /* an encoded array */
};

/* A member that was asked. */
struct question {
    struct look *look;
    char id[MEMBER_NAME_MAX + 1];
};

struct daemon_events {
    struct node *node;
    char id[MEMBER_NAME_MAX + 1]; /* of the node: it may be gone when the last answers come */
    struct loop_timer *timer;
    LIST_HEAD(, stream) streams;
    unsigned streams_count;
    struct look *look;            /* under way; NULL: none */
    uint64_t first_id, next_id;   /* they ascend over restarts */
    struct buffer kept[KEPT_MAX]; /* the newest events as they were sent, by id */
};

/* ---- streams -------------------------------------------------------------------------------- */

static void end_stream(struct stream *s)
{
    LIST_REMOVE(s, entry);
    s->events->streams_count--;
    http_stream_end(s->call);
    free(s);
}

/* Its reader left, or does not keep up: nothing is ended from inside a call of the server. */
static void on_disconnect(void *ctx, struct http_call *call)
{
    (void)call;
    struct stream *s = ctx;
    s->gone = true;
    loop_timer_set(s->events->timer, 0);
}

static void send_all(struct daemon_events *e, struct bytes piece)
{
    struct stream *s;
    LIST_FOREACH (s, &e->streams, entry) {
        if (!s->gone && !http_stream_write(s->call, piece)) {
            s->gone = true;
        }
    }
}

static void end_those_gone(struct daemon_events *e)
{
    struct stream *s, *next;
    for (s = LIST_FIRST(&e->streams); s != NULL; s = next) {
        next = LIST_NEXT(s, entry);
        if (s->gone) {
            end_stream(s);
        }
    }
}

/* A value as the data of an event. JSON on one line: a line's end would end the data. */
static void add_data(struct buffer *out, struct bytes value)
{
    buffer_add_format(out, "data: ");
    json_from_msgpack(value, &(struct json_style){.lenient = true}, out, NULL);
    buffer_add_format(out, "\n\n");
}

/* ---- events --------------------------------------------------------------------------------- */

void daemon_events_note(struct daemon_events *e, const char *name, raft_term term,
                        struct bytes fields)
{
    struct buffer value = {0};
    uint64_t id = e->next_id++;
    struct buffer *text = &e->kept[id % KEPT_MAX];
    struct clock_port clock = loop_clock();
    write_map(&value, 4);
    write_text(&value, "event");
    write_text(&value, name);
    write_text(&value, "time_ms");
    write_i64(&value, clock_wall_ms(&clock));
    write_text(&value, "term");
    write_u64(&value, term);
    write_text(&value, "fields");
    if (fields.size > 0) {
        write_raw(&value, fields);
    } else {
        write_map(&value, 0);
    }
    buffer_clear(text);
    buffer_add_format(text, "event: %s\nid: %" PRIu64 "\n", name, id);
    add_data(text, buffer_bytes(&value));
    buffer_close(&value);
    send_all(e, buffer_bytes(text));
}

/* The events from id on, as far as they are kept. */
static void send_kept(struct daemon_events *e, struct http_call *call, uint64_t id)
{
    uint64_t oldest = e->next_id - e->first_id > KEPT_MAX ? e->next_id - KEPT_MAX : e->first_id;
    for (id = id > oldest ? id : oldest; id < e->next_id; id++) {
        http_stream_write(call, buffer_bytes(&e->kept[id % KEPT_MAX]));
    }
}

/* ---- looking at the cluster ------------------------------------------------------------------ */

static void send_look(struct daemon_events *e, struct look *look)
{
    struct buffer value = {0}, text = {0};
    write_map(&value, 3);
    write_text(&value, "asked");
    write_text(&value, e->id);
    write_text(&value, "nodes");
    write_array(&value, look->nodes_count);
    buffer_add_bytes(&value, buffer_bytes(&look->nodes));
    write_text(&value, "hooks");
    write_raw(&value, buffer_bytes(&look->hooks));
    buffer_add_format(&text, "event: cluster\n");
    add_data(&text, buffer_bytes(&value));
    send_all(e, buffer_bytes(&text));
    buffer_close(&value);
    buffer_close(&text);
}

static void answered(struct look *look)
{
    if (--look->expected > 0) {
        return;
    }
    if (look->events != NULL) {
        send_look(look->events, look);
        look->events->look = NULL;
    }
    buffer_close(&look->nodes);
    buffer_close(&look->hooks);
    free(look);
}

static void on_status(void *ctx, const struct node_reply *reply)
{
    struct question *q = ctx;
    struct look *look = q->look;
    if (reply->err == ERR_OK) {
        write_raw(&look->nodes, reply->result);
    } else { /* all that is known of it */
        write_map(&look->nodes, 1);
        write_text(&look->nodes, "id");
        write_text(&look->nodes, q->id);
    }
    look->nodes_count++;
    free(q);
    answered(look);
}

static void on_hooks(void *ctx, const struct node_reply *reply)
{
    struct look *look = ctx;
    if (reply->err == ERR_OK) {
        write_raw(&look->hooks, reply->result);
    } else {
        write_array(&look->hooks, 0);
    }
    answered(look);
}

static void ask_member(struct daemon_events *e, struct look *look, const char *id)
{
    struct question *q = NEW(struct question);
    struct buffer params = {0};
    q->look = look;
    snprintf(q->id, sizeof q->id, "%s", id);
    write_array(&params, 1);
    write_text(&params, id);
    node_call(e->node, bytes_of_string("status"), buffer_bytes(&params), on_status, q);
    buffer_close(&params);
}

/* Answers come later: node_call() never answers from inside itself. */
static void look_around(struct daemon_events *e)
{
    const struct membership *members = node_members(e->node);
    struct look *look = NEW(struct look);
    look->events = e;
    look->expected = members->count + 1;
    e->look = look;
    for (uint32_t i = 0; i < members->count; i++) {
        ask_member(e, look, members->at[i].name);
    }
    node_call(e->node, bytes_of_string("hooks"), bytes_of(NULL, 0), on_hooks, look);
}

static void on_timer(void *ctx)
{
    struct daemon_events *e = ctx;
    end_those_gone(e);
    if (e->streams_count == 0) {
        return; /* nobody looks: nothing to do until somebody comes */
    }
    if (e->look == NULL) {
        look_around(e);
    }
    loop_timer_set(e->timer, LOOK_EVERY_US);
}

/* ---- life ----------------------------------------------------------------------------------- */

void daemon_events_stream(struct daemon_events *e, struct http_call *call)
{
    if (e->streams_count >= STREAMS_MAX) {
        http_fail(call, 503, ERR_BUSY, "too many are watching events; the limit is 64");
        return;
    }
    const char *last = http_header(call, "Last-Event-ID");
    uint64_t from = last != NULL ? strtoull(last, NULL, 10) + 1 : 0;
    struct stream *s = NEW(struct stream);
    s->events = e;
    s->call = call;
    LIST_INSERT_HEAD(&e->streams, s, entry);
    e->streams_count++;
    http_set_header(call, "Cache-Control", "no-store");
    http_stream(call, 200, "text/event-stream", on_disconnect, s);
    send_kept(e, call, from);
    loop_timer_set(e->timer, 0);
}

struct daemon_events *daemon_events_new(struct loop *loop, struct node *node)
{
    struct daemon_events *e = NEW(struct daemon_events);
    e->node = node;
    snprintf(e->id, sizeof e->id, "%s", node_name(node)); /* it need not be a member */
    struct clock_port clock = loop_clock();
    e->first_id = e->next_id = (uint64_t)clock_wall_ms(&clock);
    LIST_INIT(&e->streams);
    e->timer = loop_timer_new(loop, on_timer, e);
    return e;
}

void daemon_events_close(struct daemon_events *e)
{
    if (e == NULL) {
        return;
    }
    struct stream *next;
    for (struct stream *s = LIST_FIRST(&e->streams); s != NULL; s = next) {
        next = LIST_NEXT(s, entry);
        end_stream(s);
    }
    if (e->look != NULL) {
        e->look->events = NULL;
    }
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        buffer_close(&e->kept[i]);
    }
    loop_timer_free(e->timer);
    free(e);
}
