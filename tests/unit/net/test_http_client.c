/* HTTP requests to a server of ours, and to sockets that answer by hand. */
#include "check.h"

#include "net/http_calls.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "wire/http_answer.h"

static struct loop *loop;
static struct http_server *server;
static struct http_client *client;
static struct http_call *kept, *held[32];
static unsigned held_count;
static struct buffer seen; /* "POST /path body=..." */

static struct outcome {
    bool done;
    enum err err;
    char message[512];
    int status;
    struct buffer body, fields;
} outcome;

static void on_request(void *ctx, struct http_call *call, const struct http_request *r)
{
    (void)ctx;
    buffer_clear(&seen);
    buffer_add_format(&seen, "%d %s ?%s host=%s agent=%s color=%s body=%.*s", (int)r->method,
                      r->path, r->query, http_header(call, "host"), http_header(call, "user-agent"),
                      http_header(call, "color"), (int)r->body.size, (const char *)r->body.data);
    if (strcmp(r->path, "/later") == 0) {
        kept = call;
    } else if (strcmp(r->path, "/hold") == 0) {
        held[held_count++] = call;
    } else if (strcmp(r->path, "/break") == 0) {
        http_break(call);
    } else {
        http_set_header(call, "X-Node", "n1");
        http_reply(call, 404, "text/plain", bytes_of_string("not here"));
    }
}

static void on_done(void *ctx, enum err err, const char *message, struct bytes answer)
{
    struct outcome *o = ctx;
    assert_false(o->done);
    o->done = true;
    o->err = err;
    snprintf(o->message, sizeof o->message, "%s", message != NULL ? message : "");
    if (err == ERR_OK) {
        struct http_answer a;
        struct reader r;
        assert_int_equal(read_http_answer(answer, &a), ERR_OK);
        o->status = a.status;
        buffer_add_bytes(&o->body, a.body);
        for (uint32_t i = 2 * http_answer_fields(&a, &r); i > 0; i--) {
            buffer_add_bytes(&o->fields, read_str_or_bin(&r, 1000));
            buffer_add_u8(&o->fields, ';');
        }
    }
}

static int begin(void **state)
{
    (void)state;
    kept = NULL;
    loop = loop_new();
    const struct http_server_options options = {.listen = loopback(0)};
    const struct http_server_callbacks callbacks = {.on_request = on_request};
    assert_int_equal(http_server_open(loop, &options, &callbacks, NULL, &server, NULL), ERR_OK);
    client = http_client_new(&(struct http_client_options){.loop = loop, .agent = "us/1"});
    return 0;
}

static void forget_outcome(void)
{
    buffer_close(&outcome.body);
    buffer_close(&outcome.fields);
    outcome = (struct outcome){0};
}

static int end(void **state)
{
    (void)state;
    http_client_free(client);
    while (held_count > 0) {
        http_break(held[--held_count]);
    }
    http_server_close(server);
    loop_free(loop);
    buffer_close(&seen);
    forget_outcome();
    return 0;
}

static struct http_exchange *ask(const char *method, const char *text, const char *body,
                                 uint64_t timeout_us)
{
    struct url url;
    assert_int_equal(url_parse(text, &url, NULL), ERR_OK);
    const struct http_field fields[] = {{"Color", "blue"}, {"Connection", "keep-alive"}};
    forget_outcome();
    return http_client_ask(client,
                           &(struct http_spec){.method = method,
                                               .url = &url,
                                               .fields = fields,
                                               .fields_count = 2,
                                               .body = bytes_of_string(body),
                                               .timeout_us = timeout_us,
                                               .answer_bytes_max = 1000},
                           on_done, &outcome);
}

static const char *url_of(const char *host, uint16_t port, const char *target)
{
    static char text[200];
    snprintf(text, sizeof text, "http://%s:%u%s", host, port, target);
    return text;
}

static const char *server_url(const char *target)
{
    return url_of("127.0.0.1", http_server_address(server)->port, target);
}

static void a_request_and_its_answer_are_whole(void **state)
{
    (void)state;
    char expected[200];
    ask("POST", server_url("/a%20b?c=d"), "hello", PATIENCE_US);
    assert_false(outcome.done); /* never from inside */
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(outcome.status, 404);
    assert_string_equal(buffer_text(&outcome.body), "not here");
    assert_non_null(strstr(buffer_text(&outcome.fields), "X-Node;n1;"));
    snprintf(expected, sizeof expected,
             "2 /a b ?c=d host=127.0.0.1:%u agent=us/1 color=blue body=hello",
             http_server_address(server)->port);
    assert_string_equal(buffer_text(&seen), expected);
}

