/* Random runs of the core against Raft's promises (Figure 3 of the paper, and rule 2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "world.h"

#define CHUNK_BYTES    UINT64_C(100)
#define SNAPSHOT_BYTES UINT64_C(300)

static struct world *running; /* whose seed a failing check names */

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            (void)fprintf(stderr, "seed %llu, %llu us: ", (unsigned long long)running->seed, \
                          (unsigned long long)running->now_us);                              \
            assert_failed(#condition, __FILE__, __LINE__);                                   \
        }                                                                                    \
    } while (0)

/* ---- items --------------------------------------------------------------------------------- */

static void items_set(struct items *a, uint64_t index, struct item item)
{
    CHECK(index >= 1 && index <= a->count + 1);
    if (index > a->capacity) {
        a->capacity = a->capacity == 0 ? 64 : a->capacity * 2;
        a->at = alloc_resize(a->at, a->capacity, sizeof *a->at);
    }
    a->at[index - 1] = item;
    if (index > a->count) {
        a->count = index;
    }
}

static const struct item *items_get(const struct items *a, uint64_t index)
{
    CHECK(index >= 1 && index <= a->count);
    return &a->at[index - 1];
}

static void items_cut(struct items *a, uint64_t from)
{
    if (a->count >= from) {
        a->count = from - 1;
    }
}

static void items_copy(struct items *to, const struct items *from, uint64_t count)
{
    to->count = 0;
    for (uint64_t i = 1; i <= count; i++) {
        items_set(to, i, *items_get(from, i));
    }
}

/* The members in effect at index. */
static struct raft_members members_at(const struct world *w, const struct items *log,
                                      raft_index index)
{
    for (raft_index i = index; i > 0; i--) {
        if (items_get(log, i)->entry.is_config) {
            return items_get(log, i)->members;
        }
    }
    return w->initial;
}

/* ---- time, processes ----------------------------------------------------------------------- */

static uint64_t local_us(const struct world *w, const struct world_node *n)
{
    return w->now_us * n->clock_permille / 1000;
}

static struct raft_incarnation incarnation_of(raft_id id, uint64_t life)
{
    struct raft_incarnation in = {0};
    memcpy(in.hash, &id, sizeof id);
    memcpy(in.hash + sizeof id, &life, sizeof life);
    return in;
}

static void note_hash(struct world *w, uint64_t value)
{
    w->hash = (w->hash ^ value) * UINT64_C(0x100000001b3);
}

static void start_node(struct world *w, struct world_node *n, uint64_t quiet_until_us)
{
    struct raft_boot boot = {
        .now_us = local_us(w, n),
        .term = n->disk.term,
        .vote = n->disk.vote,
        .snapshot = n->disk.snapshot,
        .members = n->disk.snapshot.index > 0 ? n->disk.snapshot_members : w->initial,
        .promise = n->promise,
        .quiet_until_us = quiet_until_us,
    };
    struct raft_options options = w->options;
    options.self = n->id;
    options.seed = rng_next(&w->rng);
    n->core = raft_new(&options, &boot);
    items_copy(&n->log, &n->disk.log, n->disk.log.count);
    for (raft_index i = boot.snapshot.index + 1; i <= n->log.count; i++) {
        const struct item *item = items_get(&n->log, i);
        raft_restore(n->core, item->entry, item->entry.is_config ? &item->members : NULL);
    }
    n->commit_index = boot.snapshot.index;
    n->up = true;
    n->life++;
}

static void stop_node(struct world_node *n)
{
    raft_free(n->core);
    n->core = NULL;
    n->up = false;
    for (uint32_t i = 0; i < n->work_count; i++) {
        free(n->work[i].items);
    }
    n->work_count = 0;
    memset(n->streams, 0, sizeof n->streams);
}

/* ---- what must hold ------------------------------------------------------------------------ */

static bool disk_holds(const struct world_node *n, raft_index index, uint64_t id)
{
    return index <= n->disk.log.count && items_get(&n->disk.log, index)->id == id;
}

/* Rule 2: nothing is said before it is durable. */
static void check_sent(const struct world_node *n, const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_MESSAGE_VOTE_REPLY:
        if (m->vote_reply.prevote) {
            return;
        }
        CHECK(m->term <= n->disk.term);
        if (m->vote_reply.granted) {
            CHECK(n->disk.term == m->term);
            CHECK(n->disk.vote == m->to);
        }
        return;
    case RAFT_MESSAGE_VOTE:
        if (!m->vote.prevote) {
            CHECK(n->disk.term == m->term);
            CHECK(n->disk.vote == n->id);
        }
        return;
    case RAFT_MESSAGE_APPEND_REPLY:
        CHECK(n->disk.term >= m->term);
        CHECK(m->append_reply.rejected || m->append_reply.match <= n->disk.log.count);
        return;
    default:
        CHECK(n->disk.term >= m->term);
        return;
    }
}

