/* `st` against a plain Lua table: the same random operations on both must look the same. And what a
 * plain table would not do. */
#include "machine_fixture.h"

#include "base/rng.h"

/* Commands that work on the table that a path leads to, in st and in a copy of it as a plain table.
 */
static const char tree_machine[] =
    "local function walk(t, path)\n"
    "  for i = 1, #path do if type(t) ~= 'table' then return nil end t = t[path[i]] end\n"
    "  return t\n"
    "end\n"
    "local function copy(t)\n"
    "  if type(t) ~= 'table' then return t end\n"
    "  local c = {}\n"
    "  for k, v in pairs(t) do c[k] = copy(v) end\n"
    "  return c\n"
    "end\n"
    "local function keys(t)\n"
    "  local list = mk.array {}\n"
    "  for k in pairs(t) do list[#list + 1] = k end\n"
    "  return list\n"
    "end\n"
    "local function write(st, a)\n"
    "  local t = walk(st, a.path)\n"
    "  if type(t) == 'table' then t[a.key] = a.value end\n"
    "  return type(t)\n"
    "end\n"
    "return { name = 'tree', version = 1, apply = {\n"
    "  write = write,\n"
    "  move = function(st, a)\n"
    "    local from, to = walk(st, a.from), walk(st, a.path)\n"
    "    if type(to) == 'table' then to[a.key] = from end\n"
    "  end,\n"
    /* The same write on a plain copy must lead to the same contents. */
    "  twin = function(st, a)\n"
    "    local plain = copy(st)\n"
    "    write(plain, a)\n"
    "    write(st, a)\n"
    "    return { plain, st, keys(plain), keys(st) }\n"
    "  end,\n"
    "}, query = {\n"
    "  read = function(st, a) return walk(st, a.path) end,\n"
    "  length = function(st, a) return #walk(st, a.path) end,\n"
    "  keys = function(st, a) return keys(walk(st, a.path)) end,\n"
    "  range = function(st, a)\n"
    "    local list = mk.array {}\n"
    "    for k in mk.range(walk(st, a.path), a.from, a.to) do list[#list + 1] = k end\n"
    "    return list\n"
    "  end,\n"
    "} }";

static int set_up(void **ctx)
{
    struct host *h = host_new();
    install_ok(h, tree_machine);
    *ctx = h;
    return 0;
}

static int tear_down(void **ctx)
{
    host_free(*ctx);
    return 0;
}

static void add_random_key(struct rng *rng, struct buffer *out)
{
    static const char *const keys[] = {"1",   "2",   "3",   "4",       "-7",
                                       "0.5", "'a'", "'b'", "'a\\0b'", "''"};
    buffer_add_format(out, "%s", keys[rng_range(rng, 0, sizeof keys / sizeof *keys)]);
}

static void add_random_path(struct rng *rng, struct buffer *out)
{
    buffer_add_format(out, "{");
    for (uint64_t i = rng_range(rng, 0, 4); i > 0; i--) {
        add_random_key(rng, out);
        buffer_add_format(out, ",");
    }
    buffer_add_format(out, "}");
}

static void add_random_value(struct rng *rng, struct buffer *out, int depth)
{
    static const char *const scalars[] = {"1", "-2.5", "true", "false", "'text'", "mk.null", "3.0"};
    switch (rng_range(rng, 0, depth > 0 ? 5 : 2)) {
    case 0:
        buffer_add_format(out, "%s", scalars[rng_range(rng, 0, sizeof scalars / sizeof *scalars)]);
        return;
    case 1: /* large enough that a few of them make a table that is not inline */
        buffer_add_format(out, "('x'):rep(%d)", (int)rng_range(rng, 0, 3000));
        return;
    case 2:
        buffer_add_format(out, "{}");
        return;
    default:
        buffer_add_format(out, "{");
        for (uint64_t i = rng_range(rng, 0, 5); i > 0; i--) {
            buffer_add_format(out, "[");
            add_random_key(rng, out);
            buffer_add_format(out, "]=");
            add_random_value(rng, out, depth - 1);
            buffer_add_format(out, ",");
        }
        buffer_add_format(out, "}");
    }
}

