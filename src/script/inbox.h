/* What the node's thread (or any other) has left for the host to pick up: one lock, held briefly.
 */
#ifndef MK_SCRIPT_INBOX_H
#define MK_SCRIPT_INBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "script/reload.h"
#include "script/script.h"

/* The events of which only the last one matters, and which can be replayed: the * of the guide.
 * Opposites are states of one thing, and make each other void. */
enum { SCRIPT_STATES = 4 };
/* Which thing it is a state of, or -1. */
int event_state_slot(const char *name);
/* Does the later one of the two make the earlier one void? */
bool event_same_state(const struct script_event *a, const struct script_event *b);

/* Payloads of messages that wait: in the inbox, and again in each hook. */
enum { MESSAGES_BYTES_MAX = 8 << 20 };

struct event_item {
    struct script_event *event;
    STAILQ_ENTRY(event_item) link;
};
STAILQ_HEAD(event_items, event_item);

struct reply_item {
    uint64_t id;
    enum err err;
    char *message;
    struct slice result;
    STAILQ_ENTRY(reply_item) link;
};
STAILQ_HEAD(reply_items, reply_item);

struct commit_item {
    uint64_t index;
    uint64_t term;
    struct slice entry;
    bool has_result;
    enum err err;
    bool repeated;
    struct slice result;
    STAILQ_ENTRY(commit_item) link;
};
STAILQ_HEAD(commit_items, commit_item);
void commit_item_free(struct commit_item *item);

struct eval;
STAILQ_HEAD(eval_items, eval);

struct call;
STAILQ_HEAD(call_items, call);
struct served;
STAILQ_HEAD(served_items, served);

enum inbox_flag {
    INBOX_VIEW = 1,
    INBOX_END_LEADER_WORK = 2,
    INBOX_RESUME_LEADER_WORK = 4,
    INBOX_SHUTDOWN = 8,
};

struct inbox {
    pthread_mutex_t lock;
    void (*wake)(void *ctx);
    void *ctx;
    bool woken; /* wake() was called since the last inbox_take() */

    unsigned flags; /* enum inbox_flag: what is new */
    struct script_view view;
    uint64_t shutdown_deadline_us;

    struct reply_items replies;
    struct event_items events;
    uint32_t events_count;
    uint32_t events_max;
    uint64_t events_dropped;
    struct eval_items evals;
    struct reload_items reloads;
    /* Of other nodes: calls, and those of the events that are messages. */
    struct call_items calls;
    uint32_t messages_count;
    size_t messages_bytes;
    struct served_items served;
    uint32_t served_count; /* waiting and under way */

    struct commit_items commits;
    uint64_t feed;         /* the only one accepted */
    uint64_t commits_last; /* index of the last commit accepted in this feed; 0: none */
    uint32_t commits_held; /* accepted and not yet released */
    uint32_t commits_max;
    bool commits_refused; /* one was refused since the feed began */
};

void inbox_init(struct inbox *box, const struct script_options *options);
void inbox_close(struct inbox *box);

/* What was there, moved out. The lists are the caller's. */
struct inbox_batch {
    unsigned flags;
    uint64_t shutdown_deadline_us;
    struct reply_items replies;
    struct event_items events;
    struct commit_items commits;
    struct eval_items evals;
    struct reload_items reloads;
    struct call_items calls;
    struct served_items served;
    uint64_t events_dropped; /* in all */
};
/* view: replaced if there is a new one (INBOX_VIEW). */
void inbox_take(struct inbox *box, struct script_view *view, struct inbox_batch *out);

/* One of those that script_host_http() took was answered. */
void inbox_served(struct inbox *box);

/* The latest view. */
void inbox_view(struct inbox *box, struct script_view *out);

/* What waits, and what was accepted and not yet released. */
void inbox_counts(struct inbox *box, uint64_t *events, uint64_t *commits);

/* Begin a new feed: commits of the former one that wait here are dropped, with keep_waiting only
 * those that are still to come. Returns its number. */
uint64_t inbox_new_feed(struct inbox *box, bool keep_waiting);
/* count commits are done with. Returns true if one was refused and half of the room is free. */
bool inbox_release_commits(struct inbox *box, uint32_t count);

#endif
