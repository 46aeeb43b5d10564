/* What clients and peers say wrongly: one clear error each, and the node goes on. */
#include "rig.h"

#include "node/node_internal.h"

static void parameters_are_held_against_their_method(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(1);
    const struct {
        const char *method, *params;
        enum err err;
        const char *says;
    } cases[] = {
        {"no_such", "[]", ERR_NOT_FOUND, "unknown method"},
        {"propose", "{}", ERR_INVALID, "must be an array"},
        {"propose", "[]", ERR_INVALID, "propose takes"},
        {"propose", "[\"kv\"]", ERR_INVALID, "propose takes"},
        {"propose", "[1,\"set\"]", ERR_INVALID, "propose takes"},
        {"propose", "[\"kv\",{}]", ERR_INVALID, "propose takes"},
        {"propose", "[\"kv\",\"set\",[],7]", ERR_INVALID, "propose takes"},
        {"propose",
         "[\"0123456789012345678901234567890123456789012345678901234567890123x\",\"set\"]",
         ERR_INVALID, "propose takes"},
        {"propose", "[\"kv\",\"set\",[],{\"tiemout_ms\":1}]", ERR_INVALID, "known are timeout_ms"},
        {"propose", "[\"kv\",\"set\",[],{\"timeout_ms\":\"1\"}]", ERR_INVALID, "wrong type"},
        {"propose", "[\"kv\",\"set\",[],{\"timeout_ms\":-1}]", ERR_INVALID, "wrong type"},
        {"propose", "[\"kv\",\"set\",[],{\"forward\":1}]", ERR_INVALID, "wrong type"},
        {"propose", "[\"kv\",\"no_such\",[]]", ERR_NOT_FOUND, ""},
        {"propose", "[\"no_such\",\"set\",[]]", ERR_NOT_FOUND, ""},
        {"query", "[]", ERR_INVALID, "query takes"},
        {"query", "[\"kv\",\"get\",[],{\"read\":\"dirty\"}]", ERR_INVALID, "\"local\""},
        {"query", "[\"kv\",\"no_such\"]", ERR_NOT_FOUND, ""},
        {"load", "[]", ERR_INVALID, "load takes"},
        {"load", "[\"return 1\"]", ERR_INVALID, ""},
        {"load", "[\"syntax error\"]", ERR_INVALID, ""},
        {"read_index", "[\"soon\"]", ERR_INVALID, "takes"},
        {"barrier", "[100,\"local\"]", ERR_INVALID, "takes"},
        {"transfer", "[7]", ERR_INVALID, "transfer takes"},
        {"transfer", "[\"n9\"]", ERR_NOT_FOUND, "no member"},
        {"transfer", "[]", ERR_NOT_FOUND, "no such voter"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer a = rig_call(c, 0, cases[i].method, cases[i].params);
        if (a.err != cases[i].err || strstr(a.message, cases[i].says) == NULL) {
            print_error("%s %s: %s, %s\n", cases[i].method, cases[i].params, err_name(a.err),
                        a.message);
        }
        assert_int_equal(a.err, cases[i].err);
        assert_non_null(strstr(a.message, cases[i].says));
        assert_true(a.message[0] != 0);
    }
    rig_end(c);
}

static void frames_of_a_broken_peer_change_nothing(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct node *n = sim_process_node(cluster_host(c, leader));
    raft_id peer = node_id(n) == 1 ? 2 : 1;
    static const uint8_t incarnation[32] = {1};
    const char *texts[] = {
        "[2,\"append\",[1,2,3]]",
        "[2,\"append\",{}]",
        "[2,\"about\",[1,2]]",
        "[2,\"refused\",[\"\",0,\"no_space\"]]",
        "[1,99,null,7]",
        "[1,99,{\"code\":7},null]",
        "[0,1,\"read_index\",{}]",
        "[0,2,\"nonsense\",[]]",
        "[0]",
        "[16]",
        "[17,1,2,3,4,5,6,7,8,9,10]",
        "[2,\"refused\",[]]",
        "[0,3,\"transfer\",[\"n1\",-1]]",
        "7",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct buffer encoded = {0};
        assert_int_equal(json_to_msgpack(bytes_of_string(texts[i]), &encoded, NULL), ERR_OK);
        for (size_t size = 0; size <= encoded.size; size++) { /* cut short, too */
            struct slice frame = slice_copy(bytes_of(encoded.data, size));
            node_receive(n, peer, incarnation, frame);
            slice_close(&frame);
        }
        buffer_close(&encoded);
    }
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(cluster_leader(c), leader);
    assert_int_equal(
        rig_call(c, leader, "propose", "[\"kv\",\"set\",{\"key\":\"a\",\"value\":1}]").err, ERR_OK);
    rig_end(c);
}

static unsigned lines;
static char last_line[512];

static void take_line(void *sink, const char *line, size_t size_bytes)
{
    (void)sink;
    lines++;
    snprintf(last_line, sizeof last_line, "%.*s", (int)size_bytes, line);
}

static int64_t no_time(void *clock)
{
    (void)clock;
    return 0;
}

static void receive_bytes(struct node *n, raft_id from, const char *bytes, size_t size)
{
    static const uint8_t incarnation[32] = {1};
    struct slice frame = slice_copy(bytes_of(bytes, size));
    node_receive(n, from, incarnation, frame);
    slice_close(&frame);
}

static void a_broken_peer_does_not_fill_the_log(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    struct node *n = sim_process_node(cluster_host(c, leader));
    raft_id peer = node_id(n) == 1 ? 2 : 1;
    const struct log log = {
        .format = LOG_LOGFMT, .level = LOG_LEVEL_WARN, .wall_ms = no_time, .write = take_line};
    n->ports.log = &log;
    lines = 0;
    for (int i = 0; i < 1000; i++) {
        receive_bytes(n, peer, "\x93\x10", 2); /* Raft, cut short */
        receive_bytes(n, peer, "\x93\x00", 2); /* a request, cut short */
        receive_bytes(n, peer, "\xc1", 1);     /* neither */
    }
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last_line, members_name(n, peer)));
    assert_true(cluster_run(c, 11 * SECOND));
    receive_bytes(n, peer, "\xc1", 1); /* it still does: once in a while, that is said */
    assert_int_equal(lines, 2);
    assert_non_null(strstr(last_line, "not_logged=2999"));
    rig_end(c);
}

