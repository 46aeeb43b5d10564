#include "node/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/reader.h"

#define MINIMUM "cluster='demo', id='n1', data_dir='d', members={{id='n1', peer='127.0.0.1:7118'}}"

static enum err load(const char *text, struct config *c, struct why *why)
{
    enum err e = config_load_text("node.lua", bytes_of_string(text), c, why);
    return e != ERR_OK ? e : config_check(c, why);
}

/* The text is refused with exactly this sentence. */
static void refused(const char *text, const char *sentence)
{
    struct config c;
    struct why why = {""};
    assert_int_equal(load(text, &c, &why), ERR_INVALID);
    assert_string_equal(why.text, sentence);
    config_close(&c);
}

/* The text is refused with a sentence that holds this. */
static void refused_with(const char *text, const char *part)
{
    struct config c;
    struct why why = {""};
    assert_int_equal(load(text, &c, &why), ERR_INVALID);
    if (strstr(why.text, part) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", why.text, part);
    }
    config_close(&c);
}

static void the_smallest_file_gets_the_defaults(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(load("return {" MINIMUM "}", &c, &why), ERR_OK);
    assert_string_equal(c.cluster, "demo");
    assert_string_equal(c.client, "127.0.0.1:7117");
    assert_string_equal(c.http, "127.0.0.1:7119");
    assert_int_equal(c.election_min_ms, 150);
    assert_int_equal(c.election_max_ms, 300);
    assert_int_equal(c.heartbeat_ms, 50);
    assert_true(c.prevote && c.check_quorum && c.lease && c.fast_failover);
    assert_false(c.insecure);
    assert_null(c.log_format);
    assert_int_equal(c.limits.proposal_bytes, 1 << 20);
    assert_int_equal(c.snapshot.entries, 200000);
    assert_int_equal(c.snapshot.bytes, 64 << 20);
    assert_int_equal(c.snapshot.keep_entries, 10000);
    assert_int_equal(c.snapshot.hold_bytes, 64 << 20);
    config_close(&c);
}

static void every_key_of_the_contract_is_read(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    enum err e = load("local port = 7117\n"
                      "local members = {}\n"
                      "for i = 1, 3 do\n"
                      "  members[i] = {id = 'n' .. i, peer = '127.0.0.1:' .. port + 10*i + 1,\n"
                      "                client = '127.0.0.1:' .. port + 10*i}\n"
                      "end\n"
                      "return {cluster='demo', id='n2', members=members, http=false,\n"
                      "  data_dir='/d', election_ms={100, 200}, heartbeat_ms=20, stop_ms=500,\n"
                      "  prevote=false, check_quorum=false, lease=false, fast_failover=false,\n"
                      "  insecure=true, core_dumps=true, log={level='debug', format='json'},\n"
                      "  limits={proposal_bytes=4096, pending=100, clients=7},\n"
                      "  snapshot={entries=10, bytes=0, keep_entries=0, hold_bytes=5},\n"
                      "  apps={{name='w', script='w.lua', config={argv={'a','b'}, n=1}}}}",
                      &c, &why);
    assert_string_equal(why.text, "");
    assert_int_equal(e, ERR_OK);
    assert_int_equal(c.members_count, 3);
    assert_string_equal(config_self(&c)->id, "n2");
    assert_string_equal(c.client, "127.0.0.1:7137"); /* from its member */
    assert_null(c.http);
    assert_int_equal(c.election_min_ms, 100);
    assert_int_equal(c.stop_ms, 500);
    assert_false(c.prevote || c.check_quorum || c.lease || c.fast_failover);
    assert_true(c.insecure && c.core_dumps);
    assert_string_equal(c.log_format, "json");
    assert_int_equal(c.limits.pending, 100);
    assert_int_equal(c.snapshot.entries, 10);
    assert_int_equal(c.snapshot.bytes + c.snapshot.keep_entries, 0);
    assert_int_equal(c.snapshot.hold_bytes, 5);
    assert_int_equal(c.apps_count, 1);

    struct reader r = reader_of(buffer_bytes(&c.apps[0].config));
    assert_int_equal(read_map(&r), 2);
    assert_memory_equal(read_str(&r, 16).data, "argv", 4);
    assert_int_equal(read_array(&r), 2);
    read_skip(&r);
    read_skip(&r);
    assert_memory_equal(read_str(&r, 16).data, "n", 1);
    assert_int_equal(read_u64(&r), 1);
    assert_int_equal(reader_end(&r), ERR_OK);

    struct membership m;
    config_membership(&c, &m);
    assert_int_equal(m.count, 3);
    assert_true(m.at[2].voter);
    assert_string_equal(m.at[2].address, "127.0.0.1:7148");
    assert_true(m.at[0].id == membership_id("n1"));
    config_close(&c);
}

