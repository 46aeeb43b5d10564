/* What the simulated network promises its hosts, and what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/sim_net.h"
#include "wire/raft_codec.h"

enum { HOSTS = 3, FRAMES = 500, SECOND = 1000000 };

struct host {
    uint32_t received[FRAMES * 3]; /* numbers in the frames, as they came */
    uint32_t received_count;
    uint32_t ups, downs, certificates;
};

struct fixture {
    struct world *w;
    struct sim_net *net;
    struct host hosts[HOSTS];
};

static void on_frame(void *ctx, uint32_t from, const uint8_t incarnation[SIM_HASH_BYTES],
                     struct slice frame)
{
    struct host *h = ctx;
    assert_int_equal(incarnation[0], from);
    assert_int_equal(frame.size, sizeof(uint32_t));
    assert_true(h->received_count < sizeof h->received / sizeof h->received[0]);
    memcpy(&h->received[h->received_count++], frame.data, frame.size);
}

static void on_up(void *ctx, uint32_t to)
{
    (void)to;
    ((struct host *)ctx)->ups++;
}

static void on_down(void *ctx, uint32_t to)
{
    (void)to;
    ((struct host *)ctx)->downs++;
}

static bool on_certificate(void *ctx, uint32_t dead, const uint8_t revealed[SIM_INCARNATION_BYTES])
{
    (void)dead;
    (void)revealed;
    ((struct host *)ctx)->certificates++;
    return true;
}

static void start_process(struct fixture *f, uint32_t host)
{
    uint8_t hash[SIM_HASH_BYTES] = {(uint8_t)host};
    sim_net_process_up(f->net, host, hash);
    sim_net_set_peers(f->net, host, (1u << HOSTS) - 1);
}

static void open_fixture(struct fixture *f, bool datagrams, struct sim_net_rule rule)
{
    memset(f, 0, sizeof *f);
    f->w = world_new(5);
    f->net = sim_net_new(f->w, &(struct sim_net_options){
                                   .hosts = HOSTS,
                                   .datagrams = datagrams,
                                   .rule = rule,
                                   .connect_again = {.min_us = 10000, .max_us = 20000},
                                   .break_after = {.min_us = SECOND, .max_us = SECOND + 1},
                               });
    for (uint32_t i = 0; i < HOSTS; i++) {
        sim_net_attach(f->net, i,
                       &(struct sim_net_callbacks){.ctx = &f->hosts[i],
                                                   .frame = on_frame,
                                                   .up = on_up,
                                                   .down = on_down,
                                                   .certificate = on_certificate});
        start_process(f, i);
    }
    world_run_until(f->w, SECOND);
}

static void close_fixture(struct fixture *f)
{
    sim_net_free(f->net);
    world_free(f->w);
}

static void run(struct fixture *f, uint64_t for_us)
{
    world_run_until(f->w, world_now_us(f->w) + for_us);
}

static void send_number(struct fixture *f, uint32_t from, uint32_t to, uint32_t number)
{
    struct slice frame = slice_copy(bytes_of(&number, sizeof number));
    sim_net_send(f->net, from, to, frame);
    slice_close(&frame);
}

static const struct sim_net_rule jittery = {.latency = {.min_us = 100, .max_us = 50000}};

static void a_connection_keeps_the_order_across_a_short_cut(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false, jittery);
    assert_int_equal(f.hosts[0].ups, HOSTS - 1);
    for (uint32_t i = 0; i < FRAMES; i++) {
        if (i == 100) {
            sim_net_cut(f.net, 0, 1, true);
        } else if (i == 300) {
            sim_net_cut(f.net, 0, 1, false);
        }
        send_number(&f, 0, 1, i);
        run(&f, 500);
    }
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, FRAMES);
    for (uint32_t i = 0; i < FRAMES; i++) {
        assert_int_equal(f.hosts[1].received[i], i);
    }
    assert_int_equal(f.hosts[0].downs, 0);
    close_fixture(&f);
}

static void a_long_cut_breaks_the_connection_and_the_sender_hears_of_it(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false, jittery);
    sim_net_cut(f.net, 0, 1, true);
    send_number(&f, 0, 1, 1);
    run(&f, 2 * SECOND);
    assert_int_equal(f.hosts[0].downs, 1);
    assert_false(sim_net_is_up(f.net, 0, 1));
    assert_true(sim_net_is_up(f.net, 0, 2));
    sim_net_heal(f.net);
    run(&f, SECOND);
    assert_true(sim_net_is_up(f.net, 0, 1));
    send_number(&f, 0, 1, 2);
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, 1);
    assert_int_equal(f.hosts[1].received[0], 2);
    close_fixture(&f);
}

static void one_way_cuts_are_one_way(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, true, jittery);
    sim_net_cut(f.net, 0, 1, true);
    send_number(&f, 0, 1, 1);
    send_number(&f, 1, 0, 2);
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, 0);
    assert_int_equal(f.hosts[0].received_count, 1);
    close_fixture(&f);
}

static void a_new_process_gets_no_frame_of_an_old_connection(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false, jittery);
    send_number(&f, 0, 1, 1);
    sim_net_process_down(f.net, 1, false);
    start_process(&f, 1);
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, 0);
    assert_int_equal(f.hosts[0].downs, 1);
    assert_true(sim_net_is_up(f.net, 0, 1));
    close_fixture(&f);
}

