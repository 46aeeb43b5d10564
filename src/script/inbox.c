#include "script/inbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/eval.h"
#include "script/handler.h"
#include "script/host.h"
#include "script/serve.h"

int event_state_slot(const char *name)
{
    static const struct {
        const char *name;
        int slot;
    } states[] = {
        {"leader_elected", 0}, {"leader_lost", 0}, {"term_change", 1},
        {"role_change", 2},    {"node_online", 3}, {"node_offline", 3},
    };
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        if (strcmp(states[i].name, name) == 0) {
            ASSERT(states[i].slot < SCRIPT_STATES);
            return states[i].slot;
        }
    }
    return -1;
}

bool event_same_state(const struct script_event *a, const struct script_event *b)
{
    return event_state_slot(a->name) == event_state_slot(b->name) &&
           strcmp(a->subject, b->subject) == 0;
}

void commit_item_free(struct commit_item *item)
{
    if (item != NULL) {
        slice_close(&item->entry);
        slice_close(&item->result);
        free(item);
    }
}

static void drop_commits(struct commit_items *list)
{
    struct commit_item *item;
    while ((item = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        commit_item_free(item);
    }
}

void inbox_init(struct inbox *box, const struct script_options *options)
{
    *box = (struct inbox){
        .wake = options->wake,
        .ctx = options->ctx,
        .events_max = options->limits.events_max,
        .commits_max = options->limits.commits_max,
    };
    pthread_mutex_init(&box->lock, NULL);
    STAILQ_INIT(&box->replies);
    STAILQ_INIT(&box->events);
    STAILQ_INIT(&box->commits);
    STAILQ_INIT(&box->evals);
    STAILQ_INIT(&box->reloads);
    STAILQ_INIT(&box->calls);
    STAILQ_INIT(&box->served);
}

void inbox_close(struct inbox *box)
{
    struct reply_item *reply;
    while ((reply = STAILQ_FIRST(&box->replies)) != NULL) {
        STAILQ_REMOVE_HEAD(&box->replies, link);
        slice_close(&reply->result);
        free(reply->message);
        free(reply);
    }
    struct event_item *event;
    while ((event = STAILQ_FIRST(&box->events)) != NULL) {
        STAILQ_REMOVE_HEAD(&box->events, link);
        script_event_free(event->event);
        free(event);
    }
    struct call *call;
    while ((call = STAILQ_FIRST(&box->calls)) != NULL) {
        STAILQ_REMOVE_HEAD(&box->calls, waiting);
        call_free(call);
    }
    drop_commits(&box->commits);
    pthread_mutex_destroy(&box->lock);
}

/* Unlock, and wake the host unless it was told already. */
static void leave(struct inbox *box)
{
    bool wake = !box->woken;
    box->woken = true;
    pthread_mutex_unlock(&box->lock);
    if (wake && box->wake != NULL) {
        box->wake(box->ctx);
    }
}

void script_view_copy(struct script_view *to, const struct script_view *from)
{
    ASSERT(from->peers_count <= SCRIPT_PEERS_MAX);
    size_t peers_bytes = from->peers_count * sizeof from->peers[0];
    memcpy(to, from, offsetof(struct script_view, peers) + peers_bytes);
}

void inbox_take(struct inbox *box, struct script_view *view, struct inbox_batch *out)
{
    pthread_mutex_lock(&box->lock);
    box->woken = false;
    out->flags = box->flags;
    box->flags = 0;
    if (out->flags & INBOX_VIEW) {
        script_view_copy(view, &box->view);
    }
    out->shutdown_deadline_us = box->shutdown_deadline_us;
    out->events_dropped = box->events_dropped;
    STAILQ_INIT(&out->replies);
    STAILQ_INIT(&out->events);
    STAILQ_INIT(&out->commits);
    STAILQ_INIT(&out->evals);
    STAILQ_INIT(&out->reloads);
    STAILQ_INIT(&out->calls);
    STAILQ_INIT(&out->served);
    STAILQ_CONCAT(&out->replies, &box->replies);
    STAILQ_CONCAT(&out->events, &box->events);
    STAILQ_CONCAT(&out->commits, &box->commits);
    STAILQ_CONCAT(&out->evals, &box->evals);
    STAILQ_CONCAT(&out->reloads, &box->reloads);
    STAILQ_CONCAT(&out->calls, &box->calls);
    box->messages_count = 0;
    box->messages_bytes = 0;
    STAILQ_CONCAT(&out->served, &box->served);
    box->events_count = 0;
    pthread_mutex_unlock(&box->lock);
}

void inbox_view(struct inbox *box, struct script_view *out)
{
    pthread_mutex_lock(&box->lock);
    script_view_copy(out, &box->view);
    pthread_mutex_unlock(&box->lock);
}

void inbox_counts(struct inbox *box, uint64_t *events, uint64_t *commits)
{
    pthread_mutex_lock(&box->lock);
    *events = box->events_count;
    *commits = box->commits_held;
    pthread_mutex_unlock(&box->lock);
}

uint64_t inbox_new_feed(struct inbox *box, bool keep_waiting)
{
    pthread_mutex_lock(&box->lock);
    uint64_t feed = ++box->feed;
    box->commits_refused = false;
    if (!keep_waiting) {
        uint32_t waiting = 0;
        struct commit_item *item;
        STAILQ_FOREACH (item, &box->commits, link) {
            waiting++;
        }
        ASSERT(waiting <= box->commits_held);
        box->commits_held -= waiting;
        drop_commits(&box->commits);
        box->commits_last = 0;
    }
    pthread_mutex_unlock(&box->lock);
    return feed;
}

bool inbox_release_commits(struct inbox *box, uint32_t count)
{
    pthread_mutex_lock(&box->lock);
    ASSERT(count <= box->commits_held);
    box->commits_held -= count;
    bool resume = box->commits_refused && box->commits_held <= box->commits_max / 2;
    pthread_mutex_unlock(&box->lock);
    return resume;
}

/* ---- from any thread ---------------------------------------------------------------------------
 */

struct script_event *script_event_new(const char *name)
{
    struct script_event *event = NEW(struct script_event);
    snprintf(event->name, sizeof event->name, "%s", name);
    return event;
}

void script_event_free(struct script_event *event)
{
    if (event != NULL) {
        slice_close(&event->fields);
        free(event);
    }
}

void script_request_free(struct script_request *request)
{
    if (request != NULL) {
        slice_close(&request->params);
        free(request);
    }
}

/* Remove the waiting state event that this one makes void: the new one takes its room, at the end.
 */
static bool make_room(struct inbox *box, const struct script_event *event)
{
    if (event_state_slot(event->name) < 0) {
        return false;
    }
    struct event_item *item;
    STAILQ_FOREACH (item, &box->events, link) {
        if (event_same_state(item->event, event)) {
            STAILQ_REMOVE(&box->events, item, event_item, link);
            box->events_count--;
            script_event_free(item->event);
            free(item);
            break;
        }
    }
    return true;
}

/* Other nodes can send faster than scripts listen: what they send never takes more than half of the
 * room. Counts it if there is room. */
static bool take_message(struct inbox *box, size_t size_bytes)
{
    if (box->messages_count >= box->events_max / 2 ||
        box->messages_bytes + size_bytes > MESSAGES_BYTES_MAX) {
        return false;
    }
    box->messages_count++;
    box->messages_bytes += size_bytes;
    return true;
}

static bool has_room(struct inbox *box, const struct script_event *event)
{
    if (strcmp(event->name, "message") == 0 && !take_message(box, event->fields.size)) {
        return false;
    }
    return box->events_count < box->events_max || make_room(box, event);
}

bool script_host_call(struct script_host *host, const struct script_call *what)
{
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    if (!take_message(box, what->payload.size)) {
        pthread_mutex_unlock(&box->lock);
        return false;
    }
    struct call *call = call_new(what);
    STAILQ_INSERT_TAIL(&box->calls, call, waiting);
    leave(box);
    return true;
}

void script_host_post(struct script_host *host, struct script_event *event_take)
{
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    if (!has_room(box, event_take)) {
        box->events_dropped++;
        script_event_free(event_take);
    } else {
        struct event_item *item = NEW(struct event_item);
        item->event = event_take;
        STAILQ_INSERT_TAIL(&box->events, item, link);
        box->events_count++;
    }
    leave(box);
}

void script_host_reply(struct script_host *host, uint64_t id, enum err err, const char *message,
                       struct slice result_take)
{
    struct reply_item *item = NEW(struct reply_item);
    *item = (struct reply_item){
        .id = id,
        .err = err,
        .message = message != NULL ? alloc_string(message) : NULL,
        .result = result_take,
    };
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    STAILQ_INSERT_TAIL(&box->replies, item, link);
    leave(box);
}

bool script_host_commit(struct script_host *host, const struct script_commit *commit)
{
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    if (commit->feed != box->feed || commit->index <= box->commits_last) {
        pthread_mutex_unlock(&box->lock);
        return true;
    }
    if (box->commits_refused || box->commits_held >= box->commits_max) {
        box->commits_refused = true;
        leave(box);
        return false;
    }
    struct commit_item *item = NEW(struct commit_item);
    *item = (struct commit_item){
        .index = commit->index,
        .term = commit->term,
        .entry = slice_ref(commit->entry),
        .has_result = commit->has_result,
        .err = commit->err,
        .repeated = commit->repeated,
        .result = commit->result.owner != NULL ? slice_ref(commit->result) : (struct slice){0},
    };
    STAILQ_INSERT_TAIL(&box->commits, item, link);
    box->commits_last = commit->index;
    box->commits_held++;
    leave(box);
    return true;
}

/* Processes that work for this leadership may go on for as long as it is leased. Not by way of the
 * host's own thread: that may be busy. */
static void extend_processes(struct script_host *host, const struct script_view *view)
{
    const struct process_port *port = host->options.processes;
    if (port == NULL || view->token == 0 || view->role != SCRIPT_LEADER) {
        return;
    }
    uint64_t margin_us = host->options.limits.lease_margin_us;
    uint64_t until_us = view->lease_until_us;
    port->lease(port->ctx, view->token,
                until_us == 0 ? UINT64_MAX
                              : until_us - (until_us < margin_us ? until_us : margin_us));
}

void script_host_set_view(struct script_host *host, const struct script_view *view)
{
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    const struct script_view *old = &box->view;
    bool wake = view->role != old->role || view->term != old->term ||
                view->leader_ready != old->leader_ready || view->token != old->token ||
                view->lease_until_us < old->lease_until_us;
    script_view_copy(&box->view, view);
    box->flags |= INBOX_VIEW;
    if (wake) {
        leave(box);
    } else {
        pthread_mutex_unlock(&box->lock);
    }
    extend_processes(host, view);
}

void script_host_eval(struct script_host *host, const struct script_eval *eval)
{
    struct eval *copy = eval_new(eval);
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    STAILQ_INSERT_TAIL(&box->evals, copy, waiting);
    leave(box);
}

void script_host_reload(struct script_host *host, const struct script_reload *reload)
{
    struct reload *copy = reload_new(reload);
    pthread_mutex_lock(&host->inbox.lock);
    STAILQ_INSERT_TAIL(&host->inbox.reloads, copy, waiting);
    leave(&host->inbox);
}

bool script_host_http(struct script_host *host, const struct script_http_request *request)
{
    struct inbox *box = &host->inbox;
    pthread_mutex_lock(&box->lock);
    bool full = box->served_count >= SERVED_MAX;
    box->served_count += full ? 0 : 1;
    pthread_mutex_unlock(&box->lock);
    if (full) {
        return false;
    }
    struct served *copy = served_new(host, request);
    pthread_mutex_lock(&box->lock);
    STAILQ_INSERT_TAIL(&box->served, copy, waiting);
    leave(box);
    return true;
}

void inbox_served(struct inbox *box)
{
    pthread_mutex_lock(&box->lock);
    ASSERT(box->served_count > 0);
    box->served_count--;
    pthread_mutex_unlock(&box->lock);
}

static void raise_flag(struct script_host *host, unsigned flag, unsigned clear)
{
    struct inbox *box = &host->inbox;
    box->flags = (box->flags & ~clear) | flag;
    leave(box);
}

void script_host_end_leader_work(struct script_host *host)
{
    pthread_mutex_lock(&host->inbox.lock);
    raise_flag(host, INBOX_END_LEADER_WORK, INBOX_RESUME_LEADER_WORK);
}

void script_host_resume_leader_work(struct script_host *host)
{
    pthread_mutex_lock(&host->inbox.lock);
    raise_flag(host, INBOX_RESUME_LEADER_WORK, INBOX_END_LEADER_WORK);
}

void script_host_shutdown_begin(struct script_host *host, uint64_t deadline_us)
{
    pthread_mutex_lock(&host->inbox.lock);
    host->inbox.shutdown_deadline_us = deadline_us;
    raise_flag(host, INBOX_SHUTDOWN, 0);
}