static void an_unknown_key_names_the_nearest_one_and_its_place(void **state)
{
    (void)state;
    refused("return {" MINIMUM ", election=1}",
            "node.lua: unknown key election; did you mean \"election_ms\"?");
    refused("return {" MINIMUM ", hartbeat_ms=1}",
            "node.lua: unknown key hartbeat_ms; did you mean \"heartbeat_ms\"?");
    refused("return {" MINIMUM ", log={levle='info'}}",
            "node.lua: unknown key log.levle; did you mean \"level\"?");
    refused("return {cluster='c', id='a', members={{id='a', pear='x'}}}",
            "node.lua: unknown key members[1].pear; did you mean \"peer\"?");
    refused("return {" MINIMUM ", apps={{name='w', script='w.lua', banana=1}}}",
            "node.lua: unknown key apps[1].banana; known here are: name, script, "
            "lua_path, config");
    refused("return {" MINIMUM ", zz=1, yy=2, xx=3, ww=4, clint='x'}",
            "node.lua: unknown key clint; did you mean \"client\"?");
}

static void a_wrong_type_says_what_is_expected(void **state)
{
    (void)state;
    refused("return {" MINIMUM ", heartbeat_ms='5'}",
            "node.lua: heartbeat_ms must be a whole number, not a string");
    refused("return {" MINIMUM ", heartbeat_ms=2.5}",
            "node.lua: heartbeat_ms is 2.5, but must be a whole number");
    refused("return {" MINIMUM ", heartbeat_ms=0}",
            "node.lua: heartbeat_ms is 0, but must be between 1 and 60000");
    refused("return {" MINIMUM ", limits={proposal_bytes=8388609}}",
            "node.lua: limits.proposal_bytes is 8388609, but must be between 1024 and 8388608");
    refused("return {" MINIMUM ", prevote=1}",
            "node.lua: prevote must be true or false, not a number");
    refused("return {" MINIMUM ", client=7117}", "node.lua: client must be text, not a number");
    refused("return {" MINIMUM ", http=true}",
            "node.lua: http must be an address, or false for none, not a boolean");
    refused("return {cluster='c', id='a', members='n1'}",
            "node.lua: members must be a list, not a string");
    refused("return {cluster='c', id='a', members={}}",
            "node.lua: members has 0 elements; it must have between 1 and 32");
    refused("return {cluster='c', id='a', members={n1={id='n1'}}}",
            "node.lua: members must be a list, without names or holes");
    refused("return {" MINIMUM ", election_ms={150}}",
            "node.lua: election_ms has 1 elements; it must have between 2 and 2");
    refused("return {" MINIMUM ", [7]=1}",
            "node.lua: the table has a number as a key; its keys are names");
    refused_with("return {" MINIMUM ", apps={{name='w', script='w', config={f=function() end}}}}",
                 "apps[1].config");
}

static void a_missing_key_is_named(void **state)
{
    (void)state;
    refused("return {id='a'}", "node.lua: cluster is missing");
    refused("return {cluster='c', id='a', members={{id='a'}}}",
            "node.lua: members[1].peer is missing");
    refused_with("return {cluster='c', id='a', members={{id='a', peer='x:1'}}}",
                 "data_dir is missing");
    refused_with("return 5", "must return a table");
    refused_with("", "must return a table");
}

