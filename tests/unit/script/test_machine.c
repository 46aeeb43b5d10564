/* Machines: what enters, what a command may do, and that every node ends up with the same. */
#include "machine_fixture.h"

#include "base/rng.h"

static int set_up(void **ctx)
{
    *ctx = host_new();
    return 0;
}

static int tear_down(void **ctx)
{
    host_free(*ctx);
    return 0;
}

static void assert_install_fails(struct host *h, const char *source, enum err error,
                                 const char *words)
{
    struct state_hash before = state_hash(h->state);
    assert_string_equal(err_name(install(h, source)), err_name(error));
    if (strstr(h->why.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", h->why.text, words);
    }
    assert_true(state_hash_equal(before, state_hash(h->state)));
}

/* ---- installing ---------------------------------------------------------------------------- */

#define COUNTER_1                                                                \
    "return { name = 'counter', version = 1, init = function(st) st.n = {} end," \
    " apply = { incr = function(st, a)"                                          \
    "   assert(type(a.key) == 'string', 'key must be a string')"                 \
    "   st.n[a.key] = (st.n[a.key] or 0) + (a.by or 1)"                          \
    "   return st.n[a.key] end },"                                               \
    " query = { get = function(st, a) return st.n[a.key] end } }"
#define COUNTER_2                                                                               \
    "return { name = 'counter', version = 2, init = function(st) st.n = 'wrong' end,"           \
    " migrate = function(st, from, meta) st.from = from; st.at = meta.index end,"               \
    " apply = { decr = function(st, a) st.n[a.key] = st.n[a.key] - 1 return st.n[a.key] end }," \
    " query = { all = function(st) return st end } }"

static void the_counter_of_the_manual_counts(void **ctx)
{
    struct host *h = *ctx;
    install_ok(h, COUNTER_1);
    assert_applies(h, "counter", "incr", "{key='a'}", "1");
    assert_applies(h, "counter", "incr", "{key='a', by=41}", "42");
    assert_answers(h, "counter", "get", "{key='a'}", "42");
    assert_answers(h, "counter", "get", "{key='b'}", "nil");
    assert_refused(h, "counter", "incr", "{key=1}", ERR_REJECTED, "key must be a string");
}

static void an_upgrade_migrates_and_a_downgrade_is_ignored(void **ctx)
{
    struct host *h = *ctx;
    struct machine_info info;
    install_ok(h, COUNTER_1);
    assert_applies(h, "counter", "incr", "{key='a'}", "1");
    struct state_hash before = state_hash(h->state);
    install_ok(h, COUNTER_1);
    assert_true(state_hash_equal(before, state_hash(h->state)));
    assert_install_fails(h, COUNTER_1 " -- changed", ERR_CONFLICT, "a change needs a new version");
    install_ok(h, COUNTER_2);
    assert_answers(h, "counter", "all", "nil", "{at=5,from=1,n={a=1}}");
    assert_applies(h, "counter", "decr", "{key='a'}", "0");
    before = state_hash(h->state);
    install_ok(h, COUNTER_1);
    assert_true(state_hash_equal(before, state_hash(h->state)));
    assert_refused(h, "counter", "incr", "{key='a'}", ERR_NOT_FOUND, "no command \"incr\"");
    assert_true(machines_list(h->machines, 0, &info));
    assert_string_equal(info.name, "counter");
    assert_int_equal(info.version, 2);
    assert_false(machines_list(h->machines, 1, &info));
}

static void a_failed_migration_leaves_the_old_machine(void **ctx)
{
    struct host *h = *ctx;
    install_ok(h, COUNTER_1);
    assert_install_fails(h,
                         "return { name = 'counter', version = 2, apply = {},"
                         " migrate = function(st) st.n = nil; error('no way') end }",
                         ERR_REJECTED, "no way");
    assert_applies(h, "counter", "incr", "{key='a'}", "1");
    assert_install_fails(h,
                         "return { name = 'new', version = 1, apply = {},"
                         " init = function(st) st.x = 1; error('no way') end }",
                         ERR_REJECTED, "no way");
    assert_refused(h, "new", "x", "nil", ERR_NOT_FOUND, "no machine is named");
}

static void machines_do_not_see_each_other(void **ctx)
{
    struct host *h = *ctx;
    static const char *const sources[] = {
        "return { name = 'kv', version = 1, apply = { f = function(st, a) st.x = a end },"
        " query = { g = function(st) return st end } }",
        "return { name = 'kv2', version = 1, apply = { f = function(st, a) st.x = a end },"
        " query = { g = function(st) return st end } }",
    };
    install_ok(h, sources[1]);
    install_ok(h, sources[0]);
    assert_applies(h, "kv", "f", "1", "nil");
    assert_applies(h, "kv2", "f", "{2}", "nil");
    assert_answers(h, "kv", "g", "nil", "{x=1}");
    assert_answers(h, "kv2", "g", "nil", "{x=[2]}");
    struct machine_info info;
    assert_true(machines_list(h->machines, 0, &info));
    assert_string_equal(info.name, "kv");
}

static void a_snapshot_brings_its_machines_along(void **ctx)
{
    struct host *h = *ctx;
    install_ok(h, COUNTER_1);
    install_kv(h);
    assert_applies(h, "counter", "incr", "{key='a'}", "1");
    assert_int_equal(apply(h, "kv", "set", "{key='a', value={x=1}}"), ERR_OK);
    /* Another node, with a machine that the snapshot does not have. */
    struct host *other = host_new();
    install_m(other, "apply = { f = function(st) st.x = 1 end }");
    assert_applies(other, "m", "f", "nil", "nil");
    struct state_cursor c;
    state_restore_begin(other->state);
    for (bool on = state_seek(&c, h->state, (struct bytes){0}); on; on = state_next(&c)) {
        assert_int_equal(state_restore_add(other->state, c.key, c.value), ERR_OK);
    }
    assert_int_equal(state_restore_end(other->state, NULL), ERR_OK);
    assert_int_equal(machines_reload(other->machines, &other->why), ERR_OK);
    assert_refused(other, "m", "f", "nil", ERR_NOT_FOUND, "no machine");
    other->index = h->index;
    assert_applies(other, "counter", "incr", "{key='a'}", "2");
    assert_applies(h, "counter", "incr", "{key='a'}", "2");
    assert_answers(other, "kv", "get", "{key='a'}", "{value={x=1},version=4}");
    assert_true(state_hash_equal(state_hash(h->state), state_hash(other->state)));
    host_free(other);
}

static void what_cannot_be_a_machine_is_refused_with_a_reason(void **ctx)
{
    struct host *h = *ctx;
    static const struct {
        const char *source;
        const char *reason;
    } bad[] = {
        {"return {", "expected"},
        {"x = 1", "global variables are read-only"},
        {"", "the file returns no table"},
        {"return 1", "the file returns no table"},
        {"return { version = 1, apply = {} }", "name must be"},
        {"return { name = 'Kv', version = 1, apply = {} }", "name must be"},
        {"return { name = 'kv', apply = {} }", "version must be"},
        {"return { name = 'kv', version = 1.5, apply = {} }", "version must be"},
        {"return { name = 'kv', version = 1 }", "apply must be a table"},
        {"return { name = 'kv', version = 1, apply = { f = 1 } }", "apply holds functions"},
        {"return { name = 'kv', version = 1, apply = {}, qery = {} }", "but no qery"},
        {"return { name = 'kv', version = 1, apply = {}, snapshot = function() end }",
         "a machine has no snapshot: all of st is saved"},
        {"return { name = 'kv', version = 1, apply = {}, restore = function() end }",
         "a machine has no restore: all of st is saved"},
        {"error('at load')", "at load"},
        {"error({})", "rejected the command"},
        {"while true do end", "instruction limit"},
        {"local s = 'x' while true do s = s .. s end", "instruction limit"},
        {"\x1bLua", "unexpected symbol"},
        {"return 2 ^ 3", "^ is not available"},
        {"\n\nlocal _ENV = {}", "line 3: the name _ENV"},
        {"local t = {} return setmetatable(t, t)", "attempt to call a nil value"},
        {"return load('return 1')", "attempt to call a nil value"},
        {"return require('moonkeeper')", "attempt to call a nil value"},
        {"return coroutine.wrap(print)", "attempt to index a nil value"},
        {"return os.time()", "attempt to index a nil value"},
        {"return math.random()", "attempt to call a nil value"},
        {"string.rep = nil", "the libraries are read-only"},
        {"('').x = 1", ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct machine_info info;
        struct why why = {.text = ""};
        assert_install_fails(h, bad[i].source, ERR_INVALID, bad[i].reason);
        assert_int_equal(machines_check(bytes_of_string(bad[i].source), &info, &why), ERR_INVALID);
        assert_string_equal(why.text, h->why.text);
    }
    struct machine_info info;
    assert_int_equal(machines_check(bytes_of_string(COUNTER_2), &info, NULL), ERR_OK);
    assert_string_equal(info.name, "counter");
    assert_int_equal(info.version, 2);
}

/* ---- nothing but st outlives a command ----------------------------------------------------- */

static void variables_that_outlive_a_command_cannot_be_assigned(void **ctx)
{
    struct host *h = *ctx;
    static const struct {
        const char *source;
        const char *reason;
    } bad[] = {
        {"local n = 0 return { name = 'm', version = 1, apply = {\n"
         "f = function() n = n + 1 end } }",
         "m:2: the function assigns to 'n'"},
        {"local n = 0 local function add() n = n + 1 end\n"
         "return { name = 'm', version = 1, apply = { f = function() add() end } }",
         "assigns to 'n'"},
        {"local function new() local n = 0 return function() n = n + 1 return n end end\n"
         "return { name = 'm', version = 1, apply = { f = new() } }",
         "assigns to 'n'"},
        {"local n return { name = 'm', version = 1, apply = {},\n"
         "query = { f = function() return function() return function() n = 1 end end end } }",
         "assigns to 'n'"},
        {"local n local t = { f = function() n = 1 end }\n"
         "return { name = 'm', version = 1, apply = { f = function() t.f() end } }",
         "assigns to 'n'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_install_fails(h, bad[i].source, ERR_INVALID, bad[i].reason);
    }
    /* Assigning while loading, and to variables of the command, is fine. */
    install_m(h, "apply = { f = function(st, a) local sum = 0"
                 " local function add(x) sum = sum + x end"
                 " for _, x in ipairs(a) do add(x) end return sum end }");
    assert_applies(h, "m", "f", "{1,2,3}", "6");
    install_ok(h,
               "local f; local n = 1; n = n + 1; f = function(i) return i == 0 and n or f(i - 1) "
               "end return { name = 'n', version = 1, apply = { f = function() return f(5) end } "
               "}");
    assert_applies(h, "n", "f", "nil", "2");
}

static void tables_of_the_file_are_read_only(void **ctx)
{
    struct host *h = *ctx;
    install_ok(h, "local list, deep = { 10, 20, 30 }, { a = { b = 1 } }\n"
                  "return { name = 'm', version = 1, apply = {"
                  " write = function() list[1] = 0 end,"
                  " add = function() list[#list + 1] = 0 end,"
                  " insert = function() table.insert(list, 1) end,"
                  " sort = function() table.sort(list, function(a, b) return a > b end) end,"
                  " deep = function() deep.a.b = 2 end,"
                  " global = function() x = 1 end,"
                  " library = function() string.x = 1 end,"
                  " meta = function(st, a, meta) meta.index = 1 end,"
                  " read = function() local sum = 0 for _, v in pairs(list) do sum = sum + v end"
                  "  return { #list, list[2], table.concat(list, '+'), sum, deep, list,"
                  "   table.unpack(list) } end } }");
    static const char *const writes[] = {"write", "add", "insert", "sort", "deep"};
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) {
        assert_refused(h, "m", writes[i], "nil", ERR_REJECTED, "read-only");
    }
    assert_refused(h, "m", "global", "nil", ERR_REJECTED, "global variables are read-only");
    assert_refused(h, "m", "library", "nil", ERR_REJECTED, "libraries are read-only");
    assert_refused(h, "m", "meta", "nil", ERR_REJECTED, "meta is read-only");
    assert_applies(h, "m", "read", "nil", "[3,20,\"10+20+30\",60,{a={b=1}},[10,20,30],10,20,30]");
}

static void a_query_cannot_write(void **ctx)
{
    struct host *h = *ctx;
    install_m(h, "init = function(st) st.t = { 1, 2 } end, apply = {}, query = {"
                 " set = function(st) st.x = 1 end,"
                 " deep = function(st) st.t[1] = 3 end,"
                 " caught = function(st) return pcall(function() st.t = nil end) end,"
                 " insert = function(st) table.insert(st.t, 1) end,"
                 " read = function(st) return st.t end }");
    static const char *const names[] = {"set", "deep", "insert"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(query(h, "m", names[i], "nil"), ERR_REJECTED);
        assert_non_null(strstr(h->why.text, "a query cannot write to st"));
    }
    assert_answers(h, "m", "caught", "nil", "false");
    assert_answers(h, "m", "read", "nil", "[1,2]");
}

/* ---- rejections ---------------------------------------------------------------------------- */

static void an_error_rolls_back_and_is_the_answer(void **ctx)
{
    struct host *h = *ctx;
    install_m(
        h, "init = function(st) st.t = { a = 1 } end, apply = {"
           " text = function(st) st.t = nil; st.u = { 1 }; error('because', 0) end,"
           " place = function(st) st.t.a = 2; error('because') end,"
           " code = function(st) st.x = 1; error({ code = 'fenced', message = 'newer', token = 7 "
           "}) end,"
           " own = function(st) error({ code = 'io' }) end,"
           " odd = function(st) error(nil) end,"
           " fun = function(st) error({ f = type }) end,"
           " runtime = function(st) st.t = nil; return st.t.x end,"
           " bad_result = function(st) st.x = 1; return { f = { type } } end,"
           " caught = function(st) local ok, e = pcall(function() st.y = 1; error('x', 0) end)"
           "  return { ok, e, st.y } end }");
    assert_refused(h, "m", "text", "nil", ERR_REJECTED, "because");
    assert_refused(h, "m", "place", "nil", ERR_REJECTED, "m:1: because");
    assert_refused(h, "m", "code", "nil", ERR_FENCED, "newer");
    assert_string_equal(show(h, buffer_bytes(&h->result)),
                        "{code=\"fenced\",message=\"newer\",token=7}");
    assert_refused(h, "m", "own", "nil", ERR_REJECTED,
                   "rejected"); /* never the node's own errors */
    assert_refused(h, "m", "odd", "nil", ERR_REJECTED, "nil");
    assert_refused(h, "m", "fun", "nil", ERR_REJECTED, "rejected");
    assert_string_equal(show(h, buffer_bytes(&h->result)), "nil");
    assert_refused(h, "m", "runtime", "nil", ERR_REJECTED, "attempt to index a nil value");
    assert_refused(h, "m", "bad_result", "nil", ERR_REJECTED, "a function is not data (at .f[1])");
    assert_applies(h, "m", "caught", "nil", "[false,\"x\",1]");
}

static void a_malformed_payload_is_refused(void **ctx)
{
    struct host *h = *ctx;
    install_m(h, "apply = { f = function(st, a) st.a = a return a end }");
    static const struct bytes payloads[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"\xc0", 1},
        {(const uint8_t *)"\x90", 1},
        {(const uint8_t *)"\x91\x01", 2},
        {(const uint8_t *)"\x92\xa1"
                          "f",
         3},
        {(const uint8_t *)"\x92\xa1"
                          "f\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
         12},
        {(const uint8_t *)"\x92\xa1"
                          "f\x81\xc0\x01",
         6},
        {(const uint8_t *)"\x92\xa1"
                          "f\xd4\x01\x00",
         6},
        {(const uint8_t *)"\x92\xa1"
                          "f\x01\x01",
         5},
        {(const uint8_t *)"\x93\xa1"
                          "f\x01\x01",
         5},
    };
    struct state_hash before = state_hash(h->state);
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        struct machine_command c = {
            .machine = bytes_of_string("m"), .payload = payloads[i], .at = next_entry(h)};
        buffer_clear(&h->result);
        assert_int_equal(machines_apply(h->machines, &c, &h->result, &h->why), ERR_INVALID);
        assert_int_equal(h->result.size, 1);
    }
    assert_true(state_hash_equal(before, state_hash(h->state)));
    struct machine_command without_arguments = {
        .machine = bytes_of_string("m"),
        .payload = bytes_of("\x91\xa1"
                            "f",
                            3),
        .at = next_entry(h),
    };
    assert_int_equal(machines_apply(h->machines, &without_arguments, &h->result, &h->why), ERR_OK);
}

