/* Whatever a peer says: no assertion fails, nothing committed is lost, terms and commits never go
 * back. (That lies can break agreement is another matter: Raft trusts its members.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "raft/raft.h"

enum { ENTRIES_MAX = 6, WRITES_MAX = 4096 };

struct subject {
    struct raft *core;
    struct rng rng;
    uint64_t now_us;
    struct {
        uint64_t seq;
        struct raft_pos last;
    } writes[WRITES_MAX];
    uint32_t writes_count;
    bool storing;
    bool storing_done;
    struct raft_pos storing_last;
    uint64_t storing_offset;
    struct raft_pos committed;
};

/* Small numbers mostly, absurd ones now and then. */
static uint64_t number(struct subject *s, uint64_t limit)
{
    if (rng_chance(&s->rng, 0.01)) {
        return rng_next(&s->rng);
    }
    return rng_range(&s->rng, 0, limit);
}

static struct raft_pos position(struct subject *s)
{
    raft_index index = number(s, raft_last_index(s->core) + 3);
    raft_term term = raft_term_at(s->core, index);
    if (term == 0 || rng_chance(&s->rng, 0.2)) {
        term = number(s, raft_current_term(s->core) + 2);
    }
    return (struct raft_pos){.index = index, .term = term};
}

static struct raft_members members(struct subject *s)
{
    struct raft_members m = {.count = (uint32_t)rng_range(&s->rng, 0, 5)};
    if (rng_chance(&s->rng, 0.05)) {
        m.count = (uint32_t)rng_next(&s->rng);
    }
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        m.at[i] =
            (struct raft_member){.id = rng_range(&s->rng, 0, 6), .voter = rng_chance(&s->rng, 0.8)};
    }
    return m;
}

static void fill_entries(struct subject *s, struct raft_message *m, struct raft_entry *entries)
{
    raft_term term = m->append.prev.term;
    m->append.count = (uint32_t)rng_range(&s->rng, 0, ENTRIES_MAX + 1);
    m->append.entries = rng_chance(&s->rng, 0.98) ? entries : NULL;
    for (uint32_t i = 0; i < m->append.count; i++) {
        term += rng_chance(&s->rng, 0.2);
        entries[i] = (struct raft_entry){.term = rng_chance(&s->rng, 0.95) ? term : number(s, 9),
                                         .size_bytes = (uint32_t)number(s, 50),
                                         .is_config = rng_chance(&s->rng, 0.1)};
    }
}

static void fill(struct subject *s, struct raft_message *m, struct raft_entry *entries)
{
    switch (m->type) {
    case RAFT_MESSAGE_APPEND:
        m->append = (struct raft_append){.prev = position(s),
                                         .commit_index = number(s, 20),
                                         .lease_us = number(s, 200000),
                                         .round = number(s, 20),
                                         .sent_us = number(s, s->now_us)};
        fill_entries(s, m, entries);
        break;
    case RAFT_MESSAGE_APPEND_REPLY: {
        struct raft_pos agree = position(s);
        m->append_reply = (struct raft_append_reply){.rejected = rng_chance(&s->rng, 0.5),
                                                     .match = agree.index,
                                                     .hint_term = agree.term,
                                                     .prev_index = number(s, 20),
                                                     .round = number(s, 20),
                                                     .sent_us = number(s, s->now_us)};
        break;
    }
    case RAFT_MESSAGE_VOTE:
        m->vote = (struct raft_vote){.last = position(s),
                                     .prevote = rng_chance(&s->rng, 0.5),
                                     .transfer = rng_chance(&s->rng, 0.2),
                                     .transfer_from = number(s, 6),
                                     .certificate = {.dead = number(s, 6)}};
        break;
    case RAFT_MESSAGE_VOTE_REPLY:
        m->vote_reply = (struct raft_vote_reply){.granted = rng_chance(&s->rng, 0.7),
                                                 .prevote = rng_chance(&s->rng, 0.5)};
        break;
    case RAFT_MESSAGE_TIMEOUT_NOW:
        m->timeout_now.last = position(s);
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT:
        m->install_snapshot = (struct raft_install_snapshot){.last = position(s),
                                                             .offset_bytes = number(s, 3) * 10,
                                                             .size_bytes = 10,
                                                             .done = rng_chance(&s->rng, 0.3)};
        break;
    case RAFT_MESSAGE_INSTALL_SNAPSHOT_REPLY:
        m->install_snapshot_reply =
            (struct raft_install_snapshot_reply){.last = position(s),
                                                 .offset_bytes = number(s, 30),
                                                 .installed = rng_chance(&s->rng, 0.5)};
        break;
    case RAFT_MESSAGE_COUNT:
        break;
    }
}

static void step(struct subject *s, struct raft_event *event)
{
    struct raft_effects e;
    raft_term term = raft_current_term(s->core);
    event->now_us = s->now_us;
    raft_step(s->core, event, &e);
    raft_check(s->core);
    assert_true(raft_current_term(s->core) >= term);
    assert_true(e.commit_index >= s->committed.index);
    raft_term held = raft_term_at(s->core, s->committed.index);
    assert_true(held == s->committed.term || held == 0);
    s->committed.index = e.commit_index;
    s->committed.term = raft_term_at(s->core, e.commit_index);
    if (e.persist.write_seq != 0) {
        assert_true(s->writes_count < WRITES_MAX);
        s->writes[s->writes_count].seq = e.persist.write_seq;
        s->writes[s->writes_count].last = (struct raft_pos){0};
        if (e.persist.lo != e.persist.hi) {
            s->writes[s->writes_count].last = (struct raft_pos){
                .index = e.persist.hi - 1, .term = raft_term_at(s->core, e.persist.hi - 1)};
        }
        s->writes_count++;
    }
    if (e.snapshot_store) {
        const struct raft_install_snapshot *chunk = &event->receive.message->install_snapshot;
        s->storing = true;
        s->storing_done = chunk->done;
        s->storing_last = chunk->last;
        s->storing_offset = chunk->offset_bytes + chunk->size_bytes;
    }
}

