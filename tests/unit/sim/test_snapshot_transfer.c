/* Snapshots on their way from a leader to a follower: interrupted, overtaken, repeated, late. */
#include "snapshots.h"

/* ---- large ones ----------------------------------------------------------------------------- */

enum {
    VALUES = 8,
    VALUE_BYTES = 150000,
    CHUNK_BYTES = 64 << 10,
    /* In flight, asking where to go on, the last one again, and the block of 256 KiB that was cut.
     */
    WASTED_BYTES = 8 * CHUNK_BYTES + (256 << 10),
};

struct large {
    struct cluster *c;
    uint32_t leader, other, victim; /* the victim is down, the others have the same snapshot */
    uint64_t chunks;                /* that it will take */
    raft_index index;               /* everybody's in the end */
};

static struct large large(uint64_t seed)
{
    struct cluster_options o = options(seed);
    o.snapshot = (struct node_snapshot_options){.chunk_bytes = CHUNK_BYTES};
    struct large x = {.c = cluster_new(&o)};
    cluster_boot_all(x.c);
    x.leader = cluster_await_leader(x.c, 5 * SECOND);
    assert_true(x.leader != CLUSTER_NOBODY);
    assert_true(cluster_run(x.c, SECOND));
    x.victim = follower_of(x.leader);
    x.other = third(x.leader, x.victim);
    sim_process_end(cluster_host(x.c, x.victim), SIM_END_KILLED);
    uint8_t *value = calloc(1, VALUE_BYTES);
    assert_non_null(value);
    for (uint8_t i = 0; i < VALUES; i++) {
        char key[8];
        snprintf(key, sizeof key, "large%u", i);
        memset(value, 'a' + i, VALUE_BYTES);
        assert_int_equal(set(x.c, x.leader, key, bytes_of(value, VALUE_BYTES), NULL), ERR_OK);
    }
    free(value);
    assert_true(cluster_run(x.c, SECOND));
    x.index = applied(x.c, x.leader);
    assert_int_equal(applied(x.c, x.other), x.index);
    take_snapshot(x.c, x.leader);
    take_snapshot(x.c, x.other);
    assert_true(cluster_run(x.c, SECOND)); /* and the logs are cut */
    x.chunks = (uint64_t)VALUES * VALUE_BYTES / CHUNK_BYTES;
    return x;
}

static uint64_t chunk_bytes_sent(struct large *x)
{
    const struct sim_net *net = cluster_net(x->c);
    const enum sim_frame type = (enum sim_frame)RAFT_MESSAGE_INSTALL_SNAPSHOT;
    return sim_net_sent(net, x->leader, x->victim, type).bytes +
           sim_net_sent(net, x->other, x->victim, type).bytes;
}

struct sent {
    struct large *x;
    uint64_t bytes;
};

static bool have_been_sent(struct cluster *c, void *arg)
{
    struct sent *sent = arg;
    (void)c;
    return chunk_bytes_sent(sent->x) >= sent->bytes;
}

/* The victim has been sent that many chunks. */
static void until_chunk(struct large *x, uint64_t chunk)
{
    struct sent sent = {.x = x, .bytes = chunk * CHUNK_BYTES};
    assert_true(until(x->c, have_been_sent, &sent, 10 * SECOND));
}

static bool has_it_all(struct cluster *c, void *arg)
{
    struct large *x = arg;
    return sim_process_node(cluster_host(c, x->victim)) != NULL &&
           applied(c, x->victim) >= x->index;
}

static void end_large(struct large *x)
{
    assert_true(until(x->c, has_it_all, x, 20 * SECOND));
    sim_clients_start(cluster_clients(x->c));
    end(x->c);
}

static void restart_at_each_chunk(enum sim_end how, uint64_t wasted_bytes_max)
{
    for (uint64_t chunk = 1; chunk <= 18; chunk++) {
        struct large x = large(chunk);
        sim_process_restart(cluster_host(x.c, x.victim));
        until_chunk(&x, chunk);
        assert_false(has_it_all(x.c, &x));
        sim_process_end(cluster_host(x.c, x.victim), how);
        cluster_boot_all(x.c);
        assert_true(until(x.c, has_it_all, &x, 20 * SECOND));
        assert_in_range(chunk_bytes_sent(&x), 0, (x.chunks + 1) * CHUNK_BYTES + wasted_bytes_max);
        end_large(&x);
    }
}

