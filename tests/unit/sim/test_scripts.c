/* Users' scripts inside simulated processes: on the host's clock, as deaf as the process is dead,
 * as busy as they are, and the same in every run of a seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/cluster.h"
#include "sound.h"
#include "wire/reader.h"

enum { MS = 1000, SECOND = 1000 * MS };

static struct cluster *start(struct cluster_options *o, const struct script_app *scripts,
                             uint32_t count)
{
    o->scripts = scripts;
    o->scripts_count = count;
    struct cluster *c = cluster_new(o);
    cluster_boot_all(c);
    assert_true(cluster_await_leader(c, 5 * SECOND) != CLUSTER_NOBODY);
    return c;
}

static struct cluster *start_source(uint64_t seed, const char *source)
{
    struct cluster_options o = cluster_defaults(seed);
    static struct script_app app; /* outlives the cluster */
    app = (struct script_app){.name = "app", .path = "app.lua", .source = source};
    return start(&o, &app, 1);
}

/* Events of this name, of one host or of all (CLUSTER_NOBODY), from the number on. */
static uint64_t count_events(const struct cluster *c, uint64_t from, uint32_t host,
                             const char *name)
{
    const struct events *e = cluster_events(c);
    uint64_t count = 0;
    for (uint64_t i = from; i < events_end(e); i++) {
        const struct sim_event *event = events_at(e, i);
        count += (host == CLUSTER_NOBODY || host == event->host) && strcmp(event->name, name) == 0;
    }
    return count;
}

/* The integer in a field of the payload of the last event of this name: of mk.emit. */
static uint64_t last_field(const struct cluster *c, uint32_t host, const char *name,
                           const char *field)
{
    const struct events *e = cluster_events(c);
    for (uint64_t i = events_end(e); i > events_begin(e); i--) {
        const struct sim_event *event = events_at(e, i - 1);
        if (event->host != host || strcmp(event->name, name) != 0) {
            continue;
        }
        struct reader r = reader_of(slice_bytes(event->fields));
        assert_int_equal(read_map(&r), 1);
        assert_true(bytes_equal(read_str(&r, SIZE_MAX), bytes_of_string("payload")));
        uint32_t count = read_map(&r);
        for (uint32_t k = 0; k < count; k++) {
            struct bytes key = read_str(&r, SIZE_MAX);
            if (bytes_equal(key, bytes_of_string(field))) {
                return read_u64(&r);
            }
            read_skip(&r);
        }
    }
    return UINT64_MAX;
}

/* ---- the whole way --------------------------------------------------------------------------- */

static const char worker[] =
    "local mk = require 'moonkeeper'\n"
    "local applied = 0\n"
    "mk.on('commit', function(ev) applied = ev.index end, {name = 'count'})\n"
    "mk.on('leader_elected', function(ev) mk.log.info('new leader', {id = ev.leader_id}) end)\n"
    "mk.while_leader('work', function(lead)\n"
    "  mk.emit('work.began', {token = lead.token})\n"
    "  while true do\n"
    "    local v = mk.kv.set('scripted', lead.token .. '-' .. math.random(0))\n"
    "    mk.emit('work.goes_on', {applied = applied})\n"
    "    mk.task.sleep(20)\n"
    "  end\n"
    "end)\n";

static void leader_only_work_moves_with_leadership(void **state)
{
    (void)state;
    struct cluster *c = start_source(11, worker);
    assert_true(cluster_run(c, SECOND));
    uint32_t leader = cluster_leader(c);
    assert_int_equal(count_events(c, 0, leader, "work.began"), 1);
    assert_true(count_events(c, 0, leader, "work.goes_on") > 20);
    assert_true(last_field(c, leader, "work.goes_on", "applied") > 20);
    sim_process_end(cluster_host(c, leader), SIM_END_CRASH);
    uint64_t mark = events_end(cluster_events(c));
    assert_true(cluster_run(c, 2 * SECOND));
    uint32_t next = cluster_leader(c);
    assert_int_equal(count_events(c, mark, next, "work.began"), 1);
    assert_sound(c);
    assert_true(safety_stats(cluster_safety(c))->leader_slices > 50);
    cluster_free(c);
}

