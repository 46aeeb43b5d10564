/* t.cluster{...}: defaults, and one clear sentence for each mistake. */
#include "../net/check.h"

#include "scenario/options.h"
#include "wire/writer.h"

/* Reads { key = value }; value is MessagePack. */
static enum err read_one(const char *key, const struct buffer *value, struct target_options *o,
                         struct why *why)
{
    struct buffer map = {0};
    write_map(&map, 1);
    write_text(&map, key);
    buffer_add_bytes(&map, buffer_bytes(value));
    enum err err = options_read(buffer_bytes(&map), 7, o, why);
    buffer_close(&map);
    return err;
}

static void refuses(const char *key, struct buffer *value, const char *expected)
{
    struct target_options o;
    struct why why = {""};
    assert_int_equal(read_one(key, value, &o, &why), ERR_INVALID);
    assert_string_equal(why.text, expected);
    target_options_close(&o);
    buffer_close(value);
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    struct buffer none = {0};
    write_map(&none, 0);
    struct target_options o;
    struct why why = {""};
    assert_int_equal(options_read(buffer_bytes(&none), 7, &o, &why), ERR_OK);
    assert_int_equal(o.nodes, 3);
    assert_int_equal(o.spares, 0);
    assert_int_equal(o.seed, 7);
    assert_int_equal(o.election_min_ms, 150);
    assert_int_equal(o.election_max_ms, 300);
    assert_int_equal(o.heartbeat_ms, 50);
    assert_int_equal(o.latency_min_us, 1000);
    assert_int_equal(o.latency_max_us, 3000);
    assert_true(o.prevote && o.check_quorum && o.lease && o.fast_failover);
    target_options_close(&o);
    buffer_close(&none);
}

static void one_number_stands_for_both_ends_of_a_span(void **state)
{
    (void)state;
    struct buffer value = {0};
    write_f64(&value, 2.5);
    struct target_options o;
    struct why why = {""};
    assert_int_equal(read_one("latency_ms", &value, &o, &why), ERR_OK);
    assert_int_equal(o.latency_min_us, 2500);
    assert_int_equal(o.latency_max_us, 2500);
    target_options_close(&o);
    buffer_close(&value);
}

static void an_unknown_option_is_refused_with_the_nearest_name(void **state)
{
    (void)state;
    struct buffer value = {0};
    write_u64(&value, 3);
    refuses("latancy_ms", &value,
            "t.cluster: there is no option \"latancy_ms\"; did you mean \"latency_ms\"?");
    write_u64(&value, 3);
    refuses("zzz", &value, "t.cluster: there is no option \"zzz\"");
}

static void a_wrong_value_is_refused_with_what_it_ought_to_be(void **state)
{
    (void)state;
    struct buffer value = {0};
    write_text(&value, "three");
    refuses("n", &value, "t.cluster: n is a number of nodes, 0 to 16");
    write_u64(&value, 0);
    refuses("n", &value, "t.cluster: n and spares are 1 to 16 nodes");
    write_u64(&value, 17);
    refuses("n", &value, "t.cluster: n is a number of nodes, 0 to 16");
    write_f64(&value, 1.5);
    refuses("loss", &value, "t.cluster: loss is a probability, 0 to 1");
    write_u64(&value, 1);
    refuses("prevote", &value, "t.cluster: prevote is true or false");
    write_u64(&value, 200);
    refuses("heartbeat_ms", &value,
            "t.cluster: heartbeat_ms (200) must be below election_ms (150, 300)");
    write_array(&value, 2);
    write_u64(&value, 300);
    write_u64(&value, 150);
    refuses("election_ms", &value, "t.cluster: election_ms is { least, most } in ms");
    write_text(&value, "fast");
    refuses("config", &value, "t.cluster: config is a table: what mk.config is to the scripts");
    write_array(&value, 1);
    write_map(&value, 2);
    write_text(&value, "script");
    write_text(&value, "a.lua");
    write_text(&value, "lua_path");
    write_text(&value, "?.lua;lib");
    refuses("scripts", &value,
            "t.cluster: scripts is a list with a \"?\" in each template of a lua_path: "
            "\"lib/?.lua;lib/?/init.lua\"");
    write_map(&value, 1);
    write_text(&value, "entires");
    write_u64(&value, 1);
    refuses("snapshot", &value,
            "t.cluster: snapshot is { entries = number, bytes = number, keep_entries = number }");
}

static void logs_are_terms_that_never_fall(void **state)
{
    (void)state;
    struct buffer value = {0};
    write_array(&value, 1);
    write_array(&value, 2);
    write_u64(&value, 2);
    write_u64(&value, 1);
    refuses("logs", &value,
            "t.cluster: logs is for each node a list of terms that never fall, from 1 on");
    write_map(&value, 1);
    write_u64(&value, 4);
    write_array(&value, 1);
    write_u64(&value, 1);
    refuses("logs", &value, "t.cluster: logs: there is no node 4");
}

static void a_script_is_named_after_its_file(void **state)
{
    (void)state;
    struct buffer value = {0};
    write_array(&value, 2);
    write_text(&value, "scripts/worker.lua");
    write_map(&value, 2);
    write_text(&value, "script");
    write_text(&value, "x.lua");
    write_text(&value, "name");
    write_text(&value, "other");
    struct target_options o;
    struct why why = {""};
    assert_int_equal(read_one("scripts", &value, &o, &why), ERR_OK);
    assert_int_equal(o.scripts_count, 2);
    assert_string_equal(o.scripts[0].name, "worker");
    assert_string_equal(o.scripts[0].path, "scripts/worker.lua");
    assert_string_equal(o.scripts[1].name, "other");
    target_options_close(&o);
    buffer_close(&value);
}

static void any_bytes_are_taken_or_refused(void **state)
{
    (void)state;
    struct buffer map = {0};
    write_map(&map, 2);
    write_text(&map, "logs");
    write_array(&map, 1);
    write_array(&map, 3);
    write_u64(&map, 1);
    write_u64(&map, 1);
    write_u64(&map, 2);
    write_text(&map, "scripts");
    write_array(&map, 1);
    write_text(&map, "a.lua");
    for (size_t size = 0; size < map.size; size++) {
        struct target_options o;
        struct why why = {""};
        assert_int_equal(options_read(bytes_of(map.data, size), 1, &o, &why), ERR_INVALID);
        target_options_close(&o);
    }
    buffer_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(one_number_stands_for_both_ends_of_a_span),
        cmocka_unit_test(an_unknown_option_is_refused_with_the_nearest_name),
        cmocka_unit_test(a_wrong_value_is_refused_with_what_it_ought_to_be),
        cmocka_unit_test(logs_are_terms_that_never_fall),
        cmocka_unit_test(a_script_is_named_after_its_file),
        cmocka_unit_test(any_bytes_are_taken_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
