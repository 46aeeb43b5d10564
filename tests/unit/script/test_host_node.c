/* Between the host and its node: requests and answers, the feed of commits, status. */
#include "commit_feeder.h"
#include "fake_processes.h"
#include "host_fixture.h"

#include "wire/entry.h"

#define MK "local mk = require 'moonkeeper' local log, task = mk.log.info, mk.task\n"

static void expect_params(const struct script_request *request, const char *method,
                          const uint8_t *params, size_t size_bytes)
{
    assert_string_equal(request->method, method);
    assert_int_equal(request->params.size, size_bytes);
    assert_memory_equal(request->params.data, params, size_bytes);
}

static void propose_waits_for_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "local r, err = mk.raft.propose('kv', 'set', {key = 'a'}, {timeout_ms = 5})\n"
            "log('got ' .. tostring(r))\n"
            "local r, err = mk.raft.propose('kv', 'set')\n"
            "log(tostring(r) .. ' ' .. err.code .. ' ' .. err.message .. ' / ' .. tostring(err))");
    struct script_request *request = next_request(&f);
    expect_params(request, "propose",
                  (const uint8_t *)"\x94\xa2kv\xa3set\x81\xa3key\xa1"
                                   "a\x81\xaatimeout_ms\x05",
                  28);
    reply_u64(&f, request->id, 99);
    reply_u64(&f, request->id, 100); /* a second answer finds nobody */
    script_request_free(request);
    settle(&f);
    assert_said(&f, "got 99");
    request = next_request(&f);
    expect_params(request, "propose", (const uint8_t *)"\x94\xa2kv\xa3set\xc0\x80", 10);
    script_host_reply(f.host, request->id, ERR_NOT_LEADER, NULL, (struct slice){0});
    script_request_free(request);
    settle(&f);
    assert_said(&f, "nil not_leader this node is not the leader / not_leader: this node is not");
    fixture_close(&f);
}

static void a_cancelled_request_forgets_its_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local t = task.spawn(function() mk.raft.barrier(100) log('NO') end)\n"
                "task.sleep(5) t:cancel() local _, e = t:join() log('joined ' .. e.code)\n"
                "log('next ' .. mk.raft.barrier(7))");
    struct script_request *first = next_request(&f);
    run_for(&f, 10);
    assert_said(&f, "joined cancelled");
    struct script_request *second = next_request(&f);
    reply_u64(&f, first->id, 1);
    reply_u64(&f, second->id, 2);
    settle(&f);
    assert_said(&f, "next 2");
    assert_silent(&f, "NO");
    script_request_free(first);
    script_request_free(second);
    fixture_close(&f);
}

static void the_other_requests_have_their_methods(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        const char *method;
        const char *params;
        size_t size_bytes;
    } cases[] = {
        {"mk.raft.read_index()", "read_index", "\x91\xc0", 2},
        {"mk.raft.transfer_leadership('n2', 50)", "transfer", "\x92\xa2n2\x32", 5},
        {"mk.raft.step_down()", "step_down", "\x90", 1},
        {"mk.raft.snapshot(7)", "snapshot", "\x91\x07", 2},
        {"mk.shutdown()", "shutdown", "\x90", 1},
        {"mk.kv.get('k', {read = 'local'})", "query",
         "\x94\xa2kv\xa3get\x81\xa3key\xa1k\x81\xa4read\xa5local", 27},
        {"mk.kv.set('k', 1, {if_version = 3, fence = 4})", "propose",
         "\x94\xa2kv\xa3set\x83\xaaif_version\x03\xa3key\xa1k\xa5value\x01\x81\xa5"
         "fence\x04",
         42},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct buffer source = {0};
        fixture_open(&f);
        buffer_add_format(&source, MK "%s", cases[i].call);
        load(&f, buffer_text(&source));
        struct script_request *request = next_request(&f);
        expect_params(request, cases[i].method, (const uint8_t *)cases[i].params,
                      cases[i].size_bytes);
        script_request_free(request);
        buffer_close(&source);
        fixture_close(&f);
    }
}

