/* From a source to a machine: compile, run, look at what it returns, freeze it. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/machine_freeze.h"
#include "script/machine_internal.h"
#include "script/machine_source.h"

struct loading {
    struct machines *m;
    struct bytes source;
    struct buffer translated;
    struct machine *machine;
    struct why *why;
};

static bool is_name(const char *name, size_t size)
{
    if (size == 0 || size > MACHINE_NAME_BYTES_MAX || name[0] < 'a' || name[0] > 'z') {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' &&
            c != '.') {
            return false;
        }
    }
    return true;
}

/* Compile under the given name for messages, and run it: what it returns is pushed. */
static void run_source(lua_State *L, const struct loading *l, const char *chunk_name)
{
    struct bytes text = buffer_bytes(&l->translated);
    if (luaL_loadbufferx(L, (const char *)text.data, text.size, chunk_name, "t") != LUA_OK) {
        lua_error(L);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, l->m->environment_ref);
    lua_setupvalue(L, -2, 1); /* _ENV, the one upvalue of every main function */
    lua_call(L, 0, 1);
}

static enum err read_info(lua_State *L, struct loading *l)
{
    struct machine_info *info = &l->machine->info;
    if (!lua_istable(L, -1)) {
        return err_why(l->why, ERR_INVALID,
                       "the file returns no table: end it with return { name = ..., version = ..., "
                       "apply = { ... } }");
    }
    size_t size = 0;
    lua_getfield(L, -1, "name");
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : "";
    if (!is_name(name, size)) {
        return err_why(l->why, ERR_INVALID,
                       "name must be a lower-case letter, then letters, digits, _ - or . (%d bytes "
                       "at most)",
                       MACHINE_NAME_BYTES_MAX);
    }
    memcpy(info->name, name, size);
    lua_pop(L, 1);
    lua_getfield(L, -1, "version");
    if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1) {
        return err_why(l->why, ERR_INVALID, "version must be an integer from 1");
    }
    info->version = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    info->hash = XXH3_64bits(l->source.data, l->source.size);
    return ERR_OK;
}

/* The parts that a machine may have. */
static const struct part {
    const char *name;
    int type;
    bool required;
} parts[] = {
    {"name", LUA_TSTRING, true},    {"version", LUA_TNUMBER, true},
    {"init", LUA_TFUNCTION, false}, {"apply", LUA_TTABLE, true},
    {"query", LUA_TTABLE, false},   {"migrate", LUA_TFUNCTION, false},
    {"wake", LUA_TFUNCTION, false},
};
enum { PARTS_COUNT = sizeof parts / sizeof *parts };

static const struct part *part_named(const char *name)
{
    for (size_t i = 0; i < PARTS_COUNT; i++) {
        if (strcmp(parts[i].name, name) == 0) {
            return &parts[i];
        }
    }
    return NULL;
}

/* Why there is no part that is called as the key at the top. */
static enum err refuse_part(lua_State *L, struct loading *l)
{
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1);
    if (strcmp(name, "snapshot") == 0 || strcmp(name, "restore") == 0) {
        return err_why(l->why, ERR_INVALID,
                       "a machine has no %s: all of st is saved and restored without its help",
                       name);
    }
    return err_why(l->why, ERR_INVALID,
                   "a machine has name, version, init, apply, query, migrate and wake, but no %s",
                   name);
}

static enum err check_parts(lua_State *L, struct loading *l)
{
    for (size_t i = 0; i < PARTS_COUNT; i++) {
        int type = lua_getfield(L, -1, parts[i].name);
        lua_pop(L, 1);
        if (type != parts[i].type && (type != LUA_TNIL || parts[i].required)) {
            return err_why(l->why, ERR_INVALID, "%s must be a %s, not a %s", parts[i].name,
                           lua_typename(L, parts[i].type), lua_typename(L, type));
        }
    }
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || part_named(lua_tostring(L, -1)) == NULL) {
            return refuse_part(L, l);
        }
    }
    return ERR_OK;
}

