/* The command that is being run: what it may still do, and what it can see of its entry. The
 * lua_State of the machines points to one (lua_getextraspace). */
#ifndef MK_SCRIPT_MACHINE_RUN_H
#define MK_SCRIPT_MACHINE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "base/rng.h"
#include "script/machine.h"
#include "script/meter.h"
#include "script/st.h"

enum { MACHINE_STRING_BYTES_MAX = 8 * 1024 * 1024 };

struct machine_run {
    struct meter meter;
    /* This node refused memory for good: whatever the command made of it, the node has failed. */
    bool out_of_memory;
    struct machine_at at;
    uint64_t fence;
    struct rng random; /* seeded from at on first use */
    bool random_is_seeded;
};

static inline struct machine_run *machine_run_of(lua_State *L)
{
    return *(struct machine_run **)lua_getextraspace(L);
}

/* Pay for work that counts no instructions. Raises when nothing is left. [-0, +0, e] */
static inline void machine_spend(lua_State *L, uint64_t units)
{
    if (!meter_spend(&machine_run_of(L)->meter, units)) {
        st_raise_exhausted(L);
    }
}

/* For bytes that are looked at or copied. */
static inline void machine_spend_bytes(lua_State *L, size_t size_bytes)
{
    machine_spend(L, 1 + size_bytes / 16);
}

#endif
