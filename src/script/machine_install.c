/* Which machines there are: installing, upgrading, and loading what the state holds. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/machine_internal.h"

void machine_source_key(struct buffer *out, const char *name)
{
    buffer_add_u8(out, MACHINES_KEY_SYSTEM);
    buffer_add_u8(out, MACHINES_KEY_SOURCES);
    buffer_add_bytes(out, bytes_of_string(name));
}

void machine_data_prefix(struct buffer *out, const char *name)
{
    buffer_add_u8(out, MACHINES_KEY_DATA);
    buffer_add_bytes(out, bytes_of_string(name));
    buffer_add_u8(out, 0);
}

struct machines *machines_new(const struct machines_options *options, struct why *why)
{
    ASSERT(options->state != NULL);
    return machine_host_new(options, why);
}

/* ---- the list ------------------------------------------------------------------------------ */

static void list_add(struct machines *m, struct machine *machine)
{
    size_t at = 0;
    while (at < m->count && strcmp(m->list[at]->info.name, machine->info.name) < 0) {
        at++;
    }
    m->list = alloc_resize(m->list, m->count + 1, sizeof *m->list);
    memmove(m->list + at + 1, m->list + at, (m->count - at) * sizeof *m->list);
    m->list[at] = machine;
    m->count++;
}

static void list_remove(struct machines *m, const struct machine *machine)
{
    size_t at = 0;
    while (m->list[at] != machine) {
        at++;
        ASSERT(at < m->count);
    }
    m->count--;
    memmove(m->list + at, m->list + at + 1, (m->count - at) * sizeof *m->list);
}

/* Unload a machine and what belongs to it alone. */
static void discard(struct machines *m, struct machine *machine)
{
    if (machine->st != NULL) {
        st_detach(m->L, machine->st);
    }
    machine_unload(m, machine);
}

/* ---- installing ---------------------------------------------------------------------------- */

static struct st *new_st(struct machines *m, const char *name)
{
    struct buffer prefix = {0};
    machine_data_prefix(&prefix, name);
    struct st *st = st_new(m->state, &m->run.meter, buffer_bytes(&prefix));
    buffer_close(&prefix);
    return st;
}

/* The first call of a machine: init, or migrate from what there was before. */
struct setup {
    struct machines *m;
    struct machine *machine;
    const struct machine *before; /* NULL: new */
};

static enum err set_up(lua_State *L, void *ctx)
{
    const struct setup *s = ctx;
    bool is_new = s->before == NULL;
    if (is_new) {
        st_attach(L, s->machine->st);
    }
    int function = is_new ? s->machine->init_ref : s->machine->migrate_ref;
    if (function == LUA_NOREF) {
        return ERR_OK;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, function);
    st_push(L, s->machine->st);
    if (!is_new) {
        lua_pushinteger(L, (lua_Integer)s->before->info.version);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->m->meta_ref);
    lua_call(L, is_new ? 2 : 3, 0);
    return ERR_OK;
}

static enum err keep_source(struct machines *m, const char *name, struct bytes source)
{
    struct buffer key = {0};
    machine_source_key(&key, name);
    enum err e = state_set(m->state, buffer_bytes(&key), source);
    buffer_close(&key);
    return e;
}

/* Run the set-up of a machine whose st is writable, in a transaction. */
static enum err activate(struct machines *m, struct setup *s, struct bytes source, struct why *why)
{
    struct machine_call call = {.body = set_up, .ctx = s, .why = why};
    state_begin(m->state);
    st_set_writable(s->machine->st, true);
    enum err e = keep_source(m, s->machine->info.name, source);
    if (e == ERR_OK) {
        e = machine_call(m, &call);
    }
    st_set_writable(s->machine->st, false);
    if (e == ERR_OK) {
        state_commit(m->state);
    } else {
        state_rollback(m->state);
    }
    if (s->before != NULL) {
        st_end(m->L, s->machine->st, e != ERR_OK);
    }
    return e == ERR_OK || e == ERR_IO ? e : ERR_REJECTED;
}

