/* The reader and the writer, against each other, against msgpack-c and against hostile input. */
#include "check.h"

#include <msgpack.h>

#include "base/rng.h"
#include "wire/reader.h"
#include "wire/writer.h"

static const uint64_t edges[] = {
    0,     1,     127,        128,         255,        256,        32767,     32768,
    65535, 65536, 2147483647, 2147483648u, 4294967295, 4294967296, INT64_MAX, UINT64_MAX};
enum { EDGES = sizeof edges / sizeof edges[0] };

static void numbers_come_back_as_they_were(void **state)
{
    (void)state;
    struct buffer b = {0};
    for (unsigned i = 0; i < EDGES; i++) {
        write_u64(&b, edges[i]);
        write_i64(&b, (int64_t)edges[i]);
        write_i64(&b, (int64_t)(~edges[i]));
    }
    write_f64(&b, 0.1);
    write_f64(&b, -1e300);
    struct reader r = reader_of(buffer_bytes(&b));
    for (unsigned i = 0; i < EDGES; i++) {
        assert_true(read_u64(&r) == edges[i]);
        assert_true(read_i64(&r) == (int64_t)edges[i]);
        assert_true(read_i64(&r) == (int64_t)(~edges[i]));
    }
    assert_true(read_f64(&r) == 0.1);
    assert_true(read_f64(&r) == -1e300);
    assert_int_equal(reader_end(&r), ERR_OK);
    buffer_close(&b);
}

static void strings_of_every_header_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536};
    uint8_t *data = calloc(1, 65536);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct buffer b = {0};
        write_str(&b, bytes_of(data, sizes[i]));
        write_bin(&b, bytes_of(data, sizes[i]));
        write_bin(&b, bytes_of(data, sizes[i]));
        struct reader r = reader_of(buffer_bytes(&b));
        assert_bytes(read_str(&r, sizes[i]), bytes_of(data, sizes[i]));
        assert_bytes(read_bin(&r, sizes[i]), bytes_of(data, sizes[i]));
        assert_bytes(read_str_or_bin(&r, sizes[i]), bytes_of(data, sizes[i]));
        assert_int_equal(reader_end(&r), ERR_OK);
        buffer_close(&b);
    }
    free(data);
}

/* A random value as msgpack-c packs it, which uses every form there is. */
static void pack_random(msgpack_packer *pk, struct rng *rng, int depth)
{
    static const char text[300] = "x";
    size_t size = (size_t)rng_range(rng, 0, 300);
    switch (rng_range(rng, 0, depth > 0 ? 11 : 9)) {
    case 0:
        msgpack_pack_nil(pk);
        break;
    case 1:
        msgpack_pack_true(pk);
        break;
    case 2:
        msgpack_pack_uint64(pk, edges[rng_range(rng, 0, EDGES)]);
        break;
    case 3:
        msgpack_pack_int64(pk, (int64_t)~edges[rng_range(rng, 0, EDGES)]);
        break;
    case 4:
        msgpack_pack_float(pk, 1.5F);
        break;
    case 5:
        msgpack_pack_double(pk, rng_unit(rng));
        break;
    case 6:
        msgpack_pack_str_with_body(pk, text, size);
        break;
    case 7:
        msgpack_pack_bin_with_body(pk, text, size);
        break;
    case 8:
        msgpack_pack_ext_with_body(pk, text, size, 7);
        break;
    case 9:
        size %= 20;
        msgpack_pack_array(pk, size);
        for (size_t i = 0; i < size; i++) {
            pack_random(pk, rng, depth - 1);
        }
        break;
    default:
        size %= 20;
        msgpack_pack_map(pk, size);
        for (size_t i = 0; i < 2 * size; i++) {
            pack_random(pk, rng, depth - 1);
        }
    }
}

static enum err skip_all(struct bytes input)
{
    struct reader r = reader_of(input);
    read_skip(&r);
    return reader_end(&r);
}

static void a_skip_ends_where_msgpack_c_ends(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 300; i++) {
        msgpack_sbuffer packed;
        msgpack_sbuffer_init(&packed);
        msgpack_packer pk;
        msgpack_packer_init(&pk, &packed, msgpack_sbuffer_write);
        pack_random(&pk, &rng, 4);
        struct bytes whole = bytes_of(packed.data, packed.size);
        assert_int_equal(skip_all(whole), ERR_OK);
        if (packed.size < 2000) {
            assert_whole_only(whole, skip_all);
        }
        msgpack_sbuffer_destroy(&packed);
    }
}

static void random_bytes_are_judged_as_msgpack_c_judges_them(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        uint8_t noise[24];
        size_t size = rng_range(&rng, 1, sizeof noise + 1);
        for (size_t at = 0; at < size; at++) {
            do {
                noise[at] = (uint8_t)(rng_chance(&rng, 0.5) ? rng_range(&rng, 0x80, 0xe0)
                                                            : rng_range(&rng, 0, 8));
                /* Not array 32 and map 32: msgpack-c takes memory on their word, up to 64 GiB. */
            } while (noise[at] == 0xdd || noise[at] == 0xdf);
        }
        msgpack_zone zone;
        msgpack_zone_init(&zone, 2048);
        msgpack_object object;
        size_t offset = 0;
        msgpack_unpack_return theirs =
            msgpack_unpack((const char *)noise, size, &offset, &zone, &object);
        msgpack_zone_destroy(&zone);
        struct reader r = reader_of(bytes_of(noise, size));
        struct bytes ours = read_raw(&r);
        bool whole = theirs == MSGPACK_UNPACK_SUCCESS || theirs == MSGPACK_UNPACK_EXTRA_BYTES;
        assert_int_equal(r.err == ERR_OK, whole);
        if (whole) {
            assert_int_equal(ours.size, offset);
        }
    }
}

