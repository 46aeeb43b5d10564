/* mk.exec with real programs: what they write, how they end, and that nothing of theirs outlives
 * the task that started them. */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "thread_rig.h"

#define HEAD                                          \
    "local mk = require 'moonkeeper'\n"               \
    "local run, spawn = mk.exec.run, mk.exec.spawn\n" \
    "local function say(...) mk.log.info(table.concat({ ... }, ' ')) end\n"

/* Run the script until it says "done"; what it said is in rig->said. */
static void play(struct rig *rig, const char *body)
{
    struct buffer source = {0};
    buffer_add_format(&source, HEAD "%s\nsay('done')\n", body);
    memset(rig, 0, sizeof *rig);
    rig_open_processes(rig, NULL);
    rig_open(rig, buffer_text(&source));
    wait_said(rig, "done");
    buffer_close(&source);
}

static void expect(const char *body, const char *const *said)
{
    struct rig rig;
    play(&rig, body);
    for (; *said != NULL; said++) {
        wait_said(&rig, *said);
    }
    rig_close(&rig);
}
#define EXPECT(body, ...) expect((body), (const char *const[]){__VA_ARGS__, NULL})

static void what_a_program_writes_and_how_it_ends_is_returned(void **state)
{
    (void)state;
    EXPECT("local r = assert(run({ 'sh', '-c', 'echo out; echo err >&2; exit 3' }))\n"
           "say('code', r.code, r.stdout:gsub('\\n', '.'), r.stderr:gsub('\\n', '.'))\n"
           "r = assert(run({ 'sh', '-c', 'kill -USR1 $$' }))\n"
           "say('signal', r.signal, tostring(r.code), tostring(r.timed_out))\n"
           "r = run({ 'printf', '%s|', 'no', 'shell $HOME', ';', '*' })\n"
           "say('argv', r.stdout)",
           "code 3 out. err. 1", "signal USR1 nil false", "argv no|shell $HOME|;|*|");
}

static void stdin_environment_and_directory_are_given(void **state)
{
    (void)state;
    EXPECT(
        "local r = run({ 'tr', 'a-z', 'A-Z' }, { stdin = ('hello '):rep(50000), max_output = 5 })\n"
        "say('tr', r.stdout, tostring(r.truncated), r.code)\n"
        "r = run({ 'sh', '-c', 'echo $COLOUR $MOONKEEPER_NODE $MOONKEEPER_TERM; pwd; cat' },\n"
        "  { env = { COLOUR = 'blue' }, cwd = '/usr' })\n"
        "say('env', (r.stdout:gsub('\\n', ' ')))",
        "tr HELLO true 0", "env blue n1 0 /usr");
}

static void what_cannot_be_run_is_an_error(void **state)
{
    (void)state;
    EXPECT("say(tostring(select(2, run({ 'no-such-program' }))))\n"
           "say(tostring(select(2, run({ '/etc/passwd' }))))\n"
           "say(tostring(select(2, run({ 'true' }, { cwd = '/no/such/place' }))))\n"
           "say(select(2, pcall(run, {})))\n"
           "say(select(2, pcall(run, { 'true' }, { sdtout = 'drop' })))\n"
           "say(select(2, pcall(spawn, { 'true' }, { stop_signal = 'SIGTERM' })))\n"
           "say(select(2, pcall(run, { 'a\\0b' })))\n"
           "local function try(...) say(select(2, pcall(...))) end\n"
           "try(function() run({}) end)\n"
           "try(function() run({ 'true', 'a\\0b' }) end)\n"
           "try(function() run({ 'true' }, { env = { ['a='] = 'b' } }) end)\n"
           "try(function() run({ 'true' }, { stop_signal = 'FOO' }) end)\n"
           "try(function() spawn({ 'true' }, { stdout = 'capure' }) end)\n"
           "try(function() spawn({ 'cat' }, { stdin = 'abc' }) end)\n"
           "local p = assert(spawn({ 'true' }, { stdout = 'capture' }))\n"
           "try(function() p:kill('BAR') end)\n"
           "try(function() p:write({}) end)\n"
           "try(function() p:read_line('x') end)\n"
           "p:wait()",
           "not_found: cannot run no-such-program: No such file or directory (it is not in PATH)",
           "io: cannot run /etc/passwd: Permission denied",
           "not_found: cannot run true: cannot enter /no/such/place", "argv is empty",
           "there is no option 'sdtout'", "there is no signal 'SIGTERM'", "without zero bytes",
           "t.lua:12: argv is empty", "t.lua:13: argv: a string without zero bytes",
           "t.lua:14: env: a name is not empty and has no '='",
           "t.lua:15: there is no signal 'FOO'",
           "t.lua:16: there is no stdout = 'capure'; did you mean 'capture'?",
           "t.lua:17: stdin of mk.exec.spawn is true or false; process:write gives it text",
           "t.lua:19: there is no signal 'BAR'", "t.lua:20: write(data): data is a string",
           "t.lua:21: a time in ms is a number, not a string");
}

