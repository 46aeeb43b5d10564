/* The HTTP server, spoken to by hand. */
#include "check.h"

#include "net/http_server.h"
#include "wire/reader.h"
#include "wire/rpc.h"

static struct loop *loop;
static struct http_server *server;
static struct http_call *kept;
static unsigned disconnects;
static char seen[512];

static void on_request(void *ctx, struct http_call *call, const struct http_request *r)
{
    (void)ctx;
    char lag[8] = "none";
    http_query(r, "lag", lag, sizeof lag);
    const char *agent = http_header(call, "user-agent");
    snprintf(seen, sizeof seen, "%d %s ?%s lag=%s agent=%s body=%.*s", (int)r->method, r->path,
             r->query, lag, agent == NULL ? "" : agent, (int)r->body.size,
             (const char *)r->body.data);
    if (strcmp(r->path, "/later") == 0) {
        kept = call;
    } else if (strcmp(r->path, "/fail") == 0) {
        http_fail(call, 503, ERR_NOT_LEADER, "no \"leader\"\n");
    } else {
        http_set_header(call, "X-Node", "n1");
        http_reply(call, 200, "text/plain", bytes_of_string("fine"));
    }
}

static int begin(void **state)
{
    (void)state;
    kept = NULL;
    disconnects = 0;
    loop = loop_new();
    const struct http_server_options options = {.listen = loopback(0), .body_bytes_max = 10000};
    const struct http_server_callbacks callbacks = {.on_request = on_request};
    assert_int_equal(http_server_open(loop, &options, &callbacks, NULL, &server, NULL), ERR_OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_server_close(server);
    loop_free(loop);
    return 0;
}

/* Send a request and wait for the end of the connection (or for what is expected). */
static void exchange(const char *request, const char *expected, struct buffer *in)
{
    int fd = connect_raw(http_server_address(server)->port);
    size_t size = strlen(request);
    run_until(loop, send(fd, request, size, MSG_NOSIGNAL) == (ssize_t)size);
    run_until(loop, is_closed(fd, in) || strstr(buffer_text(in), expected) != NULL);
    if (strstr(buffer_text(in), expected) == NULL) {
        fail_msg("expected \"%s\" in: %s", expected, buffer_text(in));
    }
    close(fd);
}

static void a_request_is_answered(void **state)
{
    (void)state;
    struct buffer in = {0};
    exchange("GET /a%20b/c?lag=5&x=1 HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\n\r\n", "fine", &in);
    assert_string_equal(seen, "0 /a b/c ?lag=5&x=1 lag=5 agent=me body=");
    assert_non_null(strstr(buffer_text(&in), "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(buffer_text(&in), "X-Node: n1\r\n"));
    assert_non_null(strstr(buffer_text(&in), "Content-Length: 4\r\n"));
    buffer_close(&in);
}

static void a_body_arrives(void **state)
{
    (void)state;
    struct buffer in = {0};
    exchange("PUT /kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "fine", &in);
    assert_string_equal(seen, "3 /kv/x ? lag=none agent= body=hello");
    buffer_close(&in);
}

static void an_answer_to_head_has_no_body(void **state)
{
    (void)state;
    struct buffer in = {0};
    exchange("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Content-Length: 4", &in);
    assert_null(strstr(buffer_text(&in), "fine"));
    buffer_close(&in);
}

static void a_failure_is_json(void **state)
{
    (void)state;
    struct buffer in = {0};
    exchange("GET /fail HTTP/1.1\r\nHost: x\r\n\r\n",
             "{\"error\":{\"code\":\"not_leader\",\"message\":\"no \\\"leader\\\"\\n\"}}", &in);
    assert_non_null(strstr(buffer_text(&in), "HTTP/1.1 503"));
    buffer_close(&in);
}

static void a_call_is_answered_later(void **state)
{
    (void)state;
    int fd = connect_raw(http_server_address(server)->port);
    static const char request[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, kept != NULL);
    http_reply(kept, 200, "text/plain", bytes_of_string("at last"));
    struct buffer in = {0};
    run_until(loop, !is_closed(fd, &in) && strstr(buffer_text(&in), "at last") != NULL);
    /* The connection serves the next request. */
    run_until(loop, send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL) > 0);
    run_until(loop, !is_closed(fd, &in) && strstr(buffer_text(&in), "fine") != NULL);
    close(fd);
    run_for(loop, 5000);
    buffer_close(&in);
}

static void a_call_outlives_its_connection_and_the_server(void **state)
{
    (void)state;
    static const char request[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = connect_raw(http_server_address(server)->port);
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, kept != NULL);
    close(fd);
    run_for(loop, 5000);
    http_reply(kept, 200, "text/plain", bytes_of_string("to nobody"));

    kept = NULL;
    fd = connect_raw(http_server_address(server)->port);
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, kept != NULL);
    http_server_close(server);
    server = NULL;
    assert_null(http_header(kept, "Host"));
    http_set_header(kept, "X", "y");
    http_fail(kept, 500, ERR_SHUTDOWN, NULL);
    close(fd);
}

static void on_disconnect(void *ctx, struct http_call *call)
{
    (void)ctx, (void)call;
    disconnects++;
}

static void a_stream_sends_pieces_and_hears_of_its_end(void **state)
{
    (void)state;
    static const char request[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = connect_raw(http_server_address(server)->port);
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, kept != NULL);
    http_stream(kept, 200, "text/event-stream", on_disconnect, NULL);
    struct buffer in = {0};
    assert_true(http_stream_write(kept, bytes_of_string("data: 1\n\n")));
    run_until(loop, !is_closed(fd, &in) && strstr(buffer_text(&in), "data: 1") != NULL);
    assert_true(http_stream_write(kept, bytes_of_string("data: 2\n\n")));
    run_until(loop, !is_closed(fd, &in) && strstr(buffer_text(&in), "data: 2") != NULL);
    assert_non_null(strstr(buffer_text(&in), "text/event-stream"));
    close(fd);
    run_until(loop, disconnects == 1);
    assert_false(http_stream_write(kept, bytes_of_string("data: 3\n\n")));
    http_stream_end(kept);
    buffer_close(&in);
}

static void a_stream_that_nobody_reads_takes_no_more(void **state)
{
    (void)state;
    static const char request[] = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    int fd = connect_raw(http_server_address(server)->port);
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, kept != NULL);
    http_stream(kept, 200, "text/event-stream", NULL, NULL);
    static const uint8_t piece[100000];
    bool taken = true;
    for (int i = 0; i < 1000 && taken; i++) {
        taken = http_stream_write(kept, bytes_of(piece, sizeof piece));
        loop_round(loop, 0);
    }
    assert_false(taken);
    http_stream_end(kept);
    close(fd);
    run_for(loop, 5000);
}

static void what_is_too_large_or_malformed_is_refused(void **state)
{
    (void)state;
    struct buffer in = {0};
    exchange("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n", " 413 ", &in);
    buffer_clear(&in);
    exchange("GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", " 400 ", &in);
    buffer_clear(&in);
    exchange("BREW /tea HTTP/1.1\r\nHost: x\r\n\r\n", " 501 ", &in);
    buffer_clear(&in);
    struct buffer large = {0};
    buffer_add_format(&large, "GET / HTTP/1.1\r\nX: ");
    for (int i = 0; i < 20000; i++) {
        buffer_add_u8(&large, 'x');
    }
    buffer_add_format(&large, "\r\n\r\n");
    exchange(buffer_text(&large), " 400 ", &in);
    buffer_close(&large);
    buffer_close(&in);
    assert_null(kept);
}

static void garbage_does_no_harm(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t size;
    } garbage[] = {
        {"\x94\x00\x01\xa1m\x90\r\n\r\n", 10}, {"\x16\x03\x01\x02\r\n", 6}, {"\0\0\0\n", 4}};
    for (unsigned i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = connect_raw(http_server_address(server)->port);
        run_until(loop, send(fd, garbage[i].data, garbage[i].size, MSG_NOSIGNAL) > 0);
        run_for(loop, 5000);
        close(fd);
    }
    struct buffer in = {0};
    exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "fine", &in);
    buffer_close(&in);
}

