#include "base/histogram.h"
#include "host_fixture.h"

#define MK "local mk = require 'moonkeeper' local log = mk.log.info\n"

static void a_hook_gets_the_event(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.on('leader_ready', function(ev)\n"
                "  log('ready', {name = ev.name, index = ev.index, term = ev.term, seq = ev.seq,\n"
                "    ms = ev.time_ms})\n"
                "end)\n");
    f.view.term = 7;
    post(&f, "leader_ready", "index", 12);
    settle(&f);
    assert_said(&f, "index=12 ms=1700000001000 name=leader_ready seq=1 term=7");
    fixture_close(&f);
}

static void hooks_start_by_priority_then_by_registration(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local order = {}\n"
                "local function add(tag, p)\n"
                "  mk.on('leader_ready', function() order[#order + 1] = tag end, {priority = p})\n"
                "end\n"
                "add('c') add('d') add('b', 5) add('a', 9) add('e', -1)\n"
                "mk.on('leader_ready', function() mk.task.sleep(1) log(table.concat(order)) end)");
    post(&f, "leader_ready", "index", 1);
    run_for(&f, 5);
    assert_said(&f, "abcde");
    fixture_close(&f);
}

static void the_same_name_replaces(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local old = mk.on('leader_ready', function() log('old') end, {name = 'x'})\n"
                "mk.on('leader_ready', function() log('new') end, {name = 'x'})\n"
                "mk.on('leader_ready', function() log('unnamed 1') end)\n"
                "mk.on('leader_ready', function() log('unnamed 2') end)\n"
                "log('hooks ' .. #mk.hooks() .. ' ' .. old:stats().state)");
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    assert_said(&f, "hooks 3 off");
    assert_silent(&f, "old app");
    assert_said(&f, "new");
    assert_said(&f, "unnamed 1");
    assert_said(&f, "unnamed 2");
    fixture_close(&f);
}

static void a_once_hook_is_called_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.on('leader_ready', function(ev) log('once ' .. ev.index) end, {once = true})");
    post(&f, "leader_ready", "index", 1);
    post(&f, "leader_ready", "index", 2);
    settle(&f);
    assert_said(&f, "once 1");
    assert_silent(&f, "once 2");
    fixture_close(&f);
}

static void a_state_event_is_replayed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, "local mk = require 'moonkeeper'");
    post(&f, "term_change", "old_term", 3);
    post(&f, "term_change", "old_term", 4);
    settle(&f);
    load_named(
        &f, "late",
        MK "mk.on('term_change', function(ev) log('now ' .. ev.old_term) end, {replay = true})\n"
           "mk.on('term_change', function(ev) log('later ' .. ev.old_term) end)\n"
           "log(tostring(select(2, pcall(mk.on, 'commit', print, {replay = true}))))");
    settle(&f);
    assert_said(&f, "now 4");
    assert_silent(&f, "now 3");
    assert_silent(&f, "later");
    assert_said(&f, "only state events can be replayed");
    fixture_close(&f);
}

/* The opposite of what was true before is not told as well. */
static void of_opposite_states_the_present_one_is_replayed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, "local mk = require 'moonkeeper'");
    const char *const names[] = {"leader_elected", "leader_lost", "leader_elected"};
    for (size_t i = 0; i < 3; i++) {
        post(&f, names[i], "n", i);
        settle(&f);
        char app[16];
        snprintf(app, sizeof app, "app%d", (int)i);
        forget(&f);
        load_named(&f, app,
                   MK "for _, name in ipairs{'leader_elected', 'leader_lost'} do\n"
                      "  mk.on(name, function(ev) log('now ' .. name .. ' ' .. ev.n) end,\n"
                      "    {replay = true})\n"
                      "end");
        settle(&f);
        assert_int_equal(said(&f, "now leader_elected 0"), i == 0);
        assert_int_equal(said(&f, "now leader_lost 1"), i == 1);
        assert_int_equal(said(&f, "now leader_elected 2"), i == 2);
    }
    fixture_close(&f);
}