/* What a leader commits is durable on a majority of its voters. */
static void check_majority(const struct world *w, const struct world_node *n, raft_index index)
{
    struct raft_status status;
    raft_status(n->core, &status);
    uint32_t voters = 0;
    uint32_t holders = 0;
    for (uint32_t i = 0; i < status.members->count; i++) {
        const struct raft_member *member = &status.members->at[i];
        voters += member->voter;
        holders += member->voter &&
                   disk_holds(&w->nodes[member->id], index, items_get(&n->log, index)->id);
    }
    CHECK(holders > voters / 2);
}

/* State Machine Safety; Leader Completeness is checked when a leader arises. */
static void check_commit(struct world *w, struct world_node *n, raft_index commit_index)
{
    CHECK(commit_index >= n->commit_index);
    if (commit_index > n->commit_index && raft_role(n->core) == RAFT_LEADER) {
        check_majority(w, n, commit_index);
    }
    for (raft_index i = n->commit_index + 1; i <= commit_index; i++) {
        const struct item *item = items_get(&n->log, i);
        if (i > w->committed.count) {
            struct item committed = *item;
            committed.committed_in = raft_current_term(n->core);
            items_set(&w->committed, i, committed);
            note_hash(w, item->id);
        }
        CHECK(items_get(&w->committed, i)->id == item->id);
    }
    n->commit_index = commit_index;
}

static void check_new_leader(struct world *w, const struct world_node *n)
{
    raft_term term = raft_current_term(n->core);
    CHECK(term < WORLD_TERMS_MAX);
    CHECK(w->leader_of[term] == 0 || w->leader_of[term] == n->id);
    if (w->leader_of[term] == n->id) {
        return;
    }
    w->leader_of[term] = n->id;
    w->elections++;
    CHECK(n->disk.term == term);
    CHECK(n->disk.vote == n->id);
    for (raft_index i = 1; i <= w->committed.count; i++) {
        const struct item *committed = items_get(&w->committed, i);
        if (committed->committed_in >= term) {
            break; /* its votes came late: it is the leader of the past, and will soon know */
        }
        CHECK(n->log.count >= i);
        CHECK(items_get(&n->log, i)->id == committed->id);
    }
}

/* A leader's match is what the follower really has on disk. */
static void check_matches(const struct world *w, const struct world_node *n)
{
    struct raft_status status;
    raft_status(n->core, &status);
    for (uint32_t i = 0; i < status.peers_count; i++) {
        const struct raft_peer_status *peer = &status.peers[i];
        CHECK(peer->match < peer->next);
        const struct world_node *follower = &w->nodes[peer->id];
        bool overruled = follower->disk.term > status.term;
        if (peer->match > 0 && !overruled) {
            CHECK(disk_holds(follower, peer->match, items_get(&n->log, peer->match)->id));
        }
    }
}

static void check_leases(const struct world *w)
{
    uint32_t held = 0;
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        const struct world_node *n = &w->nodes[id];
        held += n->up && raft_has_lease(n->core, local_us(w, n));
    }
    CHECK(held <= 1);
}

/* ---- network ------------------------------------------------------------------------------- */

static void add_packet(struct world *w, struct packet packet)
{
    if (w->packets_count == w->packets_capacity) {
        w->packets_capacity = w->packets_capacity == 0 ? 64 : w->packets_capacity * 2;
        w->packets = alloc_resize(w->packets, w->packets_capacity, sizeof *w->packets);
    }
    packet.order = w->next_order++;
    w->packets[w->packets_count++] = packet;
}

static uint64_t draw_delay_us(struct world *w)
{
    uint64_t delay_us = rng_range(&w->rng, 100, 3000);
    return rng_chance(&w->rng, w->faults.slow) ? delay_us * rng_range(&w->rng, 2, 100) : delay_us;
}