static void names_are_looked_up(void **state)
{
    (void)state;
    ask("GET", url_of("localhost", http_server_address(server)->port, "/"), "", PATIENCE_US);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_OK);
    ask("GET", "http://no-such-host.invalid/", "", PATIENCE_US);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_UNREACHABLE);
    assert_non_null(strstr(outcome.message, "no-such-host.invalid"));
}

static void an_answer_to_head_has_no_body(void **state)
{
    (void)state;
    ask("HEAD", server_url("/"), "", PATIENCE_US);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.status, 404);
    assert_int_equal(outcome.body.size, 0);
}

static void who_refuses_is_unreachable(void **state)
{
    (void)state;
    struct address free_port;
    int fd;
    assert_int_equal(address_reserve(&free_port, &fd, NULL), ERR_OK);
    ask("GET", url_of("127.0.0.1", free_port.port, "/"), "", PATIENCE_US);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_UNREACHABLE);
    assert_non_null(strstr(outcome.message, "cannot connect to 127.0.0.1:"));
    close(fd);
}

static void a_connection_that_breaks_is_unreachable(void **state)
{
    (void)state;
    ask("GET", server_url("/break"), "", PATIENCE_US);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_UNREACHABLE);
    assert_non_null(strstr(outcome.message, "broke"));
}

static void silence_ends_with_the_timeout(void **state)
{
    (void)state;
    uint64_t began_us = now_us();
    ask("GET", server_url("/later"), "", 50000);
    run_until(loop, outcome.done);
    assert_int_equal(outcome.err, ERR_TIMEOUT);
    assert_true(now_us() - began_us >= 40000); /* libevent counts from when it last woke */
    assert_non_null(kept);
    http_reply(kept, 200, "text/plain", bytes_of_string("too late"));
    run_for(loop, 5000);
}

static void a_cancelled_request_closes_its_connection(void **state)
{
    (void)state;
    struct http_exchange *x = ask("GET", server_url("/later"), "", PATIENCE_US);
    run_until(loop, kept != NULL);
    assert_true(http_is_open(kept));
    http_client_cancel(x);
    run_until(loop, !http_is_open(kept));
    http_reply(kept, 200, "text/plain", bytes_of_string("too late"));
    run_for(loop, 5000);
    assert_false(outcome.done);
}

/* ---- answers made by hand ---- */

static void answer_raw(const char *answer, bool close_after)
{
    int listener, fd = -1;
    struct address at;
    struct address any = loopback(0);
    assert_int_equal(address_listen(&any, &listener, &at, NULL), ERR_OK);
    ask("GET", url_of("127.0.0.1", at.port, "/"), "", 300000);
    run_until(loop, (fd = accept(listener, NULL, NULL)) >= 0);
    send_raw(fd, answer, strlen(answer));
    if (close_after) {
        close(fd);
    }
    run_until(loop, outcome.done);
    if (!close_after) {
        close(fd);
    }
    close(listener);
}

static void an_answer_in_chunks_is_put_together(void **state)
{
    (void)state;
    answer_raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\n !\r\n0\r\n\r\n",
        false);
    assert_int_equal(outcome.err, ERR_OK);
    assert_string_equal(buffer_text(&outcome.body), "hello !");
}

static void an_answer_may_end_with_its_connection(void **state)
{
    (void)state;
    answer_raw("HTTP/1.1 200 OK\r\n\r\nall of it", true);
    assert_int_equal(outcome.err, ERR_OK);
    assert_string_equal(buffer_text(&outcome.body), "all of it");
}

static void an_answer_that_is_cut_short_is_none(void **state)
{
    (void)state;
    answer_raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true);
    assert_int_equal(outcome.err, ERR_UNREACHABLE);
}

static void an_answer_that_is_too_large_is_refused(void **state)
{
    (void)state;
    answer_raw("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", false);
    assert_int_equal(outcome.err, ERR_TOO_LARGE);
    assert_non_null(strstr(outcome.message, "1000 bytes"));
}

