/* What the checker calls legal and illegal, and how it explains it; and that it answers in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../lib/generated_history.h"
#include "sim/history_file.h"
#include "sim/linearizability.h"

/* ---- small histories ------------------------------------------------------------------------- */

#define R(text) "INFO  jepsen.util - " text "\n"

static struct lin_verdict verdict_of(const char *text)
{
    struct history *h = NULL;
    enum history_format format;
    struct why why;
    struct lin_verdict v;
    if (history_parse(bytes_of_string(text), &h, &format, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    const struct lin_model *m = format == HISTORY_JEPSEN_LOG ? &lin_register : &lin_kv;
    assert_int_equal(linearizable_check(h, m, NULL, &v), ERR_OK);
    history_free(h);
    return v;
}

static void expect_legal(const char *text)
{
    struct lin_verdict v = verdict_of(text);
    assert_int_equal(v.answer, LIN_LEGAL);
    assert_int_equal(v.words.size, 0);
    lin_verdict_close(&v);
}

/* Illegal from this event on, and explained with these words. */
static void expect_illegal(const char *text, uint32_t events, const char *words)
{
    struct lin_verdict v = verdict_of(text);
    assert_int_equal(v.answer, LIN_ILLEGAL);
    assert_int_equal(v.events, events);
    assert_string_equal(buffer_text(&v.words), words);
    lin_verdict_close(&v);
}

static void a_read_returns_what_was_written_or_is_being_written(void **state)
{
    (void)state;
    expect_legal(R("0 :invoke :read nil") R("0 :ok :read nil") R("0 :invoke :write 1")
                     R("1 :invoke :read nil") R("1 :ok :read 1") R("0 :ok :write 1")
                         R("1 :invoke :read nil") R("1 :ok :read 1"));
}

static void a_stale_read_is_illegal(void **state)
{
    (void)state;
    expect_illegal(R("0 :invoke :write 1") R("0 :ok :write 1") R("0 :invoke :write 2")
                       R("0 :ok :write 2") R("1 :invoke :read nil") R("1 :ok :read 1")
                           R("0 :invoke :write 1") R("0 :ok :write 1"),
                   6,
                   "client 1 read \"1\" (line 5 to 6), which no order of the operations explains\n"
                   "  client 0 wrote \"1\" (line 1 to 2), but after that client 0 wrote \"2\" "
                   "(line 3 to 4)\n"
                   "  what it could have been: \"2\"\n"
                   "the shortest illegal prefix has 6 of 8 events; it ends at line 6\n");
}

static void a_value_does_not_come_back(void **state)
{
    (void)state;
    expect_illegal(R("0 :invoke :write 1") R("0 :ok :write 1") R("0 :invoke :write 2")
                       R("1 :invoke :read nil") R("1 :ok :read 2") R("1 :invoke :read nil")
                           R("1 :ok :read 1") R("0 :ok :write 2"),
                   7,
                   "client 1 read \"1\" (line 6 to 7), which no order of the operations explains\n"
                   "  what it could have been: \"2\"\n"
                   "the shortest illegal prefix has 7 of 8 events; it ends at line 7\n");
}

static void a_value_that_nobody_wrote_is_illegal(void **state)
{
    (void)state;
    expect_illegal(
        R("0 :invoke :write 1") R("1 :invoke :read nil") R("1 :ok :read 7") R("0 :ok :write 1"), 3,
        "client 1 read \"7\" (line 2 to 3), which no order of the operations explains\n"
        "  \"7\" had not been written by anybody\n"
        "  what it could have been: \"1\" or nil\n"
        "the shortest illegal prefix has 3 of 4 events; it ends at line 3\n");
}

static void a_lost_update_is_illegal(void **state)
{
    (void)state;
    expect_illegal(R("0 :invoke :write 1") R("0 :ok :write 1") R("0 :invoke :cas [1 2]")
                       R("1 :invoke :cas [1 3]") R("0 :ok :cas [1 2]") R("1 :ok :cas [1 3]"),
                   6,
                   "client 1 replaced \"1\" by \"3\" (line 4 to 6), which no order of the "
                   "operations explains\n"
                   "  what it could have been: \"2\"\n"
                   "the shortest illegal prefix has 6 of 6 events; it ends at line 6\n");
    expect_illegal(
        "{:process 0, :type :invoke, :f :append, :key \"k\", :value \"a\"}\n"
        "{:process 1, :type :invoke, :f :append, :key \"k\", :value \"b\"}\n"
        "{:process 0, :type :ok, :f :append, :key \"k\", :value \"a\"}\n"
        "{:process 1, :type :ok, :f :append, :key \"k\", :value \"b\"}\n"
        "{:process 1, :type :invoke, :f :get, :key \"k\", :value nil}\n"
        "{:process 1, :type :ok, :f :get, :key \"k\", :value \"b\"}\n",
        6,
        "key \"k\": client 1 read \"b\" (line 5 to 6), which no order of the operations explains\n"
        "  it lacks what client 0 appended \"a\" (line 1 to 3)\n"
        "  what it could have been, in one of the orders: \"ab\"\n"
        "  what was read, from the same byte on:         \"b\"\n"
        "  (they agree for 0 bytes; the one has 2, the other 1)\n"
        "the shortest illegal prefix has 6 of 6 events; it ends at line 6\n");
}

static void what_failed_did_not_happen(void **state)
{
    (void)state;
    expect_legal(R("0 :invoke :write 1") R("0 :fail :write 1") R("1 :invoke :read nil")
                     R("1 :ok :read nil"));
    expect_illegal(R("0 :invoke :write 1") R("0 :fail :write 1") R("1 :invoke :read nil")
                       R("1 :ok :read 1"),
                   4,
                   "client 1 read \"1\" (line 3 to 4), which no order of the operations explains\n"
                   "  \"1\" had not been written by anybody\n"
                   "  what it could have been: nil\n"
                   "the shortest illegal prefix has 4 of 4 events; it ends at line 4\n");
}

static void word_of_a_failure_can_be_what_makes_it_illegal(void **state)
{
    (void)state;
    expect_illegal(R("0 :invoke :write 1") R("1 :invoke :read nil") R("1 :ok :read 1")
                       R("0 :fail :write 1") R("1 :invoke :read nil"),
                   4,
                   "client 0 did not write \"1\" (line 1 to 4), as was heard there; but without "
                   "that:\n"
                   "client 1 read \"1\" (line 2 to 3), which no order of the operations explains\n"
                   "  \"1\" had not been written by anybody\n"
                   "  what it could have been: nil\n"
                   "the shortest illegal prefix has 4 of 5 events; it ends at line 4\n");
}

static void what_is_unknown_may_happen_once_at_any_later_time(void **state)
{
    (void)state;
    /* Never. */
    expect_legal(R("0 :invoke :write 1") R("0 :info :write :timed-out") R("1 :invoke :read nil")
                     R("1 :ok :read nil"));
    /* Later, after it was not there. */
    expect_legal(R("0 :invoke :write 1") R("0 :info :write :timed-out") R("1 :invoke :read nil")
                     R("1 :ok :read nil") R("1 :invoke :read nil") R("1 :ok :read 1"));
    /* Not twice. */
    expect_illegal(R("0 :invoke :write 1") R("0 :info :write :timed-out") R("1 :invoke :read nil")
                       R("1 :ok :read 1") R("1 :invoke :write 2") R("1 :ok :write 2")
                           R("1 :invoke :read nil") R("1 :ok :read 1"),
                   8,
                   "client 1 read \"1\" (line 7 to 8), which no order of the operations explains\n"
                   "  what it could have been: \"2\"\n"
                   "the shortest illegal prefix has 8 of 8 events; it ends at line 8\n");
    /* Not before it was asked for. */
    expect_illegal(R("1 :invoke :read nil") R("1 :ok :read 1") R("0 :invoke :write 1")
                       R("0 :info :write :timed-out"),
                   2,
                   "client 1 read \"1\" (line 1 to 2), which no order of the operations explains\n"
                   "  \"1\" had not been written by anybody\n"
                   "  what it could have been: nil\n"
                   "the shortest illegal prefix has 2 of 4 events; it ends at line 2\n");
}

static void an_unknown_write_can_be_what_another_one_needs(void **state)
{
    (void)state;
    expect_legal(R("0 :invoke :write 1") R("0 :info :write :timed-out") R("2 :invoke :cas [1 2]")
                     R("2 :info :cas :timed-out") R("1 :invoke :read nil") R("1 :ok :read 2"));
}

static void keys_have_nothing_to_do_with_each_other(void **state)
{
    (void)state;
    expect_legal("{:process 0, :type :invoke, :f :put, :key \"a\", :value \"1\"}\n"
                 "{:process 0, :type :ok, :f :put, :key \"a\", :value \"1\"}\n"
                 "{:process 0, :type :invoke, :f :get, :key \"b\", :value nil}\n"
                 "{:process 0, :type :ok, :f :get, :key \"b\", :value \"\"}\n");
}

static void an_empty_value_is_nil_to_kv_and_another_value_to_a_register(void **state)
{
    (void)state;
    struct history *h = history_new("event");
    struct history_call call = {.function = HISTORY_READ};
    uint32_t operation;
    assert_int_equal(history_invoke(h, &call, &operation), ERR_OK);
    assert_int_equal(history_return(h, operation, HISTORY_OK, bytes_of("", 0), 1), ERR_OK);
    struct lin_verdict v;
    assert_int_equal(linearizable_check(h, &lin_kv, NULL, &v), ERR_OK);
    assert_int_equal(v.answer, LIN_LEGAL);
    lin_verdict_close(&v);
    assert_int_equal(linearizable_check(h, &lin_register, NULL, &v), ERR_OK);
    assert_int_equal(v.answer, LIN_ILLEGAL);
    lin_verdict_close(&v);
    history_free(h);
}

static void a_model_refuses_what_it_does_not_know(void **state)
{
    (void)state;
    struct history *h = history_new("event");
    struct history_call call = {.function = HISTORY_APPEND, .value = bytes_of("a", 1), .place = 9};
    uint32_t operation;
    assert_int_equal(history_invoke(h, &call, &operation), ERR_OK);
    struct lin_verdict v;
    assert_int_equal(linearizable_check(h, &lin_register, NULL, &v), ERR_INVALID);
    assert_string_equal(buffer_text(&v.words), "event 9: the model register knows no append");
    lin_verdict_close(&v);
    history_free(h);
}

static void an_operation_returns_once(void **state)
{
    (void)state;
    struct history *h = history_new("event");
    struct history_call call = {.function = HISTORY_READ};
    uint32_t operation;
    assert_int_equal(history_invoke(h, &call, &operation), ERR_OK);
    assert_int_equal(history_return(h, operation, HISTORY_UNKNOWN, bytes_of(NULL, 0), 1), ERR_OK);
    assert_int_equal(history_return(h, operation, HISTORY_OK, bytes_of(NULL, 0), 2), ERR_INVALID);
    history_free(h);
}

/* ---- large ones ------------------------------------------------------------------------------ */

/* Steps are time that does not depend on the machine: this many are well under a second. */
enum { QUICK_STEPS = 5000000, SEEDS = 5 };

static enum lin_answer answer_of(const struct made_history *made, const struct lin_model *m,
                                 uint64_t steps_max, uint32_t *operation)
{
    const struct lin_limits limits = {.steps_max = steps_max};
    struct history *h = made_whole(made);
    struct lin_verdict v;
    assert_int_equal(linearizable_check(h, m, &limits, &v), ERR_OK);
    enum lin_answer answer = v.answer;
    *operation = v.operation;
    lin_verdict_close(&v);
    history_free(h);
    return answer;
}

/* A write and another one that came after it, both before this read began. */
static bool is_stale_for(const struct made_history *h, uint32_t old, uint32_t read)
{
    const struct made_operation *w = &h->operations[old], *r = &h->operations[read];
    if (w->function != HISTORY_WRITE || w->outcome != HISTORY_OK || w->key != r->key) {
        return false;
    }
    for (uint32_t i = old + 1; i < read; i++) {
        const struct made_operation *o = &h->operations[i];
        if (o->function == HISTORY_WRITE && o->outcome == HISTORY_OK && o->key == r->key &&
            o->invoked > w->returned && o->returned < r->invoked) {
            return true;
        }
    }
    return false;
}

/* Let one read of the second half return a value that had been overwritten. */
static uint32_t make_stale(struct made_history *h)
{
    for (uint32_t read = h->count / 2; read < h->count; read++) {
        struct made_operation *r = &h->operations[read];
        for (uint32_t old = read;
             r->function == HISTORY_READ && r->outcome == HISTORY_OK && old-- > 0;) {
            if (is_stale_for(h, old, read)) {
                free(r->value);
                r->value = alloc_string(h->operations[old].value);
                return read;
            }
        }
    }
    fail_msg("no read can be made stale");
    return 0;
}

static void legal_until_a_read_is_stale(struct made_options options, const struct lin_model *m)
{
    for (options.seed = 1; options.seed <= SEEDS; options.seed++) {
        struct made_history h = made_history(&options);
        uint32_t operation;
        assert_int_equal(answer_of(&h, m, QUICK_STEPS, &operation), LIN_LEGAL);
        uint32_t stale = make_stale(&h);
        assert_int_equal(answer_of(&h, m, 4 * QUICK_STEPS, &operation), LIN_ILLEGAL);
        /* Nothing before it was touched. */
        assert_true(h.operations[operation].returned >= h.operations[stale].invoked);
        made_free(&h);
    }
}

static void fifty_clients_of_one_register_until_a_read_is_stale(void **state)
{
    (void)state;
    legal_until_a_read_is_stale((struct made_options){.clients = 50,
                                                      .operations = 3750,
                                                      .keys = 1,
                                                      .reads = 0.5,
                                                      .compares = 0.1,
                                                      .failed = 0.05,
                                                      .unknown = 0.05,
                                                      .late = 0.02},
                                &lin_register);
}

static void fifty_clients_of_ten_keys_until_a_read_is_stale(void **state)
{
    (void)state;
    legal_until_a_read_is_stale((struct made_options){.clients = 50,
                                                      .operations = 3750,
                                                      .keys = 10,
                                                      .reads = 0.5,
                                                      .appends = 0.3,
                                                      .failed = 0.05,
                                                      .unknown = 0.05,
                                                      .late = 0.02},
                                &lin_kv);
}

/* Each of them doubles the number of subsets. */
static void thousands_of_unknown_operations_are_no_burden(void **state)
{
    (void)state;
    const struct made_options options = {.seed = 1,
                                         .clients = 10,
                                         .operations = 10000,
                                         .keys = 1,
                                         .reads = 0.4,
                                         .unknown = 0.4,
                                         .late = 0.05};
    struct made_history h = made_history(&options);
    uint32_t operation;
    assert_int_equal(answer_of(&h, &lin_register, QUICK_STEPS, &operation), LIN_LEGAL);
    make_stale(&h);
    assert_int_equal(answer_of(&h, &lin_register, 8 * QUICK_STEPS, &operation), LIN_ILLEGAL);
    made_free(&h);
}

static void it_gives_up_rather_than_run_without_end(void **state)
{
    (void)state;
    const struct made_options options = {.seed = 1,
                                         .clients = 50,
                                         .operations = 3750,
                                         .keys = 1,
                                         .values = 50,
                                         .reads = 0.4,
                                         .unknown = 0.2,
                                         .late = 0.01};
    struct made_history made = made_history(&options);
    struct history *h = made_whole(&made);
    const struct lin_limits few_steps = {.steps_max = 100000};
    const struct lin_limits little_memory = {.memory_max_bytes = 1 << 20};
    const struct lin_limits *limits[] = {&few_steps, &little_memory};
    for (int i = 0; i < 2; i++) {
        struct lin_verdict v;
        assert_int_equal(linearizable_check(h, &lin_register, limits[i], &v), ERR_OK);
        assert_int_equal(v.answer, LIN_GAVE_UP);
        assert_true(v.words.size > 0);
        lin_verdict_close(&v);
    }
    history_free(h);
    made_free(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_returns_what_was_written_or_is_being_written),
        cmocka_unit_test(a_stale_read_is_illegal),
        cmocka_unit_test(a_value_does_not_come_back),
        cmocka_unit_test(a_value_that_nobody_wrote_is_illegal),
        cmocka_unit_test(a_lost_update_is_illegal),
        cmocka_unit_test(what_failed_did_not_happen),
        cmocka_unit_test(word_of_a_failure_can_be_what_makes_it_illegal),
        cmocka_unit_test(what_is_unknown_may_happen_once_at_any_later_time),
        cmocka_unit_test(an_unknown_write_can_be_what_another_one_needs),
        cmocka_unit_test(keys_have_nothing_to_do_with_each_other),
        cmocka_unit_test(an_empty_value_is_nil_to_kv_and_another_value_to_a_register),
        cmocka_unit_test(a_model_refuses_what_it_does_not_know),
        cmocka_unit_test(an_operation_returns_once),
        cmocka_unit_test(fifty_clients_of_one_register_until_a_read_is_stale),
        cmocka_unit_test(fifty_clients_of_ten_keys_until_a_read_is_stale),
        cmocka_unit_test(thousands_of_unknown_operations_are_no_burden),
        cmocka_unit_test(it_gives_up_rather_than_run_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
