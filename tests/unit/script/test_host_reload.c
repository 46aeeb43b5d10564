#include "commit_feeder.h"
#include "host_fixture.h"

#define MK "local mk = require 'moonkeeper' local log, task = mk.log.info, mk.task\n"

/* What the last reload was answered with, in words: "app reloaded 2;" */
struct answers {
    struct buffer text;
    enum err err;
    int count;
    const struct script_host *host;
    struct slice apps; /* as script_host_apps() had them at that moment */
};

static void on_done(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct answers *a = ctx;
    a->err = err;
    a->count++;
    slice_close(&a->apps);
    a->apps = script_host_apps(a->host);
    buffer_clear(&a->text);
    if (err != ERR_OK) {
        buffer_add_format(&a->text, "%s", message != NULL ? message : err_name(err));
        return;
    }
    struct reader r = reader_of(results);
    uint32_t count = read_array(&r);
    for (uint32_t i = 0; i < count; i++) {
        char app[64] = "", outcome[64] = "";
        uint64_t generation = 0;
        uint32_t fields = read_map(&r);
        for (uint32_t j = 0; j < fields; j++) {
            struct bytes key = read_str(&r, 32);
            if (bytes_equal(key, bytes_of_string("generation"))) {
                generation = read_u64(&r);
            } else if (bytes_equal(key, bytes_of_string("error"))) {
                read_raw(&r);
            } else {
                struct bytes value = read_str(&r, 63);
                memcpy(key.data[0] == 'a' ? app : outcome, value.data, value.size);
            }
        }
        buffer_add_format(&a->text, "%s %s %d;", app, outcome, (int)generation);
    }
    assert_int_equal(reader_end(&r), ERR_OK);
}

static void answers_close(struct answers *a)
{
    buffer_close(&a->text);
    slice_close(&a->apps);
}

static void reload_apps(struct fixture *f, struct answers *a, const struct script_app *apps,
                        uint32_t count)
{
    a->host = f->host;
    script_host_reload(f->host, &(struct script_reload){
                                    .apps = apps, .apps_count = count, .done = on_done, .ctx = a});
}

/* The one application anew, and whatever it does without waiting. */
static void reload_with(struct fixture *f, struct answers *a, const char *source)
{
    const struct script_app app = {.name = "app", .path = "test.lua", .source = source};
    reload_apps(f, a, &app, 1);
    settle(f);
}

#define assert_answer(a, words)                                \
    do {                                                       \
        assert_string_equal(buffer_text(&(a)->text), (words)); \
    } while (0)

static void a_new_generation_takes_over(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK "mk.on('leader_ready', function() log('old') end)\n"
                "mk.timer.every(10, function() log('old tick') end)\n"
                "log('generation ' .. mk.info().generation)");
    assert_said(&f, "generation 1");
    reload_with(&f, &a,
                MK
                "mk.on('leader_ready', function() log('new') end)\n"
                "mk.on('reload', function(ev) log('told', {a = ev.app, g = ev.generation}) end)\n"
                "mk.timer.every(10, function() log('new tick') end)\n"
                "log('generation ' .. mk.info().generation)");
    assert_answer(&a, "app reloaded 2;");
    assert_said(&f, "generation 2");
    assert_said(&f, "told a=app g=2");
    forget(&f);
    post(&f, "leader_ready", "index", 1);
    run_for(&f, 15);
    assert_said(&f, "new app");
    assert_said(&f, "new tick");
    assert_silent(&f, "old");
    answers_close(&a);
    fixture_close(&f);
}

/* Who asks what runs, once the reload is answered, hears of the new generation. */
static void what_is_told_of_applications_is_true_when_a_reload_is_answered(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    const struct script_app app = {.name = "app", .path = "test.lua", .source = "local = 1"};
    script_host_load_failed(f.host, &app, "it cannot be loaded");
    settle(&f);
    reload_with(&f, &a, "");
    assert_answer(&a, "app reloaded 2;");
    assert_non_null(memmem(slice_bytes(a.apps).data, a.apps.size, "running", 7));
    assert_null(memmem(slice_bytes(a.apps).data, a.apps.size, "failed", 6));
    answers_close(&a);
    fixture_close(&f);
}

