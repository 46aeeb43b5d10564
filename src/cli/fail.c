/* Saying what went wrong: what failed, why, and what to try. */
#include <stdarg.h>
#include <stdio.h>

#include "cli/cli.h"
#include "script/json.h"

int cli_exit_code(enum err e)
{
    switch (e) {
    case ERR_OK:
        return EXIT_OK;
    case ERR_NOT_LEADER:
        return EXIT_NO_LEADER;
    case ERR_UNREACHABLE:
        return EXIT_UNREACHABLE;
    case ERR_TIMEOUT:
    case ERR_OUTCOME_UNKNOWN:
        return EXIT_OUTCOME_UNKNOWN;
    case ERR_CONFLICT:
    case ERR_FENCED:
        return EXIT_CONFLICT;
    default:
        return EXIT_ERROR;
    }
}

static void print_json(enum err e, const char *why, const char *try_this)
{
    struct buffer text = {0};
    buffer_add_format(&text, "{\"error\":{\"code\":\"%s\",\"message\":", err_name(e));
    json_add_text(&text, bytes_of_string(why));
    if (try_this != NULL) {
        buffer_add_format(&text, ",\"try\":");
        json_add_text(&text, bytes_of_string(try_this));
    }
    buffer_add_format(&text, "}}\n");
    fputs(buffer_text(&text), stderr);
    buffer_close(&text);
}

int cli_fail(const struct cli *cli, enum err e, const char *why, const char *try_this)
{
    if (why == NULL || *why == 0) {
        why = err_message(e);
    }
    if (cli->output == OUTPUT_JSON) {
        print_json(e, why, try_this);
        return cli_exit_code(e);
    }
    fflush(stdout);
    const char *red = cli->colour_err ? "\033[31m" : "", *off = cli->colour_err ? "\033[0m" : "";
    fprintf(stderr, "%smoonkeeper %s:%s %s\n", red, cli->verb, off, why);
    if (try_this != NULL) {
        fprintf(stderr, "  try: %s\n", try_this);
    }
    return cli_exit_code(e);
}

int cli_misuse(const struct cli *cli, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cli_fail(cli, ERR_INVALID, text, NULL);
    return EXIT_USAGE;
}
