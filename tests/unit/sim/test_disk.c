/* Faults of a host's disk by name: each does what its name says, and ends with "ok". All invariants
 * hold meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "sim/sim_disk.h"
#include "sound.h"

enum { SEEDS = 5, MS = 1000, SECOND = 1000 * MS, READ_US = 5 * MS };

static struct cluster *start_with(const struct cluster_options *o)
{
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    sim_clients_start(cluster_clients(c));
    assert_true(cluster_await_progress(c, 5 * SECOND));
    return c;
}

static struct cluster *start(uint64_t seed)
{
    struct cluster_options o = cluster_defaults(seed);
    return start_with(&o);
}

static void hurt(struct cluster *c, uint32_t host, const struct sim_disk_fault *fault)
{
    struct why why = {{0}};
    enum err e = sim_disk_fault(cluster_host(c, host), fault, &why);
    if (e != ERR_OK) {
        fail_msg("%s: %s", err_name(e), why.text);
    }
}

/* All is well again, within this. */
static void end(struct cluster *c)
{
    for (uint32_t i = 0; i < cluster_nodes(c); i++) {
        hurt(c, i, &(struct sim_disk_fault){.kind = SIM_DISK_OK});
    }
    cluster_boot_all(c);
    bool progress = cluster_await_progress(c, 10 * SECOND);
    sim_clients_stop(cluster_clients(c));
    bool agreement = progress && cluster_await_agreement(c, 10 * SECOND);
    assert_sound(c);
    assert_true(agreement);
    cluster_free(c);
}

static uint64_t sets_in_a_second(struct cluster *c)
{
    uint64_t before = sim_clients_stats(cluster_clients(c))->sets_done;
    assert_true(cluster_run(c, SECOND));
    return sim_clients_stats(cluster_clients(c))->sets_done - before;
}

static void a_slow_disk_of_a_follower_slows_nobody_and_the_leaders_is_left_out(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed);
        uint64_t well = sets_in_a_second(c);
        raft_term term = cluster_term(c);
        uint32_t leader = cluster_leader(c);
        const struct sim_disk_fault slow = {.kind = SIM_DISK_SLOW, .slower_us = 50 * MS};
        hurt(c, (leader + 1) % 3, &slow);
        assert_true(sets_in_a_second(c) > well / 2);
        hurt(c, leader, &slow);
        hurt(c, (leader + 2) % 3, &slow);
        assert_in_range(sets_in_a_second(c), 5, well * 3 / 4);
        assert_int_equal(cluster_term(c), term);
        end(c);
    }
}

static void after_a_failed_sync_the_node_gives_up_and_the_others_go_on(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed);
        uint32_t leader = cluster_leader(c);
        hurt(c, leader, &(struct sim_disk_fault){.kind = SIM_DISK_FSYNC_FAIL});
        assert_true(cluster_run(c, 2 * SECOND));
        assert_true(sim_process_down(cluster_host(c, leader)));
        assert_true(cluster_leader(c) != leader);
        assert_true(cluster_await_progress(c, SECOND));
        end(c);
    }
}

static void a_torn_write_ends_the_host_and_its_log_opens_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4 * SEEDS; seed++) {
        struct cluster *c = start(seed);
        uint32_t host = (uint32_t)(seed % 3);
        hurt(c, host, &(struct sim_disk_fault){.kind = SIM_DISK_TORN});
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, host)));
        assert_sound(c);
        end(c);
    }
}

static void names_that_were_not_synced_are_lost_and_missed_by_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.segment_bytes = 4096; /* new files all the time */
        struct cluster *c = cluster_new(&o);
        cluster_boot_all(c);
        sim_clients_start(cluster_clients(c));
        for (uint32_t i = 0; i < 10; i++) {
            assert_true(cluster_run(c, SECOND / 2));
            uint32_t host = i % 3;
            hurt(c, host, &(struct sim_disk_fault){.kind = SIM_DISK_LOST_NAMES});
            sim_process_end(cluster_host(c, host), SIM_END_HOST);
            cluster_boot_all(c);
        }
        end(c);
    }
}

static void a_full_disk_refuses_commands_and_recovers_by_itself(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.segment_bytes = 4096;
        struct cluster *c = start_with(&o);
        for (uint32_t i = 0; i < 3; i++) {
            hurt(c, i, &(struct sim_disk_fault){.kind = SIM_DISK_FULL});
        }
        assert_true(cluster_run(c, 20 * SECOND));
        assert_true(sets_in_a_second(c) < 5);
        for (uint32_t i = 0; i < 3; i++) {
            assert_true(sim_process_running(cluster_host(c, i)));
        }
        end(c);
    }
}

static void a_flipped_bit_in_the_log_is_found_at_the_start(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *c = start(seed);
        assert_true(cluster_run(c, SECOND));
        uint32_t host = (cluster_leader(c) + 1) % 3;
        sim_process_end(cluster_host(c, host), SIM_END_HOST);
        hurt(c, host, &(struct sim_disk_fault){.kind = SIM_DISK_FLIP, .file = "log"});
        cluster_boot_all(c);
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, host))); /* it refuses */
        assert_sound(c);
        assert_true(sets_in_a_second(c) > 5);
        struct why why = {{0}};
        const struct sim_disk_fault nowhere = {.kind = SIM_DISK_FLIP, .file = "wal/none.log"};
        assert_int_equal(sim_disk_fault(cluster_host(c, host), &nowhere, &why), ERR_NOT_FOUND);
        cluster_free(c);
    }
}

