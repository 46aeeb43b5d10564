/* Reading a configuration file: the sandbox it runs in, and the schema its table is held against.
 */
#include <errno.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/nearest.h"
#include "node/config.h"
#include "script/value.h"

enum {
    MEMORY_MAX_BYTES = 8 << 20,
    FILE_MAX_BYTES = 1 << 20,
    INSTRUCTIONS_MAX = 10000000,
    PATH_MAX_BYTES = 256,
};

/* One reading. The value at hand is at the top of L's stack. */
struct reading {
    lua_State *L;
    const char *file;
    bool overlay; /* over what another file said */
    struct why *why;
};

/* ---- the schema ----------------------------------------------------------------------------- */

struct field {
    const char *key;
    enum { FIELD_TEXT, FIELD_BOOL, FIELD_WHOLE, FIELD_CUSTOM } kind;
    bool required;
    size_t offset;    /* of the member in its struct; unused for FIELD_CUSTOM */
    int64_t min, max; /* FIELD_WHOLE: the legal range; the member is a uint64_t */
    /* FIELD_CUSTOM: reads the value at the top into object, which is the whole struct. */
    enum err (*read)(const struct reading *r, void *object, const char *path);
};

static enum err read_members(const struct reading *r, void *object, const char *path);
static enum err read_election(const struct reading *r, void *object, const char *path);
static enum err read_apps(const struct reading *r, void *object, const char *path);
static enum err read_log(const struct reading *r, void *object, const char *path);
static enum err read_limits(const struct reading *r, void *object, const char *path);
static enum err read_snapshot(const struct reading *r, void *object, const char *path);
static enum err read_http(const struct reading *r, void *object, const char *path);
static enum err read_app_config(const struct reading *r, void *object, const char *path);

#define TEXT(type, key, member, need)                             \
    {                                                             \
        key, FIELD_TEXT, need, offsetof(type, member), 0, 0, NULL \
    }
#define TRUTH(type, key, member)                                   \
    {                                                              \
        key, FIELD_BOOL, false, offsetof(type, member), 0, 0, NULL \
    }
#define WHOLE(type, key, member, min, max)                              \
    {                                                                   \
        key, FIELD_WHOLE, false, offsetof(type, member), min, max, NULL \
    }
#define CUSTOM(key, need, read)                \
    {                                          \
        key, FIELD_CUSTOM, need, 0, 0, 0, read \
    }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct field top_fields[] = {
    TEXT(struct config, "cluster", cluster, true),
    TEXT(struct config, "id", id, true),
    CUSTOM("members", true, read_members),
    TEXT(struct config, "client", client, false),
    CUSTOM("http", false, read_http),
    TEXT(struct config, "data_dir", data_dir, false),
    CUSTOM("election_ms", false, read_election),
    WHOLE(struct config, "heartbeat_ms", heartbeat_ms, 1, 60000),
    WHOLE(struct config, "stop_ms", stop_ms, 0, 3600000),
    TRUTH(struct config, "prevote", prevote),
    TRUTH(struct config, "check_quorum", check_quorum),
    TRUTH(struct config, "lease", lease),
    TRUTH(struct config, "fast_failover", fast_failover),
    TRUTH(struct config, "insecure", insecure),
    TRUTH(struct config, "core_dumps", core_dumps),
    CUSTOM("log", false, read_log),
    CUSTOM("limits", false, read_limits),
    CUSTOM("snapshot", false, read_snapshot),
    CUSTOM("apps", false, read_apps),
};

static const struct field member_fields[] = {
    TEXT(struct config_member, "id", id, true),
    TEXT(struct config_member, "peer", peer, true),
    TEXT(struct config_member, "client", client, false),
    TRUTH(struct config_member, "joins", joins),
};

static const struct field app_fields[] = {
    TEXT(struct config_app, "name", name, false),
    TEXT(struct config_app, "script", script, true),
    TEXT(struct config_app, "lua_path", lua_path, false),
    CUSTOM("config", false, read_app_config),
};

static const struct field log_fields[] = {
    TEXT(struct config, "level", log_level, false),
    TEXT(struct config, "format", log_format, false),
};