static void post(struct world *w, const struct world_node *n, const struct raft_message *m)
{
    check_sent(n, m);
    CHECK(m->from == n->id);
    note_hash(w, m->term * 31 + m->to * 7 + (uint64_t)m->type);
    uint32_t copies = 1;
    if (w->cut[m->from][m->to] || rng_chance(&w->rng, w->faults.loss)) {
        copies = 0;
    } else if (rng_chance(&w->rng, w->faults.duplicate)) {
        copies = 2;
    }
    for (uint32_t c = 0; c < copies; c++) {
        struct packet packet = {
            .message = *m, .due_us = w->now_us + draw_delay_us(w), .sender_life = n->life};
        if (m->type == RAFT_MESSAGE_APPEND && m->append.count > 0) {
            uint32_t count = m->append.count;
            packet.entries = alloc_zeroed(count, sizeof *packet.entries);
            packet.items = alloc_zeroed(count, sizeof *packet.items);
            packet.configs = alloc_zeroed(count, sizeof *packet.configs);
            for (uint32_t i = 0; i < count; i++) {
                packet.items[i] = *items_get(&n->log, m->append.prev.index + 1 + i);
                packet.entries[i] = packet.items[i].entry;
                if (packet.entries[i].is_config) {
                    packet.configs[packet.configs_count++] = packet.items[i].members;
                }
            }
            packet.message.append.entries = packet.entries;
        }
        add_packet(w, packet);
    }
}

static void free_packet(struct packet *p)
{
    free(p->entries);
    free(p->items);
    free(p->configs);
}

/* ---- disk ---------------------------------------------------------------------------------- */

static void add_work(struct world *w, struct world_node *n, struct disk_work work)
{
    if (n->work_count == n->work_capacity) {
        n->work_capacity = n->work_capacity == 0 ? 16 : n->work_capacity * 2;
        n->work = alloc_resize(n->work, n->work_capacity, sizeof *n->work);
    }
    uint64_t start_us = n->disk_free_us > w->now_us ? n->disk_free_us : w->now_us;
    work.due_us = start_us + rng_range(&w->rng, 50, 4000);
    if (rng_chance(&w->rng, w->faults.stall)) {
        work.due_us += rng_range(&w->rng, 0, 2 * w->options.election_max_us);
    }
    n->disk_free_us = work.due_us;
    n->work[n->work_count++] = work;
}

static void ask_write(struct world *w, struct world_node *n, const struct raft_effects *e)
{
    struct disk_work work = {
        .kind = WORK_WRITE,
        .write_seq = e->persist.write_seq,
        .hard_state = e->persist.hard_state,
        .term = e->persist.term,
        .vote = e->persist.vote,
        .truncate_from = e->persist.truncate_from,
        .lo = e->persist.lo,
        .hi = e->persist.hi,
    };
    if (work.lo != work.hi) {
        work.items = alloc_zeroed(work.hi - work.lo, sizeof *work.items);
        for (raft_index i = work.lo; i < work.hi; i++) {
            work.items[i - work.lo] = *items_get(&n->log, i);
        }
        work.last = (struct raft_pos){.index = work.hi - 1,
                                      .term = items_get(&n->log, work.hi - 1)->entry.term};
    }
    add_work(w, n, work);
}

static void write_disk(struct world_node *n, const struct disk_work *work)
{
    if (work->hard_state) {
        n->disk.term = work->term;
        n->disk.vote = work->vote;
    }
    if (work->truncate_from != 0) {
        items_cut(&n->disk.log, work->truncate_from);
    }
    for (raft_index i = work->lo; i < work->hi; i++) {
        items_set(&n->disk.log, i, work->items[i - work->lo]);
    }
}

/* ---- one step ------------------------------------------------------------------------------ */

/* The node's log follows what the core asked to write: from the event, or a no-op. */
static void follow_log(struct world *w, struct world_node *n, const struct raft_event *event,
                       const struct packet *packet, const struct raft_effects *e)
{
    if (e->persist.truncate_from != 0) {
        CHECK(e->persist.truncate_from > n->commit_index);
        items_cut(&n->log, e->persist.truncate_from);
    }
    for (raft_index i = e->persist.lo; i < e->persist.hi; i++) {
        CHECK(i == n->log.count + 1);
        struct item item = {.entry.term = raft_current_term(n->core), .id = w->next_id};
        if (event->type == RAFT_EVENT_RECEIVE && event->receive.message->append.count > 0 &&
            event->receive.message->type == RAFT_MESSAGE_APPEND) {
            item = packet->items[i - event->receive.message->append.prev.index - 1];
        } else if (event->type == RAFT_EVENT_PROPOSE) {
            item.entry.size_bytes = event->propose.sizes_bytes[i - e->persist.lo];
            if (event->propose.config != NULL) {
                item.entry.is_config = true;
                item.members = *event->propose.config;
            }
            w->next_id++;
        } else {
            w->next_id++;
        }
        items_set(&n->log, i, item);
    }
}

