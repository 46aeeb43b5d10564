#include "fake_processes.h"
#include "host_fixture.h"

#define MK "local mk = require 'moonkeeper' local log, task = mk.log.info, mk.task\n"

/* A while_leader that says when it begins, ticks and is cancelled. */
#define WORKER                                                                                     \
    MK "hook = mk.while_leader('w', function(lead)\n"                                              \
       "  log('begin ' .. lead.term .. '/' .. lead.token)\n"                                       \
       "  task.defer(function() log('deferred') end)\n"                                            \
       "  local ok, err = pcall(function() while true do task.sleep(10) end end)\n"                \
       "  log('cancelled ' .. err.code .. ': ' .. err.message .. ' ' .. tostring(lead:valid()))\n" \
       "end)\n"

static void work_begins_with_leadership_and_ends_with_it(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, WORKER);
    assert_silent(&f, "begin");
    f.view.role = SCRIPT_LEADER; /* elected, but its no-op is not applied yet */
    f.view.term = 3;
    set_view(&f);
    settle(&f);
    assert_silent(&f, "begin");
    lead(&f, 3, 17, 0);
    settle(&f);
    assert_said(&f, "begin 3/17");
    assert_true(script_host_has_leader_work(f.host));
    run_for(&f, 500);
    follow(&f, 4, "n2");
    settle(&f);
    assert_said(&f, "cancelled not_leader: this node leads no longer false");
    assert_said(&f, "deferred");
    assert_false(script_host_has_leader_work(f.host));
    lead(&f, 5, 30, 0);
    settle(&f);
    assert_said(&f, "begin 5/30");
    fixture_close(&f);
}

static void one_leadership_after_another_is_two_runs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, WORKER);
    lead(&f, 3, 17, 0);
    settle(&f);
    lead(&f, 5, 40, 0); /* the view in between was never seen */
    settle(&f);
    assert_said(&f, "cancelled not_leader");
    assert_said(&f, "begin 5/40");
    fixture_close(&f);
}

static void a_run_that_returns_is_done_for_this_leadership(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead) log('run ' .. lead.token) end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 5000);
    assert_said(&f, "run 17");
    forget(&f);
    lead(&f, 3, 17, 0);
    run_for(&f, 5000);
    assert_silent(&f, "run");
    lead(&f, 4, 20, 0);
    run_for(&f, 10);
    assert_said(&f, "run 20");
    fixture_close(&f);
}

static void a_lease_that_is_not_renewed_ends_the_work_before_it_ends(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, WORKER);
    lead(&f, 3, 17, 100);
    settle(&f);
    for (int i = 0; i < 20; i++) { /* renewed every 50 ms */
        run_for(&f, 50);
        lead(&f, 3, 17, 100);
    }
    assert_silent(&f, "cancelled");
    run_for(&f, 79); /* the margin is 10 ms: notice is given 20 ms before the end */
    assert_silent(&f, "cancelled");
    run_for(&f, 2);
    assert_said(&f, "cancelled not_leader: the lease was not renewed true");
    assert_false(script_host_has_leader_work(f.host));
    lead(&f, 3, 17, 100); /* it is renewed after all */
    run_for(&f, 20);
    const char *second = strstr(strstr(buffer_text(&f.said), "cancelled"), "begin 3/17");
    assert_non_null(second);
    fixture_close(&f);
}

static void work_that_does_not_listen_is_killed_before_the_lease_ends(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  local x <close> = setmetatable({}, {__close = function()\n"
                "    log('closed at ' .. mk.time.now_ms()) end})\n"
                "  task.spawn(function() local y <close> = setmetatable({}, {__close = function()\n"
                "    log('child closed at ' .. mk.time.now_ms()) end})\n"
                "    while true do for i = 1, 1e5 do end pcall(task.checkpoint) end end)\n"
                "  while true do for i = 1, 1e5 do end pcall(task.checkpoint) end\n"
                "end)");
    lead(&f, 3, 17, 90); /* until 1090 */
    run_for(&f, 200);
    assert_said(&f, " closed at 1080");
    assert_said(&f, "child closed at 1080");
    assert_false(script_host_has_leader_work(f.host));
    fixture_close(&f);
}

/* The process is stopped for longer than the lease while the request is sent. */
static void stop_for_a_while(struct fixture *f, struct script_request *request)
{
    (void)request;
    f->now_us += 200000;
}

static void after_a_stop_no_slice_begins_without_a_lease(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  local go = task.event()\n"
                "  lead:spawn(function() go:wait() mk.raft.step_down() log('asked') end)\n"
                "  lead:spawn(function()\n"
                "    local x <close> = setmetatable({}, {__close = function() log('closed') end})\n"
                "    pcall(go.wait, go) log('worked on')\n"
                "  end)\n"
                "  task.sleep(50) go:set() task.sleep(1000)\n"
                "end)");
    lead(&f, 3, 17, 100);
    run_for(&f, 49);
    f.answer = stop_for_a_while;
    run_for(&f, 2); /* both are ready, in one round; the first one's slice lasts 200 ms */
    assert_said(&f, "closed");
    assert_silent(&f, "worked on");
    assert_silent(&f, "asked");
    assert_false(script_host_has_leader_work(f.host));
    fixture_close(&f);
}

