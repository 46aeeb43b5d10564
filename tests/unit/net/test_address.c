/* "host:port", and listening on it. */
#include "check.h"

#include <sched.h>

#include "net/resolver.h"

static void addresses_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t default_port;
        const char *host;
        uint16_t port;
        const char *again;
    } good[] = {
        {"127.0.0.1:7117", 0, "127.0.0.1", 7117, "127.0.0.1:7117"},
        {":7117", 0, "127.0.0.1", 7117, "127.0.0.1:7117"},
        {"n1.example.org", 7118, "n1.example.org", 7118, "n1.example.org:7118"},
        {"localhost:0", 7118, "localhost", 0, "localhost:0"},
        {"[::1]:80", 0, "::1", 80, "[::1]:80"},
        {"[::1]", 81, "::1", 81, "[::1]:81"},
        {"::1", 82, "::1", 82, "[::1]:82"},
    };
    for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct address a;
        char text[ADDRESS_TEXT_MAX];
        assert_int_equal(address_parse(good[i].text, good[i].default_port, &a, NULL), ERR_OK);
        assert_string_equal(a.host, good[i].host);
        assert_int_equal(a.port, good[i].port);
        assert_string_equal(address_text(&a, text), good[i].again);
    }
}

static void nonsense_is_refused_by_name(void **state)
{
    (void)state;
    static const char *bad[] = {"host",     "host:",   "host:x", "host:70000", "host:-1",
                                "[::1",     "[::1]x1", "::1",    "a b:1",      "host: 1",
                                "host:1 2", "",        "[]x:1"};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a;
        struct why why = {0};
        assert_int_equal(address_parse(bad[i], 0, &a, &why), ERR_INVALID);
        assert_non_null(strstr(why.text, bad[i]));
    }
    char long_host[400];
    memset(long_host, 'h', sizeof long_host);
    strcpy(long_host + 390, ":1");
    struct address a;
    assert_int_equal(address_parse(long_host, 0, &a, NULL), ERR_INVALID);
}

static void loopback_is_recognised(void **state)
{
    (void)state;
    static const char *yes[] = {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", ":1"};
    static const char *no[] = {"0.0.0.0:1", "10.0.0.1:1", "[::]:1", "example.org:1"};
    struct address a;
    for (unsigned i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        assert_int_equal(address_parse(yes[i], 0, &a, NULL), ERR_OK);
        assert_true(address_is_loopback(&a));
    }
    for (unsigned i = 0; i < sizeof no / sizeof no[0]; i++) {
        assert_int_equal(address_parse(no[i], 0, &a, NULL), ERR_OK);
        assert_false(address_is_loopback(&a));
    }
}

static void port_0_tells_which_port_it_became(void **state)
{
    (void)state;
    struct address a = loopback(0), bound;
    int fd;
    assert_int_equal(address_listen(&a, &fd, &bound, NULL), ERR_OK);
    assert_true(bound.port != 0);
    assert_string_equal(bound.host, "127.0.0.1");
    close(fd);
}

static void a_port_in_use_is_named_with_what_to_do(void **state)
{
    (void)state;
    struct address a = loopback(0), bound;
    int fd, second;
    assert_int_equal(address_listen(&a, &fd, &bound, NULL), ERR_OK);
    struct why why = {0};
    assert_int_equal(address_listen(&bound, &second, NULL, &why), ERR_LOCKED);
    char text[ADDRESS_TEXT_MAX];
    assert_non_null(strstr(why.text, address_text(&bound, text)));
    assert_non_null(strstr(why.text, "in use"));
    assert_non_null(strstr(why.text, "another port"));
    close(fd);
}

static void an_address_of_another_machine_is_named(void **state)
{
    (void)state;
    struct address a = {.host = "192.0.2.1", .port = 7117};
    int fd;
    struct why why = {0};
    assert_int_equal(address_listen(&a, &fd, NULL, &why), ERR_UNREACHABLE);
    assert_non_null(strstr(why.text, "192.0.2.1:7117"));
}

struct answer {
    bool came;
    bool found;
    char reason[600];
};

static void take_answer(void *ctx, const struct socket_address *address, const struct why *why)
{
    struct answer *a = ctx;
    a->came = true;
    a->found = address != NULL;
    snprintf(a->reason, sizeof a->reason, "%s", why->text);
}

static void a_look_up_answers_on_the_loop(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct answer a = {0}, b = {0};
    struct address here = loopback(7117);
    struct address nowhere = {.host = "no.such.host.invalid", .port = 1};
    resolver_start(l, &here, take_answer, &a);
    resolver_start(l, &nowhere, take_answer, &b);
    assert_false(a.came);
    run_until(l, a.came && b.came);
    assert_true(a.found);
    assert_false(b.found);
    assert_non_null(strstr(b.reason, "no.such.host.invalid"));
    loop_free(l);
}

static void a_look_up_that_is_cancelled_says_nothing(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct answer a = {0};
    struct address here = loopback(7117);
    for (int i = 0; i < 50; i++) {
        struct resolver *r = resolver_start(l, &here, take_answer, &a);
        if (i % 2 == 0) {
            sched_yield(); /* both orders of the two threads happen */
        }
        resolver_cancel(r);
    }
    run_for(l, 5000);
    assert_false(a.came);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(nonsense_is_refused_by_name),
        cmocka_unit_test(loopback_is_recognised),
        cmocka_unit_test(port_0_tells_which_port_it_became),
        cmocka_unit_test(a_port_in_use_is_named_with_what_to_do),
        cmocka_unit_test(an_address_of_another_machine_is_named),
        cmocka_unit_test(a_look_up_answers_on_the_loop),
        cmocka_unit_test(a_look_up_that_is_cancelled_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
