/* moonkeeper tasks: what the bundled script tasks is given to do. A task is a key of kv, and so is
 * what each node has to offer (scripts/README.md): these verbs read and write them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/nearest.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/kv_items.h"
#include "cli/table.h"
#include "cli/view.h"
#include "script/json.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum { KEY_MAX = 1024, ID_DIGITS = 16, NAME_MAX_BYTES = 128, NAMES_MAX = 256 };
enum { CANCEL_ATTEMPTS = 20 };

/* ---- keys and values ------------------------------------------------------------------------ */

/* "a/task/000000000000002a" for "2a"; false if that is no id. */
static bool task_key(const char *prefix, const char *id, char key[KEY_MAX])
{
    size_t size = strlen(id);
    if (size == 0 || size > ID_DIGITS || strspn(id, "0123456789abcdef") != size) {
        return false;
    }
    static const char zeros[] = "0000000000000000";
    return snprintf(key, KEY_MAX, "%s/task/%s%s", prefix, zeros + size, id) < KEY_MAX;
}

/* As people are shown it, and may type it. */
static const char *short_id(const char *key)
{
    const char *id = strrchr(key, '/');
    id = id != NULL ? id + 1 : key;
    size_t size = strlen(id), zeros = strspn(id, "0");
    return id + (zeros < size ? zeros : size - (size > 0));
}

static int ask(const struct cli *cli, const char *method, struct buffer *params,
               struct buffer *result)
{
    client_write_options(cli, 0, params);
    int exit_code = client_request(cli, method, buffer_bytes(params), result);
    buffer_close(params);
    return exit_code;
}

/* The record of a task, with its version. */
static int get_task(const struct cli *cli, const char *prefix, const char *id, char key[KEY_MAX],
                    struct buffer *result)
{
    if (!task_key(prefix, id, key)) {
        return cli_misuse(cli, "\"%s\" is no id of a task; moonkeeper tasks list shows them", id);
    }
    struct buffer params = {0};
    kv_begin(&params, "get", 1);
    write_text_field(&params, "key", key);
    int exit_code = ask(cli, "query", &params, result);
    if (exit_code == EXIT_OK && view_is_nil(buffer_bytes(result))) {
        char why[KEY_MAX + 32];
        snprintf(why, sizeof why, "there is no task %s", id);
        return cli_fail(cli, ERR_NOT_FOUND, why, "moonkeeper tasks list");
    }
    return exit_code;
}

/* ---- what the nodes offer ------------------------------------------------------------------- */

/* Names without repetitions, for a check and for what is said when it fails. */
struct names {
    char text[NAMES_MAX][NAME_MAX_BYTES];
    const char *at[NAMES_MAX];
    size_t count;
};

static void add_name(struct names *names, struct bytes value)
{
    char text[NAME_MAX_BYTES];
    view_as_text(value, text, sizeof text);
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->at[i], text) == 0) {
            return;
        }
    }
    if (names->count < NAMES_MAX && text[0] != 0) {
        memcpy(names->text[names->count], text, sizeof text);
        names->at[names->count] = names->text[names->count];
        names->count++;
    }
}

/* What nodes have under a field: "labels", "kinds". */
struct offers {
    const char *field;
    struct names *names;
    uint32_t nodes;
};

static void add_offer(void *ctx, const char *node, struct bytes value)
{
    (void)node;
    struct offers *o = ctx;
    struct bytes list = view_get(value, o->field);
    for (uint32_t i = 0; i < view_count(list); i++) {
        add_name(o->names, view_at(list, i));
    }
    o->nodes++;
}

/* Is it one of those? Else that is reported. */
static int check_name(const struct cli *cli, const char *what, const char *name,
                      const struct names *known)
{
    struct buffer why = {0};
    for (size_t i = 0; i < known->count; i++) {
        if (strcmp(known->at[i], name) == 0) {
            return EXIT_OK;
        }
    }
    const char *nearest = nearest_name(name, known->at, known->count);
    buffer_add_format(&why, "%s \"%s\"; ", what, name);
    if (nearest != NULL) {
        buffer_add_format(&why, "did you mean \"%s\"?", nearest);
    } else if (known->count == 0) {
        buffer_add_format(&why, "there are none");
    }
    for (size_t i = 0; nearest == NULL && i < known->count; i++) {
        buffer_add_format(&why, "%s%s", i == 0 ? "there are " : ", ", known->at[i]);
    }
    int exit_code = cli_fail(cli, ERR_NOT_FOUND, buffer_text(&why), NULL);
    buffer_close(&why);
    return exit_code;
}

