/* What nodes ask each other: once, of the leader, and never on and on. That answers are told apart
 * from those to an earlier process: test_late_answers.c. */
#include "rig.h"

#include "node/node_internal.h"
#include "wire/writer.h"

static struct node *node_of(struct cluster *c, uint32_t host)
{
    return sim_process_node(cluster_host(c, host));
}

/* Frames of requests and answers on one path, so far. */
static uint64_t sent(struct cluster *c, uint32_t from, uint32_t to)
{
    return sim_net_sent(cluster_net(c), from, to, SIM_FRAME_RPC).frames;
}

static void receive(struct node *n, raft_id from, const char *text)
{
    static const uint8_t incarnation[32] = {1};
    struct buffer encoded = {0};
    assert_int_equal(json_to_msgpack(bytes_of_string(text), &encoded, NULL), ERR_OK);
    struct slice frame = slice_copy(buffer_bytes(&encoded));
    node_receive(n, from, incarnation, frame);
    slice_close(&frame);
    buffer_close(&encoded);
}

/* Two nodes that take each other for the leader would send it to and fro. */
static void what_only_the_leader_answers_goes_one_step_and_no_further(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3, asking = (leader + 2) % 3;
    static const char *const requests[] = {
        "[0,1,\"read_index\",[1000,\"linearizable\"]]",
        "[0,2,\"transfer\",[\"n1\",1000]]",
        "[0,3,\"members_add\",[\"n9\",\"127.0.0.1:1\",1000]]",
        "[0,4,\"members_promote\",[\"n1\",1000]]",
        "[0,5,\"members_remove\",[\"n1\",1000]]",
    };
    struct node *n = node_of(c, asked);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        uint64_t onward = sent(c, asked, leader), back = sent(c, asked, asking);
        receive(n, node_id(node_of(c, asking)), requests[i]);
        sim_process_disturbed(cluster_host(c, asked));
        assert_true(cluster_run(c, 200 * MS));
        assert_int_equal(sent(c, asked, leader), onward);
        assert_int_equal(sent(c, asked, asking), back + 1); /* it is told to ask somebody else */
        assert_true(TAILQ_EMPTY(&n->relay.waiting));
    }
    assert_int_equal(cluster_leader(c), leader);
    rig_end(c);
}

/* Whoever forwarded it finds out who leads, and sends it there. */
static void a_command_forwarded_to_a_follower_ends_there(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3, asking = (leader + 2) % 3;
    struct node *n = node_of(c, asked);
    struct buffer entry = {0}, frame = {0};
    node_opaque_body(bytes_of_string("x"), 0, &entry);
    write_array(&frame, 3);
    write_u64(&frame, 2);
    write_text(&frame, "append");
    write_array(&frame, 1);
    write_bin(&frame, buffer_bytes(&entry));
    struct slice received = slice_copy(buffer_bytes(&frame));
    static const uint8_t incarnation[32] = {1};
    uint64_t before = sent(c, asked, leader) + sent(c, asked, asking);
    raft_index last = raft_last_index(node_raft(node_of(c, leader)));
    node_receive(n, node_id(node_of(c, asking)), incarnation, received);
    sim_process_disturbed(cluster_host(c, asked));
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(n->proposals.forwarded_count, 0);
    assert_int_equal(sent(c, asked, leader) + sent(c, asked, asking), before);
    assert_int_equal(raft_last_index(node_raft(node_of(c, leader))), last);
    slice_close(&received);
    buffer_close(&frame);
    buffer_close(&entry);
    rig_end(c);
}

/* Any number of reads: one question to the leader is under way, and a leader that does not answer
 * is not asked faster for it. */
static void reads_at_a_follower_ask_one_question_at_a_time(void **ctx)
{
    (void)ctx;
    enum { READS = 1000 };
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c), asked = (leader + 1) % 3;
    static struct answer a[READS];
    const char *get = "[\"kv\",\"get\",{\"key\":\"k\"},{\"timeout_ms\":9000}]";
    uint64_t before = sent(c, asked, leader);
    for (int i = 0; i < READS; i++) {
        rig_ask(c, asked, "query", get, &a[i]);
    }
    assert_true(cluster_run(c, 200 * MS));
    for (int i = 0; i < READS; i++) {
        assert_answer(a[i], "null");
    }
    assert_int_equal(sent(c, asked, leader), before + 1);
    const struct sim_net_drop mute = {
        .types = 1 << SIM_FRAME_RPC, .probability = 1, .count = UINT64_MAX};
    sim_net_drop(cluster_net(c), leader, asked, &mute);
    before = sent(c, asked, leader);
    for (int i = 0; i < READS; i++) {
        rig_ask(c, asked, "query", get, &a[i]);
        assert_true(cluster_run(c, 5 * MS));
    }
    assert_in_range(sent(c, asked, leader), before + 1, before + 6); /* once a second */
    sim_net_drop(cluster_net(c), leader, asked,
                 &(struct sim_net_drop){.types = 1 << SIM_FRAME_RPC});
    assert_true(cluster_run(c, 2 * SECOND));
    for (int i = 0; i < READS; i++) {
        assert_answer(a[i], "null");
    }
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_the_leader_answers_goes_one_step_and_no_further),
        cmocka_unit_test(a_command_forwarded_to_a_follower_ends_there),
        cmocka_unit_test(reads_at_a_follower_ask_one_question_at_a_time),
    };
    return cmocka_run_group_tests_name("node/relay", tests, NULL, NULL);
}
