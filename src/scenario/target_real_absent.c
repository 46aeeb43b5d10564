/* Goes away with target_real.c. */
#include "scenario/target.h"

enum err stage_real_new(const struct stage_real_options *options, struct stage **out,
                        struct why *why)
{
    (void)options;
    (void)out;
    return err_why(why, ERR_INVALID, "this build has no tests on real processes");
}
