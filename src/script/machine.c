#include "script/machine.h"

#include <lauxlib.h>
#include <string.h>

#include "base/assert.h"
#include "script/machine_internal.h"
#include "script/value.h"
#include "wire/reader.h"
#include "wire/writer.h"

enum {
    /* Of the arguments of one command, in Lua; an estimate that is the same on every node. */
    ARGUMENTS_MEMORY_BYTES_MAX = 32 * 1024 * 1024,
    RESULT_BYTES_MAX = 4 * 1024 * 1024,
    /* The leader asks each machine after each batch of entries: a millisecond or so. */
    WAKE_INSTRUCTIONS_MAX = 100000,
};

/* A command or query on its way through Lua. */
struct invocation {
    struct machines *m;
    struct machine *machine;
    int functions_ref;
    const char *kind; /* "command" or "query" */
    struct bytes name;
    struct reader arguments;
    struct buffer *result;
    struct why *why;
};

static enum err push_function(lua_State *L, const struct invocation *in)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, in->functions_ref);
    lua_pushlstring(L, (const char *)in->name.data, in->name.size);
    if (!lua_istable(L, -2) || lua_rawget(L, -2) != LUA_TFUNCTION) {
        return err_why(in->why, ERR_NOT_FOUND, "the machine %s has no %s \"%.*s\"",
                       in->machine->info.name, in->kind,
                       (int)(in->name.size > 64 ? 64 : in->name.size), (const char *)in->name.data);
    }
    return ERR_OK;
}

static enum err push_arguments(lua_State *L, struct invocation *in)
{
    static const struct value_limits limits = {.memory_bytes_max = ARGUMENTS_MEMORY_BYTES_MAX};
    if (reader_left(&in->arguments) == 0) {
        lua_pushnil(L);
        return ERR_OK;
    }
    machine_spend_bytes(L, reader_left(&in->arguments));
    size_t memory_bytes = 0;
    enum err e = value_read(L, &in->arguments, &limits, &memory_bytes);
    if (e == ERR_TOO_LARGE) {
        return err_why(in->why, e, "the arguments need too much memory");
    }
    if (e != ERR_OK || reader_end(&in->arguments) != ERR_OK) {
        return err_why(in->why, ERR_INVALID, "the arguments are malformed");
    }
    return ERR_OK;
}

static enum err write_result(lua_State *L, const struct invocation *in)
{
    struct why reason = {.text = ""};
    struct value_writer w = {
        .L = L,
        .out = in->result,
        .end_bytes_max = in->result->size + RESULT_BYTES_MAX,
        .why = &reason,
        .userdata = st_write,
    };
    enum err e = value_write(&w, -1);
    if (e == ERR_OK) {
        return ERR_OK;
    }
    return err_why(in->why, ERR_REJECTED, "what %s returns: %s%s%s%s", in->kind, reason.text,
                   w.where[0] != 0 ? " (at " : "", w.where, w.where[0] != 0 ? ")" : "");
}

static enum err invoke(lua_State *L, void *ctx)
{
    struct invocation *in = ctx;
    enum err e = push_function(L, in);
    if (e != ERR_OK) {
        return e;
    }
    st_push(L, in->machine->st);
    e = push_arguments(L, in);
    if (e != ERR_OK) {
        return e;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, in->m->meta_ref);
    lua_call(L, 3, 1);
    return write_result(L, in);
}

static enum err run(struct invocation *in)
{
    size_t start = in->result->size;
    struct machine_call call = {.body = invoke, .ctx = in, .result = in->result, .why = in->why};
    enum err e = machine_call(in->m, &call);
    if (e != ERR_OK && in->result->size == start) {
        write_nil(in->result);
    }
    return e;
}

/* [name] or [name, arguments] */
static enum err read_payload(struct invocation *in, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint32_t count = read_array(&r);
    in->name = read_str(&r, SIZE_MAX);
    bool has_arguments = reader_left(&r) > 0;
    if (r.err != ERR_OK || count != (has_arguments ? 2 : 1)) {
        return err_why(in->why, ERR_INVALID,
                       "a command is the MessagePack array [name, arguments]");
    }
    in->arguments = r;
    return ERR_OK;
}