static void values_must_fit_together(void **state)
{
    (void)state;
    refused("return {" MINIMUM ", election_ms={300, 150}}",
            "node.lua: election_ms is {300, 150}; the first (minimum) must be below the second "
            "(maximum)");
    refused("return {" MINIMUM ", heartbeat_ms=150}",
            "node.lua: heartbeat_ms is 150, which must be below the minimum of election_ms (150), "
            "best a third of it");
    refused("return {cluster='c', id='n9', data_dir='d', members={{id='a', peer='x:1'}, {id='b', "
            "peer='x:2'}}}",
            "node.lua: id is \"n9\", but no member has that id (there are a, b); add it to members "
            "or choose another with --id");
    refused_with("return {cluster='c', id='a', data_dir='d', members={{id='a', peer='x:1'}, "
                 "{id='a', peer='x:2'}}}",
                 "members[1] and members[2] have the same id \"a\"");
    refused_with("return {cluster='c', id='a', data_dir='d', members={{id='a', peer='x:1'}, "
                 "{id='b', peer='x:1'}}}",
                 "have the same peer address x:1");
    refused_with("return {" MINIMUM ", apps={{name='w', script='a'}, {name='w', script='b'}}}",
                 "are both named \"w\"");
    refused_with("return {" MINIMUM ", log={level='loud'}}", "none of debug, info, warn");
    refused_with("return {cluster='a b', id='a', data_dir='d', members={{id='a', peer='x:1'}}}",
                 "cluster is \"a b\"");
}

static void the_file_runs_in_an_empty_environment(void **state)
{
    (void)state;
    refused_with("return os.getenv('HOME')", "node.lua:1: attempt to index a nil value");
    refused_with("print('x')", "node.lua:1: attempt to call a nil value");
    refused_with("return {cluster=('x'):rep(10)}", "node.lua:1:");
    refused_with("return {cluster=}", "node.lua:1: unexpected symbol");
    refused_with("\x1bLua", "node.lua: attempt to load a binary chunk");
}

static void a_file_without_end_is_stopped(void **state)
{
    (void)state;
    refused_with("while true do end", "node.lua:1: the file does not come to an end");
    refused_with("local s = 'x' while true do s = s .. s end", "not enough memory");
    refused_with("local t = {} for i = 1, 1e9 do t[i] = {} end", "not enough memory");
}

static void a_flag_or_the_environment_overrides_the_file(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(
        config_load_text("node.lua", bytes_of_string("return {" MINIMUM "}"), &c, &why), ERR_OK);
    assert_int_equal(config_set(&c, "data_dir", "/other", &why), ERR_OK);
    assert_int_equal(config_set(&c, "http", "off", &why), ERR_OK);
    assert_int_equal(config_set(&c, "insecure", "true", &why), ERR_OK);
    assert_int_equal(config_set(&c, "insecure", "maybe", &why), ERR_INVALID);
    assert_int_equal(config_set(&c, "nothing", "x", &why), ERR_NOT_FOUND);
    assert_int_equal(config_check(&c, &why), ERR_OK);
    assert_string_equal(c.data_dir, "/other");
    assert_null(c.http);
    assert_true(c.insecure);
    for (unsigned i = 0; i < config_settable_count; i++) {
        assert_int_equal(config_set(&c, config_settable[i], "false", &why), ERR_OK);
    }
    config_close(&c);
}

static void an_application_without_a_name_is_called_after_its_script(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(load("return {" MINIMUM
                          ", apps={{script='bundled:demo'}, {script='a/b c.v2.lua'},"
                          " {name='mine', script='x.lua'}}}",
                          &c, &why),
                     ERR_OK);
    assert_string_equal(c.apps[0].name, "demo");
    assert_string_equal(c.apps[1].name, "b_c.v2");
    assert_string_equal(c.apps[2].name, "mine");
    config_close(&c);
    refused_with("return {" MINIMUM ", apps={{script='a.lua'}, {script='b/a.lua'}}}",
                 "apps[1] and apps[2] are both named \"a\"");
}