static void a_crash_runs_nothing_and_a_planned_stop_runs_shutdown_hooks(void **state)
{
    (void)state;
    struct cluster *c = start_source(
        5, "local mk = require 'moonkeeper'\n"
           "mk.on('shutdown', function(ev) mk.task.sleep(30) mk.emit('my.goodbye') end)\n"
           "mk.task.spawn(function()\n"
           "  local x <close> = setmetatable({}, {__close = function() mk.emit('my.closed') end})\n"
           "  mk.task.sleep(1e9)\n"
           "end)\n");
    assert_true(cluster_run(c, SECOND));
    uint32_t first = cluster_leader(c);
    uint64_t mark = events_end(cluster_events(c));
    sim_process_end(cluster_host(c, first), SIM_END_HOST);
    assert_int_equal(count_events(c, mark, first, "my.closed"), 0);
    assert_true(cluster_run(c, SECOND));
    uint32_t second = (first + 1) % 3;
    sim_process_stop(cluster_host(c, second));
    assert_true(cluster_run(c, SECOND));
    assert_false(sim_process_running(cluster_host(c, second)));
    assert_int_equal(count_events(c, mark, second, "my.goodbye"), 1);
    assert_int_equal(count_events(c, mark, second, "my.closed"), 1);
    cluster_free(c);
}

static void a_script_begins_anew_with_each_process_and_rests_with_a_paused_one(void **state)
{
    (void)state;
    struct cluster *c = start_source(
        9, "local mk = require 'moonkeeper'\n"
           "mk.emit('my.start')\n"
           "local n = 0\n"
           "mk.timer.every(10, function() n = n + 1 mk.emit('my.tick', {n = n}) end)\n");
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(count_events(c, 0, 0, "my.start"), 1);
    sim_process_pause(cluster_host(c, 0));
    uint64_t mark = events_end(cluster_events(c));
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(count_events(c, mark, 0, "my.tick"), 0);
    assert_in_range(count_events(c, mark, 1, "my.tick"), 95, 105);
    sim_process_resume(cluster_host(c, 0));
    assert_true(cluster_run(c, SECOND));
    assert_in_range(count_events(c, mark, 0, "my.tick"), 95, 105);
    sim_process_end(cluster_host(c, 0), SIM_END_CRASH);
    assert_true(cluster_run(c, SECOND));
    assert_int_equal(count_events(c, 0, 0, "my.start"), 2);
    assert_in_range(last_field(c, 0, "my.tick", "n"), 80, 100);
    cluster_free(c);
}

static void scripts_see_the_clock_of_their_host(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(3);
    o.rate_ppm[0] = 100000;
    o.rate_ppm[1] = -100000;
    const struct script_app app = {
        .name = "app",
        .path = "app.lua",
        .source = "local mk = require 'moonkeeper'\n"
                  "mk.timer.every(10, function() mk.emit('my.tick') end)\n"
                  "mk.timer.every(100, function() mk.emit('my.time', {s = os.time()}) end)\n"};
    struct cluster *c = start(&o, &app, 1);
    uint64_t mark = events_end(cluster_events(c));
    assert_true(cluster_run(c, 10 * SECOND));
    assert_in_range(count_events(c, mark, 0, "my.tick"), 1090, 1102);
    assert_in_range(count_events(c, mark, 1, "my.tick"), 895, 902);
    assert_in_range(count_events(c, mark, 2, "my.tick"), 990, 1002);
    uint64_t before_s = last_field(c, 2, "my.time", "s");
    sim_clock_jump_wall(sim_process_clock(cluster_host(c, 2)), 3600 * 1000);
    assert_true(cluster_run(c, SECOND));
    assert_in_range(last_field(c, 2, "my.time", "s"), before_s + 3600, before_s + 3602);
    cluster_free(c);
}