static const struct field limits_fields[] = {
    WHOLE(struct config_limits, "proposal_bytes", proposal_bytes, 1024, CONFIG_PROPOSAL_BYTES_MAX),
    WHOLE(struct config_limits, "pending", pending, 16, 1 << 24),
    WHOLE(struct config_limits, "cache_bytes", cache_bytes, 64 << 10, INT64_C(1) << 36),
    WHOLE(struct config_limits, "segment_bytes", segment_bytes, 64 << 10, 1 << 30),
    WHOLE(struct config_limits, "clients", clients, 1, 1 << 16),
    WHOLE(struct config_limits, "script_memory_bytes", script_memory_bytes, 1 << 20,
          INT64_C(1) << 36),
    WHOLE(struct config_limits, "script_budget_ms", script_budget_ms, 1, 60000),
};

static const struct field snapshot_fields[] = {
    WHOLE(struct config_snapshot, "entries", entries, 0, INT64_C(1) << 48),
    WHOLE(struct config_snapshot, "bytes", bytes, 0, INT64_C(1) << 48),
    WHOLE(struct config_snapshot, "keep_entries", keep_entries, 0, INT64_C(1) << 48),
    WHOLE(struct config_snapshot, "hold_bytes", hold_bytes, 0, INT64_C(1) << 48),
};

static const struct config defaults = {
    .election_min_ms = 150,
    .election_max_ms = 300,
    .heartbeat_ms = 50,
    .stop_ms = 10000,
    .prevote = true,
    .check_quorum = true,
    .lease = true,
    .fast_failover = true,
    .limits =
        {
            .proposal_bytes = 1 << 20,
            .pending = 1 << 16,
            .cache_bytes = 16 << 20,
            .segment_bytes = 8 << 20,
            .clients = 1024,
            .script_memory_bytes = 64 << 20,
            .script_budget_ms = 100,
        },
    .snapshot =
        {
            .entries = 200000,
            .bytes = 64 << 20,
            .keep_entries = 10000,
            .hold_bytes = 64 << 20,
        },
};
static const char default_http[] = "127.0.0.1:7119";

/* ---- reading values ------------------------------------------------------------------------- */

static enum err wrong_type(const struct reading *r, const char *path, const char *expected)
{
    return err_why(r->why, ERR_INVALID, "%s: %s must be %s, not a %s", r->file, path, expected,
                   luaL_typename(r->L, -1));
}

static enum err take_text(const struct reading *r, char **out, const char *path)
{
    size_t size;
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        return wrong_type(r, path, "text");
    }
    const char *text = lua_tolstring(r->L, -1, &size);
    if (size == 0 || strlen(text) != size) {
        return err_why(r->why, ERR_INVALID, "%s: %s is empty or holds a zero byte", r->file, path);
    }
    free(*out);
    *out = alloc_string(text);
    return ERR_OK;
}

static enum err take_whole(const struct reading *r, uint64_t *out, int64_t min, int64_t max,
                           const char *path)
{
    if (lua_type(r->L, -1) != LUA_TNUMBER) {
        return wrong_type(r, path, "a whole number");
    }
    int exact;
    int64_t value = lua_tointegerx(r->L, -1, &exact);
    if (!exact) {
        return err_why(r->why, ERR_INVALID, "%s: %s is %g, but must be a whole number", r->file,
                       path, lua_tonumber(r->L, -1));
    }
    if (value < min || value > max) {
        return err_why(r->why, ERR_INVALID,
                       "%s: %s is %" PRId64 ", but must be between %" PRId64 " and %" PRId64,
                       r->file, path, value, min, max);
    }
    *out = (uint64_t)value;
    return ERR_OK;
}

static enum err read_field(const struct reading *r, const struct field *f, void *object,
                           const char *path)
{
    char *member = (char *)object + f->offset;
    switch (f->kind) {
    case FIELD_TEXT:
        return take_text(r, (char **)(void *)member, path);
    case FIELD_BOOL:
        if (lua_type(r->L, -1) != LUA_TBOOLEAN) {
            return wrong_type(r, path, "true or false");
        }
        *(bool *)(void *)member = lua_toboolean(r->L, -1) != 0;
        return ERR_OK;
    case FIELD_WHOLE:
        return take_whole(r, (uint64_t *)(void *)member, f->min, f->max, path);
    case FIELD_CUSTOM:
        break;
    }
    return f->read(r, object, path);
}

