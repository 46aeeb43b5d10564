/* What both ends of a connection between nodes say first. */
#include "check.h"

#include "wire/handshake.h"
#include "wire/writer.h"

static struct handshake sample(void)
{
    struct handshake h = {.role = HANDSHAKE_NODE,
                          .cluster_id = 0xfeedfacecafebeef,
                          .cluster = "prod",
                          .node_id = 42,
                          .node = "n1",
                          .last = {.index = 318, .term = 7}};
    memset(h.storage_uuid, 0x55, sizeof h.storage_uuid);
    memset(h.incarnation.hash, 0xaa, sizeof h.incarnation.hash);
    return h;
}

static enum err decode_hello(struct bytes input)
{
    struct handshake h;
    return handshake_decode(input, &h);
}

static enum err decode_answer(struct bytes input)
{
    struct handshake_answer a;
    return handshake_answer_decode(input, &a);
}

static void assert_same(const struct handshake *a, const struct handshake *b)
{
    assert_true(a->cluster_id == b->cluster_id);
    assert_string_equal(a->cluster, b->cluster);
    assert_true(a->node_id == b->node_id);
    assert_string_equal(a->node, b->node);
    assert_memory_equal(a->storage_uuid, b->storage_uuid, sizeof a->storage_uuid);
    assert_memory_equal(&a->incarnation, &b->incarnation, sizeof a->incarnation);
    assert_true(a->last.index == b->last.index);
    assert_true(a->last.term == b->last.term);
}

static void a_hello_comes_back_as_it_was(void **state)
{
    (void)state;
    struct handshake h = sample(), back;
    h.role = HANDSHAKE_GUARDIAN;
    struct buffer b = {0};
    handshake_encode(&h, &b);
    assert_int_equal(handshake_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_int_equal(back.role, HANDSHAKE_GUARDIAN);
    assert_same(&back, &h);
    assert_whole_only(buffer_bytes(&b), decode_hello);
    buffer_close(&b);
}

static void an_answer_comes_back_as_it_was(void **state)
{
    (void)state;
    struct handshake_answer a = {.verdict = ERR_WRONG_CLUSTER,
                                 .sentence = "n2 belongs to cluster \"test\"",
                                 .self = sample()};
    struct buffer b = {0};
    handshake_answer_encode(&a, &b);
    struct handshake_answer back;
    assert_int_equal(handshake_answer_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_int_equal(back.verdict, ERR_WRONG_CLUSTER);
    assert_string_equal(back.sentence, a.sentence);
    assert_same(&back.self, &a.self);
    assert_whole_only(buffer_bytes(&b), decode_answer);
    buffer_close(&b);
}

static void the_largest_fits_the_frame_of_a_handshake(void **state)
{
    (void)state;
    struct handshake_answer a = {.verdict = ERR_OUTCOME_UNKNOWN, .self = sample()};
    memset(a.sentence, 's', HANDSHAKE_SENTENCE_MAX);
    memset(a.self.cluster, 'c', HANDSHAKE_NAME_MAX);
    memset(a.self.node, 'n', HANDSHAKE_NAME_MAX);
    struct buffer b = {0};
    handshake_answer_encode(&a, &b);
    assert_true(b.size <= HANDSHAKE_BYTES_MAX);
    assert_int_equal(decode_answer(buffer_bytes(&b)), ERR_OK);
    buffer_close(&b);
}

static void another_version_is_named_as_such_whatever_follows_it(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_array(&b, 12);
    write_text(&b, "moonkeeper");
    write_u64(&b, HANDSHAKE_VERSION + 1);
    write_text(&b, "something new");
    assert_int_equal(decode_hello(buffer_bytes(&b)), ERR_VERSION);
    assert_int_equal(decode_answer(buffer_bytes(&b)), ERR_VERSION);
    buffer_close(&b);
}

static void other_protocols_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_hello(bytes_of_string("GET / HTTP/1.1\r\n")), ERR_INVALID);
    struct handshake h = sample();
    struct buffer b = {0};
    handshake_encode(&h, &b);
    b.data[2] = 'M'; /* not our word */
    assert_int_equal(decode_hello(buffer_bytes(&b)), ERR_INVALID);
    buffer_clear(&b);
    h.node_id = 0; /* nobody */
    handshake_encode(&h, &b);
    assert_int_equal(decode_hello(buffer_bytes(&b)), ERR_INVALID);
    buffer_close(&b);
}

static void an_unknown_verdict_is_a_refusal(void **state)
{
    (void)state;
    struct handshake_answer a = {.verdict = ERR_OK, .self = sample()};
    struct buffer b = {0};
    handshake_answer_encode(&a, &b);
    uint8_t *ok = memmem(b.data, b.size, "\xa2ok", 3);
    assert_non_null(ok);
    ok[1] = 'k';
    struct handshake_answer back;
    assert_int_equal(handshake_answer_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_int_equal(back.verdict, ERR_INVALID);
    buffer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_comes_back_as_it_was),
        cmocka_unit_test(an_answer_comes_back_as_it_was),
        cmocka_unit_test(the_largest_fits_the_frame_of_a_handshake),
        cmocka_unit_test(another_version_is_named_as_such_whatever_follows_it),
        cmocka_unit_test(other_protocols_are_refused),
        cmocka_unit_test(an_unknown_verdict_is_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
