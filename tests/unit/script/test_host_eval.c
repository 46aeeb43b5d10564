/* Lua evaluated inside an application: it may wait, it answers once, and it cannot outstay. */
#include "host_fixture.h"

struct answer {
    uint32_t calls;
    enum err err;
    char message[300];
    struct buffer results;
};

static void on_answer(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct answer *a = ctx;
    a->calls++;
    a->err = err;
    snprintf(a->message, sizeof a->message, "%s", message != NULL ? message : "");
    buffer_clear(&a->results);
    buffer_add_bytes(&a->results, results);
}

static void ask(struct fixture *f, struct answer *a, const char *app, const char *source)
{
    script_host_eval(
        f->host, &(struct script_eval){
                     .app = app, .source = bytes_of_string(source), .done = on_answer, .ctx = a});
}

static uint64_t only_number(const struct answer *a)
{
    assert_int_equal(a->err, ERR_OK);
    struct reader r = reader_of(buffer_bytes(&a->results));
    assert_int_equal(read_array(&r), 1);
    uint64_t number = read_u64(&r);
    assert_int_equal(reader_end(&r), ERR_OK);
    return number;
}

static void an_expression_or_a_chunk_answers_its_results(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    fixture_open(&f);
    ask(&f, &a, NULL, "1 + 1");
    assert_int_equal(a.calls, 0);
    settle(&f);
    assert_int_equal(only_number(&a), 2);
    ask(&f, &a, NULL, "x = 5 return x + 1");
    settle(&f);
    assert_int_equal(only_number(&a), 6);
    ask(&f, &a, NULL, "x"); /* the same state again */
    settle(&f);
    assert_int_equal(only_number(&a), 5);
    ask(&f, &a, NULL, "x = nil");
    settle(&f);
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(a.results.size, 1); /* an empty array */
    assert_int_equal(a.calls, 4);
    buffer_close(&a.results);
    fixture_close(&f);
}

static void it_takes_arguments_and_shares_the_globals_of_an_application(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    fixture_open(&f);
    load(&f, "secret = 40");
    struct buffer args = {0};
    write_array(&args, 2);
    write_u64(&args, 1);
    write_u64(&args, 1);
    script_host_eval(f.host, &(struct script_eval){.app = "app",
                                                   .source = bytes_of_string(
                                                       "local a, b = ... return secret + a + b"),
                                                   .args = buffer_bytes(&args),
                                                   .done = on_answer,
                                                   .ctx = &a});
    buffer_close(&args);
    settle(&f);
    assert_int_equal(only_number(&a), 42);
    script_host_eval(f.host, &(struct script_eval){.source = bytes_of_string("select('#', ...)"),
                                                   .args = bytes_of("\x90", 1), /* [] */
                                                   .done = on_answer,
                                                   .ctx = &a});
    settle(&f);
    assert_int_equal(only_number(&a), 0);
    ask(&f, &a, "nobody", "1");
    settle(&f);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_non_null(strstr(a.message, "no application 'nobody'"));
    buffer_close(&a.results);
    fixture_close(&f);
}

static void it_may_wait_and_ask_the_node(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    fixture_open(&f);
    ask(&f, &a, NULL, "mk.task.sleep(100) return (mk.raft.propose('m', 'c', {}))");
    settle(&f);
    assert_int_equal(f.requests_count, 0);
    run_for(&f, 100);
    struct script_request *request = next_request(&f);
    assert_int_equal(a.calls, 0);
    reply_u64(&f, request->id, 9);
    script_request_free(request);
    settle(&f);
    assert_int_equal(only_number(&a), 9);
    buffer_close(&a.results);
    fixture_close(&f);
}

static void an_error_is_the_answer_and_nobody_elses_business(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    fixture_open(&f);
    ask(&f, &a, NULL, "error('oh no')");
    settle(&f);
    assert_int_equal(a.err, ERR_REJECTED);
    assert_string_equal(a.message, "eval:1: oh no");
    ask(&f, &a, NULL, "x = = 1");
    settle(&f);
    assert_int_equal(a.err, ERR_INVALID);
    assert_non_null(strstr(a.message, "eval:1: unexpected symbol"));
    ask(&f, &a, NULL, "return print");
    settle(&f);
    assert_int_equal(a.err, ERR_INVALID);
    ask(&f, &a, NULL, "while true do end");
    run_for(&f, 500);
    assert_int_equal(a.err, ERR_CANCELLED);
    assert_non_null(strstr(a.message, "over its budget"));
    assert_silent(&f, "script error");
    assert_int_equal(a.calls, 4);
    buffer_close(&a.results);
    fixture_close(&f);
}

static void what_it_starts_goes_on_after_it(void **state)
{
    (void)state;
    struct fixture f;
    struct answer a = {0};
    fixture_open(&f);
    ask(&f, &a, NULL, "mk.timer.after(50, function() mk.log.info('later') end)");
    settle(&f);
    assert_int_equal(a.calls, 1);
    run_for(&f, 60);
    assert_said(&f, "later");
    buffer_close(&a.results);
    fixture_close(&f);
}

static void the_end_of_the_host_is_an_answer_too(void **state)
{
    (void)state;
    struct fixture f;
    struct answer waits = {0};
    struct answer unseen = {0};
    fixture_open(&f);
    ask(&f, &waits, NULL, "mk.task.sleep(1000)");
    settle(&f);
    ask(&f, &unseen, NULL, "1");
    fixture_close(&f);
    assert_int_equal(waits.calls, 1);
    assert_int_equal(waits.err, ERR_SHUTDOWN);
    assert_int_equal(unseen.calls, 1);
    assert_int_equal(unseen.err, ERR_SHUTDOWN);
}

static void a_killed_host_runs_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         "local mk = require 'moonkeeper'\n"
         "local x <close> = setmetatable({}, {__close = function() mk.log.info('closed') end})\n"
         "mk.task.sleep(1000)");
    script_host_kill(f.host);
    f.host = NULL;
    assert_silent(&f, "closed");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_expression_or_a_chunk_answers_its_results),
        cmocka_unit_test(it_takes_arguments_and_shares_the_globals_of_an_application),
        cmocka_unit_test(it_may_wait_and_ask_the_node),
        cmocka_unit_test(an_error_is_the_answer_and_nobody_elses_business),
        cmocka_unit_test(what_it_starts_goes_on_after_it),
        cmocka_unit_test(the_end_of_the_host_is_an_answer_too),
        cmocka_unit_test(a_killed_host_runs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
