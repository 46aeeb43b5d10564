/* Flags, their environment, durations, words; and how mistakes are told. */
#include "check.h"

#include "cli/client.h"

static const char *limit;
static bool json;

static const struct flag flags[] = {
    {"limit", 'l', "N", "at most so many", &limit, NULL},
    {"json", 0, NULL, "as JSON", NULL, &json},
};
static const struct usage usage = {
    .synopsis = "pick KEY [VALUE]",
    .about = "Pick one.",
    .flags = flags,
    .flags_count = sizeof flags / sizeof flags[0],
    .arguments_min = 1,
    .arguments_max = 2,
};

enum { WORDS_MAX = 12 };

struct parsed {
    struct cli cli;
    char *argv[WORDS_MAX];
    char text[256];
    int count, exit_code;
    struct printed printed;
};

/* "pick a --limit 3" */
static void parse(struct parsed *p, const char *line)
{
    *p = (struct parsed){.cli = {.verb = "pick", .timeout_ms = 5000}};
    limit = NULL;
    json = false;
    int argc = 0;
    snprintf(p->text, sizeof p->text, "%s", line);
    for (char *word = strtok(p->text, " "); word != NULL; word = strtok(NULL, " ")) {
        p->argv[argc++] = word;
    }
    print_begin(&p->printed);
    p->count = cli_parse(&p->cli, argc, p->argv, &usage, &p->exit_code);
    print_end(&p->printed);
}

static void assert_misuse(const char *line, const char *sentence)
{
    struct parsed p;
    parse(&p, line);
    assert_int_equal(p.count, -1);
    assert_int_equal(p.exit_code, EXIT_USAGE);
    char expected[300];
    snprintf(expected, sizeof expected, "moonkeeper pick: %s\n", sentence);
    assert_string_equal(p.printed.err, expected);
    assert_string_equal(p.printed.out, "");
    print_free(&p.printed);
}

static void flags_stand_anywhere(void **state)
{
    (void)state;
    static const char *const lines[] = {"pick --limit 3 a b --json", "pick a -l3 b --json",
                                        "pick a b --json --limit=3", "pick --json -l 3 a -- b"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct parsed p;
        parse(&p, lines[i]);
        assert_int_equal(p.count, 2);
        assert_string_equal(p.argv[0], "a");
        assert_string_equal(p.argv[1], "b");
        assert_string_equal(limit, "3");
        assert_true(json);
        print_free(&p.printed);
    }
}

static void what_follows_two_dashes_is_no_flag(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "pick -- --json -");
    assert_int_equal(p.count, 2);
    assert_string_equal(p.argv[0], "--json");
    assert_string_equal(p.argv[1], "-");
    assert_false(json);
    print_free(&p.printed);
}

static void flags_of_all_verbs_are_taken(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "pick a -o json -e h:1,h:2 --timeout 2s --color always");
    assert_int_equal(p.count, 1);
    assert_int_equal(p.cli.output, OUTPUT_JSON);
    assert_string_equal(p.cli.endpoints, "h:1,h:2");
    assert_int_equal(p.cli.timeout_ms, 2000);
    assert_true(p.cli.colour && p.cli.colour_err);
    print_free(&p.printed);
}

static void the_environment_counts_less_than_a_flag(void **state)
{
    (void)state;
    struct parsed p;
    setenv("MOONKEEPER_LIMIT", "7", 1);
    setenv("MOONKEEPER_TIMEOUT", "1m", 1);
    setenv("MOONKEEPER_OUTPUT", "", 1); /* as good as none */
    parse(&p, "pick a");
    assert_string_equal(limit, "7");
    assert_int_equal(p.cli.timeout_ms, 60000);
    print_free(&p.printed);
    parse(&p, "pick a --limit 8");
    assert_string_equal(limit, "8");
    print_free(&p.printed);
    unsetenv("MOONKEEPER_LIMIT");
    unsetenv("MOONKEEPER_TIMEOUT");
    unsetenv("MOONKEEPER_OUTPUT");
}

static void mistakes_are_told_in_one_sentence(void **state)
{
    (void)state;
    assert_misuse("pick", "something is missing; usage: moonkeeper pick KEY [VALUE]");
    assert_misuse("pick a b c", "too many arguments; usage: moonkeeper pick KEY [VALUE]");
    assert_misuse("pick a --limt 3", "there is no flag --limt; did you mean --limit?");
    assert_misuse("pick a --quux", "there is no flag --quux; see moonkeeper pick --help");
    assert_misuse("pick a -q", "there is no flag -q; see moonkeeper pick --help");
    assert_misuse("pick a --limit", "--limit needs a value: N");
    assert_misuse("pick a --json=yes", "--json takes no value");
    assert_misuse("pick a -o xml", "--output is \"xml\"; it must be table, json or simple");
    assert_misuse("pick a --timeout soon",
                  "--timeout is \"soon\"; it must be a time like 500ms or 5s");
    assert_misuse("pick a --color maybe", "--color is \"maybe\"; it must be auto, always or never");
}