static void stop_for_a_while_and_renew(struct fixture *f, struct script_request *request)
{
    stop_for_a_while(f, request);
    f->view.lease_until_us = f->now_us + 100000;
    set_view(f);
}

static void a_lease_that_was_renewed_meanwhile_is_found(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  local go = task.event()\n"
                "  lead:spawn(function() go:wait() mk.raft.step_down() end)\n"
                "  lead:spawn(function() go:wait() log('worked on') end)\n"
                "  task.sleep(50) go:set() task.sleep(1000)\n"
                "end)");
    lead(&f, 3, 17, 100);
    run_for(&f, 49);
    f.answer = stop_for_a_while_and_renew;
    run_for(&f, 2);
    assert_said(&f, "worked on");
    fixture_close(&f);
}

static void losing_leadership_leaves_what_the_lease_has_left(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  task.defer(function() task.sleep(40) log('cleaned up') end)\n"
                "  task.defer(function() task.sleep(15) log('half cleaned up') end)\n"
                "  while true do task.sleep(1000) end\n"
                "end)");
    lead(&f, 3, 17, 60);
    settle(&f);
    uint64_t lease_until_us = f.view.lease_until_us;
    follow(&f, 4, "n2");
    f.view.lease_until_us = lease_until_us;
    set_view(&f);
    run_for(&f, 49);
    assert_said(&f, "half cleaned up app=app hook=while_leader/w term=3\n");
    run_for(&f, 2);
    assert_false(script_host_has_leader_work(f.host));
    run_for(&f, 100);
    assert_silent(&f, " cleaned up app=app hook=while_leader/w term=3\n22:13:21.055");
    assert_said(&f, "killed");
    fixture_close(&f);
}

static void a_planned_hand_over_waits_for_the_grace(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  task.defer(function() task.sleep(800) log('cleaned up') end)\n"
                "  log(select(2, pcall(task.sleep, 60000)))\n"
                "end, {grace_ms = 1000})");
    lead(&f, 3, 17, 0);
    settle(&f);
    script_host_end_leader_work(f.host);
    run_for(&f, 790);
    assert_true(script_host_has_leader_work(f.host));
    assert_int_equal(f.requests_count, 0);
    assert_said(&f, "not_leader: leadership is being handed over");
    run_for(&f, 20);
    assert_said(&f, "cleaned up");
    struct script_request *request = next_request(&f);
    assert_string_equal(request->method, "leader_idle");
    script_request_free(request);
    /* Nothing begins again until the hand-over is given up. */
    lead(&f, 3, 17, 0);
    run_for(&f, 100);
    assert_false(script_host_has_leader_work(f.host));
    script_host_resume_leader_work(f.host);
    run_for(&f, 10);
    assert_true(script_host_has_leader_work(f.host));
    fixture_close(&f);
}

/* ---- with a program that does not stop ---------------------------------------------------------
 */

static uint64_t release_call;

static void never_wait(void *ctx, uint64_t call, uint64_t process)
{
    (void)ctx, (void)call, (void)process;
}
static void keep_release(void *ctx, uint64_t call, uint64_t process)
{
    (void)ctx, (void)process;
    release_call = call != 0 ? call : release_call;
}

static void open_with_stubborn(struct fixture *f, struct process_port *port, const char *source)
{
    fixture_init(f);
    *port = fake_processes(f);
    port->wait = never_wait;
    port->release = keep_release;
    release_call = 0;
    struct script_options options = fixture_options(f);
    options.processes = port;
    f->host = script_host_new(&options);
    load(f, source);
}

