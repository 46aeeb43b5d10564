/* script_check_app(): what an application says of its configuration, without a node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "script/script.h"

static uint64_t now_us(void *ctx)
{
    (void)ctx;
    fail_msg("no time passes");
    return 0;
}

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return 1000;
}

static void fill(void *ctx, void *out, size_t size_bytes)
{
    (void)ctx;
    memset(out, 7, size_bytes);
}

static enum err check(const char *source, struct bytes config, struct script_checked *out)
{
    static const struct clock_port clock = {.now_us = now_us, .wall_ms = wall_ms};
    static const struct entropy_port entropy = {.fill = fill};
    struct buffer text = {0};
    buffer_add_format(&text, "local mk = require 'moonkeeper'\n%s", source);
    const struct script_check spec = {
        .app = {.name = "app", .path = "a.lua", .source = buffer_text(&text), .config = config},
        .node = {.id = "n1"},
        .clock = &clock,
        .entropy = &entropy,
    };
    enum err e = script_check_app(&spec, out);
    buffer_close(&text);
    return e;
}

#define DECLARE "mk.config.declare { url = { type = 'string', min = 1 } }\n"

static void assert_error(struct script_checked *checked, const char *says)
{
    assert_string_equal(buffer_text(&checked->error), says);
}

static void what_declare_refuses_is_a_mistake_of_the_settings(void **state)
{
    (void)state;
    struct script_checked c;
    assert_int_equal(check(DECLARE, bytes_of("\x82\xa3urn\xa1u\xa3url\xa0", 12), &c), ERR_INVALID);
    assert_true(c.declared && c.settings_wrong && !c.waits);
    assert_error(&c, "config: there is no key 'urn', did you mean 'url'?\n"
                     "config: url must not be empty");
    buffer_close(&c.error);
    assert_int_equal(check(DECLARE, bytes_of("\x81\xa3url\xa1u", 7), &c), ERR_OK);
    assert_true(c.declared && !c.settings_wrong && !c.waits);
    buffer_close(&c.error);
}

static void what_is_wrong_after_it_is_a_mistake_of_the_script(void **state)
{
    (void)state;
    struct script_checked c;
    assert_int_equal(check(DECLARE "error('no', 0)", (struct bytes){0}, &c), ERR_INVALID);
    assert_true(c.declared && !c.settings_wrong);
    assert_error(&c, "no");
    buffer_close(&c.error);
    assert_int_equal(check("x = = 1", (struct bytes){0}, &c), ERR_INVALID);
    assert_false(c.declared || c.settings_wrong);
    assert_error(&c, "a.lua:2: unexpected symbol near '='");
    buffer_close(&c.error);
    assert_int_equal(check("while true do end", (struct bytes){0}, &c), ERR_INVALID);
    assert_non_null(strstr(buffer_text(&c.error), "killed: over its budget"));
    buffer_close(&c.error);
}

static void what_is_raised_for_want_of_settings_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        bool lacks;
    } cases[] = {
        {"mk.config.declare { a = { type = 'string', required = true } }", true},
        {"error('config: a or b is needed', 0)", true},
        {"assert(mk.config.get 'a')", true},
        {"require 'no.such'", true},
        {"mk.config.get('a', 1) error 'no'", false},
        {"mk.config.declare { a = { type = 'string' } } error 'no'", false},
        {"error \"module 'a'\"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct script_checked c;
        assert_int_equal(check(cases[i].source, (struct bytes){0}, &c), ERR_INVALID);
        if (c.lacks != cases[i].lacks) {
            fail_msg("%s: %s", cases[i].source, buffer_text(&c.error));
        }
        buffer_close(&c.error);
    }
}

/* Each would fail if it were answered: that it waits is all that comes of it. */
static void what_reaches_outside_waits_for_ever(void **state)
{
    (void)state;
    static const char *const waits[] = {
        "mk.kv.set('a', 1)",
        "mk.raft.propose('kv', 'set', {})",
        "mk.exec.run { 'touch', 'a' }",
        "mk.http.get 'http://127.0.0.1:1/'",
        "mk.fs.write('a', 'b')",
        "mk.fs.read 'a'",
        "mk.task.sleep(1)",
        "mk.cluster.call('n2', 'a', 1)",
        "mk.lock.acquire 'a'",
    };
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        struct script_checked c;
        struct buffer source = {0};
        buffer_add_format(&source, "%s\nerror 'it went on'", waits[i]);
        if (check(buffer_text(&source), (struct bytes){0}, &c) != ERR_OK) {
            fail_msg("%s: %s", waits[i], buffer_text(&c.error));
        }
        assert_true(c.waits);
        assert_false(c.declared);
        assert_string_equal(c.place, " (at a.lua:2)");
        buffer_close(&c.error);
        buffer_close(&source);
    }
}

static void nothing_that_the_main_chunk_leaves_behind_is_run(void **state)
{
    (void)state;
    struct script_checked c;
    enum err e = check(
        "local guard <close> = setmetatable({}, { __close = function() error 'closed' end })\n"
        "mk.on('leader_elected', function() error 'hook' end, { replay = true })\n"
        "mk.while_leader('a', function() error 'lead' end)\n"
        "mk.timer.every(1, function() error 'timer' end)\n"
        "mk.task.spawn(function() error 'task' end)\n"
        "mk.shutdown() mk.log.error 'log' print 'print' mk.emit('a.b', 1)\n"
        "mk.task.sleep(1000)",
        (struct bytes){0}, &c);
    assert_error(&c, "");
    assert_int_equal(e, ERR_OK);
    assert_true(c.waits);
    buffer_close(&c.error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_declare_refuses_is_a_mistake_of_the_settings),
        cmocka_unit_test(what_is_wrong_after_it_is_a_mistake_of_the_script),
        cmocka_unit_test(what_is_raised_for_want_of_settings_is_told_apart),
        cmocka_unit_test(what_reaches_outside_waits_for_ever),
        cmocka_unit_test(nothing_that_the_main_chunk_leaves_behind_is_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