static void check_read(struct world *w, const struct raft_read_result *result)
{
    for (uint32_t i = 0; i < w->reads_count; i++) {
        if (w->reads[i].token == result->token) {
            CHECK(result->err != ERR_OK || result->index >= w->reads[i].at_least);
            w->reads[i] = w->reads[--w->reads_count];
            return;
        }
    }
    CHECK(false); /* answered twice, or never asked */
}

static struct raft_effects step(struct world *w, struct world_node *n, struct raft_event *event,
                                const struct packet *packet);

static void send_chunk(struct world *w, struct world_node *n, raft_id to)
{
    const struct stream *s = &n->streams[to];
    struct raft_event event = {
        .type = RAFT_EVENT_SNAPSHOT_SEND,
        .snapshot_send = {.to = to,
                          .last = s->last,
                          .offset_bytes = s->offset_bytes,
                          .size_bytes = CHUNK_BYTES,
                          .done = s->offset_bytes + CHUNK_BYTES >= SNAPSHOT_BYTES},
    };
    if (s->last.index > 0 && s->offset_bytes < SNAPSHOT_BYTES) {
        (void)step(w, n, &event, NULL);
    }
}

static void follow_snapshots(struct world *w, struct world_node *n, const struct raft_event *event,
                             const struct raft_effects *e)
{
    if (e->snapshot_needed_by != 0) {
        CHECK(n->disk.snapshot.index > 0);
        n->streams[e->snapshot_needed_by] = (struct stream){.last = n->disk.snapshot};
        send_chunk(w, n, e->snapshot_needed_by);
    }
    if (e->snapshot_store) {
        const struct raft_install_snapshot *s = &event->receive.message->install_snapshot;
        add_work(w, n,
                 (struct disk_work){.kind = WORK_CHUNK,
                                    .last = s->last,
                                    .offset_bytes = s->offset_bytes + s->size_bytes});
        if (s->done) {
            add_work(w, n,
                     (struct disk_work){.kind = WORK_INSTALL,
                                        .last = s->last,
                                        .members = members_at(w, &w->committed, s->last.index)});
        }
    }
}

static struct raft_effects step(struct world *w, struct world_node *n, struct raft_event *event,
                                const struct packet *packet)
{
    struct raft_effects e;
    event->now_us = local_us(w, n);
    enum raft_role role_before = raft_role(n->core);
    if (w->trace) {
        struct buffer line = {0};
        raft_describe_event(event, &line);
        (void)fprintf(stderr, "%llu n%llu %s\n", (unsigned long long)w->now_us,
                      (unsigned long long)n->id, buffer_text(&line));
        buffer_close(&line);
    }
    raft_step(n->core, event, &e);
    if (w->trace) {
        struct buffer line = {0};
        raft_describe_effects(&e, &line);
        (void)fprintf(stderr, "    %s\n", buffer_text(&line));
        buffer_close(&line);
    }
    raft_check(n->core);
    w->steps++;
    follow_log(w, n, event, packet, &e);
    if (e.persist.write_seq != 0) {
        ask_write(w, n, &e);
    }
    if (e.promise != NULL) {
        n->promise = *e.promise;
    }
    if (raft_role(n->core) == RAFT_LEADER && role_before != RAFT_LEADER) {
        check_new_leader(w, n);
        memset(n->streams, 0, sizeof n->streams);
    }
    for (uint32_t i = 0; i < e.messages_count; i++) {
        post(w, n, &e.messages[i]);
    }
    check_commit(w, n, e.commit_index);
    for (uint32_t i = 0; i < e.reads_count; i++) {
        check_read(w, &e.reads[i]);
    }
    follow_snapshots(w, n, event, &e);
    if (raft_role(n->core) == RAFT_LEADER) {
        check_matches(w, n);
    }
    check_leases(w);
    return e;
}

/* ---- the world's events -------------------------------------------------------------------- */

static void deliver(struct world *w, struct packet packet)
{
    struct world_node *n = &w->nodes[packet.message.to];
    const struct raft_message *m = &packet.message;
    if (n->up && !w->cut[m->from][m->to]) {
        struct raft_event event = {
            .type = RAFT_EVENT_RECEIVE,
            .receive = {.message = m,
                        .sender = incarnation_of(m->from, packet.sender_life),
                        .configs = packet.configs,
                        .configs_count = packet.configs_count},
        };
        (void)step(w, n, &event, &packet);
        if (m->type == RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY && raft_role(n->core) == RAFT_LEADER) {
            const struct raft_install_snapshot_reply *reply = &m->install_snapshot_reply;
            struct stream *s = &n->streams[m->from];
            if (reply->last.index == s->last.index) {
                s->offset_bytes = reply->offset_bytes;
                s->last.index = reply->installed ? 0 : s->last.index;
                send_chunk(w, n, m->from);
            }
        }
    }
    free_packet(&packet);
}

