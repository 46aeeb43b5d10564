/* The files in tests/histories, whose verdicts are known: all agree, and what is called the
 * shortest illegal prefix is illegal, and legal without its last event. And what is no history is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/history_file.h"
#include "sim/linearizability.h"

#define FOLDER "tests/histories/"

static struct buffer read_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, FOLDER "%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct buffer text = {0};
    size_t size;
    do {
        size = fread(buffer_reserve(&text, 4096), 1, 4096, file);
        text.size += size;
    } while (size > 0);
    fclose(file);
    return text;
}

static struct lin_verdict verdict_of(struct bytes text)
{
    struct history *h;
    enum history_format format;
    struct why why;
    struct lin_verdict v;
    assert_int_equal(history_parse(text, &h, &format, &why), ERR_OK);
    assert_int_equal(
        linearizable_check(h, format == HISTORY_JEPSEN_LOG ? &lin_register : &lin_kv, NULL, &v),
        ERR_OK);
    history_free(h);
    return v;
}

/* Its first lines; all lines of these files are events. */
static struct bytes lines_of(const struct buffer *text, uint32_t lines)
{
    const uint8_t *at = text->data, *end = text->data + text->size;
    for (uint32_t i = 0; i < lines; i++) {
        at = (const uint8_t *)memchr(at, '\n', (size_t)(end - at)) + 1;
    }
    return bytes_of(text->data, (size_t)(at - text->data));
}

static void check_file(const char *name, bool is_legal)
{
    struct buffer text = read_file(name);
    struct lin_verdict v = verdict_of(buffer_bytes(&text));
    if (v.answer != (is_legal ? LIN_LEGAL : LIN_ILLEGAL)) {
        fail_msg("%s: %s", name, buffer_text(&v.words));
    }
    if (!is_legal) {
        struct lin_verdict shorter = verdict_of(lines_of(&text, v.events - 1));
        assert_int_equal(shorter.answer, LIN_LEGAL);
        struct lin_verdict same = verdict_of(lines_of(&text, v.events));
        assert_int_equal(same.answer, LIN_ILLEGAL);
        assert_int_equal(same.events, v.events);
        assert_int_equal(same.operation, v.operation);
        lin_verdict_close(&shorter);
        lin_verdict_close(&same);
    }
    lin_verdict_close(&v);
    buffer_close(&text);
}

static void all_known_verdicts_agree(void **state)
{
    (void)state;
    struct buffer verdicts = read_file("verdicts.tsv");
    uint32_t count = 0;
    int size;
    char name[64], verdict[16];
    for (const char *at = buffer_text(&verdicts);
         sscanf(at, "%63s %15s %n", name, verdict, &size) == 2; at += size) {
        check_file(name, strcmp(verdict, "legal") == 0);
        count++;
    }
    assert_int_equal(count, 56);
    buffer_close(&verdicts);
}

/* ---- the two formats ------------------------------------------------------------------------- */

static void expect_refused(const char *text, const char *reason)
{
    struct history *h;
    enum history_format format;
    struct why why;
    assert_int_equal(history_parse(bytes_of_string(text), &h, &format, &why), ERR_INVALID);
    assert_string_equal(why.text, reason);
}

static void what_is_no_history_is_refused_with_its_line(void **state)
{
    (void)state;
    const char *const types = "line 1: the type of an event is :invoke, :ok, :fail or :info";
    expect_refused("", "there is no event in it");
    expect_refused("\n\n", "there is no event in it");
    expect_refused("\nhello\n", "line 2: neither a line of Jepsen's log nor an EDN map");
    expect_refused("jepsen.util - x :invoke :read nil", "line 1: the process is no number");
    expect_refused("jepsen.util - 1 :begin :read nil", types);
    expect_refused("jepsen.util - 1 :invoke :add 1",
                   "line 1: a function is :read, :write, :cas, :get, :put or :append");
    expect_refused("jepsen.util - 1 :invoke :read", "line 1: a value is missing");
    expect_refused("jepsen.util - 1 :invoke :read nil nil", "line 1: something follows the value");
    expect_refused("jepsen.util - 1 :invoke :cas [1 2", "line 1: a pair of values does not end");
    expect_refused("jepsen.util - 1 :invoke :cas 1",
                   "line 1: [expected value] belongs to :cas, and :cas to it");
    expect_refused("jepsen.util - 1 :invoke :write 1\njepsen.util - 1 :invoke :write 1",
                   "line 2: the process has not returned from its last operation");
    expect_refused("jepsen.util - 1 :ok :write 1",
                   "line 1: the process returns from an operation that it did not begin");
    expect_refused("jepsen.util - 1 :invoke :write 1\njepsen.util - 1 :ok :read 1",
                   "line 2: the process began another function than it returns from");
    expect_refused("jepsen.util - 1 :invoke :write 1\n{:process 1, :type :ok, :f :write}",
                   "line 2: the lines before were in another format");
    expect_refused("{:process 1, :type :invoke}",
                   "line 1: an event has a :process, a :type and an :f");
    expect_refused("{:process 1, :type :invoke, :f :get", "line 1: the map does not end");
    expect_refused("{:process 1, :key \"a", "line 1: a string does not end");
    expect_refused("{:process 99999999999999999999}", "line 1: the process is no number");
}

static void fields_of_an_edn_map_may_come_in_any_order_with_others(void **state)
{
    (void)state;
    const char *text = "{:index 0 :error [:a {:b \"}\"}] :value \"a\\\"b\" :f :put :key 7 :type "
                       ":invoke :process 12}\r\n"
                       "{:process :nemesis, :type :info, :f :start, :value \"x\"}\n"
                       "\n"
                       "{:process 12, :type :ok, :f :put, :key 7, :value \"a\\\"b\"}";
    struct history *h;
    enum history_format format;
    assert_int_equal(history_parse(bytes_of_string(text), &h, &format, NULL), ERR_OK);
    assert_int_equal(format, HISTORY_EDN_MAPS);
    uint32_t count;
    const struct history_operation *o = history_operations(h, &count);
    assert_int_equal(count, 1);
    assert_int_equal(o->client, 12);
    assert_int_equal(o->function, HISTORY_WRITE);
    assert_int_equal(o->outcome, HISTORY_OK);
    assert_true(bytes_equal(history_value(h, o->key), bytes_of_string("7")));
    assert_true(bytes_equal(history_value(h, o->value), bytes_of_string("a\"b")));
    const struct history_event *events = history_events(h, &count);
    assert_int_equal(count, 2);
    assert_int_equal(events[0].place, 1);
    assert_int_equal(events[1].place, 4);
    history_free(h);
}

static void a_process_goes_on_after_an_unknown_outcome(void **state)
{
    (void)state;
    const char *text = "jepsen.util - 1 :invoke :write 1\njepsen.util - 1 :info :write :timed-out\n"
                       "jepsen.util - 1 :invoke :read nil\njepsen.util - 1 :ok :read 1\n";
    struct lin_verdict v = verdict_of(bytes_of_string(text));
    assert_int_equal(v.answer, LIN_LEGAL);
    lin_verdict_close(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_known_verdicts_agree),
        cmocka_unit_test(what_is_no_history_is_refused_with_its_line),
        cmocka_unit_test(fields_of_an_edn_map_may_come_in_any_order_with_others),
        cmocka_unit_test(a_process_goes_on_after_an_unknown_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
