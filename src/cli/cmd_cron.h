/* What the parts of `moonkeeper cron` share. */
#ifndef MK_CLI_CMD_CRON_H
#define MK_CLI_CMD_CRON_H

#include "cli/cli.h"

#define CRON_PREFIX_FLAG(value)                                                                 \
    {                                                                                           \
        "prefix", 0, "PREFIX", "of its keys, if the script was set another (cron)", value, NULL \
    }

int cron_simulate(struct cli *cli, int argc, char **argv);

#endif