static void after_its_timeout_a_program_is_asked_to_stop_then_killed(void **state)
{
    (void)state;
    EXPECT("local r = run({ 'sh', '-c', 'trap \"echo bye; exit 7\" TERM; while :; do sleep 0.01; "
           "done' },\n"
           "  { timeout_ms = 1000 })\n"
           "say('polite', r.code, (r.stdout:gsub('\\n', '')), tostring(r.timed_out))\n"
           "r = run({ 'sh', '-c', 'trap \"\" TERM; while :; do sleep 0.01; done' },\n"
           "  { timeout_ms = 100, stop_ms = 100 })\n"
           "say('stubborn', r.signal, tostring(r.timed_out))",
           "polite 7 bye true", "stubborn KILL true");
}

static void lines_are_read_as_they_come(void **state)
{
    (void)state;
    EXPECT("local p = spawn({ 'sh', '-c', 'while read x; do echo got $x; done; printf last' },\n"
           "  { stdin = true, stdout = 'capture' })\n"
           "local line, err = p:read_line(50)\n"
           "say('nothing yet', tostring(line), err.code)\n"
           "p:write('one\\ntwo\\n')\n"
           "say(p:read_line(), p:read_line())\n"
           "p:close_stdin()\n"
           "say(p:read_line(), tostring(p:read_line()), p:wait().code)",
           "nothing yet nil timeout", "got one got two", "last nil 0");
}

static void output_is_logged_line_by_line(void **state)
{
    (void)state;
    EXPECT("local p = spawn({ 'sh', '-c', 'echo one; echo two >&2; printf three' })\n"
           "p:wait()",
           "msg=\"one\"", "stream=stdout", "msg=\"two\"", "stream=stderr", "msg=\"three\"",
           "program=sh");
}

static void who_writes_much_waits_until_it_is_read(void **state)
{
    (void)state;
    EXPECT(
        "local p = spawn({ 'sh', '-c', 'yes 12345678 | head -n 200000' }, { stdout = 'capture' })\n"
        "mk.task.sleep(50)\n"
        "local count, size = 0, 0\n"
        "for line in function() return p:read_line() end do count, size = count + 1, size + #line "
        "end\n"
        "say('lines', count, size)",
        "lines 200000 1600000");
}

static void os_execute_tells_how_the_command_ended(void **state)
{
    (void)state;
    EXPECT("local function tell(...) local r = table.pack(...)\n"
           "  for i = 1, r.n do r[i] = tostring(r[i]) end say('got', table.unpack(r)) end\n"
           "tell(os.execute())\n"
           "tell(os.execute('echo said by the command; exit 0'))\n"
           "tell(os.execute('exit 7'))\n"
           "tell(os.execute('kill -USR1 $$'))\n"
           "tell(pcall(os.execute, {}))\n"
           "tell(pcall(coroutine.wrap(function() return os.execute('exit 5') end)))",
           "got true\"", "said by the command", "got true exit 0\"", "got nil exit 7\"",
           "got nil signal 10\"", "bad argument #1 to 'os.execute' (string expected, got table)",
           "got true nil exit 5\"");
}

static void what_io_popen_opens_is_read_as_a_file(void **state)
{
    (void)state;
    EXPECT(
        "local f = assert(io.popen('printf \"one\\ntwo\\n\\nfour five\\n 12 0x1p4 "
        "-.5e1x\\nend\"'))\n"
        "say('lines', f:read(), (f:read('L'):gsub('\\n', '.')), '[' .. f:read('l') .. ']')\n"
        "say('counts', f:read(2), f:read(0) .. '', f:read(3, 4))\n"
        "say('numbers', f:read('n', 'n', '*n'))\n"
        "say('no number', tostring(f:read('n')), f:read('l'), f:read('a') .. '|' .. f:read('a'))\n"
        "say('end', tostring(f:read()), tostring(f:read(0)), tostring(f:read('l', 'a')))\n"
        "say('closed', tostring(f:close()), tostring(f))\n"
        "local list = {}\n"
        "for a, b in io.popen('echo a b; echo c d; exit 3'):lines(1, 'L') do\n"
        "  list[#list + 1] = a .. b:gsub('\\n', ';') end\n"
        "say('each', table.concat(list))\n"
        "f = io.popen('seq 2000; exit 4')\n"
        "local sum = 0\n"
        "for line in f:lines() do\n"
        "  sum = sum + math.tointeger(line)\n"
        "  if line:find '00$' then mk.task.checkpoint() end -- a sanitizer's build is slow\n"
        "end\n"
        "say('sum', sum, select(2, f:close()))\n"
        "f = io.popen('yes 1234567 | head -n 50000')\n"
        "say('sizes', #f:read(131073), #f:read('a'), select('#', f:read('l', 'l')))",
        "lines one two. []", "counts fo  ur  five\"", "numbers 12 16.0 -5.0\"",
        "no number nil x end|\"", "end nil nil nil\"", "closed true file (closed)",
        "each a b;c d;\"", "sum 2001000 exit 4\"", "sizes 131073 268927 1\"");
}

