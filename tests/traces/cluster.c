#include "cluster.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"

/* ---- logs and disks ------------------------------------------------------------------------ */

static struct log_item *item_at(struct log_items *log, raft_index index)
{
    ASSERT(index >= 1);
    ASSERT(index <= CLUSTER_LOG_MAX);
    return &log->at[index - 1];
}

static void free_flying(struct flying *f)
{
    free(f->items);
}

void cluster_close(struct cluster *c)
{
    for (raft_id id = 1; id <= c->nodes_count; id++) {
        cluster_crash(c, id);
        for (raft_id to = 1; to <= c->nodes_count; to++) {
            while (c->links[id][to].count > 0) {
                cluster_drop(c, id, to);
            }
        }
    }
}

void cluster_start(struct cluster *c, raft_id id, uint64_t quiet_until_us)
{
    struct node *n = &c->nodes[id];
    ASSERT(n->core == NULL);
    struct raft_boot boot = {
        .now_us = c->now_us,
        .term = n->disk_term,
        .vote = n->disk_vote,
        .snapshot = n->snapshot,
        .members = n->snapshot.index > 0 ? n->snapshot_members : c->initial,
        .promise = n->promise,
        .quiet_until_us = quiet_until_us,
    };
    struct raft_options options = c->options;
    options.self = id;
    options.seed = id;
    n->core = raft_new(&options, &boot);
    n->log = n->disk;
    for (raft_index i = n->snapshot.index + 1; i <= n->log.last; i++) {
        const struct log_item *item = item_at(&n->log, i);
        raft_restore(n->core, item->entry, item->entry.is_config ? &item->members : NULL);
    }
    n->commit_index = n->snapshot.index;
    n->life++;
}

void cluster_crash(struct cluster *c, raft_id id)
{
    struct node *n = &c->nodes[id];
    raft_free(n->core);
    n->core = NULL;
    for (uint32_t i = 0; i < n->writes_count; i++) {
        free(n->writes[i].items);
    }
    n->writes_count = 0;
}

struct raft_incarnation cluster_incarnation(raft_id id, uint64_t life)
{
    struct raft_incarnation in = {0};
    memcpy(in.hash, &id, sizeof id);
    memcpy(in.hash + sizeof id, &life, sizeof life);
    return in;
}

static struct log_item *copy_items(struct log_items *log, raft_index lo, raft_index hi)
{
    if (lo == hi) {
        return NULL;
    }
    struct log_item *items = alloc_zeroed(hi - lo, sizeof *items);
    memcpy(items, item_at(log, lo), (hi - lo) * sizeof *items);
    return items;
}

/* ---- carrying out effects ------------------------------------------------------------------ */

static void follow_log(struct cluster *c, struct node *n, const struct raft_event *event,
                       const struct log_item *items, const struct raft_effects *e)
{
    (void)c;
    if (e->persist.truncate_from != 0) {
        n->log.last = e->persist.truncate_from - 1;
    }
    for (raft_index i = e->persist.lo; i < e->persist.hi; i++) {
        struct log_item item = {.entry.term = raft_current_term(n->core)};
        if (items != NULL) {
            item = items[i - event->receive.message->append.prev.index - 1];
        } else if (event->type == RAFT_EVENT_PROPOSE) {
            item.entry.size_bytes = event->propose.sizes_bytes[i - e->persist.lo];
            item.entry.is_config = event->propose.config != NULL;
            item.members = item.entry.is_config ? *event->propose.config : item.members;
        }
        *item_at(&n->log, i) = item;
        n->log.last = i;
    }
}

static void ask_write(struct node *n, const struct raft_effects *e)
{
    ASSERT(n->writes_count < CLUSTER_QUEUE_MAX);
    struct disk_write *w = &n->writes[n->writes_count++];
    *w = (struct disk_write){
        .seq = e->persist.write_seq,
        .hard_state = e->persist.hard_state,
        .term = e->persist.term,
        .vote = e->persist.vote,
        .truncate_from = e->persist.truncate_from,
        .lo = e->persist.lo,
        .hi = e->persist.hi,
        .items = copy_items(&n->log, e->persist.lo, e->persist.hi),
    };
    if (w->lo != w->hi) {
        w->last =
            (struct raft_pos){.index = w->hi - 1, .term = item_at(&n->log, w->hi - 1)->entry.term};
    }
}

static void post(struct cluster *c, struct node *n, const struct raft_message *m)
{
    if (m->to > c->nodes_count || c->cut[m->from] || c->cut[m->to]) {
        return;
    }
    struct link *link = &c->links[m->from][m->to];
    ASSERT(link->count < CLUSTER_QUEUE_MAX);
    struct flying *f = &link->at[link->count++];
    *f = (struct flying){.message = *m, .sender_life = n->life};
    if (m->type == RAFT_MESSAGE_APPEND && m->append.count > 0) {
        raft_index lo = m->append.prev.index + 1;
        f->items = copy_items(&n->log, lo, lo + m->append.count);
    }
}

