/* A proxy between two ends that the test plays itself: real sockets, driven by one loop. */
#include "../net/check.h"

#include "net/frames.h"
#include "net/listener.h"
#include "scenario/proxy.h"
#include "wire/handshake.h"
#include "wire/raft_codec.h"
#include "wire/rpc.h"

enum { FRAMES_MAX = 4096 };

/* What came in at one end. */
struct heard {
    struct frame_reader reader;
    struct slice frames[FRAMES_MAX];
    unsigned count;
    bool closed;
};

static struct loop *loop;
static struct listener *listener;
static struct proxy *proxy;
static int dialler, target; /* the two ends; -1: none */
static unsigned accepts;
static struct heard forth, back; /* what the target heard; what the dialler heard */
static uint8_t scratch[FRAME_SCRATCH_BYTES];

static void on_accept(void *ctx, int fd, const struct socket_address *from)
{
    (void)ctx, (void)from;
    accepts++;
    target = fd;
}

static bool take(void *ctx, struct slice frame)
{
    struct heard *h = ctx;
    assert_true(h->count < FRAMES_MAX);
    h->frames[h->count++] = slice_ref(frame);
    return true;
}

static void listen_at(struct heard *h, int fd)
{
    if (fd >= 0 && !h->closed) {
        h->closed = frame_reader_read(&h->reader, fd, scratch, 1 << 26, take, h) != ERR_OK;
    }
}

/* Rounds of the loop, listening at both ends, until the condition holds. */
#define eventually(condition) \
    run_until(loop, (listen_at(&forth, target), listen_at(&back, dialler), (condition)))

static void for_a_while(void)
{
    uint64_t end_us = now_us() + 60000;
    while (now_us() < end_us) {
        loop_round(loop, end_us - now_us());
        listen_at(&forth, target);
        listen_at(&back, dialler);
    }
}

static void say(int fd, struct bytes frame)
{
    uint8_t head[4] = {(uint8_t)(frame.size >> 24), (uint8_t)(frame.size >> 16),
                       (uint8_t)(frame.size >> 8), (uint8_t)frame.size};
    send_raw(fd, head, sizeof head);
    if (frame.size > 0) {
        send_raw(fd, frame.data, frame.size);
    }
}

static void say_hello(enum handshake_role role)
{
    const struct handshake hello = {.role = role, .cluster = "test", .node_id = 1, .node = "n1"};
    struct buffer frame = {0};
    handshake_encode(&hello, &frame);
    say(dialler, buffer_bytes(&frame));
    buffer_close(&frame);
}

static void say_message(enum raft_message_type type, uint64_t term)
{
    const struct raft_message m = {.type = type, .from = 1, .to = 2, .term = term};
    struct buffer frame = {0};
    raft_message_encode(&m, NULL, (struct bytes){0}, &frame);
    say(dialler, buffer_bytes(&frame));
    buffer_close(&frame);
}

/* The term of the message that came as frame number i. */
static uint64_t term_of(unsigned i)
{
    struct raft_decoded d = {0};
    assert_true(i < forth.count);
    assert_int_equal(raft_message_decode(forth.frames[i], &d), ERR_OK);
    uint64_t term = d.message.term;
    raft_decoded_close(&d);
    return term;
}

static void dial(void)
{
    dialler = connect_raw(proxy_address(proxy)->port);
    run_until(loop, socket_connect_result(dialler) == 0 && proxy_connections(proxy) > 0);
}

