/* Leases, fences and queues of the shipped key-value machine. Between two entries of these tests
 * one millisecond passes, and as much more as pass() says. */
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

static void pass(struct host *h, int64_t ms)
{
    h->passed_ms += ms;
}

/* In how many ms the machine wants to be woken by an entry of now; -1: not at all. */
static int64_t wake_in_ms(struct host *h)
{
    const struct machine_at now = {
        .index = h->index, .term = h->term, .time_ms = 1000000 + (int64_t)h->index + h->passed_ms};
    int64_t in_ms;
    struct state_hash before = state_hash(h->state);
    bool wanted = machines_wake(h->machines, 0, &now, &in_ms, &h->why);
    assert_string_equal(h->why.text, "");
    assert_true(state_hash_equal(before, state_hash(h->state)));
    return wanted ? in_ms : -1;
}

static void a_lease_ends_when_it_is_not_kept_and_takes_its_keys_along(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(wake_in_ms(h), -1);
    assert_applies(h, "kv", "lease_grant", "{ttl_ms=1000}",
                   "{deleted=[],id=2,index=2,ttl_ms=1000}");
    assert_int_equal(wake_in_ms(h), 1000);
    assert_applies(h, "kv", "set", "{key='a', value=1, lease=2}", "{index=3,version=3}");
    assert_applies(h, "kv", "set", "{key='b', value=2}", "{index=4,version=4}");
    assert_answers(h, "kv", "get", "{key='a'}", "{lease=2,value=1,version=3}");
    pass(h, 900);
    assert_int_equal(wake_in_ms(h), 98);
    assert_applies(h, "kv", "wake", "nil", "{deleted=[],index=5}"); /* too early: nothing */
    assert_applies(h, "kv", "lease_keep", "{id=2}", "{deleted=[],ended=false,index=6}");
    assert_int_equal(wake_in_ms(h), 1000);
    pass(h, 998);
    assert_int_equal(wake_in_ms(h), 2);
    assert_applies(h, "kv", "wake", "nil", "{deleted=[],index=7}");
    assert_applies(h, "kv", "wake", "nil", "{deleted=[\"a\"],index=8}");
    assert_answers(h, "kv", "get", "{key='a'}", "nil");
    assert_answers(h, "kv", "get", "{key='b'}", "{value=2,version=4}");
    assert_int_equal(wake_in_ms(h), -1);
    assert_applies(h, "kv", "lease_keep", "{id=2}", "{deleted=[],ended=true,index=9}");
    assert_refused(h, "kv", "set", "{key='a', value=1, lease=2}", ERR_NOT_FOUND, "has ended");
}

static void a_lease_outlives_a_failover_by_what_it_had_left(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=1000}"), ERR_OK);
    pass(h, 599);
    assert_applies(h, "kv", "wake", "nil", "{deleted=[],index=3}"); /* 600 ms of it are over */
    h->term = 2;
    pass(h, 3600 * 1000);               /* nobody led, or the new leader's wall clock is ahead */
    assert_int_equal(wake_in_ms(h), 0); /* the new leader starts its clock at once */
    assert_applies(h, "kv", "wake", "nil", "{deleted=[],index=4}");
    assert_int_equal(wake_in_ms(h), 400);
    assert_answers(h, "kv", "lease", "{id=2}", "{id=2,keys=0,remaining_ms=400,ttl_ms=1000}");
    pass(h, -7200 * 1000); /* and a clock that is behind ends nothing, and prolongs nothing */
    h->term = 3;
    assert_applies(h, "kv", "wake", "nil", "{deleted=[],index=5}");
    assert_int_equal(wake_in_ms(h), 400);
    pass(h, 399);
    assert_applies(h, "kv", "lease_keep", "{id=2}", "{deleted=[],ended=true,index=6}");
}

static void a_key_set_anew_without_the_lease_stays(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=1000}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='a', value=1, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='a', value=2}"), ERR_OK);
    assert_applies(h, "kv", "lease_revoke", "{id=2}", "{deleted=[],ended=true,index=5}");
    assert_answers(h, "kv", "get", "{key='a'}", "{value=2,version=4}");
}