/* Each fails in its own way; the old one hears what came meanwhile, and goes on. */
static void a_generation_that_fails_leaves_the_old_one_running(void **state)
{
    (void)state;
    static const struct {
        const char *source, *error;
    } broken[] = {
        {"x = = 1", "test.lua:1: unexpected symbol near '='"},
        {MK "mk.on('leader_ready', function() log('new') end)\nerror('no')", "test.lua:3: no"},
        {MK "mk.config.declare { url = { type = 'string', required = true } }",
         "config: url is missing"},
        {MK "task.sleep(20) local x = nil + 1", "attempt to perform arithmetic on a nil value"},
        {MK "while true do end", "over its budget of 100 ms"},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct fixture f;
        struct answers a = {0};
        fixture_open(&f);
        load(&f, MK "mk.on('error', function(ev) log('error event ' .. ev.where) end)\n"
                    "mk.on('leader_ready', function(ev) log('old ' .. ev.index) end)\n");
        reload_with(&f, &a, broken[i].source);
        post(&f, "leader_ready", "index", 7);
        run_for(&f, 500);
        assert_answer(&a, "app failed 1;");
        assert_said(&f, broken[i].error);
        assert_said(&f, "generation 1 goes on");
        assert_said(&f, "error event reload");
        assert_said(&f, "old 7");
        assert_silent(&f, "new");
        struct slice apps = script_host_apps(f.host);
        assert_non_null(
            memmem(slice_bytes(apps).data, apps.size, broken[i].error, strlen(broken[i].error)));
        slice_close(&apps);
        reload_with(&f, &a, MK "mk.on('leader_ready', function(ev) log('new') end)\n");
        assert_answer(&a, "app reloaded 2;"); /* it does not count */
        post(&f, "leader_ready", "index", 8);
        run_for(&f, 300);
        assert_said(&f, "new");
        apps = script_host_apps(f.host);
        assert_null(
            memmem(slice_bytes(apps).data, apps.size, broken[i].error, strlen(broken[i].error)));
        slice_close(&apps);
        answers_close(&a);
        fixture_close(&f);
    }
}

static void nothing_of_the_new_begins_before_all_of_the_old_has_ended(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK
         "task.spawn(function() task.defer(function() task.sleep(300) log('old task ended') end)\n"
         "  task.sleep(100000) end)\n");
    reload_with(&f, &a,
                MK "log('main') task.spawn(function() log('new task') end)\n"
                   "mk.timer.after(1, function() log('new timer') end)\n"
                   "mk.on('x.y', function() log('new hook') end)\n"
                   "mk.emit('x.y')");
    assert_said(&f, "main");
    run_for(&f, 299);
    assert_silent(&f, "new");
    assert_int_equal(a.count, 0);
    run_for(&f, 10);
    assert_answer(&a, "app reloaded 2;");
    const char *text = buffer_text(&f.said);
    assert_non_null(strstr(text, "new task"));
    assert_true(strstr(text, "old task ended") < strstr(text, "new task"));
    assert_said(&f, "new timer");
    answers_close(&a);
    fixture_close(&f);
}

static void a_main_chunk_may_wait_for_what_it_spawns(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, "");
    reload_with(&f, &a,
                MK "local t = task.spawn(function() task.sleep(5) return 4 end)\n"
                   "log('joined ' .. t:join())\n"
                   "task.scope(function() task.spawn(function() log('scoped') end) end)\n"
                   "log('mapped ' .. task.map({1, 2}, 2, function(x) return x end)[2])");
    run_for(&f, 20);
    assert_answer(&a, "app reloaded 2;");
    assert_said(&f, "joined 4");
    assert_said(&f, "scoped");
    assert_said(&f, "mapped 2");
    answers_close(&a);
    fixture_close(&f);
}

