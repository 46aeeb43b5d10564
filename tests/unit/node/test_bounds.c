/* How much may wait in a node: each bound is reached, holds, and is given back. */
#include <time.h>

#include "rig.h"

#include "node/node_internal.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum { MEGABYTE = 1000 * 1000, CALLS = 80 };

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

/* One of three nodes, and no other to be heard: nothing gets anywhere. */
static struct cluster *start_one_of_three(void)
{
    struct cluster_options o = cluster_defaults(7);
    struct cluster *c = cluster_new(&o);
    sim_process_boot(cluster_host(c, 0));
    assert_true(cluster_run(c, 20 * MS));
    return c;
}

/* [machine, name, text of a megabyte, {timeout_ms}] */
static void ask_much(struct cluster *c, const char *method, const char *name, struct answer *a)
{
    static char text[MEGABYTE];
    memset(text, 'x', sizeof text);
    struct buffer params = {0};
    write_array(&params, 4);
    write_text(&params, "kv");
    write_text(&params, name);
    write_str(&params, bytes_of(text, sizeof text));
    write_map(&params, 1);
    write_text(&params, "timeout_ms");
    write_u64(&params, 500);
    *a = (struct answer){0};
    node_call(node_of(c, 0), bytes_of_string(method), buffer_bytes(&params), rig_on_answer, a);
    buffer_close(&params);
}

/* As many as 64 MiB hold, whichever of the two it is. */
static void fill_with(const char *method, const char *name)
{
    struct cluster *c = start_one_of_three();
    static struct answer a[CALLS];
    for (int times = 0; times < 2; times++) { /* what was answered takes no room any more */
        for (int i = 0; i < CALLS; i++) {
            ask_much(c, method, name, &a[i]);
        }
        sim_process_disturbed(cluster_host(c, 0));
        assert_true(cluster_run(c, 100 * MS));
        int fit = (64 << 20) / MEGABYTE;
        for (int i = 0; i < CALLS; i++) {
            assert_int_equal(a[i].count, i >= fit);
            assert_int_equal(a[i].err, i < fit ? ERR_OK : ERR_BUSY);
        }
        assert_true(cluster_run(c, SECOND));
        for (int i = 0; i < fit; i++) {
            assert_int_equal(a[i].count, 1);
            assert_int_equal(a[i].err, ERR_NOT_LEADER); /* nobody leads: that is why */
        }
    }
    rig_end(c);
}

static void commands_that_wait_take_64_mib_at_most(void **ctx)
{
    (void)ctx;
    fill_with("propose", "set");
}

static void queries_that_wait_take_64_mib_at_most(void **ctx)
{
    (void)ctx;
    fill_with("query", "get");
}

/* From a peer, a frame with that many commands of that size. */
static void forward(struct node *n, uint32_t count, size_t size)
{
    static const uint8_t incarnation[32] = {1};
    static char text[MEGABYTE];
    struct buffer entry = {0}, params = {0}, frame = {0};
    write_array(&params, count);
    for (uint32_t i = 0; i < count; i++) {
        buffer_clear(&entry);
        node_opaque_body(bytes_of(text, size), 0, &entry);
        write_bin(&params, buffer_bytes(&entry));
    }
    rpc_write_notify(&frame, bytes_of_string("append"), buffer_bytes(&params));
    struct slice received = slice_copy(buffer_bytes(&frame));
    node_receive(n, node_id(n) == 1 ? 2 : 1, incarnation, received);
    slice_close(&received);
    buffer_close(&entry);
    buffer_close(&params);
    buffer_close(&frame);
}

/* The log takes them in afterwards, and then there is room for as many again. */
static void flood_leader(uint32_t frames, uint32_t count, size_t size, uint32_t fit)
{
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct node *n = node_of(c, leader);
    for (int times = 0; times < 2; times++) {
        raft_index before = raft_last_index(node_raft(n));
        for (uint32_t i = 0; i < frames; i++) { /* in one round */
            forward(n, count, size);
        }
        assert_int_equal(n->proposals.forwarded_count, fit);
        assert_true(n->proposals.forwarded_bytes <= 32 << 20);
        sim_process_disturbed(cluster_host(c, leader));
        assert_true(cluster_run(c, 10 * SECOND));
        assert_int_equal(n->proposals.forwarded_count, 0);
        assert_int_equal(n->proposals.forwarded_bytes, 0);
        assert_int_equal(raft_commit_index(node_raft(n)), before + fit);
    }
    assert_int_equal(cluster_leader(c), leader);
    rig_end(c);
}

