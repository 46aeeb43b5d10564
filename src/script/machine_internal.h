/* struct machines, for the machine*.c files. */
#ifndef MK_SCRIPT_MACHINE_INTERNAL_H
#define MK_SCRIPT_MACHINE_INTERNAL_H

#include <lua.h>

#include "base/log.h"
#include "script/machine.h"
#include "script/machine_memory.h"
#include "script/machine_run.h"
#include "script/st.h"
#include "state/state.h"

/* An installed machine. The refs are into the registry. */
struct machine {
    struct machine_info info;
    struct st *st;
    int apply_ref; /* tables: name -> function; LUA_NOREF: none */
    int query_ref;
    int init_ref; /* functions, or LUA_NOREF */
    int migrate_ref;
    int wake_ref;
};

struct machines {
    lua_State *L;
    struct state *state;
    const struct log *log;
    struct machine_run run;
    struct machine_memory memory;
    bool memory_refused; /* the last attempt; one more is a failure for good */
    uint64_t instructions_max;
    int environment_ref;
    int meta_ref;
    struct machine **list; /* by name */
    size_t count;
};

/* A call into Lua: all that allocates there happens in body, which raises errors freely.
 * Errors: what body returned, or from the error it raised (machine.h); result (may be NULL) then
 * holds the error value if it was a table. IO: the node has failed. */
struct machine_call {
    enum err (*body)(lua_State *L, void *ctx);
    void *ctx;
    uint64_t instructions_max; /* 0: as for a command, and never more than that */
    struct buffer *result;
    struct why *why;
};
enum err machine_call(struct machines *m, const struct machine_call *call);

/* NULL if there is none. */
struct machine *machine_find(const struct machines *m, struct bytes name);

/* A fresh lua_State without machines. state may be NULL if nothing is installed. */
struct machines *machine_host_new(const struct machines_options *options, struct why *why);

/* Compile source, run it and freeze what it returns. *out is the caller's, st aside (NULL).
 * Errors: INVALID, TOO_LARGE; IO. */
enum err machine_load(struct machines *m, struct bytes source, struct machine **out,
                      struct why *why);
/* Free a machine that is not (any more) in the list. Accepts NULL. */
void machine_unload(struct machines *m, struct machine *machine);

/* Append the key of the machine's source, or the prefix of what it keeps. */
void machine_source_key(struct buffer *out, const char *name);
void machine_data_prefix(struct buffer *out, const char *name);

#endif