static void open_with(const struct link_quality *quality)
{
    struct why why = {""};
    struct address here = loopback(0);
    assert_int_equal(listener_open(loop, &here, on_accept, NULL, NULL, &listener, &why), ERR_OK);
    enum err e = proxy_open(loop, listener_address(listener), quality, 1, NULL, &proxy, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
}

/* A node has dialled and greeted. */
static void connect_node(const struct link_quality *quality, enum handshake_role role)
{
    open_with(quality);
    dial();
    say_hello(role);
    eventually(forth.count == 1);
}

static const struct link_quality plain = {0};

static int begin(void **state)
{
    (void)state;
    loop = loop_new();
    dialler = target = -1;
    accepts = 0;
    return 0;
}

static void forget(struct heard *h)
{
    for (unsigned i = 0; i < h->count; i++) {
        slice_close(&h->frames[i]);
    }
    frame_reader_close(&h->reader);
    *h = (struct heard){0};
}

static int end(void **state)
{
    (void)state;
    proxy_close(proxy);
    listener_close(listener);
    proxy = NULL;
    listener = NULL;
    if (dialler >= 0) {
        close(dialler);
    }
    if (target >= 0) {
        close(target);
    }
    forget(&forth);
    forget(&back);
    loop_free(loop);
    return 0;
}

/* ---- passing on ----------------------------------------------------------------------------- */

static void frames_pass_whole_and_in_order(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    for (uint64_t term = 1; term <= 500; term++) {
        say_message(RAFT_MESSAGE_APPEND_REPLY, term);
    }
    say(target, bytes_of("welcome", 7));
    eventually(forth.count == 501 && back.count == 1);
    for (unsigned i = 1; i <= 500; i++) {
        assert_int_equal(term_of(i), i);
    }
    assert_true(bytes_equal(slice_bytes(back.frames[0]), bytes_of("welcome", 7)));
}

static void a_large_frame_that_comes_in_pieces_passes(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    enum { SIZE = 300000 };
    static uint8_t frame[SIZE + 4];
    frame[1] = SIZE >> 16, frame[2] = SIZE >> 8 & 255, frame[3] = SIZE & 255;
    for (size_t i = 4; i < sizeof frame; i++) {
        frame[i] = (uint8_t)(i * 7);
    }
    for (size_t at = 0; at < sizeof frame; at += 10001) {
        size_t size = sizeof frame - at < 10001 ? sizeof frame - at : 10001;
        eventually(send(dialler, frame + at, size, MSG_NOSIGNAL) == (ssize_t)size);
    }
    eventually(forth.count == 2);
    assert_true(bytes_equal(slice_bytes(forth.frames[1]), bytes_of(frame + 4, SIZE)));
}

static void who_closes_is_heard_at_the_other_end_after_what_was_said(void **state)
{
    (void)state;
    struct link_quality slow = {.latency_min_us = 20000, .latency_max_us = 20000};
    connect_node(&slow, HANDSHAKE_NODE);
    say_message(RAFT_MESSAGE_VOTE, 7);
    close(dialler);
    dialler = -1;
    eventually(forth.closed);
    assert_int_equal(term_of(1), 7);
    assert_int_equal(proxy_connections(proxy), 0);
}

static void a_target_that_is_not_there_ends_the_connection(void **state)
{
    (void)state;
    open_with(&plain);
    listener_close(listener);
    listener = NULL;
    dial();
    eventually(back.closed);
    assert_int_equal(proxy_connections(proxy), 0);
}

static void a_target_that_does_not_listen_stops_the_dialler(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    static uint8_t frame[1 << 20];
    frame[1] = (sizeof frame - 4) >> 16, frame[2] = 255, frame[3] = 252;
    size_t sent = 0;
    unsigned idle = 0;
    while (idle < 20) { /* nothing moves any more */
        ssize_t n = send(dialler, frame + sent % sizeof frame, sizeof frame - sent % sizeof frame,
                         MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle + 1;
        loop_round(loop, 5000);
        assert_true(sent < (size_t)64 << 20);
    }
    assert_true(sent > (size_t)16 << 20);
    size_t heard = 0; /* and goes on when it listens */
    uint64_t end_us = now_us() + PATIENCE_US;
    while (heard < sent / sizeof frame && now_us() < end_us) {
        loop_round(loop, 5000);
        listen_at(&forth, target);
        heard = forth.count - 1;
    }
    assert_int_equal(heard, sent / sizeof frame);
}

/* ---- cuts ----------------------------------------------------------------------------------- */

static void a_cut_holds_everything_and_closes_nothing(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_cut(proxy, true, true);
    say_message(RAFT_MESSAGE_VOTE, 5);
    say(dialler, (struct bytes){0});
    say(target, (struct bytes){0});
    for_a_while();
    assert_int_equal(forth.count, 1);
    assert_int_equal(back.count, 0);
    assert_false(forth.closed || back.closed);
    proxy_cut(proxy, false, false);
    eventually(forth.count == 3 && back.count == 1);
    assert_int_equal(term_of(1), 5);
    assert_int_equal(forth.frames[2].size, 0);
}

static void a_cut_of_one_direction_lets_the_other_pass(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_cut(proxy, false, true);
    say_message(RAFT_MESSAGE_VOTE, 5);
    say(target, (struct bytes){0});
    eventually(forth.count == 2);
    for_a_while();
    assert_int_equal(back.count, 0);
    proxy_cut(proxy, true, false);
    say_message(RAFT_MESSAGE_VOTE, 6);
    eventually(back.count == 1);
    for_a_while();
    assert_int_equal(forth.count, 2);
}

static void who_closes_beyond_a_cut_is_heard_when_it_is_mended(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_cut(proxy, true, true);
    close(target);
    target = -1;
    for_a_while();
    assert_false(back.closed);
    proxy_cut(proxy, false, false);
    eventually(back.closed);
    assert_int_equal(proxy_connections(proxy), 0);
}

static void who_dials_across_a_cut_is_connected_when_it_is_mended(void **state)
{
    (void)state;
    open_with(&plain);
    proxy_cut(proxy, true, false);
    dial();
    say_hello(HANDSHAKE_NODE);
    for_a_while();
    assert_int_equal(accepts, 0);
    proxy_cut(proxy, false, false);
    eventually(forth.count == 1);
}

static void who_gives_up_dialling_across_a_cut_leaves_nothing(void **state)
{
    (void)state;
    open_with(&plain);
    proxy_cut(proxy, true, true);
    dial();
    close(dialler);
    dialler = -1;
    eventually(proxy_connections(proxy) == 0);
    assert_int_equal(accepts, 0);
}

static void a_reset_closes_both_ends_even_across_a_cut(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_cut(proxy, true, true);
    proxy_reset(proxy);
    eventually(forth.closed && back.closed);
}

/* ---- rules ---------------------------------------------------------------------------------- */

static void a_drop_takes_its_types_and_no_more_than_its_count(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_drop(proxy, &(struct target_drop){.types = TARGET_VOTE, .probability = 1, .count = 2});
    for (uint64_t term = 1; term <= 4; term++) {
        say_message(RAFT_MESSAGE_VOTE, term);
        say_message(RAFT_MESSAGE_VOTE_REPLY, term);
    }
    eventually(forth.count == 7);
    const uint64_t terms[] = {1, 2, 3, 3, 4, 4};
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(term_of(i + 1), terms[i]);
    }
}

static void pings_and_certificates_are_no_messages(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_GUARDIAN);
    proxy_drop(proxy, &(struct target_drop){.types = TARGET_MESSAGES, .probability = 1});
    say(dialler, (struct bytes){0});
    say(dialler, bytes_of("0123456789abcdef", 16));
    eventually(forth.count == 3);
    assert_int_equal(proxy_rpcs(proxy, TARGET_MESSAGES).count, 0);
}