static void a_script_that_spins_delays_scripts_and_nothing_else(void **state)
{
    (void)state;
    struct cluster *c =
        start_source(21, "local mk = require 'moonkeeper'\n"
                         "mk.timer.every(10, function() mk.emit('my.tick') end)\n"
                         "mk.on('my.spin', function() while true do end end)\n"
                         "mk.timer.after(2000, function() mk.emit('my.spin') end)\n");
    assert_true(cluster_run(c, SECOND));
    raft_term term = cluster_term(c);
    uint64_t mark = events_end(cluster_events(c));
    assert_true(cluster_run(c, 2 * SECOND));
    for (uint32_t host = 0; host < 3; host++) {
        assert_int_equal(count_events(c, mark, host, "my.spin"), 1);
        assert_int_equal(count_events(c, mark, host, "error"), 1); /* killed over its budget */
        assert_in_range(count_events(c, mark, host, "my.tick"), 150, 200);
    }
    assert_int_equal(cluster_term(c), term);
    assert_sound(c);
    cluster_free(c);
}

static void what_scripts_log_and_throw_is_on_the_timeline(void **state)
{
    (void)state;
    struct cluster *c = start_source(
        2,
        "local mk = require 'moonkeeper'\n"
        "mk.on('leader_ready', function() mk.log.warn('look here', {n = 7}) error('oh no') end)\n");
    assert_true(cluster_run(c, 10 * MS));
    safety_fail(cluster_safety(c), 0, "test", "show the timeline");
    struct buffer text = {0};
    cluster_report(c, &text);
    assert_non_null(strstr(buffer_text(&text), "script: warn  look here"));
    assert_non_null(strstr(buffer_text(&text), "app.lua:2: oh no"));
    buffer_close(&text);
    cluster_free(c);
}

static void a_script_that_does_not_load_is_reported(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(1);
    const struct script_app app = {.name = "app", .path = "app.lua", .source = "x = = 1"};
    o.scripts = &app;
    o.scripts_count = 1;
    struct cluster *c = cluster_new(&o);
    cluster_boot_all(c);
    assert_false(cluster_run(c, SECOND));
    const struct safety_violation *v = safety_violation(cluster_safety(c));
    assert_non_null(v);
    assert_non_null(strstr(v->text, "app.lua:1: "));
    cluster_free(c);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

struct answer {
    uint32_t calls;
    enum err err;
    char message[200];
    struct buffer results;
};

static void on_answer(void *ctx, enum err err, const char *message, struct bytes results)
{
    struct answer *a = ctx;
    a->calls++;
    a->err = err;
    snprintf(a->message, sizeof a->message, "%s", message != NULL ? message : "");
    buffer_add_bytes(&a->results, results);
}

static void lua_is_evaluated_inside_a_node(void **state)
{
    (void)state;
    struct cluster_options o = cluster_defaults(4);
    o.evals = true;
    struct cluster *c = start(&o, NULL, 0);
    struct answer a = {0};
    const struct script_eval ask = {
        .source = bytes_of_string("mk.task.sleep(50) return mk.raft.status().role, mk.info().id"),
        .done = on_answer,
        .ctx = &a};
    uint32_t leader = cluster_leader(c);
    assert_true(sim_process_eval(cluster_host(c, leader), &ask));
    assert_true(cluster_run(c, 40 * MS));
    assert_int_equal(a.calls, 0);
    assert_true(cluster_run(c, 40 * MS));
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, ERR_OK);
    struct reader r = reader_of(buffer_bytes(&a.results));
    assert_int_equal(read_array(&r), 2);
    assert_true(bytes_equal(read_str(&r, 100), bytes_of_string("leader")));
    assert_int_equal(read_str(&r, 100).data[1], '1' + leader);
    assert_int_equal(reader_end(&r), ERR_OK);
    buffer_clear(&a.results);

    assert_true(sim_process_eval(cluster_host(c, leader), &ask));
    sim_process_end(cluster_host(c, leader), SIM_END_CRASH);
    assert_int_equal(a.calls, 2);
    assert_int_equal(a.err, ERR_SHUTDOWN);
    assert_false(sim_process_eval(cluster_host(c, leader), &ask));
    buffer_close(&a.results);
    cluster_free(c);
}

