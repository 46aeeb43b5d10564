/* The shipped key-value machine. */
#include "machine_fixture.h"

static int set_up(void **ctx)
{
    struct host *h = host_new();
    install_kv(h); /* entry 1 */
    *ctx = h;
    return 0;
}

static int tear_down(void **ctx)
{
    host_free(*ctx);
    return 0;
}

static void a_set_value_is_read_back_with_its_index_as_version(void **ctx)
{
    struct host *h = *ctx;
    assert_applies(h, "kv", "set", "{key='a', value=42}", "{index=2,version=2}");
    assert_answers(h, "kv", "get", "{key='a'}", "{value=42,version=2}");
    assert_applies(h, "kv", "set", "{key='a', value='x'}", "{index=3,version=3}");
    assert_answers(h, "kv", "get", "{key='a'}", "{value=\"x\",version=3}");
    assert_answers(h, "kv", "get", "{key='b'}", "nil");
}

static void any_value_comes_back_as_it_was(void **ctx)
{
    struct host *h = *ctx;
    static const struct {
        const char *in;
        const char *out;
    } values[] = {
        {"false", "false"},
        {"1.0", "1f"},
        {"-9223372036854775807 - 1", "-9223372036854775808"},
        {"mk.null", "nil"},
        {"''", "\"\""},
        {"{}", "{}"},
        {"mk.array{}", "[]"},
        {"{1, {2, mk.array{}}, {a={}}}", "[1,[2,[]],{a={}}]"},
        {"{a={b={c={1,mk.null,3}}}}", "{a={b={c=[1,nil,3]}}}"},
        {"{[3]=1,[-1]=2,[1.5]=3,z=4,a=5}", "{[-1]=2,[3]=1,[1.5]=3,a=5,z=4}"},
        {"{x=('y'):rep(6)}", "{x=\"yyyyyy\"}"},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char arguments[128];
        char expected[128];
        snprintf(arguments, sizeof arguments, "{key='k', value=%s}", values[i].in);
        assert_int_equal(apply(h, "kv", "set", arguments), ERR_OK);
        snprintf(expected, sizeof expected, "{value=%s,version=%llu}", values[i].out,
                 (unsigned long long)h->index);
        assert_answers(h, "kv", "get", "{key='k'}", expected);
    }
}

/* Small values are stored inline, large ones spread: nobody can tell. */
static void a_large_value_comes_back_and_goes_without_a_trace(void **ctx)
{
    struct host *h = *ctx;
    struct state_hash empty = state_hash(h->state);
    assert_int_equal(apply(h, "kv", "set", "{key='k', value=('v'):rep(1000000)}"), ERR_OK);
    assert_int_equal(query(h, "kv", "get", "{key='k'}"), ERR_OK);
    assert_in_range(h->result.size, 1000000, 1000100);
    assert_int_equal(apply(h, "kv", "set",
                           "(function() local t = {} for i = 1, 3000 do t['k' .. i] = {i, {i}} "
                           "end return {key='k', value=t} end)()"),
                     ERR_OK);
    assert_applies(h, "kv", "delete", "{key='k'}", "{deleted=true,index=4}");
    assert_true(state_hash_equal(empty, state_hash(h->state)));
}

static void a_set_may_depend_on_the_version(void **ctx)
{
    struct host *h = *ctx;
    assert_refused(h, "kv", "set", "{key='a', value=1, if_version=7}", ERR_CONFLICT,
                   "the key has version 0, not 7");
    assert_applies(h, "kv", "set", "{key='a', value=1, if_version=0}", "{index=3,version=3}");
    assert_refused(h, "kv", "set", "{key='a', value=2, if_version=0}", ERR_CONFLICT,
                   "the key has version 3, not 0");
    assert_string_equal(show(h, buffer_bytes(&h->result)),
                        "{code=\"conflict\",key=\"a\",message=\"the key has version 3, not "
                        "0\",version=3}");
    assert_applies(h, "kv", "set", "{key='a', value=2, if_version=3}", "{index=5,version=5}");
    assert_refused(h, "kv", "delete", "{key='a', if_version=3}", ERR_CONFLICT, "version 5");
    assert_applies(h, "kv", "delete", "{key='a', if_version=5}", "{deleted=true,index=7}");
    assert_applies(h, "kv", "delete", "{key='a'}", "{deleted=false,index=8}");
}

