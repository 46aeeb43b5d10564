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

static void ask(struct node *n, size_t i, const struct machine_info *info)
{
    struct why why;
    const struct machine_at now = {
        .index = n->apply.last_applied, .term = n->wakes.term, .time_ms = node_entry_time(n)};
    int64_t in_ms;
    bool wanted = machines_wake(n->machines, i, &now, &in_ms, &why);
    if (why.text[0] != '\0') {
        log_warn(n->ports.log, "a state machine could not say when to wake it",
                 log_text("machine", info->name), log_text("why", why.text));
    }
    if (!wanted) {
        return;
    }
    struct wake *wake = add(&n->wakes, info->name);
    in_ms = in_ms < WAIT_MAX_MS ? in_ms : WAIT_MAX_MS;
    wake->due_us = node_now(n) + (uint64_t)in_ms * 1000;
    if (wake->due_us < n->wakes.earliest_us) {
        n->wakes.earliest_us = wake->due_us;
    }
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
    forget(w);
    w->term = term;
    w->asked_at = n->apply.last_applied;
    struct machine_info info;
    for (size_t i = 0; machines_list(n->machines, i, &info); i++) {
        ask(n, i, &info);
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