/* The installed machine that has this very source, or NULL. */
static const struct machine *find_source(const struct machines *m, struct bytes source)
{
    uint64_t hash = XXH3_64bits(source.data, source.size);
    const struct machine *found = NULL;
    for (size_t i = 0; i < m->count && found == NULL; i++) {
        struct buffer key = {0};
        struct bytes kept;
        machine_source_key(&key, m->list[i]->info.name);
        if (m->list[i]->info.hash == hash && state_get(m->state, buffer_bytes(&key), &kept) &&
            bytes_equal(kept, source)) {
            found = m->list[i];
        }
        buffer_close(&key);
    }
    return found;
}

/* Put machine in the place of before (NULL: beside the others). Takes machine, whatever comes. */
static enum err replace_take(struct machines *m, struct machine *machine, struct machine *before,
                             struct bytes source, struct why *why)
{
    machine->st = before != NULL ? before->st : new_st(m, machine->info.name);
    struct setup setup = {.m = m, .machine = machine, .before = before};
    enum err e = activate(m, &setup, source, why);
    if (e != ERR_OK) {
        if (before != NULL) {
            machine->st = NULL;
        }
        discard(m, machine);
        return e;
    }
    if (before != NULL) {
        list_remove(m, before);
        before->st = NULL;
        discard(m, before);
    }
    list_add(m, machine);
    return ERR_OK;
}

enum err machines_install(struct machines *m, const struct machine_at *at, struct bytes source,
                          struct machine_info *info, struct why *why)
{
    ASSERT(!state_in_transaction(m->state));
    const struct machine *same = find_source(m, source);
    if (same != NULL) {
        if (info != NULL) {
            *info = same->info;
        }
        return ERR_OK;
    }
    m->run.at = *at;
    m->run.fence = 0;
    struct machine *machine;
    enum err e = machine_load(m, source, &machine, why);
    if (e != ERR_OK) {
        return e;
    }
    if (info != NULL) {
        *info = machine->info;
    }
    struct machine *before = machine_find(m, bytes_of_string(machine->info.name));
    if (before != NULL && machine->info.version <= before->info.version) {
        bool older = machine->info.version < before->info.version;
        if (!older) {
            err_why(why, ERR_CONFLICT,
                    "version %llu of the machine %s is installed with another source: a change "
                    "needs a new version",
                    (unsigned long long)before->info.version, before->info.name);
        }
        discard(m, machine);
        return older ? ERR_OK : ERR_CONFLICT;
    }
    return replace_take(m, machine, before, source, why);
}

/* ---- reloading ----------------------------------------------------------------------------- */

static enum err attach(lua_State *L, void *ctx)
{
    st_attach(L, ctx);
    return ERR_OK;
}

static enum err reload_one(struct machines *m, struct bytes name, struct bytes source,
                           struct why *why)
{
    struct why reason = {.text = ""};
    struct machine *machine;
    enum err e = machine_load(m, source, &machine, &reason);
    if (e == ERR_OK && !bytes_is(name, machine->info.name)) {
        discard(m, machine);
        e = err_why(&reason, ERR_CORRUPT, "its source says that it is another");
    } else if (e == ERR_OK) {
        machine->st = new_st(m, machine->info.name);
        struct machine_call call = {.body = attach, .ctx = machine->st, .why = &reason};
        e = machine_call(m, &call);
        list_add(m, machine);
    }
    if (e == ERR_OK) {
        return ERR_OK;
    }
    return err_why(why, e == ERR_IO ? ERR_IO : ERR_CORRUPT,
                   "the machine \"%.*s\" in the state does not load: %s", (int)name.size,
                   (const char *)name.data, reason.text);
}

enum err machines_reload(struct machines *m, struct why *why)
{
    ASSERT(!state_in_transaction(m->state));
    while (m->count > 0) {
        struct machine *last = m->list[m->count - 1];
        list_remove(m, last);
        discard(m, last);
    }
    const uint8_t prefix[] = {MACHINES_KEY_SYSTEM, MACHINES_KEY_SOURCES};
    struct state_cursor c;
    enum err e = ERR_OK;
    bool more = state_seek(&c, m->state, bytes_of(prefix, sizeof prefix));
    while (more && e == ERR_OK && c.key.size > sizeof prefix &&
           memcmp(c.key.data, prefix, sizeof prefix) == 0) {
        struct bytes name = bytes_of(c.key.data + sizeof prefix, c.key.size - sizeof prefix);
        e = reload_one(m, name, c.value, why);
        more = state_next(&c);
    }
    return e;
}