/* ---- submit --------------------------------------------------------------------------------- */

struct submission {
    const char *prefix;
    const char *label, *retries, *limit, *args; /* NULL: not given */
    bool exclusive, movable;
    const char *kind; /* or else: */
    char **argv;
    int argc;
};

/* Does some node have this under the field? Else that is reported. */
static int check_offer(const struct cli *cli, const char *prefix, const char *field,
                       const char *what, const char *name)
{
    char under[KEY_MAX];
    struct kv_items items = {0};
    struct offers offers = {.field = field, .names = NEW(struct names)};
    snprintf(under, sizeof under, "%s/node/", prefix);
    int exit_code = kv_items_read(cli, under, &items);
    kv_items_each(&items, under, add_offer, &offers);
    if (exit_code == EXIT_OK && offers.nodes == 0) {
        exit_code = cli_fail(cli, ERR_NOT_FOUND, "no node runs the script tasks",
                             "an application { script = \"bundled:tasks\" } in the configuration "
                             "of the nodes; moonkeeper dev -c conf/tasks.lua shows it");
    } else if (exit_code == EXIT_OK && name != NULL) {
        exit_code = check_name(cli, what, name, offers.names);
    }
    free(offers.names);
    kv_items_close(&items);
    return exit_code;
}

/* Will some node ever run it? */
static int check_offers(const struct cli *cli, const struct submission *s)
{
    int exit_code = check_offer(cli, s->prefix, "kinds", "there is no kind", s->kind);
    if (exit_code == EXIT_OK && s->label != NULL) {
        exit_code = check_offer(cli, s->prefix, "labels", "no node has the label", s->label);
    }
    return exit_code;
}

static int add_args(const struct cli *cli, const char *json, struct buffer *out)
{
    struct why why = {""};
    write_text(out, "args");
    return json_to_msgpack(bytes_of_string(json), out, &why) == ERR_OK
               ? EXIT_OK
               : cli_misuse(cli, "--args: %s", why.text);
}

static int add_number(const struct cli *cli, const char *flag, const char *key, const char *text,
                      struct buffer *out)
{
    uint64_t number;
    bool is_time = strcmp(flag, "run-timeout") == 0;
    if (is_time ? !cli_parse_duration(text, &number)
                : !cli_parse_number(text, UINT32_MAX, &number)) {
        return cli_misuse(cli, "--%s is \"%s\"; it must be a %s", flag, text,
                          is_time ? "time: 500ms, 30s, 5m" : "whole number");
    }
    write_text(out, key);
    write_u64(out, number);
    return EXIT_OK;
}

static int write_task(const struct cli *cli, const struct submission *s, struct buffer *out)
{
    int exit_code = EXIT_OK;
    write_map(out, 3u + (s->label != NULL) + (s->retries != NULL) + (s->limit != NULL) +
                       (s->args != NULL) + s->exclusive + s->movable);
    write_text_field(out, "state", "queued");
    write_text(out, "attempt");
    write_u64(out, 0);
    if (s->kind != NULL) {
        write_text_field(out, "kind", s->kind);
    } else {
        write_text(out, "argv");
        write_array(out, (uint32_t)s->argc);
        for (int i = 0; i < s->argc; i++) {
            write_text(out, s->argv[i]);
        }
    }
    if (s->label != NULL) {
        write_text_field(out, "label", s->label);
    }
    if (s->exclusive) {
        write_text(out, "exclusive");
        write_bool(out, true);
    }
    if (s->movable) {
        write_text(out, "movable");
        write_bool(out, true);
    }
    if (s->retries != NULL) {
        exit_code = add_number(cli, "retries", "retries", s->retries, out);
    }
    if (exit_code == EXIT_OK && s->limit != NULL) {
        exit_code = add_number(cli, "run-timeout", "timeout_ms", s->limit, out);
    }
    if (exit_code == EXIT_OK && s->args != NULL) {
        exit_code = add_args(cli, s->args, out);
    }
    return exit_code;
}

