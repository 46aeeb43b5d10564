/* What a step of the Raft core costs, without node, disk or network.
 *
 *     bench_raft_step [--json]
 *
 * Steps of one kind are taken in batches, so that looking at the clock costs nothing.
 *
 * follower append    one append of one entry
 * follower persisted the report that it is durable, and the acknowledgement
 * leader propose     one entry, appends to two followers
 * leader persisted   the leader's own write
 * leader reply       an acknowledgement; every second one commits
 * heartbeat          received and answered */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "raft/raft.h"

enum { ROUNDS = 1 << 14, BATCH = 64, COMPACT_EVERY = 64 };

struct bench {
    struct raft *core;
    uint64_t now_us;
    struct raft_event event;
    struct raft_effects effects;
    struct {
        uint64_t seq;
        struct raft_pos last;
    } writes[BATCH];
};

/* Seconds spent in all rounds. */
struct figures {
    double follower_append;
    double follower_persisted;
    double heartbeat;
    double leader_propose;
    double leader_persisted;
    double leader_reply;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void step(struct bench *b, enum raft_event_type type)
{
    b->event.type = type;
    b->event.now_us = b->now_us;
    raft_step(b->core, &b->event, &b->effects);
}

static void receive(struct bench *b, const struct raft_message *m)
{
    b->event.receive.message = m;
    step(b, RAFT_EVENT_RECEIVE);
}

static void remember_write(struct bench *b, int position)
{
    ASSERT(b->effects.persist.write_seq != 0);
    b->writes[position].seq = b->effects.persist.write_seq;
    b->writes[position].last = (struct raft_pos){0};
    if (b->effects.persist.lo != b->effects.persist.hi) {
        raft_index last = b->effects.persist.hi - 1;
        b->writes[position].last =
            (struct raft_pos){.index = last, .term = raft_term_at(b->core, last)};
    }
}

static void persist(struct bench *b, int position)
{
    b->event.persisted.write_seq = b->writes[position].seq;
    b->event.persisted.last = b->writes[position].last;
    step(b, RAFT_EVENT_PERSISTED);
}

static void open_core(struct bench *b)
{
    struct raft_options options = {.self = 1,
                                   .election_min_us = 150000,
                                   .election_max_us = 300000,
                                   .heartbeat_us = 50000,
                                   .lease_us = 150000,
                                   .drift_permille = 100,
                                   .window_entries = 1024,
                                   .window_bytes = 1 << 20,
                                   .append_entries_max = 256,
                                   .append_bytes_max = 1 << 18,
                                   .uncommitted_bytes_max = 1 << 24,
                                   .transfer_timeout_us = 150000,
                                   .lease = true};
    struct raft_boot boot = {.now_us = 1000000, .members = {.count = 3}};
    for (uint32_t i = 0; i < 3; i++) {
        boot.members.at[i] = (struct raft_member){.id = i + 1, .voter = true};
    }
    *b = (struct bench){.now_us = boot.now_us, .core = raft_new(&options, &boot)};
}

/* The log is cut now and then, as snapshots would. */
static void compact(struct bench *b, int round)
{
    raft_index index = raft_commit_index(b->core);
    if (round % COMPACT_EVERY == 0 && index > 0) {
        b->event.snapshot_taken.last =
            (struct raft_pos){.index = index, .term = raft_term_at(b->core, index)};
        step(b, RAFT_EVENT_SNAPSHOT_TAKEN);
    }
}

/* ---- follower ------------------------------------------------------------------------------ */

static void append(struct bench *b, struct raft_message *m, uint32_t count)
{
    raft_index last = raft_last_index(b->core);
    m->append.prev = (struct raft_pos){.index = last, .term = raft_term_at(b->core, last)};
    m->append.count = count;
    m->append.commit_index = last;
    m->append.sent_us = ++b->now_us;
    receive(b, m);
}

static void run_follower(struct figures *f)
{
    struct bench b;
    open_core(&b);
    const struct raft_entry entry = {.term = 1, .size_bytes = 256};
    struct raft_message m = {.type = RAFT_MESSAGE_APPEND, .from = 2, .to = 1, .term = 1};
    m.append.lease_us = 150000;
    m.append.entries = &entry;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now();
        for (int i = 0; i < BATCH; i++) {
            append(&b, &m, 1);
            remember_write(&b, i);
        }
        double appended = now();
        for (int i = 0; i < BATCH; i++) {
            persist(&b, i);
        }
        double persisted = now();
        for (int i = 0; i < BATCH; i++) {
            append(&b, &m, 0);
        }
        ASSERT(b.effects.messages_count == 1);
        f->follower_append += appended - start;
        f->follower_persisted += persisted - appended;
        f->heartbeat += now() - persisted;
        compact(&b, round);
    }
    raft_free(b.core);
}

