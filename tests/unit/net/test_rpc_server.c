/* The RPC server over real sockets; clients by hand on the same loop, and the blocking client
 * against a server on a thread of its own. */
#include "check.h"

#include <pthread.h>

#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "wire/reader.h"
#include "wire/rpc.h"
#include "wire/writer.h"

enum { CALLS_MAX = 5000 };

static struct loop *loop;
static struct rpc_server *server;
static struct test_log test_log;
static struct rpc_call *kept[CALLS_MAX]; /* calls that "keep" leaves open */
static unsigned kept_count, requests, disconnects;
static char last_method[RPC_METHOD_MAX + 1];

/* "echo" answers its parameters, "fail" fails, "big" answers 100 kB, all others stay open. */
static void on_request(void *ctx, struct rpc_call *call, struct bytes method, struct bytes params)
{
    (void)ctx;
    requests++;
    snprintf(last_method, sizeof last_method, "%.*s", (int)method.size, (const char *)method.data);
    if (bytes_equal(method, bytes_of_string("echo"))) {
        rpc_reply(call, params);
    } else if (bytes_equal(method, bytes_of_string("fail"))) {
        rpc_fail(call, ERR_NOT_LEADER, NULL, "127.0.0.1:7127", (struct bytes){0});
    } else if (bytes_equal(method, bytes_of_string("big"))) {
        static uint8_t zeroes[100000];
        struct buffer b = {0};
        write_bin(&b, bytes_of(zeroes, sizeof zeroes));
        rpc_reply(call, buffer_bytes(&b));
        buffer_close(&b);
    } else {
        assert_true(kept_count < CALLS_MAX);
        kept[kept_count++] = call;
    }
}

static void open_server_with(struct rpc_server_options options,
                             const struct rpc_server_callbacks *callbacks)
{
    struct why why = {0};
    options.listen = loopback(0);
    test_log_init(&test_log);
    enum err e = rpc_server_open(loop, &options, callbacks, &test_log.log, &server, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
}

static void open_server(struct rpc_server_options options)
{
    open_server_with(options, &(struct rpc_server_callbacks){.on_request = on_request});
}

static int begin(void **state)
{
    (void)state;
    kept_count = requests = disconnects = 0;
    loop = loop_new();
    return 0;
}

static int end(void **state)
{
    (void)state;
    rpc_server_close(server);
    server = NULL;
    while (kept_count > 0) { /* answers after the end, to no effect */
        rpc_reply(kept[--kept_count], (struct bytes){0});
    }
    loop_free(loop);
    return 0;
}

/* ---- a client by hand ---- */

struct client {
    int fd;
    struct buffer in;
    struct rpc_scan scan;
    size_t used;
    struct rpc_message last;
};

static struct client open_client(void)
{
    struct client c = {.fd = connect_raw(rpc_server_address(server)->port)};
    uint32_t before = rpc_server_connections(server);
    run_until(loop, rpc_server_connections(server) > before);
    return c;
}

static void close_client(struct client *c)
{
    close(c->fd);
    buffer_close(&c->in);
}

static void request(struct client *c, uint32_t msgid, const char *method)
{
    struct buffer b = {0};
    rpc_write_request(&b, msgid, bytes_of_string(method), (struct bytes){0});
    send_raw(c->fd, b.data, b.size);
    buffer_close(&b);
}

/* The next message, if it is there. */
static bool received(struct client *c)
{
    is_closed(c->fd, &c->in);
    size_t size;
    if (c->in.size == c->used ||
        rpc_scan(&c->scan, bytes_of(c->in.data + c->used, c->in.size - c->used), 1 << 24, 32,
                 &size) != ERR_OK) {
        return false;
    }
    assert_int_equal(rpc_decode(bytes_of(c->in.data + c->used, size), &c->last), ERR_OK);
    c->used += size;
    return true;
}

static void a_request_is_answered(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    struct buffer b = {0};
    rpc_write_request(&b, 7, bytes_of_string("echo"), bytes_of("\x92\x01\xa1x", 4));
    send_raw(c.fd, b.data, b.size);
    run_until(loop, received(&c));
    assert_int_equal(c.last.type, RPC_RESPONSE);
    assert_int_equal(c.last.msgid, 7);
    assert_true(rpc_is_nil(c.last.error));
    assert_true(bytes_equal(c.last.result, bytes_of("\x92\x01\xa1x", 4)));
    buffer_close(&b);
    close_client(&c);
    run_until(loop, rpc_server_connections(server) == 0);
}

static void a_failure_names_code_sentence_and_leader(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "fail");
    run_until(loop, received(&c));
    struct rpc_error e;
    assert_int_equal(rpc_error_decode(c.last.error, &e), ERR_OK);
    assert_true(bytes_equal(e.code, bytes_of_string("not_leader")));
    assert_true(bytes_equal(e.message, bytes_of_string("this node is not the leader")));
    assert_true(bytes_equal(e.leader, bytes_of_string("127.0.0.1:7127")));
    close_client(&c);
}