#define STUBBORN                                        \
    MK "mk.while_leader('w', function(lead)\n"          \
       "  log('begins')\n"                              \
       "  assert(mk.exec.spawn { 'program' }):wait()\n" \
       "end, {grace_ms = 100})\n"

static void a_hand_over_waits_for_programs_that_are_killed(void **state)
{
    (void)state;
    struct fixture f;
    struct process_port port;
    open_with_stubborn(&f, &port, STUBBORN);
    lead(&f, 3, 17, 0);
    run_for(&f, 10);
    script_host_end_leader_work(f.host);
    run_for(&f, 90);
    assert_int_equal(release_call, 0);
    run_for(&f, 1000);
    assert_int_not_equal(release_call, 0);
    assert_true(script_host_has_leader_work(f.host));
    assert_int_equal(f.requests_count, 0);
    script_host_reply(f.host, release_call, ERR_OK, NULL, (struct slice){0});
    settle(&f);
    assert_false(script_host_has_leader_work(f.host));
    struct script_request *request = next_request(&f);
    assert_string_equal(request->method, "leader_idle");
    script_request_free(request);
    fixture_close(&f);
}

static void no_run_begins_before_the_programs_of_the_last_one_are_gone(void **state)
{
    (void)state;
    struct fixture f;
    struct process_port port;
    open_with_stubborn(&f, &port, STUBBORN);
    lead(&f, 3, 17, 0);
    run_for(&f, 10);
    follow(&f, 4, "n2");
    run_for(&f, 200);
    assert_int_not_equal(release_call, 0);
    forget(&f);
    lead(&f, 5, 21, 0);
    run_for(&f, 1000);
    assert_silent(&f, "begins");
    script_host_reply(f.host, release_call, ERR_OK, NULL, (struct slice){0});
    settle(&f);
    assert_said(&f, "begins");
    fixture_close(&f);
}

/* Under a leadership too, as long as that lasts. */
static void with_timeout_waits_for_programs_that_are_killed(void **state)
{
    (void)state;
    struct fixture f;
    struct process_port port;
    open_with_stubborn(&f, &port,
                       MK "mk.while_leader('w', function(lead)\n"
                          "  local _, err = task.with_timeout(50, function()\n"
                          "    task.spawn(function() mk.exec.spawn { 'program' }:wait() end)\n"
                          "    task.sleep(1e6)\n"
                          "  end)\n"
                          "  log('returns ' .. err.code)\n"
                          "end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 6000);
    assert_int_not_equal(release_call, 0);
    assert_silent(&f, "returns");
    script_host_reply(f.host, release_call, ERR_OK, NULL, (struct slice){0});
    settle(&f);
    assert_said(&f, "returns timeout");
    fixture_close(&f);
}

/* What outlives its function works for this run, with its token. */
#define SLOW_CHILD                                                         \
    "mk.task.spawn(function()\n"                                           \
    "  task.defer(function() task.sleep(3000) log('child is over') end)\n" \
    "  task.sleep(1e6)\n"                                                  \
    "end)\n"                                                               \
    "task.sleep(1)\n"

static void no_run_begins_before_all_that_the_last_one_started_is_over(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function() log('begins')\n" SLOW_CHILD "error('oh') end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 100);
    assert_said(&f, "begins");
    forget(&f);
    run_for(&f, 2800);
    assert_silent(&f, "begins");
    run_for(&f, 200);
    assert_said(&f, "child is over");
    assert_said(&f, "begins");
    fixture_close(&f);
}

/* Registered again, at once or when it was removed; a third time before the second has begun. */
static void one_of_the_same_name_begins_when_the_last_one_is_over(void **state)
{
    (void)state;
    static const char *const ways[] = {
        "work 'second'\n",
        "work 'second' task.sleep(500) work 'third'\n",
        "first:remove() first = nil task.sleep(500) collectgarbage() work 'third'\n",
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct fixture f;
        struct buffer source = {0};
        fixture_open(&f);
        buffer_add_format(&source,
                          MK "local function work(name)\n"
                             "  return mk.while_leader('w', function()\n"
                             "    log(name .. ' begins')\n" SLOW_CHILD "task.sleep(1e6)\n"
                             "  end, {grace_ms = 5000})\n"
                             "end\n"
                             "local first = work 'first'\n"
                             "task.spawn(function() task.sleep(100) %s end)",
                          ways[i]);
        load(&f, buffer_text(&source));
        lead(&f, 3, 17, 0);
        run_for(&f, 3000);
        assert_said(&f, "first begins");
        assert_silent(&f, "child is over");
        assert_silent(&f, "second begins");
        assert_silent(&f, "third begins");
        run_for(&f, 200);
        assert_said(&f, "child is over");
        assert_said(&f, i == 0 ? "second begins" : "third begins");
        buffer_close(&source);
        fixture_close(&f);
    }
}