static void calls_of_one_hook_are_serial_and_in_order(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local busy = false\n"
                "mk.on('leader_ready', function(ev)\n"
                "  assert(not busy) busy = true\n"
                "  mk.task.sleep(10 - ev.index)\n"
                "  busy = false log('call ' .. ev.index)\n"
                "end)\n"
                "mk.on('leader_ready', function(ev) log('quick ' .. ev.index) end)");
    for (uint64_t i = 1; i <= 3; i++) {
        post(&f, "leader_ready", "index", i);
    }
    settle(&f);
    assert_said(&f, "quick 3"); /* a slow hook holds up nobody else */
    assert_silent(&f, "call");
    run_for(&f, 100);
    const char *text = buffer_text(&f.said);
    assert_true(strstr(text, "call 1") < strstr(text, "call 2"));
    assert_true(strstr(text, "call 2") < strstr(text, "call 3"));
    fixture_close(&f);
}

static void a_hook_that_throws_leaves_the_others_alone(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(
        &f, MK
        "mk.on('error', function(ev)\n"
        "  log('told', {from = ev.app, where = ev.where, message = ev.message, count = ev.count})\n"
        "  log(ev.traceback)\n"
        "end)\n"
        "mk.on('leader_ready', function() error('broken') end, {name = 'bad', priority = 1})\n"
        "mk.on('leader_ready', function() log('fine') end)\n"
        "mk.on('leader_ready', function() error({code = 'conflict', message = 'an object'}) end)");
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    assert_said(&f, "fine");
    assert_said(&f, "err=\"test.lua:6: broken\" traceback=\"stack traceback:");
    assert_said(&f,
                "count=1 from=app message=\"test.lua:6: broken\" where=\"hook leader_ready/bad\"");
    assert_said(&f, "test.lua:6: in function");
    assert_said(&f, "conflict: an object");
    fixture_close(&f);
}

static void an_error_hook_that_throws_does_not_loop(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.on('error', function(ev) error('in the error hook') end)\n"
                "mk.on('leader_ready', function() error('first') end)");
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    assert_said(&f, "in the error hook");
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.hook_errors, 2);
    fixture_close(&f);
}

static void ten_failures_in_a_row_trip_a_hook_for_a_minute(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "bad = true\n"
            "hook = mk.on('my.event', function() calls = (calls or 0) + 1\n"
            "  if bad then error('no') end end, {name = 'h'})\n"
            "mk.on('my.report', function() local s = hook:stats()\n"
            "  log('state ' .. s.state .. ' calls ' .. s.calls .. ' errors ' .. s.errors) end)\n"
            "mk.on('my.heal', function() bad = false end)\n"
            "mk.on('my.go', function() mk.emit('my.event') end)\n"
            "mk.on('my.ten', function() for i = 1, 10 do mk.emit('my.event') end end)\n");
    load_named(
        &f, "drive",
        MK "mk.task.spawn(function()\n"
           "  mk.emit('my.ten') mk.task.sleep(1000) mk.emit('my.report')\n"
           "  mk.emit('my.go') mk.task.sleep(58000) mk.emit('my.report')\n"
           "  mk.task.sleep(2000) mk.emit('my.report')\n"
           "  mk.emit('my.ten') mk.task.sleep(61000) mk.emit('my.report')\n" /* now two minutes */
           "  mk.task.sleep(60000) mk.emit('my.heal') mk.emit('my.go') mk.task.sleep(1)\n"
           "  mk.emit('my.report')\n"
           "end)");
    run_for(&f, 500);
    assert_said(&f, "hook tripped");
    run_for(&f, 1000);
    assert_said(&f, "state tripped calls 10 errors 10");
    forget(&f);
    run_for(&f, 58000);
    assert_said(&f, "state tripped calls 10"); /* what happens meanwhile is missed */
    forget(&f);
    run_for(&f, 2000);
    assert_said(&f, "state on calls 10");
    forget(&f);
    run_for(&f, 61000);
    assert_said(&f, "state tripped calls 20 errors 20");
    forget(&f);
    run_for(&f, 60100);
    assert_said(&f, "state on calls 21 errors 20");
    fixture_close(&f);
}

static void a_hook_that_takes_too_long_is_cancelled(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "mk.on('leader_ready', function()\n"
            "  local ok, err = pcall(mk.task.sleep, 10000)\n"
            "  log('woken ' .. tostring(err)) log(err.code)\n"
            "  mk.task.sleep(1)\n"
            "  log('went on')\n"
            "end, {timeout_ms = 50, name = 'slow'})\n"
            "mk.on('error', function(ev) log('error: ' .. ev.where .. ': ' .. ev.message) end)");
    post(&f, "leader_ready", "index", 1);
    run_for(&f, 40);
    assert_silent(&f, "woken");
    run_for(&f, 20);
    assert_said(&f, "woken timeout: the hook's timeout_ms is over");
    assert_said(&f, "error: hook leader_ready/slow: the hook's timeout_ms is over");
    assert_silent(&f, "went on");
    fixture_close(&f);
}