static void a_main_chunk_that_never_ends_takes_over_in_time(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    const char *endless =
        MK "while true do log('loop ' .. mk.info().generation) task.sleep(100) end";
    load(&f, endless);
    reload_with(&f, &a, endless);
    run_for(&f, 4990);
    assert_int_equal(a.count, 0);
    run_for(&f, 200);
    assert_answer(&a, "app reloaded 2;");
    forget(&f);
    run_for(&f, 200);
    assert_said(&f, "loop 2");
    assert_silent(&f, "loop 1");
    answers_close(&a);
    fixture_close(&f);
}

#define LEADER(tag)                                                         \
    MK "mk.while_leader('w', function(lead)\n"                              \
       "  log('" tag " begins ' .. lead.token)\n"                           \
       "  task.defer(function() task.sleep(400) log('" tag " ends') end)\n" \
       "  task.sleep(1000000)\n"                                            \
       "end, {grace_ms = 1000})\n"

static void while_leader_of_two_generations_never_overlap(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, LEADER("old"));
    lead(&f, 3, 17, 0);
    settle(&f);
    assert_said(&f, "old begins 17");
    reload_with(&f, &a, LEADER("new"));
    run_for(&f, 399);
    assert_silent(&f, "old ends");
    assert_silent(&f, "new begins");
    run_for(&f, 2);
    const char *text = buffer_text(&f.said);
    assert_non_null(strstr(text, "new begins 17"));
    assert_true(strstr(text, "old ends") < strstr(text, "new begins"));
    forget(&f);
    lead(&f, 4, 30, 0); /* another leadership */
    run_for(&f, 1100);
    assert_said(&f, "new begins 30");
    assert_silent(&f, "old");
    answers_close(&a);
    fixture_close(&f);
}

static void leadership_gained_while_hands_change_begins_once(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, LEADER("old"));
    reload_with(&f, &a, LEADER("new") "task.sleep(50)");
    lead(&f, 3, 17, 0); /* the main chunk is under way: the old one works on */
    run_for(&f, 10);
    assert_said(&f, "old begins 17");
    assert_silent(&f, "new begins");
    run_for(&f, 450);
    const char *text = buffer_text(&f.said);
    assert_non_null(strstr(text, "new begins 17"));
    assert_true(strstr(text, "old ends") < strstr(text, "new begins"));
    answers_close(&a);
    fixture_close(&f);
}

/* Hooks that say in which order commits reach them. */
#define AUDIT(options, wait)                     \
    MK "mk.on('commit', function(ev)\n"          \
       "  " wait " log('commit ' .. ev.index)\n" \
       "end, " options ")\n"

static void assert_each_commit_once(struct fixture *f, uint64_t count)
{
    const char *text = buffer_text(&f->said);
    for (uint64_t i = 1; i <= count; i++) {
        char line[32];
        snprintf(line, sizeof line, "commit %d app", (int)i);
        text = strstr(text, line);
        if (text == NULL) {
            fail_msg("no %s, or not in order: %s", line, buffer_text(&f->said));
        }
        text += strlen(line);
        assert_null(strstr(text, line));
    }
}

static void each_commit_is_told_once_to_one_of_the_two(void **state)
{
    (void)state;
    static const char *const options[] = {AUDIT("{name = 'audit'}", "task.sleep(3)"),
                                          AUDIT("nil", "task.sleep(3)")};
    for (size_t i = 0; i < 2; i++) {
        struct fixture f;
        struct answers a = {0};
        struct feeder node = {.count = 60};
        open_with_feeder(&f, &node, 16);
        load(&f, options[i]);
        for (int ms = 0; ms < 300; ms++) {
            feed_some(&f, 2);
            run_for(&f, 1);
            if (ms == 5 || ms == 60 || ms == 61 || ms == 100) {
                const struct script_app app = {
                    .name = "app", .path = "test.lua", .source = ms == 60 ? "x = = 1" : options[i]};
                reload_apps(&f, &a, &app, 1);
            }
        }
        assert_int_equal(a.count, 4);
        assert_answer(&a, "app reloaded 4;");
        assert_each_commit_once(&f, 60);
        assert_int_equal(node.rewinds, 0);
        answers_close(&a);
        fixture_close(&f);
    }
}