static void calls_are_answered_later_and_in_any_order(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    for (uint32_t i = 0; i < 3; i++) {
        request(&c, i, "keep");
    }
    run_until(loop, kept_count == 3);
    assert_int_equal(rpc_server_in_flight(server), 3);
    assert_false(received(&c));
    static const uint8_t values[] = {10, 11, 12};
    static const unsigned order[] = {2, 0, 1};
    for (unsigned i = 0; i < 3; i++) {
        rpc_reply(kept[order[i]], bytes_of(&values[order[i]], 1));
    }
    kept_count = 0;
    for (unsigned i = 0; i < 3; i++) {
        run_until(loop, received(&c));
        assert_int_equal(c.last.msgid, order[i]);
        assert_int_equal(c.last.result.data[0], values[order[i]]);
    }
    assert_int_equal(rpc_server_in_flight(server), 0);
    close_client(&c);
}

static void a_call_outlives_its_connection(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "keep");
    request(&c, 2, "keep");
    run_until(loop, kept_count == 2);
    const struct linger reset = {.l_onoff = 1}; /* a mere end would leave it half open */
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close_client(&c);
    run_until(loop, !rpc_call_connected(kept[0]));
    assert_int_equal(rpc_server_connections(server), 0);
    rpc_reply(kept[0], (struct bytes){0});
    rpc_fail(kept[1], ERR_TIMEOUT, "late", NULL, (struct bytes){0});
    kept_count = 0;
    assert_int_equal(rpc_server_in_flight(server), 0);
}

static void on_disconnect(void *ctx, struct rpc_call *call)
{
    (void)ctx;
    disconnects++;
    rpc_fail(call, ERR_CANCELLED, NULL, NULL, (struct bytes){0});
}

static void a_watch_is_told_news_and_hears_of_its_end(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "watch");
    request(&c, 2, "watch");
    run_until(loop, kept_count == 2);
    assert_non_null(strstr(rpc_call_client(kept[0]), "127.0.0.1:"));
    rpc_call_on_disconnect(kept[0], on_disconnect, NULL);
    rpc_call_on_disconnect(kept[1], on_disconnect, NULL);
    assert_true(rpc_call_notify(kept[0], bytes_of_string("changed"), bytes_of("\x91\x05", 2)));
    run_until(loop, received(&c));
    assert_int_equal(c.last.type, RPC_NOTIFY);
    assert_true(bytes_equal(c.last.method, bytes_of_string("changed")));
    close_client(&c);
    run_until(loop, disconnects == 2);
    kept_count = 0;
    assert_int_equal(rpc_server_in_flight(server), 0);
}

static void a_notification_is_a_call_without_answer(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    struct buffer b = {0};
    rpc_write_notify(&b, bytes_of_string("echo"), (struct bytes){0});
    rpc_write_notify(&b, bytes_of_string("fail"), (struct bytes){0});
    rpc_write_request(&b, 3, bytes_of_string("echo"), (struct bytes){0});
    send_raw(c.fd, b.data, b.size);
    run_until(loop, received(&c));
    assert_int_equal(requests, 3);
    assert_int_equal(c.last.msgid, 3); /* the first that is answered */
    assert_false(received(&c));
    buffer_close(&b);
    close_client(&c);
}

static void requests_arrive_whole_however_they_are_cut(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    struct buffer b = {0};
    for (uint32_t i = 0; i < 3; i++) {
        rpc_write_request(&b, i, bytes_of_string("echo"), bytes_of("\x92\xa3xyz\x01", 6));
    }
    for (size_t i = 0; i < b.size; i++) {
        send_raw(c.fd, b.data + i, 1);
        loop_round(loop, 1000);
    }
    for (uint32_t i = 0; i < 3; i++) {
        run_until(loop, received(&c));
        assert_int_equal(c.last.msgid, i);
    }
    buffer_close(&b);
    close_client(&c);
}