static void receive(struct subject *s)
{
    struct raft_entry entries[ENTRIES_MAX];
    struct raft_members configs[ENTRIES_MAX];
    struct raft_message m = {
        .type = (enum raft_message_type)rng_range(&s->rng, 0, RAFT_MESSAGE_COUNT),
        .from = rng_range(&s->rng, rng_chance(&s->rng, 0.02) ? 0 : 2, 6),
        .to = rng_chance(&s->rng, 0.99) ? 1 : 2,
        .term = raft_current_term(s->core) + number(s, 2),
    };
    fill(s, &m, entries);
    struct raft_event event = {.type = RAFT_EVENT_RECEIVE};
    event.receive.message = &m;
    event.receive.configs = configs;
    event.receive.configs_count = (uint32_t)rng_range(&s->rng, 0, ENTRIES_MAX + 1);
    for (uint32_t i = 0; i < ENTRIES_MAX; i++) {
        configs[i] = members(s);
    }
    step(s, &event);
}

static void finish_writes(struct subject *s)
{
    if (s->writes_count == 0) {
        return;
    }
    uint32_t count = (uint32_t)rng_range(&s->rng, 1, s->writes_count + 1);
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED};
    event.persisted.write_seq = s->writes[count - 1].seq;
    event.persisted.last = s->writes[count - 1].last;
    s->writes_count -= count;
    memmove(s->writes, s->writes + count, s->writes_count * sizeof s->writes[0]);
    step(s, &event);
}

static void finish_chunk(struct subject *s)
{
    if (!s->storing) {
        return;
    }
    s->storing = false;
    struct raft_event stored = {.type = RAFT_EVENT_SNAPSHOT_CHUNK_STORED};
    stored.chunk_stored.last = s->storing_last;
    stored.chunk_stored.offset_bytes = s->storing_offset;
    stored.chunk_stored.failed = !s->storing_done && rng_chance(&s->rng, 0.2);
    step(s, &stored);
    if (s->storing_done) {
        struct raft_event installed = {.type = RAFT_EVENT_SNAPSHOT_INSTALLED};
        installed.snapshot_installed.last = s->storing_last;
        installed.snapshot_installed.ok = rng_chance(&s->rng, 0.5);
        const struct raft_members alone = {.count = 1, .at = {{.id = 1, .voter = true}}};
        installed.snapshot_installed.members = &alone;
        s->committed = installed.snapshot_installed.ok ? s->storing_last : s->committed;
        step(s, &installed);
    }
}

static void ask(struct subject *s)
{
    static const uint32_t sizes[] = {10, 20, 30};
    struct raft_members change = members(s);
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    switch (rng_range(&s->rng, 0, 5)) {
    case 0:
        event.propose.sizes_bytes = sizes;
        event.propose.count = 3;
        break;
    case 1:
        event.propose.sizes_bytes = sizes;
        event.propose.count = 1;
        event.propose.config = &change;
        break;
    case 2:
        event.type = RAFT_EVENT_READ;
        event.read.allow_lease = rng_chance(&s->rng, 0.5);
        break;
    case 3:
        event.type = RAFT_EVENT_TRANSFER;
        event.transfer.target = number(s, 6);
        break;
    default:
        event.type = RAFT_EVENT_CAMPAIGN;
        break;
    }
    step(s, &event);
}

static void no_message_breaks_the_core(void **state)
{
    (void)state;
    static struct subject s;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        memset(&s, 0, sizeof s);
        rng_seed(&s.rng, seed);
        s.now_us = 1000000;
        struct raft_options options = {.self = 1,
                                       .seed = seed,
                                       .election_min_us = 150000,
                                       .election_max_us = 300000,
                                       .heartbeat_us = 50000,
                                       .lease_us = 100000,
                                       .drift_permille = 100,
                                       .window_entries = 8,
                                       .window_bytes = 1000,
                                       .append_entries_max = 4,
                                       .append_bytes_max = 200,
                                       .uncommitted_bytes_max = 2000,
                                       .transfer_timeout_us = 150000,
                                       .prevote = seed % 2 == 0,
                                       .check_quorum = seed % 3 == 0,
                                       .lease = true,
                                       .fast_failover = true};
        struct raft_boot boot = {.now_us = s.now_us, .members = {.count = 3}};
        for (uint32_t i = 0; i < 3; i++) {
            boot.members.at[i] = (struct raft_member){.id = i + 1, .voter = true};
        }
        s.core = raft_new(&options, &boot);
        for (int i = 0; i < 3000; i++) {
            s.now_us += rng_range(&s.rng, 0, 20000);
            receive(&s);
            if (rng_chance(&s.rng, 0.5)) {
                finish_writes(&s);
                finish_chunk(&s);
            }
            if (rng_chance(&s.rng, 0.1)) {
                ask(&s);
            }
            struct raft_event timeout = {.type = RAFT_EVENT_TIMEOUT};
            step(&s, &timeout);
        }
        raft_free(s.core);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_message_breaks_the_core)};
    return cmocka_run_group_tests_name("raft/hostile", tests, NULL, NULL);
}