static void misuse_raises_and_too_much_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct script_options options = fixture_options(&f);
    options.limits.requests_max = 2;
    f.host = script_host_new(&options);
    load(&f,
         MK "log(select(2, pcall(mk.raft.propose, 'kv')))\n"
            "log(select(2, pcall(mk.raft.propose, 'kv', 'set', {f = print})))\n"
            "log(select(2, pcall(mk.kv.get, 7)))\n"
            "local r, e = mk.raft.propose('kv', 'set', ('x'):rep(9000000)) log('big ' .. e.code)\n"
            "for i = 1, 2 do task.spawn(function() mk.raft.barrier() end) end task.sleep(1)\n"
            "local r, e = mk.raft.barrier() log('third ' .. e.code)");
    run_for(&f, 2);
    assert_said(&f, "sm and cmd are names");
    assert_said(&f, "function");
    assert_said(&f, "a key is a string");
    assert_said(&f, "big too_large");
    assert_said(&f, "third busy");
    fixture_close(&f);
}

static void one_line(void *ctx, uint64_t call, uint64_t process, struct process_read what)
{
    if (what.offset > 0) {
        fake_read(ctx, call, process, what);
        return;
    }
    struct buffer line = {0};
    write_bin(&line, bytes_of("its line\n", 9));
    script_host_reply(((struct fixture *)ctx)->host, call, ERR_OK, NULL,
                      slice_copy(buffer_bytes(&line)));
    buffer_close(&line);
}

static void a_program_is_looked_after_though_too_many_requests_are_unanswered(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    struct process_port port = fake_processes(&f);
    port.read = one_line;
    struct script_options options = fixture_options(&f);
    options.limits.requests_max = 1;
    options.processes = &port;
    f.host = script_host_new(&options);
    load(&f, MK "local p = mk.exec.spawn({'program'}, {stderr = 'drop'})\n"
                "task.spawn(function() log('ended with ' .. p:wait().code) end)\n"
                "mk.raft.barrier()");
    run_for(&f, 1000);
    assert_silent(&f, "its line");
    assert_silent(&f, "ended with");
    struct script_request *request = next_request(&f);
    reply_u64(&f, request->id, 1);
    script_request_free(request);
    run_for(&f, 1000);
    assert_said(&f, "its line");
    assert_said(&f, "ended with 0");
    fixture_close(&f);
}

static void a_mistake_is_named_at_the_line_of_the_script(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, MK "local function try(...) log(select(2, pcall(...))) end\n"
                "try(function() mk.kv.set('a', print) end)\n"
                "try(function() mk.kv.set('a', 1, {fenc = 7}) end)\n"
                "try(function() mk.kv.get('a', {read = 7}) end)\n"
                "try(function() mk.raft.query('kv', 'get', {}, {red = 'local'}) end)\n"
                "try(function() mk.exec.run('date +%F') end)\n"
                "try(function() mk.http.route('get', '/who', print) end)\n"
                "try(function() mk.whileleader('a', print) end)\n"
                "try(function() mk.kv.put('a', 1) end)\n"
                "try(function() mk.timer.every('5s', print) end)\n"
                "try(function() mk.lock.with('a', {}) end)\n"
                "try(function() mk.kv.get('a', {read = 'locl'}) end)\n"
                "try(function() mk.raft.query('kv', 'get', {}, {read = 'bogus'}) end)\n"
                "try(function() mk.kv.txn({}, {timeout = 5}) end)\n"
                "try(function() mk.kv.fence('a', 1, {timeout = 5}) end)\n"
                "try(function() mk.lease.grant(1000, {timeout = 5}) end)\n"
                "try(function() mk.lease.get(7, {red = 'local'}) end)\n"
                "try(function() mk.lock.acquire('a', {ttl_ms = 0.5}) end)\n"
                "try(function() mk.cron.next('@daily', 1.5) end)\n"
                "try(function() mk.cron.parse(7) end)\n"
                "try(function() task.event():wait('5s') end)\n"
                "try(function() task.channel():recv('5s') end)\n"
                "try(function() task.with_timeout('5s', print) end)\n"
                "try(function() task.sleep_until 'noon' end)\n"
                "log('saved ' .. tostring(mk.saved))");
    assert_said(&f, "t.lua:3: a function is not data");
    assert_said(&f, "t.lua:4: there is no option 'fenc'; did you mean 'fence'?");
    assert_said(&f, "t.lua:5: read is a string, not a number");
    assert_said(&f, "t.lua:6: there is no option 'red'; did you mean 'read'?");
    assert_said(&f, "t.lua:7: a program is a list, { ");
    assert_said(&f, "t.lua:8: a method is ");
    assert_said(&f, "t.lua:9: there is no mk.whileleader; did you mean 'mk.while_leader'?");
    assert_said(&f, "t.lua:10: there is no mk.kv.put; there are create, delete, fence, get, list, "
                    "set, txn, watch");
    assert_said(&f, "t.lua:11: every(ms, fn): ms is a number above 0, not 5s");
    assert_said(&f, "t.lua:12: with(name, opts, fn): fn is a function, not a table");
    assert_said(&f, "t.lua:13: there is no read = 'locl'; did you mean 'local'?");
    assert_said(&f, "t.lua:14: there is no read = 'bogus'; there are linearizable, lease, local");
    assert_said(&f, "t.lua:15: there is no option 'timeout'; did you mean 'timeout_ms'?");
    assert_said(&f, "t.lua:16: there is no option 'timeout'; did you mean 'timeout_ms'?");
    assert_said(&f, "t.lua:17: there is no option 'timeout'; did you mean 'timeout_ms'?");
    assert_said(&f, "t.lua:18: there is no option 'red'; did you mean 'read'?");
    assert_said(&f, "t.lua:19: ttl_ms is a time in ms, an integer");
    assert_said(&f, "t.lua:20: next(after_ms): an integer, ms since 1970");
    assert_said(&f, "t.lua:21: a cron expression is a string");
    assert_said(&f, "t.lua:22: a time in ms is a number, not a string");
    assert_said(&f, "t.lua:23: a time in ms is a number, not a string");
    assert_said(&f, "t.lua:24: a time in ms is a number, not a string");
    assert_said(&f, "t.lua:25: a time in ms is a number, not a string");
    assert_said(&f, "saved nil");
    fixture_close(&f);
}