static void a_delay_keeps_the_order(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_delay(proxy,
                &(struct target_delay){
                    .types = TARGET_MESSAGES, .probability = 1, .min_us = 20000, .max_us = 60000});
    uint64_t start_us = now_us();
    for (uint64_t term = 1; term <= 50; term++) {
        say_message(RAFT_MESSAGE_APPEND_REPLY, term);
    }
    eventually(forth.count == 51);
    assert_true(now_us() - start_us >= 20000);
    for (unsigned i = 1; i <= 50; i++) {
        assert_int_equal(term_of(i), i);
    }
}

static void what_some_frames_are_delayed_by_lets_others_overtake(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_delay(
        proxy, &(struct target_delay){
                   .types = TARGET_VOTE_REPLY, .probability = 1, .min_us = 50000, .max_us = 50000});
    say_message(RAFT_MESSAGE_VOTE_REPLY, 1);
    say_message(RAFT_MESSAGE_VOTE, 2);
    eventually(forth.count == 3);
    assert_int_equal(term_of(1), 2);
    assert_int_equal(term_of(2), 1);
}

static void healing_ends_the_rules(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_drop(proxy, &(struct target_drop){.types = TARGET_MESSAGES, .probability = 1});
    say_message(RAFT_MESSAGE_VOTE, 1);
    eventually(proxy_rpcs(proxy, TARGET_VOTE).count == 1);
    proxy_heal(proxy);
    say_message(RAFT_MESSAGE_VOTE, 2);
    eventually(forth.count == 2);
    assert_int_equal(term_of(1), 2);
}

