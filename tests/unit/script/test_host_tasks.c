#include "host_fixture.h"

#define MK "local mk = require 'moonkeeper' local log, task = mk.log.info, mk.task\n"

/* Load, let ms pass, and expect every line of `expected` (NULL-terminated) to have been said. */
static void expect(const char *source, uint64_t ms, const char *const *expected)
{
    struct fixture f;
    fixture_open(&f);
    struct buffer text = {0};
    buffer_add_format(&text, "%s%s", MK, source);
    load_named(&f, "app", buffer_text(&text));
    run_for(&f, ms);
    for (; *expected != NULL; expected++) {
        assert_said(&f, *expected);
    }
    assert_silent(&f, "NO");
    buffer_close(&text);
    fixture_close(&f);
}
#define EXPECT(source, ms, ...) expect(source, ms, (const char *const[]){__VA_ARGS__, NULL})

static void the_main_chunk_is_a_task(void **state)
{
    (void)state;
    EXPECT("log('begin') task.sleep(10) log('end ' .. mk.time.now_ms())", 10, "begin", "end 1010");
}

static void tasks_return_and_raise_to_who_joins(void **state)
{
    (void)state;
    EXPECT("local t = task.spawn(function(a, b) task.sleep(5) return a + b, nil, 'x' end, 1, 2)\n"
           "log('results ' .. select('#', t:join()))\n"
           "local a, b, c = t:join() log(a .. tostring(b) .. c)\n"
           "local u = task.spawn(function() error('oops') end)\n"
           "local v, err = u:join() log('err ' .. tostring(v) .. ' ' .. err)\n"
           "local w = task.spawn(function() error(setmetatable({}, {})) end)\n"
           "local _, obj = w:join() log('kind ' .. type(obj))\n"
           "local slow = task.spawn(function() task.sleep(100) end)\n"
           "local r, e = slow:join(5) log(tostring(r) .. ' ' .. e.code) slow:cancel()",
           50, "results 3", "3nilx", "err nil test.lua:5: oops", "kind table", "nil timeout");
}

static void an_error_that_nobody_joins_is_reported(void **state)
{
    (void)state;
    EXPECT("mk.on('error', function(ev) log('told ' .. ev.where .. ' ' .. ev.message) end)\n"
           "task.spawn(function() task.sleep(1) error('lost') end)",
           10, "told task test.lua:3: lost", "script error");
}

static void children_die_with_their_parent(void **state)
{
    (void)state;
    EXPECT("mk.on('my.go', function()\n"
           "  task.spawn(function()\n"
           "    task.spawn(function() local ok, e = pcall(task.sleep, 1000) log('grandchild ' .. "
           "e.code) end)\n"
           "    local ok, e = pcall(task.sleep, 1000) log('child ' .. e.code)\n"
           "    task.sleep(1) log('NO')\n"
           "  end)\n"
           "  task.sleep(5)\n"
           "end)\n"
           "mk.emit('my.go')",
           100, "child cancelled", "grandchild cancelled");
}

static void tasks_of_the_main_chunk_outlive_it(void **state)
{
    (void)state;
    EXPECT("task.spawn(function() task.sleep(50) log('still here') end)", 60, "still here");
}

static void cancellation_raises_at_every_later_wait(void **state)
{
    (void)state;
    EXPECT("local t = task.spawn(function()\n"
           "  for i = 1, 3 do\n"
           "    local ok, err = pcall(task.sleep, 100) log(i .. ' ' .. tostring(ok) .. ' ' .. "
           "err.code .. ' ' .. err.message)\n"
           "  end\n"
           "end)\n"
           "task.sleep(1) t:cancel('enough') t:join()",
           10, "1 false cancelled enough", "2 false cancelled enough", "3 false cancelled enough");
}

static void a_cancelled_task_that_goes_on_is_killed(void **state)
{
    (void)state;
    EXPECT("local t = task.spawn(function()\n"
           "  local ch = task.channel(1)\n"
           "  while true do pcall(ch.recv, ch) pcall(task.checkpoint) end\n"
           "end)\n"
           "task.sleep(1) t:cancel() local _, err = t:join() log('ended ' .. err.message)",
           6000, "ended killed: over its budget");
}

static void deferred_functions_run_last_first_and_may_wait(void **state)
{
    (void)state;
    EXPECT("local t = task.spawn(function()\n"
           "  task.defer(function() log('first') end)\n"
           "  task.defer(function() task.sleep(5) log('second') end)\n"
           "  task.sleep(1000)\n"
           "end)\n"
           "task.sleep(1) t:cancel() local _, err = t:join() log('then ' .. err.code)\n"
           "local u = task.spawn(function() task.defer(function() error('in defer') end) return 1 "
           "end)\n"
           "local v, e = u:join() log(tostring(v) .. e)\n"
           "task.spawn(function() task.defer(function() task.sleep(1e6) log('NO') end) end)",
           20000, "second", "first", "then cancelled", "niltest.lua:8: in defer",
           "its deferred functions took too long");
}

