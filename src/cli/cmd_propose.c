/* moonkeeper propose, moonkeeper query: commands and questions for state machines. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/client.h"
#include "script/json.h"
#include "wire/writer.h"

/* [machine, name, args: the optional third argument is JSON. */
static int begin_params(const struct cli *cli, int count, char **argv, struct buffer *params)
{
    struct why why = {""};
    struct buffer text = {0};
    write_array(params, 4);
    write_text(params, argv[0]);
    write_text(params, argv[1]);
    if (count < 3) {
        write_nil(params);
        return EXIT_OK;
    }
    int exit_code = cli_argument(cli, argv[2], &text);
    if (exit_code == EXIT_OK && json_to_msgpack(buffer_bytes(&text), params, &why) != ERR_OK) {
        exit_code = cli_misuse(cli, "ARGS: %s; for example '{\"key\":\"a\"}'", why.text);
    }
    buffer_close(&text);
    return exit_code;
}

static int ask_and_print(const struct cli *cli, const char *method, struct bytes params)
{
    struct buffer result = {0};
    int exit_code = client_request(cli, method, params, &result);
    if (exit_code == EXIT_OK) {
        exit_code = client_print(cli, buffer_bytes(&result));
    }
    buffer_close(&result);
    return exit_code;
}

int cmd_propose(struct cli *cli, int argc, char **argv)
{
    const char *fence = NULL, *id = NULL;
    bool no_forward = false;
    const struct flag flags[] = {
        {"fence", 0, "TOKEN", "refuse it if a newer fencing token exists", &fence, NULL},
        {"id", 0, "KEY",
         "a key of yours: the same one takes effect once within an hour, "
         "and among the newest 100,000 keys",
         &id, NULL},
        {"no-forward", 0, NULL, "fail if the node that is asked does not lead", NULL, &no_forward},
    };
    const struct usage usage = {
        .synopsis = "propose MACHINE COMMAND [ARGS]",
        .about = "Have a state machine carry out a command, on all nodes, once a majority has it.\n"
                 "ARGS is JSON; what stdin has if it is -. Prints what the command returned.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 2,
        .arguments_max = 3,
    };
    struct buffer params = {0};
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    uint64_t token = 0;
    if (fence != NULL && !cli_parse_number(fence, UINT64_MAX, &token)) {
        return cli_misuse(cli, "--fence is \"%s\"; it must be a fencing token, a whole number",
                          fence);
    }
    exit_code = begin_params(cli, count, argv, &params);
    if (exit_code == EXIT_OK) {
        client_write_options(cli, 1u + (fence != NULL) + (id != NULL), &params);
        write_text(&params, "forward");
        write_bool(&params, !no_forward);
        if (fence != NULL) {
            write_text(&params, "fence");
            write_u64(&params, token);
        }
        if (id != NULL) {
            write_text(&params, "id");
            write_text(&params, id);
        }
        exit_code = ask_and_print(cli, "propose", buffer_bytes(&params));
    }
    buffer_close(&params);
    return exit_code;
}

int cmd_query(struct cli *cli, int argc, char **argv)
{
    const char *level = NULL;
    const struct flag flags[] = {
        {"read", 0, "LEVEL", "linearizable (default), lease or local", &level, NULL},
    };
    const struct usage usage = {
        .synopsis = "query MACHINE NAME [ARGS]",
        .about = "Ask a state machine. ARGS is JSON; what stdin has if it is -. Prints the answer.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 2,
        .arguments_max = 3,
    };
    struct buffer params = {0};
    int exit_code;
    int count = cli_parse(cli, argc, argv, &usage, &exit_code);
    if (count < 0) {
        return exit_code;
    }
    exit_code = begin_params(cli, count, argv, &params);
    if (exit_code == EXIT_OK) {
        client_write_options(cli, level != NULL, &params);
        if (level != NULL) {
            write_text(&params, "read");
            write_text(&params, level);
        }
        exit_code = ask_and_print(cli, "query", buffer_bytes(&params));
    }
    buffer_close(&params);
    return exit_code;
}
