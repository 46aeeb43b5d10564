#include "scenario/target.h"

#include <stdlib.h>

const char *const target_rules[] = {
    "election_safety",      "log_matching", "leader_completeness",
    "state_machine_safety", "durability",   NULL,
};

void target_options_close(struct target_options *o)
{
    for (uint32_t i = 0; i < o->scripts_count; i++) {
        free(o->scripts[i].name);
        free(o->scripts[i].path);
        buffer_close(&o->scripts[i].config);
        free(o->scripts[i].lua_path);
    }
    for (uint32_t i = 0; i < TARGET_NODES_MAX; i++) {
        free(o->logs[i].terms);
    }
    *o = (struct target_options){0};
}

void target_options_free(struct target_options *o)
{
    if (o != NULL) {
        target_options_close(o);
        free(o);
    }
}