static void what_io_popen_opens_is_written_as_a_file(void **state)
{
    (void)state;
    EXPECT("local f = assert(io.popen('tr a-z A-Z; exit 9', 'w'))\n"
           "say('the same', tostring(f:write('hello ', 12, '\\n') == f and f:flush() == f))\n"
           "local ok, how, code = f:close()\n"
           "say('closed', tostring(ok), how, code)\n"
           "do local g <close> = io.popen('cat >/dev/null; echo has ended', 'w') g:write('x') end\n"
           "say('after it')\n"
           "f = io.popen('wc -c', 'w')\n"
           "f:write(('x'):rep((1 << 20) + 5))\n"
           "f:close()\n"
           "f = io.popen('exec <&-; echo closed; exec sleep 100', 'w')\n"
           "local _, err\n"
           "repeat _, err = f:write(('x'):rep(1 << 17)) until err\n"
           "say('unread', tostring(err))\n"
           "f.process:kill()",
           "the same true", "msg=\"HELLO 12\"", "closed nil exit 9\"", "has ended", "after it",
           "msg=\"1048581\"", "unread io: the process does not read its input");
}

static void a_command_that_writes_on_after_close_ends_of_that(void **state)
{
    (void)state;
    EXPECT("local f = io.popen('exec yes')\n"
           "say('first', f:read(3):byte(1, -1))\n"
           "say('closed', select(2, f:close()))\n"
           "do local g <close> = io.popen('exec yes') end\n"
           "say('left')",
           "first 121 10 121", "closed signal 13\"", "left");
}

static void misuse_of_a_shell_is_told_at_its_line(void **state)
{
    (void)state;
    EXPECT("local function try(...) say(select(2, pcall(...))) end\n"
           "local r, w = io.popen('true'), io.popen('cat >/dev/null', 'w')\n"
           "try(function() io.popen('true', 'rw') end)\n"
           "try(function() r:write('x') end)\n"
           "try(function() w:read() end)\n"
           "try(function() r:read('l', 'x') end)\n"
           "try(function() w:write({}) end)\n"
           "r:close() w:close()\n"
           "try(function() r:read() end)\n"
           "try(function() w:close() end)\n"
           "try(function() table.sort({ 1, 2 }, function() return os.execute('true') end) end)\n"
           "local m = setmetatable({}, { __tostring = function() return io.popen('true') end })\n"
           "try(function() tostring(m) end)",
           "t.lua:6: bad argument #2 to 'popen' (invalid mode)",
           "t.lua:7: io.popen was given 'r': this file is not written",
           "t.lua:8: io.popen was given 'w': this file is not read",
           "t.lua:9: bad argument #2 to 'read' (invalid format)",
           "t.lua:10: bad argument #1 to 'write' (string expected, got table)",
           "t.lua:12: attempt to use a closed file", "t.lua:13: attempt to use a closed file",
           "t.lua:14: os.execute waits, as mk.exec.run does, which cannot be done here",
           "t.lua:15: io.popen waits, as mk.exec.spawn does, which cannot be done here");
}

/* The pid after this word in what was said. */
static pid_t pid_after(struct rig *rig, const char *word)
{
    wait_said(rig, word);
    pthread_mutex_lock(&rig->lock);
    const char *at = strstr(buffer_text(&rig->said), word) + strlen(word);
    pid_t pid = (pid_t)strtol(at, NULL, 10);
    pthread_mutex_unlock(&rig->lock);
    assert_true(pid > 1);
    return pid;
}

/* A zombie that somebody else is to reap does not. */
static bool is_running(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file != NULL && fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
        state = 'Z';
    }
    if (file != NULL) {
        fclose(file);
    }
    return state != 'Z';
}

