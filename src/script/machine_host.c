/* The lua_State of the machines: memory, the instruction limit, protected calls and what their
 * errors mean. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/machine_bytecode.h"
#include "script/machine_internal.h"
#include "script/machine_sandbox.h"
#include "script/value.h"

enum {
    /* The hook counts in steps: what is left of one when a command ends is not charged. */
    INSTRUCTIONS_PER_STEP = 1000,
    /* Strings from this size on are never shared, so making one always asks for memory. */
    COUNTED_STRING_BYTES = 128,
    STRING_BYTES_PER_UNIT = 16,
    ERROR_VALUE_BYTES_MAX = 64 * 1024,
    MEMORY_BYTES_MAX_DEFAULT = 256 * 1024 * 1024,
};

/* ---- memory -------------------------------------------------------------------------------- */

/* The allocator. Two refusals: when the command has made more long strings than its limit allows
 * (the same on every node: part of the instruction limit), and when this node's cap is reached. Lua
 * answers the first refusal with a full collection and asks again. */
static void *allocate(void *ctx, void *old, size_t old_size, size_t new_size)
{
    struct machines *m = ctx;
    bool string = old == NULL && old_size == LUA_TSTRING && new_size >= COUNTED_STRING_BYTES;
    uint64_t units = string ? new_size / STRING_BYTES_PER_UNIT : 0;
    if (units > m->run.meter.left) {
        m->run.meter.exhausted = true;
        return NULL;
    }
    void *block = machine_memory_resize(&m->memory, old, old_size, new_size);
    if (new_size == 0) {
        return NULL;
    }
    bool grows = old == NULL || new_size > old_size;
    if (block != NULL) {
        m->memory_refused = m->memory_refused && !grows;
        meter_spend(&m->run.meter, units); /* only now: a refused attempt is asked again */
    } else {
        m->run.out_of_memory = m->run.out_of_memory || m->memory_refused;
        m->memory_refused = true;
    }
    return block;
}

static void count_instructions(lua_State *L, lua_Debug *info)
{
    (void)info;
    machine_spend(L, INSTRUCTIONS_PER_STEP);
}

/* ---- protected calls ----------------------------------------------------------------------- */

struct entered {
    const struct machine_call *call;
    enum err outcome;
};

static int enter(lua_State *L)
{
    struct entered *entered = lua_touserdata(L, 1);
    lua_settop(L, 0);
    entered->outcome = entered->call->body(L, entered->call->ctx);
    return 0;
}

/* Codes that error{code=...} may ask for. Those of the node's own doing are not among them. */
static enum err code_of(const char *name)
{
    static const enum err allowed[] = {ERR_CONFLICT, ERR_FENCED,    ERR_NOT_FOUND,
                                       ERR_REJECTED, ERR_TOO_LARGE, ERR_BUSY,
                                       ERR_INVALID,  ERR_EXISTS,    ERR_EXPIRED};
    enum err code = err_from_name(name);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
        if (allowed[i] == code) {
            return code;
        }
    }
    return ERR_REJECTED;
}

/* What the error at index 1 means. */
static enum err read_error(lua_State *L, void *ctx)
{
    const struct machine_call *call = ctx;
    struct why *why = call->why;
    enum err code = ERR_REJECTED;
    if (lua_type(L, 1) == LUA_TSTRING || lua_type(L, 1) == LUA_TNUMBER) {
        return err_why(why, code, "%s", lua_tostring(L, 1));
    }
    if (lua_type(L, 1) != LUA_TTABLE) {
        return err_why(why, code, "error with a %s value", luaL_typename(L, 1));
    }
    lua_pushliteral(L, "code");
    if (lua_rawget(L, 1) == LUA_TSTRING) {
        code = code_of(lua_tostring(L, -1));
    }
    lua_pushliteral(L, "message");
    bool has_message = lua_rawget(L, 1) == LUA_TSTRING;
    err_why(why, code, "%s", has_message ? lua_tostring(L, -1) : err_message(code));
    size_t start = call->result != NULL ? call->result->size : 0;
    if (call->result != NULL &&
        value_encode(L, 1, ERROR_VALUE_BYTES_MAX, call->result, NULL) != ERR_OK) {
        call->result->size = start; /* an error value that is no data is just not shown */
    }
    return code;
}

