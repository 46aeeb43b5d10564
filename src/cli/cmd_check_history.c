/* moonkeeper check-history: is what clients saw linearizable? */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/read_file.h"
#include "script/json.h"
#include "sim/history_file.h"
#include "sim/linearizability.h"

enum { FILE_MAX_BYTES = 256 << 20 };

static enum err load(const char *path, struct history **history, enum history_format *format,
                     struct why *why)
{
    struct buffer text = {0};
    struct why reason = {0};
    enum err e = read_file(path, FILE_MAX_BYTES, &text, why);
    if (e == ERR_OK) {
        e = history_parse(buffer_bytes(&text), history, format, &reason);
        if (e != ERR_OK) {
            err_why(why, e, "%s: %s", path, reason.text);
        }
    }
    buffer_close(&text);
    return e;
}

static const char *const answers[] = {
    [LIN_LEGAL] = "legal", [LIN_ILLEGAL] = "illegal", [LIN_GAVE_UP] = "gave up"};

static void print_json(const struct history *history, const struct lin_model *model,
                       struct lin_verdict *v)
{
    struct buffer out = {0};
    uint32_t operations_count, events_count;
    history_operations(history, &operations_count);
    const struct history_event *events = history_events(history, &events_count);
    buffer_add_format(
        &out, "{\"verdict\":\"%s\",\"model\":\"%s\",\"operations\":%u,\"events\":%u,\"steps\":%llu",
        answers[v->answer], lin_model_name(model), operations_count, events_count,
        (unsigned long long)v->steps);
    if (v->answer == LIN_ILLEGAL) {
        buffer_add_format(&out, ",\"prefix_events\":%u,\"line\":%llu,\"shortest\":%s", v->events,
                          (unsigned long long)events[v->events - 1].place,
                          v->is_shortest ? "true" : "false");
    }
    if (v->words.size > 0) {
        buffer_add_format(&out, ",\"explanation\":");
        json_add_text(&out, buffer_bytes(&v->words));
    }
    printf("%s}\n", buffer_text(&out));
    buffer_close(&out);
}

static void print(const struct cli *cli, const struct history *history,
                  const struct lin_model *model, struct lin_verdict *v)
{
    if (cli->output == OUTPUT_JSON) {
        print_json(history, model, v);
    } else if (cli->output == OUTPUT_SIMPLE) {
        puts(answers[v->answer]);
    } else {
        const char *colour = v->answer == LIN_LEGAL ? "\033[32m" : "\033[31m";
        printf("%s%s%s\n%s", cli->colour ? colour : "", answers[v->answer],
               cli->colour ? "\033[0m" : "", buffer_text(&v->words));
    }
}

/* A file that is no history of the model is a mistake in the call: 1 is for an illegal history. */
static int fail(const struct cli *cli, enum err e, const char *why)
{
    cli_fail(cli, e, why, NULL);
    return EXIT_USAGE;
}

static int check(const struct cli *cli, const struct history *history,
                 const struct lin_model *model, const char *path)
{
    static const int exit_codes[] = {
        [LIN_LEGAL] = EXIT_OK, [LIN_ILLEGAL] = EXIT_ERROR, [LIN_GAVE_UP] = EXIT_OUTCOME_UNKNOWN};
    struct lin_verdict verdict;
    enum err e = linearizable_check(history, model, NULL, &verdict);
    int exit_code;
    if (e != ERR_OK) {
        struct why why;
        err_why(&why, e, "%s: %s", path, buffer_text(&verdict.words));
        exit_code = fail(cli, e, why.text);
    } else {
        print(cli, history, model, &verdict);
        exit_code = exit_codes[verdict.answer];
    }
    lin_verdict_close(&verdict);
    return exit_code;
}

int cmd_check_history(struct cli *cli, int argc, char **argv)
{
    const char *model_name = NULL;
    const struct flag flags[] = {
        {"model", 'm', "MODEL", "register or kv; guessed from the format when not given",
         &model_name, NULL},
    };
    const struct usage usage = {
        .synopsis = "check-history FILE [--model register|kv]",
        .about = "Say whether the history of a register or of a key-value store, as its clients\n"
                 "saw it, is linearizable: whether the operations can be put in one order that\n"
                 "explains every answer and respects who was done before whom. If not, say what\n"
                 "the first answer is that nothing explains.\n\n"
                 "FILE (- for standard input) is in one of two formats, one event a line:\n"
                 "  INFO  jepsen.util - 3 :invoke :cas [1 4]\n"
                 "  {:process 3, :type :invoke, :f :append, :key \"a\", :value \"x\"}\n"
                 "Failed operations (:fail) did not happen; others (:info) may have, at any later\n"
                 "time.\n\n"
                 "Exit code: 0 legal, 1 illegal, 2 no history, 5 gave up: too much to try.",
        .flags = flags,
        .flags_count = sizeof flags / sizeof flags[0],
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    const struct lin_model *model = model_name == NULL ? NULL : lin_model_of(model_name);
    if (model_name != NULL && model == NULL) {
        return cli_misuse(cli, "--model is \"%s\"; it must be register or kv", model_name);
    }
    struct history *history;
    enum history_format format;
    struct why why = {0};
    enum err e = load(argv[0], &history, &format, &why);
    if (e != ERR_OK) {
        return fail(cli, e, why.text);
    }
    if (model == NULL) {
        model = format == HISTORY_JEPSEN_LOG ? &lin_register : &lin_kv;
    }
    exit_code = check(cli, history, model, argv[0]);
    history_free(history);
    return exit_code;
}