static void a_flood_of_requests_is_answered_in_order(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    enum { COUNT = 50000 };
    struct buffer b = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        rpc_write_request(&b, i, bytes_of_string("echo"), bytes_of("\x91\xa4text", 6));
    }
    size_t sent = 0;
    uint32_t next = 0;
    uint64_t end_us = now_us() + PATIENCE_US;
    while (next < COUNT && now_us() < end_us) {
        ssize_t n = send(c.fd, b.data + sent, b.size - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        loop_round(loop, 1000);
        while (received(&c)) {
            assert_int_equal(c.last.msgid, next);
            next++;
        }
        buffer_consume(&c.in, c.used);
        c.used = 0;
    }
    assert_int_equal(next, COUNT);
    buffer_close(&b);
    close_client(&c);
}

/* ---- limits ---- */

static void too_many_open_calls_stop_the_reading_until_some_are_answered(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.in_flight_max = 10});
    struct client c = open_client();
    for (uint32_t i = 0; i < 25; i++) {
        request(&c, i, "keep");
    }
    run_until(loop, kept_count == 10);
    run_for(loop, 10000);
    assert_int_equal(kept_count, 10);
    unsigned answered = 0;
    while (answered < 25) {
        run_until(loop, kept_count > answered);
        assert_true(kept_count - answered <= 10);
        rpc_reply(kept[answered++], (struct bytes){0});
    }
    kept_count = 0;
    assert_int_equal(requests, 25);
    close_client(&c);
}

static void a_client_that_takes_no_answers_is_not_read_and_then_dropped(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.output_bytes_max = 1 << 20, .stall_timeout_ms = 10});
    struct client c = open_client();
    int small = 4096;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (uint32_t i = 0; i < 200; i++) {
        request(&c, i, "big");
    }
    run_for(loop, 50000);
    assert_true(requests < 200); /* 20 MB were asked for; it stopped reading on the way */
    run_until(loop, rpc_server_connections(server) == 0);
    close_client(&c);
}

static void a_slow_client_gets_everything(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.output_bytes_max = 1 << 18});
    struct client c = open_client();
    for (uint32_t i = 0; i < 100; i++) {
        request(&c, i, "big");
    }
    size_t bytes = 0;
    uint64_t end_us = now_us() + PATIENCE_US;
    while (bytes < 100 * 100000 && now_us() < end_us) {
        uint8_t data[50000];
        ssize_t n = recv(c.fd, data, sizeof data, 0);
        bytes += n > 0 ? (size_t)n : 0;
        loop_round(loop, 100);
    }
    assert_int_equal(requests, 100);
    assert_true(bytes >= 100 * 100000);
    close_client(&c);
}

static unsigned takes_again;

static void on_takes_again(void *ctx)
{
    (void)ctx;
    takes_again++;
}

/* One that reads nothing for now, with calls open. */
static struct client open_deaf_client(uint32_t answers)
{
    struct client c = open_client();
    unsigned before = requests;
    for (uint32_t i = 0; i < answers; i++) {
        request(&c, i, "keep");
    }
    run_until(loop, requests == before + answers);
    return c;
}

static void answer_big(struct rpc_call *call)
{
    static uint8_t zeroes[900000];
    struct buffer b = {0};
    write_bin(&b, bytes_of(zeroes, sizeof zeroes));
    rpc_reply(call, buffer_bytes(&b));
    buffer_close(&b);
}