static const char *random_write(struct rng *rng, struct buffer *out)
{
    buffer_clear(out);
    buffer_add_format(out, "{path=");
    add_random_path(rng, out);
    buffer_add_format(out, ", key=");
    add_random_key(rng, out);
    if (!rng_chance(rng, 0.25)) {
        buffer_add_format(out, ", value=");
        add_random_value(rng, out, 3);
    }
    buffer_add_format(out, "}");
    return buffer_text(out);
}

/* The first and second, third and fourth elements of the result are equal. */
static void assert_twins(struct host *h, const char *arguments)
{
    struct reader r = reader_of(buffer_bytes(&h->result));
    assert_int_equal(read_array(&r), 4);
    struct bytes plain = read_raw(&r);
    struct bytes st = read_raw(&r);
    struct bytes plain_keys = read_raw(&r);
    struct bytes st_keys = read_raw(&r);
    if (!bytes_equal(plain, st) || !bytes_equal(plain_keys, st_keys)) {
        fail_msg("after %s:\n%s", arguments, show(h, buffer_bytes(&h->result)));
    }
}

static void random_writes_leave_what_a_plain_table_would_hold(void **ctx)
{
    struct host *h = *ctx;
    struct rng rng;
    struct buffer arguments = {0};
    rng_seed(&rng, 7);
    for (int i = 0; i < 3000; i++) {
        const char *write = random_write(&rng, &arguments);
        if (apply(h, "tree", "twin", write) != ERR_OK) {
            fail_msg("%s: %s", write, h->why.text);
        }
        assert_twins(h, write);
    }
    buffer_close(&arguments);
}

static void one_history_gives_one_state(void **ctx)
{
    struct host *a = *ctx;
    struct host *b = host_new();
    install_ok(b, tree_machine);
    struct rng rng;
    struct buffer arguments = {0};
    rng_seed(&rng, 8);
    for (int i = 0; i < 2000; i++) {
        const char *write = random_write(&rng, &arguments);
        assert_int_equal(apply(a, "tree", "write", write), ERR_OK);
        /* The other one reads a lot in between, and forgets its Lua state now and then. */
        assert_int_equal(query(b, "tree", "read", "{path={}}"), ERR_OK);
        assert_int_equal(apply(b, "tree", "write", write), ERR_OK);
        if (i % 100 == 0) {
            assert_int_equal(machines_reload(b->machines, NULL), ERR_OK);
        }
        assert_true(state_hash_equal(state_hash(a->state), state_hash(b->state)));
    }
    buffer_close(&arguments);
    host_free(b);
}

static void everything_deleted_leaves_nothing(void **ctx)
{
    struct host *h = *ctx;
    struct state_hash empty = state_hash(h->state);
    struct rng rng;
    struct buffer arguments = {0};
    rng_seed(&rng, 9);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(apply(h, "tree", "write", random_write(&rng, &arguments)), ERR_OK);
    }
    static const char *const keys[] = {"1",   "2",   "3",   "4",       "-7",
                                       "0.5", "'a'", "'b'", "'a\\0b'", "''"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        buffer_clear(&arguments);
        buffer_add_format(&arguments, "{path={}, key=%s}", keys[i]);
        assert_int_equal(apply(h, "tree", "write", buffer_text(&arguments)), ERR_OK);
    }
    assert_true(state_hash_equal(empty, state_hash(h->state)));
    buffer_close(&arguments);
}