/* ---- determinism ----------------------------------------------------------------------------- */

/* Whatever differs between processes: string hashes, addresses, the order in tables. */
static const char fickle[] =
    "local mk = require 'moonkeeper'\n"
    "local t = {}\n"
    "for i = 1, 100 do t['key' .. math.random(1000000)] = i t[i * 7] = 'x' end\n"
    "local text = {}\n"
    "for k, v in pairs(t) do text[#text + 1] = k .. '=' .. tostring(v) end\n"
    "mk.log.info(table.concat(text, ','))\n"
    "mk.log.info(os.date() .. os.time() .. os.clock() .. tostring(os.getenv('HOME')))\n"
    "mk.on('commit', function(ev)\n"
    "  if ev.index % 10 == 0 then mk.emit('my.tenth', {index = ev.index}) end\n"
    "end)\n"
    "mk.while_leader('w', function(lead)\n"
    "  while true do mk.kv.set('k', 'v' .. math.random(0)) mk.task.sleep(15) end\n"
    "end)\n";

static uint64_t hash_of_a_run(uint64_t seed)
{
    struct cluster *c = start_source(seed, fickle);
    sim_clients_start(cluster_clients(c));
    cluster_run(c, SECOND);
    sim_process_end(cluster_host(c, cluster_leader(c)), SIM_END_CRASH);
    cluster_run(c, SECOND);
    uint64_t hash = world_trace_hash(cluster_world(c));
    cluster_free(c);
    return hash;
}

/* In a process of its own, with other addresses: argv[0] is run again. */
static const char *program;

static uint64_t hash_in_another_process(uint64_t seed)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char number[32];
        snprintf(number, sizeof number, "%llu", (unsigned long long)seed);
        dup2(ends[1], STDOUT_FILENO);
        execl(program, program, "--hash", number, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    char text[64] = {0};
    size_t size = 0;
    ssize_t got;
    while ((got = read(ends[0], text + size, sizeof text - 1 - size)) > 0) {
        size += (size_t)got;
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return strtoull(text, NULL, 16);
}

static void the_same_seed_is_the_same_run_in_every_process(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t here = hash_of_a_run(seed);
        for (int i = 0; i < 2; i++) {
            uint64_t there = hash_in_another_process(seed);
            if (here != there) {
                fail_msg("seed %llu: %016llx here, %016llx there", (unsigned long long)seed,
                         (unsigned long long)here, (unsigned long long)there);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--hash") == 0) {
        printf("%016llx\n", (unsigned long long)hash_of_a_run(strtoull(argv[2], NULL, 10)));
        return 0;
    }
    program = argv[0];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leader_only_work_moves_with_leadership),
        cmocka_unit_test(a_crash_runs_nothing_and_a_planned_stop_runs_shutdown_hooks),
        cmocka_unit_test(a_script_begins_anew_with_each_process_and_rests_with_a_paused_one),
        cmocka_unit_test(scripts_see_the_clock_of_their_host),
        cmocka_unit_test(a_script_that_spins_delays_scripts_and_nothing_else),
        cmocka_unit_test(what_scripts_log_and_throw_is_on_the_timeline),
        cmocka_unit_test(a_script_that_does_not_load_is_reported),
        cmocka_unit_test(lua_is_evaluated_inside_a_node),
        cmocka_unit_test(the_same_seed_is_the_same_run_in_every_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