static void a_scope_ends_with_its_last_task(void **state)
{
    (void)state;
    EXPECT("local n = 0\n"
           "local r = task.scope(function(x)\n"
           "  for i = 1, 3 do task.spawn(function() task.sleep(i * 10) n = n + 1 end) end\n"
           "  return x .. '!'\n"
           "end, 'result')\n"
           "log('n ' .. n .. ' ' .. r .. ' at ' .. mk.time.now_ms())\n"
           "local ok, err = pcall(task.scope, function()\n"
           "  task.spawn(function() local ok, e = pcall(task.sleep, 1000) log('sibling ' .. "
           "e.code) end)\n"
           "  task.spawn(function() task.sleep(5) error('one failed') end)\n"
           "  task.sleep(1000) log('NO')\n"
           "end)\n"
           "log(tostring(err)  .. ' at ' .. mk.time.now_ms())\n"
           "local ok, err = pcall(task.scope, function()\n"
           "  task.spawn(function() task.sleep(1000) log('NO') end) error('the scope itself', 0)\n"
           "end)\n"
           "log(tostring(err)  .. ' at ' .. mk.time.now_ms())",
           2000, "n 3 result! at 1030", "sibling cancelled", "one failed at 1035",
           "the scope itself at 1035");
}

static void a_task_is_told_in_words(void **state)
{
    (void)state;
    EXPECT("local t = task.spawn(function() task.sleep(10) end)\n"
           "task.sleep(1)\n"
           "log(tostring(t):match '%(.*%)') t:join() log(tostring(t):match '%(.*%)')",
           500, "(waiting)", "(ended)");
}

static void with_timeout_ends_what_takes_too_long(void **state)
{
    (void)state;
    EXPECT("log(task.with_timeout(50, function(a) task.sleep(10) return a end, 'in time'))\n"
           "local v, err = task.with_timeout(50, function() task.sleep(60) log('NO') end)\n"
           "log(tostring(v) .. ' ' .. err.code)\n"
           "log(select(2, pcall(task.with_timeout, 50, error, 'raised')))",
           500, "in time", "nil timeout", "raised");
}

#define SLOW                                                                                \
    "local function slow(ms, what)\n"                                                       \
    "  task.defer(function() task.sleep(ms) log(what .. ' at ' .. mk.time.now_ms()) end)\n" \
    "  task.sleep(1e6)\n"                                                                   \
    "end\n"                                                                                 \
    "local function limited(fn)\n"                                                          \
    "  local ok, value, err = pcall(task.with_timeout, 50, fn)\n"                           \
    "  log(tostring(err or value) .. ' at ' .. mk.time.now_ms())\n"                         \
    "end\n"

static void with_timeout_returns_when_all_in_it_has_ended(void **state)
{
    (void)state;
    EXPECT(SLOW
           "limited(function() task.spawn(slow, 300, 'child') slow(100, 'itself') end)\n"
           "limited(function() task.spawn(slow, 200, 'left') task.sleep(9) return 'done' end)\n"
           "limited(function() task.spawn(slow, 200, 'other') task.sleep(9) error('no', 0) end)\n"
           "limited(function() pcall(task.sleep, 99) error('instead', 0) end)",
           3000, "itself at 1150", "child at 1350", "it took longer than 50 ms at 1350",
           "left at 1559", "done at 1559", "other at 1768", "no at 1768",
           "err=instead traceback=\"stack traceback:\\n\\t[C]: in function 'error'\\n\\ttest.lua:",
           "it took longer than 50 ms at 1818");
}

static void with_timeout_waits_no_longer_than_unwinding_may_take(void **state)
{
    (void)state;
    EXPECT(SLOW "limited(function() slow(1e6, 'NO') end)\n"
                "limited(function() task.spawn(slow, 1e6, 'NO') task.sleep(9) return 'done' end)\n"
                "log(select(2, pcall(task.with_timeout, 500, function() while true do end end)))\n"
                "local t = task.spawn(function()\n"
                "  task.defer(function() log('its caller at ' .. mk.time.now_ms()) end)\n"
                "  task.with_timeout(1e6, slow, 300, 'called')\n"
                "end)\n"
                "task.sleep(1) t:cancel()",
           20000, "it took longer than 50 ms at 6050", "killed: it did not end in time",
           "done at 11059", "cancelled: killed: over its budget", "its caller at 11",
           "called at 11");
}

