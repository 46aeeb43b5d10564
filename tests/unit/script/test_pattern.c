/* The bounded matcher against Lua's own: random patterns on random strings, through the string
 * library of machines; and the patterns that the bound is for. */
#include "machine_fixture.h"

#include "base/rng.h"

/* All four functions, the errors only as such (their texts are not compared). */
#define PROBE                                                                                      \
    "function(a)\n"                                                                                \
    "  local s, p, results = a[1], a[2], {}\n"                                                     \
    "  local function try(name, ...)\n"                                                            \
    "    local r = table.pack(pcall(string[name], ...))\n"                                         \
    "    if not r[1] then r = { false } end\n"                                                     \
    "    for i = 1, r.n or 0 do if r[i] == nil then r[i] = 'nil' end end\n"                        \
    "    results[#results + 1] = r\n"                                                              \
    "  end\n"                                                                                      \
    "  try('find', s, p) try('find', s, p, 3) try('match', s, p, -4) try('find', s, p, 1, true)\n" \
    "  try('gsub', s, p, '<%0>') try('gsub', s, p, '%1%%', 2) try('gsub', s, p, '%2')\n"           \
    "  try('gsub', s, p, { a = 'A', ab = false, b = 1 })\n"                                        \
    "  try('gsub', s, p, function(x, y) return y or (x == 'a' and 'z') end)\n"                     \
    "  local list = {}\n"                                                                          \
    "  local ok = pcall(function()\n"                                                              \
    "    for x, y in string.gmatch(s, p) do list[#list + 1] = { x, y or 'nil' } end\n"             \
    "  end)\n"                                                                                     \
    "  results[#results + 1] = { ok, list }\n"                                                     \
    "  return results\n"                                                                           \
    "end"

static void add_random_text(struct rng *rng, struct buffer *out)
{
    static const char alphabet[] = "aabbc1 .()[]%-\\n";
    for (uint64_t n = rng_range(rng, 0, 14); n > 0; n--) {
        buffer_add_u8(out, (uint8_t)alphabet[rng_range(rng, 0, sizeof alphabet - 1)]);
    }
}

static void add_random_pattern(struct rng *rng, struct buffer *out)
{
    static const char *const pieces[] = {
        "a",   "b",     ".",  "%a",    "%d", "%s", "%W",   "[ab]",   "[^a]",    "[a-c%d]",
        "[]]", "[^]-]", "(",  ")",     "()", "%1", "%b()", "%f[%w]", "%f[^%w]", "$",
        "^",   "%%",    "%(", "[%]b]", "%2", "c?", "a*",   "b-",     "[ab]+",   "(a*",
        "b)",  "[",     "%",  "%b",    "%f", "-",  "*",    "[a-]",   "%x+",     "(.-)",
    };
    for (uint64_t n = rng_range(rng, 0, 7); n > 0; n--) {
        const char *piece = pieces[rng_range(rng, 0, sizeof pieces / sizeof *pieces)];
        buffer_add(out, piece, strlen(piece));
        if (rng_chance(rng, 0.3)) {
            buffer_add_u8(out, (uint8_t) "*+-?"[rng_range(rng, 0, 4)]);
        }
    }
}

/* What the probe gives in plain Lua. */
static void probe_plain(lua_State *L, struct bytes arguments, struct buffer *out)
{
    lua_getglobal(L, "probe");
    assert_int_equal(value_decode(L, arguments, NULL, NULL), ERR_OK);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        fail_msg("%s", lua_tostring(L, -1));
    }
    assert_int_equal(value_encode(L, -1, SIZE_MAX, out, NULL), ERR_OK);
    lua_settop(L, 0);
}

static void it_finds_what_lua_finds(void **ctx)
{
    (void)ctx;
    struct host *h = host_new();
    install_m(h, "apply = { probe = function(st, a) return (" PROBE ")(a) end }");
    assert_int_equal(luaL_dostring(h->L, "probe = " PROBE), LUA_OK);
    struct rng rng;
    rng_seed(&rng, 3);
    struct buffer text = {0};
    struct buffer pattern = {0};
    struct buffer payload = {0};
    struct buffer expected = {0};
    int compared = 0;
    for (int i = 0; i < 20000; i++) {
        buffer_clear(&text);
        buffer_clear(&pattern);
        buffer_clear(&payload);
        buffer_clear(&expected);
        buffer_clear(&h->result);
        add_random_text(&rng, &text);
        add_random_pattern(&rng, &pattern);
        write_array(&payload, 2);
        write_text(&payload, "probe");
        size_t arguments = payload.size;
        write_array(&payload, 2);
        write_str(&payload, buffer_bytes(&text));
        write_str(&payload, buffer_bytes(&pattern));
        probe_plain(h->L, bytes_of(payload.data + arguments, payload.size - arguments), &expected);
        struct machine_command c = {.machine = bytes_of_string("m"),
                                    .payload = buffer_bytes(&payload),
                                    .at = next_entry(h)};
        if (machines_apply(h->machines, &c, &h->result, &h->why) != ERR_OK) {
            fail_msg("%s", h->why.text);
        }
        /* Lua finds out that a pattern is malformed when it gets there, this one in any case. */
        if (strncmp(show(h, buffer_bytes(&h->result)), "[[false]", 8) == 0) {
            continue;
        }
        compared++;
        if (!bytes_equal(buffer_bytes(&h->result), buffer_bytes(&expected))) {
            fprintf(stderr, "expected %s\n", show(h, buffer_bytes(&expected)));
            fprintf(stderr, "got      %s\n", show(h, buffer_bytes(&h->result)));
            fail_msg("\"%s\" in \"%s\"", buffer_text(&pattern), buffer_text(&text));
        }
    }
    assert_in_range(compared, 5000, 20000);
    buffer_close(&text);
    buffer_close(&pattern);
    buffer_close(&payload);
    buffer_close(&expected);
    host_free(h);
}

static void a_hostile_pattern_ends_at_the_limit(void **ctx)
{
    (void)ctx;
    struct host *h = host_new_limited(1000000, 0);
    install_m(
        h, "apply = {"
           " find = function() return ('a'):rep(60):find(('a*'):rep(30) .. 'b') end,"
           " lazy = function() return ('a'):rep(60):find(('a-'):rep(30) .. 'b') end,"
           " gsub = function() return ('a'):rep(60):gsub(('a?'):rep(40) .. ('a'):rep(61), '') end,"
           " grow = function() return ('a'):rep(100000):gsub('a', ('b'):rep(100000)) end,"
           " loop = function() while true do ('a'):rep(1000):gsub('a', 'b') end end }");
    static const char *const commands[] = {"find", "lazy", "gsub", "loop"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_refused(h, "m", commands[i], "nil", ERR_REJECTED, "ran over its instruction limit");
    }
    assert_int_equal(apply(h, "m", "grow", "nil"), ERR_REJECTED);
    host_free(h);
}

static void a_pattern_that_is_none_is_an_error(void **ctx)
{
    (void)ctx;
    struct host *h = host_new();
    install_m(h, "apply = { f = function(st, a) return ('x'):find(a) end }");
    static const char *const bad[] = {"'['",           "'%'",  "'(x'", "'x)'", "'%1'",
                                      "'(x%1)'",       "'%b'", "'%f'", "'[%'", "('x?'):rep(201)",
                                      "('()'):rep(33)"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(h, "m", "f", bad[i], ERR_REJECTED, "");
    }
    host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_lua_finds),
        cmocka_unit_test(a_hostile_pattern_ends_at_the_limit),
        cmocka_unit_test(a_pattern_that_is_none_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
