/* Machines that act when time passes (a lease that ends): the leader asks each what wake(st) wants
 * after what it applied last, and proposes its command "wake" when that is due. A wake that is lost
 * with its leader is asked for by the next; one that comes twice or early is the machine's to
 * ignore, by the time of its entry. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "node/node_internal.h"
#include "wire/writer.h"

enum {
    RETRY_US = 1000000,        /* a wake that was proposed and has not been applied */
    WAIT_MAX_MS = 3600 * 1000, /* then it is woken early */
    FAILED_US = 10000000,      /* then a machine that could not answer is asked again */
};

void wakes_init(struct node *n)
{
    n->wakes.earliest_us = UINT64_MAX;
}

void wakes_close(struct node *n)
{
    free(n->wakes.list);
    n->wakes = (struct wakes){0};
}

static void forget(struct wakes *w)
{
    w->count = 0;
    w->earliest_us = UINT64_MAX;
}

static struct wake *add(struct wakes *w, const char *machine)
{
    if (w->count == w->capacity) {
        w->capacity = w->capacity == 0 ? 4 : 2 * w->capacity;
        w->list = alloc_resize(w->list, w->capacity, sizeof *w->list);
    }
    struct wake *wake = &w->list[w->count++];
    *wake = (struct wake){.due_us = UINT64_MAX};
    memcpy(wake->machine, machine, sizeof wake->machine);
    return wake;
}

static void due_at(struct wakes *w, struct wake *wake, uint64_t due_us)
{
    wake->due_us = due_us;
    if (due_us < w->earliest_us) {
        w->earliest_us = due_us;
    }
}

/* An answer is good until the next entry; that there was none, for longer. To fail may take a
 * machine all the instructions that it is allowed, each time: with every entry, the leader would
 * have no time for heartbeats. */
static void forget_answers(struct wakes *w, uint64_t now_us)
{
    size_t count = w->count;
    forget(w);
    for (size_t i = 0; i < count; i++) {
        if (w->list[i].failed && now_us < w->list[i].due_us) {
            w->list[w->count] = w->list[i];
            due_at(w, &w->list[w->count], w->list[i].due_us);
            w->count++;
        }
    }
}

/* Not so if it was replaced since. */
static bool has_failed(const struct wakes *w, const struct machine_info *info)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct wake *wake = &w->list[i];
        if (wake->failed && wake->version == info->version &&
            strcmp(wake->machine, info->name) == 0) {
            return true;
        }
    }
    return false;
}

static void ask(struct node *n, size_t i, const struct machine_info *info)
{
    struct wakes *w = &n->wakes;
    struct why why;
    const struct machine_at now = {
        .index = n->apply.last_applied, .term = n->wakes.term, .time_ms = node_entry_time(n)};
    int64_t in_ms;
    bool wanted = machines_wake(n->machines, i, &now, &in_ms, &why);
    if (why.text[0] != '\0') {
        log_warn(n->ports.log, "a state machine could not say when to wake it",
                 log_text("machine", info->name), log_text("why", why.text));
        struct wake *failed = add(w, info->name);
        failed->version = info->version;
        failed->failed = true;
        due_at(w, failed, node_now(n) + FAILED_US);
    }
    if (!wanted) {
        return;
    }
    in_ms = in_ms < WAIT_MAX_MS ? in_ms : WAIT_MAX_MS;
    due_at(w, add(w, info->name), node_now(n) + (uint64_t)in_ms * 1000);
}

void wakes_round(struct node *n)
{
    struct wakes *w = &n->wakes;
    raft_term term = raft_current_term(n->raft);
    if (!node_is_leader(n) || n->news.ready_term != term || n->apply.failed) {
        forget(w);
        w->term = 0;
        return;
    }
    if (w->term == term && w->asked_at == n->apply.last_applied) {
        return;
    }
    if (w->term == term) {
        forget_answers(w, node_now(n));
    } else {
        forget(w);
    }
    w->term = term;
    w->asked_at = n->apply.last_applied;
    struct machine_info info;
    for (size_t i = 0; machines_list(n->machines, i, &info); i++) {
        if (!has_failed(w, &info)) {
            ask(n, i, &info);
        }
    }
}

static void propose(struct node *n, const char *machine)
{
    struct buffer payload = {0};
    write_array(&payload, 1);
    write_text(&payload, "wake");
    const struct proposal q = {
        .kind = ENTRY_COMMAND,
        .machine = bytes_of_string(machine),
        .payload = buffer_bytes(&payload),
        .timeout_us = RETRY_US,
    };
    proposals_add(n, &q);
    buffer_close(&payload);
}

void wakes_tick(struct node *n, uint64_t now_us)
{
    struct wakes *w = &n->wakes;
    if (now_us < w->earliest_us) {
        return;
    }
    w->earliest_us = UINT64_MAX;
    for (size_t i = 0; i < w->count; i++) {
        if (now_us >= w->list[i].due_us) {
            propose(n, w->list[i].machine);
            w->list[i].failed = false; /* it is asked again with the entry */
            w->list[i].due_us = now_us + RETRY_US;
        }
        if (w->list[i].due_us < w->earliest_us) {
            w->earliest_us = w->list[i].due_us;
        }
    }
}

uint64_t wakes_deadline(const struct node *n)
{
    return n->wakes.earliest_us;
}
