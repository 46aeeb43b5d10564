/* The client on the loop, over a Unix socket and over TCP; and where to dial whom. */
#include "check.h"

#include <sys/stat.h>

#include "net/dial_map.h"
#include "net/rpc_channel.h"
#include "net/rpc_server.h"

static struct loop *loop;
static struct rpc_server *server;
static struct rpc_channel *channel;
static struct rpc_call *kept; /* the call that "keep" leaves open */
static unsigned answers, notifies, breaks;
static struct rpc_answer last; /* without what it points to */
static char last_message[256];
static bool close_in_answer;

/* "echo" answers its parameters, "fail" fails, "notify" says something more, "keep" stays open. */
static void on_request(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params)
{
    (void)ctx;
    if (bytes_equal(method, bytes_of_string("fail"))) {
        rpc_fail(call, ERR_NOT_LEADER, "ask n2", "127.0.0.1:7127", (struct bytes){0});
    } else if (bytes_equal(method, bytes_of_string("keep"))) {
        kept = call;
    } else {
        if (bytes_equal(method, bytes_of_string("notify"))) {
            rpc_call_notify(call, bytes_of_string("event"), params);
        }
        rpc_reply(call, params);
    }
}

static void on_notify(void *ctx, struct bytes method, struct bytes params)
{
    (void)ctx, (void)params;
    assert_true(bytes_equal(method, bytes_of_string("event")));
    notifies++;
}

static void on_broken(void *ctx)
{
    (void)ctx;
    breaks++;
}

static void take_answer(void *ctx, const struct rpc_answer *answer)
{
    (void)ctx;
    answers++;
    last = *answer;
    snprintf(last_message, sizeof last_message, "%s",
             answer->message != NULL ? answer->message : "");
    if (close_in_answer) {
        rpc_channel_close(channel);
        channel = NULL;
    }
}