static void a_call_takes_no_answer_before_the_others_are_read(void **state)
{
    (void)state;
    enum { CALLS = 50 };
    const struct rpc_server_callbacks callbacks = {.on_request = on_request,
                                                   .on_takes_again = on_takes_again};
    open_server_with((struct rpc_server_options){0}, &callbacks);
    takes_again = 0;
    struct client c = open_deaf_client(CALLS);
    unsigned answered = 0;
    while (answered < CALLS && rpc_call_takes_answer(kept[answered])) {
        answer_big(kept[answered++]);
        run_for(loop, 1000);
    }
    /* What the sockets of the system hold, 1 MiB, and one. */
    assert_in_range(answered, 2, 12);
    run_for(loop, 20000);
    assert_int_equal(takes_again, 0);
    size_t size = 0;
    while (answered < CALLS) {
        unsigned before = takes_again;
        uint8_t data[65536];
        while (takes_again == before) {
            ssize_t n = recv(c.fd, data, sizeof data, MSG_DONTWAIT);
            size += n > 0 ? (size_t)n : 0;
            loop_round(loop, 100);
        }
        while (answered < CALLS && rpc_call_takes_answer(kept[answered])) {
            answer_big(kept[answered++]);
        }
    }
    assert_true(size > 10 * 900000);
    kept_count = 0;
    close_client(&c);
}

static void too_much_for_all_together_stops_only_who_does_not_read(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.output_bytes_all = 3 << 20});
    struct client deaf[8];
    for (int i = 0; i < 8; i++) {
        deaf[i] = open_deaf_client(20);
    }
    /* In turn, each as long as it takes some: together they are given little more than the sum. */
    unsigned given = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 8; i++) {
            struct rpc_call *call = kept[i * 20 + round];
            if (call != NULL && rpc_call_takes_answer(call)) {
                answer_big(call);
                kept[i * 20 + round] = NULL;
                given++;
                run_for(loop, 500);
            }
        }
    }
    assert_true(given < 8 * 12);
    unsigned refused = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct rpc_call *call = kept[i * 20 + 19];
        refused += call != NULL && !rpc_call_takes_answer(call);
    }
    assert_true(refused >= 4);
    struct client good = open_client();
    for (uint32_t i = 0; i < 30; i++) {
        good.used = 0;
        buffer_clear(&good.in);
        good.scan = (struct rpc_scan){0};
        request(&good, i, "big");
        run_until(loop, received(&good));
        assert_int_equal(good.last.msgid, i);
    }
    close_client(&good);
    unsigned left = 0;
    for (unsigned i = 0; i < kept_count; i++) {
        if (kept[i] != NULL) {
            kept[left++] = kept[i];
        }
    }
    kept_count = left;
    for (int i = 0; i < 8; i++) {
        close_client(&deaf[i]);
    }
    run_until(loop, rpc_server_connections(server) == 0);
}

static void results_that_could_not_wait_are_left_out_when_far_too_many(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.output_bytes_max = 1 << 16});
    struct client c = open_deaf_client(100);
    for (unsigned i = 0; i < 100; i++) {
        answer_big(kept[i]);
    }
    kept_count = 0;
    unsigned whole = 0, left_out = 0;
    for (unsigned i = 0; i < 100; i++) {
        run_until(loop, received(&c));
        bool error = !rpc_is_nil(c.last.error);
        struct rpc_error e;
        if (error) {
            assert_int_equal(rpc_error_decode(c.last.error, &e), ERR_OK);
            assert_true(bytes_equal(e.code, bytes_of_string("outcome_unknown")));
        }
        whole += !error;
        left_out += error;
    }
    assert_int_equal(whole + left_out, 100);
    assert_in_range(whole, 1, 3);
    close_client(&c);
}

static void an_oversized_message_ends_the_connection(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.frame_bytes_max = 1000});
    struct client c = open_client();
    send_raw(c.fd,
             "\x94\x00\x01\xa4"
             "echo"
             "\x91\xc6\x00\x00\x04\x00",
             14);
    run_until(loop, is_closed(c.fd, NULL));
    assert_non_null(strstr(test_log.last, "too_large"));
    assert_int_equal(requests, 0);
    close_client(&c);
}