static void wait_gone(pid_t pid)
{
    for (int i = 0; i < 6000 && is_running(pid); i++) {
        usleep(10000);
    }
    if (is_running(pid)) {
        fail_msg("process %d does not end", (int)pid);
    }
}

static void a_process_ends_with_its_task(void **state)
{
    (void)state;
    struct rig rig;
    play(&rig, "local t = mk.task.spawn(function()\n"
               "  local p = spawn({ 'sh', '-c', 'trap \"echo stops; exit\" TERM; sleep 100 & echo "
               "child $!;"
               " while :; do sleep 0.01; done' })\n"
               "  say('parent', p.pid)\n"
               "  p:wait()\n"
               "end)\n"
               "mk.task.sleep(300)\n"
               "t:cancel()\n"
               "t:join()\n"
               "say('joined')\n");
    wait_said(&rig, "stops");
    wait_gone(pid_after(&rig, "parent "));
    wait_gone(pid_after(&rig, "child "));
    rig_close(&rig);
}

static void a_killed_task_leaves_nothing(void **state)
{
    (void)state;
    struct rig rig;
    play(&rig, "mk.task.spawn(function()\n"
               "  say('pid ' .. spawn({ 'sleep', '100' }).pid)\n"
               "  while true do local t = {} end\n"
               "end)\n");
    wait_gone(pid_after(&rig, "pid "));
    rig_close(&rig);
}

static void a_command_of_a_shell_ends_with_its_task(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_open_processes(&rig, NULL);
    rig_open(&rig, HEAD
             "local start = mk.task.spawn\n"
             "local one = start(function() os.execute('echo executes $$; exec sleep 100') end)\n"
             "local two = start(function()\n"
             "  local f <close> = io.popen('echo $$; exec sleep 100')\n"
             "  say('reads ' .. f:read())\n"
             "  mk.task.sleep(100000)\n"
             "end)\n"
             "local three = start(function()\n"
             "  local f <close> = io.popen('echo takes $$; trap : TERM; cat >/dev/null; exec sleep "
             "100', 'w')\n"
             "  f:write(('x'):rep(1 << 20))\n"
             "  while true do local t = {} end\n"
             "end)\n"
             "three:join()\n"
             "say('killed')\n"
             "while not mk.raft.is_leader() do mk.task.sleep(1) end\n"
             "one:cancel() two:cancel()\n");
    pid_t one = pid_after(&rig, "executes "), two = pid_after(&rig, "reads ");
    assert_true(is_running(one) && is_running(two));
    wait_gone(pid_after(&rig, "takes "));
    script_host_set_view(rig.host, &(struct script_view){.role = SCRIPT_LEADER,
                                                         .term = 7,
                                                         .leader_ready = true,
                                                         .token = 41,
                                                         .lease_until_us = UINT64_MAX});
    wait_gone(one);
    wait_gone(two);
    rig_close(&rig);
}