static void a_removed_one_is_there_until_its_last_task_is_over(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "local hook = mk.while_leader('w', function()\n" SLOW_CHILD "end, {grace_ms = 5000})\n"
            "task.spawn(function() task.sleep(100) hook:remove() hook = nil\n"
            "  for i = 1, 10 do task.sleep(10) collectgarbage() end end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 500);
    assert_true(script_host_has_leader_work(f.host));
    follow(&f, 4, "n2"); /* looks at all that works for a leadership */
    run_for(&f, 4000);
    assert_said(&f, "child is over");
    assert_false(script_host_has_leader_work(f.host));
    fixture_close(&f);
}

/* The device that holds it may never let it go. */
static void a_program_that_is_held_does_not_hold_up_its_task_for_ever(void **state)
{
    (void)state;
    struct fixture f;
    struct process_port port;
    open_with_stubborn(&f, &port, STUBBORN);
    lead(&f, 3, 17, 0);
    run_for(&f, 10);
    script_host_end_leader_work(f.host);
    run_for(&f, 29000);
    assert_true(script_host_has_leader_work(f.host));
    run_for(&f, 2000);
    assert_false(script_host_has_leader_work(f.host));
    script_host_reply(f.host, release_call, ERR_OK, NULL, (struct slice){0}); /* at last */
    settle(&f);
    fixture_close(&f);
}

static void a_host_that_ends_does_not_wait_for_programs(void **state)
{
    (void)state;
    struct fixture f;
    struct process_port port;
    open_with_stubborn(&f, &port, STUBBORN);
    lead(&f, 3, 17, 0);
    run_for(&f, 10);
    script_host_end_leader_work(f.host);
    run_for(&f, 200);
    assert_int_not_equal(release_call, 0);
    fixture_close(&f);
}

static void a_hand_over_without_work_is_idle_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK);
    lead(&f, 3, 17, 0);
    settle(&f);
    script_host_end_leader_work(f.host);
    settle(&f);
    struct script_request *request = next_request(&f);
    assert_string_equal(request->method, "leader_idle");
    script_request_free(request);
    fixture_close(&f);
}

static void what_the_lead_spawned_ends_with_it(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  lead:spawn(function() task.sleep(50) log('spawned') end)\n"
                "  lead:every(10, function() log('tick') end)\n"
                "  lead:on('my.event', function() log('heard') end)\n"
                "  mk.timer.every(20, function() log('tock') end)\n"
                "  task.sleep(1e6)\n"
                "end)\n"
                "mk.timer.every(15, function() mk.emit('my.event') end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 40);
    assert_said(&f, "tick");
    assert_said(&f, "tock");
    assert_said(&f, "heard");
    follow(&f, 4, "n2");
    settle(&f);
    forget(&f);
    run_for(&f, 200);
    assert_silent(&f, "tick");
    assert_silent(&f, "tock");
    assert_silent(&f, "heard");
    assert_silent(&f, "spawned");
    fixture_close(&f);
}

static void settling_delays_the_start(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function() log('begin') end, {settle_ms = 100})");
    lead(&f, 3, 17, 0);
    run_for(&f, 99);
    assert_silent(&f, "begin");
    follow(&f, 4, "n2");
    run_for(&f, 50);
    assert_silent(&f, "begin");
    lead(&f, 5, 30, 0);
    run_for(&f, 101);
    assert_said(&f, "begin");
    fixture_close(&f);
}

static void an_error_is_retried_with_back_off(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local n = 0\n"
                "mk.while_leader('w', function() n = n + 1 log('try ' .. n) error('no') end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 999);
    assert_silent(&f, "try 2");
    run_for(&f, 2);
    assert_said(&f, "try 2");
    run_for(&f, 1998);
    assert_silent(&f, "try 3");
    run_for(&f, 2);
    assert_said(&f, "try 3");
    fixture_close(&f);
}