static void open_at(const struct address *listen)
{
    const struct rpc_server_options options = {.listen = *listen};
    const struct rpc_server_callbacks callbacks = {.on_request = on_request};
    struct why why = {""};
    enum err e = rpc_server_open(loop, &options, &callbacks, NULL, &server, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
    const struct rpc_channel_callbacks heard = {.on_notify = on_notify, .on_broken = on_broken};
    channel = rpc_channel_open(loop, rpc_server_address(server), &heard);
}

static void open_tcp(void)
{
    struct address here = loopback(0);
    open_at(&here);
}

static void ask(const char *method, uint64_t timeout_us)
{
    rpc_channel_call(channel, method, bytes_of("\x91\x07", 2), timeout_us, take_answer, NULL);
}

static int begin(void **state)
{
    (void)state;
    loop = loop_new();
    answers = notifies = breaks = 0;
    kept = NULL;
    close_in_answer = false;
    return 0;
}

static int end(void **state)
{
    (void)state;
    rpc_channel_close(channel);
    channel = NULL;
    if (kept != NULL) {
        rpc_reply(kept, (struct bytes){0});
    }
    rpc_server_close(server);
    server = NULL;
    loop_free(loop);
    return 0;
}

static void requests_are_answered_and_notifications_heard(void **state)
{
    (void)state;
    open_tcp();
    ask("echo", 0);
    assert_int_equal(answers, 0); /* never from inside */
    run_until(loop, answers == 1);
    assert_int_equal(last.err, ERR_OK);
    assert_int_equal(last.result.size, 2);
    ask("notify", 0);
    run_until(loop, answers == 2 && notifies == 1);
}

static void errors_come_with_their_code_and_sentence(void **state)
{
    (void)state;
    open_tcp();
    ask("fail", 0);
    run_until(loop, answers == 1);
    assert_int_equal(last.err, ERR_NOT_LEADER);
    assert_string_equal(last_message, "ask n2");
    assert_non_null(last.leader);
}

static void what_is_not_answered_in_time_is_a_timeout_and_the_rest_goes_on(void **state)
{
    (void)state;
    open_tcp();
    ask("keep", 10000);
    run_until(loop, answers == 1);
    assert_int_equal(last.err, ERR_TIMEOUT);
    rpc_reply(kept, (struct bytes){0}); /* too late: to no effect */
    kept = NULL;
    ask("echo", 0);
    run_until(loop, answers == 2);
    assert_int_equal(last.err, ERR_OK);
}

static void what_is_open_when_the_connection_breaks_is_unreachable(void **state)
{
    (void)state;
    open_tcp();
    ask("keep", 0);
    run_until(loop, kept != NULL);
    rpc_server_close(server);
    server = NULL;
    run_until(loop, breaks == 1);
    assert_int_equal(answers, 1);
    assert_int_equal(last.err, ERR_UNREACHABLE);
    ask("echo", 0);
    run_until(loop, answers == 2);
    assert_int_equal(last.err, ERR_UNREACHABLE);
    assert_int_equal(breaks, 1);
}

static void nobody_there_is_told_once(void **state)
{
    (void)state;
    open_tcp();
    rpc_channel_close(channel);
    struct address nowhere = loopback(1);
    const struct rpc_channel_callbacks heard = {.on_broken = on_broken};
    channel = rpc_channel_open(loop, &nowhere, &heard);
    ask("echo", 0);
    run_until(loop, breaks == 1);
    assert_int_equal(last.err, ERR_UNREACHABLE);
}

static void it_can_be_closed_from_inside_an_answer(void **state)
{
    (void)state;
    open_tcp();
    close_in_answer = true;
    ask("echo", 0);
    ask("keep", 0);
    run_until(loop, answers == 2);
    assert_int_equal(last.err, ERR_UNREACHABLE);
}

static void a_socket_with_a_path_is_for_its_user_alone_and_made_anew(void **state)
{
    (void)state;
    char directory[] = "/tmp/moonkeeper-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    FILE *left = fopen(path, "w"); /* by one that was killed */
    assert_non_null(left);
    fclose(left);
    struct address local;
    assert_int_equal(address_of_path(path, &local, NULL), ERR_OK);
    open_at(&local);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    ask("echo", 0);
    run_until(loop, answers == 1);
    assert_int_equal(last.err, ERR_OK);
    unlink(path);
    rmdir(directory);
}

static void a_path_that_is_too_long_is_named(void **state)
{
    (void)state;
    char path[200];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[sizeof path - 1] = 0;
    struct address local;
    struct why why = {""};
    assert_int_equal(address_of_path(path, &local, &why), ERR_INVALID);
    assert_non_null(strstr(why.text, "too long"));
}

static void where_to_dial_is_told_by_name(void **state)
{
    (void)state;
    struct dial_map map;
    struct why why = {""};
    assert_int_equal(dial_map_parse("n2=127.0.0.1:7200,n3=[::1]:7201", &map, &why), ERR_OK);
    assert_string_equal(dial_map_address(&map, "n2", "a:1"), "127.0.0.1:7200");
    assert_string_equal(dial_map_address(&map, "n3", "a:1"), "[::1]:7201");
    assert_string_equal(dial_map_address(&map, "n4", "a:1"), "a:1");
    assert_string_equal(dial_map_address(NULL, "n2", "a:1"), "a:1");
    static const char *const bad[] = {"n2", "=127.0.0.1:1", "n2=127.0.0.1", "n2=a:1,n3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(dial_map_parse(bad[i], &map, &why), ERR_INVALID);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(requests_are_answered_and_notifications_heard),
        TEST(errors_come_with_their_code_and_sentence),
        TEST(what_is_not_answered_in_time_is_a_timeout_and_the_rest_goes_on),
        TEST(what_is_open_when_the_connection_breaks_is_unreachable),
        TEST(nobody_there_is_told_once),
        TEST(it_can_be_closed_from_inside_an_answer),
        TEST(a_socket_with_a_path_is_for_its_user_alone_and_made_anew),
        cmocka_unit_test(a_path_that_is_too_long_is_named),
        cmocka_unit_test(where_to_dial_is_told_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