static int enter_read_error(lua_State *L)
{
    struct entered *entered = lua_touserdata(L, 2);
    lua_settop(L, 1);
    entered->outcome = read_error(L, (void *)entered->call);
    return 0;
}

static enum err finish(struct machines *m, struct entered *entered, int status)
{
    lua_State *L = m->L;
    struct why *why = entered->call->why;
    enum err e = entered->outcome;
    if (m->run.meter.exhausted && !m->run.out_of_memory) {
        e = err_why(why, ERR_REJECTED, "the command ran over its instruction limit");
    } else if (status == LUA_ERRMEM) {
        m->run.out_of_memory = true;
    } else if (status != LUA_OK) {
        /* Reading the error can take memory too. Both pushes fit in what a C function has. */
        lua_pushcfunction(L, enter_read_error);
        lua_insert(L, -2);
        lua_pushlightuserdata(L, entered);
        lua_sethook(L, NULL, 0, 0);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
            m->run.out_of_memory = true;
        }
        e = entered->outcome;
    }
    if (m->run.out_of_memory) {
        e = err_why(why, ERR_IO, "the state machines need more than %zu bytes of memory here",
                    m->memory.limit_bytes);
    }
    lua_settop(L, 0);
    return e;
}

enum err machine_call(struct machines *m, const struct machine_call *call)
{
    lua_State *L = m->L;
    ASSERT(lua_gettop(L) == 0);
    struct entered entered = {.call = call, .outcome = ERR_OK};
    bool has_own_limit =
        call->instructions_max != 0 && call->instructions_max < m->instructions_max;
    meter_fill(&m->run.meter, has_own_limit ? call->instructions_max : m->instructions_max);
    m->run.out_of_memory = false;
    m->run.random_is_seeded = false;
    m->memory_refused = false;
    lua_sethook(L, count_instructions, LUA_MASKCOUNT, INSTRUCTIONS_PER_STEP);
    lua_pushcfunction(L, enter);
    lua_pushlightuserdata(L, &entered);
    int status = lua_pcall(L, 1, 0, 0);
    return finish(m, &entered, status);
}

/* ---- life ---------------------------------------------------------------------------------- */

static enum err open_state(lua_State *L, void *ctx)
{
    struct machines *m = ctx;
    if (!machine_bytecode_is_known(L)) {
        return ERR_VERSION;
    }
    machine_sandbox_open(L);
    m->environment_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    /* What lives on is small, what a command drops is not: wait longer between collections. */
    lua_gc(L, LUA_GCINC, 400, 0, 0);
    machine_meta_push(L);
    m->meta_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return ERR_OK;
}

struct machines *machine_host_new(const struct machines_options *options, struct why *why)
{
    struct machines *m = NEW(struct machines);
    m->state = options->state;
    m->log = options->log;
    m->instructions_max = options->instructions_max != 0 ? options->instructions_max
                                                         : MACHINES_INSTRUCTIONS_MAX_DEFAULT;
    m->memory.limit_bytes =
        options->memory_bytes_max != 0 ? options->memory_bytes_max : MEMORY_BYTES_MAX_DEFAULT;
    m->L = lua_newstate(allocate, m);
    if (m->L == NULL) {
        err_why(why, ERR_IO, "no Lua state can be made in %zu bytes", m->memory.limit_bytes);
        machines_free(m);
        return NULL;
    }
    *(struct machine_run **)lua_getextraspace(m->L) = &m->run;
    struct machine_call call = {.body = open_state, .ctx = m, .why = why};
    enum err e = machine_call(m, &call);
    if (e == ERR_OK) {
        return m;
    }
    if (e == ERR_VERSION) {
        err_why(why, e, "the Lua library (%s) compiles to a format that cannot be checked",
                LUA_RELEASE);
    }
    machines_free(m);
    return NULL;
}

void machines_free(struct machines *m)
{
    if (m == NULL) {
        return;
    }
    if (m->L != NULL) {
        lua_close(m->L);
        m->L = NULL;
    }
    machine_memory_close(&m->memory);
    for (size_t i = 0; i < m->count; i++) {
        st_free(m->list[i]->st);
        free(m->list[i]);
    }
    free(m->list);
    free(m);
}
