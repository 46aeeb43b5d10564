/* Which requests are those of other web pages. */
#include "check.h"

#include "wire/http_page.h"

static struct bytes text(const char *value)
{
    return value != NULL ? bytes_of(value, strlen(value)) : (struct bytes){0};
}

static bool is_foreign(const char *fetch_site, const char *origin)
{
    return http_page_is_foreign(&(struct http_page){
        .fetch_site = text(fetch_site), .origin = text(origin), .host = text("127.0.0.1:7129")});
}

static void whoever_is_no_browser_is_let_in(void **state)
{
    (void)state;
    assert_false(is_foreign(NULL, NULL));
}

static void a_page_of_another_host_or_port_is_foreign(void **state)
{
    (void)state;
    assert_false(is_foreign(NULL, "http://127.0.0.1:7129"));
    assert_true(is_foreign(NULL, "http://127.0.0.1:8000"));
    assert_true(is_foreign(NULL, "http://evil.example"));
    assert_true(is_foreign(NULL, "http://127.0.0.1:71290"));
    assert_true(is_foreign(NULL, "null"));
    assert_true(is_foreign(NULL, ""));
    assert_true(is_foreign(NULL, "://"));
}

static void an_origin_without_a_host_to_compare_with_is_foreign(void **state)
{
    (void)state;
    assert_true(http_page_is_foreign(&(struct http_page){.origin = text("http://a")}));
}

static void what_the_browser_says_of_the_site_counts_more(void **state)
{
    (void)state;
    assert_true(is_foreign("cross-site", NULL)); /* an image in somebody's page */
    assert_true(is_foreign("same-site", NULL));  /* another port of this machine */
    assert_true(is_foreign("", NULL));
    assert_true(is_foreign("cross-site", "http://127.0.0.1:7129"));
    assert_false(is_foreign("none", NULL)); /* typed by hand */
    assert_false(is_foreign("same-origin", NULL));
    assert_false(is_foreign("same-origin", "https://behind.a.proxy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_is_no_browser_is_let_in),
        cmocka_unit_test(a_page_of_another_host_or_port_is_foreign),
        cmocka_unit_test(an_origin_without_a_host_to_compare_with_is_foreign),
        cmocka_unit_test(what_the_browser_says_of_the_site_counts_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
