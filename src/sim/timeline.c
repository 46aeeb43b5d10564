#include "sim/timeline.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { RECORDS = 128, MESSAGES_MAX = 8, HOSTS_MAX = 64 };

struct record {
    struct timeline_at at;
    uint32_t quiet_before; /* steps between the record before this one and this */
    bool is_step;
    char note[TIMELINE_NOTE_MAX];
    /* A step. Pointers in event and effects lead into this record, or are NULL. */
    struct raft_event event;
    struct raft_message received;
    struct raft_members members;
    uint32_t proposed_bytes;
    struct raft_effects effects;
    struct raft_message messages[MESSAGES_MAX];
    uint32_t messages_left_out;
    enum raft_role role;
    raft_term term;
    raft_index last, commit;
};

struct timeline {
    struct record records[RECORDS]; /* one is the next: what is written there may not stay */
    uint64_t count;
    uint32_t quiet; /* steps since the last record */
    raft_index commits[HOSTS_MAX];
    void (*live)(void *ctx, const char *line);
    void *live_ctx;
    struct buffer line;
};

struct timeline *timeline_new(void (*live)(void *ctx, const char *line), void *ctx)
{
    struct timeline *t = NEW(struct timeline);
    t->live = live;
    t->live_ctx = ctx;
    return t;
}

void timeline_set_live(struct timeline *t, void (*live)(void *ctx, const char *line), void *ctx)
{
    t->live = live;
    t->live_ctx = ctx;
}

void timeline_free(struct timeline *t)
{
    if (t != NULL) {
        buffer_close(&t->line);
        free(t);
    }
}

/* Without the time on the node's own clock, which begins the line. */
static void describe_event(const struct raft_event *event, struct buffer *out)
{
    struct buffer text = {0};
    raft_describe_event(event, &text);
    size_t at = 0;
    while (at < text.size && text.data[at] >= '0' && text.data[at] <= '9') {
        at++;
    }
    at += at < text.size && text.data[at] == ' ';
    buffer_add_bytes(out, bytes_of(text.data + at, text.size - at));
    buffer_close(&text);
}

static void print_record(const struct record *r, struct buffer *out)
{
    buffer_add_format(out, "%10.6f ", (double)r->at.time_us / 1e6);
    if (r->at.host == TIMELINE_WORLD) {
        buffer_add_format(out, " *  ");
    } else {
        buffer_add_format(out, " n%-2u", r->at.host + 1);
    }
    if (!r->is_step) {
        buffer_add_format(out, "%s\n", r->note);
        return;
    }
    if (r->event.type == RAFT_EVENT_PROPOSE) {
        buffer_add_format(out, "propose count=%u bytes=%u", r->event.propose.count,
                          r->proposed_bytes);
    } else {
        describe_event(&r->event, out);
    }
    buffer_add_format(out, " | %s term %llu last %llu commit %llu | ", raft_role_name(r->role),
                      (unsigned long long)r->term, (unsigned long long)r->last,
                      (unsigned long long)r->commit);
    raft_describe_effects(&r->effects, out);
    if (r->messages_left_out > 0) {
        buffer_add_format(out, " and %u more messages", r->messages_left_out);
    }
    buffer_add_u8(out, '\n');
}

static void tell(struct timeline *t, const struct record *r)
{
    if (t->live != NULL) {
        buffer_clear(&t->line);
        print_record(r, &t->line);
        t->live(t->live_ctx, buffer_text(&t->line));
    }
}

static void keep(struct timeline *t, struct record *r)
{
    r->quiet_before = t->quiet;
    t->quiet = 0;
    t->count++;
}

static bool is_heartbeat(const struct raft_message *m)
{
    return (m->type == RAFT_MESSAGE_APPEND && m->append.count == 0) ||
           m->type == RAFT_MESSAGE_APPEND_REPLY;
}

/* A heartbeat, an answer to one, or what comes of either, and all is as it was. An idle cluster
 * makes a hundred such steps a second: before them, nobody would see what went wrong. */