static void join(char out[PATH_MAX_BYTES], const char *path, const char *key)
{
    snprintf(out, PATH_MAX_BYTES, "%s%s%s", path, *path != 0 ? "." : "", key);
}

static enum err unknown_key(const struct reading *r, const struct field *fields,
                            size_t fields_count, const char *path, const char *key)
{
    const char *names[COUNT(top_fields)];
    ASSERT(fields_count <= COUNT(names));
    for (size_t i = 0; i < fields_count; i++) {
        names[i] = fields[i].key;
    }
    char full[PATH_MAX_BYTES];
    join(full, path, key);
    const char *nearest = nearest_name(key, names, fields_count);
    if (nearest != NULL) {
        return err_why(r->why, ERR_INVALID, "%s: unknown key %s; did you mean \"%s\"?", r->file,
                       full, nearest);
    }
    struct buffer known = {0};
    for (size_t i = 0; i < fields_count; i++) {
        buffer_add_format(&known, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    err_why(r->why, ERR_INVALID, "%s: unknown key %s; known here are: %s", r->file, full,
            buffer_text(&known));
    buffer_close(&known);
    return ERR_INVALID;
}

/* Every key must be one of fields. Of several unknown ones the first by name is reported, so that
 * the message does not depend on the order of a hash table. */
static enum err check_keys(const struct reading *r, const struct field *fields, size_t fields_count,
                           const char *path)
{
    const char *unknown = NULL;
    lua_pushnil(r->L);
    while (lua_next(r->L, -2) != 0) {
        lua_pop(r->L, 1);
        if (lua_type(r->L, -1) != LUA_TSTRING) {
            const char *type = luaL_typename(r->L, -1);
            lua_pop(r->L, 1);
            return err_why(r->why, ERR_INVALID, "%s: %s has a %s as a key; its keys are names",
                           r->file, *path != 0 ? path : "the table", type);
        }
        const char *key = lua_tostring(r->L, -1);
        bool known = false;
        for (size_t i = 0; i < fields_count && !known; i++) {
            known = strcmp(key, fields[i].key) == 0;
        }
        if (!known && (unknown == NULL || strcmp(key, unknown) < 0)) {
            unknown = key; /* stays alive in the table */
        }
    }
    return unknown != NULL ? unknown_key(r, fields, fields_count, path, unknown) : ERR_OK;
}

static enum err read_object(const struct reading *r, const struct field *fields,
                            size_t fields_count, void *object, const char *path)
{
    if (lua_type(r->L, -1) != LUA_TTABLE) {
        return wrong_type(r, path, "a table");
    }
    enum err e = check_keys(r, fields, fields_count, path);
    for (size_t i = 0; i < fields_count && e == ERR_OK; i++) {
        char full[PATH_MAX_BYTES];
        join(full, path, fields[i].key);
        if (lua_getfield(r->L, -1, fields[i].key) != LUA_TNIL) {
            e = read_field(r, &fields[i], object, full);
        } else if (fields[i].required && (*path != 0 || !r->overlay)) {
            e = err_why(r->why, ERR_INVALID, "%s: %s is missing", r->file, full);
        }
        lua_pop(r->L, 1);
    }
    return e;
}

/* The length of the list at the top: keys 1..n and no others. */
static enum err list_length(const struct reading *r, uint32_t min, uint32_t max, uint32_t *out,
                            const char *path)
{
    if (lua_type(r->L, -1) != LUA_TTABLE) {
        return wrong_type(r, path, "a list");
    }
    lua_Unsigned length = lua_rawlen(r->L, -1), keys = 0;
    lua_pushnil(r->L);
    while (lua_next(r->L, -2) != 0) {
        lua_pop(r->L, 1);
        keys++;
    }
    if (keys != length) {
        return err_why(r->why, ERR_INVALID, "%s: %s must be a list, without names or holes",
                       r->file, path);
    }
    if (length < min || length > max) {
        return err_why(r->why, ERR_INVALID,
                       "%s: %s has %llu elements; it must have between %u and %u", r->file, path,
                       (unsigned long long)length, min, max);
    }
    *out = (uint32_t)length;
    return ERR_OK;
}

static enum err read_members(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    uint32_t count;
    enum err e = list_length(r, 1, CONFIG_MEMBERS_MAX, &count, path);
    if (e != ERR_OK) {
        return e;
    }
    config_close_members(c);
    c->members = alloc_zeroed(count, sizeof *c->members);
    c->members_count = count;
    for (uint32_t i = 0; i < count && e == ERR_OK; i++) {
        char full[PATH_MAX_BYTES];
        snprintf(full, sizeof full, "%s[%u]", path, i + 1);
        lua_rawgeti(r->L, -1, (lua_Integer)i + 1);
        e = read_object(r, member_fields, COUNT(member_fields), &c->members[i], full);
        lua_pop(r->L, 1);
    }
    return e;
}

static enum err read_apps(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    uint32_t count;
    enum err e = list_length(r, 0, CONFIG_APPS_MAX, &count, path);
    if (e != ERR_OK || count == 0) {
        return e;
    }
    uint32_t before = c->apps_count; /* an overlay adds to them */
    c->apps_count += count;
    c->apps = alloc_resize(c->apps, c->apps_count, sizeof *c->apps);
    memset(c->apps + before, 0, count * sizeof *c->apps);
    for (uint32_t i = 0; i < count && e == ERR_OK; i++) {
        char full[PATH_MAX_BYTES];
        snprintf(full, sizeof full, "%s[%u]", path, i + 1);
        lua_rawgeti(r->L, -1, (lua_Integer)i + 1);
        e = read_object(r, app_fields, COUNT(app_fields), &c->apps[before + i], full);
        lua_pop(r->L, 1);
    }
    return e;
}

static enum err read_election(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    uint64_t *const targets[] = {&c->election_min_ms, &c->election_max_ms};
    uint32_t count;
    enum err e = list_length(r, 2, 2, &count, path);
    for (uint32_t i = 0; i < 2 && e == ERR_OK; i++) {
        char full[PATH_MAX_BYTES];
        snprintf(full, sizeof full, "%s[%u]", path, i + 1);
        lua_rawgeti(r->L, -1, (lua_Integer)i + 1);
        e = take_whole(r, targets[i], 1, 3600000, full);
        lua_pop(r->L, 1);
    }
    return e;
}

static enum err read_http(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    if (lua_type(r->L, -1) == LUA_TBOOLEAN && !lua_toboolean(r->L, -1)) {
        free(c->http);
        c->http = NULL;
        return ERR_OK;
    }
    if (lua_type(r->L, -1) != LUA_TSTRING) {
        return wrong_type(r, path, "an address, or false for none");
    }
    return take_text(r, &c->http, path);
}

static enum err read_log(const struct reading *r, void *object, const char *path)
{
    return read_object(r, log_fields, COUNT(log_fields), object, path);
}

static enum err read_limits(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    return read_object(r, limits_fields, COUNT(limits_fields), &c->limits, path);
}

static enum err read_snapshot(const struct reading *r, void *object, const char *path)
{
    struct config *c = object;
    return read_object(r, snapshot_fields, COUNT(snapshot_fields), &c->snapshot, path);
}

/* ---- an app's own config: any value, as MessagePack ----------------------------------------- */

static enum err read_app_config(const struct reading *r, void *object, const char *path)
{
    struct buffer *out = &((struct config_app *)object)->config;
    if (lua_type(r->L, -1) != LUA_TTABLE) {
        return wrong_type(r, path, "a table");
    }
    struct why why = {""};
    buffer_clear(out);
    enum err e = value_encode(r->L, -1, FILE_MAX_BYTES, out, &why);
    return e == ERR_OK ? e : err_why(r->why, ERR_INVALID, "%s: %s: %s", r->file, path, why.text);
}

/* ---- the sandbox ---------------------------------------------------------------------------- */

static void *capped_alloc(void *ud, void *old, size_t old_size, size_t new_size)
{
    size_t *used = ud;
    size_t before = old != NULL ? old_size : 0;
    if (new_size == 0) {
        free(old);
        *used -= before;
        return NULL;
    }
    if (new_size > before && *used + (new_size - before) > MEMORY_MAX_BYTES) {
        return NULL;
    }
    void *memory = realloc(old, new_size);
    if (memory != NULL) {
        *used += new_size - before;
    }
    return memory;
}

static void out_of_instructions(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_where(L, 0); /* the function that was interrupted */
    lua_pushliteral(L, "the file does not come to an end");
    lua_concat(L, 2);
    lua_error(L);
}

struct loading {
    struct bytes text;
    const char *file;
    bool overlay;
    struct config *config;
    struct why *why;
    enum err err;
};

/* [-1, +0, e] Runs protected: Lua may raise an error in any of it. */
static int load_protected(lua_State *L)
{
    struct loading *l = lua_touserdata(L, 1);
    value_open(L);
    lua_pushfstring(L, "@%s", l->file);
    if (luaL_loadbufferx(L, (const char *)l->text.data, l->text.size, lua_tostring(L, -1), "t") !=
        LUA_OK) {
        return lua_error(L);
    }
    lua_newtable(L);
    lua_setupvalue(L, -2, 1); /* _ENV: nothing */
    lua_sethook(L, out_of_instructions, LUA_MASKCOUNT, INSTRUCTIONS_MAX);
    lua_call(L, 0, 1);
    lua_sethook(L, NULL, 0, 0);
    const struct reading r = {.L = L, .file = l->file, .overlay = l->overlay, .why = l->why};
    if (lua_type(L, -1) != LUA_TTABLE) {
        l->err = err_why(l->why, ERR_INVALID,
                         "%s: the file must return a table (\"return { cluster = ... }\"), not a "
                         "%s",
                         l->file, luaL_typename(L, -1));
        return 0;
    }
    l->err = read_object(&r, top_fields, COUNT(top_fields), l->config, "");
    return 0;
}

/* A message of Lua's, which names the file only if it comes from a line of it. */
static enum err raised(const char *path, const char *message, struct why *why)
{
    if (message == NULL) {
        message = "the file raised an error that is not text";
    }
    bool names_file = strncmp(message, path, strlen(path)) == 0;
    return err_why(why, ERR_INVALID, "%s%s%s", names_file ? "" : path, names_file ? "" : ": ",
                   message);
}

static enum err load_text(struct loading *loading)
{
    size_t used = 0;
    lua_State *L = lua_newstate(capped_alloc, &used);
    if (L == NULL) {
        return err_why(loading->why, ERR_IO, "%s: there is no memory to read it", loading->file);
    }
    lua_pushcfunction(L, load_protected);
    lua_pushlightuserdata(L, loading);
    enum err e = ERR_OK;
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        e = raised(loading->file, lua_tostring(L, -1), loading->why);
    } else {
        e = loading->err;
    }
    lua_close(L);
    return e;
}

enum err config_load_text(const char *path, struct bytes text, struct config *out, struct why *why)
{
    *out = defaults;
    out->path = alloc_string(path);
    out->http = alloc_string(default_http);
    out->log_level = alloc_string("info");
    struct loading loading = {.text = text, .file = path, .config = out, .why = why};
    return load_text(&loading);
}

enum err config_overlay_text(const char *path, struct bytes text, struct config *c, struct why *why)
{
    struct loading loading = {.text = text, .file = path, .overlay = true, .config = c, .why = why};
    return load_text(&loading);
}

static enum err read_whole(const char *path, struct buffer *text, struct why *why)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return err_why(why, err_from_errno(errno), "cannot read the configuration %s: %s", path,
                       strerror(errno));
    }
    text->size = fread(buffer_reserve(text, FILE_MAX_BYTES + 1), 1, FILE_MAX_BYTES + 1, file);
    enum err e = ERR_OK;
    if (ferror(file)) {
        e = err_why(why, ERR_IO, "cannot read the configuration %s: %s", path, strerror(errno));
    } else if (text->size > FILE_MAX_BYTES) {
        e = err_why(why, ERR_INVALID, "the configuration %s is larger than 1 MiB", path);
    }
    fclose(file);
    return e;
}

enum err config_load(const char *path, struct config *out, struct why *why)
{
    *out = (struct config){0};
    struct buffer text = {0};
    enum err e = read_whole(path, &text, why);
    e = e != ERR_OK ? e : config_load_text(path, buffer_bytes(&text), out, why);
    buffer_close(&text);
    return e;
}

enum err config_overlay(const char *path, struct config *c, struct why *why)
{
    struct buffer text = {0};
    enum err e = read_whole(path, &text, why);
    e = e != ERR_OK ? e : config_overlay_text(path, buffer_bytes(&text), c, why);
    buffer_close(&text);
    return e;
}