static void keys_that_are_gone_do_not_count_for_their_lease(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=60000}"), ERR_OK);
    for (int i = 0; i < 1100; i++) { /* more than a lease may hold at a time */
        char arguments[64];
        snprintf(arguments, sizeof arguments, "{key='%d', value=1, lease=2}", i);
        assert_int_equal(apply(h, "kv", "set", arguments), ERR_OK);
        snprintf(arguments, sizeof arguments, "{key='%d'}", i);
        assert_int_equal(apply(h, "kv", "delete", arguments), ERR_OK);
    }
    assert_int_equal(apply(h, "kv", "set", "{key='a', value=1, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='b', value=1, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='b', value=2, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='a', value=2}"), ERR_OK);
    pass(h, -(int64_t)h->index); /* no time has gone by */
    assert_answers(h, "kv", "lease", "{id=2}", "{id=2,keys=1,remaining_ms=60000,ttl_ms=60000}");
    assert_applies(h, "kv", "lease_revoke", "{id=2}", "{deleted=[\"b\"],ended=true,index=2207}");
    assert_answers(h, "kv", "get", "{key='a'}", "{value=2,version=2206}");
}

static void a_lease_leaves_no_trace_when_it_is_over(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "wake", "nil"), ERR_OK); /* the clock runs */
    struct state_hash empty = state_hash(h->state);
    static const struct {
        const char *command, *arguments;
    } life[] = {
        {"lease_grant", "{ttl_ms=1000}"},
        {"set", "{key='a', value=1, lease=3}"},
        {"lease_keep", "{id=3}"},
        {"lease_revoke", "{id=3}"},
    };
    for (size_t i = 0; i < sizeof life / sizeof *life; i++) {
        pass(h, -1); /* no time goes by */
        assert_int_equal(apply(h, "kv", life[i].command, life[i].arguments), ERR_OK);
        assert_false(i < 3 && state_hash_equal(empty, state_hash(h->state)));
    }
    assert_true(state_hash_equal(empty, state_hash(h->state)));
}

static void leases_end_in_the_order_of_their_deadlines_some_at_a_time(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=3000}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=1000}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='late', value=1, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "set", "{key='soon', value=1, lease=3}"), ERR_OK);
    pass(h, 2000);
    assert_applies(h, "kv", "wake", "nil", "{deleted=[\"soon\"],index=6}");
    for (int i = 0; i < 300; i++) {
        assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=400}"), ERR_OK);
    }
    pass(h, 600);
    for (int i = 0; i < 2; i++) {
        assert_applies(h, "kv", "wake", "nil",
                       i == 0 ? "{deleted=[],index=307}" : "{deleted=[],index=308}");
        assert_int_equal(wake_in_ms(h), 0); /* more to do, in a command of its own */
    }
    assert_int_equal(apply(h, "kv", "wake", "nil"), ERR_OK);
    assert_in_range(wake_in_ms(h), 1, 500); /* "late" is left */
}

static void a_lease_holds_so_many_keys_and_no_more(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "kv", "lease_grant", "{ttl_ms=86400000}"), ERR_OK);
    for (int i = 0; i < 1024; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "{key='k%d', value=1, lease=2}", i);
        assert_int_equal(apply(h, "kv", "set", arguments), ERR_OK);
    }
    assert_refused(h, "kv", "set", "{key='more', value=1, lease=2}", ERR_REJECTED,
                   "a lease holds 1024 keys at most");
    assert_int_equal(apply(h, "kv", "set", "{key='k7', value=2, lease=2}"), ERR_OK);
    assert_int_equal(apply(h, "kv", "lease_revoke", "{id=2}"), ERR_OK);
    assert_int_equal(query(h, "kv", "list", "{}"), ERR_OK);
    char expected[64];
    snprintf(expected, sizeof expected, "{index=%llu,items=[]}", (unsigned long long)h->index);
    assert_string_equal(show(h, buffer_bytes(&h->result)), expected);
}

