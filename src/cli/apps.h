/* The applications of a node, in its status. */
#ifndef MK_CLI_APPS_H
#define MK_CLI_APPS_H

#include "base/bytes.h"
#include "cli/cli.h"

/* A line on stdout for each application of this status whose main chunk did not come to its end. */
void apps_print_failed(const struct cli *cli, struct bytes status);

#endif
