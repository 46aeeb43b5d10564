#include "script/feed.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/hook.h"
#include "script/request.h"
#include "wire/writer.h"

void feed_init(struct feed *feed, uint32_t commits_max)
{
    *feed = (struct feed){.capacity = 16};
    while (feed->capacity < commits_max) {
        feed->capacity *= 2;
    }
}

static struct commit_item **at(struct feed *feed, uint64_t position)
{
    return &feed->ring[position & (feed->capacity - 1)];
}

void feed_close(struct feed *feed)
{
    for (; feed->lo < feed->hi; feed->lo++) {
        commit_item_free(*at(feed, feed->lo));
    }
    free(feed->ring);
    feed->ring = NULL;
}

bool script_host_wants_commits(const struct script_host *host)
{
    return atomic_load_explicit(&host->feed.wanted, memory_order_relaxed);
}

/* ---- asking the node ---------------------------------------------------------------------------
 */

static void ask(struct script_host *host, uint64_t from_index, bool keep_waiting)
{
    uint64_t number = inbox_new_feed(&host->inbox, keep_waiting);
    struct buffer params = {0};
    write_array(&params, 2);
    write_u64(&params, from_index);
    write_u64(&params, number);
    request_send(host, "commit_resume", &params);
}

static void drop_window(struct script_host *host)
{
    struct feed *feed = &host->feed;
    uint32_t count = (uint32_t)(feed->hi - feed->lo);
    for (; feed->lo < feed->hi; feed->lo++) {
        commit_item_free(*at(feed, feed->lo));
    }
    inbox_release_commits(&host->inbox, count);
}

/* Begin again at the lowest index that a hook still needs. */
static void rewind_feed(struct script_host *host)
{
    uint64_t from = UINT64_MAX;
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_COMMIT && hook->state != HOOK_OFF && !hook->place.parked &&
            hook->place.next_index < from) {
            from = hook->place.next_index;
        }
    }
    ASSERT(from != UINT64_MAX);
    drop_window(host);
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_COMMIT) {
            hook->place.at = host->feed.hi;
        }
    }
    host->feed.last_index = from - 1;
    ask(host, from, false);
}

/* Stand where next_index says: in the window, or the window moves. */
static void take_place(struct script_host *host, struct hook *hook)
{
    struct feed *feed = &host->feed;
    hook->place.at = feed->lo;
    uint64_t first = feed->lo < feed->hi ? (*at(feed, feed->lo))->index : feed->last_index + 1;
    if (hook->place.next_index < first) {
        rewind_feed(host);
    }
}

/* ---- who takes part ----------------------------------------------------------------------------
 */

/* The first commit that no script of this host can know of yet. Some have come in already that the
 * view does not show, and the other way round. */
static uint64_t next_commit(struct script_host *host)
{
    struct script_view view;
    inbox_view(&host->inbox, &view);
    uint64_t seen = host->feed.last_index;
    return (view.last_applied > seen ? view.last_applied : seen) + 1;
}

void feed_join(struct script_host *host, struct hook *hook, uint64_t from_index)
{
    struct feed *feed = &host->feed;
    uint64_t next = next_commit(host);
    if (from_index == 0) {
        from_index = next;
    }
    hook->place =
        (struct feed_place){.at = feed->hi, .next_index = from_index, .cursor = ++host->cursors};
    atomic_store_explicit(&feed->wanted, true, memory_order_relaxed);
    if (!feed->running) {
        if (feed->ring == NULL) {
            feed->ring = alloc_zeroed(feed->capacity, sizeof(struct commit_item *));
        }
        feed->running = true;
        /* No later than with what comes next: others may join meanwhile. */
        uint64_t from = from_index < next ? from_index : next;
        feed->last_index = from - 1;
        ask(host, from, false);
    } else {
        take_place(host, hook);
    }
}

void feed_leave(struct script_host *host, struct hook *leaving)
{
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook != leaving && hook->kind == HOOK_COMMIT && hook->state != HOOK_OFF) {
            return;
        }
    }
    struct feed *feed = &host->feed;
    atomic_store_explicit(&feed->wanted, false, memory_order_relaxed);
    feed->running = false;
    drop_window(host);
    inbox_new_feed(&host->inbox, false); /* what is still under way is not accepted any more */
}

void feed_park(struct script_host *host, struct hook *hook)
{
    (void)host;
    hook->place.parked = true;
}

void feed_unpark(struct script_host *host, struct hook *hook)
{
    hook->place.parked = false;
    take_place(host, hook);
}

/* ---- the window --------------------------------------------------------------------------------
 */

void feed_take(struct script_host *host, struct commit_items *items)
{
    struct feed *feed = &host->feed;
    struct commit_item *item;
    bool any = !STAILQ_EMPTY(items);
    while ((item = STAILQ_FIRST(items)) != NULL) {
        STAILQ_REMOVE_HEAD(items, link);
        ASSERT(feed->hi - feed->lo < feed->capacity);
        *at(feed, feed->hi) = item;
        feed->hi++;
        feed->last_index = item->index;
    }
    struct hook *hook;
    if (any) {
        TAILQ_FOREACH (hook, &host->hooks, link) {
            if (hook->kind == HOOK_COMMIT) {
                hook_wake(hook);
            }
        }
    }
}

bool feed_peek(struct script_host *host, struct hook *hook, const struct commit_item **out)
{
    struct feed *feed = &host->feed;
    struct feed_place *place = &hook->place;
    for (; place->at < feed->hi; place->at++) {
        struct commit_item *item = *at(feed, place->at);
        if (item->index >= place->next_index) {
            *out = item;
            return true;
        }
    }
    return false;
}

void feed_advance(struct hook *hook, const struct commit_item *item)
{
    hook->place.at++;
    hook->place.next_index = item->index + 1;
}

void feed_release(struct script_host *host)
{
    struct feed *feed = &host->feed;
    if (!feed->running) {
        return;
    }
    uint64_t keep = feed->hi;
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_COMMIT && hook->state != HOOK_OFF && !hook->place.parked &&
            hook->place.at < keep) {
            keep = hook->place.at;
        }
    }
    uint32_t count = 0;
    for (; feed->lo < keep; feed->lo++, count++) {
        commit_item_free(*at(feed, feed->lo));
    }
    if (inbox_release_commits(&host->inbox, count)) {
        ask(host, feed->last_index + 1, true);
    }
}