static void what_is_not_http_is_told_so(void **state)
{
    (void)state;
    answer_raw("220 mail.example ESMTP\r\n\r\n", false);
    assert_int_equal(outcome.err, ERR_IO);
    assert_non_null(strstr(outcome.message, "not HTTP"));
}

static void a_redirect_is_an_answer(void **state)
{
    (void)state;
    answer_raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
               false);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(outcome.status, 302);
}

/* ---- the port ---- */

static _Atomic unsigned answers;

static void on_call_answered(void *ctx, uint64_t call, enum err err, const char *message,
                             struct slice result)
{
    (void)ctx, (void)message;
    assert_true(call == 1 || call == 3);
    assert_int_equal(err, ERR_OK);
    assert_true(result.size > 0);
    slice_close(&result);
    answers++;
}

static void the_port_answers_what_is_not_cancelled_and_can_be_stopped(void **state)
{
    (void)state;
    struct http_calls *calls =
        http_calls_new(&(struct http_calls_options){.agent = "us/1", .answer = on_call_answered});
    const struct http_port *port = http_calls_port(calls);
    struct url url;
    struct http_spec spec = {
        .method = "GET", .url = &url, .timeout_us = PATIENCE_US, .answer_bytes_max = 1000};
    answers = 0;
    assert_int_equal(url_parse(server_url("/later"), &url, NULL), ERR_OK);
    port->request(port->ctx, 2, &spec);
    run_until(loop, kept != NULL);
    assert_int_equal(url_parse(server_url("/now"), &url, NULL), ERR_OK);
    port->request(port->ctx, 1, &spec);
    port->cancel(port->ctx, 2);
    port->cancel(port->ctx, 99);
    run_until(loop, !http_is_open(kept));
    port->request(port->ctx, 3, &spec);
    run_until(loop, answers == 2);
    http_reply(kept, 200, "text/plain", bytes_of_string("too late"));
    kept = NULL;
    assert_int_equal(url_parse(server_url("/later"), &url, NULL), ERR_OK);
    port->request(port->ctx, 4, &spec);
    run_until(loop, kept != NULL);
    http_calls_free(calls);
    http_break(kept);
    run_for(loop, 5000);
    assert_int_equal(answers, 2);
}

static _Atomic unsigned refused;

static void on_refused(void *ctx, uint64_t call, enum err err, const char *message,
                       struct slice result)
{
    (void)ctx, (void)call, (void)message;
    assert_int_equal(err, ERR_BUSY);
    slice_close(&result);
    refused++;
}

/* 256 MiB, in answers of 16 MiB at most. */
static void what_requests_may_hold_of_memory_is_bounded(void **state)
{
    (void)state;
    struct http_calls *calls =
        http_calls_new(&(struct http_calls_options){.agent = "us/1", .answer = on_refused});
    const struct http_port *port = http_calls_port(calls);
    struct url url;
    assert_int_equal(url_parse(server_url("/hold"), &url, NULL), ERR_OK);
    const struct http_spec spec = {.method = "GET",
                                   .url = &url,
                                   .timeout_us = PATIENCE_US,
                                   .answer_bytes_max = HTTP_BODY_BYTES_MAX};
    refused = 0;
    for (uint64_t call = 1; call <= 18; call++) {
        port->request(port->ctx, call, &spec);
    }
    run_until(loop, refused == 2);
    port->cancel(port->ctx, 1);
    port->request(port->ctx, 19, &spec);
    port->request(port->ctx, 20, &spec);
    run_until(loop, refused == 3);
    http_calls_free(calls);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_request_and_its_answer_are_whole),
        TEST(names_are_looked_up),
        TEST(an_answer_to_head_has_no_body),
        TEST(who_refuses_is_unreachable),
        TEST(a_connection_that_breaks_is_unreachable),
        TEST(silence_ends_with_the_timeout),
        TEST(a_cancelled_request_closes_its_connection),
        TEST(an_answer_in_chunks_is_put_together),
        TEST(an_answer_may_end_with_its_connection),
        TEST(an_answer_that_is_cut_short_is_none),
        TEST(an_answer_that_is_too_large_is_refused),
        TEST(what_is_not_http_is_told_so),
        TEST(a_redirect_is_an_answer),
        TEST(what_requests_may_hold_of_memory_is_bounded),
        TEST(the_port_answers_what_is_not_cancelled_and_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
