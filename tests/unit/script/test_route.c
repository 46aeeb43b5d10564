/* Patterns of paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "script/route.h"

/* What the parts are, "name=value;name=value;"; NULL: no match. */
static const char *match(const char *pattern, const char *path)
{
    static struct buffer text;
    struct route_part parts[ROUTE_NAMES_MAX];
    assert_int_equal(route_check(pattern, NULL), ERR_OK);
    int count = route_match(pattern, path, parts);
    buffer_clear(&text);
    for (int i = 0; i < count; i++) {
        buffer_add_bytes(&text, parts[i].name);
        buffer_add_u8(&text, '=');
        buffer_add_bytes(&text, parts[i].value);
        buffer_add_u8(&text, ';');
    }
    return count < 0 ? NULL : buffer_text(&text);
}

static void a_pattern_matches_whole_paths(void **state)
{
    (void)state;
    assert_string_equal(match("/a/b", "/a/b"), "");
    assert_null(match("/a/b", "/a/b/"));
    assert_null(match("/a/b", "/a"));
    assert_null(match("/a/b", "/a/bc"));
    assert_null(match("/a", "/a/b"));
    assert_null(match("/a", ""));
    assert_null(match("/a", "a"));
    assert_string_equal(match("/a/", "/a/"), "");
}

static void names_stand_for_segments(void **state)
{
    (void)state;
    assert_string_equal(match("/a/:id/:what", "/a/1/log"), "id=1;what=log;");
    assert_null(match("/a/:id", "/a/"));
    assert_null(match("/a/:id", "/a/1/2"));
    assert_string_equal(match("/:x/b", "/:y/b"), "x=:y;");
    assert_string_equal(match("/a/*rest", "/a/b//c/"), "rest=b//c/;");
    assert_string_equal(match("/a/*rest", "/a/"), "rest=;");
    assert_null(match("/a/*rest", "/a"));
    assert_string_equal(match("/*all", "/"), "all=;");
}

static void the_more_that_is_given_the_more_it_counts(void **state)
{
    (void)state;
    assert_true(route_compare("/a/b", "/a/:x") < 0);
    assert_true(route_compare("/a/:x", "/a/*x") < 0);
    assert_true(route_compare("/a/*x", "/:y/b") < 0);
    assert_int_equal(route_compare("/a/:x/c", "/a/:y/c"), 0);
    assert_int_equal(route_compare("/a/*x", "/a/*y"), 0);
    assert_int_not_equal(route_compare("/a", "/a/"), 0);
}

static void what_is_no_pattern_is_refused(void **state)
{
    (void)state;
    static char many[ROUTE_BYTES_MAX + 2];
    static const char *const wrong[] = {"", "a", "/:", "/*", "/:a b", "/*a/b", "/:a:b", many};
    for (int i = 0; i <= ROUTE_NAMES_MAX; i++) {
        strcat(many, "/:a");
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct why why = {""};
        assert_int_equal(route_check(wrong[i], &why), ERR_INVALID);
        assert_string_not_equal(why.text, "");
    }
    memset(many, '/', sizeof many - 1);
    assert_int_equal(route_check(many, NULL), ERR_INVALID);
}

static void the_paths_of_the_node_are_its_own(void **state)
{
    (void)state;
    static const char *const own[] = {"/", "/status", "/kv", "/kv/a", "/kv/:key", "/events"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        assert_int_equal(route_check(own[i], NULL), ERR_EXISTS);
    }
    assert_int_equal(route_check("/status/mine", NULL), ERR_OK);
    assert_int_equal(route_check("/kvs", NULL), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_matches_whole_paths),
        cmocka_unit_test(names_stand_for_segments),
        cmocka_unit_test(the_more_that_is_given_the_more_it_counts),
        cmocka_unit_test(what_is_no_pattern_is_refused),
        cmocka_unit_test(the_paths_of_the_node_are_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