static void a_full_queue_keeps_the_latest_state_and_counts_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct script_options options = fixture_options(&f);
    options.limits.events_max = 4;
    f.host = script_host_new(&options);
    load(&f,
         MK "mk.on('term_change', function(ev) log('term ' .. ev.old_term) mk.task.sleep(1) end)\n"
            "mk.on('leader_ready', function(ev) log('ready ' .. ev.index) mk.task.sleep(1) end)");
    for (uint64_t i = 1; i <= 10; i++) {
        post(&f, "term_change", "old_term", i);
        settle(&f);
        post(&f, "leader_ready", "index", i);
        settle(&f);
    }
    run_for(&f, 50);
    assert_said(&f, "term 10"); /* the latest, whatever was left out */
    assert_said(&f, "ready 5");
    assert_silent(&f, "ready 6");
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.events_dropped, 5);
    fixture_close(&f);
}

static void a_full_inbox_keeps_the_latest_state_and_counts_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct script_options options = fixture_options(&f);
    options.limits.events_max = 4;
    f.host = script_host_new(&options);
    load(&f, MK "mk.on('term_change', function(ev) log('term ' .. ev.old_term) end)\n"
                "mk.on('leader_ready', function(ev) log('ready ' .. ev.index) end)");
    for (uint64_t i = 1; i <= 10; i++) {
        post(&f, "leader_ready", "index", i);
        post(&f, "term_change", "old_term", i);
    }
    settle(&f);
    assert_said(&f, "term 10");
    assert_said(&f, "ready 2");
    assert_silent(&f, "ready 3");
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.events_dropped, 8);
    fixture_close(&f);
}

static void a_hook_can_be_disabled_and_removed(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local h = mk.on('my.event', function(ev) log('got ' .. ev.payload.n) end)\n"
                "mk.task.spawn(function()\n"
                "  mk.emit('my.event', {n = 1}) mk.task.sleep(1)\n"
                "  h:disable() mk.emit('my.event', {n = 2}) mk.task.sleep(1)\n"
                "  h:enable() mk.emit('my.event', {n = 3}) mk.task.sleep(1)\n"
                "  h:remove() mk.emit('my.event', {n = 4}) mk.task.sleep(1)\n"
                "  h:remove() h:enable() mk.emit('my.event', {n = 5})\n"
                "  log(h:stats().state .. h:stats().calls .. ' of ' .. #mk.hooks())\n"
                "end)");
    run_for(&f, 10);
    assert_said(&f, "got 1");
    assert_silent(&f, "got 2");
    assert_said(&f, "got 3");
    assert_silent(&f, "got 4");
    assert_silent(&f, "got 5");
    assert_said(&f, "off2 of 0");
    fixture_close(&f);
}

static void a_misspelt_event_or_option_is_an_error(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local function try(...) log(select(2, pcall(...))) end\n"
                "try(mk.on, 'leader_elect', print)\n"
                "try(mk.on, 'leader_elected', print, {nam = 'x'})\n"
                "try(mk.on, 'leader_elected')\n"
                "try(mk.on, 'leader_elected', print, {timeout_ms = 'x'})\n"
                "try(mk.emit, 'leader_elected', 1)\n"
                "try(mk.emit, 'my.event', print)\n");
    assert_said(&f, "there is no event 'leader_elect'; did you mean 'leader_elected'?");
    assert_said(&f, "there is no option 'nam'; did you mean 'name'?");
    assert_said(&f, "function expected");
    assert_said(&f, "option timeout_ms must be a time in ms");
    assert_said(&f, "an event of your own needs a '.' in its name");
    fixture_close(&f);
}

static void a_script_that_does_not_compile_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct why why = {0};
    struct script_app app = {.name = "a", .path = "bad.lua", .source = "x =\n\n= 1"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_INVALID);
    assert_string_equal(why.text, "bad.lua:3: unexpected symbol near '='");
    app = (struct script_app){.name = "a", .path = "no/such/file.lua"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "no/such/file.lua"));
    app = (struct script_app){.name = "a", .path = "tests"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_IO);
    app = (struct script_app){.name = "a", .path = "b.lua", .source = "\x1bLua binary"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_INVALID);
    load_named(&f, "a", "");
    app = (struct script_app){.name = "a", .path = "x.lua", .source = ""};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_EXISTS);
    fixture_close(&f);
}

