/* The host on a thread of its own, with the real timer: what the node's thread sees of scripts that
 * misbehave is nothing. */
#include <stdatomic.h>

#include "thread_rig.h"

/* ThreadSanitizer puts signals off until the next call into libc: there a loop must make one. */
#define SPIN (UNDER_TSAN ? "while true do local t = {} end" : "while true do end")

static void post_event(struct rig *rig, const char *name)
{
    script_host_post(rig->host, script_event_new(name));
}

static void expect_killed(const char *body)
{
    struct rig rig = {0};
    struct buffer source = {0};
    buffer_add_format(&source,
                      "local mk = require 'moonkeeper'\n"
                      "mk.on('leader_ready', function() local function spin() %s end %s\n"
                      "  mk.log.info('it came back') end)\n"
                      "mk.on('leader_ready', function() mk.log.info('the other hook') end)\n"
                      "mk.log.info('loaded')\n",
                      SPIN, body);
    rig_open(&rig, buffer_text(&source));
    wait_said(&rig, "loaded");
    post_event(&rig, "leader_ready");
    wait_said(&rig, "killed: over its budget of 100 ms");
    wait_said(&rig, "the other hook");
    assert_null(strstr(buffer_text(&rig.said), "it came back"));
    rig_close(&rig);
    buffer_close(&source);
}

static void what_spins_is_killed(void **state)
{
    (void)state;
    expect_killed("spin()");
    expect_killed("while true do pcall(spin) end");
    expect_killed("xpcall(error, spin)");
    expect_killed("table.sort({3, 1, 2}, spin)");
    expect_killed("coroutine.wrap(spin)()");
    expect_killed("table.sort({3, 1, 2}, function() coroutine.wrap(spin)() end)");
    expect_killed("tostring(setmetatable({}, {__tostring = spin}))");
    expect_killed("local x <close> = setmetatable({}, {__close = spin}) spin()");
    expect_killed("while true do coroutine.wrap(function() end)() end");
    expect_killed("local function f() pcall(f) f() end f()");
}

static void others_get_their_turn_while_one_computes(void **state)
{
    (void)state;
    struct rig rig = {0};
    struct buffer source = {0};
    buffer_add_format(&source,
                      "local mk = require 'moonkeeper'\n"
                      "mk.task.spawn(function() %s end)\n"
                      "mk.task.spawn(function()\n"
                      "  for i = 1, 5 do mk.task.sleep(1) mk.log.info('turn ' .. i) end end)\n",
                      SPIN);
    rig_open(&rig, buffer_text(&source));
    wait_said(&rig, "turn 5");
    pthread_mutex_lock(&rig.lock);
    assert_null(strstr(buffer_text(&rig.said), "killed"));
    pthread_mutex_unlock(&rig.lock);
    wait_said(&rig, "killed");
    buffer_close(&source);
    rig_close(&rig);
}

/* A C function cannot be interrupted. It must hold up nobody but the scripts. */
static void a_long_c_call_does_not_hold_up_the_node(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_open(&rig, "local mk = require 'moonkeeper'\n"
                   "mk.on('leader_ready', function()\n"
                   "  local t = {} for i = 1, 100000 do t[i] = i end\n"
                   "  mk.log.info('begins')\n"
                   "  for i = 1, 20 do table.sort(t) end table.concat(t)\n"
                   "  mk.log.info('is back')\n"
                   "end)\n"
                   "mk.log.info('loaded')\n");
    wait_said(&rig, "loaded");
    post_event(&rig, "leader_ready");
    wait_said(&rig, "begins");
    struct script_view view = {.role = SCRIPT_LEADER, .term = 1};
    uint64_t longest_us = 0;
    for (int i = 0; i < 2000; i++) {
        uint64_t before_us = clock_now_us(&rig.clock);
        view.last_applied++;
        script_host_set_view(rig.host, &view);
        post_event(&rig, "term_change");
        script_host_reply(rig.host, 12345, ERR_OK, NULL, (struct slice){0});
        uint64_t took_us = clock_now_us(&rig.clock) - before_us;
        longest_us = took_us > longest_us ? took_us : longest_us;
    }
    printf("longest of 2000 deliveries during a C call: %llu us\n", (unsigned long long)longest_us);
    rig_close(&rig);
}

static void requests_and_answers_cross_threads(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_open(&rig, "local mk = require 'moonkeeper'\n"
                   "local sum = 0\n"
                   "mk.task.map({1, 2, 3, 4, 5, 6, 7, 8}, 4, function()\n"
                   "  for i = 1, 50 do local n = mk.raft.barrier() sum = sum + n end end)\n"
                   "mk.log.info('sum ' .. sum)");
    for (int answered = 0; answered < 400; answered++) {
        struct script_request *request = queue_wait(&rig.requests);
        struct buffer result = {0};
        write_u64(&result, 2);
        script_host_reply(rig.host, request->id, ERR_OK, NULL, slice_copy(buffer_bytes(&result)));
        script_request_free(request);
        buffer_close(&result);
    }
    wait_said(&rig, "sum 800");
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_spins_is_killed),
        cmocka_unit_test(others_get_their_turn_while_one_computes),
        cmocka_unit_test(a_long_c_call_does_not_hold_up_the_node),
        cmocka_unit_test(requests_and_answers_cross_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
