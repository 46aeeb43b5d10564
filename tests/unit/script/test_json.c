/* JSON <-> MessagePack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "script/json.h"
#include "wire/writer.h"

static void assert_comes_back(const char *in, const char *expected)
{
    struct buffer packed = {0};
    struct buffer text = {0};
    struct why why = {.text = ""};
    if (json_to_msgpack(bytes_of_string(in), &packed, &why) != ERR_OK ||
        json_from_msgpack(buffer_bytes(&packed), NULL, &text, &why) != ERR_OK) {
        fail_msg("%s: %s", in, why.text);
    }
    assert_string_equal(buffer_text(&text), expected);
    buffer_close(&packed);
    buffer_close(&text);
}

static void assert_refused(struct bytes in, enum err error, const char *words)
{
    struct buffer packed = {0};
    struct why why = {.text = ""};
    buffer_add_u8(&packed, 'x');
    assert_int_equal(json_to_msgpack(in, &packed, &why), error);
    assert_int_equal(packed.size, 1);
    if (strstr(why.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
    }
    buffer_close(&packed);
}

static void what_goes_in_comes_back(void **ctx)
{
    (void)ctx;
    static const char *const same[] = {
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.0",
        "0.1",
        "-2.5e-10",
        "1.5e+300",
        "9223372036854775807",
        "[]",
        "{}",
        "[[],{}]",
        "[null,1]",
        "-9223372036854775808",
        "\"\"",
        "\"æ\"",
        "\"\\u0000\"",
        "\"\\n\\\"\\\\\"",
        "{\"b\":1,\"a\":{\"c\":[]}}",
        "1e+20",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_comes_back(same[i], same[i]);
    }
    assert_comes_back(" [ 1 , 2.50, \"\\u00e6\" ] ", "[1,2.5,\"æ\"]");
    assert_comes_back("1e2", "100.0");
    assert_comes_back("-0.0", "-0.0");
    assert_comes_back("3.141592653589793", "3.141592653589793");
}

static void errors_say_where(void **ctx)
{
    (void)ctx;
    assert_refused(bytes_of_string("[1,\n  2,\n  oops]"), ERR_INVALID, "line 3, column ");
    assert_refused(bytes_of_string(""), ERR_INVALID, "line 1");
    assert_refused(bytes_of_string("[1] 2"), ERR_INVALID, "end of file expected");
    assert_refused(bytes_of_string("{\"a\":1,\"a\":2}"), ERR_INVALID, "duplicate");
    assert_refused(bytes_of_string("9223372036854775808"), ERR_INVALID, "integer");
    assert_refused(bytes_of_string("1e999"), ERR_INVALID, "overflow");
    assert_refused(bytes_of_string("NaN"), ERR_INVALID, "line 1");
    assert_refused(bytes_of_string("\"\xff\""), ERR_INVALID, "decode byte 0xff");
    assert_refused(bytes_of_string("[[[[[[[[[[[[[[[[[[[[[[[[[\"x\"]]]]]]]]]]]]]]]]]]]]]]]]]"),
                   ERR_INVALID, "line 1, column 25: nested deeper than 24");
}

static void a_bomb_is_refused_before_memory_is_taken(void **ctx)
{
    (void)ctx;
    size_t size = 1024 * 1024;
    char *text = malloc(size);
    memset(text, '[', size);
    assert_refused(bytes_of(text, size), ERR_INVALID, "nested");
    for (size_t i = 0; i < size; i += 2) {
        text[i] = i == 0 ? '[' : ',';
        text[i + 1] = ' ';
    }
    for (size_t i = 1; i + 3 < size; i += 3) {
        memcpy(text + i, "[],", 3);
    }
    assert_refused(bytes_of(text, size), ERR_TOO_LARGE, "262144 objects and arrays");
    free(text);
    struct bytes huge = {.data = (const uint8_t *)"", .size = (size_t)JSON_BYTES_MAX + 1};
    assert_refused(huge, ERR_TOO_LARGE, "limit");
}

static void what_json_cannot_say_is_refused(void **ctx)
{
    (void)ctx;
    struct buffer value = {0};
    struct buffer text = {0};
    struct why why;
    write_f64(&value, __builtin_nan(""));
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), NULL, &text, &why), ERR_INVALID);
    buffer_clear(&value);
    write_bin(&value, bytes_of("\xff", 1));
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), NULL, &text, &why), ERR_INVALID);
    buffer_clear(&value);
    write_map(&value, 1);
    write_u64(&value, 1);
    write_nil(&value);
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), NULL, &text, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "keys that are no strings"));
    value.size--;
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), NULL, &text, &why), ERR_INVALID);
    assert_int_equal(text.size, 0);
    buffer_close(&value);
    buffer_close(&text);
}

static void indented_text_is_for_people(void **ctx)
{
    (void)ctx;
    struct buffer packed = {0};
    struct buffer text = {0};
    struct json_style style = {.indent = 2};
    assert_int_equal(json_to_msgpack(bytes_of_string("{\"a\":[1,{}],\"b\":[]}"), &packed, NULL),
                     ERR_OK);
    assert_int_equal(json_from_msgpack(buffer_bytes(&packed), &style, &text, NULL), ERR_OK);
    assert_string_equal(buffer_text(&text), "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
    buffer_close(&packed);
    buffer_close(&text);
}

static void what_json_cannot_say_is_shown_to_people(void **ctx)
{
    (void)ctx;
    const struct json_style style = {.lenient = true};
    struct buffer value = {0}, text = {0};
    write_array(&value, 6);
    write_f64(&value, __builtin_nan(""));
    write_bin(&value, bytes_of("\xff\x00\x01\x02", 4));
    write_bin(&value, bytes_of_string("text"));
    write_str(&value, bytes_of("a\xffz\x1b", 4));
    write_map(&value, 2);
    write_u64(&value, 1);
    write_bool(&value, true);
    write_bin(&value, bytes_of("\xfe", 1));
    write_nil(&value);
    buffer_add(&value, "\xd4\x05\x00", 3); /* an extension */
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), &style, &text, NULL), ERR_OK);
    assert_string_equal(buffer_text(&text), "[null,{\"base64\":\"/wABAg==\"},\"text\","
                                            "\"a\\ufffdz\\u001b\","
                                            "{\"1\":true,\"\\ufffd\":null},null]");
    value.size--;
    buffer_clear(&text);
    assert_int_equal(json_from_msgpack(buffer_bytes(&value), &style, &text, NULL), ERR_INVALID);
    buffer_close(&value);
    buffer_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_back),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(a_bomb_is_refused_before_memory_is_taken),
        cmocka_unit_test(what_json_cannot_say_is_refused),
        cmocka_unit_test(what_json_cannot_say_is_shown_to_people),
        cmocka_unit_test(indented_text_is_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