static int submit(struct cli *cli, const struct submission *s)
{
    char prefix[KEY_MAX], key[KEY_MAX];
    struct buffer params = {0}, result = {0};
    snprintf(prefix, sizeof prefix, "%s/task/", s->prefix);
    kv_begin(&params, "create", 2);
    write_text_field(&params, "prefix", prefix);
    write_text(&params, "value");
    int exit_code = write_task(cli, s, &params);
    if (exit_code == EXIT_OK) {
        exit_code = check_offers(cli, s);
    }
    if (exit_code != EXIT_OK) {
        buffer_close(&params);
        return exit_code;
    }
    exit_code = ask(cli, "propose", &params, &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_JSON) {
        exit_code = client_print(cli, buffer_bytes(&result));
    } else if (exit_code == EXIT_OK) {
        puts(short_id(view_text(buffer_bytes(&result), "key", key, sizeof key)));
    }
    buffer_close(&result);
    return exit_code;
}

static bool has_command(int argc, char **argv)
{
    int i = 0;
    while (i < argc && strcmp(argv[i], "--") != 0) {
        i++;
    }
    return i < argc;
}

static int tasks_submit(struct cli *cli, int argc, char **argv)
{
    struct submission s = {.prefix = NULL};
    const struct flag flags[] = {
        {"label", 0, "LABEL", "only on nodes that have it", &s.label, NULL},
        {"exclusive", 0, NULL, "never twice at once, whatever happens", NULL, &s.exclusive},
        {"movable", 0, NULL, "may be stopped and started elsewhere to spread the load", NULL,
         &s.movable},
        {"retries", 0, "N", "try again so often when it fails", &s.retries, NULL},
        {"run-timeout", 0, "TIME", "stop it when it takes longer", &s.limit, NULL},
        {"args", 0, "JSON", "for a handler; TASK_ARGS of a program", &s.args, NULL},
        {"prefix", 0, "KEY", "of the script's keys (tasks)", &s.prefix, NULL},
    };
    const struct usage usage = {
        .synopsis = "tasks submit KIND | tasks submit -- COMMAND [ARG...]",
        .about =
            "Have a task run on one of the nodes: one of a KIND that the settings have, or any\n"
            "program. Prints its id.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 1,
        .arguments_max = 4096,
    };
    int exit_code;
    bool command = has_command(argc, argv);
    s.argc = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (s.argc < 0) {
        return exit_code;
    }
    if (!command && s.argc > 1) {
        return cli_misuse(cli, "one KIND, or a program after --: tasks submit -- %s ...", argv[0]);
    }
    s.prefix = s.prefix != NULL ? s.prefix : "tasks";
    s.kind = command ? NULL : argv[0];
    s.argv = argv;
    return submit(cli, &s);
}

/* ---- list ----------------------------------------------------------------------------------- */

static enum table_style style_of(const char *state)
{
    if (strcmp(state, "failed") == 0) {
        return TABLE_BAD;
    }
    return strcmp(state, "running") == 0 ? TABLE_GOOD : TABLE_PLAIN;
}

/* "resize", or "sh -c ..." */
static void describe_work(struct bytes value, struct buffer *out)
{
    char word[256];
    struct bytes argv = view_get(value, "argv");
    buffer_add_format(out, "%s", view_text(value, "kind", word, sizeof word));
    for (uint32_t i = 0; i < view_count(argv); i++) {
        view_as_text(view_at(argv, i), word, sizeof word);
        buffer_add_format(out, "%s%s", i > 0 ? " " : "", word);
    }
}

/* What went wrong; of a program that says nothing else, how it ended. */
static const char *describe_error(struct bytes value, const char *state, char out[256])
{
    view_text(value, "error", out, 256);
    if (out[0] == 0 && strcmp(state, "done") != 0) {
        uint64_t code = view_u64(value, "code");
        char signal[32];
        if (view_text(value, "signal", signal, sizeof signal)[0] != 0) {
            snprintf(out, 256, "ended by signal %s", signal);
        } else if (code != 0) {
            snprintf(out, 256, "exit code %" PRIu64, code);
        }
    }
    return out;
}

