/* moonkeeper kv: the shipped key-value machine. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/kv_items.h"
#include "cli/table.h"
#include "cli/view.h"
#include "script/json.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- requests ------------------------------------------------------------------------------- */

enum { KEY_MAX = 1024 }; /* bytes; the machine holds to it */

static void end_query(const struct cli *cli, struct buffer *params, const char *level)
{
    client_write_options(cli, level != NULL, params);
    if (level != NULL) {
        write_text_field(params, "read", level);
    }
}

/* ---- get ------------------------------------------------------------------------------------ */

static int kv_get(struct cli *cli, int argc, char **argv)
{
    const char *level = NULL;
    const struct flag flags[] = {
        {"read", 0, "LEVEL", "linearizable (default), lease or local", &level, NULL},
    };
    const struct usage usage = {
        .synopsis = "kv get KEY",
        .about = "Print the value of KEY. Exits with 1 when there is none.",
        .flags = flags,
        .flags_count = 1,
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer params = {0}, result = {0};
    kv_begin(&params, "get", 1);
    write_text_field(&params, "key", argv[0]);
    end_query(cli, &params, level);
    exit_code = client_request(cli, "query", buffer_bytes(&params), &result);
    if (exit_code == EXIT_OK && view_is_nil(buffer_bytes(&result))) {
        char why[300];
        snprintf(why, sizeof why, "there is no key \"%s\"", argv[0]);
        exit_code = cli_fail(cli, ERR_NOT_FOUND, why, NULL);
    } else if (exit_code == EXIT_OK && cli->output != OUTPUT_JSON) {
        struct bytes value = view_get(buffer_bytes(&result), "value");
        exit_code = client_print(cli, value.size > 0 ? value : buffer_bytes(&result));
    } else if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&params);
    buffer_close(&result);
    return exit_code;
}

/* ---- put, del ------------------------------------------------------------------------------- */

/* Propose what params holds and print what came back, for -o json. */
static int change(struct cli *cli, struct buffer *params, const char *done)
{
    struct buffer result = {0};
    client_write_options(cli, 0, params);
    int exit_code = client_request(cli, "propose", buffer_bytes(params), &result);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_JSON) {
        exit_code = client_print(cli, buffer_bytes(&result));
    } else if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        uint64_t version = view_u64(buffer_bytes(&result), "version");
        printf(version != 0 ? "%s (version %" PRIu64 ")\n" : "%s\n", done, version);
    }
    buffer_close(&result);
    return exit_code;
}

/* VALUE, as text or as JSON. */
static int add_value(const struct cli *cli, const char *argument, bool json, struct buffer *params)
{
    struct buffer text = {0};
    struct why why = {""};
    int exit_code = cli_argument(cli, argument, &text);
    if (exit_code == EXIT_OK && !json) {
        write_str(params, buffer_bytes(&text));
    } else if (exit_code == EXIT_OK && json_to_msgpack(buffer_bytes(&text), params, &why)) {
        exit_code = cli_misuse(cli, "VALUE: %s", why.text);
    }
    buffer_close(&text);
    return exit_code;
}

static int kv_put(struct cli *cli, int argc, char **argv)
{
    const char *if_version = NULL;
    bool json = false;
    const struct flag flags[] = {
        {"if-version", 0, "N", "only if this is its version now; 0: only if there is none",
         &if_version, NULL},
        {"json", 0, NULL, "VALUE is JSON, not text", NULL, &json},
    };
    const struct usage usage = {
        .synopsis = "kv put KEY VALUE",
        .about = "Set KEY to the text VALUE; to what stdin has if VALUE is -. Exits with 6 when\n"
                 "--if-version does not hold.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 2,
        .arguments_max = 2,
    };
    int exit_code;
    uint64_t version = 0;
    struct buffer params = {0};
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    if (if_version != NULL && !cli_parse_number(if_version, UINT64_MAX, &version)) {
        return cli_misuse(cli, "--if-version is \"%s\"; it must be a whole number", if_version);
    }
    kv_begin(&params, "set", 2 + (if_version != NULL));
    write_text_field(&params, "key", argv[0]);
    write_text(&params, "value");
    exit_code = add_value(cli, argv[1], json, &params);
    if (exit_code == EXIT_OK && if_version != NULL) {
        write_u64_field(&params, "if_version", version);
    }
    if (exit_code == EXIT_OK) {
        exit_code = change(cli, &params, "ok");
    }
    buffer_close(&params);
    return exit_code;
}

static int kv_del(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "kv del KEY",
        .about = "Delete KEY. It is no error if there is none.",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    struct buffer params = {0};
    kv_begin(&params, "delete", 1);
    write_text_field(&params, "key", argv[0]);
    exit_code = change(cli, &params, "ok");
    buffer_close(&params);
    return exit_code;
}

/* ---- list ----------------------------------------------------------------------------------- */

