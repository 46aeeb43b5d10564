/* Flags, arguments and durations. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/read_file.h"

enum { FLAGS_MAX = 48, STDIN_BYTES_MAX = 64 << 20 };

/* The flags of a verb and those of all verbs, and where the latter go. */
struct parser {
    struct cli *cli;
    const struct usage *usage;
    struct flag flags[FLAGS_MAX];
    size_t flags_count;
    const char *output, *timeout, *color;
    bool help;
};

static void add_flags(struct parser *p, const struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count && p->flags_count < FLAGS_MAX; i++) {
        p->flags[p->flags_count++] = flags[i];
    }
}

static void add_common_flags(struct parser *p)
{
    struct cli *cli = p->cli;
    const struct flag common[] = {
        {"endpoints", 'e', "HOST:PORT,...", "client addresses of nodes, tried in turn",
         &cli->endpoints, NULL},
        {"output", 'o', "FORMAT", "table, json, or simple (bare values)", &p->output, NULL},
        {"timeout", 0, "TIME", "how long to wait for an answer, as 500ms or 5s", &p->timeout, NULL},
        {"log-level", 0, "LEVEL", "debug, info, warn, error or off", &cli->log_level, NULL},
        {"log-format", 0, "FORMAT", "console, logfmt or json", &cli->log_format, NULL},
        {"color", 0, "WHEN", "auto (on a terminal), always or never", &p->color, NULL},
        {"help", 'h', NULL, "show this", NULL, &p->help},
    };
    add_flags(p, common, sizeof common / sizeof common[0]);
}

const char *cli_environment(const char *key)
{
    char name[64] = "MOONKEEPER_";
    size_t at = strlen(name);
    for (const char *c = key; *c != 0 && at + 1 < sizeof name; c++) {
        name[at++] = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    }
    name[at] = 0;
    const char *value = getenv(name);
    return value != NULL && *value != 0 ? value : NULL;
}

static void ask_environment(struct parser *p)
{
    for (size_t i = 0; i < p->flags_count; i++) {
        const struct flag *f = &p->flags[i];
        const char *value = cli_environment(f->name);
        if (f->help != NULL && f->value != NULL && value != NULL && *f->value == NULL) {
            *f->value = value;
        }
    }
}

bool cli_parse_duration(const char *text, uint64_t *out_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    double number = strtod(text, &end);
    if (end == text || !(number >= 0) || !isdigit((unsigned char)*text)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0 && number * units[i].ms < 1e15) {
            *out_ms = (uint64_t)(number * units[i].ms);
            return true;
        }
    }
    return false;
}

bool cli_parse_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != 0 || errno != 0 || number > max) {
        return false;
    }
    *out = number;
    return true;
}

/* ---- parsing -------------------------------------------------------------------------------- */

static int unknown_flag(const struct parser *p, const char *text, size_t size)
{
    const char *names[FLAGS_MAX];
    size_t names_count = 0;
    for (size_t i = 0; i < p->flags_count; i++) {
        if (p->flags[i].help != NULL) {
            names[names_count++] = p->flags[i].name;
        }
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)size, text);
    const char *nearest = nearest_name(word, names, names_count);
    if (nearest != NULL) {
        return cli_misuse(p->cli, "there is no flag --%s; did you mean --%s?", word, nearest);
    }
    return cli_misuse(p->cli, "there is no flag --%s; see moonkeeper %s --help", word,
                      p->cli->verb);
}

static const struct flag *find_flag(const struct parser *p, const char *name, size_t size)
{
    for (size_t i = 0; i < p->flags_count; i++) {
        if (strlen(p->flags[i].name) == size && strncmp(p->flags[i].name, name, size) == 0) {
            return &p->flags[i];
        }
    }
    return NULL;
}

static const struct flag *find_letter(const struct parser *p, char letter)
{
    for (size_t i = 0; i < p->flags_count; i++) {
        if (p->flags[i].letter == letter) {
            return &p->flags[i];
        }
    }
    return NULL;
}

/* The flag at argv[*at], which begins with '-'; moves *at over its value. */
static int take_flag(const struct parser *p, int argc, char **argv, int *at)
{
    char *text = argv[*at];
    const struct flag *f;
    const char *value = NULL;
    if (text[1] == '-') {
        size_t size = strcspn(text + 2, "=");
        f = find_flag(p, text + 2, size);
        if (f == NULL) {
            return unknown_flag(p, text + 2, size);
        }
        value = text[2 + size] == '=' ? text + 2 + size + 1 : NULL;
    } else {
        f = find_letter(p, text[1]);
        if (f == NULL) {
            return cli_misuse(p->cli, "there is no flag -%c; see moonkeeper %s --help", text[1],
                              p->cli->verb);
        }
        value = text[2] != 0 ? text + 2 : NULL;
    }
    if (f->present != NULL) {
        *f->present = true;
    }
    if (f->value_name == NULL) {
        return value == NULL ? EXIT_OK : cli_misuse(p->cli, "--%s takes no value", f->name);
    }
    if (value == NULL && *at + 1 < argc) {
        value = argv[++*at];
    }
    if (value == NULL) {
        return cli_misuse(p->cli, "--%s needs a value: %s", f->name, f->value_name);
    }
    *f->value = value;
    return EXIT_OK;
}