static void a_bundled_script_is_loaded_by_name(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct why why = {0};
    struct script_app app = {.name = "demo", .path = "bundled:demo"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_OK);
    run_for(&f, 10);
    assert_silent(&f, "script error");
    app = (struct script_app){.name = "b", .path = "bundled:dem"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "did you mean \"bundled:demo\"? There are: "));
    assert_int_equal(script_check("bundled:demo", &why), ERR_OK);
    assert_int_equal(script_check("bundled:", &why), ERR_NOT_FOUND);
    fixture_close(&f);
}

static void the_modules_of_a_bundled_script_are_its_own(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct why why = {0};
    struct script_app app = {
        .name = "cron",
        .path = "bundled:cron",
        .source = MK "log(type(require 'cron.plan'.due))\n"
                     "log(select(2, pcall(require 'cron.plan'.due)))\n"
                     "log(select(2, pcall(require, 'cron.pla')))\n",
    };
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_OK);
    run_for(&f, 10);
    assert_said(&f, "function");
    assert_said(&f, "bundled:cron/plan:"); /* where errors are */
    assert_said(&f, "no module 'cron.pla' in bundled:cron");
    app = (struct script_app){.name = "other",
                              .path = "bundled:demo",
                              .source =
                                  MK "log('other: ' .. select(2, pcall(require, 'cron.plan')))"};
    assert_int_equal(script_host_load(f.host, &app, &why), ERR_OK);
    run_for(&f, 10);
    assert_said(&f, "other: module 'cron.plan' not found");
    assert_int_equal(script_check("bundled:cron", &why), ERR_OK);
    assert_int_equal(script_check("bundled:cron/plan", &why), ERR_NOT_FOUND);
    assert_null(strstr(why.text, ", cron/"));
    fixture_close(&f);
}

static void shutdown_hooks_run_within_their_deadline(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.on('shutdown', function(ev) log('left ' .. ev.deadline_ms)\n"
                "  mk.task.sleep(100) log('saved') end)");
    script_host_shutdown_begin(f.host, f.now_us + 500000);
    settle(&f);
    assert_said(&f, "left 500");
    assert_false(script_host_shutdown_finished(f.host));
    run_for(&f, 101);
    assert_said(&f, "saved");
    assert_true(script_host_shutdown_finished(f.host));
    fixture_close(&f);

    fixture_open(&f);
    load(&f, MK "mk.on('shutdown', function(ev) mk.task.sleep(1000) end)");
    script_host_shutdown_begin(f.host, f.now_us + 500000);
    run_for(&f, 499);
    assert_false(script_host_shutdown_finished(f.host));
    run_for(&f, 2);
    assert_true(script_host_shutdown_finished(f.host));
    fixture_close(&f);
}

static void shutdown_without_hooks_is_finished_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    script_host_shutdown_begin(f.host, f.now_us + 500000);
    settle(&f);
    assert_true(script_host_shutdown_finished(f.host));
    fixture_close(&f);
}

static void hooks_are_listed_with_their_figures(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.on('leader_ready', function() mk.task.sleep(7) end, {name = 'seven'})");
    post(&f, "leader_ready", "index", 1);
    run_for(&f, 300);
    struct slice hooks = script_host_hooks(f.host);
    struct reader r = reader_of(slice_bytes(hooks));
    assert_int_equal(read_array(&r), 1);
    uint32_t fields = read_map(&r);
    int seen = 0;
    for (uint32_t i = 0; i < fields; i++) {
        struct bytes key = read_str(&r, 32);
        if (bytes_equal(key, bytes_of_string("p99_us")) ||
            bytes_equal(key, bytes_of_string("sum_us"))) {
            assert_int_equal(read_u64(&r), 7000);
            seen++;
        } else if (bytes_equal(key, bytes_of_string("buckets"))) {
            assert_int_equal(read_array(&r), HISTOGRAM_BOUNDS + 1);
            for (int bucket = 0; bucket <= HISTOGRAM_BOUNDS; bucket++) {
                bool within = bucket > 0 && bucket < HISTOGRAM_BOUNDS &&
                              histogram_bounds_us[bucket - 1] < 7000 &&
                              histogram_bounds_us[bucket] >= 7000;
                assert_int_equal(read_u64(&r), within);
            }
            seen++;
        } else {
            read_skip(&r);
        }
    }
    assert_int_equal(seen, 3);
    assert_int_equal(reader_end(&r), ERR_OK);
    slice_close(&hooks);
    fixture_close(&f);
}