static void meta_says_where_in_the_log_the_command_stands(void **ctx)
{
    struct host *h = *ctx;
    install_m(h, "apply = { f = function(st, a, meta)"
                 " return { meta.index, meta.term, meta.time_ms, meta.fence or false,"
                 "  meta.random(1, 6), meta.random(10), meta.random() < 1,"
                 "  meta.random(math.mininteger, math.maxinteger) ~= 0 } end,"
                 " empty = function(st, a, meta) return meta.random(2, 1) end }");
    assert_int_equal(apply(h, "m", "f", "nil"), ERR_OK);
    const char *first = alloc_string(show(h, buffer_bytes(&h->result)));
    assert_int_equal(strncmp(first, "[2,1,1000002,false,", 19), 0);
    h->index--; /* the same entry gives the same numbers, another entry others */
    assert_applies(h, "m", "f", "nil", first);
    assert_int_equal(apply(h, "m", "f", "nil"), ERR_OK);
    assert_string_not_equal(show(h, buffer_bytes(&h->result)) + 19, first + 19);
    assert_refused(h, "m", "empty", "nil", ERR_REJECTED, "interval is empty");
    free((void *)(uintptr_t)first);
}

/* ---- limits -------------------------------------------------------------------------------- */

static void a_runaway_ends_and_nothing_catches_that(void **ctx)
{
    struct host *h = *ctx;
    static const char *const runaways[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "pcall(pcall, pcall, function() while true do end end)",
        "xpcall(function() while true do end end, function() while true do end end)",
        "while true do xpcall(error, function(e) return e end) end",
        "local function f() return pcall(f) end while true do f() end",
        "local function f() return f() end f()",
        "for i = 1, math.huge do st[i] = i end",
        "for i = 1, math.huge do st.t[i % 100] = { i, { i } } end",
        "local s = ('x'):rep(1000) while true do s = s .. s end",
        "local s = ('x'):rep(1000000) while true do local t = s:upper() end",
        "local s = ('x'):rep(1000000) while true do pcall(string.format, '%s%s', s, s) end",
        "while true do pcall(string.rep, 'x', 1000000) end",
        "local s = ('x'):rep(100000) for i = 1, 10000 do local t = s .. i end",
        "local t = {} for i = 1, 1000 do t[i] = 'x' end while true do table.concat(t) end",
        "local t = {} for i = 1, 1000 do t[i] = 1000 - i end while true do table.sort(t, "
        "function(a, "
        "b) return a < b end) end",
        "local t = {} for i = 1, 1000 do t[i] = i end while true do for _ in pairs(t) do end end",
        "while true do local _ = #st.t end",
        "while true do st.t = st.t end",
        "while true do mk.size(st.t) end",
    };
    for (size_t i = 0; i < sizeof runaways / sizeof *runaways; i++) {
        struct host *limited = host_new_limited(1000000, 0);
        struct buffer fields = {0};
        buffer_add_format(&fields,
                          "init = function(st) st.t = {} for i = 1, 500 do st.t[i] = i end end,"
                          "apply = { run = function(st) %s end }",
                          runaways[i]);
        install_m(limited, buffer_text(&fields));
        assert_refused(limited, "m", "run", "nil", ERR_REJECTED, "ran over its instruction limit");
        buffer_close(&fields);
        host_free(limited);
    }
    (void)h;
}