static void map_keeps_the_order_and_the_limit(void **state)
{
    (void)state;
    EXPECT(
        "local now, most = 0, 0\n"
        "local r = task.map({5, 1, 4, 2, 3}, 2, function(x, i)\n"
        "  now = now + 1 most = math.max(most, now) task.sleep(x) now = now - 1 return x * 10 + i\n"
        "end)\n"
        "log(table.concat(r, ' ') .. ' most ' .. most)\n"
        "log(tostring(select(2, pcall(task.map, {1}, 1, function() error('bad item', 0) end))))",
        100, "51 12 43 24 35 most 2", "bad item");
}

static void events_and_channels_wake_who_waits(void **state)
{
    (void)state;
    EXPECT("local e = task.event()\n"
           "for i = 1, 2 do task.spawn(function() log(i .. ' waited ' .. tostring(e:wait())) end) "
           "end\n"
           "task.sleep(1) log('timeout ' .. tostring(e:wait(5))) e:set()\n"
           "log('set ' .. tostring(e:wait(0)))\n"
           "local c, got = task.channel(2), {}\n"
           "local p = task.spawn(function() for i = 1, 6 do c:send(i) got[#got + 1] = 's' .. i end "
           "end)\n"
           "task.sleep(1) for i = 1, 6 do got[#got + 1] = 'r' .. c:recv() end\n"
           "p:join() log(table.concat(got, ' '))\n"
           "local v, err = c:recv(3) log(tostring(v) .. ' ' .. err.code)",
           100, "1 waited true", "2 waited true", "timeout false", "set true", "s1 s2 r1 r2",
           "nil timeout");
}

static void a_cancelled_waiter_does_not_take_a_wake_up(void **state)
{
    (void)state;
    EXPECT("local c = task.channel(1)\n"
           "local a = task.spawn(function() c:recv() log('NO') end)\n"
           "local b = task.spawn(function() log('b got ' .. c:recv()) end)\n"
           "task.sleep(1) a:cancel() c:send('x') a:join() b:join()",
           100, "b got x");
}

static void timers_fire_do_not_overlap_and_survive_errors(void **state)
{
    (void)state;
    EXPECT("local n, busy = 0, false\n"
           "local t = mk.timer.every(10, function()\n"
           "  n = n + 1 log('tick ' .. n .. ' at ' .. mk.time.now_ms())\n"
           "  if n == 2 then error('in a timer') end\n"
           "  if n == 3 then while true do end end\n"
           "  if n == 4 then task.sleep(25) end\n"
           "end)\n"
           "mk.timer.after(300, function() t:cancel() log('cancelled at ' .. n) end)\n"
           "mk.timer.after(400, function() log('still ' .. n) end)\n"
           "local x = mk.timer.after(5, function() log('NO') end) x:cancel()",
           500, "tick 1 at 1010", "tick 2 at 1020", "in a timer", "tick 3 at 1030",
           "tick 4 at 1140", "tick 5 at 1170", "cancelled at 17", "still 17", "where=timer");
}

static void a_timer_made_in_a_hook_outlives_the_call(void **state)
{
    (void)state;
    EXPECT("mk.on('my.go', function() mk.timer.after(20, function() log('later') end) end)\n"
           "mk.emit('my.go')",
           100, "later");
}

static void coroutines_may_wait(void **state)
{
    (void)state;
    EXPECT(
        "local gen = coroutine.wrap(function()\n"
        "  for i = 1, 3 do task.sleep(10) coroutine.yield(i) end\n"
        "end)\n"
        "local r = {} for i in gen do r[#r + 1] = i end\n"
        "log(table.concat(r, ',') .. ' at ' .. mk.time.now_ms())\n"
        "local co = coroutine.create(function(a) local b = coroutine.yield(a + 1)\n"
        "  task.sleep(5) return b .. '!' end)\n"
        "log(select(2, coroutine.resume(co, 1)) .. ' ' .. select(2, coroutine.resume(co, 'x'))\n"
        "  .. ' ' .. coroutine.status(co) .. ' ' .. select(2, coroutine.resume(co)))\n"
        "log(tostring(select(2, pcall(coroutine.wrap(function() error('inner', 0) end)))))\n"
        "local c2 = coroutine.create(function() local x <close> = setmetatable({}, {__close = "
        "function()\n"
        "  log('closed') end}) coroutine.yield() end)\n"
        "coroutine.resume(c2) log(tostring(coroutine.close(c2)) .. ' ' .. coroutine.status(c2))\n"
        "log(select(2, pcall(coroutine.yield)))",
        100, "1,2,3 at 1030", "2 x! dead cannot resume dead coroutine", "inner", "closed",
        "true dead", "attempt to yield from outside a coroutine");
}