static void an_error_can_mean_stepping_down_or_stopping(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "mk.while_leader('a', function() error('no') end, {on_error = 'step_down'})\n"
            "stop = mk.while_leader('b', function() log('b runs') error('no') end, {on_error = "
            "'stop'})\n"
            "mk.on('my.ask', function() log('state ' .. stop:stats().state) stop:enable() end)\n"
            "mk.timer.after(5000, function() mk.emit('my.ask') end)");
    lead(&f, 3, 17, 0);
    settle(&f);
    struct script_request *request = next_request(&f);
    assert_string_equal(request->method, "step_down");
    script_request_free(request);
    forget(&f);
    run_for(&f, 4990);
    assert_silent(&f, "b runs");
    run_for(&f, 20);
    assert_said(&f, "state off");
    assert_said(&f, "b runs");
    fixture_close(&f);
}

static void the_lead_object_knows_its_lease(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "mk.while_leader('w', function(lead)\n"
                "  log('left ' .. lead:remaining_ms() .. tostring(lead:valid()) .. "
                "tostring(mk.raft.is_leader()))\n"
                "  kept = lead\n"
                "end)\n"
                "mk.on('my.later', function()\n"
                "  log('later ' .. kept:remaining_ms() .. tostring(kept:valid()))\n"
                "  log(tostring(select(2, pcall(kept.check, kept))))\n"
                "  log(tostring(select(2, pcall(kept.spawn, kept, print))))\n"
                "end)\n"
                "mk.timer.after(500, function() mk.emit('my.later') end)");
    lead(&f, 3, 17, 100);
    run_for(&f, 1);
    assert_said(&f, "left 90truetrue");
    run_for(&f, 600);
    assert_said(&f, "later 0false");
    assert_said(&f, "not_leader: the lease was not renewed");
    fixture_close(&f);
}

static void removing_a_while_leader_ends_its_work(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, WORKER "mk.timer.after(50, function() hook:remove() end)");
    lead(&f, 3, 17, 0);
    run_for(&f, 60);
    assert_said(&f, "cancelled not_leader: the while_leader was removed");
    assert_false(script_host_has_leader_work(f.host));
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_begins_with_leadership_and_ends_with_it),
        cmocka_unit_test(one_leadership_after_another_is_two_runs),
        cmocka_unit_test(a_run_that_returns_is_done_for_this_leadership),
        cmocka_unit_test(a_lease_that_is_not_renewed_ends_the_work_before_it_ends),
        cmocka_unit_test(work_that_does_not_listen_is_killed_before_the_lease_ends),
        cmocka_unit_test(after_a_stop_no_slice_begins_without_a_lease),
        cmocka_unit_test(a_lease_that_was_renewed_meanwhile_is_found),
        cmocka_unit_test(losing_leadership_leaves_what_the_lease_has_left),
        cmocka_unit_test(a_planned_hand_over_waits_for_the_grace),
        cmocka_unit_test(a_hand_over_waits_for_programs_that_are_killed),
        cmocka_unit_test(no_run_begins_before_the_programs_of_the_last_one_are_gone),
        cmocka_unit_test(with_timeout_waits_for_programs_that_are_killed),
        cmocka_unit_test(no_run_begins_before_all_that_the_last_one_started_is_over),
        cmocka_unit_test(one_of_the_same_name_begins_when_the_last_one_is_over),
        cmocka_unit_test(a_removed_one_is_there_until_its_last_task_is_over),
        cmocka_unit_test(a_program_that_is_held_does_not_hold_up_its_task_for_ever),
        cmocka_unit_test(a_host_that_ends_does_not_wait_for_programs),
        cmocka_unit_test(a_hand_over_without_work_is_idle_at_once),
        cmocka_unit_test(what_the_lead_spawned_ends_with_it),
        cmocka_unit_test(settling_delays_the_start),
        cmocka_unit_test(an_error_is_retried_with_back_off),
        cmocka_unit_test(an_error_can_mean_stepping_down_or_stopping),
        cmocka_unit_test(the_lead_object_knows_its_lease),
        cmocka_unit_test(removing_a_while_leader_ends_its_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