/* Whether it says when; h->why has why not. */
static bool says_when_to_wake(struct host *h)
{
    const struct machine_at now = {.index = 9, .term = 1, .time_ms = 1};
    int64_t in_ms;
    return machines_wake(h->machines, 0, &now, &in_ms, &h->why);
}

/* The leader asks it between its heartbeats, again and again. */
static void wake_may_do_far_less_than_a_command(void **ctx)
{
    struct host *h = *ctx;
    const char *source = "apply = { loop = function(st, a) for i = 1, a do end end },"
                         "wake = function() for i = 1, %d do end return 5 end";
    struct buffer fields = {0};
    buffer_add_format(&fields, source, 50000);
    install_m(h, buffer_text(&fields));
    assert_true(says_when_to_wake(h));
    struct host *tight = host_new_limited(20000, 0); /* no more than a command, either */
    install_m(tight, buffer_text(&fields));
    assert_false(says_when_to_wake(tight));
    host_free(tight);
    struct host *other = host_new();
    buffer_clear(&fields);
    buffer_add_format(&fields, source, 200000);
    install_m(other, buffer_text(&fields));
    assert_false(says_when_to_wake(other));
    assert_non_null(strstr(other->why.text, "wake ran over its instruction limit"));
    assert_int_equal(apply(other, "m", "loop", "200000"), ERR_OK);
    host_free(other);
    buffer_close(&fields);
}