static void a_commit_hook_that_names_an_index_begins_there(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    struct feeder node = {.count = 20};
    open_with_feeder(&f, &node, 64);
    f.view.last_applied = 20;
    set_view(&f);
    load(&f, AUDIT("{name = 'audit', from_index = 1}", ""));
    feed_some(&f, 20);
    settle(&f);
    forget(&f);
    reload_with(&f, &a, AUDIT("{name = 'audit', from_index = 1}", ""));
    feed_some(&f, 20);
    settle(&f);
    assert_each_commit_once(&f, 20); /* again: it has no state yet */
    answers_close(&a);
    fixture_close(&f);
}

static void nothing_is_told_again_when_nothing_was_told_yet(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    struct feeder node = {.count = 20};
    open_with_feeder(&f, &node, 64);
    f.view.last_applied = 20;
    set_view(&f);
    load(&f, AUDIT("{name = 'audit'}", ""));
    for (int i = 0; i < 2; i++) {
        reload_with(&f, &a, AUDIT("{name = 'audit'}", ""));
        feed_some(&f, 100);
        settle(&f);
    }
    assert_silent(&f, "commit ");
    assert_int_equal(node.resumes, 1);
    node.count = 21;
    feed_some(&f, 100);
    settle(&f);
    assert_said(&f, "commit 21 app");
    answers_close(&a);
    fixture_close(&f);
}

static void events_that_come_meanwhile_wait_for_the_hook_of_the_same_name(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK "mk.on('leader_ready', function(ev) log('old ' .. ev.index) end, {name = 'h'})");
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    reload_with(&f, &a,
                MK "mk.on('leader_ready', function(ev) log('new ' .. ev.index) end,\n"
                   "  {name = 'h'}) task.sleep(100)\n"
                   "log('calls ' .. mk.hooks()[1]:stats().calls)");
    post(&f, "leader_ready", "index", 2);
    post(&f, "leader_ready", "index", 3);
    run_for(&f, 50);
    assert_silent(&f, "new");
    assert_silent(&f, "old 2");
    run_for(&f, 60);
    assert_said(&f, "new 2");
    assert_said(&f, "new 3");
    assert_silent(&f, "new 1");
    answers_close(&a);
    fixture_close(&f);
}

static void what_is_saved_is_there_when_the_main_chunk_runs(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK "assert(mk.saved == nil)\n"
                "local seen = 0\n"
                "mk.on('leader_ready', function() task.sleep(50) seen = seen + 1 end)\n"
                "mk.on_reload(function() return {seen = seen, id = 9007199254740993} end)");
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    const char *next = MK "log('seen ' .. mk.saved.seen .. ' ' .. mk.saved.id)\n"
                          "mk.on_reload(function() error('cannot') end)";
    reload_with(&f, &a, next);
    run_for(&f, 60); /* the call that was under way comes to its end first */
    assert_said(&f, "seen 1 9007199254740993");
    assert_answer(&a, "app reloaded 2;");
    reload_with(&f, &a, "");
    assert_answer(&a, "app failed 2;");
    assert_said(&f, "its mk.on_reload function failed: test.lua:3: cannot; generation 2 goes on");
    answers_close(&a);
    fixture_close(&f);
}

static void what_cannot_be_saved_or_takes_too_long_fails_the_reload(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK "mk.on_reload(function() return print end)");
    reload_with(&f, &a, "");
    assert_answer(&a, "app failed 1;");
    assert_said(&f, "what its mk.on_reload function returned:");
    fixture_close(&f);
    fixture_open(&f);
    load(&f, MK "mk.on_reload(function() task.sleep(100000) end)");
    reload_with(&f, &a, "");
    run_for(&f, 2100);
    assert_answer(&a, "app failed 1;");
    assert_said(&f, "its mk.on_reload function was ended: it took longer than 2 s");
    answers_close(&a);
    fixture_close(&f);
}