static void commands_forwarded_to_a_leader_take_32_mib_at_most(void **ctx)
{
    (void)ctx;
    flood_leader(40, 1, MEGABYTE, (32 << 20) / (MEGABYTE + 64));
}

static void commands_forwarded_to_a_leader_are_65536_at_most(void **ctx)
{
    (void)ctx;
    flood_leader(7, 10000, 1, 65536);
}

/* As many as may wait, most of them under one key, cost a round as little as none; and when the
 * time of all is over at once, that is over quickly too: a chain of those with one key was walked
 * for each of them once. */
static void what_waits_costs_nothing_until_its_time_is_over(void **ctx)
{
    (void)ctx;
    enum { WAITING = 65536, TICKS = 1000 };
    struct cluster *c = start_one_of_three();
    struct node *n = node_of(c, 0);
    static struct answer a[WAITING];
    for (int i = 0; i < WAITING; i++) {
        rig_ask(c, 0, "propose",
                i % 8 != 0 ? "[\"kv\",\"set\",{\"key\":\"a\"},{\"id\":1,\"timeout_ms\":900}]"
                           : "[\"kv\",\"set\",{\"key\":\"a\"},{\"timeout_ms\":900}]",
                &a[i]);
    }
    clock_t began = clock();
    for (int i = 0; i < TICKS; i++) {
        proposals_tick(n, node_now(n));
        reads_tick(n, node_now(n));
    }
    double ticks_s = (double)(clock() - began) / CLOCKS_PER_SEC;
    assert_true(ticks_s / TICKS < 500e-6); /* 0.1 us on an idle machine */
    began = clock();
    assert_true(cluster_run(c, SECOND));
    double end_s = (double)(clock() - began) / CLOCKS_PER_SEC;
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(a[i].count, 1);
    }
    assert_true(end_s < 3); /* 0.03 s on an idle machine; it was 20 s */
    print_message("a tick %.2f us, the end of all %.0f ms\n", ticks_s / TICKS * 1e6, end_s * 1e3);
    rig_end(c);
}

/* What another node, or the disk, is asked for by clients is looked at in each round: that stays
 * little, however many ask. */
static void what_waits_for_others_is_1024_at_most(const char *method, const char *params,
                                                  struct cluster *c, uint32_t host)
{
    enum { ASKED = 1500, FIT = 1024 };
    static struct answer a[ASKED];
    for (int times = 0; times < 2; times++) { /* what was answered takes no room any more */
        rig_ask(c, host, "propose", "[\"kv\",\"set\",{\"key\":\"k\",\"value\":1}]", &a[0]);
        assert_true(cluster_run(c, SECOND)); /* something that no snapshot holds */
        assert_int_equal(a[0].err, ERR_OK);
        for (int i = 0; i < ASKED; i++) {
            rig_ask(c, host, method, params, &a[i]);
        }
        assert_true(cluster_run(c, 10 * SECOND));
        for (int i = 0; i < ASKED; i++) {
            assert_int_equal(a[i].count, 1);
            assert_int_equal(a[i].err == ERR_BUSY, i >= FIT);
        }
    }
}

static void questions_to_another_node_are_1024_at_most(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3;
    char params[32];
    snprintf(params, sizeof params, "[\"n%u\"]", leader + 1);
    what_waits_for_others_is_1024_at_most("status", params, c, asked);
    rig_end(c);
}

static void those_who_wait_for_a_snapshot_are_1024_at_most(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(1);
    what_waits_for_others_is_1024_at_most("snapshot", "[]", c, 0);
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_that_wait_take_64_mib_at_most),
        cmocka_unit_test(queries_that_wait_take_64_mib_at_most),
        cmocka_unit_test(commands_forwarded_to_a_leader_take_32_mib_at_most),
        cmocka_unit_test(commands_forwarded_to_a_leader_are_65536_at_most),
        cmocka_unit_test(questions_to_another_node_are_1024_at_most),
        cmocka_unit_test(those_who_wait_for_a_snapshot_are_1024_at_most),
        cmocka_unit_test(what_waits_costs_nothing_until_its_time_is_over),
    };
    return cmocka_run_group_tests_name("node/bounds", tests, NULL, NULL);
}
