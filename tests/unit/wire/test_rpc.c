/* MessagePack-RPC: where a message ends, and what it says. */
#include "check.h"

#include "wire/rpc.h"
#include "wire/writer.h"

enum { MAX_BYTES = 1 << 20, DEPTH = 32 };

static enum err decode(struct bytes input)
{
    struct rpc_message m;
    return rpc_decode(input, &m);
}

static enum err scan(struct bytes input, size_t max_bytes, uint32_t max_depth, size_t *size)
{
    struct rpc_scan s = {0};
    return rpc_scan(&s, input, max_bytes, max_depth, size);
}

static struct bytes sample_params(struct buffer *b)
{
    write_array(b, 3);
    write_text(b, "key");
    write_map(b, 2);
    write_text(b, "a");
    write_i64(b, -70000);
    write_text(b, "b");
    write_array(b, 0);
    write_bin(b, bytes_of("0123456789012345678901234567890123456789", 40));
    return buffer_bytes(b);
}

static void messages_come_back_as_they_were(void **state)
{
    (void)state;
    struct buffer p = {0}, b = {0};
    struct bytes params = sample_params(&p);
    struct rpc_message m;

    rpc_write_request(&b, 4294967295u, bytes_of_string("kv.put"), params);
    assert_int_equal(rpc_decode(buffer_bytes(&b), &m), ERR_OK);
    assert_int_equal(m.type, RPC_REQUEST);
    assert_true(m.msgid == 4294967295u);
    assert_bytes(m.method, bytes_of_string("kv.put"));
    assert_bytes(m.params, params);
    assert_whole_only(buffer_bytes(&b), decode);
    assert_survives_any_byte(buffer_bytes(&b), decode);

    buffer_clear(&b);
    rpc_write_notify(&b, bytes_of_string("event"), params);
    assert_int_equal(rpc_decode(buffer_bytes(&b), &m), ERR_OK);
    assert_int_equal(m.type, RPC_NOTIFY);
    assert_bytes(m.params, params);
    assert_whole_only(buffer_bytes(&b), decode);

    buffer_clear(&b);
    rpc_write_result(&b, 5, params);
    assert_int_equal(rpc_decode(buffer_bytes(&b), &m), ERR_OK);
    assert_int_equal(m.type, RPC_RESPONSE);
    assert_int_equal(m.msgid, 5);
    assert_true(rpc_is_nil(m.error));
    assert_bytes(m.result, params);
    assert_whole_only(buffer_bytes(&b), decode);
    buffer_close(&b);
    buffer_close(&p);
}

static void an_error_comes_back_as_it_was(void **state)
{
    (void)state;
    struct buffer b = {0};
    struct rpc_error error = {.code = bytes_of_string("not_leader"),
                              .message = bytes_of_string("this node is not the leader"),
                              .leader = bytes_of_string("127.0.0.1:7127"),
                              .data = bytes_of("\x93\x01\x02\x03", 4)};
    rpc_write_error(&b, 9, &error);
    struct rpc_message m;
    assert_int_equal(rpc_decode(buffer_bytes(&b), &m), ERR_OK);
    assert_int_equal(m.msgid, 9);
    assert_true(rpc_is_nil(m.result));
    assert_false(rpc_is_nil(m.error));
    struct rpc_error back;
    assert_int_equal(rpc_error_decode(m.error, &back), ERR_OK);
    assert_bytes(back.code, error.code);
    assert_bytes(back.message, error.message);
    assert_bytes(back.leader, error.leader);
    assert_bytes(back.data, error.data);
    buffer_close(&b);
}

