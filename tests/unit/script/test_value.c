/* Lua values <-> MessagePack. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/json_text.h"
#include "base/rng.h"
#include "script/value.h"

static int set_up(void **ctx)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    value_open(L);
    lua_newtable(L);
    value_push_null(L);
    lua_setfield(L, -2, "null");
    lua_pushcfunction(L, value_array);
    lua_setfield(L, -2, "array");
    lua_setglobal(L, "mk");
    *ctx = L;
    return 0;
}

static int tear_down(void **ctx)
{
    lua_close(*ctx);
    return 0;
}

/* Push the value of an expression. */
static void push(lua_State *L, const char *expression)
{
    lua_pushfstring(L, "return %s", expression);
    if (luaL_dostring(L, lua_tostring(L, -1)) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    lua_remove(L, -2);
}

static void assert_encodes(lua_State *L, const char *expression, struct bytes expected)
{
    struct buffer out = {0};
    struct why why = {.text = ""};
    push(L, expression);
    if (value_encode(L, -1, SIZE_MAX, &out, &why) != ERR_OK) {
        fail_msg("%s: %s", expression, why.text);
    }
    if (!bytes_equal(buffer_bytes(&out), expected)) {
        fail_msg("%s is not encoded as expected", expression);
    }
    assert_int_equal(value_decode(L, expected, NULL, &why), ERR_OK);
    struct buffer again = {0};
    assert_int_equal(value_encode(L, -1, SIZE_MAX, &again, &why), ERR_OK);
    assert_true(bytes_equal(buffer_bytes(&again), expected));
    assert_int_equal(lua_gettop(L), 2);
    lua_settop(L, 0);
    buffer_close(&out);
    buffer_close(&again);
}
#define ENCODES(expression, literal) \
    assert_encodes(*ctx, (expression), bytes_of((literal), sizeof(literal) - 1))

static void each_kind_of_value_has_its_form(void **ctx)
{
    ENCODES("nil", "\xc0");
    ENCODES("mk.null", "\xc0");
    ENCODES("true", "\xc3");
    ENCODES("127", "\x7f");
    ENCODES("-1", "\xff");
    ENCODES("math.maxinteger", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff");
    ENCODES("math.mininteger", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00");
    ENCODES("1.0", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00");
    ENCODES("0/0", "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00");
    ENCODES("-(0/0)", "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00");
    ENCODES("'abc'", "\xa3"
                     "abc");
    ENCODES("'\\xff'", "\xc4\x01\xff");
    ENCODES("{}", "\x80");
    ENCODES("mk.array {}", "\x90");
    ENCODES("mk.array()", "\x90");
    ENCODES("mk.array { 1 }", "\x91\x01");
    ENCODES("{ 1, mk.null, {} }", "\x93\x01\xc0\x80");
    ENCODES("{ [1] = 1, [3] = 3 }", "\x82\x01\x01\x03\x03");
    ENCODES("{ 1, x = 2 }", "\x82\x01\x01\xa1x\x02");
    ENCODES("{ b = 1, a = 2, [0] = 3, [-5] = 4, [0.5] = 5 }",
            "\x85\xfb\x04\x00\x03\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\x05\xa1"
            "a\x02\xa1"
            "b\x01");
}

static void one_table_has_one_form_whatever_its_history(void **ctx)
{
    lua_State *L = *ctx;
    static const char *const histories[] = {
        "(function() local t = {} for i = 1, 9 do t[i] = i end return t end)()",
        "(function() local t = {} for i = 9, 1, -1 do t[i] = i end return t end)()",
        ("(function() local t = { x = 1, y = 2 } for i = 1, 40 do t[i] = i end t.x, t.y = nil "
         "for i = 40, 10, -1 do t[i] = nil end return t end)()"),
        "{ [5] = 5, [4] = 4, [3] = 3, [2] = 2, [1] = 1, [9] = 9, [8] = 8, [7] = 7, [6] = 6 }",
    };
    for (size_t i = 0; i < sizeof histories / sizeof *histories; i++) {
        assert_encodes(L, histories[i], bytes_of("\x99\x01\x02\x03\x04\x05\x06\x07\x08\x09", 10));
    }
}

static void assert_refused(lua_State *L, const char *expression, enum err error, const char *words)
{
    struct buffer out = {0};
    struct why why = {.text = ""};
    buffer_add_u8(&out, 'x');
    push(L, expression);
    assert_string_equal(err_name(value_encode(L, -1, 100000, &out, &why)), err_name(error));
    if (strstr(why.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", why.text, words);
    }
    assert_int_equal(out.size, 1);
    assert_int_equal(lua_gettop(L), 1);
    lua_settop(L, 0);
    buffer_close(&out);
}

static void what_is_not_data_is_refused_with_its_place(void **ctx)
{
    lua_State *L = *ctx;
    assert_refused(L, "print", ERR_INVALID, "a function is not data");
    assert_refused(L, "{ a = { 1, { b = print } } }", ERR_INVALID, "(at .a[2].b)");
    assert_refused(L, "{ [true] = 1 }", ERR_INVALID, "a key is a boolean");
    assert_refused(L, "{ x = { [{}] = 1 } }", ERR_INVALID, "a key is a table");
    assert_refused(L, "io.stdout", ERR_INVALID, "a userdata is not data");
    assert_refused(L, "coroutine.create(print)", ERR_INVALID, "a thread is not data");
    assert_refused(L, "(function() local t = {} t.t = t return t end)()", ERR_INVALID,
                   "contains itself");
    assert_refused(L, "('x'):rep(100001)", ERR_TOO_LARGE, "too large");
    assert_refused(L, "{ ('x'):rep(50000), y = { ('x'):rep(50001) } }", ERR_TOO_LARGE, "too large");
    assert_refused(L, "{ [('x'):rep(100001)] = 1 }", ERR_TOO_LARGE, "too large");
    assert_refused(L,
                   "(function() local t = {} for i = 1, 70000 do t['k' .. i] = i end return t "
                   "end)()",
                   ERR_TOO_LARGE, "entries");
}

static void malformed_input_is_refused(void **ctx)
{
    lua_State *L = *ctx;
    static const struct {
        struct bytes input;
        enum err error;
    } bad[] = {
        {{(const uint8_t *)"", 0}, ERR_TRUNCATED},
        {{(const uint8_t *)"\xc1", 1}, ERR_INVALID},
        {{(const uint8_t *)"\x01\x01", 2}, ERR_INVALID},
        {{(const uint8_t *)"\xa2\x61", 2}, ERR_TRUNCATED},
        {{(const uint8_t *)"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9}, ERR_INVALID},
        {{(const uint8_t *)"\x81\xc3\x01", 3}, ERR_INVALID},
        {{(const uint8_t *)"\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01", 11}, ERR_INVALID},
        {{(const uint8_t *)"\xd4\x01\x00", 3}, ERR_INVALID},
        {{(const uint8_t *)"\xdd\xff\xff\xff\xff", 5}, ERR_TRUNCATED},
        {{(const uint8_t *)"\xdf\x7f\xff\xff\xff\x01\x01", 7}, ERR_TRUNCATED},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct why why = {.text = ""};
        assert_int_equal(value_decode(L, bad[i].input, NULL, &why), bad[i].error);
        assert_true(strlen(why.text) > 0);
        assert_int_equal(lua_gettop(L), 0);
    }
    uint8_t deep[READER_DEPTH_MAX + 2];
    memset(deep, 0x91, sizeof deep);
    deep[READER_DEPTH_MAX] = 0xc0;
    assert_int_equal(value_decode(L, bytes_of(deep, READER_DEPTH_MAX + 1), NULL, NULL), ERR_OK);
    lua_settop(L, 0);
    deep[READER_DEPTH_MAX] = 0x91;
    deep[READER_DEPTH_MAX + 1] = 0xc0;
    assert_int_equal(value_decode(L, bytes_of(deep, READER_DEPTH_MAX + 2), NULL, NULL),
                     ERR_INVALID);
}

static void decoding_takes_no_more_memory_than_allowed(void **ctx)
{
    lua_State *L = *ctx;
    uint8_t many[10005] = {0xdd, 0, 0, 10000 >> 8, 10000 & 0xff};
    memset(many + 5, 0x90, 10000); /* 10,000 empty arrays: a byte each, a table each */
    struct value_limits limits = {.memory_bytes_max = 100000};
    assert_int_equal(value_decode(L, bytes_of(many, sizeof many), &limits, NULL), ERR_TOO_LARGE);
    limits.memory_bytes_max = 1000000;
    assert_int_equal(value_decode(L, bytes_of(many, sizeof many), &limits, NULL), ERR_OK);
}

static void utf8_is_told_from_other_bytes(void **ctx)
{
    (void)ctx;
    static const char *const valid[] = {"",
                                        "a",
                                        "æ",
                                        "€",
                                        "𝄞",
                                        "\xef\xbf\xbf",
                                        "\xf4\x8f\xbf\xbf",
                                        "01234567890123456789012345678901æ",
                                        "0123456é"};
    static const char *const invalid[] = {"\x80",
                                          "\xc0\x80",
                                          "\xc3",
                                          "\xe0\x80\x80",
                                          "\xed\xa0\x80",
                                          "\xf0\x80\x80\x80",
                                          "\xf4\x90\x80\x80",
                                          "\xf5\x80\x80\x80",
                                          "01234567890123456789012345678901\xff",
                                          "\xe2\x82",
                                          "\xe2\x82\x61"};
    for (size_t i = 0; i < sizeof valid / sizeof *valid; i++) {
        assert_true(text_is_utf8(bytes_of_string(valid[i])));
    }
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        assert_false(text_is_utf8(bytes_of_string(invalid[i])));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(each_kind_of_value_has_its_form),
        TEST(one_table_has_one_form_whatever_its_history),
        TEST(what_is_not_data_is_refused_with_its_place),
        TEST(malformed_input_is_refused),
        TEST(decoding_takes_no_more_memory_than_allowed),
        TEST(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
