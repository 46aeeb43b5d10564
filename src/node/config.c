#include "node/config.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "script/bundled.h"
#include "script/script.h"

static const char default_client[] = "127.0.0.1:7117";

void config_close_members(struct config *c)
{
    for (uint32_t i = 0; i < c->members_count; i++) {
        free(c->members[i].id);
        free(c->members[i].peer);
        free(c->members[i].client);
    }
    free(c->members);
    c->members = NULL;
    c->members_count = 0;
}

void config_close(struct config *c)
{
    config_close_members(c);
    for (uint32_t i = 0; i < c->apps_count; i++) {
        free(c->apps[i].name);
        free(c->apps[i].script);
        free(c->apps[i].lua_path);
        buffer_close(&c->apps[i].config);
    }
    free(c->apps);
    free(c->path);
    free(c->cluster);
    free(c->id);
    free(c->client);
    free(c->http);
    free(c->data_dir);
    free(c->log_level);
    free(c->log_format);
    *c = (struct config){0};
}

/* ---- overrides ------------------------------------------------------------------------------ */

const char *const config_settable[] = {
    "id", "client", "http", "data_dir", "log_level", "log_format", "insecure",
};
const unsigned config_settable_count = sizeof config_settable / sizeof config_settable[0];

static void replace(char **field, const char *value)
{
    free(*field);
    *field = alloc_string(value);
}

static enum err set_bool(bool *field, const char *key, const char *value, struct why *why)
{
    if (strcmp(value, "true") == 0 || strcmp(value, "1") == 0) {
        *field = true;
    } else if (strcmp(value, "false") == 0 || strcmp(value, "0") == 0) {
        *field = false;
    } else {
        return err_why(why, ERR_INVALID, "%s must be true or false, not \"%s\"", key, value);
    }
    return ERR_OK;
}

enum err config_set(struct config *c, const char *key, const char *value, struct why *why)
{
    const struct {
        const char *key;
        char **field;
    } texts[] = {
        {"id", &c->id},
        {"client", &c->client},
        {"data_dir", &c->data_dir},
        {"log_level", &c->log_level},
        {"log_format", &c->log_format},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(key, texts[i].key) == 0) {
            replace(texts[i].field, value);
            return ERR_OK;
        }
    }
    if (strcmp(key, "http") == 0) {
        free(c->http);
        c->http = strcmp(value, "off") == 0 ? NULL : alloc_string(value);
        return ERR_OK;
    }
    if (strcmp(key, "insecure") == 0) {
        return set_bool(&c->insecure, key, value, why);
    }
    return err_why(why, ERR_NOT_FOUND, "there is no setting \"%s\"", key);
}

/* ---- what must hold together ---------------------------------------------------------------- */

static bool name_is_valid(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > MEMBER_NAME_MAX) {
        return false;
    }
    for (const char *c = name; *c != 0; c++) {
        if (!isalnum((unsigned char)*c) && strchr("_-.", *c) == NULL) {
            return false;
        }
    }
    return true;
}

static enum err check_name(const struct config *c, const char *what, const char *name,
                           struct why *why)
{
    if (!name_is_valid(name)) {
        return err_why(why, ERR_INVALID,
                       "%s: %s is \"%s\"; a name has 1 to %d letters, digits, '_', '-' and '.'",
                       c->path, what, name, MEMBER_NAME_MAX);
    }
    return ERR_OK;
}

static enum err check_member_pair(const struct config *c, uint32_t i, uint32_t j, struct why *why)
{
    const struct config_member *a = &c->members[i], *b = &c->members[j];
    if (strcmp(a->id, b->id) == 0) {
        return err_why(why, ERR_INVALID, "%s: members[%u] and members[%u] have the same id \"%s\"",
                       c->path, i + 1, j + 1, a->id);
    }
    if (strcmp(a->peer, b->peer) == 0) {
        return err_why(why, ERR_INVALID,
                       "%s: members[%u] and members[%u] have the same peer address %s; each node "
                       "needs its own",
                       c->path, i + 1, j + 1, a->peer);
    }
    if (a->client != NULL && b->client != NULL && strcmp(a->client, b->client) == 0) {
        return err_why(why, ERR_INVALID,
                       "%s: members[%u] and members[%u] have the same client address %s; each "
                       "node needs its own",
                       c->path, i + 1, j + 1, a->client);
    }
    return ERR_OK;
}