static void a_script_cannot_resume_a_task(void **state)
{
    (void)state;
    EXPECT("local self = coroutine.running()\n"
           "local inner\n"
           "local t = task.spawn(function()\n"
           "  inner = coroutine.create(function() task.sleep(100) log('slept') end)\n"
           "  log('inner ' .. tostring(coroutine.resume(inner)))\n"
           "end)\n"
           "task.sleep(1)\n"
           "log('1 ' .. tostring(select(2, coroutine.resume(inner))) .. ' ' .. "
           "coroutine.status(inner))\n"
           "log('2 ' .. tostring(select(2, pcall(coroutine.close, inner))))\n"
           "task.spawn(function()\n"
           "  log('3 ' .. tostring(select(2, coroutine.resume(self))))\n"
           "  log('4 ' .. tostring(select(2, pcall(coroutine.close, self))))\n"
           "end)\n",
           200, "1 cannot resume non-suspended coroutine normal",
           "2 cannot close a normal coroutine", "3 cannot resume non-suspended coroutine",
           "4 cannot close a normal coroutine", "slept", "inner true");
}

static void waiting_across_a_c_call_is_an_error(void **state)
{
    (void)state;
    EXPECT(
        "local _, e = pcall(table.sort, {3, 2, 1}, function() task.sleep(1) end) log('1 ' .. e)\n"
        "local _, e = pcall(table.sort, {3, 2, 1}, function()\n"
        "  coroutine.wrap(function() task.sleep(1) end)() end) log('2 ' .. e)\n"
        "package.preload.m = function() task.sleep(1) end\n"
        "local _, e = pcall(require, 'm') log('3 ' .. e)",
        10, "1 test.lua:2: cannot wait here", "cannot wait here: a C function is in between",
        "3 test.lua:5: cannot wait here");
}

static void long_work_shares_the_processor(void **state)
{
    (void)state;
    EXPECT("local n = 0\n"
           "task.spawn(function() for i = 1, 1000000 do n = n + 1 end log('long done at ' .. "
           "mk.time.now_ms()) end)\n"
           "task.spawn(function() for i = 1, 5 do task.sleep(2) log('short ' .. i .. ' at ' .. "
           "mk.time.now_ms()) end end)",
           200, "short 1 at 1006", "short 5 at 1022", "long done at 1038");
}

static void a_checkpoint_begins_a_new_budget(void **state)
{
    (void)state;
    EXPECT(
        "for i = 1, 10 do local n = 0 for j = 1, 1000000 do n = n + j end task.checkpoint() end\n"
        "log('through')",
        1000, "through");
}

static void the_sandbox_keeps_its_promises(void **state)
{
    (void)state;
    EXPECT(
        "local function try(tag, ...) log(tag .. ' ' .. tostring(select(2, pcall(...)))) end\n"
        "try('1', os.exit) try('2', io.open, 'x') try('3', io.lines, 'x') try('4', io.read)\n"
        "try('5', setmetatable, {}, {__gc = function() end})\n"
        "log('6 ' .. tostring(load('\\27Lua')) .. tostring(load('x =')))\n"
        "log('7 ' .. tostring(string.dump) .. tostring(dofile) .. tostring(debug.sethook) .. "
        "tostring(package.loadlib))\n"
        "log('8 ' .. load('return ...', 'n', 'b', {})(42))\n"
        "log('9 ' .. tostring(pcall(require, 'no.such.module')))\n"
        "log('10 ' .. tostring(require 'moonkeeper' == mk) .. tostring(require 'moonkeeper.kv' == "
        "mk.kv))\n"
        "log('11 ' .. os.date('%Y') .. ' ' .. os.time() .. ' ' .. tostring(os.getenv('HOME')))\n"
        "print('printed', 1, nil, {} ~= nil)",
        10, "1 os.exit is not available: use mk.shutdown()", "2 io.open is not available",
        "3 io.lines is not available", "4 io.read is not available", "5 __gc is not allowed",
        "6 nilnil", "7 nilnilnilnil", "8 42", "9 false", "10 truetrue", "11 2023 1700000001 nil",
        "printed 1 nil true");
}