static void add_row(struct table *t, const char *key, struct bytes value)
{
    char state[32], node[64], error[256];
    struct buffer work = {0};
    view_text(value, "state", state, sizeof state);
    describe_work(value, &work);
    table_cell(t, TABLE_PLAIN, "%s", short_id(key));
    table_cell(t, style_of(state), "%s", state);
    table_cell(t, TABLE_PLAIN, "%s", view_text(value, "node", node, sizeof node));
    table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(value, "attempt"));
    table_cell(t, TABLE_PLAIN, "%.60s", buffer_text(&work));
    table_cell(t, TABLE_DIM, "%s", describe_error(value, state, error));
    buffer_close(&work);
}

/* The record, with its id. */
static void add_record(struct buffer *records, const char *key, struct bytes value)
{
    struct reader r = reader_of(value);
    uint32_t count = reader_peek(&r) == WIRE_MAP ? read_map(&r) : 0;
    write_map(records, 1 + count);
    write_text_field(records, "id", short_id(key));
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name = read_raw(&r), field = read_raw(&r);
        write_raw(records, name);
        write_raw(records, field);
    }
}

/* What is listed, in the form that is asked for: `table`, or `count` records. */
struct listing {
    enum output output;
    const char *state; /* only those; NULL: all */
    struct table *table;
    struct buffer records;
    uint32_t count;
};

static void add_task(void *ctx, const char *key, struct bytes value)
{
    struct listing *l = ctx;
    char its[32];
    if (l->state != NULL && strcmp(view_text(value, "state", its, sizeof its), l->state) != 0) {
        return;
    }
    if (l->output == OUTPUT_SIMPLE) {
        puts(short_id(key));
    } else if (l->output == OUTPUT_JSON) {
        add_record(&l->records, key, value);
        l->count++;
    } else {
        add_row(l->table, key, value);
    }
}

static int check_state(const struct cli *cli, const char *state)
{
    static const char *const states[] = {"queued", "assigned", "running",
                                         "done",   "failed",   "cancelled"};
    enum { STATES = sizeof states / sizeof states[0] };
    for (size_t i = 0; i < STATES; i++) {
        if (strcmp(state, states[i]) == 0) {
            return EXIT_OK;
        }
    }
    const char *nearest = nearest_name(state, states, STATES);
    return cli_misuse(cli,
                      "--state is \"%s\"; it must be queued, assigned, running, done, failed or "
                      "cancelled%s%s%s",
                      state, nearest != NULL ? "; did you mean " : "",
                      nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

static int tasks_list(struct cli *cli, int argc, char **argv)
{
    const char *prefix = NULL, *state = NULL;
    const struct flag flags[] = {
        {"state", 0, "STATE", "only those", &state, NULL},
        {"prefix", 0, "KEY", "of the script's keys (tasks)", &prefix, NULL},
    };
    const struct usage usage = {
        .synopsis = "tasks list",
        .about = "The tasks that wait, run, or are over, oldest first. With -o json: a list of all "
                 "that is\nknown of each.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0 ||
        (state != NULL && (exit_code = check_state(cli, state)) != EXIT_OK)) {
        return exit_code;
    }
    char under[KEY_MAX];
    struct kv_items items = {0};
    snprintf(under, sizeof under, "%s/task/", prefix != NULL ? prefix : "tasks");
    exit_code = kv_items_read(cli, under, &items);
    struct listing l = {.output = cli->output,
                        .state = state,
                        .table = table_new("ID|STATE|NODE|>ATTEMPT|WHAT|ERROR", cli->colour)};
    if (exit_code == EXIT_OK) {
        kv_items_each(&items, under, add_task, &l);
    }
    kv_items_close(&items);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        table_print(l.table, stdout);
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_JSON) {
        struct buffer all = {0};
        write_array(&all, l.count);
        write_raw(&all, buffer_bytes(&l.records));
        exit_code = client_print(cli, buffer_bytes(&all));
        buffer_close(&all);
    }
    buffer_close(&l.records);
    table_free(l.table);
    return exit_code;
}

/* ---- show, cancel --------------------------------------------------------------------------- */

static int tasks_show(struct cli *cli, int argc, char **argv)
{
    const char *prefix = NULL;
    const struct flag flags[] = {
        {"prefix", 0, "KEY", "of the script's keys (tasks)", &prefix, NULL},
    };
    const struct usage usage = {
        .synopsis = "tasks show ID",
        .about = "All that there is to know about a task: its state, attempts, output, result.",
        .flags = flags,
        .flags_count = 1,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    char key[KEY_MAX];
    struct buffer result = {0};
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    exit_code = get_task(cli, prefix != NULL ? prefix : "tasks", argv[0], key, &result);
    if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, view_get(buffer_bytes(&result), "value"));
    }
    buffer_close(&result);
    return exit_code;
}