static void a_follower_that_restarts_at_any_chunk_goes_on_from_there(void **state)
{
    (void)state;
    restart_at_each_chunk(SIM_END_CRASH, WASTED_BYTES);
}

/* What was not synced, a mebibyte at most, may be lost. */
static void a_follower_that_loses_power_at_any_chunk_still_gets_it_all(void **state)
{
    (void)state;
    restart_at_each_chunk(SIM_END_HOST, WASTED_BYTES + (1 << 20));
}

/* The next leader has the same snapshot: what came in of it counts. */
static void a_transfer_goes_on_from_another_leader(void **state)
{
    (void)state;
    for (uint64_t chunk = 2; chunk <= 18; chunk += 4) {
        struct large x = large(chunk);
        sim_process_restart(cluster_host(x.c, x.victim));
        until_chunk(&x, chunk);
        sim_process_end(cluster_host(x.c, x.leader), SIM_END_KILLED);
        assert_true(until(x.c, has_it_all, &x, 20 * SECOND));
        assert_int_equal(cluster_leader(x.c), x.other);
        assert_in_range(chunk_bytes_sent(&x), 0, (x.chunks + 1) * CHUNK_BYTES + WASTED_BYTES);
        end_large(&x);
    }
}

/* The next leader has another one, which replaces what came in. */
static void a_transfer_begins_anew_where_the_next_leader_has_another_snapshot(void **state)
{
    (void)state;
    for (uint64_t chunk = 2; chunk <= 18; chunk += 4) {
        struct large x = large(chunk);
        assert_int_equal(set(x.c, x.leader, "more", bytes_of("x", 1), NULL), ERR_OK);
        assert_true(cluster_run(x.c, SECOND));
        take_snapshot(x.c, x.other);
        sim_process_restart(cluster_host(x.c, x.victim));
        until_chunk(&x, chunk);
        sim_process_end(cluster_host(x.c, x.leader), SIM_END_KILLED);
        assert_true(until(x.c, has_it_all, &x, 20 * SECOND));
        end_large(&x);
    }
}

/* Several chunks are on their way at once: a long path is not walked once per chunk. */
static void a_long_path_is_filled(void **state)
{
    (void)state;
    enum { ONE_WAY = 40 * MS };
    struct large x = large(5);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < 3; k++) {
            if (i != k && (i == x.victim || k == x.victim)) {
                sim_net_delay(cluster_net(x.c), i, k, (struct sim_span){ONE_WAY, ONE_WAY + 1});
            }
        }
    }
    sim_process_restart(cluster_host(x.c, x.victim));
    until_chunk(&x, 1);
    uint64_t began_us = world_now_us(cluster_world(x.c));
    assert_true(until(x.c, has_it_all, &x, 20 * SECOND));
    assert_true(world_now_us(cluster_world(x.c)) - began_us < x.chunks * 2 * ONE_WAY * 2 / 3);
    end_large(&x);
}

/* ---- under load ----------------------------------------------------------------------------- */

/* The log is cut again and again while a snapshot is on a slow way: what is sent is kept until it
 * has arrived, or the follower is sent the newer one. */
static void a_newer_snapshot_taken_meanwhile_does_no_harm(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct cluster_options o = options(seed);
        o.snapshot.chunk_bytes = 300;
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t victim = reconnect_late(c);
        sim_net_delay(cluster_net(c), leader, victim, (struct sim_span){50 * MS, 51 * MS});
        uint64_t installed = installs(c);
        uint64_t taken = events_of(c, leader, "snapshot");
        assert_true(until(c, more_are_installed, &installed, 20 * SECOND));
        assert_true(events_of(c, leader, "snapshot") > taken + 1);
        assert_true(cluster_run(c, SECOND));
        end(c);
    }
}

/* Answers that are late make the leader read a part again, and the answer that all is installed may
 * come while it does. The log was cut beyond that meanwhile: the newer one follows. */