static void a_message_as_large_as_allowed_passes(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    enum { SIZE = (4 << 20) - 100 };
    struct buffer params = {0}, b = {0};
    write_array(&params, 1);
    uint8_t *data = calloc(1, SIZE);
    write_bin(&params, bytes_of(data, SIZE));
    rpc_write_request(&b, 1, bytes_of_string("keep"), buffer_bytes(&params));
    size_t sent = 0;
    while (sent < b.size) {
        ssize_t n = send(c.fd, b.data + sent, b.size - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        loop_round(loop, 100);
    }
    run_until(loop, kept_count == 1);
    free(data);
    buffer_close(&params);
    buffer_close(&b);
    close_client(&c);
}

static void garbage_is_closed_and_logged_once(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client good = open_client();
    static const struct {
        const char *data;
        size_t size;
    } garbage[] = {
        {"GET / HTTP/1.1\r\n\r\n", 18}, {"\x16\x03\x01\x02\x00\x01\x00", 7}, {"\xc1", 1},
        {"\x94\x01\x01\xc0\xc0", 5},  /* a response to nothing */
        {"\x94\x00\x01\x05\x90", 5},  /* a method that is a number */
        {"\x94\x00\x01\xa1m\x80", 6}, /* parameters that are a map */
        {"\x94\x94\x94\x94", 4},
    };
    for (unsigned i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        struct client c = open_client();
        send_raw(c.fd, garbage[i].data, garbage[i].size);
        if (i < 6) {
            run_until(loop, is_closed(c.fd, NULL));
        }
        if (i == 0) {
            assert_non_null(strstr(test_log.last, "HTTP"));
        }
        close_client(&c);
    }
    assert_int_equal(test_log.lines, 1);
    request(&good, 1, "echo");
    run_until(loop, received(&good));
    close_client(&good);
}

static void who_speaks_http_is_told_of_the_port(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    send_raw(c.fd, "GET /status HTTP/1.1\r\n\r\n", 24);
    run_until(loop, is_closed(c.fd, &c.in));
    assert_non_null(strstr(buffer_text(&c.in), "HTTP/1.1 400 "));
    assert_non_null(strstr(buffer_text(&c.in), "this is the client port"));
    close_client(&c);
}

static void who_says_no_more_still_gets_all_answers(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "keep");
    request(&c, 2, "echo");
    shutdown(c.fd, SHUT_WR);
    run_until(loop, received(&c));
    assert_int_equal(c.last.msgid, 2);
    run_until(loop, kept_count == 1);
    run_for(loop, 5000);
    assert_int_equal(rpc_server_connections(server), 1);
    rpc_reply(kept[--kept_count], (struct bytes){0});
    run_until(loop, received(&c));
    assert_int_equal(c.last.msgid, 1);
    run_until(loop, is_closed(c.fd, NULL));
    assert_int_equal(rpc_server_connections(server), 0);
    close_client(&c);
}

static void who_says_no_more_and_asked_nothing_is_closed(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    shutdown(c.fd, SHUT_WR);
    run_until(loop, is_closed(c.fd, NULL));
    assert_int_equal(rpc_server_connections(server), 0);
    close_client(&c);
    c = open_client(); /* half a request is no question */
    send_raw(c.fd, "\x94\x00", 2);
    shutdown(c.fd, SHUT_WR);
    run_until(loop, is_closed(c.fd, NULL));
    close_client(&c);
}

static void garbage_after_good_requests_does_not_take_their_answers_back(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "keep");
    request(&c, 2, "keep");
    run_until(loop, kept_count == 2);
    send_raw(c.fd, "garbage", 7);
    run_until(loop, is_closed(c.fd, NULL));
    assert_false(rpc_call_connected(kept[0]));
    close_client(&c);
}

static void clients_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.connections_max = 2});
    struct client a = open_client(), b = open_client();
    int third = connect_raw(rpc_server_address(server)->port);
    run_until(loop, is_closed(third, NULL));
    close(third);
    close_client(&a);
    run_until(loop, rpc_server_connections(server) == 1);
    struct client c = open_client();
    request(&c, 1, "echo");
    run_until(loop, received(&c));
    close_client(&b);
    close_client(&c);
}

static void idle_clients_are_closed_but_not_those_that_wait(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.idle_timeout_ms = 10});
    struct client idle = open_client(), waiting = open_client();
    request(&waiting, 1, "keep");
    run_until(loop, is_closed(idle.fd, NULL));
    assert_int_equal(rpc_server_connections(server), 1);
    rpc_reply(kept[0], (struct bytes){0});
    kept_count = 0;
    run_until(loop, received(&waiting));
    close_client(&idle);
    close_client(&waiting);
}

static void half_a_request_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){.stall_timeout_ms = 10});
    struct client c = open_client();
    send_raw(c.fd, "\x94\x00\x01", 3);
    run_until(loop, is_closed(c.fd, NULL));
    close_client(&c);
}