/* The record with cancel = true. */
static void write_cancelled(struct bytes value, struct buffer *out)
{
    struct reader r = reader_of(value);
    uint32_t count = read_map(&r);
    bool there = !view_is_nil(view_get(value, "cancel"));
    write_map(out, count + !there);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key = read_raw(&r), field = read_raw(&r);
        write_raw(out, key);
        write_raw(out, field);
    }
    if (!there) {
        write_text(out, "cancel");
        write_bool(out, true);
    }
}

/* Errors: CONFLICT: it has changed since it was read. */
static enum err ask_for_end(const struct cli *cli, const char *key, struct bytes task,
                            struct why *why)
{
    struct bytes value = view_get(task, "value");
    struct buffer params = {0}, result = {0};
    kv_begin(&params, "set", 3);
    write_text_field(&params, "key", key);
    write_text(&params, "value");
    write_cancelled(value, &params);
    write_text(&params, "if_version");
    write_u64(&params, view_u64(task, "version"));
    client_write_options(cli, 0, &params);
    enum err e = client_try(cli, "propose", buffer_bytes(&params), &result, why);
    buffer_close(&params);
    buffer_close(&result);
    return e;
}

/* A task goes from state to state while it is looked at: again, then. */
static int cancel(const struct cli *cli, const char *prefix, const char *id)
{
    char key[KEY_MAX], state[32];
    struct why why = {""};
    enum err e = ERR_CONFLICT;
    for (int i = 0; i < CANCEL_ATTEMPTS && e == ERR_CONFLICT; i++) {
        struct buffer task = {0};
        int exit_code = get_task(cli, prefix, id, key, &task);
        struct bytes value = view_get(buffer_bytes(&task), "value");
        view_text(value, "state", state, sizeof state);
        if (exit_code == EXIT_OK && (strcmp(state, "done") == 0 || strcmp(state, "failed") == 0)) {
            err_why(&why, ERR_CONFLICT, "the task %s is %s already", id, state);
            exit_code = cli_fail(cli, ERR_CONFLICT, why.text, NULL);
        } else if (exit_code == EXIT_OK) {
            e = ask_for_end(cli, key, buffer_bytes(&task), &why);
        }
        buffer_close(&task);
        if (exit_code != EXIT_OK) {
            return exit_code;
        }
    }
    if (e == ERR_OK && cli->output == OUTPUT_TABLE) {
        bool runs = strcmp(state, "assigned") == 0 || strcmp(state, "running") == 0;
        puts(runs ? "it is being stopped" : "cancelled");
    }
    return client_failed(cli, "propose", e, &why);
}

static int tasks_cancel(struct cli *cli, int argc, char **argv)
{
    const char *prefix = NULL;
    const struct flag flags[] = {
        {"prefix", 0, "KEY", "of the script's keys (tasks)", &prefix, NULL},
    };
    const struct usage usage = {
        .synopsis = "tasks cancel ID",
        .about = "Stop a task, or keep it from running. Exits with 6 when it is over already.",
        .flags = flags,
        .flags_count = 1,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    return cancel(cli, prefix != NULL ? prefix : "tasks", argv[0]);
}

/* ---- the verb ------------------------------------------------------------------------------- */

int cmd_tasks(struct cli *cli, int argc, char **argv)
{
    static const struct cli_action actions[] = {
        {"submit", "tasks submit", tasks_submit, "KIND",
         "have a task run, of a kind or of any program"},
        {"list", "tasks list", tasks_list, "", "those that wait, run, or are over"},
        {"show", "tasks show", tasks_show, "ID", "all that is known of one"},
        {"cancel", "tasks cancel", tasks_cancel, "ID", "stop it, or keep it from running"},
    };
    const struct usage usage = {
        .synopsis = "tasks submit|list|show|cancel ...",
        .about = "Tasks of the bundled script tasks, which the leader gives to the nodes.",
        .actions = actions,
        .actions_count = sizeof actions / sizeof actions[0],
        .arguments_min = 1,
        .arguments_max = 4200,
    };
    return cli_run_action(cli, argc, argv, &usage);
}