static void finish_work(struct world *w, struct world_node *n)
{
    struct disk_work work = n->work[0];
    n->work_count--;
    memmove(n->work, n->work + 1, n->work_count * sizeof *n->work);
    struct raft_event event = {0};
    switch (work.kind) {
    case WORK_WRITE:
        write_disk(n, &work);
        /* One report may cover several writes. */
        if (n->work_count > 0 && n->work[0].kind == WORK_WRITE && rng_chance(&w->rng, 0.3)) {
            n->work[0].due_us = w->now_us;
            free(work.items);
            return;
        }
        event.type = RAFT_EVENT_PERSISTED;
        event.persisted.write_seq = work.write_seq;
        event.persisted.last = work.last;
        break;
    case WORK_CHUNK:
        event.type = RAFT_EVENT_SNAPSHOT_CHUNK_STORED;
        event.chunk_stored.last = work.last;
        event.chunk_stored.offset_bytes = work.offset_bytes;
        break;
    case WORK_INSTALL:
        items_copy(&n->disk.log, &w->committed, work.last.index);
        items_copy(&n->log, &w->committed, work.last.index);
        n->disk.snapshot = work.last;
        n->disk.snapshot_members = work.members;
        event.type = RAFT_EVENT_SNAPSHOT_INSTALLED;
        event.snapshot_installed.last = work.last;
        event.snapshot_installed.members = &work.members;
        event.snapshot_installed.ok = true;
        w->installs++;
        break;
    }
    (void)step(w, n, &event, NULL);
    free(work.items);
}

/* The world's time at which the node's clock shows its deadline. */
static uint64_t deadline_us(const struct world_node *n)
{
    uint64_t due_us = raft_deadline(n->core);
    if (due_us > UINT64_MAX / 2000) {
        return UINT64_MAX;
    }
    return (due_us * 1000 + n->clock_permille - 1) / n->clock_permille;
}

/* Take the earliest event up to limit_us; false if there is none. */
static bool advance(struct world *w, uint64_t limit_us)
{
    uint64_t best_us = limit_us;
    struct world_node *timer = NULL;
    struct world_node *disk = NULL;
    uint32_t packet = UINT32_MAX;
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        struct world_node *n = &w->nodes[id];
        if (n->up && deadline_us(n) < best_us) {
            best_us = deadline_us(n);
            timer = n;
            disk = NULL;
        }
        if (n->up && n->work_count > 0 && n->work[0].due_us < best_us) {
            best_us = n->work[0].due_us;
            disk = n;
            timer = NULL;
        }
    }
    for (uint32_t i = 0; i < w->packets_count; i++) {
        if (w->packets[i].due_us < best_us) {
            best_us = w->packets[i].due_us;
            packet = i;
        }
    }
    if (packet == UINT32_MAX && timer == NULL && disk == NULL) {
        w->now_us = limit_us;
        return false;
    }
    if (best_us > w->now_us) {
        w->now_us = best_us;
    }
    if (packet != UINT32_MAX) {
        struct packet taken = w->packets[packet];
        w->packets[packet] = w->packets[--w->packets_count];
        deliver(w, taken);
    } else if (disk != NULL) {
        finish_work(w, disk);
    } else {
        struct raft_event event = {.type = RAFT_EVENT_TIMEOUT};
        (void)step(w, timer, &event, NULL);
    }
    return true;
}

/* ---- acts: clients and faults -------------------------------------------------------------- */

static struct world_node *random_node(struct world *w)
{
    return &w->nodes[rng_range(&w->rng, 1, w->nodes_count + 1)];
}

static struct world_node *some_leader(struct world *w)
{
    struct world_node *best = NULL;
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        struct world_node *n = &w->nodes[id];
        if (n->up && raft_role(n->core) == RAFT_LEADER &&
            (best == NULL || raft_current_term(n->core) > raft_current_term(best->core))) {
            best = n;
        }
    }
    return best;
}

static enum err propose(struct world *w, struct world_node *n, const struct raft_members *config)
{
    uint32_t sizes[4];
    uint32_t count = config != NULL ? 1 : (uint32_t)rng_range(&w->rng, 1, 5);
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = (uint32_t)rng_range(&w->rng, 1, 200);
    }
    struct raft_event event = {
        .type = RAFT_EVENT_PROPOSE,
        .propose = {.sizes_bytes = sizes, .count = count, .config = config},
    };
    return step(w, n, &event, NULL).result;
}