static int finish_common(struct parser *p)
{
    static const char *const outputs[] = {"table", "json", "simple"};
    struct cli *cli = p->cli;
    if (p->output != NULL) {
        size_t i = 0;
        while (i < 3 && strcmp(p->output, outputs[i]) != 0) {
            i++;
        }
        if (i == 3) {
            return cli_misuse(cli, "--output is \"%s\"; it must be table, json or simple",
                              p->output);
        }
        cli->output = (enum output)i;
    }
    if (p->timeout != NULL && !cli_parse_duration(p->timeout, &cli->timeout_ms)) {
        return cli_misuse(cli, "--timeout is \"%s\"; it must be a time like 500ms or 5s",
                          p->timeout);
    }
    if (p->color != NULL && strcmp(p->color, "auto") != 0) {
        bool always = strcmp(p->color, "always") == 0;
        if (!always && strcmp(p->color, "never") != 0) {
            return cli_misuse(cli, "--color is \"%s\"; it must be auto, always or never", p->color);
        }
        cli->colour = cli->colour_err = always;
    }
    return EXIT_OK;
}

/* ---- words ---------------------------------------------------------------------------------- */

static const struct flag *flag_of_all_verbs(const struct parser *p, const char *text)
{
    return text[1] == '-' ? find_flag(p, text + 2, strcspn(text + 2, "="))
                          : find_letter(p, text[1]);
}

static bool takes_next_word(const struct flag *f, const char *text)
{
    bool has_value = text[1] == '-' ? strchr(text, '=') != NULL : text[2] != 0;
    return f->value_name != NULL && !has_value;
}

const char *cli_word_first(int argc, char **argv)
{
    struct cli nobody = {0};
    struct parser p = {.cli = &nobody};
    add_common_flags(&p);
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (argv[i][0] != '-' || argv[i][1] == 0) {
            char *word = argv[i];
            memmove(argv + 2, argv + 1, (size_t)(i - 1) * sizeof *argv);
            argv[1] = word;
            return word;
        }
        const struct flag *f = flag_of_all_verbs(&p, argv[i]);
        if (f == NULL) {
            return NULL; /* whose value is the next word? */
        }
        i += takes_next_word(f, argv[i]);
    }
    return NULL;
}

int cli_run_action(struct cli *cli, int argc, char **argv, const struct usage *usage)
{
    enum { ACTIONS_MAX = 16 };
    const char *names[ACTIONS_MAX], *word = cli_word_first(argc, argv);
    ASSERT(usage->actions_count <= ACTIONS_MAX);
    for (size_t i = 0; i < usage->actions_count; i++) {
        const struct cli_action *action = &usage->actions[i];
        names[i] = action->name;
        if (word != NULL && strcmp(word, action->name) == 0) {
            cli->verb = action->full;
            return action->run(cli, argc - 1, argv + 1);
        }
    }
    int exit_code;
    if (cli_parse(cli, argc, argv, usage, &exit_code) < 0) {
        return exit_code;
    }
    const char *nearest = nearest_name(argv[0], names, usage->actions_count);
    return nearest != NULL ? cli_misuse(cli, "%s knows no \"%s\"; did you mean %s %s?", cli->verb,
                                        argv[0], cli->verb, nearest)
                           : cli_misuse(cli, "%s knows no \"%s\"; usage: moonkeeper %s", cli->verb,
                                        argv[0], usage->synopsis);
}

int cli_argument(const struct cli *cli, const char *argument, struct buffer *out)
{
    if (strcmp(argument, "-") != 0) {
        buffer_add_bytes(out, bytes_of_string(argument));
        return EXIT_OK;
    }
    struct why why = {""};
    enum err e = read_file("-", STDIN_BYTES_MAX, out, &why);
    return e == ERR_OK ? EXIT_OK : cli_fail(cli, e, why.text, NULL);
}

static int count_is_wrong(const struct parser *p, int count)
{
    if (count < p->usage->arguments_min) {
        return cli_misuse(p->cli, "something is missing; usage: moonkeeper %s", p->usage->synopsis);
    }
    return cli_misuse(p->cli, "too many arguments; usage: moonkeeper %s", p->usage->synopsis);
}

int cli_parse(struct cli *cli, int argc, char **argv, const struct usage *usage, int *exit_code)
{
    struct parser p = {.cli = cli, .usage = usage};
    add_flags(&p, usage->flags, usage->flags_count);
    add_common_flags(&p);
    int count = 0;
    *exit_code = EXIT_OK;
    for (int i = 1; i < argc && *exit_code == EXIT_OK; i++) {
        if (strcmp(argv[i], "--") == 0) {
            if (count < usage->before_min && !p.help) {
                *exit_code = count_is_wrong(&p, count);
            }
            while (++i < argc) {
                argv[count++] = argv[i];
            }
        } else if (argv[i][0] == '-' && argv[i][1] != 0) {
            *exit_code = take_flag(&p, argc, argv, &i);
        } else {
            argv[count++] = argv[i];
        }
    }
    if (*exit_code == EXIT_OK && p.help) {
        size_t own = usage->flags_count;
        help_usage(usage, p.flags + own, p.flags_count - own);
        return -1;
    }
    ask_environment(&p);
    if (*exit_code == EXIT_OK) {
        *exit_code = finish_common(&p);
    }
    if (*exit_code == EXIT_OK && (count < usage->arguments_min || count > usage->arguments_max)) {
        *exit_code = count_is_wrong(&p, count);
    }
    argv[count] = NULL; /* the verb itself has made room */
    return *exit_code == EXIT_OK ? count : -1;
}