static void apps_come_and_go_with_the_list(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load_named(&f, "a", MK "mk.on('x.y', function() log('A') end)");
    load_named(&f, "b", MK "mk.on('x.y', function() log('B') end)");
    settle(&f);
    const struct script_app apps[] = {
        {.name = "b", .path = "b.lua", .source = MK "mk.on('x.y', function() log('B2') end)"},
        {.name = "c",
         .path = "c.lua",
         .source = MK "mk.timer.after(5, function() mk.emit 'x.y' end)"},
        {.name = "d", .path = "d.lua", .source = "error('d')"},
    };
    reload_apps(&f, &a, apps, 3);
    run_for(&f, 10);
    assert_answer(&a, "b reloaded 2;c started 1;d failed 0;a ended 0;");
    assert_said(&f, "application not started");
    assert_said(&f, "B2");
    assert_silent(&f, "A app");
    struct script_stats stats;
    script_host_stats(f.host, &stats);
    assert_int_equal(stats.apps, 2);
    answers_close(&a);
    fixture_close(&f);
}

static void on_http(void *ctx, struct bytes answer)
{
    buffer_add_bytes(ctx, answer);
}

static void get(struct fixture *f, const char *path, struct buffer *answers)
{
    const struct script_http_request request = {
        .method = "GET", .path = path, .query = "", .remote = "", .done = on_http, .ctx = answers};
    assert_true(script_host_http(f->host, &request));
    settle(f);
}

/* One under way is answered by the old one, those that come meanwhile by the new one. */
static void no_request_is_lost_while_hands_change(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    struct buffer got = {0};
    fixture_open(&f);
    load(&f,
         MK "mk.http.route('GET', '/a', function() task.sleep(100) return {body = 'old one'} end)\n"
            "mk.http.route('GET', '/b', function() return {body = 'old b'} end)");
    get(&f, "/a", &got);
    reload_with(
        &f, &a,
        MK "mk.http.route('GET', '/a', function() return {body = 'new a'} end)\n"
           "task.sleep(50) mk.http.route('GET', '/b', function() return {body = 'new b'} end)");
    get(&f, "/a", &got);
    assert_int_equal(got.size, 0);
    run_for(&f, 101);
    assert_non_null(memmem(got.data, got.size, "old one", 7));
    assert_null(memmem(got.data, got.size, "new", 3));
    get(&f, "/b", &got);
    run_for(&f, 60);
    assert_non_null(memmem(got.data, got.size, "new a", 5));
    assert_non_null(memmem(got.data, got.size, "new b", 5));
    buffer_clear(&got);
    reload_with(&f, &a,
                MK "mk.http.route('GET', '/a', function() return {body = 'bad'} end)\n"
                   "task.sleep(50) error('no')");
    get(&f, "/a", &got);
    run_for(&f, 60);
    assert_non_null(memmem(got.data, got.size, "new a", 5));
    buffer_close(&got);
    answers_close(&a);
    fixture_close(&f);
}

#define SLOW                                                        \
    MK "mk.on('leader_ready', function()\n"                         \
       "  task.defer(function() task.sleep(400) log('left') end)\n" \
       "  task.sleep(3000) log('finished')\n"                       \
       "end)\n"                                                     \
       "mk.http.route('GET', '/slow', function() task.sleep(100000) end)\n"

static void calls_that_do_not_end_hold_a_reload_up_for_two_seconds(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    struct buffer got = {0};
    fixture_open(&f);
    load(&f, SLOW);
    post(&f, "leader_ready", "index", 1);
    get(&f, "/slow", &got);
    settle(&f);
    reload_with(&f, &a, "local mk = require 'moonkeeper' mk.log.info('anew')");
    run_for(&f, 1990);
    assert_silent(&f, "anew");
    run_for(&f, 10);
    assert_said(&f, "anew");
    assert_int_equal(a.count, 0);
    run_for(&f, 400); /* to clean up */
    assert_answer(&a, "app reloaded 2;");
    assert_said(&f, "left");
    assert_silent(&f, "finished");
    assert_true(got.size > 0);
    buffer_close(&got);
    answers_close(&a);
    fixture_close(&f);
}

static void calls_of_a_generation_that_goes_on_are_left_alone(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, SLOW);
    post(&f, "leader_ready", "index", 1);
    settle(&f);
    reload_with(&f, &a, "error('no')");
    run_for(&f, 2000);
    assert_answer(&a, "app failed 1;");
    run_for(&f, 1400);
    assert_said(&f, "finished");
    answers_close(&a);
    fixture_close(&f);
}

