/* What all verbs of the command line share: settings, exit codes, how they fail. */
#ifndef MK_CLI_CLI_H
#define MK_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* Part of the interface: scripts depend on them. */
enum exit_code {
    EXIT_OK = 0,
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_NO_LEADER = 3,
    EXIT_UNREACHABLE = 4,
    EXIT_OUTCOME_UNKNOWN = 5,
    EXIT_CONFLICT = 6, /* or fenced */
    EXIT_LOST = 7,     /* the lock or the leadership */
    EXIT_STORAGE = 8,  /* start: the disk failed */
};

enum output { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_SIMPLE };

/* Flags that every verb takes, after the environment was asked. */
struct cli {
    const char *program;   /* argv[0], for those that start it again */
    const char *verb;      /* "kv get", for messages */
    const char *endpoints; /* "host:port,host:port"; NULL: the default */
    enum output output;
    uint64_t timeout_ms;
    const char *log_level;  /* NULL: not stated */
    const char *log_format; /* NULL: not stated */
    bool colour;            /* on stdout */
    bool colour_err;        /* on stderr */
};

/* ---- flags ---------------------------------------------------------------------------------- */

/* One flag: --name VALUE, or --name when value_name is NULL. Without help it is hidden: named by
 * nothing, and not read from the environment. */
struct flag {
    const char *name;
    char letter; /* 0: none */
    const char *value_name;
    const char *help;
    const char **value; /* where the value goes */
    bool *present;      /* where it is noted that the flag is there; may be NULL */
};

/* A word that says what a verb is to do: kv put. */
struct cli_action {
    const char *name;
    const char *full; /* "kv put", for messages */
    int (*run)(struct cli *cli, int argc, char **argv);
    const char *arguments; /* "KEY VALUE" */
    const char *summary;
};

struct usage {
    const char *synopsis; /* "put KEY VALUE" */
    const char *about;    /* a few lines; help.h says what becomes of them */
    const struct flag *flags;
    size_t flags_count;
    const struct cli_action *actions;
    size_t actions_count;
    int arguments_min, arguments_max;
    int before_min; /* so many of them before a "--" */
};

/* Takes the flags out of argv (argv[0] is the verb) and leaves the arguments as argv[0..], NULL
 * after them; flags may stand anywhere before "--". Returns the number of arguments, or -1 when the
 * program is to end with *exit_code: after --help, or a mistake that was reported. */
int cli_parse(struct cli *cli, int argc, char **argv, const struct usage *usage, int *exit_code);

/* "500ms", "2s", "1m", "1500" (ms). False if it is none of these. */
bool cli_parse_duration(const char *text, uint64_t *out_ms);

/* A whole number, in decimal digits and nothing else, of at most max. *out stays if it is none. */
bool cli_parse_number(const char *text, uint64_t max, uint64_t *out);

/* MOONKEEPER_<KEY>, or NULL. An empty one counts as none. key: "data_dir". */
const char *cli_environment(const char *key);

/* The text of an argument that is "-" for what stdin has: whole, as it is. Errors: IO, reported. */
int cli_argument(const struct cli *cli, const char *argument, struct buffer *out);

/* Moves the first word that is no flag to argv[1], so that `-o json kv get a` is `kv -o json get
 * a`. Returns it; NULL: there is none, or before it a flag that not all verbs have. */
const char *cli_word_first(int argc, char **argv);

/* Runs the action of usage that argv names; its help is that of the verb alone. An unknown one is a
 * mistake, and the nearest is named. */
int cli_run_action(struct cli *cli, int argc, char **argv, const struct usage *usage);

/* ---- failing -------------------------------------------------------------------------------- */

/* The exit code that stands for an error. */
int cli_exit_code(enum err e);
/* Report on stderr what failed and why, and what to try (may be NULL). Returns the exit code. */
int cli_fail(const struct cli *cli, enum err e, const char *why, const char *try_this);
/* The same for a mistake in how the program was called: EXIT_USAGE. */
int cli_misuse(const struct cli *cli, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* There is no verb `word`; the nearest is named. Returns EXIT_USAGE. */
int cli_unknown_verb(struct cli *cli, const char *word);

/* ---- verbs ---------------------------------------------------------------------------------- */

typedef int cli_verb_fn(struct cli *cli, int argc, char **argv);

cli_verb_fn cmd_start, cmd_dev, cmd_demo, cmd_status, cmd_kv, cmd_propose, cmd_query;
cli_verb_fn cmd_lock, cmd_lead, cmd_tasks;
cli_verb_fn cmd_members, cmd_transfer, cmd_snapshot, cmd_machines, cmd_cron, cmd_hooks, cmd_reload,
    cmd_log;
cli_verb_fn cmd_bench, cmd_lint, cmd_test, cmd_check_history, cmd_completion, cmd_version, cmd_help;

struct cli_verb {
    const char *name;
    const char *synopsis;
    const char *summary;
    cli_verb_fn *run;
};
extern const struct cli_verb cli_verbs[];
extern const size_t cli_verbs_count;

#endif