static void the_limit_falls_on_the_same_instruction_everywhere(void **ctx)
{
    (void)ctx;
    struct host *a = host_new_limited(500000, 0);
    struct host *b = host_new_limited(500000, 0);
    struct host *hosts[] = {a, b};
    /* b has a past. */
    install_kv(b);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(apply(b, "kv", "set", "{key='k', value={('v'):rep(300)}}"), ERR_OK);
    }
    b->index = a->index = 1000;
    for (size_t i = 0; i < 2; i++) {
        install_m(hosts[i],
                  "apply = { run = function(st, a) st.n = 0; for i = 1, a do st.n = st.n + 1;"
                  " local s = ('x'):rep(100 + i % 100); local t = { s, s .. s } end end }");
    }
    /* Bisect for the largest loop that passes: the same one on both. */
    uint64_t largest[2];
    for (size_t i = 0; i < 2; i++) {
        uint64_t low = 1;
        uint64_t high = 50000;
        while (high - low > 1) {
            uint64_t middle = (low + high) / 2;
            char text[32];
            snprintf(text, sizeof text, "%llu", (unsigned long long)middle);
            enum err e = apply(hosts[i], "m", "run", text);
            low = e == ERR_OK ? middle : low;
            high = e == ERR_OK ? high : middle;
        }
        largest[i] = low;
    }
    assert_in_range(largest[0], 1000, 49998);
    assert_int_equal(largest[0], largest[1]);
    host_free(b);
    host_free(a);
}