/* ---- leader -------------------------------------------------------------------------------- */

static void elect(struct bench *b)
{
    step(b, RAFT_EVENT_CAMPAIGN);
    remember_write(b, 0);
    persist(b, 0);
    struct raft_message vote = {.type = RAFT_MESSAGE_VOTE_REPLY, .from = 2, .to = 1, .term = 1};
    vote.vote_reply.granted = true;
    receive(b, &vote);
    remember_write(b, 0);
    persist(b, 0);
    ASSERT(raft_role(b->core) == RAFT_LEADER);
}

static void acknowledge(struct bench *b, struct raft_message *m, raft_id from, raft_index match)
{
    m->from = from;
    m->append_reply.match = match;
    m->append_reply.sent_us = b->now_us;
    receive(b, m);
}

static void run_leader(struct figures *f)
{
    struct bench b;
    open_core(&b);
    elect(&b);
    const uint32_t size_bytes = 256;
    struct raft_message reply = {.type = RAFT_MESSAGE_APPEND_REPLY, .to = 1, .term = 1};
    acknowledge(&b, &reply, 2, 1);
    acknowledge(&b, &reply, 3, 1);
    for (int round = 0; round < ROUNDS; round++) {
        raft_index first = raft_last_index(b.core) + 1;
        double start = now();
        for (int i = 0; i < BATCH; i++) {
            b.now_us++;
            b.event.propose.sizes_bytes = &size_bytes;
            b.event.propose.count = 1;
            b.event.propose.config = NULL;
            step(&b, RAFT_EVENT_PROPOSE);
            remember_write(&b, i);
        }
        ASSERT(b.effects.messages_count == 2);
        double proposed = now();
        for (int i = 0; i < BATCH; i++) {
            persist(&b, i);
        }
        double persisted = now();
        for (raft_index i = first; i < first + BATCH; i++) {
            acknowledge(&b, &reply, 2, i);
            acknowledge(&b, &reply, 3, i);
        }
        ASSERT(b.effects.commit_index == first + BATCH - 1);
        f->leader_propose += proposed - start;
        f->leader_persisted += persisted - proposed;
        f->leader_reply += (now() - persisted) / 2;
        compact(&b, round);
    }
    raft_free(b.core);
}

/* ---- report -------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    struct figures f = {0};
    run_follower(&f);
    run_leader(&f);
    const struct {
        const char *name;
        double seconds;
    } rows[] = {
        {"follower_append", f.follower_append},
        {"follower_persisted", f.follower_persisted},
        {"heartbeat", f.heartbeat},
        {"leader_propose", f.leader_propose},
        {"leader_persisted", f.leader_persisted},
        {"leader_reply", f.leader_reply},
    };
    size_t count = sizeof rows / sizeof rows[0];
    for (size_t i = 0; i < count; i++) {
        double ns = rows[i].seconds * 1e9 / ((double)ROUNDS * BATCH);
        if (json) {
            printf("%s\"%s_ns\":%.1f%s", i == 0 ? "{" : ",", rows[i].name, ns,
                   i + 1 == count ? "}\n" : "");
        } else {
            printf("%-20s %6.1f ns a step\n", rows[i].name, ns);
        }
    }
    return 0;
}