static void a_lua_path_is_a_list_of_templates(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(load("return {" MINIMUM
                          ", apps={{script='a.lua', lua_path='/l/?.lua;m/?/init.lua'}}}",
                          &c, &why),
                     ERR_OK);
    assert_string_equal(c.apps[0].lua_path, "/l/?.lua;m/?/init.lua");
    config_close(&c);
    refused_with("return {" MINIMUM ", apps={{script='a.lua', lua_path='?.lua;/usr/share/lua'}}}",
                 "apps[1].lua_path: there is no \"?\" in \"/usr/share/lua\"; it is a list like ");
    refused_with("return {" MINIMUM ", apps={{script='a.lua', lua_path='?.lua;;'}}}",
                 "apps[1].lua_path: there is no \"?\" in \"\"");
    refused_with("return {" MINIMUM ", apps={{script='a.lua', lua_path=''}}}", "apps[1].lua_path");
    refused_with("return {" MINIMUM ", apps={{script='a.lua', lua_path={'?.lua'}}}}",
                 "apps[1].lua_path");
}

static void a_bundled_script_that_is_not_there_names_the_nearest(void **state)
{
    (void)state;
    refused_with("return {" MINIMUM ", apps={{script='bundled:dmeo'}}}",
                 "node.lua: apps[1].script: there is no bundled script \"dmeo\"; did you mean "
                 "\"bundled:demo\"? There are: ");
}

static void an_overlay_replaces_what_it_states_and_adds_applications(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(config_load_text("node.lua",
                                      bytes_of_string("return {" MINIMUM ", heartbeat_ms=20,"
                                                      " log={level='debug'},"
                                                      " apps={{script='a.lua'}}}"),
                                      &c, &why),
                     ERR_OK);
    const char over[] = "return {id='n2', data_dir='e', log={format='json'},"
                        " members={{id='n1', peer='a:1'}, {id='n2', peer='a:2'}},"
                        " apps={{script='b.lua'}}}";
    assert_int_equal(config_overlay_text("over.lua", bytes_of_string(over), &c, &why), ERR_OK);
    assert_int_equal(config_check(&c, &why), ERR_OK);
    assert_string_equal(c.cluster, "demo");
    assert_string_equal(c.id, "n2");
    assert_string_equal(c.data_dir, "e");
    assert_string_equal(c.log_level, "debug");
    assert_string_equal(c.log_format, "json");
    assert_int_equal(c.heartbeat_ms, 20);
    assert_int_equal(c.members_count, 2);
    assert_int_equal(c.apps_count, 2);
    assert_string_equal(c.apps[0].name, "a");
    assert_string_equal(c.apps[1].name, "b");

    assert_int_equal(
        config_overlay_text("over.lua", bytes_of_string("return {idd='n2'}"), &c, &why),
        ERR_INVALID);
    assert_string_equal(why.text, "over.lua: unknown key idd; did you mean \"id\"?");
    assert_int_equal(
        config_overlay_text("over.lua", bytes_of_string("return {members={{id='n'}}}"), &c, &why),
        ERR_INVALID);
    assert_string_equal(why.text, "over.lua: members[1].peer is missing");
    config_close(&c);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct config c;
    struct why why = {""};
    assert_int_equal(config_load("no/such/node.lua", &c, &why), ERR_NOT_FOUND);
    assert_string_equal(
        why.text, "cannot read the configuration no/such/node.lua: No such file or directory");
    config_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_file_gets_the_defaults),
        cmocka_unit_test(every_key_of_the_contract_is_read),
        cmocka_unit_test(an_unknown_key_names_the_nearest_one_and_its_place),
        cmocka_unit_test(a_wrong_type_says_what_is_expected),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(values_must_fit_together),
        cmocka_unit_test(the_file_runs_in_an_empty_environment),
        cmocka_unit_test(a_file_without_end_is_stopped),
        cmocka_unit_test(a_flag_or_the_environment_overrides_the_file),
        cmocka_unit_test(an_application_without_a_name_is_called_after_its_script),
        cmocka_unit_test(a_lua_path_is_a_list_of_templates),
        cmocka_unit_test(a_bundled_script_that_is_not_there_names_the_nearest),
        cmocka_unit_test(an_overlay_replaces_what_it_states_and_adds_applications),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