static void one_installed_while_a_part_is_read_again_is_followed_by_the_newer_one(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct cluster_options o = options(seed);
        o.snapshot.chunk_bytes = 1500;
        o.snapshot.entries = 3;
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t victim = reconnect_late(c);
        const struct sim_span late = {.min_us = 100 * MS, .max_us = (100 + 30 * seed) * MS};
        sim_net_delay(cluster_net(c), leader, victim, late);
        sim_net_delay(cluster_net(c), victim, leader, late);
        struct sim_disk_rule *disk = &sim_process_executor(cluster_host(c, leader))->rule;
        const struct sim_span sound = disk->job;
        disk->job = (struct sim_span){.min_us = 5 * MS, .max_us = 40 * MS};
        uint64_t installed = installs(c);
        assert_true(until(c, more_are_installed, &installed, 20 * SECOND));
        assert_true(cluster_run(c, SECOND));
        disk->job = sound;
        end(c);
    }
}

struct cut_short {
    uint32_t leader, victim;
    uint64_t frames;
};

static bool chunks_were_sent(struct cluster *c, void *arg)
{
    const struct cut_short *x = arg;
    const enum sim_frame type = (enum sim_frame)RAFT_MESSAGE_INSTALL_SNAPSHOT;
    return sim_net_sent(cluster_net(c), x->leader, x->victim, type).frames >= x->frames;
}

static void a_leader_that_changes_in_the_middle_does_no_harm(void **state)
{
    (void)state;
    for (uint64_t after = 1; after <= 16; after++) {
        struct cluster_options o = options(after);
        o.snapshot.chunk_bytes = 200;
        struct cluster *c = start(&o);
        uint32_t victim = come_back_late(c);
        struct cut_short x = {.leader = cluster_leader(c), .victim = victim, .frames = after};
        assert_true(until(c, chunks_were_sent, &x, 5 * SECOND));
        if (after % 2 == 0) {
            cluster_transfer(c, cluster_leader(c), third(cluster_leader(c), victim));
        } else {
            sim_process_end(cluster_host(c, cluster_leader(c)), SIM_END_CRASH);
        }
        assert_true(cluster_run(c, SECOND));
        end(c);
    }
}

/* Appends, chunks and answers that come twice and late: after the snapshot that made them void. */
static void what_comes_twice_and_late_changes_nothing(void **state)
{
    (void)state;
    uint64_t installed = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct cluster_options o = options(seed);
        o.snapshot.hold_bytes = 64
                                << 10; /* or the log is always cut before a snapshot has arrived */
        o.datagrams = true;
        o.net.duplicate = 0.3;
        o.net.slow = 0.3;
        o.net.slow_extra = (struct sim_span){.min_us = 0, .max_us = 400 * MS};
        struct cluster *c = start(&o);
        for (int round = 0; round < 4; round++) {
            come_back_late(c);
            assert_true(cluster_run(c, SECOND));
        }
        installed += installs(c);
        end(c);
    }
    assert_true(installed >= 12);
}

/* At indexes drawn by lot, on networks good and bad: each state restored is compared with that of
 * the nodes which came there entry by entry. */
static void a_twin_restored_at_any_index_is_the_same(void **state)
{
    (void)state;
    uint64_t restored = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct cluster_options o = options(seed);
        o.snapshot.entries = 3 + seed * 7 % 23;
        o.snapshot.keep_entries = seed % 3;
        struct cluster *c = start(&o);
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t victim = (cluster_leader(c) + 1 + round % 2) % 3;
            sim_process_end(cluster_host(c, victim), SIM_END_KILLED);
            assert_true(cluster_run(c, (20 + seed * 97 % 300) * MS));
            sim_process_restart(cluster_host(c, victim));
            assert_true(cluster_run(c, SECOND));
        }
        restored += installs(c) + safety_stats(cluster_safety(c))->restarts;
        end(c);
    }
    assert_true(restored > 48);
}

/* ---- what comes with it --------------------------------------------------------------------- */

/* Which commands were applied is part of the state: one that comes again, to a leader that was sent
 * a snapshot instead of the entries, is not applied again. */