static void an_error_of_another_kind_of_server_is_read(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_text(&b, "no such method");
    struct rpc_error back;
    assert_int_equal(rpc_error_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_bytes(back.message, bytes_of_string("no such method"));
    assert_int_equal(back.code.size, 0);
    buffer_clear(&b);
    write_map(&b, 2);
    write_u64(&b, 1);
    write_nil(&b);
    write_text(&b, "unknown");
    write_array(&b, 0);
    assert_int_equal(rpc_error_decode(buffer_bytes(&b), &back), ERR_OK);
    buffer_close(&b);
}

static void a_scan_finds_each_end_at_any_chopping(void **state)
{
    (void)state;
    struct buffer p = {0}, b = {0};
    size_t ends[3];
    rpc_write_request(&b, 1, bytes_of_string("m"), sample_params(&p));
    ends[0] = b.size;
    rpc_write_notify(&b, bytes_of_string("m"), (struct bytes){0});
    ends[1] = b.size;
    rpc_write_result(&b, 1, bytes_of("\xa3xyz", 4)); /* ends in a string */
    ends[2] = b.size;
    write_u64(&b, 0); /* what follows does not matter */
    for (size_t chop = 1; chop <= b.size; chop++) {
        struct rpc_scan s = {0};
        size_t start = 0, found = 0, size = 0;
        for (size_t have = chop; found<3; have = have + chop> b.size ? b.size : have + chop) {
            uint8_t *copy = exact_copy(b.data + start, have - start);
            enum err e = rpc_scan(&s, bytes_of(copy, have - start), MAX_BYTES, DEPTH, &size);
            free(copy);
            if (e == ERR_OK) {
                start += size;
                assert_int_equal(start, ends[found++]);
                have = start;
            } else {
                assert_int_equal(e, ERR_TRUNCATED);
                assert_true(have < ends[found]);
            }
        }
    }
    buffer_close(&b);
    buffer_close(&p);
}

static void a_long_message_that_trickles_in_is_not_scanned_again_and_again(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_array(&b, 4);
    write_u64(&b, 0);
    write_u64(&b, 1);
    write_text(&b, "m");
    write_array(&b, 200000);
    for (int i = 0; i < 200000; i++) {
        write_u64(&b, 1);
    }
    /* One byte at a time: 200,000 calls. Rescanning would be 2e10 steps, beyond any test's time. */
    struct rpc_scan s = {0};
    size_t size = 0;
    for (size_t have = 0; have < b.size; have++) {
        assert_int_equal(rpc_scan(&s, bytes_of(b.data, have), MAX_BYTES, DEPTH, &size),
                         ERR_TRUNCATED);
    }
    assert_int_equal(rpc_scan(&s, buffer_bytes(&b), MAX_BYTES, DEPTH, &size), ERR_OK);
    assert_int_equal(size, b.size);
    buffer_close(&b);
}

static void what_is_not_rpc_is_told_from_its_first_byte(void **state)
{
    (void)state;
    size_t size;
    assert_int_equal(scan(bytes_of("G", 1), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    assert_int_equal(scan(bytes_of("\x16", 1), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    assert_int_equal(scan(bytes_of("\x80", 1), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    assert_int_equal(scan(bytes_of("\xc1", 1), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    assert_int_equal(scan(bytes_of("\x92", 1), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    assert_int_equal(scan(bytes_of("\x94", 1), MAX_BYTES, DEPTH, &size), ERR_TRUNCATED);
    assert_int_equal(scan(bytes_of("", 0), MAX_BYTES, DEPTH, &size), ERR_TRUNCATED);
}

static void a_message_that_must_become_too_large_is_refused_at_once(void **state)
{
    (void)state;
    size_t size;
    static const uint8_t long_string[] = {0x94, 0,    1,    0xa1, 'm', 0x91,
                                          0xc6, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t long_array[] = {0x94, 0, 1, 0xa1, 'm', 0xdd, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t long_map[] = {0x94, 0, 1, 0xa1, 'm', 0x91, 0xdf, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t long_ext[] = {0x94, 0, 1, 0xa1, 'm', 0x91, 0xc9, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(scan(bytes_of(long_string, sizeof long_string), MAX_BYTES, DEPTH, &size),
                     ERR_TOO_LARGE);
    assert_int_equal(scan(bytes_of(long_array, sizeof long_array), MAX_BYTES, DEPTH, &size),
                     ERR_TOO_LARGE);
    assert_int_equal(scan(bytes_of(long_map, sizeof long_map), MAX_BYTES, DEPTH, &size),
                     ERR_TOO_LARGE);
    assert_int_equal(scan(bytes_of(long_ext, sizeof long_ext), MAX_BYTES, DEPTH, &size),
                     ERR_TOO_LARGE);
    assert_int_equal(scan(bytes_of(long_ext, sizeof long_ext), UINT32_MAX, DEPTH, &size),
                     ERR_TOO_LARGE);
}

static void the_largest_message_allowed_passes(void **state)
{
    (void)state;
    struct buffer b = {0};
    rpc_write_request(&b, 1, bytes_of_string("m"), bytes_of("\x91\xa3xyz", 5));
    size_t size;
    assert_int_equal(scan(buffer_bytes(&b), b.size, DEPTH, &size), ERR_OK);
    assert_int_equal(scan(buffer_bytes(&b), b.size - 1, DEPTH, &size), ERR_TOO_LARGE);
    buffer_close(&b);
}

static void nesting_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_array(&b, 4);
    write_u64(&b, 0);
    write_u64(&b, 1);
    write_text(&b, "m");
    for (int i = 1; i < DEPTH; i++) {
        write_array(&b, 1);
    }
    size_t params_end = b.size;
    write_nil(&b);
    size_t size;
    assert_int_equal(scan(buffer_bytes(&b), MAX_BYTES, DEPTH, &size), ERR_OK);
    assert_int_equal(decode(buffer_bytes(&b)), ERR_OK);
    b.size = params_end;
    write_array(&b, 1);
    write_nil(&b);
    assert_int_equal(scan(buffer_bytes(&b), MAX_BYTES, DEPTH, &size), ERR_INVALID);
    buffer_close(&b);
}

static void malformed_messages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        {"\x94\x03\x01\xa1m\x90", 6},                  /* unknown type */
        {"\x93\x00\x01\xa1m", 5},                      /* a request of three */
        {"\x94\x02\xa1m\x90\xc0", 6},                  /* a notification of four */
        {"\x94\x00\xff\xa1m\x90", 6},                  /* negative msgid */
        {"\x94\x00\x01\x05\x90", 5},                   /* the method is a number */
        {"\x94\x00\x01\xa1m\x80", 6},                  /* params are a map */
        {"\x94\x00\x01\xa1m\xc0", 6},                  /* params are nil */
        {"\x94\x00\xcf\0\0\0\1\0\0\0\0\xa1m\x90", 14}, /* msgid beyond 32 bits */
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(decode(bytes_of(bad[i].bytes, bad[i].size)), ERR_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(an_error_comes_back_as_it_was),
        cmocka_unit_test(an_error_of_another_kind_of_server_is_read),
        cmocka_unit_test(a_scan_finds_each_end_at_any_chopping),
        cmocka_unit_test(a_long_message_that_trickles_in_is_not_scanned_again_and_again),
        cmocka_unit_test(what_is_not_rpc_is_told_from_its_first_byte),
        cmocka_unit_test(a_message_that_must_become_too_large_is_refused_at_once),
        cmocka_unit_test(the_largest_message_allowed_passes),
        cmocka_unit_test(nesting_beyond_the_limit_is_refused),
        cmocka_unit_test(malformed_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
