/* t.cluster{...}: what a test says of the cluster that it wants. */
#ifndef MK_SCENARIO_OPTIONS_H
#define MK_SCENARIO_OPTIONS_H

#include "scenario/target.h"

/* From a MessagePack map; what is not there has its default (tests/README.md). seed: of the test.
 * Close *out whatever the answer was.
 * Errors: INVALID, with a sentence that names the option. */
enum err options_read(struct bytes map, uint64_t seed, struct target_options *out, struct why *why);
/* Only scripts and config, of c:reload(). Close *out whatever the answer was. Errors: as above. */
enum err options_read_scripts(struct bytes map, struct target_options *out, struct why *why);

#endif