static void the_host_leaves_nothing(void **state)
{
    (void)state;
    struct rig rig;
    play(&rig, "say('pid ' .. spawn({ 'sleep', '100' }).pid)\n");
    pid_t pid = pid_after(&rig, "pid ");
    assert_int_equal(kill(pid, 0), 0); /* what the main chunk starts is the application's */
    rig_close(&rig);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

/* ---- leader-only --------------------------------------------------------------------------------
 */

static struct {
    pthread_mutex_t lock;
    pid_t group;
    uint64_t deadline_us;
    bool removed;
} entry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum err entry_add(void *ctx, const struct guardian_entry *added, uint32_t *slot)
{
    (void)ctx;
    entry.group = added->process_group;
    entry.deadline_us = added->deadline_us;
    entry.removed = false;
    *slot = 5;
    return ERR_OK;
}
static void entry_set_deadline(void *ctx, uint32_t slot, uint64_t deadline_us)
{
    (void)ctx;
    assert_int_equal(slot, 5);
    pthread_mutex_lock(&entry.lock);
    entry.deadline_us = deadline_us;
    pthread_mutex_unlock(&entry.lock);
}
static void entry_remove(void *ctx, uint32_t slot)
{
    (void)ctx, (void)slot;
    pthread_mutex_lock(&entry.lock);
    entry.removed = true;
    pthread_mutex_unlock(&entry.lock);
}

static void leader_only_processes_are_entered_with_the_lease(void **state)
{
    (void)state;
    struct rig rig = {0};
    const struct processes_registry registry = {
        .add = entry_add, .set_deadline = entry_set_deadline, .remove = entry_remove};
    rig_open_processes(&rig, &registry);
    rig_open(&rig,
             HEAD "mk.while_leader('w', function(lead)\n"
                  "  local p = spawn({ 'sh', '-c', 'echo fence $MOONKEEPER_FENCE $MOONKEEPER_TERM;"
                  " exec sleep 100' })\n"
                  "  say('pid ' .. p.pid)\n"
                  "  p:wait()\n"
                  "end)\n");
    uint64_t now_us = clock_now_us(&rig.clock), lease_us = now_us + 60000000;
    struct script_view view = {.role = SCRIPT_LEADER,
                               .term = 7,
                               .leader_ready = true,
                               .token = 41,
                               .lease_until_us = lease_us};
    script_host_set_view(rig.host, &view);
    wait_said(&rig, "fence 41 7");
    pid_t pid = pid_after(&rig, "pid ");
    pthread_mutex_lock(&entry.lock);
    assert_int_equal(entry.group, pid);
    assert_int_equal(entry.deadline_us, lease_us - 10000); /* the margin */
    pthread_mutex_unlock(&entry.lock);
    view.lease_until_us += 1000000; /* renewed: without the help of the scripts' thread */
    script_host_set_view(rig.host, &view);
    pthread_mutex_lock(&entry.lock);
    assert_int_equal(entry.deadline_us, lease_us + 1000000 - 10000);
    pthread_mutex_unlock(&entry.lock);
    view = (struct script_view){.role = SCRIPT_FOLLOWER, .term = 8};
    script_host_set_view(rig.host, &view);
    wait_gone(pid);
    rig_close(&rig);
    assert_true(entry.removed);
}

/* Starts a sleep, and tells of it once that has left the group. */
#define DAEMON                     \
    "setsid sleep 100 >&- 2>&- & " \
    "until grep -q \") . [0-9]* $! $! \" /proc/$!/stat; do sleep 0.01; done; echo $!"

/* What has left the process group of a leader's program is gone when its end is told; what other
 * programs start may go on. */
static void all_that_a_leaders_program_has_started_ends_with_it(void **state)
{
    (void)state;
    struct rig rig = {0};
    rig_open_processes(&rig, NULL);
    rig_open(&rig, HEAD "local argv = { 'sh', '-c', '" DAEMON "' }\n"
                        "say('kept ' .. run(argv).stdout:match '%d+')\n"
                        "mk.while_leader('w', function(lead)\n"
                        "  say('ended ' .. run(argv).stdout:match '%d+')\n"
                        "  argv[3] = argv[3] .. '; exec sleep 100'\n"
                        "  local p = spawn(argv, { stdout = 'capture' })\n"
                        "  local pid = p:read_line()\n"
                        "  p:stop()\n"
                        "  say('stopped ' .. pid)\n"
                        "end)\n");
    script_host_set_view(rig.host, &(struct script_view){.role = SCRIPT_LEADER,
                                                         .term = 7,
                                                         .leader_ready = true,
                                                         .token = 41,
                                                         .lease_until_us = UINT64_MAX});
    assert_false(is_running(pid_after(&rig, "ended ")));
    assert_false(is_running(pid_after(&rig, "stopped ")));
    pid_t kept = pid_after(&rig, "kept ");
    assert_true(is_running(kept));
    kill(kept, SIGKILL);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_program_writes_and_how_it_ends_is_returned),
        cmocka_unit_test(stdin_environment_and_directory_are_given),
        cmocka_unit_test(what_cannot_be_run_is_an_error),
        cmocka_unit_test(after_its_timeout_a_program_is_asked_to_stop_then_killed),
        cmocka_unit_test(lines_are_read_as_they_come),
        cmocka_unit_test(output_is_logged_line_by_line),
        cmocka_unit_test(who_writes_much_waits_until_it_is_read),
        cmocka_unit_test(os_execute_tells_how_the_command_ended),
        cmocka_unit_test(what_io_popen_opens_is_read_as_a_file),
        cmocka_unit_test(what_io_popen_opens_is_written_as_a_file),
        cmocka_unit_test(a_command_that_writes_on_after_close_ends_of_that),
        cmocka_unit_test(misuse_of_a_shell_is_told_at_its_line),
        cmocka_unit_test(a_process_ends_with_its_task),
        cmocka_unit_test(a_killed_task_leaves_nothing),
        cmocka_unit_test(a_command_of_a_shell_ends_with_its_task),
        cmocka_unit_test(the_host_leaves_nothing),
        cmocka_unit_test(leader_only_processes_are_entered_with_the_lease),
        cmocka_unit_test(all_that_a_leaders_program_has_started_ends_with_it),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