static void keys_come_in_order(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "tree", "write", "{path={}, key='t', value={}}"), ERR_OK);
    static const char *const keys[] = {"'b'",  "10",   "2",  "-1",    "'a'",    "'a\\0'", "2.5",
                                       "-2.5", "'ab'", "''", "1e300", "-1e300", "'\\xff'"};
    struct buffer arguments = {0};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        buffer_clear(&arguments);
        buffer_add_format(&arguments, "{path={'t'}, key=%s, value=true}", keys[i]);
        assert_int_equal(apply(h, "tree", "write", buffer_text(&arguments)), ERR_OK);
    }
    buffer_close(&arguments);
    assert_int_equal(query(h, "tree", "keys", "{path={'t'}}"), ERR_OK);
    struct buffer expected = {0};
    add_expression(h, "{-1, 2, 10, -1e300, -2.5, 2.5, 1e300, '', 'a', 'a\\0', 'ab', 'b', '\\xff'}",
                   &expected);
    assert_true(bytes_equal(buffer_bytes(&h->result), buffer_bytes(&expected)));
    buffer_close(&expected);
}

static void a_range_is_half_open(void **ctx)
{
    struct host *h = *ctx;
    static const char *const values[] = {"{1,2,3,4,5,x=1,y=2}",
                                         "{1,2,3,4,5,x=('v'):rep(5000),y=2}"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char write[96];
        snprintf(write, sizeof write, "{path={}, key='t', value=%s}", values[i]);
        assert_int_equal(apply(h, "tree", "write", write), ERR_OK);
        assert_answers(h, "tree", "range", "{path={'t'}, from=2, to=4}", "[2,3]");
        assert_answers(h, "tree", "range", "{path={'t'}, from=5}", "[5,\"x\",\"y\"]");
        assert_answers(h, "tree", "range", "{path={'t'}, from='', to='y'}", "[\"x\"]");
        assert_answers(h, "tree", "range", "{path={'t'}, from=9, to=3}", "[]");
    }
}

static void length_is_the_contiguous_prefix(void **ctx)
{
    struct host *h = *ctx;
    static const struct {
        const char *value;
        const char *length;
    } tables[] = {
        {"{}", "0"},
        {"{1,2,3}", "3"},
        {"{1,2,nil,4}", "2"},
        {"{[2]=1}", "0"},
        {"{[0]=0,1,2,x=1}", "2"},
        {"{('x'):rep(5000),2,nil,4,5,6,7,8}", "2"},
        {"{('x'):rep(5000),{},{1},4}", "4"},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char write[96];
        snprintf(write, sizeof write, "{path={}, key='t', value=%s}", tables[i].value);
        assert_int_equal(apply(h, "tree", "write", write), ERR_OK);
        assert_answers(h, "tree", "length", "{path={'t'}}", tables[i].length);
    }
}

static void tables_are_copied(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "tree", "write", "{path={}, key='a', value={x={y=1}}}"), ERR_OK);
    assert_int_equal(apply(h, "tree", "move", "{from={'a'}, path={}, key='b'}"), ERR_OK);
    assert_int_equal(apply(h, "tree", "write", "{path={'a','x'}, key='y', value=2}"), ERR_OK);
    assert_answers(h, "tree", "read", "{path={}}", "{a={x={y=2}},b={x={y=1}}}");
    /* Into itself: a copy of what it was. */
    assert_int_equal(apply(h, "tree", "move", "{from={'a'}, path={'a'}, key='z'}"), ERR_OK);
    assert_answers(h, "tree", "read", "{path={'a'}}", "{x={y=2},z={x={y=2}}}");
    assert_int_equal(apply(h, "tree", "move", "{from={'a','z'}, path={}, key='a'}"), ERR_OK);
    assert_answers(h, "tree", "read", "{path={}}", "{a={x={y=2}},b={x={y=1}}}");
}

