/* Scripts that do not give the processor back, or ask for more than they may have. The other hooks
 * of the same application still run, and the host goes on. */
#include "host_fixture.h"

/* Little memory is full soon. */
static void open_small(struct fixture *f)
{
    fixture_init(f);
    struct script_options options = fixture_options(f);
    options.limits.memory_bytes = 8u << 20;
    f->host = script_host_new(&options);
}

/* Load a hook on my.spin that does `body`, beside one on my.ok; emit both; expect that the first is
 * killed and the second called. */
static void expect_killed(const char *body, const char *error)
{
    struct fixture f;
    open_small(&f);
    struct buffer source = {0};
    buffer_add_format(&source,
                      "local mk = require 'moonkeeper'\n"
                      "mk.on('my.spin', function() %s\n mk.log.info('it came back') end)\n"
                      "mk.on('my.spin', function() mk.log.info('the other hook') end)\n"
                      "mk.on('my.ok', function() mk.log.info('alive') end)\n"
                      "mk.emit('my.spin')\n",
                      body);
    load_named(&f, "app", buffer_text(&source));
    run_for(&f, 400);
    assert_said(&f, "the other hook");
    assert_silent(&f, "it came back");
    assert_said(&f, error);
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.hook_errors, 1);
    load_named(&f, "second", "require 'moonkeeper'.emit('my.ok')");
    run_for(&f, 10);
    assert_said(&f, "alive");
    buffer_close(&source);
    fixture_close(&f);
}

#define KILLED "over its budget of 100 ms"

static void a_loop_is_killed(void **state)
{
    (void)state;
    expect_killed("while true do end", KILLED);
}

static void a_kill_names_the_line_that_ran(void **state)
{
    (void)state;
    expect_killed("local x\nwhile true do\nx = 1\nend", KILLED " of processor time (at ");
    expect_killed("coroutine.wrap(function() while true do end end)()", " (at ");
}

static void a_kill_passes_pcall(void **state)
{
    (void)state;
    expect_killed("pcall(function() while true do end end) ", KILLED);
    expect_killed("while true do pcall(function() while true do end end) end", KILLED);
    expect_killed("pcall(pcall, pcall, function() while true do end end)", KILLED);
    /* A task that is pcall: no instruction follows that could raise again. */
    expect_killed("local spin = function() while true do end end\n"
                  "local _, err = mk.task.spawn(pcall, table.sort, {3, 1, 2}, spin):join()\n"
                  "error(tostring(err), 0)",
                  KILLED);
}

static void a_kill_passes_xpcall_and_its_handler(void **state)
{
    (void)state;
    expect_killed("xpcall(function() while true do end end, function() return 1 end)", KILLED);
    expect_killed("xpcall(error, function() while true do end end)", KILLED);
    expect_killed("xpcall(function() table.sort({1,2,3}, function() while true do end end) end,"
                  " function() while true do end end)",
                  KILLED);
    expect_killed("xpcall(error, function() xpcall(error, function() while true do end end) end)",
                  KILLED);
}

static void a_kill_passes_a_sort_comparator(void **state)
{
    (void)state;
    expect_killed("table.sort({3, 1, 2}, function() while true do end end)", KILLED);
    expect_killed("table.sort({3, 1, 2}, function()\n"
                  "  while true do pcall(function() while true do end end) end\n"
                  "end)",
                  KILLED);
    expect_killed("pcall(table.sort, {3, 1, 2}, function(a, b)\n"
                  "  pcall(function() while true do end end) return a < b\n"
                  "end)",
                  KILLED);
}

static void a_kill_passes_coroutines(void **state)
{
    (void)state;
    expect_killed("coroutine.wrap(function() while true do end end)()", KILLED);
    expect_killed("coroutine.resume(coroutine.create(function() while true do end end))", KILLED);
    expect_killed("while true do coroutine.wrap(function() end)() end", KILLED);
    expect_killed("local co = coroutine.wrap(function() while true do coroutine.yield() end end)\n"
                  "while true do co() end",
                  KILLED);
    expect_killed("table.sort({3, 1, 2}, function()\n"
                  "  coroutine.wrap(function() while true do end end)()\n"
                  "end)",
                  KILLED);
    expect_killed("table.sort({3, 1, 2}, function()\n"
                  "  while true do coroutine.resume(coroutine.create(function()\n"
                  "    while true do end end)) end\n"
                  "end)",
                  KILLED);
}

static void a_kill_passes_metamethods(void **state)
{
    (void)state;
    expect_killed("local t = setmetatable({}, {__index = function() while true do end end})\n"
                  "local _ = t.x",
                  KILLED);
    expect_killed("tostring(setmetatable({}, {__tostring = function() while true do end end}))",
                  KILLED);
    expect_killed("local s = ('x'):rep(3):gsub('.', function() while true do end end)", KILLED);
    expect_killed("for _ in setmetatable({}, {__call = function() while true do end end}) do end",
                  KILLED);
}

static void a_kill_passes_close_variables(void **state)
{
    (void)state;
    expect_killed("do local x <close> = setmetatable({}, {__close = function()\n"
                  "  while true do end end}) end",
                  KILLED);
    expect_killed("local x <close> = setmetatable({}, {__close = function()\n"
                  "  while true do end end})\n"
                  "while true do end",
                  KILLED);
    expect_killed(
        "local x <close> = setmetatable({}, {__close = function()\n"
        "  while true do pcall(function() while true do end end) end end})\n"
        "local y <close> = setmetatable({}, {__close = function()\n"
        "  coroutine.wrap(function() while true do end end)() end})\n"
        "coroutine.wrap(function()\n"
        "  local z <close> = setmetatable({}, {__close = function() while true do end end})\n"
        "  while true do end end)()",
        KILLED);
}