static void a_line_of_a_script_has_each_name_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    f.log.format = LOG_JSON;
    f.log.node = "n1";
    load(&f, MK "log('hello', {ts = 0, level = 'y', msg = 'z', node = 'n7', app = 'b', at = 'n3',\n"
                "  level_ = 'x', nodes = 3, ['a\":1,\"level'] = 2})");
    assert_said(&f, "\"level\":\"info\",\"msg\":\"hello\",\"node\":\"n1\","
                    "\"a\\\":1,\\\"level\":2,\"app_\":\"b\",\"at\":\"n3\",\"level_\":\"y\","
                    "\"level__\":\"x\",\"msg_\":\"z\",\"node_\":\"n7\",\"nodes\":3,\"ts_\":0,"
                    "\"app\":\"app\"}\n");
    forget(&f);
    f.log.format = LOG_LOGFMT;
    load_named(&f, "b", MK "log('hello', {level = 'y', app = 'c'})");
    settle(&f);
    assert_said(&f, "msg=\"hello\" node=n1 app_=c level_=y app=b\n");
    fixture_close(&f);
}

static void a_line_from_inside_a_hook_names_it_its_term_and_index(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "mk.on('leader_ready', function(ev)\n"
            "  log('in it', { token = 3 })\n"
            "  log('same', { hook = 'leader_ready/h', index = ev.index, term = ev.term, x = 1 })\n"
            "  log('other', { hook = 1, index = 'two', term = 3.5 })\n"
            "  print('printed')\n"
            "  task.spawn(function() task.sleep(1) log('below') end):join()\n"
            "  pcall(coroutine.wrap(function() log('within') end))\n"
            "  task.sleep(10)\n"
            "end, {name = 'h'})\n"
            "mk.on('member_added', function() log('no index') error('x', 0) end, {name = 'm'})\n"
            "mk.while_leader('w', function(lead)\n"
            "  lead:on('leader_ready', function() log('of the work') end, {name = 'i'})\n"
            "  task.spawn(function() log('work') end)\n"
            "  task.sleep(50)\n"
            "end)\n"
            "mk.timer.after(20, function() log('by itself', { term = 1, index = 2 }) end)");
    forget(&f);
    lead(&f, 7, 12, 1000);
    settle(&f);
    post(&f, "leader_ready", "index", 12);
    run_for(&f, 5);
    post(&f, "leader_ready", "index", 13);
    post(&f, "member_added", "voter", 1);
    run_for(&f, 30);
    assert_said(&f, " work app=app hook=while_leader/w term=7\n");
    assert_said(&f, " of the work app=app hook=leader_ready/i term=7 index=12\n");
    assert_said(&f, " in it token=3 app=app hook=leader_ready/h term=7 index=12\n");
    assert_said(&f, " same hook=leader_ready/h index=12 term=7 x=1 app=app\n");
    assert_said(&f, " other hook_=1 index_=two term_=3.5 app=app hook=leader_ready/h term=7 "
                    "index=12\n");
    assert_said(&f, " printed app=app hook=leader_ready/h term=7 index=12\n");
    assert_said(&f, " below app=app hook=leader_ready/h term=7 index=12\n");
    assert_said(
        &f, "script error app=app hook=member_added/m term=7 where=\"hook member_added/m\" err=x ");
    assert_said(&f, " within app=app hook=leader_ready/h term=7 index=12\n");
    assert_said(&f, " in it token=3 app=app hook=leader_ready/h term=7 index=13\n");
    assert_said(&f, " no index app=app hook=member_added/m term=7\n");
    assert_said(&f, " by itself index_=2 term_=1 app=app\n");
    fixture_close(&f);
}