static uint64_t log_bytes(struct cluster *c, uint32_t host, char name[SIM_DISK_NAME_BYTES])
{
    struct sim_fs *fs = sim_process_disk(cluster_host(c, host));
    sim_disk_find(fs, "log", name);
    return sim_fs_written_bytes(fs, name);
}

/* Damages at least one whole entry of those that the leader appends from now on. */
static void damage_what_follows(struct cluster *c, uint32_t leader)
{
    enum { SKIP_BYTES = 2048, RANGE_BYTES = 512 };
    char name[SIM_DISK_NAME_BYTES], now[SIM_DISK_NAME_BYTES];
    uint64_t from = log_bytes(c, leader, name) + SKIP_BYTES;
    for (int i = 0; i < 20 && log_bytes(c, leader, now) < from + RANGE_BYTES + SKIP_BYTES; i++) {
        assert_true(cluster_run(c, SECOND));
    }
    assert_string_equal(now, name);
    for (uint64_t i = 0; i < RANGE_BYTES; i++) {
        assert_true(sim_fs_flip(sim_process_disk(cluster_host(c, leader)), name, from + i, 1));
    }
}

/* Or it would lead for ever, and what it cannot read would never get to who lacks it. */
static void a_leader_that_finds_its_log_damaged_makes_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.cache_bytes_max = 1; /* what followers lack is read from the disk */
        struct cluster *c = start_with(&o);
        uint32_t leader = cluster_leader(c), behind = (leader + 1) % 3, other = (leader + 2) % 3;
        cluster_isolate(c, behind);
        damage_what_follows(c, leader);
        assert_int_equal(cluster_leader(c), leader);
        /* Without the other one, all that is new waits for the one that is behind. */
        sim_process_end(cluster_host(c, other), SIM_END_HOST);
        cluster_heal(c);
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, leader)));
        cluster_boot_all(c);
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, leader))); /* it refuses */
        assert_true(sets_in_a_second(c) > 5);
        sim_clients_stop(cluster_clients(c));
        assert_true(cluster_await_agreement(c, 10 * SECOND));
        assert_sound(c);
        cluster_free(c);
    }
}

static void a_leader_whose_disk_cannot_be_read_makes_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.cache_bytes_max = 1;
        struct cluster *c = start_with(&o);
        uint32_t leader = cluster_leader(c), behind = (leader + 1) % 3, other = (leader + 2) % 3;
        cluster_isolate(c, behind);
        assert_true(cluster_run(c, SECOND));
        assert_int_equal(cluster_leader(c), leader);
        sim_process_end(cluster_host(c, other), SIM_END_HOST);
        cluster_heal(c);
        hurt(c, leader, &(struct sim_disk_fault){.kind = SIM_DISK_READ_FAIL});
        assert_true(cluster_run(c, SECOND));
        assert_true(sim_process_down(cluster_host(c, leader)));
        sim_process_boot(cluster_host(c, other));
        assert_true(sets_in_a_second(c) > 5);
        end(c);
    }
}

/* Its heartbeats leave at once, its appends wait for the disk. Were the first to claim what the
 * others have not brought yet, the follower would refuse them, and each refusal would have the
 * leader read and send the same entries again. */
static void what_waits_to_be_read_is_not_asked_for_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster_options o = cluster_defaults(seed);
        o.cache_bytes_max = 1; /* what followers lack is read from the disk */
        o.raft.append_entries_max = 1;
        o.raft.heartbeat_us = 10 * MS;
        o.clients.clients = 5;
        o.clients.gets = 0;
        struct cluster *c = start_with(&o);
        uint32_t leader = cluster_leader(c), behind = (leader + 1) % 3;
        cluster_isolate(c, behind);
        uint64_t before = sim_clients_stats(cluster_clients(c))->sets_done;
        assert_true(cluster_run(c, 5 * SECOND));
        uint64_t entries = sim_clients_stats(cluster_clients(c))->sets_done - before;
        assert_true(entries > 200);
        sim_clients_stop(cluster_clients(c));
        sim_process_executor(cluster_host(c, leader))->rule.job =
            (struct sim_span){.min_us = READ_US, .max_us = READ_US};
        cluster_heal(c);
        assert_int_equal(cluster_leader(c), leader);
        assert_true(cluster_await_agreement(c, entries * READ_US * 13 / 10));
        assert_sound(c);
        cluster_free(c);
    }
}

static void faults_have_names(void **state)
{
    (void)state;
    assert_int_equal(sim_disk_kind_by_name("ok"), SIM_DISK_OK);
    assert_int_equal(sim_disk_kind_by_name("flip"), SIM_DISK_FLIP);
    assert_int_equal(sim_disk_kind_by_name("floppy"), SIM_DISK_KINDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_disk_of_a_follower_slows_nobody_and_the_leaders_is_left_out),
        cmocka_unit_test(after_a_failed_sync_the_node_gives_up_and_the_others_go_on),
        cmocka_unit_test(a_torn_write_ends_the_host_and_its_log_opens_again),
        cmocka_unit_test(names_that_were_not_synced_are_lost_and_missed_by_nobody),
        cmocka_unit_test(a_full_disk_refuses_commands_and_recovers_by_itself),
        cmocka_unit_test(a_flipped_bit_in_the_log_is_found_at_the_start),
        cmocka_unit_test(a_leader_that_finds_its_log_damaged_makes_way),
        cmocka_unit_test(a_leader_whose_disk_cannot_be_read_makes_way),
        cmocka_unit_test(what_waits_to_be_read_is_not_asked_for_again),
        cmocka_unit_test(faults_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
