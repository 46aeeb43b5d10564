/* Every allocation of a state fails once: no crash, no leak (under AddressSanitizer), and the host
 * goes on with its other applications. */
#include "host_fixture.h"

static const char *const script =
    "local mk = require 'moonkeeper'\n"
    "local hook = mk.on('my.event', function(ev)\n"
    "  local t <close> = setmetatable({}, {__close = function() end})\n"
    "  mk.task.sleep(1) mk.log.info('event ' .. ev.payload.n, {n = ev.payload.n})\n"
    "end, {name = 'h'})\n"
    "mk.on('error', function(ev) mk.log.info(ev.message) end)\n"
    "mk.on('commit', function(ev) mk.log.info('commit ' .. ev.index) end)\n"
    "mk.while_leader('w', function(lead)\n"
    "  lead:every(5, function() end) lead:on('my.event', function() lead:check() end)\n"
    "  mk.task.sleep(1000) end)\n"
    "mk.emit('my.event', {n = 1, text = 'some text', list = {1, 2, 3}})\n"
    "mk.timer.every(3, function() error('in a timer') end)\n"
    "local r = mk.task.map({1, 2}, 2, function(x) mk.task.sleep(x) return x end)\n"
    "local co = coroutine.wrap(function() mk.task.sleep(1) coroutine.yield(1) error('x') end)\n"
    "co() pcall(co)\n"
    "mk.task.with_timeout(1, mk.task.sleep, 10)\n"
    "local ch = mk.task.channel(1) mk.task.spawn(function() ch:send(mk.json.encode{a = 1}) end) "
    "ch:recv()\n"
    "mk.raft.propose('kv', 'set', {key = 'k', value = mk.null})\n"
    "mk.config.get('a.b') mk.raft.status() mk.info() mk.hooks() hook:stats() hook:remove()\n";

static void answer(struct fixture *f, struct script_request *request)
{
    if (strcmp(request->method, "propose") == 0) {
        struct buffer result = {0};
        write_map(&result, 1);
        write_text(&result, "version");
        write_u64(&result, 3);
        script_host_reply(f->host, request->id, ERR_OK, NULL, slice_copy(buffer_bytes(&result)));
        buffer_close(&result);
    } else if (strcmp(request->method, "commit_resume") == 0) {
        struct script_commit commit = {
            .index = 1, .term = 1, .feed = 1, .entry = slice_copy(bytes_of("\xc0", 1))};
        script_host_commit(f->host, &commit);
        slice_close(&commit.entry);
    }
}

/* Run the script with its n-th allocation refused. False: it has fewer. */
static bool run_refusing(uint64_t n)
{
    struct fixture f;
    fixture_init(&f);
    f.answer = answer;
    struct script_options options = fixture_options(&f);
    f.host = script_host_new(&options);
    f.host->fail_after = n + 1;
    struct script_app app = {.name = "app", .path = "test.lua", .source = script};
    struct why why = {0};
    bool refused = true;
    enum err err = script_host_load(f.host, &app, &why);
    if (err == ERR_OK) {
        lead(&f, 3, 17, 0);
        run_for(&f, 20);
        follow(&f, 4, "n2");
        run_for(&f, 20);
        refused = TAILQ_FIRST(&f.host->apps)->memory.fail_after == 0;
    } else {
        assert_int_equal(err, ERR_TOO_LARGE);
    }
    if (n % 64 == 1) {
        f.host->fail_after = 0;
        load_named(&f, "other", "require 'moonkeeper'.log.info('the other runs')");
        run_for(&f, 1);
        assert_said(&f, "the other runs");
    }
    fixture_close(&f);
    return refused;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t n = 1;
    while (run_refusing(n)) {
        n++;
    }
    printf("%llu allocations were refused, one at a time\n", (unsigned long long)n - 1);
    assert_true(n > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