static void status_shows_the_latest_view(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    f.view.peers_count = 1;
    f.view.peers[0] = (struct script_peer){.id = "n2", .voter = true, .online = true, .match = 5};
    lead(&f, 3, 17, 50);
    load(&f, MK "local s = mk.raft.status()\n"
                "log(s.role .. s.term .. s.leader_id .. ' ' .. s.peers[1].id .. s.peers[1].match)\n"
                "log('wait ' .. mk.raft.wait_leader()) local i = mk.info()\n"
                "log(i.id .. i.app .. i.cluster .. tostring(i.simulated) .. i.generation)\n"
                "log(tostring(mk.raft.is_leader())) task.sleep(60) log('lapsed ' .. "
                "tostring(mk.raft.is_leader()))");
    run_for(&f, 70);
    assert_said(&f, "leader3n1 n25");
    assert_said(&f, "wait n1");
    assert_said(&f, "n1apptesttrue1");
    assert_said(&f, "lapsed false");
    fixture_close(&f);
}

static void wait_leader_waits_for_the_election(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f,
         MK "log('leader ' .. tostring((mk.raft.wait_leader(100))) .. ' of ' .. #mk.hooks())\n"
            "local t = task.spawn(function() mk.raft.wait_leader() log('NO') end) task.sleep(1)\n"
            "log('hooks ' .. #mk.hooks()) t:cancel() task.sleep(1) log('left ' .. #mk.hooks())");
    run_for(&f, 50);
    follow(&f, 2, "n3");
    post(&f, "leader_elected", "term", 2);
    run_for(&f, 1);
    assert_said(&f, "leader n3 of 0");
    fixture_close(&f);

    fixture_open(&f);
    load(&f,
         MK "local l, e = mk.raft.wait_leader(100) log(tostring(l) .. ' ' .. e.code)\n"
            "local t = task.spawn(function() mk.raft.wait_leader() log('NO') end) task.sleep(1)\n"
            "log('hooks ' .. #mk.hooks()) t:cancel() task.sleep(1) log('left ' .. #mk.hooks())");
    run_for(&f, 150);
    assert_said(&f, "nil timeout");
    assert_said(&f, "hooks 1");
    assert_said(&f, "left 0");
    fixture_close(&f);
}

static void the_configuration_is_read_and_declared(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct script_app app = {
        .name = "app",
        .path = "test.lua",
        .source = MK "log(mk.config.get('web.url') .. tostring(mk.config.get('web.no')) .. "
                     "mk.config.get('x', 'd'))\n"
                     "log(select(2, pcall(mk.config.declare, {webb = {type = 'table'}})))\n"
                     "log(select(2, pcall(mk.config.declare, {web = {type = 'string'}})))\n"
                     "log(select(2, pcall(mk.config.declare, {web = {type = 'table', fields = {\n"
                     "  url = {type = 'string'}, port = {type = 'integer', required = true}}}})))\n"
                     "mk.config.declare {web = {type = 'table', fields = {\n"
                     "  url = {type = 'string'}, port = {type = 'integer', default = 80}}}}\n"
                     "log('port ' .. mk.config.get('web.port'))",
        .config = bytes_of("\x81\xa3web\x81\xa3url\xa1u", 12),
    };
    assert_int_equal(script_host_load(f.host, &app, NULL), ERR_OK);
    settle(&f);
    assert_said(&f, "unild");
    assert_said(&f, "config: there is no key 'web', did you mean 'webb'?");
    assert_said(&f, "config: web must be string, it is table");
    assert_said(&f, "config: web.port is missing");
    assert_said(&f, "port 80");
    fixture_close(&f);
}