static void bad_arguments_are_rejected_with_a_reason(void **ctx)
{
    struct host *h = *ctx;
    static const struct {
        const char *command;
        const char *arguments;
        const char *reason;
    } bad[] = {
        {"set", "{value=1}", "key must be a string, not a nil"},
        {"set", "{key=1, value=1}", "key must be a string, not a number"},
        {"set", "{key='', value=1}", "1 to 1024 bytes, not 0"},
        {"set", "{key=('k'):rep(1025), value=1}", "1 to 1024 bytes, not 1025"},
        {"set", "{key='k'}", "value is missing"},
        {"set", "{key='k', value=1, if_version='x'}", "if_version must be an integer"},
        {"set", "{key='k', value=1, if_version=-1}", "if_version must be an integer"},
        {"set", "nil", "attempt to index a nil value"},
        {"delete", "{}", "key must be a string"},
        {"txn", "{}", "ops must be a list"},
        {"txn", "{ops={{op='drop'}}}", "operation 1 must have op"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(h, "kv", bad[i].command, bad[i].arguments, ERR_REJECTED, bad[i].reason);
    }
    assert_refused(h, "kv", "get", "{key='k'}", ERR_NOT_FOUND, "has no command \"get\"");
    assert_refused(h, "nope", "get", "{}", ERR_NOT_FOUND, "no machine is named \"nope\"");
    assert_int_equal(query(h, "kv", "set", "{key='k', value=1}"), ERR_NOT_FOUND);
    assert_applies(h, "kv", "set", "{key=('\\0'):rep(1024), value=1}", "{index=15,version=15}");
}

static void a_transaction_does_all_or_nothing(void **ctx)
{
    struct host *h = *ctx;
    assert_applies(h, "kv", "set", "{key='a', value=1}", "{index=2,version=2}");
    assert_refused(h, "kv", "txn",
                   "{ops={{op='set', key='b', value=1}, {op='delete', key='a'}, "
                   "{op='check', key='a', if_version=2}}}",
                   ERR_CONFLICT, "the key has version 0, not 2");
    assert_applies(h, "kv", "txn",
                   "{ops={{op='check', key='a', if_version=2}, {op='set', key='b', value=2}, "
                   "{op='get', key='b'}, {op='get', key='c'}, {op='delete', key='a'}}}",
                   "{index=4,results=[nil,{index=4,version=4},{value=2,version=4},nil,"
                   "{deleted=true,index=4}]}");
    assert_answers(h, "kv", "list", "{}", "{index=4,items=[{key=\"b\",value=2,version=4}]}");
}

static void a_list_goes_page_by_page_in_order(void **ctx)
{
    struct host *h = *ctx;
    static const char *const keys[] = {"b/2", "a", "b/1", "c", "b/3", "b", "b0"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "{key='%s', value=%zu}", keys[i], i);
        assert_int_equal(apply(h, "kv", "set", arguments), ERR_OK);
    }
    assert_answers(
        h, "kv", "list", "{prefix='b/', limit=2}",
        "{index=8,items=[{key=\"b/1\",value=2,version=4},{key=\"b/2\",value=0,version=2}],"
        "next=\"b/2\"}");
    assert_answers(h, "kv", "list", "{prefix='b/', limit=2, after='b/2'}",
                   "{index=8,items=[{key=\"b/3\",value=4,version=6}]}");
    assert_answers(h, "kv", "list", "{prefix='zz'}", "{index=8,items=[]}");
    assert_answers(h, "kv", "list", "{after='b0'}",
                   "{index=8,items=[{key=\"c\",value=3,version=5}]}");
    assert_int_equal(query(h, "kv", "list", "{limit=0}"), ERR_REJECTED);
}

static void a_page_of_large_values_is_short(void **ctx)
{
    struct host *h = *ctx;
    for (int i = 1; i <= 9; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "{key='k%d', value=('v'):rep(400000)}", i);
        assert_int_equal(apply(h, "kv", "set", arguments), ERR_OK);
    }
    assert_int_equal(query(h, "kv", "list", "{}"), ERR_OK);
    assert_in_range(h->result.size, 2 * 400000, 3 * 400000);
    assert_int_equal(query(h, "kv", "list", "{after='k8'}"), ERR_OK);
    assert_in_range(h->result.size, 400000, 400100);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_set_value_is_read_back_with_its_index_as_version),
        TEST(any_value_comes_back_as_it_was),
        TEST(a_large_value_comes_back_and_goes_without_a_trace),
        TEST(a_set_may_depend_on_the_version),
        TEST(bad_arguments_are_rejected_with_a_reason),
        TEST(a_transaction_does_all_or_nothing),
        TEST(a_list_goes_page_by_page_in_order),
        TEST(a_page_of_large_values_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