static void datagrams_are_lost_doubled_and_overtaken(void **state)
{
    (void)state;
    struct fixture f;
    struct sim_net_rule rule = jittery;
    rule.loss = 0.2;
    rule.duplicate = 0.3;
    open_fixture(&f, true, rule);
    for (uint32_t i = 0; i < FRAMES; i++) {
        send_number(&f, 0, 1, i);
        run(&f, 100);
    }
    run(&f, SECOND);
    uint32_t times[FRAMES] = {0};
    uint32_t overtaken = 0;
    for (uint32_t i = 0; i < f.hosts[1].received_count; i++) {
        times[f.hosts[1].received[i]]++;
        overtaken += i > 0 && f.hosts[1].received[i] < f.hosts[1].received[i - 1];
    }
    uint32_t lost = 0;
    uint32_t doubled = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        lost += times[i] == 0;
        doubled += times[i] == 2;
        assert_in_range(times[i], 0, 2);
    }
    assert_in_range(lost, FRAMES / 10, FRAMES * 3 / 10);
    assert_in_range(doubled, FRAMES / 10, FRAMES * 4 / 10);
    assert_true(overtaken > FRAMES / 10);
    close_fixture(&f);
}

static void a_certificate_waits_for_a_cut_to_heal(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false, jittery);
    uint8_t revealed[SIM_INCARNATION_BYTES] = {1};
    sim_net_cut(f.net, 0, 1, true);
    sim_net_certify(f.net, 0, 1, revealed, 5 * SECOND);
    sim_net_certify(f.net, 0, 2, revealed, 5 * SECOND);
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].certificates, 0);
    assert_int_equal(f.hosts[2].certificates, 1);
    sim_net_heal(f.net);
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].certificates, 1);
    close_fixture(&f);
}

/* A frame with the head of a Raft message; fixture's hosts read no further. */
static void send_message(struct fixture *f, uint32_t from, uint32_t to, enum raft_message_type type)
{
    const uint8_t head[4] = {0x9b, (uint8_t)(RAFT_WIRE_TYPE_BASE + type)};
    struct slice frame = slice_copy(bytes_of(head, sizeof head));
    sim_net_send(f->net, from, to, frame);
    slice_close(&frame);
}

static void a_drop_takes_its_type_on_its_path_and_so_many(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, false, jittery);
    const struct sim_net_drop three_votes = {
        .types = 1u << (SIM_FRAME_RAFT + RAFT_MESSAGE_VOTE), .probability = 1, .count = 3};
    sim_net_drop(f.net, 0, 1, &three_votes);
    for (uint32_t i = 0; i < 10; i++) {
        send_message(&f, 0, 1, RAFT_MESSAGE_VOTE);
        send_message(&f, 0, 1, RAFT_MESSAGE_APPEND);
        send_message(&f, 1, 0, RAFT_MESSAGE_VOTE);
        send_message(&f, 0, 2, RAFT_MESSAGE_VOTE);
    }
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, 10 + 7);
    assert_int_equal(f.hosts[0].received_count, 10);
    assert_int_equal(f.hosts[2].received_count, 10);
    assert_int_equal(f.hosts[0].downs, 0);
    struct sim_net_count votes =
        sim_net_sent(f.net, 0, 1, (enum sim_frame)(SIM_FRAME_RAFT + RAFT_MESSAGE_VOTE));
    assert_int_equal(votes.frames, 10);
    assert_int_equal(votes.bytes, 40);
    close_fixture(&f);
}

static void of_replies_alone_half_are_lost_until_all_is_healed(void **state)
{
    (void)state;
    struct fixture f;
    open_fixture(&f, true, jittery);
    const struct sim_net_drop half = {
        .types = 1u << sim_frame_by_name("append_reply"), .probability = 0.5, .count = UINT64_MAX};
    sim_net_drop(f.net, 0, 1, &half);
    for (uint32_t i = 0; i < FRAMES; i++) {
        send_message(&f, 0, 1, RAFT_MESSAGE_APPEND_REPLY);
    }
    run(&f, SECOND);
    assert_in_range(f.hosts[1].received_count, FRAMES * 4 / 10, FRAMES * 6 / 10);
    sim_net_heal(f.net);
    f.hosts[1].received_count = 0;
    for (uint32_t i = 0; i < FRAMES; i++) {
        send_message(&f, 0, 1, RAFT_MESSAGE_APPEND_REPLY);
    }
    run(&f, SECOND);
    assert_int_equal(f.hosts[1].received_count, FRAMES);
    close_fixture(&f);
}

static void kinds_of_frames_have_names(void **state)
{
    (void)state;
    for (enum sim_frame type = SIM_FRAME_RAFT; type < SIM_FRAME_COUNT; type++) {
        assert_int_equal(sim_frame_by_name(sim_frame_name(type)), type);
    }
    assert_int_equal(sim_frame_by_name("no such thing"), SIM_FRAME_COUNT);
    const uint8_t rpc[] = {0x94, 0, 1};
    assert_int_equal(sim_frame_of(bytes_of(rpc, sizeof rpc)), SIM_FRAME_RPC);
    assert_int_equal(sim_frame_of(bytes_of(rpc, 1)), SIM_FRAME_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_keeps_the_order_across_a_short_cut),
        cmocka_unit_test(a_long_cut_breaks_the_connection_and_the_sender_hears_of_it),
        cmocka_unit_test(one_way_cuts_are_one_way),
        cmocka_unit_test(a_new_process_gets_no_frame_of_an_old_connection),
        cmocka_unit_test(datagrams_are_lost_doubled_and_overtaken),
        cmocka_unit_test(a_certificate_waits_for_a_cut_to_heal),
        cmocka_unit_test(a_drop_takes_its_type_on_its_path_and_so_many),
        cmocka_unit_test(of_replies_alone_half_are_lost_until_all_is_healed),
        cmocka_unit_test(kinds_of_frames_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