static void only_the_newest_token_passes_a_fence(void **ctx)
{
    struct host *h = *ctx;
    assert_applies(h, "kv", "fence", "{name='disk', token=10}", "{index=2}");
    assert_applies(h, "kv", "set", "{key='a', value=1, fence={name='disk', token=10}}",
                   "{index=3,version=3}");
    assert_applies(h, "kv", "set", "{key='a', value=2, fence={name='disk', token=12}}",
                   "{index=4,version=4}");
    assert_refused(h, "kv", "set", "{key='a', value=3, fence={name='disk', token=10}}", ERR_FENCED,
                   "the token 10 of disk is not the newest: 12 is");
    assert_refused(h, "kv", "delete", "{key='a', fence={name='disk', token=11}}", ERR_FENCED,
                   "not the newest");
    assert_refused(h, "kv", "fence", "{name='disk', token=11}", ERR_FENCED, "not the newest");
    assert_applies(h, "kv", "fence", "{name='other', token=1}", "{index=8}");
    assert_refused(h, "kv", "txn",
                   "{ops={{op='set', key='b', value=1}, {op='delete', key='a', "
                   "fence={name='disk', token=1}}}}",
                   ERR_FENCED, "not the newest");
    assert_refused(h, "kv", "fence", "{name='', token=1}", ERR_REJECTED, "1 to 256 bytes");
    assert_refused(h, "kv", "fence", "{name='x', token=0}", ERR_REJECTED, "positive integer");
}

static void created_keys_queue_in_the_order_of_the_log(void **ctx)
{
    struct host *h = *ctx;
    assert_applies(h, "kv", "create", "{prefix='q/', value='first'}",
                   "{index=2,key=\"q/0000000000000002\",version=2}");
    assert_applies(h, "kv", "create", "{prefix='q/', value='second'}",
                   "{index=3,key=\"q/0000000000000003\",version=3}");
    assert_answers(h, "kv", "list", "{prefix='q/', limit=1}",
                   "{index=3,items=[{key=\"q/0000000000000002\",value=\"first\",version=2}],"
                   "next=\"q/0000000000000002\"}");
    assert_refused(h, "kv", "create", "{prefix=('p'):rep(1009), value=1}", ERR_REJECTED,
                   "1 to 1024 bytes, not 1025");
    assert_refused(h, "kv", "create", "{value=1}", ERR_REJECTED, "prefix must be a string");
    assert_refused(h, "kv", "txn",
                   "{ops={{op='create', prefix='x', value=1}, {op='create', prefix='x', value=2}}}",
                   ERR_REJECTED, "already; a transaction creates one key under a prefix");
    assert_applies(h, "kv", "set", "{key='q/0000000000000008', value=1}", "{index=7,version=7}");
    assert_refused(h, "kv", "create", "{prefix='q/', value=1}", ERR_REJECTED,
                   "there is a key 'q/0000000000000008' already");
}

static void bad_leases_are_rejected_with_a_reason(void **ctx)
{
    struct host *h = *ctx;
    assert_refused(h, "kv", "lease_grant", "{ttl_ms=99}", ERR_REJECTED, "from 100 to 86400000");
    assert_refused(h, "kv", "lease_grant", "{}", ERR_REJECTED, "ttl_ms must be an integer");
    assert_refused(h, "kv", "lease_keep", "{id='x'}", ERR_REJECTED, "named by the id");
    assert_refused(h, "kv", "set", "{key='a', value=1, lease='x'}", ERR_REJECTED,
                   "named by the id");
    assert_applies(h, "kv", "lease_revoke", "{id=77}", "{deleted=[],ended=true,index=6}");
    assert_answers(h, "kv", "lease", "{id=77}", "nil");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_ends_when_it_is_not_kept_and_takes_its_keys_along),
        TEST(a_lease_outlives_a_failover_by_what_it_had_left),
        TEST(a_key_set_anew_without_the_lease_stays),
        TEST(keys_that_are_gone_do_not_count_for_their_lease),
        TEST(a_lease_leaves_no_trace_when_it_is_over),
        TEST(leases_end_in_the_order_of_their_deadlines_some_at_a_time),
        TEST(a_lease_holds_so_many_keys_and_no_more),
        TEST(only_the_newest_token_passes_a_fence),
        TEST(created_keys_queue_in_the_order_of_the_log),
        TEST(bad_leases_are_rejected_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