static void want_of_memory_is_a_failure_of_the_node_and_no_crash(void **ctx)
{
    (void)ctx;
    struct host *h = host_new_limited(UINT64_C(1) << 40, 4 * 1024 * 1024);
    install_m(h,
              "init = function(st) st.n = 1 end, apply = {"
              " tables = function(st) st.n = 2; local t = {} for i = 1, 1e7 do t[i] = {} end end,"
              " caught = function(st) st.n = 3; pcall(function() local t = {}"
              "  for i = 1, 1e7 do t[i] = {} end end) return 'fine' end,"
              " handled = function(st) xpcall(function() local t = {}"
              "  for i = 1, 1e7 do t[i] = {} end end, function() return 1 end) end,"
              " deep = function(st) local function f(n) return 1 + f(n + 1) end return f(1) end,"
              " ok = function(st) return st.n end }");
    static const char *const commands[] = {"tables", "caught", "handled"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_refused(h, "m", commands[i], "nil", ERR_IO, "need more than 4194304 bytes");
        assert_int_equal(h->result.size, 0);
        assert_applies(h, "m", "ok", "nil", "1"); /* the state is as it was */
    }
    enum err deep = apply(h, "m", "deep", "nil");
    assert_true(deep == ERR_IO || deep == ERR_REJECTED);
    host_free(h);
    struct why why = {.text = ""};
    struct state *state = state_new();
    for (size_t bytes = 1000; bytes < 400000; bytes += 7919) {
        struct machines_options options = {.state = state, .memory_bytes_max = bytes};
        struct machines *m = machines_new(&options, &why);
        machines_free(m);
    }
    state_free(state);
}