/* What declare says of a configuration that is a piece of Lua itself; "fine" if it takes it. */
static void declared(const char *schema, const char *config, const char *says)
{
    struct fixture f;
    fixture_open(&f);
    struct buffer source = {0};
    buffer_add_format(&source,
                      MK "for k, v in pairs(%s) do require('moonkeeper.core').config()[k] = v end\n"
                         "log(tostring(select(2, pcall(function() mk.config.declare(%s)\n"
                         "  return 'fine' end))))",
                      config, schema);
    struct script_app app = {.name = "app", .path = "test.lua", .source = buffer_text(&source)};
    struct why why = {""};
    if (script_host_load(f.host, &app, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    settle(&f);
    assert_said(&f, says);
    fixture_close(&f);
    buffer_close(&source);
}

static void all_mistakes_are_told_at_once(void **state)
{
    (void)state;
    static const char schema[] =
        "{ jobs = { type = 'table', check = function() return 'not asked after a mistake' end,\n"
        "    items = { type = 'table', fields = {\n"
        "      name = { type = 'string', required = true, check = function(n) return n:rep(2) end "
        "},\n"
        "      argv = { type = 'table', items = { type = 'string' } } } } },\n"
        "  port = { type = 'integer' } }";
    declared(schema,
             "{ jobs = { { name = 'a', argv = { 1, 'b' } }, { nam = 'b' } }, prt = 1, port = 'x' }",
             "config: there is no key 'prt', did you mean 'port'?\n"
             "config: jobs[1].argv[1] must be string, it is integer\n"
             "config: jobs[1].name: aa\n"
             "config: there is no key 'jobs[2].nam', did you mean 'name'?\n"
             "config: port must be integer, it is string");
    declared("{ a = { type = 'table', items = { type = 'string' } } }",
             "{ a = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } }",
             "config: a[10] must be string, it is integer\nconfig: and 2 more");
}

static void a_mistake_in_a_list_or_a_map_is_named_with_its_path(void **state)
{
    (void)state;
    static const char schema[] =
        "{ jobs = { type = 'table', min = 1, items = { type = 'table',\n"
        "    check = function(job, path) if job.name == 'x' then return 'x is taken' end end,\n"
        "    fields = {\n"
        "      name = { type = 'string', required = true },\n"
        "      argv = { type = 'table', min = 1, items = { type = 'string' } },\n"
        "      env = { type = 'table', values = { type = 'string' } } } } } }";
    declared(schema, "{ jobs = { { name = 'a', argv = { 'b' }, env = { c = 'd' } } } }", "fine");
    declared(schema, "{ jobs = { { name = 'a' }, { nam = 'b' } } }",
             "config: there is no key 'jobs[2].nam', did you mean 'name'?");
    declared(schema, "{ jobs = { { name = 'a', banana = 1 } } }",
             "config: there is no key 'jobs[1].banana', there are argv, env, name");
    declared(schema, "{ jobs = { { argv = { 'b' } } } }", "config: jobs[1].name is missing");
    declared(schema, "{ jobs = { { name = 'a', argv = { 'b', 3 } } } }",
             "config: jobs[1].argv[2] must be string, it is integer");
    declared(schema, "{ jobs = { { name = 'a', argv = {} } } }",
             "config: jobs[1].argv must have at least 1 element, it has 0");
    declared(schema, "{ jobs = { { name = 'a', argv = { x = 'b' } } } }",
             "config: jobs[1].argv must be a list, it has the key 'x'");
    declared(schema, "{ jobs = { { name = 'a' }, x = { name = 'b' } } }",
             "config: jobs must be a list, it has the key 'x'");
    declared(schema, "{ jobs = 'a' }", "config: jobs must be a list, it is string");
    declared(schema, "{ jobs = { { name = 'a', env = { c = 1 } } } }",
             "config: jobs[1].env.c must be string, it is integer");
    declared(schema, "{ jobs = { { name = 'a', env = { 'c' } } } }",
             "config: jobs[1].env must have names as keys, it has 1");
    declared(schema, "{ jobs = { { name = 'x' } } }", "config: jobs[1]: x is taken");
    declared("{ a = { type = 'string', min = 1, max = 3 } }", "{ a = '' }",
             "config: a must not be empty");
    declared("{ a = { type = 'string', min = 1, max = 3 } }", "{ a = 'four' }",
             "config: a must have at most 3 bytes, it has 4");
    declared("{ a = { type = 'table', items = { type = 'strong' } } }", "{ a = { 1 } }",
             "declare: a[] needs a type");
    declared("{ a = { type = 'table', items = { type = 'string', requird = true } } }", "{}",
             "declare: the rule of a[] has no 'requird', did you mean 'required'?");
    declared("{ a = { type = 'boolean', min = 1 } }", "{ a = true }",
             "declare: a has min or max, which are for numbers, strings and lists");
    declared("{ a = { type = 'table', max = 2, items = { type = 'integer' } } }",
             "{ a = { 1, 2, 3 } }", "config: a must have at most 2 elements, it has 3");
    declared("{ a = { type = 'number', max = 2 } }", "{ a = 2.5 }",
             "config: a must be at most 2, it is 2.5");
}

static void names_and_environments_are_of_their_format(void **state)
{
    (void)state;
    const char *name = "{ a = { type = 'string', format = 'name' } }";
    declared(name, "{ a = 'back-up_2.x' }", "fine");
    declared(name, "{ a = 'a/b' }", "config: a: a name has letters, digits, '_', '-' and '.'");
    declared(name, "{ a = '' }", "config: a: a name has letters");
    const char *env = "{ a = { type = 'table', values = { type = 'string' }, "
                      "format = 'environment' } }";
    declared(env, "{ a = { PATH = '/bin' } }", "fine");
    declared(env, "{ a = { ['B=C'] = 'd' } }", "config: a: 'B=C' is no name of a variable");
    declared(env, "{ a = { [''] = 'd' } }", "config: a: '' is no name of a variable");
    declared("{ a = { type = 'string', format = 'nam' } }", "{}",
             "declare: a has the format 'nam', which is none of environment, name");
    declared("{ a = { type = 'string', format = 'environment' } }", "{}",
             "declare: a has the format 'environment', which is for a table");
}

static void what_is_unique_is_so_or_names_its_twin(void **state)
{
    (void)state;
    const char *named = "{ jobs = { type = 'table', unique = 'name', items = { type = 'table', "
                        "fields = { name = { type = 'string' } } } } }";
    declared(named, "{ jobs = { { name = 'a' }, { name = 'b' }, {}, {} } }", "fine");
    declared(named, "{ jobs = { { name = 'b' }, { name = 'a' }, { name = 'a' } } }",
             "config: jobs[3].name must be unique, jobs[2].name is 'a' too");
    declared("{ a = { type = 'table', unique = true, items = { type = 'integer' } } }",
             "{ a = { 3, 4, 3 } }", "config: a[3] must be unique, a[1] is '3' too");
    declared("{ a = { type = 'table', unique = 'nam', items = { type = 'table', "
             "fields = { name = { type = 'string' } } } } }",
             "{}", "declare: a has unique, which is true, or a field of its items");
    declared("{ a = { type = 'table', unique = true } }", "{}", "declare: a has unique, which");
    declared("{ a = { type = 'string', unique = 'b' } }", "{}", "declare: a has unique, which");
}

/* ---- commits -----------------------------------------------------------------------------------
 */

static void a_commit_is_described(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 1};
    open_with_feeder(&f, &node, 0);
    assert_false(script_host_wants_commits(f.host));
    load(&f, MK "mk.on('commit', function(ev) log('commit', ev) end)");
    assert_true(script_host_wants_commits(f.host));
    feed_some(&f, 1);
    settle(&f);
    assert_said(&f, "commit args=10 cmd=add entry_term=2 id=2-1 index=1 kind=command name=commit "
                    "seq=1 size=");
    assert_said(&f, "sm=m term=0 time_ms=1");
    fixture_close(&f);
}

static void no_commit_is_lost_or_doubled_however_slow_the_hooks_are(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 100000};
    open_with_feeder(&f, &node, 256);
    load(&f, MK "for h = 1, 3 do\n"
                "  local expected = 1\n"
                "  mk.on('commit', function(ev)\n"
                "    if ev.index ~= expected or ev.args ~= ev.index * 10 then\n"
                "      log('NO: hook ' .. h .. ' got ' .. ev.index .. ', not ' .. expected) end\n"
                "    expected = ev.index + 1\n"
                "    if h == 2 and ev.index % 1000 == 0 then task.sleep(5) end\n"
                "    if h == 3 and ev.index % 7777 == 0 then task.sleep(50) end\n"
                "    if ev.index == 100000 then log('hook ' .. h .. ' has all') end\n"
                "  end)\n"
                "end");
    for (int i = 0; i < 100000 && !said(&f, "hook 3 has all"); i++) {
        feed_some(&f, 1000);
        run_for(&f, 1);
    }
    run_for(&f, 100);
    assert_silent(&f, "NO");
    assert_said(&f, "hook 1 has all");
    assert_said(&f, "hook 2 has all");
    assert_said(&f, "hook 3 has all");
    assert_int_equal(node.fed, 100000); /* nothing was fed again */
    assert_true(node.resumes > 100);
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.commits_delivered, 300000);
    fixture_close(&f);
}