static void who_speaks_messagepack_is_told_of_the_port_at_once(void **state)
{
    (void)state;
    struct buffer in = {0};
    int fd = connect_raw(http_server_address(server)->port);
    static const char request[] = "\x94\x00\x01\xa6status\x90"; /* without a line's end */
    run_until(loop, send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    run_until(loop, is_closed(fd, &in));
    struct rpc_message m;
    struct rpc_scan scan = {0};
    size_t size;
    assert_int_equal(rpc_scan(&scan, buffer_bytes(&in), in.size, READER_DEPTH_MAX, &size), ERR_OK);
    assert_int_equal(rpc_decode(bytes_of(in.data, size), &m), ERR_OK);
    assert_true(bytes_equal(m.method, bytes_of_string("wrong_port")));
    assert_non_null(memmem(m.params.data, m.params.size, "this is the HTTP port", 21));
    close(fd);
    buffer_close(&in);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered),
        TEST(a_body_arrives),
        TEST(an_answer_to_head_has_no_body),
        TEST(a_failure_is_json),
        TEST(a_call_is_answered_later),
        TEST(a_call_outlives_its_connection_and_the_server),
        TEST(a_stream_sends_pieces_and_hears_of_its_end),
        TEST(a_stream_that_nobody_reads_takes_no_more),
        TEST(what_is_too_large_or_malformed_is_refused),
        TEST(who_speaks_messagepack_is_told_of_the_port_at_once),
        TEST(garbage_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