static void one_busy_client_does_not_keep_the_others_waiting(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client busy = open_client(), other = open_client();
    struct buffer b = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        rpc_write_request(&b, i, bytes_of_string("echo"), (struct bytes){0});
    }
    size_t sent = 0;
    for (ssize_t n; (n = send(busy.fd, b.data + sent, b.size - sent, MSG_NOSIGNAL)) > 0;) {
        sent += (size_t)n;
    }
    request(&other, 1, "echo");
    unsigned rounds = 0;
    while (!received(&other)) {
        loop_round(loop, 10000);
        rounds++;
    }
    assert_true(rounds <= 3);
    buffer_close(&b);
    close_client(&busy);
    close_client(&other);
}

static void a_crowd_of_busy_clients_is_served_a_slice_at_a_time(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    enum { CLIENTS = 20, REQUESTS = 2000 };
    struct client crowd[CLIENTS];
    struct buffer b = {0};
    for (uint32_t i = 0; i < REQUESTS; i++) {
        rpc_write_request(&b, i, bytes_of_string("echo"), (struct bytes){0});
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        crowd[i] = open_client();
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        send_raw(crowd[i].fd, b.data, b.size);
    }
    /* All of them are ready. One round does not take them all: a peer may have something to say. */
    loop_round(loop, 1000000);
    assert_true(requests > 0);
    assert_true(requests < CLIENTS * REQUESTS);
    run_until(loop, requests == CLIENTS * REQUESTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        close_client(&crowd[i]);
    }
    buffer_close(&b);
}

static void a_server_that_stops_accepting_still_answers(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    uint16_t port = rpc_server_address(server)->port;
    request(&c, 1, "keep");
    run_until(loop, kept_count == 1);
    rpc_server_stop_accepting(server);
    request(&c, 2, "keep");
    int late = connect_raw(port);
    run_until(loop, is_closed(late, NULL));
    close(late);
    assert_int_equal(kept_count, 1);
    rpc_reply(kept[0], (struct bytes){0});
    kept_count = 0;
    run_until(loop, received(&c));
    close_client(&c);
}

static void answers_that_are_ready_leave_before_the_server_closes(void **state)
{
    (void)state;
    open_server((struct rpc_server_options){0});
    struct client c = open_client();
    request(&c, 1, "keep");
    run_until(loop, kept_count == 1);
    rpc_fail(kept[0], ERR_SHUTDOWN, NULL, NULL, (struct bytes){0});
    kept_count = 0;
    rpc_server_close(server);
    server = NULL;
    run_until(loop, received(&c));
    assert_false(rpc_is_nil(c.last.error));
    close_client(&c);
}

/* ---- the blocking client ---- */

static void *run_server(void *arg)
{
    loop_run(arg);
    return NULL;
}

