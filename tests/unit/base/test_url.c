/* URLs: what is accepted means one thing only, and nothing in it can end a request line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/url.h"

static void a_url_is_taken_apart(void **state)
{
    (void)state;
    struct url u;
    char text[URL_TEXT_MAX];
    assert_int_equal(url_parse("HTTP://Hook.Example:8080/a/b?c=d#e", &u, NULL), ERR_OK);
    assert_false(u.tls);
    assert_string_equal(u.host, "hook.example");
    assert_int_equal(u.port, 8080);
    assert_string_equal(u.target, "/a/b?c=d");
    assert_string_equal(url_text(&u, text), "http://hook.example:8080/a/b?c=d");
    assert_string_equal(url_host_text(&u, text), "hook.example:8080");
}

static void what_is_left_out_has_its_default(void **state)
{
    (void)state;
    static const struct {
        const char *given, *same;
    } cases[] = {
        {"http://a", "http://a/"},
        {"https://a?b", "https://a/?b"},
        {"https://a:443/", "https://a/"},
        {"http://a:443/", "http://a:443/"},
        {"http://[::1]:80/x", "http://[::1]/x"},
        {"https://[FE80::1]:1", "https://[fe80::1]:1/"},
        {"http://192.0.2.1#x", "http://192.0.2.1/"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct url u;
        char text[URL_TEXT_MAX];
        assert_int_equal(url_parse(cases[i].given, &u, NULL), ERR_OK);
        assert_string_equal(url_text(&u, text), cases[i].same);
    }
}

static void what_is_no_url_is_refused_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "begins neither with http://"},
        {"ftp://a/", "begins neither with http://"},
        {"http:/a", "begins neither with http://"},
        {"httpx://a", "begins neither with http://"},
        {"http://", "no host"},
        {"http:///x", "no host"},
        {"http://a:/", "no host"},
        {"http://a:0/", "no host"},
        {"http://a:65536/", "no host"},
        {"http://a:1x/", "no host"},
        {"http://a b/", "no host"},
        {"http://[::1/", "no host"},
        {"http://[::1]x/", "no host"},
        {"http://me:secret@a/", "authorization"},
        {"http://a/b c", "percent-encoded"},
        {"http://a/b\r\nX: y", "percent-encoded"},
        {"http://a/\xc3\xa4", "percent-encoded"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct url u;
        struct why why = {""};
        assert_int_equal(url_parse(cases[i].text, &u, &why), ERR_INVALID);
        if (strstr(why.text, cases[i].why) == NULL) {
            fail_msg("%s: expected \"%s\" in \"%s\"", cases[i].text, cases[i].why, why.text);
        }
    }
}

static void a_url_that_is_too_long_is_refused(void **state)
{
    (void)state;
    static char text[URL_TEXT_MAX * 2];
    struct url u;
    strcpy(text, "http://a/");
    memset(text + 9, 'x', URL_TARGET_MAX);
    assert_int_equal(url_parse(text, &u, NULL), ERR_INVALID);
    text[9 + URL_TARGET_MAX - 1] = 0;
    assert_int_equal(url_parse(text, &u, NULL), ERR_OK);
    assert_int_equal(strlen(u.target), URL_TARGET_MAX);
    memset(text + 7, 'h', 300);
    text[307] = 0;
    assert_int_equal(url_parse(text, &u, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_is_taken_apart),
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(what_is_no_url_is_refused_in_words),
        cmocka_unit_test(a_url_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