static void add_items(const struct cli *cli, struct table *t, struct bytes items)
{
    for (uint32_t i = 0; i < view_count(items); i++) {
        struct bytes item = view_at(items, i), value = view_get(item, "value");
        char key[KEY_MAX + 1], text[256];
        struct buffer json = {0};
        view_text(item, "key", key, sizeof key);
        if (cli->output == OUTPUT_SIMPLE) {
            puts(key);
            continue;
        }
        view_as_text(value, text, sizeof text);
        if (text[0] == 0) {
            json_from_msgpack(value, &(struct json_style){.lenient = true}, &json, NULL);
            snprintf(text, sizeof text, "%s", buffer_text(&json));
        }
        table_cell(t, TABLE_PLAIN, "%s", key);
        table_cell(t, TABLE_PLAIN, "%" PRIu64, view_u64(item, "version"));
        table_cell(t, TABLE_PLAIN, "%s", text);
        buffer_close(&json);
    }
}

struct list_request {
    const char *prefix, *level;
    const char *limit_text; /* NULL: all there are */
    uint64_t limit;
    uint8_t after[KEY_MAX]; /* begin after this key */
    size_t after_size;      /* 0: from the first */
};

/* One page: the node answers at most so many keys at a time. */
static int list_page(const struct cli *cli, const struct list_request *q, struct buffer *result)
{
    struct buffer params = {0};
    kv_begin(&params, "list", 1u + (q->limit_text != NULL) + (q->after_size > 0));
    write_text_field(&params, "prefix", q->prefix);
    if (q->limit_text != NULL) {
        write_u64_field(&params, "limit", q->limit);
    }
    if (q->after_size > 0) {
        write_text(&params, "after");
        write_str(&params, bytes_of(q->after, q->after_size));
    }
    end_query(cli, &params, q->level);
    int exit_code = client_request(cli, "query", buffer_bytes(&params), result);
    buffer_close(&params);
    return exit_code;
}

static void go_on_after(struct list_request *q, struct bytes next)
{
    struct reader r = reader_of(next);
    struct bytes key = {0};
    if (!view_is_nil(next)) {
        key = read_str_or_bin(&r, KEY_MAX);
    }
    if (key.size > 0) {
        memcpy(q->after, key.data, key.size);
    }
    q->after_size = key.size;
}

/* Page after page, for people. */
static int list_all(const struct cli *cli, struct list_request *q)
{
    struct table *t = table_new("KEY|>VERSION|VALUE", cli->colour);
    int exit_code;
    bool more;
    do {
        struct buffer result = {0};
        exit_code = list_page(cli, q, &result);
        more = false;
        if (exit_code == EXIT_OK) {
            add_items(cli, t, view_get(buffer_bytes(&result), "items"));
            go_on_after(q, view_get(buffer_bytes(&result), "next"));
            more = q->limit_text == NULL && q->after_size > 0;
        }
        buffer_close(&result);
    } while (more);
    if (exit_code == EXIT_OK && cli->output == OUTPUT_TABLE) {
        table_print(t, stdout);
    }
    table_free(t);
    return exit_code;
}

static int kv_list(struct cli *cli, int argc, char **argv)
{
    const char *after = NULL;
    struct list_request q = {0};
    const struct flag flags[] = {
        {"limit", 0, "N", "at most so many", &q.limit_text, NULL},
        {"after", 0, "KEY", "begin after this key", &after, NULL},
        {"read", 0, "LEVEL", "linearizable (default), lease or local", &q.level, NULL},
    };
    const struct usage usage = {
        .synopsis = "kv list [PREFIX]",
        .about =
            "List keys that begin with PREFIX, in order, with their values. With -o json: one\n"
            "page; where it has a \"next\", the following begins --after that.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_max = 1,
    };
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    if (q.limit_text != NULL && !cli_parse_number(q.limit_text, UINT64_MAX, &q.limit)) {
        return cli_misuse(cli, "--limit is \"%s\"; it must be a whole number", q.limit_text);
    }
    if (after != NULL && strlen(after) > KEY_MAX) {
        return cli_misuse(cli, "--after is longer than a key can be");
    }
    if (after != NULL) {
        q.after_size = strlen(after);
        memcpy(q.after, after, q.after_size);
    }
    q.prefix = count == 1 ? argv[0] : "";
    if (cli->output != OUTPUT_JSON) {
        return list_all(cli, &q);
    }
    struct buffer result = {0};
    exit_code = list_page(cli, &q, &result);
    if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&result);
    return exit_code;
}

/* ---- the verb ------------------------------------------------------------------------------- */

int cmd_kv(struct cli *cli, int argc, char **argv)
{
    static const struct cli_action actions[] = {
        {"get", "kv get", kv_get, "KEY", "print a value"},
        {"put", "kv put", kv_put, "KEY VALUE", "write a value; of one version only, if told so"},
        {"del", "kv del", kv_del, "KEY", "delete a key"},
        {"list", "kv list", kv_list, "[PREFIX]", "keys in order, with their values"},
    };
    const struct usage usage = {
        .synopsis = "kv get|put|del|list ...",
        .about = "Work with the shipped key-value machine.",
        .actions = actions,
        .actions_count = sizeof actions / sizeof actions[0],
        .arguments_min = 1,
        .arguments_max = 64,
    };
    return cli_run_action(cli, argc, argv, &usage);
}