static void read_somewhere(struct world *w, struct world_node *n)
{
    if (w->reads_count == w->reads_capacity) {
        w->reads_capacity = w->reads_capacity == 0 ? 64 : w->reads_capacity * 2;
        w->reads = alloc_resize(w->reads, w->reads_capacity, sizeof *w->reads);
    }
    uint64_t token = ++w->next_token;
    w->reads[w->reads_count++] =
        (struct read_check){.token = token, .at_least = w->committed.count};
    struct raft_event event = {
        .type = RAFT_EVENT_READ,
        .read = {.token = token, .allow_lease = rng_chance(&w->rng, 0.5)},
    };
    (void)step(w, n, &event, NULL);
}

static void change_members(struct world *w, struct world_node *leader)
{
    struct raft_status status;
    raft_status(leader->core, &status);
    struct raft_members to = *status.members;
    raft_id id = rng_range(&w->rng, 1, w->nodes_count + 1);
    uint32_t i = 0;
    while (i < to.count && to.at[i].id != id) {
        i++;
    }
    if (i == to.count) {
        to.at[to.count++] = (struct raft_member){.id = id, .voter = rng_chance(&w->rng, 0.5)};
    } else if (!to.at[i].voter || rng_chance(&w->rng, 0.3)) {
        to.at[i].voter = !to.at[i].voter;
    } else {
        to.at[i] = to.at[--to.count];
    }
    (void)propose(w, leader, &to);
}

static void compact(struct world *w, struct world_node *n)
{
    struct raft_status status;
    raft_status(n->core, &status);
    raft_index limit =
        status.commit_index < status.durable_index ? status.commit_index : status.durable_index;
    if (limit <= status.snapshot.index || n->work_count > 0) {
        return;
    }
    raft_index index = rng_range(&w->rng, status.snapshot.index + 1, limit + 1);
    n->disk.snapshot = (struct raft_pos){.index = index, .term = raft_term_at(n->core, index)};
    n->disk.snapshot_members = members_at(w, &n->log, index);
    struct raft_event event = {
        .type = RAFT_EVENT_SNAPSHOT_TAKEN,
        .snapshot_taken = {.last = n->disk.snapshot, .members = &n->disk.snapshot_members},
    };
    (void)step(w, n, &event, NULL);
}

static void send_certificates(struct world *w, raft_id dead, uint64_t life)
{
    struct raft_event event = {
        .type = RAFT_EVENT_CERTIFICATE,
        .certificate = {.dead = dead, .incarnation = incarnation_of(dead, life)},
    };
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        if (w->nodes[id].up && id != dead && rng_chance(&w->rng, 0.7)) {
            (void)step(w, &w->nodes[id], &event, NULL);
        }
    }
}

static void crash_or_start(struct world *w, struct world_node *n)
{
    if (n->up) {
        stop_node(n);
        if (rng_chance(&w->rng, 0.5)) {
            send_certificates(w, n->id, n->life);
        }
        return;
    }
    if (rng_chance(&w->rng, 0.3)) { /* the guardian died too: its page is gone */
        memset(&n->promise, 0, sizeof n->promise);
        start_node(w, n, local_us(w, n) + w->options.lease_us);
    } else {
        start_node(w, n, 0);
    }
    if (n->life > 2 && rng_chance(&w->rng, 0.2)) {
        send_certificates(w, n->id, n->life - 1); /* replayed after the restart */
    }
}

/* A world in which nothing works for long finds little. */
static void mend(struct world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        if (!w->nodes[id].up) {
            crash_or_start(w, &w->nodes[id]);
        }
    }
}

static void resend_chunks(struct world *w)
{
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        struct world_node *n = &w->nodes[id];
        for (raft_id to = 1; n->up && to <= w->nodes_count; to++) {
            if (raft_role(n->core) == RAFT_LEADER && to != id) {
                send_chunk(w, n, to);
            }
        }
    }
}

static void isolate(struct world *w, raft_id id, bool cut)
{
    for (raft_id other = 1; other <= w->nodes_count; other++) {
        w->cut[id][other] = cut;
        w->cut[other][id] = cut;
    }
}

static void cut_somewhere(struct world *w, const struct world_node *leader)
{
    if (rng_chance(&w->rng, w->faults.cut)) {
        raft_id a = random_node(w)->id;
        raft_id b = random_node(w)->id;
        w->cut[a][b] = !w->cut[a][b];
        if (w->nodes[a].up && w->cut[a][b] && rng_chance(&w->rng, 0.5)) {
            struct raft_event event = {.type = RAFT_EVENT_PEER_UNREACHABLE};
            event.peer_unreachable.id = b;
            (void)step(w, &w->nodes[a], &event, NULL);
        }
    }
    if (rng_chance(&w->rng, w->faults.isolate)) {
        isolate(w, random_node(w)->id, rng_chance(&w->rng, 0.5));
    }
    if (leader != NULL && rng_chance(&w->rng, w->faults.swap)) {
        memset(w->cut, 0, sizeof w->cut);
        isolate(w, leader->id, true);
    }
}