static struct rpc_client *start_threaded(pthread_t *thread)
{
    open_server((struct rpc_server_options){0});
    pthread_create(thread, NULL, run_server, loop);
    struct rpc_client *c = NULL;
    struct why why = {0};
    enum err e = rpc_client_open(rpc_server_address(server), PATIENCE_US, &c, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
    return c;
}

static void stop_threaded(pthread_t thread, struct rpc_client *c)
{
    rpc_client_close(c);
    loop_stop(loop);
    pthread_join(thread, NULL);
}

static void the_client_gets_results_and_errors(void **state)
{
    (void)state;
    pthread_t thread;
    struct rpc_client *c = start_threaded(&thread);
    struct rpc_outcome out;
    struct why why = {0};
    assert_int_equal(rpc_client_call(c, "echo", bytes_of("\x91\x05", 2), PATIENCE_US, &out, &why),
                     ERR_OK);
    assert_true(bytes_equal(out.result, bytes_of("\x91\x05", 2)));
    assert_int_equal(rpc_client_call(c, "fail", (struct bytes){0}, PATIENCE_US, &out, &why),
                     ERR_NOT_LEADER);
    assert_string_equal(why.text, "this node is not the leader");
    assert_true(bytes_equal(out.error.leader, bytes_of_string("127.0.0.1:7127")));
    assert_int_equal(rpc_client_call(c, "big", (struct bytes){0}, PATIENCE_US, &out, &why), ERR_OK);
    assert_true(out.result.size > 100000);
    stop_threaded(thread, c);
}

static void the_client_gives_up_in_time(void **state)
{
    (void)state;
    pthread_t thread;
    struct rpc_client *c = start_threaded(&thread);
    struct rpc_outcome out;
    struct why why = {0};
    uint64_t start_us = now_us();
    assert_int_equal(rpc_client_call(c, "keep", (struct bytes){0}, 20000, &out, &why), ERR_TIMEOUT);
    assert_true(now_us() - start_us >= 20000);
    /* A late answer to that is not taken for the answer to this. */
    assert_int_equal(rpc_client_call(c, "echo", bytes_of("\x91\x01", 2), PATIENCE_US, &out, &why),
                     ERR_OK);
    stop_threaded(thread, c);
}

static void the_client_pipelines(void **state)
{
    (void)state;
    pthread_t thread;
    struct rpc_client *c = start_threaded(&thread);
    uint32_t first = rpc_client_queue(c, "echo", (struct bytes){0});
    for (unsigned i = 1; i < 1000; i++) {
        rpc_client_queue(c, "echo", (struct bytes){0});
    }
    assert_int_equal(rpc_client_flush(c, PATIENCE_US, NULL), ERR_OK);
    for (unsigned i = 0; i < 1000; i++) {
        struct rpc_message m;
        assert_int_equal(rpc_client_receive(c, PATIENCE_US, &m, NULL), ERR_OK);
        assert_int_equal(m.msgid, first + i);
    }
    stop_threaded(thread, c);
}

static void the_client_tells_a_refused_connection_from_a_lost_one(void **state)
{
    (void)state;
    pthread_t thread;
    struct rpc_client *c = start_threaded(&thread);
    struct address gone = *rpc_server_address(server);
    loop_stop(loop);
    pthread_join(thread, NULL);
    rpc_server_close(server);
    server = NULL;
    struct rpc_outcome out;
    struct why why = {0};
    enum err e = rpc_client_call(c, "echo", (struct bytes){0}, PATIENCE_US, &out, &why);
    assert_true(e == ERR_OUTCOME_UNKNOWN || e == ERR_UNREACHABLE);
    rpc_client_close(c);
    assert_int_equal(rpc_client_open(&gone, PATIENCE_US, &c, &why), ERR_UNREACHABLE);
    assert_non_null(strstr(why.text, "cannot reach 127.0.0.1:"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(a_failure_names_code_sentence_and_leader),
        TEST(calls_are_answered_later_and_in_any_order),
        TEST(a_call_outlives_its_connection),
        TEST(a_watch_is_told_news_and_hears_of_its_end),
        TEST(a_notification_is_a_call_without_answer),
        TEST(requests_arrive_whole_however_they_are_cut),
        TEST(a_flood_of_requests_is_answered_in_order),
        TEST(too_many_open_calls_stop_the_reading_until_some_are_answered),
        TEST(a_client_that_takes_no_answers_is_not_read_and_then_dropped),
        TEST(a_slow_client_gets_everything),
        TEST(a_call_takes_no_answer_before_the_others_are_read),
        TEST(too_much_for_all_together_stops_only_who_does_not_read),
        TEST(results_that_could_not_wait_are_left_out_when_far_too_many),
        TEST(an_oversized_message_ends_the_connection),
        TEST(a_message_as_large_as_allowed_passes),
        TEST(garbage_is_closed_and_logged_once),
        TEST(who_speaks_http_is_told_of_the_port),
        TEST(who_says_no_more_still_gets_all_answers),
        TEST(who_says_no_more_and_asked_nothing_is_closed),
        TEST(garbage_after_good_requests_does_not_take_their_answers_back),
        TEST(clients_beyond_the_limit_are_closed),
        TEST(idle_clients_are_closed_but_not_those_that_wait),
        TEST(half_a_request_is_not_waited_for_for_ever),
        TEST(one_busy_client_does_not_keep_the_others_waiting),
        TEST(a_crowd_of_busy_clients_is_served_a_slice_at_a_time),
        TEST(a_server_that_stops_accepting_still_answers),
        TEST(answers_that_are_ready_leave_before_the_server_closes),
        TEST(the_client_gets_results_and_errors),
        TEST(the_client_gives_up_in_time),
        TEST(the_client_pipelines),
        TEST(the_client_tells_a_refused_connection_from_a_lost_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