static uint32_t listed(struct fixture *f)
{
    struct slice hooks = script_host_hooks(f->host);
    struct reader r = reader_of(slice_bytes(hooks));
    uint32_t count = read_array(&r);
    slice_close(&hooks);
    return count;
}

static void the_list_is_made_anew_before_the_host_falls_silent(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.task.sleep(20) mk.on('leader_ready', function() end)");
    run_for(&f, 10);
    assert_int_equal(listed(&f), 0);
    run_for(&f, 300); /* only when it wants to be: nothing happens after the first 20 ms */
    assert_int_equal(listed(&f), 1);
    assert_true(script_host_run(f.host) == UINT64_MAX);
    fixture_close(&f);
}

/* The state of the only application; error is "" without one. */
static void assert_app(struct fixture *f, const char *expected, const char *error_part)
{
    struct slice apps = script_host_apps(f->host);
    struct reader r = reader_of(slice_bytes(apps));
    assert_int_equal(read_array(&r), 1);
    uint32_t fields = read_map(&r);
    for (uint32_t i = 0; i < fields; i++) {
        struct bytes key = read_str(&r, 32);
        if (bytes_equal(key, bytes_of_string("state"))) {
            assert_true(bytes_equal(read_str(&r, 32), bytes_of_string(expected)));
        } else if (bytes_equal(key, bytes_of_string("error")) && error_part != NULL) {
            struct bytes error = read_str(&r, 1024);
            assert_non_null(memmem(error.data, error.size, error_part, strlen(error_part)));
        } else {
            read_skip(&r);
        }
    }
    assert_int_equal(reader_end(&r), ERR_OK);
    slice_close(&apps);
}

static void an_application_says_how_its_main_chunk_fared(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load_named(&f, "app", MK "mk.task.sleep(600) error('too late')");
    assert_app(&f, "starting", NULL); /* seen from the beginning: a node with it is not ready yet */
    run_for(&f, 10);
    assert_app(&f, "running", NULL); /* it waits: so it is loaded */
    run_for(&f, 900);
    assert_app(&f, "failed", "too late");
    fixture_close(&f);
    fixture_open(&f);
    load(&f, MK "mk.task.spawn(function() error('of a task') end)");
    run_for(&f, 300);
    assert_app(&f, "running", NULL);
    fixture_close(&f);
    fixture_open(&f);
    load(&f, "while true do end");
    run_for(&f, 900);
    assert_app(&f, "failed", "over its budget");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hook_gets_the_event),
        cmocka_unit_test(hooks_start_by_priority_then_by_registration),
        cmocka_unit_test(the_same_name_replaces),
        cmocka_unit_test(a_once_hook_is_called_once),
        cmocka_unit_test(a_state_event_is_replayed),
        cmocka_unit_test(of_opposite_states_the_present_one_is_replayed),
        cmocka_unit_test(calls_of_one_hook_are_serial_and_in_order),
        cmocka_unit_test(a_hook_that_throws_leaves_the_others_alone),
        cmocka_unit_test(an_error_hook_that_throws_does_not_loop),
        cmocka_unit_test(ten_failures_in_a_row_trip_a_hook_for_a_minute),
        cmocka_unit_test(a_hook_that_takes_too_long_is_cancelled),
        cmocka_unit_test(a_full_queue_keeps_the_latest_state_and_counts_the_rest),
        cmocka_unit_test(a_full_inbox_keeps_the_latest_state_and_counts_the_rest),
        cmocka_unit_test(a_hook_can_be_disabled_and_removed),
        cmocka_unit_test(a_misspelt_event_or_option_is_an_error),
        cmocka_unit_test(a_script_that_does_not_compile_is_refused),
        cmocka_unit_test(a_bundled_script_is_loaded_by_name),
        cmocka_unit_test(the_modules_of_a_bundled_script_are_its_own),
        cmocka_unit_test(shutdown_hooks_run_within_their_deadline),
        cmocka_unit_test(shutdown_without_hooks_is_finished_at_once),
        cmocka_unit_test(hooks_are_listed_with_their_figures),
        cmocka_unit_test(the_list_is_made_anew_before_the_host_falls_silent),
        cmocka_unit_test(an_application_says_how_its_main_chunk_fared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