static void a_tripped_commit_hook_catches_up_and_holds_nobody_up(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 3000};
    open_with_feeder(&f, &node, 64);
    load(&f, MK "local expected, n = 1, 0\n"
                "mk.on('commit', function(ev)\n"
                "  if ev.index ~= expected then log('NO: good got ' .. ev.index) end\n"
                "  expected = ev.index + 1\n"
                "  if ev.index == 3000 then log('good has all at ' .. mk.time.now_ms()) end\n"
                "end)\n"
                "local bad_expected = 1\n"
                "mk.on('commit', function(ev)\n"
                "  if ev.index ~= bad_expected then log('NO: bad got ' .. ev.index) end\n"
                "  bad_expected = ev.index + 1\n"
                "  if ev.index == 3000 then log('bad has all') end\n"
                "  if ev.index > 100 and ev.index <= 110 then error('failing') end\n"
                "end)");
    for (int i = 0; i < 1000; i++) {
        feed_some(&f, 100);
        run_for(&f, 1);
    }
    assert_said(&f, "hook tripped");
    assert_said(&f, "good has all at");
    assert_silent(&f, "bad has all");
    for (int i = 0; i < 2000; i++) {
        feed_some(&f, 100);
        run_for(&f, 50);
    }
    assert_said(&f, "bad has all");
    assert_silent(&f, "NO");
    assert_int_equal(node.rewinds, 1);
    fixture_close(&f);
}

