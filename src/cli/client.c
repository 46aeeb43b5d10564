#include "cli/client.h"

#include <stdio.h>
#include <string.h>

#include "cli/steady.h"
#include "cli/view.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "script/json.h"
#include "wire/writer.h"

enum {
    DEFAULT_PORT = 7117,
    CONNECT_MAX_US = 2000000,
    ANSWER_GRACE_US = 500000, /* the node answers when its time is over; let that arrive */
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

enum err client_ask(const char *address, const char *method, struct bytes params,
                    uint64_t timeout_us, struct buffer *out, struct why *why)
{
    struct address parsed;
    struct rpc_client *client = NULL;
    struct rpc_outcome outcome = {0};
    enum err e = address_parse(address, DEFAULT_PORT, &parsed, why);
    if (e != ERR_OK) {
        return e;
    }
    e = rpc_client_open(&parsed, min_u64(timeout_us, CONNECT_MAX_US), &client, why);
    if (e != ERR_OK) {
        return ERR_UNREACHABLE;
    }
    e = rpc_client_call(client, method, params, timeout_us + ANSWER_GRACE_US, &outcome, why);
    if (e == ERR_OK) {
        buffer_add_bytes(out, outcome.result);
    } else if (outcome.error.message.size > 0) {
        err_why(why, e, "%.*s", (int)outcome.error.message.size,
                (const char *)outcome.error.message.data);
    }
    rpc_client_close(client);
    return e;
}

/* ---- endpoints in turn ---------------------------------------------------------------------- */

static const char *advice(enum err e, const char *method)
{
    bool changes = strcmp(method, "propose") == 0;
    switch (e) {
    case ERR_NOT_LEADER:
        return "moonkeeper status; a leader needs more than half of the nodes to be up and to "
               "reach each other";
    case ERR_TIMEOUT:
    case ERR_OUTCOME_UNKNOWN:
        return changes ? "reading the value back before doing it again: the command may have "
                         "taken effect"
                       : "moonkeeper status, and whether that is the client address of a node";
    case ERR_UNREACHABLE:
        return "another node with --endpoints HOST:PORT, or start one: moonkeeper dev";
    case ERR_NO_SPACE:
        return "moonkeeper status, for whose disk is full: make room there, or ask another node "
               "with --endpoints HOST:PORT";
    default:
        return NULL;
    }
}

/* Takes the next of "a:1,b:2" off *rest. False: there is none. */
static bool next_endpoint(const char **rest, char address[ADDRESS_TEXT_MAX])
{
    size_t size = strcspn(*rest, ",");
    snprintf(address, ADDRESS_TEXT_MAX, "%.*s", (int)size, *rest);
    *rest += size + ((*rest)[size] == ',');
    return size > 0;
}

int client_check_endpoints(const struct cli *cli)
{
    const char *rest = cli->endpoints != NULL ? cli->endpoints : CLIENT_DEFAULT_ENDPOINT;
    do {
        char address[ADDRESS_TEXT_MAX];
        struct address parsed;
        struct why why = {""};
        if (!next_endpoint(&rest, address)) {
            return cli_misuse(cli,
                              "--endpoints is \"%s\"; it must be HOST:PORT, or several separated "
                              "by commas",
                              cli->endpoints);
        }
        if (address_parse(address, DEFAULT_PORT, &parsed, &why) != ERR_OK) {
            return cli_misuse(cli, "--endpoints: %s", why.text);
        }
    } while (*rest != 0);
    return EXIT_OK;
}

static bool changes_nothing(const char *method)
{
    return strcmp(method, "query") == 0 || strcmp(method, "status") == 0 ||
           strcmp(method, "members") == 0;
}

/* Nothing was done yet, or there is nothing to be done: one that died before it answered is asked
 * in vain, no more. One that knows of no leader (it has just started, or is cut off), or whose disk
 * is full, may not be alone in that; to find out may take no longer than one answer. A snapshot is
 * asked of one node, not of any. */
static bool may_ask_next(enum err e, const char *method, uint64_t give_up_us)
{
    bool others_may_do = e == ERR_NOT_LEADER || e == ERR_NO_SPACE;
    bool is_gone = e == ERR_UNREACHABLE || (e == ERR_OUTCOME_UNKNOWN && changes_nothing(method));
    return is_gone ||
           (others_may_do && strcmp(method, "snapshot") != 0 && steady_now_us() < give_up_us);
}

enum err client_try(const struct cli *cli, const char *method, struct bytes params,
                    struct buffer *out, struct why *why)
{
    const char *rest = cli->endpoints != NULL ? cli->endpoints : CLIENT_DEFAULT_ENDPOINT;
    struct why last_why = {""};
    enum err e = ERR_UNREACHABLE, last = ERR_UNREACHABLE;
    unsigned tried = 0;
    char address[ADDRESS_TEXT_MAX];
    uint64_t give_up_us = steady_now_us() + cli->timeout_ms * 1000;
    while (may_ask_next(last, method, give_up_us) && *rest != 0 && next_endpoint(&rest, address)) {
        last = client_ask(address, method, params, cli->timeout_ms * 1000, out, &last_why);
        if (tried++ == 0 || last != ERR_UNREACHABLE) {
            e = last;
            *why = last_why;
        }
    }
    return e;
}

int client_failed(const struct cli *cli, const char *method, enum err e, const struct why *why)
{
    return e == ERR_OK ? EXIT_OK : cli_fail(cli, e, why->text, advice(e, method));
}

int client_request(const struct cli *cli, const char *method, struct bytes params,
                   struct buffer *out)
{
    struct why why = {""};
    int exit_code = client_check_endpoints(cli);
    if (exit_code != EXIT_OK) {
        return exit_code;
    }
    return client_failed(cli, method, client_try(cli, method, params, out, &why), &why);
}

void client_write_options(const struct cli *cli, uint32_t more, struct buffer *params)
{
    write_map(params, 1 + more);
    write_text(params, "timeout_ms");
    write_u64(params, cli->timeout_ms);
}

int client_print(const struct cli *cli, struct bytes value)
{
    struct reader r = reader_of(value);
    enum wire_type type = reader_peek(&r);
    if (cli->output != OUTPUT_JSON && (type == WIRE_STR || type == WIRE_BIN)) {
        struct bytes text = read_str_or_bin(&r, value.size);
        fwrite(text.data, 1, text.size, stdout);
        fputc('\n', stdout);
        return EXIT_OK;
    }
    if (cli->output == OUTPUT_SIMPLE && view_is_nil(value)) {
        return EXIT_OK;
    }
    struct buffer text = {0};
    static const uint8_t nil = 0xc0;
    const struct json_style style = {.indent = cli->output != OUTPUT_SIMPLE ? 2 : 0,
                                     .lenient = true};
    enum err e = json_from_msgpack(value.size > 0 ? value : bytes_of(&nil, 1), &style, &text, NULL);
    if (e == ERR_OK) {
        puts(buffer_text(&text));
    }
    buffer_close(&text);
    return e == ERR_OK ? EXIT_OK : cli_fail(cli, e, "the node's answer cannot be read", NULL);
}