/* All elements of the table at the top are functions under names? */
static enum err check_functions(lua_State *L, struct loading *l, const char *part)
{
    if (lua_getfield(L, -1, part) == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            if (lua_type(L, -2) != LUA_TSTRING || !lua_isfunction(L, -1)) {
                return err_why(l->why, ERR_INVALID, "%s holds functions by name, nothing else",
                               part);
            }
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return ERR_OK;
}

/* A reference to the part of the machine at the top; for a table, to its contents. */
static int ref_part(lua_State *L, const char *part)
{
    int type = lua_getfield(L, -1, part);
    if (type == LUA_TTABLE) {
        machine_contents_push(L, -1);
        lua_remove(L, -2);
    }
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return LUA_NOREF;
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static enum err load(lua_State *L, void *ctx)
{
    struct loading *l = ctx;
    /* Once to learn the name, once more under it, so that messages say "kv:12:". */
    run_source(L, l, "=machine");
    enum err e = read_info(L, l);
    if (e != ERR_OK) {
        return e;
    }
    char chunk_name[MACHINE_NAME_BYTES_MAX + 2];
    snprintf(chunk_name, sizeof chunk_name, "=%s", l->machine->info.name);
    lua_settop(L, 0);
    run_source(L, l, chunk_name);
    e = lua_istable(L, -1) ? check_parts(L, l) : ERR_INVALID;
    if (e == ERR_OK) {
        e = check_functions(L, l, "apply");
    }
    if (e == ERR_OK) {
        e = check_functions(L, l, "query");
    }
    if (e == ERR_OK) {
        e = machine_freeze(L, -1, l->why);
    }
    if (e != ERR_OK) {
        return e == ERR_VERSION ? ERR_INVALID : e;
    }
    machine_contents_push(L, -1);
    struct machine *machine = l->machine;
    machine->init_ref = ref_part(L, "init");
    machine->migrate_ref = ref_part(L, "migrate");
    machine->wake_ref = ref_part(L, "wake");
    machine->apply_ref = ref_part(L, "apply");
    machine->query_ref = ref_part(L, "query");
    return ERR_OK;
}

enum err machine_load(struct machines *m, struct bytes source, struct machine **out,
                      struct why *why)
{
    *out = NULL;
    if (source.size > MACHINE_SOURCE_BYTES_MAX) {
        return err_why(why, ERR_TOO_LARGE, "the source of a machine is %d bytes at most",
                       MACHINE_SOURCE_BYTES_MAX);
    }
    struct loading l = {.m = m, .source = source, .why = why};
    enum err e = machine_source_translate(source, &l.translated, why);
    if (e == ERR_OK) {
        l.machine = NEW(struct machine);
        l.machine->init_ref = LUA_NOREF;
        l.machine->migrate_ref = LUA_NOREF;
        l.machine->wake_ref = LUA_NOREF;
        l.machine->apply_ref = LUA_NOREF;
        l.machine->query_ref = LUA_NOREF;
        struct machine_call call = {.body = load, .ctx = &l, .why = why};
        e = machine_call(m, &call);
    }
    buffer_close(&l.translated);
    if (e != ERR_OK) {
        machine_unload(m, l.machine);
        return e == ERR_IO ? ERR_IO : ERR_INVALID;
    }
    *out = l.machine;
    return ERR_OK;
}

void machine_unload(struct machines *m, struct machine *machine)
{
    if (machine == NULL) {
        return;
    }
    luaL_unref(m->L, LUA_REGISTRYINDEX, machine->init_ref);
    luaL_unref(m->L, LUA_REGISTRYINDEX, machine->migrate_ref);
    luaL_unref(m->L, LUA_REGISTRYINDEX, machine->wake_ref);
    luaL_unref(m->L, LUA_REGISTRYINDEX, machine->apply_ref);
    luaL_unref(m->L, LUA_REGISTRYINDEX, machine->query_ref);
    st_free(machine->st);
    free(machine);
}

enum err machines_check(struct bytes source, struct machine_info *out, struct why *why)
{
    struct machines_options options = {.state = NULL};
    struct machines *m = machine_host_new(&options, why);
    if (m == NULL) {
        return ERR_IO;
    }
    struct machine *machine = NULL;
    enum err e = machine_load(m, source, &machine, why);
    if (e == ERR_OK) {
        ASSERT(machine != NULL);
        *out = machine->info;
        machine_unload(m, machine);
    }
    machines_free(m);
    return e;
}