static void a_late_hook_hears_what_comes_from_then_on(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 50};
    open_with_feeder(&f, &node, 0);
    load(&f, MK "first = mk.on('commit', function() end)\n"
                "mk.timer.after(10, function()\n"
                "  mk.on('commit', function(ev) log('late ' .. ev.index) end, {name = 'late'})\n"
                "end)\n"
                "mk.timer.after(30, function() for _, h in ipairs(mk.hooks('commit')) do "
                "h:remove() end end)");
    feed_some(&f, 20);
    run_for(&f, 20);
    feed_some(&f, 20);
    run_for(&f, 5);
    assert_silent(&f, "late 20 ");
    assert_said(&f, "late 21");
    assert_said(&f, "late 40");
    run_for(&f, 10);
    assert_false(script_host_wants_commits(f.host));
    feed_some(&f, 10); /* still under way: accepted by nobody */
    run_for(&f, 10);
    assert_silent(&f, "late 41");
    fixture_close(&f);
}

static void open_with_applied(struct fixture *f, struct feeder *node, uint64_t last_applied)
{
    open_with_feeder(f, node, 0);
    f->view.last_applied = last_applied;
    set_view(f);
}

static void a_hook_without_an_index_begins_with_the_next_commit(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 22};
    open_with_applied(&f, &node, 20);
    load(&f, MK "mk.on('commit', function(ev) log('first ' .. ev.index) end)");
    assert_int_equal(node.next, 21);
    feed_some(&f, 100);
    settle(&f);
    assert_silent(&f, "first 20");
    assert_said(&f, "first 21");
    assert_said(&f, "first 22");
    fixture_close(&f);
}

/* Whoever registers first: each begins where it should, and is told everything from there on. */
static void an_index_holds_whoever_else_listens(void **state)
{
    (void)state;
    static const char *const scripts[] = {
        MK "mk.on('commit', function(ev) log('now ' .. ev.index .. ';') end)\n"
           "mk.on('commit', function(ev) log('all ' .. ev.index .. ';') end, {from_index = 1})\n"
           "mk.on('commit', function(ev) log('late ' .. ev.index .. ';') end, {from_index = 30})",
        MK "mk.on('commit', function(ev) log('late ' .. ev.index .. ';') end, {from_index = 30})\n"
           "mk.on('commit', function(ev) log('all ' .. ev.index .. ';') end, {from_index = 1})\n"
           "mk.on('commit', function(ev) log('now ' .. ev.index .. ';') end)",
    };
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct feeder node = {.count = 20};
        open_with_applied(&f, &node, 20);
        load(&f, scripts[i]);
        feed_some(&f, 100);
        settle(&f);
        node.count = 30;
        feed_some(&f, 100);
        settle(&f);
        for (int index = 1; index <= 30; index++) {
            const char *const names[] = {"all", "now", "late"};
            const int from[] = {1, 21, 30};
            for (int h = 0; h < 3; h++) {
                char line[32];
                snprintf(line, sizeof line, "%s %d;", names[h], index);
                assert_int_equal(said(&f, line), index >= from[h]);
            }
        }
        fixture_close(&f);
    }
}