static enum err check_members(const struct config *c, struct why *why)
{
    for (uint32_t i = 0; i < c->members_count; i++) {
        const struct config_member *m = &c->members[i];
        char what[32];
        snprintf(what, sizeof what, "members[%u].id", i + 1);
        enum err e = check_name(c, what, m->id, why);
        if (e != ERR_OK) {
            return e;
        }
        if (strlen(m->peer) > MEMBER_ADDRESS_MAX) {
            return err_why(why, ERR_INVALID, "%s: members[%u].peer is longer than %d bytes",
                           c->path, i + 1, MEMBER_ADDRESS_MAX);
        }
        for (uint32_t j = 0; j < i; j++) {
            e = check_member_pair(c, j, i, why);
            if (e != ERR_OK) {
                return e;
            }
        }
    }
    struct membership first;
    config_membership(c, &first);
    if (first.count == 0) {
        return err_why(why, ERR_INVALID,
                       "%s: all members have joins = true; those that the cluster begins with have "
                       "not",
                       c->path);
    }
    return ERR_OK;
}

static enum err check_self(const struct config *c, struct why *why)
{
    if (config_self(c) != NULL) {
        return ERR_OK;
    }
    struct buffer known = {0};
    for (uint32_t i = 0; i < c->members_count; i++) {
        buffer_add_format(&known, "%s%s", i > 0 ? ", " : "", c->members[i].id);
    }
    err_why(why, ERR_INVALID,
            "%s: id is \"%s\", but no member has that id (there are %s); add it to members or "
            "choose another with --id",
            c->path, c->id, buffer_text(&known));
    buffer_close(&known);
    return ERR_INVALID;
}

static enum err check_times(const struct config *c, struct why *why)
{
    if (c->election_min_ms >= c->election_max_ms) {
        return err_why(why, ERR_INVALID,
                       "%s: election_ms is {%" PRIu64 ", %" PRIu64
                       "}; the first (minimum) must be below the second (maximum)",
                       c->path, c->election_min_ms, c->election_max_ms);
    }
    if (c->heartbeat_ms >= c->election_min_ms) {
        return err_why(why, ERR_INVALID,
                       "%s: heartbeat_ms is %" PRIu64
                       ", which must be below the minimum of election_ms (%" PRIu64
                       "), best a third of it",
                       c->path, c->heartbeat_ms, c->election_min_ms);
    }
    return ERR_OK;
}

/* What the file system holds is looked at by those who load it. */
static enum err check_script(const struct config *c, uint32_t i, struct why *why)
{
    struct bytes text;
    struct why reason = {""};
    if (bundled_is(c->apps[i].script) &&
        bundled_find(c->apps[i].script, &text, &reason) != ERR_OK) {
        return err_why(why, ERR_INVALID, "%s: apps[%u].script: %s", c->path, i + 1, reason.text);
    }
    return ERR_OK;
}

bool config_lua_path_is_bad(const char *lua_path, struct bytes *template)
{
    while (lua_path != NULL) {
        size_t size = strcspn(lua_path, ";");
        if (memchr(lua_path, '?', size) == NULL) {
            *template = bytes_of(lua_path, size);
            return true;
        }
        lua_path = lua_path[size] == ';' ? lua_path + size + 1 : NULL;
    }
    return false;
}