static void no_more_calls_wait_than_were_allowed(void **ctx)
{
    (void)ctx;
    struct cluster *c = rig_start(3);
    uint32_t leader = cluster_leader(c);
    for (uint32_t i = 0; i < 3; i++) {
        cluster_isolate(c, i);
    }
    enum { PENDING_MAX = 65536, EXCESS = 3 };
    static struct answer a[PENDING_MAX + EXCESS];
    for (int i = 0; i < PENDING_MAX + EXCESS; i++) { /* all with one key: they count as well */
        rig_ask(c, leader, "propose",
                "[\"kv\",\"set\",{\"key\":\"a\",\"value\":1},{\"id\":1,\"timeout_ms\":100}]",
                &a[i]);
    }
    assert_true(cluster_run(c, 50 * MS));
    for (int i = 0; i < EXCESS; i++) {
        assert_int_equal(a[PENDING_MAX + i].count, 1);
        assert_int_equal(a[PENDING_MAX + i].err, ERR_BUSY);
    }
    assert_true(cluster_run(c, SECOND));
    for (int i = 0; i < PENDING_MAX; i++) {
        assert_int_equal(a[i].count, 1);
    }
    rig_end(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_held_against_their_method),
        cmocka_unit_test(frames_of_a_broken_peer_change_nothing),
        cmocka_unit_test(a_broken_peer_does_not_fill_the_log),
        cmocka_unit_test(no_more_calls_wait_than_were_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