/* The node's answer to the first request comes with a newer view, in the middle of a run. */
static void apply_more(struct fixture *f, struct script_request *request)
{
    on_request(f, request);
    if (strcmp(request->method, "barrier") == 0) {
        f->view.last_applied = 9;
        set_view(f);
    }
}

static void an_index_is_kept_to_however_much_was_applied_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {.count = 20};
    open_with_applied(&f, &node, 5);
    f.answer = apply_more;
    load(&f,
         MK "mk.task.spawn(mk.raft.barrier)\n"
            "mk.task.spawn(function()\n"
            "  local from = mk.raft.status().last_applied + 1\n"
            "  log('from ' .. from)\n"
            "  mk.on('commit', function(ev) log('told ' .. ev.index) end, {from_index = from})\n"
            "end)");
    assert_said(&f, "from 10");
    assert_int_equal(node.next, 10);
    fixture_close(&f);
}

static void a_bad_entry_is_described_as_unknown(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {0};
    open_with_feeder(&f, &node, 0);
    load(&f, MK "mk.on('commit', function(ev) log('commit ' .. ev.index .. ' ' .. ev.kind) end)");
    struct script_commit commit = {
        .index = 5, .term = 2, .feed = node.feed, .entry = slice_copy(bytes_of("\xc1garbage", 8))};
    assert_true(script_host_commit(f.host, &commit));
    slice_close(&commit.entry);
    settle(&f);
    assert_said(&f, "commit 5 unknown");
    fixture_close(&f);
}

static void a_commit_of_another_feed_is_ignored(void **state)
{
    (void)state;
    struct fixture f;
    struct feeder node = {0};
    open_with_feeder(&f, &node, 0);
    load(&f, MK "mk.on('commit', function(ev) log('commit ' .. ev.index) end)");
    uint64_t asked_for = node.feed;
    node.feed = asked_for - 1; /* of before the last request, still under way */
    assert_true(feed_one(&f, 8));
    node.feed = asked_for;
    assert_true(feed_one(&f, 5));
    settle(&f);
    assert_said(&f, "commit 5");
    assert_silent(&f, "commit 8");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(propose_waits_for_its_answer),
        cmocka_unit_test(a_cancelled_request_forgets_its_answer),
        cmocka_unit_test(the_other_requests_have_their_methods),
        cmocka_unit_test(misuse_raises_and_too_much_is_refused),
        cmocka_unit_test(a_program_is_looked_after_though_too_many_requests_are_unanswered),
        cmocka_unit_test(a_mistake_is_named_at_the_line_of_the_script),
        cmocka_unit_test(a_line_of_a_script_has_each_name_once),
        cmocka_unit_test(a_line_from_inside_a_hook_names_it_its_term_and_index),
        cmocka_unit_test(status_shows_the_latest_view),
        cmocka_unit_test(wait_leader_waits_for_the_election),
        cmocka_unit_test(the_configuration_is_read_and_declared),
        cmocka_unit_test(all_mistakes_are_told_at_once),
        cmocka_unit_test(names_and_environments_are_of_their_format),
        cmocka_unit_test(what_is_unique_is_so_or_names_its_twin),
        cmocka_unit_test(a_mistake_in_a_list_or_a_map_is_named_with_its_path),
        cmocka_unit_test(a_commit_is_described),
        cmocka_unit_test(no_commit_is_lost_or_doubled_however_slow_the_hooks_are),
        cmocka_unit_test(a_tripped_commit_hook_catches_up_and_holds_nobody_up),
        cmocka_unit_test(a_late_hook_hears_what_comes_from_then_on),
        cmocka_unit_test(a_hook_without_an_index_begins_with_the_next_commit),
        cmocka_unit_test(an_index_holds_whoever_else_listens),
        cmocka_unit_test(an_index_is_kept_to_however_much_was_applied_meanwhile),
        cmocka_unit_test(a_bad_entry_is_described_as_unknown),
        cmocka_unit_test(a_commit_of_another_feed_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