static void act(struct world *w)
{
    /* Now and then someone who only thinks that it leads. */
    struct world_node *any = random_node(w);
    bool leads = any->up && raft_role(any->core) == RAFT_LEADER;
    struct world_node *leader = leads ? any : some_leader(w);
    if (leader != NULL && rng_chance(&w->rng, 0.8)) {
        (void)propose(w, leader, NULL);
    }
    if (any->up && rng_chance(&w->rng, 0.5)) {
        read_somewhere(w, any);
    }
    if (leader != NULL && rng_chance(&w->rng, w->faults.transfer)) {
        struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
        event.transfer.target = rng_chance(&w->rng, 0.5) ? 0 : random_node(w)->id;
        (void)step(w, leader, &event, NULL);
    }
    if (leader != NULL && rng_chance(&w->rng, w->faults.change)) {
        change_members(w, leader);
    }
    if (any->up && rng_chance(&w->rng, w->faults.compact)) {
        compact(w, any);
    }
    if (any->up && rng_chance(&w->rng, w->faults.campaign)) {
        struct raft_event event = {.type = RAFT_EVENT_CAMPAIGN};
        (void)step(w, any, &event, NULL);
    }
    cut_somewhere(w, leader);
    if (rng_chance(&w->rng, 0.03)) {
        mend(w);
    }
    if (rng_chance(&w->rng, w->faults.crash)) {
        crash_or_start(w, leader != NULL && rng_chance(&w->rng, 0.3) ? leader : random_node(w));
    }
    resend_chunks(w);
}

void world_chaos(struct world *w, uint64_t duration_us)
{
    uint64_t end_us = w->now_us + duration_us;
    while (w->now_us < end_us) {
        uint64_t next_us = w->now_us + rng_range(&w->rng, 1000, 30000);
        while (advance(w, next_us)) {
        }
        act(w);
    }
}

/* Everyone who is a member holds the same log, all of it committed. */
static bool agreed(const struct world *w, const struct world_node *leader)
{
    struct raft_status status;
    raft_status(leader->core, &status);
    if (status.commit_index != status.last.index || status.commit_index != w->committed.count) {
        return false;
    }
    for (uint32_t i = 0; i < status.members->count; i++) {
        const struct world_node *n = &w->nodes[status.members->at[i].id];
        if (raft_commit_index(n->core) != status.commit_index) {
            return false;
        }
    }
    return true;
}

bool world_settle(struct world *w, uint64_t limit_us)
{
    memset(w->cut, 0, sizeof w->cut);
    w->faults = (struct world_faults){0};
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        if (!w->nodes[id].up) {
            start_node(w, &w->nodes[id], 0);
        }
    }
    uint64_t end_us = w->now_us + limit_us;
    bool proposed = false;
    while (w->now_us < end_us) {
        uint64_t next_us = w->now_us + 20000;
        while (advance(w, next_us)) {
        }
        resend_chunks(w);
        struct world_node *leader = some_leader(w);
        if (leader == NULL) {
            continue;
        }
        if (w->now_us > end_us - limit_us / 2 && !proposed) {
            proposed = propose(w, leader, NULL) == ERR_OK;
        } else if (proposed && agreed(w, leader)) {
            return true;
        }
    }
    return false;
}

/* ---- start and end ------------------------------------------------------------------------- */

static struct raft_options draw_options(struct world *w)
{
    uint64_t min_us = rng_range(&w->rng, 50000, 300000);
    return (struct raft_options){
        .election_min_us = min_us,
        .election_max_us = min_us + rng_range(&w->rng, min_us / 2, 2 * min_us),
        .heartbeat_us = min_us / rng_range(&w->rng, 3, 10),
        .lease_us = rng_chance(&w->rng, 0.8) ? min_us * rng_range(&w->rng, 5, 11) / 10 : 0,
        .drift_permille = 100,
        .window_entries = (uint32_t)rng_range(&w->rng, 1, 64),
        .window_bytes = (uint32_t)rng_range(&w->rng, 1, 4000),
        .append_entries_max = (uint32_t)rng_range(&w->rng, 1, 16),
        .append_bytes_max = (uint32_t)rng_range(&w->rng, 1, 2000),
        .uncommitted_bytes_max = 4000,
        .transfer_timeout_us = min_us,
        .prevote = rng_chance(&w->rng, 0.7),
        .check_quorum = rng_chance(&w->rng, 0.7),
        .lease = rng_chance(&w->rng, 0.8),
        .fast_failover = rng_chance(&w->rng, 0.7),
    };
}