static void a_killed_task_closes_its_variables(void **state)
{
    (void)state;
    expect_killed("local x <close> = setmetatable({}, {__close = function()\n"
                  "  mk.log.info('outer closed') end})\n"
                  "coroutine.wrap(function()\n"
                  "  local y <close> = setmetatable({}, {__close = function()\n"
                  "    mk.log.info('inner closed') end})\n"
                  "  while true do end end)()",
                  "inner closed app=app hook=");
    expect_killed("local x <close> = setmetatable({}, {__close = function()\n"
                  "  mk.log.info('outer closed') end})\n"
                  "while true do end",
                  "outer closed app=app hook=");
}

static void a_close_handler_of_a_killed_task_cannot_wait(void **state)
{
    (void)state;
    expect_killed("local x <close> = setmetatable({}, {__close = function()\n"
                  "  local ok, err = pcall(mk.task.sleep, 10) mk.log.info(err) end})\n"
                  "while true do end",
                  "cannot wait here");
    expect_killed("coroutine.wrap(function()\n"
                  "  local x <close> = setmetatable({}, {__close = function()\n"
                  "    local ok, err = pcall(coroutine.yield) mk.log.info(err) end})\n"
                  "  while true do end end)()",
                  "attempt to yield while closing");
}

/* ---- memory ------------------------------------------------------------------------------------
 */

/* ThreadSanitizer has nothing to find in what one thread does alone, and takes minutes for millions
 * of allocations and jumps. */
static void skip_under_tsan(void)
{
    if (UNDER_TSAN) {
        skip();
    }
}

static void too_much_memory_is_an_error(void **state)
{
    (void)state;
    skip_under_tsan();
    expect_killed("string.rep('x', 1000000000)", "not enough memory");
    expect_killed("local t = {} for i = 1, 1e9 do t[i] = {i} end", "not enough memory");
    expect_killed("local s = 'x' while true do s = s .. s end", "not enough memory");
    expect_killed("table.concat({('x'):rep(40000000), ('y'):rep(40000000)})", "not enough memory");
}

static void memory_comes_back(void **state)
{
    (void)state;
    skip_under_tsan();
    struct fixture f;
    open_small(&f);
    load(&f, "local mk = require 'moonkeeper'\n"
             "mk.on('my.bomb', function() local t = {} for i = 1, 1e9 do t[i] = {i} end end)\n"
             "for i = 1, 5 do mk.emit('my.bomb') end");
    run_for(&f, 1000);
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.hook_errors, 5);
    load_named(&f, "b", "require 'moonkeeper'.log.info('still here')");
    run_for(&f, 1);
    assert_said(&f, "still here");
    fixture_close(&f);
}

static void deep_recursion_is_an_error(void **state)
{
    (void)state;
    skip_under_tsan();
    expect_killed("local function f() return 1 + f() end f()",
                  "script error"); /* memory or stack */
    expect_killed("local function f() coroutine.wrap(f)() end f()", "C stack overflow");
    expect_killed("local s = ('('):rep(300000) assert(load('return ' .. s))", "");
    expect_killed("local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) "
                  "return t[k] end local _ = t.x",
                  "overflow");
}

static void a_hostile_pattern_is_an_error(void **state)
{
    (void)state;
    skip_under_tsan();
    expect_killed("string.find(('a'):rep(40), ('a?'):rep(40) .. ('a'):rep(40))", "takes too long");
    expect_killed("string.match(('a'):rep(5000), '.-.-.-.-b')", "takes too long");
    expect_killed("string.gsub(('a'):rep(200000), '.-b', '')", "takes too long");
    expect_killed("for _ in string.gmatch(('a'):rep(200000), '.-b') do end", "takes too long");
    expect_killed("string.gsub(('xy'):rep(10000), 'x+', ('z'):rep(10000))", "too large");
    expect_killed("string.gsub(('x'):rep(10000), 'x?', ('z'):rep(10000))", "not enough memory");
    expect_killed("local s, n = ('ab '):rep(300000):gsub('%s+', '_')\n"
                  "local words = 0 for w in s:gmatch('[^_]+') do words = words + 1 end\n"
                  "error(n .. ' replaced, ' .. words .. ' words')",
                  "300000 replaced, 300000 words");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loop_is_killed),
        cmocka_unit_test(a_kill_names_the_line_that_ran),
        cmocka_unit_test(a_kill_passes_pcall),
        cmocka_unit_test(a_kill_passes_xpcall_and_its_handler),
        cmocka_unit_test(a_kill_passes_a_sort_comparator),
        cmocka_unit_test(a_kill_passes_coroutines),
        cmocka_unit_test(a_kill_passes_metamethods),
        cmocka_unit_test(a_kill_passes_close_variables),
        cmocka_unit_test(a_killed_task_closes_its_variables),
        cmocka_unit_test(a_close_handler_of_a_killed_task_cannot_wait),
        cmocka_unit_test(too_much_memory_is_an_error),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(deep_recursion_is_an_error),
        cmocka_unit_test(a_hostile_pattern_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