static void deep_recursion_is_rejected_alike_whoever_calls(void **ctx)
{
    struct host *h = *ctx;
    install_m(h, "apply = { lua = function() local function f(n) return 1 + f(n + 1) end f(1) end,"
                 " c = function() local function f() return (pcall(f)) end return f() end,"
                 " pattern = function() return ('x'):rep(100, ('y'):rep(10)) ~= nil end }");
    assert_refused(h, "m", "lua", "nil", ERR_REJECTED, "stack overflow");
    assert_applies(h, "m", "c", "nil", "true");
    assert_applies(h, "m", "pattern", "nil", "true");
}

/* ---- determinism --------------------------------------------------------------------------- */

static void what_differs_between_nodes_is_not_there(void **ctx)
{
    struct host *h = *ctx;
    install_m(
        h,
        "apply = {"
        " text = function(st, a) return tostring({}) end,"
        " text_f = function(st, a) return tostring(print or type) end,"
        " format = function() return string.format('%p', 'x') end,"
        " format_zero = function() return string.format('\\0%-5p', 'x') end,"
        " format_table = function() return string.format('%s', {}) end,"
        " pairs = function() for k in pairs({ [{}] = 1 }) do end end,"
        " missing = function() local seen = {} for _, n in ipairs({ 'next', 'load', 'rawget',"
        "  'rawset', 'rawequal', 'rawlen', 'setmetatable', 'getmetatable', 'collectgarbage',"
        "  'dofile', 'loadfile', 'require', 'io', 'os', 'debug', 'coroutine', 'print', '_G' }) do"
        "  end return { next, load, rawget, rawset, rawequal, rawlen, setmetatable, getmetatable,"
        "  collectgarbage, dofile, loadfile, require, io, os, debug, coroutine, print, _G,"
        "  math.random, math.sin, math.exp, math.log, math.pow, string.dump, string.pack } end }");
    assert_refused(h, "m", "text", "nil", ERR_REJECTED, "no text that is the same");
    assert_refused(h, "m", "text_f", "nil", ERR_REJECTED, "no text that is the same");
    assert_refused(h, "m", "format", "nil", ERR_REJECTED, "address");
    assert_refused(h, "m", "format_zero", "nil", ERR_REJECTED, "address");
    assert_refused(h, "m", "format_table", "nil", ERR_REJECTED, "no text that is the same");
    assert_refused(h, "m", "pairs", "nil", ERR_REJECTED, "not a table");
    assert_applies(h, "m", "missing", "nil", "{}");
}