static struct world_faults draw_faults(struct world *w)
{
    bool calm = rng_chance(&w->rng, 0.2);
    struct rng *rng = &w->rng;
    return (struct world_faults){
        .loss = calm ? 0 : rng_unit(rng) * 0.2,
        .duplicate = calm ? 0 : rng_unit(rng) * 0.2,
        .slow = calm ? 0 : rng_unit(rng) * 0.2,
        .cut = rng_chance(rng, 0.3) ? rng_unit(rng) * 0.1 : 0,
        .isolate = rng_chance(rng, 0.5) ? rng_unit(rng) * 0.2 : 0,
        .swap = rng_chance(rng, 0.5) ? rng_unit(rng) * 0.1 : 0,
        .crash = rng_chance(rng, 0.5) ? rng_unit(rng) * 0.2 : 0,
        .stall = rng_chance(rng, 0.4) ? rng_unit(rng) * 0.1 : 0,
        .campaign = rng_chance(rng, 0.5) ? rng_unit(rng) * 0.3 : 0,
        .transfer = rng_chance(rng, 0.3) ? rng_unit(rng) * 0.2 : 0,
        .change = rng_chance(rng, 0.4) ? rng_unit(rng) * 0.4 : 0,
        .compact = rng_chance(rng, 0.5) ? 0.1 : 0,
    };
}

struct world *world_new(uint64_t seed)
{
    struct world *w = NEW(struct world);
    running = w;
    w->seed = seed;
    w->trace = getenv("RAFT_TRACE") != NULL;
    rng_seed(&w->rng, seed);
    w->now_us = 1000000;
    w->next_id = 1;
    w->options = draw_options(w);
    w->faults = draw_faults(w);
    uint32_t members = (uint32_t)rng_range(&w->rng, 1, WORLD_NODES_MAX + 1);
    w->nodes_count = members;
    if (w->faults.change > 0 && members < WORLD_NODES_MAX) {
        w->nodes_count++;
    }
    for (raft_id id = 1; id <= members; id++) {
        w->initial.at[w->initial.count++] = (struct raft_member){.id = id, .voter = true};
    }
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        struct world_node *n = &w->nodes[id];
        n->id = id;
        n->clock_permille = rng_range(&w->rng, 950, 1051);
        start_node(w, n, 0);
    }
    return w;
}

void world_free(struct world *w)
{
    for (raft_id id = 1; id <= w->nodes_count; id++) {
        struct world_node *n = &w->nodes[id];
        if (n->up) {
            stop_node(n);
        }
        free(n->log.at);
        free(n->disk.log.at);
        free(n->work);
    }
    for (uint32_t i = 0; i < w->packets_count; i++) {
        free_packet(&w->packets[i]);
    }
    free(w->packets);
    free(w->reads);
    free(w->committed.at);
    free(w);
}

/* ---- tests --------------------------------------------------------------------------------- */

static uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void any_seed_is_safe_and_settles(void **state)
{
    (void)state;
    uint64_t first = env_number("RAFT_SEED", 1);
    uint64_t count = env_number("RAFT_SEEDS", 200);
    uint64_t steps = 0;
    uint64_t elections = 0;
    uint64_t committed = 0;
    uint64_t installs = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct world *w = world_new(seed);
        world_chaos(w, 6000000);
        CHECK(world_settle(w, 40 * w->options.election_max_us));
        steps += w->steps;
        elections += w->elections;
        committed += w->committed.count;
        installs += w->installs;
        world_free(w);
    }
    print_message("%llu seeds: %llu steps, %llu elections, %llu entries, %llu snapshots\n",
                  (unsigned long long)count, (unsigned long long)steps,
                  (unsigned long long)elections, (unsigned long long)committed,
                  (unsigned long long)installs);
    assert_true(committed > count * 10);
}

static void a_seed_is_the_whole_run(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct world *a = world_new(seed);
        world_chaos(a, 2000000);
        uint64_t hash = a->hash;
        world_free(a);
        struct world *b = world_new(seed);
        world_chaos(b, 2000000);
        assert_int_equal(b->hash, hash);
        world_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_seed_is_safe_and_settles),
        cmocka_unit_test(a_seed_is_the_whole_run),
    };
    return cmocka_run_group_tests_name("raft/random", tests, NULL, NULL);
}