static void nesting_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    for (int i = 0; i < READER_DEPTH_MAX; i++) {
        write_array(&b, 1);
    }
    write_nil(&b);
    assert_int_equal(skip_all(buffer_bytes(&b)), ERR_OK);
    buffer_clear(&b);
    for (int i = 0; i < 100000; i++) {
        write_array(&b, 1);
    }
    write_nil(&b);
    assert_int_equal(skip_all(buffer_bytes(&b)), ERR_INVALID);
    buffer_close(&b);
}

static void a_declared_count_is_never_more_than_the_bytes_left(void **state)
{
    (void)state;
    static const uint8_t array[] = {0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0};
    struct reader r = reader_of(bytes_of(array, sizeof array));
    assert_int_equal(read_array(&r), 0);
    assert_int_equal(r.err, ERR_TRUNCATED);
    static const uint8_t map[] = {0x82, 0xc0, 0xc0, 0xc0};
    r = reader_of(bytes_of(map, sizeof map));
    assert_int_equal(read_map(&r), 0);
    assert_int_equal(r.err, ERR_TRUNCATED);
    static const uint8_t str[] = {0xdb, 0xff, 0xff, 0xff, 0xff, 'x'};
    r = reader_of(bytes_of(str, sizeof str));
    assert_int_equal(read_str(&r, SIZE_MAX).size, 0);
    assert_int_equal(r.err, ERR_TRUNCATED);
    r = reader_of(bytes_of(str, sizeof str));
    read_str(&r, 100);
    assert_int_equal(r.err, ERR_TOO_LARGE);
}

static void the_first_error_stays_and_nothing_is_read_after_it(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_text(&b, "text");
    write_u64(&b, 7);
    struct reader r = reader_of(buffer_bytes(&b));
    assert_int_equal(read_u64(&r), 0);
    assert_int_equal(r.err, ERR_INVALID);
    assert_int_equal(read_u64(&r), 0);
    assert_false(read_bool(&r));
    read_nil(&r);
    assert_int_equal(read_raw(&r).size, 0);
    assert_int_equal(reader_end(&r), ERR_INVALID);
    buffer_close(&b);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_i64(&b, -1);
    struct reader r = reader_of(buffer_bytes(&b));
    read_u64(&r);
    assert_int_equal(r.err, ERR_INVALID);
    buffer_clear(&b);
    write_u64(&b, UINT64_MAX);
    r = reader_of(buffer_bytes(&b));
    read_i64(&r);
    assert_int_equal(r.err, ERR_INVALID);
    r = reader_of(buffer_bytes(&b));
    read_u32_max(&r, UINT32_MAX);
    assert_int_equal(r.err, ERR_INVALID);
    buffer_close(&b);
}

static void a_small_number_in_a_long_form_is_that_number(void **state)
{
    (void)state;
    static const uint8_t five[] = {0xd3, 0, 0, 0, 0, 0, 0, 0, 5, 0xcf, 0, 0, 0, 0, 0, 0, 0, 5};
    struct reader r = reader_of(bytes_of(five, sizeof five));
    assert_int_equal(read_u64(&r), 5);
    assert_int_equal(read_i64(&r), 5);
    assert_int_equal(reader_end(&r), ERR_OK);
}

static void text_with_a_zero_byte_or_too_long_is_refused(void **state)
{
    (void)state;
    char out[4];
    struct buffer b = {0};
    write_str(&b, bytes_of("a\0b", 3));
    struct reader r = reader_of(buffer_bytes(&b));
    read_text(&r, out, sizeof out);
    assert_int_equal(r.err, ERR_INVALID);
    assert_string_equal(out, "");
    buffer_clear(&b);
    write_text(&b, "abcd");
    r = reader_of(buffer_bytes(&b));
    read_text(&r, out, sizeof out);
    assert_int_equal(r.err, ERR_TOO_LARGE);
    buffer_clear(&b);
    write_text(&b, "abc");
    r = reader_of(buffer_bytes(&b));
    read_text(&r, out, sizeof out);
    assert_string_equal(out, "abc");
    buffer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_as_they_were),
        cmocka_unit_test(strings_of_every_header_size_come_back),
        cmocka_unit_test(a_skip_ends_where_msgpack_c_ends),
        cmocka_unit_test(random_bytes_are_judged_as_msgpack_c_judges_them),
        cmocka_unit_test(nesting_beyond_the_limit_is_refused),
        cmocka_unit_test(a_declared_count_is_never_more_than_the_bytes_left),
        cmocka_unit_test(the_first_error_stays_and_nothing_is_read_after_it),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(a_small_number_in_a_long_form_is_that_number),
        cmocka_unit_test(text_with_a_zero_byte_or_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