static bool is_quiet(const struct raft_event *event, const struct raft_effects *effects)
{
    bool is_event_quiet =
        event->type == RAFT_EVENT_TIMEOUT ||
        (event->type == RAFT_EVENT_RECEIVE && is_heartbeat(event->receive.message));
    if (!is_event_quiet || effects->persist.write_seq != 0 || effects->snapshot_needed_by != 0 ||
        effects->notes_count > 0) {
        return false;
    }
    for (uint32_t i = 0; i < effects->messages_count; i++) {
        if (!is_heartbeat(&effects->messages[i])) {
            return false;
        }
    }
    return true;
}

static const struct raft_members *copy_members(struct record *r, const struct raft_members *members)
{
    if (members == NULL) {
        return NULL;
    }
    r->members = *members;
    return &r->members;
}

/* What points outside of the event is left out: the record outlives it. */
static void copy_event(struct record *r, const struct raft_event *event)
{
    r->event = *event;
    if (event->type == RAFT_EVENT_RECEIVE) {
        r->received = *event->receive.message;
        if (r->received.type == RAFT_MESSAGE_APPEND) {
            r->received.append.entries = NULL;
        }
        r->event.receive.message = &r->received;
        r->event.receive.configs = NULL;
        r->event.receive.configs_count = 0;
    } else if (event->type == RAFT_EVENT_PROPOSE) {
        r->proposed_bytes = 0;
        for (uint32_t i = 0; i < event->propose.count; i++) {
            r->proposed_bytes += event->propose.sizes_bytes[i];
        }
        r->event.propose.sizes_bytes = NULL;
        r->event.propose.config = NULL;
    } else if (event->type == RAFT_EVENT_SNAPSHOT_TAKEN) {
        r->event.snapshot_taken.members = copy_members(r, event->snapshot_taken.members);
    } else if (event->type == RAFT_EVENT_SNAPSHOT_INSTALLED) {
        r->event.snapshot_installed.members = copy_members(r, event->snapshot_installed.members);
    }
}

static void copy_effects(struct record *r, const struct raft_effects *effects)
{
    r->effects = *effects;
    r->effects.promise = NULL;
    r->effects.reads = NULL;
    r->effects.reads_count = 0;
    r->effects.notes = NULL;
    r->effects.notes_count = 0;
    uint32_t kept = effects->messages_count < MESSAGES_MAX ? effects->messages_count : MESSAGES_MAX;
    r->messages_left_out = effects->messages_count - kept;
    if (kept > 0) {
        memcpy(r->messages, effects->messages, kept * sizeof *r->messages);
    }
    r->effects.messages = r->messages;
    r->effects.messages_count = kept;
}

void timeline_step(struct timeline *t, struct timeline_at at, const struct raft_event *event,
                   const struct raft_effects *effects, const struct raft *core)
{
    raft_index commit = raft_commit_index(core);
    bool news = at.host >= HOSTS_MAX || t->commits[at.host] != commit || !is_quiet(event, effects);
    if (at.host < HOSTS_MAX) {
        t->commits[at.host] = commit;
    }
    if (!news) {
        t->quiet++;
        if (t->live == NULL) {
            return;
        }
    }
    struct record *r = &t->records[t->count % RECORDS];
    r->at = at;
    r->is_step = true;
    copy_event(r, event);
    copy_effects(r, effects);
    r->role = raft_role(core);
    r->term = raft_current_term(core);
    r->last = raft_last_index(core);
    r->commit = commit;
    tell(t, r);
    if (news) {
        keep(t, r);
    }
}

void timeline_note(struct timeline *t, struct timeline_at at, const char *format, ...)
{
    struct record *r = &t->records[t->count % RECORDS];
    r->at = at;
    r->is_step = false;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->note, sizeof r->note, format, arguments);
    va_end(arguments);
    tell(t, r);
    keep(t, r);
}

static void print_quiet(uint32_t steps, struct buffer *out)
{
    if (steps > 0) {
        buffer_add_format(out, "       ...  *  %u step%s of heartbeats, nothing new\n", steps,
                          steps == 1 ? "" : "s");
    }
}

void timeline_print(const struct timeline *t, uint32_t lines_max, struct buffer *out)
{
    uint64_t kept = t->count < RECORDS - 1 ? t->count : RECORDS - 1;
    uint64_t shown = lines_max < kept ? lines_max : kept;
    for (uint64_t i = t->count - shown; i < t->count; i++) {
        const struct record *r = &t->records[i % RECORDS];
        print_quiet(r->quiet_before, out);
        print_record(r, out);
    }
    print_quiet(t->quiet, out);
}