static enum err check_lua_path(const struct config *c, uint32_t i, struct why *why)
{
    struct bytes template;
    if (!config_lua_path_is_bad(c->apps[i].lua_path, &template)) {
        return ERR_OK;
    }
    return err_why(why, ERR_INVALID,
                   "%s: apps[%u].lua_path: there is no \"?\" in \"%.*s\"; it is a list like "
                   "\"/usr/share/lua/5.4/?.lua;/usr/share/lua/5.4/?/init.lua\"",
                   c->path, i + 1, (int)(template.size < 200 ? template.size : 200),
                   (const char *)template.data);
}

static void name_app(struct config_app *app)
{
    char name[SCRIPT_NAME_MAX];
    if (app->name == NULL) {
        script_default_name(app->script, name);
        app->name = alloc_string(name);
    }
}

static enum err check_apps(const struct config *c, struct why *why)
{
    for (uint32_t i = 0; i < c->apps_count; i++) {
        char what[32];
        snprintf(what, sizeof what, "apps[%u].name", i + 1);
        enum err bad = check_script(c, i, why);
        bad = bad != ERR_OK ? bad : check_lua_path(c, i, why);
        if (bad != ERR_OK) {
            return bad;
        }
        name_app(&c->apps[i]);
        enum err e = check_name(c, what, c->apps[i].name, why);
        if (e != ERR_OK) {
            return e;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(c->apps[i].name, c->apps[j].name) == 0) {
                return err_why(why, ERR_INVALID, "%s: apps[%u] and apps[%u] are both named \"%s\"",
                               c->path, j + 1, i + 1, c->apps[i].name);
            }
        }
    }
    return ERR_OK;
}

static enum err check_log(const struct config *c, struct why *why)
{
    enum log_level level;
    enum log_format format;
    if (!log_level_parse(c->log_level, &level)) {
        return err_why(why, ERR_INVALID,
                       "%s: log level \"%s\" is none of debug, info, warn, error, off", c->path,
                       c->log_level);
    }
    if (c->log_format != NULL && !log_format_parse(c->log_format, &format)) {
        return err_why(why, ERR_INVALID, "%s: log format \"%s\" is none of console, logfmt, json",
                       c->path, c->log_format);
    }
    return ERR_OK;
}

enum err config_check(struct config *c, struct why *why)
{
    enum err e = check_name(c, "cluster", c->cluster, why);
    e = e != ERR_OK ? e : check_members(c, why);
    e = e != ERR_OK ? e : check_self(c, why);
    e = e != ERR_OK ? e : check_times(c, why);
    e = e != ERR_OK ? e : check_apps(c, why);
    e = e != ERR_OK ? e : check_log(c, why);
    if (e != ERR_OK) {
        return e;
    }
    if (c->data_dir == NULL) {
        return err_why(why, ERR_INVALID,
                       "%s: data_dir is missing: the directory where this node keeps its log (or "
                       "give --data-dir)",
                       c->path);
    }
    if (c->client == NULL) {
        const char *stated = config_self(c)->client;
        c->client = alloc_string(stated != NULL ? stated : default_client);
    }
    return ERR_OK;
}

const struct config_member *config_self(const struct config *c)
{
    for (uint32_t i = 0; i < c->members_count; i++) {
        if (strcmp(c->members[i].id, c->id) == 0) {
            return &c->members[i];
        }
    }
    return NULL;
}

void config_membership(const struct config *c, struct membership *out)
{
    ASSERT(c->members_count <= RAFT_MEMBERS_MAX);
    *out = (struct membership){0};
    for (uint32_t i = 0; i < c->members_count; i++) {
        if (c->members[i].joins) {
            continue;
        }
        struct membership_member *m = &out->at[out->count++];
        ASSERT(strlen(c->members[i].id) <= MEMBER_NAME_MAX);
        ASSERT(strlen(c->members[i].peer) <= MEMBER_ADDRESS_MAX);
        m->id = membership_id(c->members[i].id);
        m->voter = true;
        snprintf(m->name, sizeof m->name, "%s", c->members[i].id);
        snprintf(m->address, sizeof m->address, "%s", c->members[i].peer);
    }
}