static void frames_are_lost_and_doubled_as_often_as_the_link_says(void **state)
{
    (void)state;
    struct link_quality bad = {.loss = 0.5, .duplicate = 0.5};
    connect_node(&bad, HANDSHAKE_NODE);
    for (uint64_t term = 1; term <= 1000; term++) {
        say_message(RAFT_MESSAGE_VOTE, term);
    }
    eventually(proxy_rpcs(proxy, TARGET_VOTE).count == 1000);
    for_a_while();
    assert_in_range(forth.count, 650, 850); /* 1000 x 0.5 x 1.5, and four deviations */
}

static void messages_are_counted_by_type_also_the_lost_ones(void **state)
{
    (void)state;
    connect_node(&plain, HANDSHAKE_NODE);
    proxy_drop(proxy, &(struct target_drop){.types = TARGET_VOTE, .probability = 1});
    say_message(RAFT_MESSAGE_VOTE, 1);
    say_message(RAFT_MESSAGE_TIMEOUT_NOW, 1);
    say_message(RAFT_MESSAGE_APPEND_REPLY, 1);
    struct buffer request = {0};
    rpc_write_request(&request, 1, bytes_of_string("propose"), (struct bytes){0});
    say(dialler, buffer_bytes(&request));
    eventually(forth.count == 4);
    assert_int_equal(proxy_rpcs(proxy, TARGET_VOTE).count, 1);
    assert_int_equal(proxy_rpcs(proxy, TARGET_REQUESTS).count, 2);
    assert_int_equal(proxy_rpcs(proxy, TARGET_REPLIES).count, 1);
    assert_int_equal(proxy_rpcs(proxy, TARGET_OTHER).count, 1);
    assert_int_equal(proxy_rpcs(proxy, TARGET_OTHER).bytes, request.size);
    buffer_close(&request);
}

static void a_new_rule_replaces_an_old_one_for_its_types(void **state)
{
    (void)state;
    struct link_rules r;
    struct link_travel travels[LINK_COPIES_MAX];
    link_rules_init(&r, &plain, 1);
    link_rules_drop(&r, &(struct target_drop){.types = TARGET_MESSAGES, .probability = 1});
    link_rules_drop(&r, &(struct target_drop){.types = TARGET_VOTE});
    assert_int_equal(link_rules_decide(&r, TARGET_VOTE, travels), 1);
    assert_int_equal(link_rules_decide(&r, TARGET_APPEND, travels), 0);
    for (unsigned i = 0; i < 8; i++) {
        link_rules_delay(&r, &(struct target_delay){
                                 .types = 1u << i, .probability = 1, .min_us = i, .max_us = i});
    }
    assert_int_equal(r.delays_count, 8);
    link_rules_drop(&r, &(struct target_drop){.types = TARGET_MESSAGES});
    assert_int_equal(link_rules_decide(&r, TARGET_APPEND, travels), 1);
    assert_int_equal(travels[0].delay_us, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(frames_pass_whole_and_in_order),
        TEST(a_large_frame_that_comes_in_pieces_passes),
        TEST(who_closes_is_heard_at_the_other_end_after_what_was_said),
        TEST(a_target_that_is_not_there_ends_the_connection),
        TEST(a_target_that_does_not_listen_stops_the_dialler),
        TEST(a_cut_holds_everything_and_closes_nothing),
        TEST(a_cut_of_one_direction_lets_the_other_pass),
        TEST(who_closes_beyond_a_cut_is_heard_when_it_is_mended),
        TEST(who_dials_across_a_cut_is_connected_when_it_is_mended),
        TEST(who_gives_up_dialling_across_a_cut_leaves_nothing),
        TEST(a_reset_closes_both_ends_even_across_a_cut),
        TEST(a_drop_takes_its_types_and_no_more_than_its_count),
        TEST(pings_and_certificates_are_no_messages),
        TEST(a_delay_keeps_the_order),
        TEST(what_some_frames_are_delayed_by_lets_others_overtake),
        TEST(healing_ends_the_rules),
        TEST(frames_are_lost_and_doubled_as_often_as_the_link_says),
        TEST(messages_are_counted_by_type_also_the_lost_ones),
        cmocka_unit_test(a_new_rule_replaces_an_old_one_for_its_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