static void a_second_reload_is_refused_while_one_is_under_way(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0}, b = {0};
    fixture_open(&f);
    load(&f, "");
    reload_with(&f, &a, MK "task.sleep(10)");
    reload_with(&f, &b, "");
    assert_answer(&b, "another reload is under way");
    assert_int_equal(b.err, ERR_BUSY);
    run_for(&f, 20);
    assert_answer(&a, "app reloaded 2;");
    answers_close(&a);
    answers_close(&b);
    fixture_close(&f);
}

static void a_shutdown_gives_it_up_and_the_old_one_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct answers a = {0};
    fixture_open(&f);
    load(&f, MK "mk.on('shutdown', function() log('old leaves') end)");
    reload_with(&f, &a, MK "mk.on('shutdown', function() log('new leaves') end) task.sleep(1000)");
    script_host_shutdown_begin(f.host, f.now_us + 500000);
    run_for(&f, 10);
    assert_said(&f, "old leaves");
    assert_answer(&a, "app failed 1;");
    assert_true(script_host_shutdown_finished(f.host));
    reload_with(&f, &a, "");
    assert_int_equal(a.err, ERR_SHUTDOWN);
    answers_close(&a);
    fixture_close(&f);
}

/* Wherever it is cut off, nothing is left over (run under a sanitizer). */
static void a_host_can_end_at_any_time(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 80; ms += 3) {
        struct fixture f;
        struct answers a = {0};
        fixture_open(&f);
        load(&f, LEADER("old") "mk.on_reload(function() task.sleep(10) return 1 end)\n"
                               "mk.on('x.y', function() task.sleep(20) end) mk.emit('x.y')\n"
                               "mk.while_leader('quick', function() task.sleep(99999) end)");
        lead(&f, 3, 17, 0);
        settle(&f);
        reload_with(&f, &a,
                    LEADER("new") "task.spawn(function() task.sleep(1) end)\n"
                                  "mk.on('x.y', print) task.sleep(20)");
        run_for(&f, ms * 10);
        ms % 2 == 0 ? script_host_free(f.host) : script_host_kill(f.host);
        f.host = NULL;
        assert_int_equal(a.count, 1);
        answers_close(&a);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_generation_takes_over),
        cmocka_unit_test(what_is_told_of_applications_is_true_when_a_reload_is_answered),
        cmocka_unit_test(a_generation_that_fails_leaves_the_old_one_running),
        cmocka_unit_test(nothing_of_the_new_begins_before_all_of_the_old_has_ended),
        cmocka_unit_test(a_main_chunk_may_wait_for_what_it_spawns),
        cmocka_unit_test(a_main_chunk_that_never_ends_takes_over_in_time),
        cmocka_unit_test(while_leader_of_two_generations_never_overlap),
        cmocka_unit_test(leadership_gained_while_hands_change_begins_once),
        cmocka_unit_test(each_commit_is_told_once_to_one_of_the_two),
        cmocka_unit_test(a_commit_hook_that_names_an_index_begins_there),
        cmocka_unit_test(nothing_is_told_again_when_nothing_was_told_yet),
        cmocka_unit_test(events_that_come_meanwhile_wait_for_the_hook_of_the_same_name),
        cmocka_unit_test(what_is_saved_is_there_when_the_main_chunk_runs),
        cmocka_unit_test(what_cannot_be_saved_or_takes_too_long_fails_the_reload),
        cmocka_unit_test(apps_come_and_go_with_the_list),
        cmocka_unit_test(no_request_is_lost_while_hands_change),
        cmocka_unit_test(calls_that_do_not_end_hold_a_reload_up_for_two_seconds),
        cmocka_unit_test(calls_of_a_generation_that_goes_on_are_left_alone),
        cmocka_unit_test(a_second_reload_is_refused_while_one_is_under_way),
        cmocka_unit_test(a_shutdown_gives_it_up_and_the_old_one_is_told),
        cmocka_unit_test(a_host_can_end_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
