/* Would the applications of a configuration take what it sets for them? Nothing of theirs is done:
 * script_check_app(). */
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

#endif