/* One line for the event, one for each thing that came of it. */
static void tell(struct cluster *c, raft_id id, const struct raft_event *event,
                 const struct raft_effects *e)
{
    if (c->quiet) {
        return;
    }
    struct buffer text = {0};
    buffer_add_format(c->out, "    %" PRIu64 ": ", id);
    raft_describe_event(event, c->out);
    buffer_add_format(c->out, "\n");
    raft_describe_effects(e, &text);
    const char *at = buffer_text(&text);
    bool commit_moved = e->commit_index != c->nodes[id].commit_index;
    if (!commit_moved) {
        const char *rest = strstr(at, "; ");
        at = rest == NULL ? "" : rest + 2;
    }
    while (*at != '\0') {
        const char *end = strstr(at, "; ");
        size_t length = end == NULL ? strlen(at) : (size_t)(end - at);
        buffer_add_format(c->out, "        %.*s\n", (int)length, at);
        at += length + (end == NULL ? 0 : 2);
    }
    buffer_close(&text);
}

void cluster_step(struct cluster *c, raft_id id, struct raft_event *event,
                  const struct log_item *items)
{
    struct node *n = &c->nodes[id];
    struct raft_effects e;
    event->now_us = c->now_us;
    raft_step(n->core, event, &e);
    raft_check(n->core);
    tell(c, id, event, &e);
    follow_log(c, n, event, items, &e);
    if (e.persist.write_seq != 0) {
        ask_write(n, &e);
    }
    if (e.promise != NULL) {
        n->promise = *e.promise;
    }
    for (uint32_t i = 0; i < e.messages_count; i++) {
        post(c, n, &e.messages[i]);
    }
    n->commit_index = e.commit_index;
}

/* ---- what a trace moves -------------------------------------------------------------------- */

static struct flying take(struct cluster *c, raft_id from, raft_id to)
{
    struct link *link = &c->links[from][to];
    ASSERT(link->count > 0);
    struct flying f = link->at[0];
    link->count--;
    memmove(link->at, link->at + 1, link->count * sizeof link->at[0]);
    return f;
}

void cluster_drop(struct cluster *c, raft_id from, raft_id to)
{
    struct flying f = take(c, from, to);
    free_flying(&f);
}

void cluster_deliver(struct cluster *c, raft_id from, raft_id to)
{
    struct flying f = take(c, from, to);
    if (c->nodes[to].core != NULL) {
        struct raft_entry entries[CLUSTER_LOG_MAX];
        struct raft_members configs[16];
        struct raft_event event = {.type = RAFT_EVENT_RECEIVE};
        event.receive.message = &f.message;
        event.receive.sender = cluster_incarnation(from, f.sender_life);
        event.receive.configs = configs;
        uint32_t count = f.message.type == RAFT_MESSAGE_APPEND ? f.message.append.count : 0;
        for (uint32_t i = 0; i < count; i++) {
            entries[i] = f.items[i].entry;
            if (entries[i].is_config) {
                ASSERT(event.receive.configs_count < 16);
                configs[event.receive.configs_count++] = f.items[i].members;
            }
        }
        if (count > 0) {
            f.message.append.entries = entries;
        }
        cluster_step(c, to, &event, f.items);
    }
    free_flying(&f);
}

static void write_disk(struct node *n, const struct disk_write *w)
{
    if (w->hard_state) {
        n->disk_term = w->term;
        n->disk_vote = w->vote;
    }
    if (w->truncate_from != 0) {
        n->disk.last = w->truncate_from - 1;
    }
    for (raft_index i = w->lo; i < w->hi; i++) {
        *item_at(&n->disk, i) = w->items[i - w->lo];
        n->disk.last = i;
    }
}

void cluster_persist(struct cluster *c, raft_id id, uint32_t count)
{
    struct node *n = &c->nodes[id];
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
    ASSERT(count > 0);
    ASSERT(count <= n->writes_count);
    for (uint32_t i = 0; i < count; i++) {
        write_disk(n, &n->writes[i]);
        event.persisted.write_seq = n->writes[i].seq;
        event.persisted.last = n->writes[i].last;
        free(n->writes[i].items);
    }
    n->writes_count -= count;
    memmove(n->writes, n->writes + count, n->writes_count * sizeof n->writes[0]);
    cluster_step(c, id, &event, NULL);
}

static bool settle_once(struct cluster *c)
{
    bool moved = false;
    for (raft_id id = 1; id <= c->nodes_count; id++) {
        if (c->nodes[id].core != NULL && c->nodes[id].writes_count > 0) {
            cluster_persist(c, id, c->nodes[id].writes_count);
            moved = true;
        }
        for (raft_id to = 1; to <= c->nodes_count; to++) {
            if (c->links[id][to].count > 0) {
                cluster_deliver(c, id, to);
                moved = true;
            }
        }
    }
    return moved;
}

void cluster_settle(struct cluster *c)
{
    while (settle_once(c)) {
    }
}