static void an_empty_array_stays_one_until_it_is_touched(void **ctx)
{
    struct host *h = *ctx;
    assert_int_equal(apply(h, "tree", "write", "{path={}, key='a', value=mk.array{}}"), ERR_OK);
    assert_int_equal(apply(h, "tree", "write", "{path={}, key='b', value={mk.array{}}}"), ERR_OK);
    assert_answers(h, "tree", "read", "{path={}}", "{a=[],b=[[]]}");
    static const char *const steps[] = {"value=5", "value=nil"};
    for (size_t i = 0; i < 2; i++) {
        char write[64];
        snprintf(write, sizeof write, "{path={'a'}, key=1, %s}", steps[i]);
        assert_int_equal(apply(h, "tree", "write", write), ERR_OK);
        snprintf(write, sizeof write, "{path={'b', 1}, key=1, %s}", steps[i]);
        assert_int_equal(apply(h, "tree", "write", write), ERR_OK);
        assert_answers(h, "tree", "read", "{path={}}",
                       i == 0 ? "{a=[5],b=[[5]]}" : "{a={},b=[{}]}");
    }
}

static void what_is_not_data_is_refused_with_its_place(void **ctx)
{
    struct host *h = *ctx;
    install_m(h,
              "init = function(st) st.t = {} end, apply = {"
              "f = function(st) st.t.x = { a = { print = type } } end,"
              "cycle = function(st) local c = {}; c[1] = c; st.x = c end,"
              "boolean = function(st) st[true] = 1 end,"
              "nan = function(st) st[0/0] = 1 end,"
              "null = function(st) st[nil] = 1 end,"
              "deep = function(st) local t = st.t; for i = 1, 30 do t.x = {}; t = t.x end end,"
              "long = function(st) st[('k'):rep(5000)] = 1 end,"
              "meta = function(st, a, meta) st.x = meta end,"
              "gone = function(st) local t = st.t; st.t = nil; t.x = 1 end,"
              "gone_read = function(st) local t = st.t; st.t = 1; return t.x end,"
              "gone_pairs = function(st) local t = st.t; st.t = nil; for _ in pairs(t) do end end,"
              "read = function(st) return st[true] == nil and st[0/0] == nil end }");
    static const struct {
        const char *command;
        const char *reason;
    } refused[] = {
        {"f", "a function is not data (at .a.print)"},
        {"cycle", "contains itself"},
        {"boolean", "not a boolean"},
        {"nan", "NaN"},
        {"null", "not a nil"},
        {"deep", "nested"},
        {"long", "4096 bytes at most"},
        {"meta", "a userdata is not data"},
        {"gone", "no longer part of st"},
        {"gone_read", "no longer part of st"},
        {"gone_pairs", "no longer part of st"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_refused(h, "m", refused[i].command, "nil", ERR_REJECTED, refused[i].reason);
    }
    assert_applies(h, "m", "read", "nil", "true");
}

static void a_loop_may_change_what_it_passes(void **ctx)
{
    struct host *h = *ctx;
    install_m(h,
              "init = function(st) st.t = {} for i = 1, 200 do st.t[i] = ('v'):rep(50) end end,"
              "apply = { clear = function(st) local n = 0"
              "  for k in pairs(st.t) do st.t[k] = nil; n = n + 1 end return {n, #st.t} end,"
              "queue = function(st) table.insert(st.t, 'a') table.insert(st.t, 1, 'b')"
              "  table.sort(st.t, function(x, y) return x > y end)"
              "  return { table.concat(st.t, ','), table.remove(st.t, 1), table.unpack(st.t) } end,"
              "same = function(st) return st.t == st.t and st ~= st.t and type(st.t) end }");
    assert_applies(h, "m", "clear", "nil", "[200,0]");
    assert_applies(h, "m", "queue", "nil", "[\"b,a\",\"b\",\"a\"]");
    assert_applies(h, "m", "same", "nil", "\"table\"");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(random_writes_leave_what_a_plain_table_would_hold),
        TEST(one_history_gives_one_state),
        TEST(everything_deleted_leaves_nothing),
        TEST(keys_come_in_order),
        TEST(a_range_is_half_open),
        TEST(length_is_the_contiguous_prefix),
        TEST(tables_are_copied),
        TEST(an_empty_array_stays_one_until_it_is_touched),
        TEST(what_is_not_data_is_refused_with_its_place),
        TEST(a_loop_may_change_what_it_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