static void iteration_is_ordered_in_simulation(void **state)
{
    (void)state;
    EXPECT(
        "local t = {b = 1, a = 2, [3] = 3, [1] = 1, [2.5] = 2, c = 3, [-1] = 0}\n"
        "local r = {} for k in pairs(t) do r[#r + 1] = tostring(k) end log(table.concat(r, ' '))\n"
        "local r = {} for k in next, t do r[#r + 1] = tostring(k) end log('next ' .. "
        "table.concat(r, ' '))\n"
        "for k in pairs(t) do t[k] = nil end log('empty ' .. tostring(next(t)))\n"
        "local p = setmetatable({}, {__pairs = function() return function(_, k)\n"
        "  task.sleep(1) if not k then return 'own' end end end})\n"
        "for k in pairs(p) do log(k .. ' pairs') end",
        10, "-1 1 3 2.5 a b c", "next -1 1 3 2.5 a b c", "empty nil", "own pairs");
}

/* Tables of strings, random numbers, timers, tasks that compete, coroutines: what could differ. */
static const char *const busy =
    MK "local names = {}\n"
       "for i = 1, 40 do names['name' .. math.random(1 << 30)] = i end\n"
       "math.randomseed()\n"
       "for name, i in pairs(names) do\n"
       "  task.spawn(function()\n"
       "    task.sleep(math.random(0, 3)) log(name .. ' ' .. i .. ' at ' .. mk.time.now_ms())\n"
       "    mk.emit('my.event', {name = name, list = names})\n"
       "  end)\n"
       "end\n"
       "mk.on('my.event', function(ev) for k, v in next, ev.payload.list do\n"
       "  if math.random(30) == 1 then log(k .. v) end end end)\n"
       "mk.on('my.event', function(ev) task.sleep(1) log('slow ' .. ev.payload.name, "
       "ev.payload.list) end)\n"
       "local c = task.channel(2)\n"
       "for i = 1, 3 do task.spawn(function() for j = 1, 9 do c:send(i * 10 + j) task.sleep(i) end "
       "end) end\n"
       "for i = 1, 27 do local v = c:recv() if v % 7 == 0 then for i = 1, 1e6 do end end log('c ' "
       ".. v) end\n"
       "mk.timer.every(2, function() log('tick ' .. tostring(os.time())) end)\n";

static void equal_seeds_give_equal_runs(void **state)
{
    (void)state;
    struct fixture f[3];
    for (int i = 0; i < 3; i++) {
        fixture_open(&f[i]);
        if (i == 2) {
            rng_seed(&f[i].rng, 43);
        }
        load_named(&f[i], "app", busy);
        run_for(&f[i], 1000);
    }
    assert_true(f[0].said.size > 10000);
    assert_string_equal(buffer_text(&f[0].said), buffer_text(&f[1].said));
    assert_string_not_equal(buffer_text(&f[0].said), buffer_text(&f[2].said));
    for (int i = 0; i < 3; i++) {
        fixture_close(&f[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_main_chunk_is_a_task),
        cmocka_unit_test(tasks_return_and_raise_to_who_joins),
        cmocka_unit_test(an_error_that_nobody_joins_is_reported),
        cmocka_unit_test(children_die_with_their_parent),
        cmocka_unit_test(tasks_of_the_main_chunk_outlive_it),
        cmocka_unit_test(cancellation_raises_at_every_later_wait),
        cmocka_unit_test(a_cancelled_task_that_goes_on_is_killed),
        cmocka_unit_test(deferred_functions_run_last_first_and_may_wait),
        cmocka_unit_test(a_scope_ends_with_its_last_task),
        cmocka_unit_test(a_task_is_told_in_words),
        cmocka_unit_test(with_timeout_ends_what_takes_too_long),
        cmocka_unit_test(with_timeout_returns_when_all_in_it_has_ended),
        cmocka_unit_test(with_timeout_waits_no_longer_than_unwinding_may_take),
        cmocka_unit_test(map_keeps_the_order_and_the_limit),
        cmocka_unit_test(events_and_channels_wake_who_waits),
        cmocka_unit_test(a_cancelled_waiter_does_not_take_a_wake_up),
        cmocka_unit_test(timers_fire_do_not_overlap_and_survive_errors),
        cmocka_unit_test(a_timer_made_in_a_hook_outlives_the_call),
        cmocka_unit_test(coroutines_may_wait),
        cmocka_unit_test(a_script_cannot_resume_a_task),
        cmocka_unit_test(waiting_across_a_c_call_is_an_error),
        cmocka_unit_test(long_work_shares_the_processor),
        cmocka_unit_test(a_checkpoint_begins_a_new_budget),
        cmocka_unit_test(the_sandbox_keeps_its_promises),
        cmocka_unit_test(iteration_is_ordered_in_simulation),
        cmocka_unit_test(equal_seeds_give_equal_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