static void help_lists_own_flags_first(void **state)
{
    (void)state;
    struct parsed p;
    parse(&p, "pick --help");
    assert_int_equal(p.count, -1);
    assert_int_equal(p.exit_code, EXIT_OK);
    static const char expected[] =
        "Usage: moonkeeper pick KEY [VALUE]\n\nPick one.\n\nFlags:\n"
        "  -l, --limit N                  at most so many\n"
        "      --json                     as JSON\n\nFlags of every verb:\n"
        "  -e, --endpoints HOST:PORT,...  client addresses of nodes, tried in turn\n";
    assert_memory_equal(p.printed.out, expected, sizeof expected - 1);
    print_free(&p.printed);
}

static void durations_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},       {"1500", 1500}, {"500ms", 500},
                {"1.5s", 1500}, {"2m", 120000}, {"1h", 3600000}};
    uint64_t ms;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(cli_parse_duration(good[i].text, &ms));
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {"", "s", "-1s", "1 s", "1d", "1e99s", "nan", "inf", "0x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cli_parse_duration(bad[i], &ms));
    }
}

static void numbers_are_whole_and_within_their_limit(void **state)
{
    (void)state;
    static const char *const bad[] = {"",    "-1",   "+1",  " 1", "1 ",
                                      "12x", "0x10", "1.5", "x",  "18446744073709551616"};
    uint64_t n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cli_parse_number(bad[i], UINT64_MAX, &n));
    }
    assert_false(cli_parse_number("11", 10, &n));
    assert_int_equal(n, 7);
    assert_true(cli_parse_number("10", 10, &n));
    assert_int_equal(n, 10);
    assert_true(cli_parse_number("18446744073709551615", UINT64_MAX, &n));
    assert_true(n == UINT64_MAX);
}

static const char *first_word(char **argv, int argc)
{
    return cli_word_first(argc, argv);
}

static void the_word_comes_first_and_its_flags_follow(void **state)
{
    (void)state;
    char program[] = "moonkeeper", o[] = "-o", format[] = "json", e[] = "--endpoints=h:1",
         verb[] = "kv", action[] = "get", stray[] = "--strange", dash[] = "-";
    char *argv[] = {program, o, format, e, verb, action, NULL};
    assert_string_equal(first_word(argv, 6), "kv");
    char *expected[] = {program, verb, o, format, e, action};
    for (size_t i = 0; i < 6; i++) {
        assert_ptr_equal(argv[i], expected[i]);
    }
    char *unknown[] = {program, stray, verb, NULL};
    assert_null(first_word(unknown, 3)); /* is the next word its value? */
    char *only_flags[] = {program, o, format, NULL};
    assert_null(first_word(only_flags, 3));
    char *stdin_word[] = {program, dash, NULL};
    assert_string_equal(first_word(stdin_word, 2), "-");
}

static void errors_are_told_to_people_and_to_machines(void **state)
{
    (void)state;
    struct printed p = {0};
    struct cli cli = {.verb = "pick"};
    print_begin(&p);
    assert_int_equal(cli_fail(&cli, ERR_UNREACHABLE, "no \"way\"", "another one"),
                     EXIT_UNREACHABLE);
    cli.output = OUTPUT_JSON;
    assert_int_equal(cli_fail(&cli, ERR_CONFLICT, NULL, NULL), EXIT_CONFLICT);
    print_end(&p);
    assert_string_equal(
        p.err, "moonkeeper pick: no \"way\"\n  try: another one\n"
               "{\"error\":{\"code\":\"conflict\",\"message\":\"the expected version does not "
               "match\"}}\n");
    print_free(&p);
    assert_int_equal(cli_exit_code(ERR_NOT_LEADER), EXIT_NO_LEADER);
    assert_int_equal(cli_exit_code(ERR_TIMEOUT), EXIT_OUTCOME_UNKNOWN);
    assert_int_equal(cli_exit_code(ERR_FENCED), EXIT_CONFLICT);
    assert_int_equal(cli_exit_code(ERR_IO), EXIT_ERROR);
}

static void endpoints_that_make_no_sense_are_a_mistake(void **state)
{
    (void)state;
    static const struct {
        const char *endpoints;
        int exit_code;
    } cases[] = {{NULL, EXIT_OK},          {"h", EXIT_OK},      {"h:1,[::1]:2", EXIT_OK},
                 {"h:70000", EXIT_USAGE},  {"h:x", EXIT_USAGE}, {",", EXIT_USAGE},
                 {"a:1,,b:1", EXIT_USAGE}, {"h:-1", EXIT_USAGE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct printed p = {0};
        struct cli cli = {.verb = "status", .endpoints = cases[i].endpoints};
        print_begin(&p);
        int exit_code = client_check_endpoints(&cli);
        print_end(&p);
        assert_int_equal(exit_code, cases[i].exit_code);
        print_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_stand_anywhere),
        cmocka_unit_test(what_follows_two_dashes_is_no_flag),
        cmocka_unit_test(flags_of_all_verbs_are_taken),
        cmocka_unit_test(the_environment_counts_less_than_a_flag),
        cmocka_unit_test(mistakes_are_told_in_one_sentence),
        cmocka_unit_test(help_lists_own_flags_first),
        cmocka_unit_test(durations_have_units),
        cmocka_unit_test(numbers_are_whole_and_within_their_limit),
        cmocka_unit_test(the_word_comes_first_and_its_flags_follow),
        cmocka_unit_test(errors_are_told_to_people_and_to_machines),
        cmocka_unit_test(endpoints_that_make_no_sense_are_a_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
