/* Would a node take these scripts, and the scripts what a configuration sets for them? Nothing of
 * theirs is done: script_check_app(). */
#ifndef MK_CLI_CHECK_APPS_H
#define MK_CLI_CHECK_APPS_H

#include "base/bytes.h"
#include "cli/cli.h"
#include "node/config.h"

/* Says everything that is wrong. path: the configuration's. notes takes a line for each application
 * whose settings could not be looked at, and why. Returns the exit code: EXIT_USAGE for settings,
 * EXIT_ERROR for scripts. */
int check_apps(const struct cli *cli, const char *path, const struct config *config,
               struct buffer *notes);

/* The same for the configuration in this file, which is looked at first; its data_dir is not: it
 * may be missing. */
int check_config(const struct cli *cli, const char *path, struct buffer *notes);

/* A script by itself, without settings. What it raises for want of them is no error: notes takes
 * it. Errors: as script_check(); INVALID, it raised another one. */
enum err check_script(const char *path, struct buffer *notes, struct why *why);

#endif
