#include "sim/swarm_knobs.h"

const char *swarm_knob_text(unsigned knob)
{
    static const char *const texts[] = {
#define X(name, text) [SWARM_##name] = (text),
        SWARM_KNOB_TABLE(X)
#undef X
    };
    return knob < SWARM_OWN_KNOBS ? texts[knob] : fault_text((enum fault)(knob - SWARM_FAULTS));
}