static void plain_tables_behave_the_same_whatever_their_history(void **ctx)
{
    struct host *h = *ctx;
    /* Tables with the same contents, grown in different ways: in plain Lua `#` tells them apart. */
    install_m(
        h, "apply = { f = function(st, n)"
           " local grown, filled, holes = {}, { 1, 2, 3, 4, nil, 6, 7, 8 }, {}"
           " for _, i in ipairs({ 8, 4, 2, 1, 3, 6, 7 }) do grown[i] = i end"
           " for i = 1, 8 do holes['k' .. i] = i; holes[i] = i end holes[5] = nil"
           " for i = 1, 8 do holes['k' .. i] = nil end"
           " "
           " local late = { n = 1, m = 2, o = 3 } late[1], late[2], late[4] = 1, 2, 4"
           " return { #grown, #filled, #holes, #late, #{ 1, 2, nil, 4 }, #{ nil, nil, 3 } } end,"
           " twice = function() return ##'' end,"
           " length = function() return { #{ 1, 2, 3 }, #{ n = 1 }, -#{ 1 }, 2 * #{ 1, 2 } + 1,"
           "  not #{}, #({ 1 }), #'a' .. 'b' } end,"
           " order = function() local list = {} for k, v in pairs({ z = 1, a = 2, [3] = 3,"
           "  [1.5] = 4, [-1] = 5, [10] = 6, B = 7 }) do list[#list + 1] = k end return list end,"
           " change = function() local t, list = {}, {} for i = 1, 9 do t[i] = i end"
           "  for k in pairs(t) do list[#list + 1] = k; t[k + 1] = nil; t[k + 20] = 1 end"
           "  return list end,"
           " sort = function() local t = {} for i = 1, 50 do t[i] = { i * 7 % 5, i } end"
           "  table.sort(t, function(a, b) return a[1] < b[1] end)"
           "  for i = 2, 50 do if t[i - 1][1] == t[i][1] then assert(t[i - 1][2] < t[i][2]) end end"
           "  table.sort(t, function() return true end) return #t end,"
           " sort2 = function() local t = { 3, 1, 2 } table.sort(t) return t end }");
    assert_applies(h, "m", "f", "nil", "[8,8,8,4,4,0]");
    assert_refused(h, "m", "twice", "nil", ERR_REJECTED, "get length of a number value");
    assert_applies(h, "m", "length", "nil", "[3,0,-1,5,false,1,\"1b\"]");
    assert_applies(h, "m", "order", "nil", "[-1,3,10,1.5f,\"B\",\"a\",\"z\"]");
    assert_applies(h, "m", "change", "nil", "[1,3,5,7,9]");
    assert_applies(h, "m", "sort", "nil", "50");
    assert_applies(h, "m", "sort2", "nil", "[1,2,3]");
}

static void nan_has_one_form(void **ctx)
{
    struct host *h = *ctx;
    install_m(h, "apply = { a = function(st) st.x = 0/0 end, b = function(st) st.x = -(0/0) end }");
    assert_applies(h, "m", "a", "nil", "nil");
    struct state_hash positive = state_hash(h->state);
    assert_applies(h, "m", "b", "nil", "nil");
    assert_true(state_hash_equal(positive, state_hash(h->state)));
}

