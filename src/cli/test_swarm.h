/* `moonkeeper test --swarm`: what people see of it. */
#ifndef MK_CLI_TEST_SWARM_H
#define MK_CLI_TEST_SWARM_H

#include <stdbool.h>

#include "cli/cli.h"
#include "scenario/swarm_suite.h"

enum { TEST_SWARM_SEEDS = 500, TEST_SWARM_FAILS_MAX = 10 };

/* options: done, ctx and fails_max are filled in. knobs: print what the runs were made of. */
int test_swarm(struct cli *cli, const struct swarm_suite_options *options, bool knobs);

#endif