static enum err find_machine(struct invocation *in, struct bytes name)
{
    in->machine = machine_find(in->m, name);
    if (in->machine == NULL) {
        return err_why(in->why, ERR_NOT_FOUND, "no machine is named \"%.*s\"",
                       (int)(name.size > 64 ? 64 : name.size), (const char *)name.data);
    }
    return ERR_OK;
}

enum err machines_apply(struct machines *m, const struct machine_command *command,
                        struct buffer *result, struct why *why)
{
    ASSERT(!state_in_transaction(m->state));
    struct invocation in = {.m = m, .kind = "command", .result = result, .why = why};
    enum err e = find_machine(&in, command->machine);
    if (e == ERR_OK) {
        e = read_payload(&in, command->payload);
    }
    if (e != ERR_OK) {
        write_nil(result);
        return e;
    }
    m->run.at = command->at;
    m->run.fence = command->fence;
    in.functions_ref = in.machine->apply_ref;
    size_t start = result->size;
    st_set_writable(in.machine->st, true);
    state_begin(m->state);
    e = run(&in);
    if (e == ERR_OK) {
        state_commit(m->state);
    } else {
        state_rollback(m->state);
    }
    st_set_writable(in.machine->st, false);
    st_end(m->L, in.machine->st, e != ERR_OK);
    if (e == ERR_IO) {
        result->size = start;
    }
    return e;
}

enum err machines_query(struct machines *m, const struct machine_query *query,
                        struct buffer *result, struct why *why)
{
    struct invocation in = {
        .m = m,
        .kind = "query",
        .name = query->name,
        .arguments = reader_of(query->args),
        .result = result,
        .why = why,
    };
    enum err e = find_machine(&in, query->machine);
    if (e != ERR_OK) {
        write_nil(result);
        return e;
    }
    m->run.at = query->at;
    m->run.fence = 0;
    in.functions_ref = in.machine->query_ref;
    e = run(&in);
    st_end(m->L, in.machine->st, false);
    return e;
}

struct waking {
    struct machine *machine;
    int meta_ref;
    bool wanted;
    int64_t in_ms;
    struct why *why;
};

static enum err ask_wake(lua_State *L, void *ctx)
{
    struct waking *w = ctx;
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->machine->wake_ref);
    st_push(L, w->machine->st);
    lua_rawgeti(L, LUA_REGISTRYINDEX, w->meta_ref);
    lua_call(L, 2, 1);
    if (lua_isnil(L, -1)) {
        return ERR_OK;
    }
    int is_integer;
    w->in_ms = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || lua_type(L, -1) != LUA_TNUMBER) {
        return err_why(w->why, ERR_INVALID, "wake returns a time in ms or nil, not a %s",
                       luaL_typename(L, -1));
    }
    w->wanted = true;
    return ERR_OK;
}

bool machines_wake(struct machines *m, size_t i, const struct machine_at *now, int64_t *in_ms,
                   struct why *why)
{
    why->text[0] = '\0';
    if (m->list[i]->wake_ref == LUA_NOREF) {
        return false;
    }
    m->run.at = *now;
    m->run.fence = 0;
    struct waking w = {.machine = m->list[i], .meta_ref = m->meta_ref, .why = why};
    struct machine_call call = {
        .body = ask_wake, .ctx = &w, .instructions_max = WAKE_INSTRUCTIONS_MAX, .why = why};
    enum err e = machine_call(m, &call);
    if (e == ERR_REJECTED && m->run.meter.exhausted) {
        err_why(why, e, "wake ran over its instruction limit, which is far below a command's");
    }
    st_end(m->L, w.machine->st, false);
    *in_ms = w.in_ms > 0 ? w.in_ms : 0;
    return e == ERR_OK && w.wanted;
}

bool machines_list(const struct machines *m, size_t i, struct machine_info *out)
{
    if (i >= m->count) {
        return false;
    }
    *out = m->list[i]->info;
    return true;
}

struct machine *machine_find(const struct machines *m, struct bytes name)
{
    size_t low = 0;
    size_t high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(bytes_of_string(m->list[middle]->info.name), name);
        if (order == 0) {
            return m->list[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}