static void sessions_come_with_a_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster_options o = options(seed);
        struct cluster *c = cluster_new(&o);
        cluster_boot_all(c);
        uint32_t leader = cluster_await_leader(c, 5 * SECOND);
        assert_true(leader != CLUSTER_NOBODY);
        assert_true(cluster_run(c, SECOND));
        uint32_t victim = follower_of(leader);
        cluster_isolate(c, victim);
        assert_true(cluster_run(c, 4 * SECOND)); /* and what was on its way is lost */
        assert_int_equal(set(c, leader, "k", bytes_of("first", 5), "the first of all"), ERR_OK);
        assert_int_equal(set(c, leader, "k", bytes_of("second", 6), "and then another"), ERR_OK);
        take_snapshot(c, leader);
        assert_true(cluster_run(c, 100 * MS));
        sim_net_heal(cluster_net(c));
        assert_true(until(c, more_are_installed, &(uint64_t){0}, 5 * SECOND));
        for (int i = 0; i < 50 && cluster_leader(c) != victim; i++) {
            cluster_transfer(c, cluster_leader(c), victim);
            assert_true(cluster_run(c, 500 * MS));
        }
        assert_int_equal(cluster_leader(c), victim);
        /* The checker sees that it takes no effect, here or anywhere. */
        assert_int_equal(set(c, victim, "k", bytes_of("first", 5), "the first of all"), ERR_OK);
        assert_true(cluster_run(c, SECOND));
        sim_clients_start(cluster_clients(c));
        end(c);
    }
}

static uint32_t members_of(struct cluster *c, uint32_t host)
{
    return node_members(sim_process_node(cluster_host(c, host)))->count;
}

/* One was added while the follower was away: it hears of that by the snapshot, and keeps it. */
static void members_come_with_a_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct cluster_options o = options(seed);
        o.spares = 1;
        struct cluster *c = start(&o);
        uint32_t leader = cluster_leader(c);
        uint32_t victim = follower_of(leader);
        cluster_isolate(c, victim);
        assert_true(cluster_run(c, 4 * SECOND)); /* what was on its way is lost */
        const struct cluster_change add = {
            .kind = CLUSTER_ADD, .host = 3, .timeout_us = 5 * SECOND};
        assert_int_equal(cluster_change(c, cluster_leader(c), add), ERR_OK);
        commit_more(c, 60);
        assert_int_equal(members_of(c, victim), 3);
        uint64_t installed = installs(c);
        sim_net_heal(cluster_net(c));
        assert_true(until(c, more_are_installed, &installed, 20 * SECOND));
        assert_int_equal(members_of(c, victim), 4);
        sim_process_end(cluster_host(c, victim), SIM_END_HOST);
        cluster_boot_all(c);
        assert_true(cluster_run(c, SECOND));
        assert_int_equal(members_of(c, victim), 4);
        end(c);
    }
}

static const char listener[] = "local mk = require 'moonkeeper'\n"
                               "mk.on('commit', function(ev) end, {name = 'all'})\n"
                               "mk.on('gap', function(ev) mk.emit('my.gap', {to = ev.to}) end)\n";

/* The checker holds it against the law: each entry once, in order, without holes but those told. */
static void hooks_are_told_of_what_they_missed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        const struct script_app app = {.name = "app", .path = "app.lua", .source = listener};
        struct cluster_options o = options(seed);
        o.scripts = &app;
        o.scripts_count = 1;
        struct cluster *c = start(&o);
        uint32_t victim = reconnect_late(c);
        uint64_t installed = installs(c);
        assert_true(until(c, more_are_installed, &installed, 20 * SECOND));
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_run(c, SECOND));
        assert_true(events_of(c, victim, "gap") > 0);
        assert_int_equal(events_of(c, victim, "my.gap"), events_of(c, victim, "gap"));
        assert_true(safety_stats(cluster_safety(c))->commits_told > 0);
        sim_clients_start(cluster_clients(c));
        end(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follower_that_restarts_at_any_chunk_goes_on_from_there),
        cmocka_unit_test(a_follower_that_loses_power_at_any_chunk_still_gets_it_all),
        cmocka_unit_test(a_transfer_goes_on_from_another_leader),
        cmocka_unit_test(a_transfer_begins_anew_where_the_next_leader_has_another_snapshot),
        cmocka_unit_test(a_long_path_is_filled),
        cmocka_unit_test(a_newer_snapshot_taken_meanwhile_does_no_harm),
        cmocka_unit_test(one_installed_while_a_part_is_read_again_is_followed_by_the_newer_one),
        cmocka_unit_test(a_leader_that_changes_in_the_middle_does_no_harm),
        cmocka_unit_test(what_comes_twice_and_late_changes_nothing),
        cmocka_unit_test(a_twin_restored_at_any_index_is_the_same),
        cmocka_unit_test(sessions_come_with_a_snapshot),
        cmocka_unit_test(members_come_with_a_snapshot),
        cmocka_unit_test(hooks_are_told_of_what_they_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