/* Commands that do a bit of everything, chosen by the entry. */
static const char busy_machine[] =
    "local function shuffle(list, meta)\n"
    "  for i = #list, 2, -1 do local j = meta.random(i) list[i], list[j] = list[j], list[i] end\n"
    "end\n"
    "return { name = 'busy', version = 1,\n"
    "init = function(st) st.users, st.log, st.sum = {}, {}, 0.0 end,\n"
    "apply = {\n"
    "  add = function(st, a, meta)\n"
    "    local words = {}\n"
    "    for i = 1, meta.random(20) do words['w' .. meta.random(50)] = { i, meta.random() } end\n"
    "    st.users['u' .. a.n] = words\n"
    "    st.log[#st.log + 1] = a.n\n"
    "    st.sum = st.sum + meta.random() / 3\n"
    "    return words\n"
    "  end,\n"
    "  mix = function(st, a, meta)\n"
    "    local list = {}\n"
    "    for name, words in pairs(st.users) do\n"
    "      for word, v in pairs(words) do\n"
    "        list[#list + 1] = string.format('%s-%s-%d-%.17g', name, word, v[1], v[2])\n"
    "        if meta.random(10) == 1 then words[word] = nil end\n"
    "      end\n"
    "    end\n"
    "    shuffle(list, meta)\n"
    "    table.sort(list, function(x, y) return #x < #y end)\n"
    "    st.mixed = { table.concat(list, ';', 1, math.min(#list, 100)) }\n"
    "  end,\n"
    "  fail = function(st, a, meta) st.users = {} st.log[1] = nil error({ code = 'busy', a.n }) "
    "end,\n"
    "  drop = function(st, a, meta) st.users['u' .. a.n] = nil table.remove(st.log, 1) end,\n"
    "} }";

static void two_nodes_with_different_pasts_stay_equal(void **ctx)
{
    struct host *a = *ctx;
    /* The seed of the string hash comes from addresses and the clock, so two states differ anyway;
     * b also has had other things to do, is reloaded now and then, and answers queries. */
    struct host *b = host_new_limited(0, 100 * 1024 * 1024);
    install_ok(a, busy_machine);
    install_ok(b, busy_machine);
    struct rng rng;
    rng_seed(&rng, 42);
    static const char *const commands[] = {"add", "add", "add", "mix", "fail", "drop"};
    for (int i = 0; i < 600; i++) {
        const char *command = commands[rng_range(&rng, 0, 6)];
        char arguments[32];
        snprintf(arguments, sizeof arguments, "{n=%d}", (int)rng_range(&rng, 0, 30));
        enum err first = apply(a, "busy", command, arguments);
        if (i % 50 == 0) {
            assert_int_equal(machines_reload(b->machines, NULL), ERR_OK);
        }
        assert_int_equal(query(b, "busy", "none", "nil"), ERR_NOT_FOUND);
        enum err second = apply(b, "busy", command, arguments);
        assert_int_equal(first, second);
        assert_true(bytes_equal(buffer_bytes(&a->result), buffer_bytes(&b->result)));
        assert_string_equal(a->why.text, b->why.text);
        assert_true(state_hash_equal(state_hash(a->state), state_hash(b->state)));
    }
    host_free(b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_counter_of_the_manual_counts),
        TEST(an_upgrade_migrates_and_a_downgrade_is_ignored),
        TEST(a_failed_migration_leaves_the_old_machine),
        TEST(machines_do_not_see_each_other),
        TEST(a_snapshot_brings_its_machines_along),
        TEST(what_cannot_be_a_machine_is_refused_with_a_reason),
        TEST(variables_that_outlive_a_command_cannot_be_assigned),
        TEST(tables_of_the_file_are_read_only),
        TEST(a_query_cannot_write),
        TEST(an_error_rolls_back_and_is_the_answer),
        TEST(a_malformed_payload_is_refused),
        TEST(meta_says_where_in_the_log_the_command_stands),
        TEST(a_runaway_ends_and_nothing_catches_that),
        TEST(wake_may_do_far_less_than_a_command),
        TEST(the_limit_falls_on_the_same_instruction_everywhere),
        TEST(want_of_memory_is_a_failure_of_the_node_and_no_crash),
        TEST(deep_recursion_is_rejected_alike_whoever_calls),
        TEST(what_differs_between_nodes_is_not_there),
        TEST(plain_tables_behave_the_same_whatever_their_history),
        TEST(nan_has_one_form),
        TEST(two_nodes_with_different_pasts_stay_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
