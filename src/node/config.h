/* A node's configuration: a Lua file that returns a table, checked against a schema.
 *
 * The file runs in an empty environment (not even the string library) with a limit on instructions
 * and memory: it can compute its table, and nothing else. Precedence: flag > environment > file >
 * default, so the caller goes
 *
 *     config_load(path, &c, &why);                   // defaults, then the file
 *     config_set(&c, "data_dir", value, &why);       // environment, then flags
 *     config_check(&c, &why);                        // derived values, and what must hold together
 *
 * All times are whole milliseconds. Paths are relative to the working directory. What addresses
 * mean (syntax, loopback or not) is for those who listen on them: here they are text.
 *
 * Errors are one sentence each, with the file and the path of the value: "node.lua: members[2].peer
 * must be text, not a number". */
#ifndef MK_NODE_CONFIG_H
#define MK_NODE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "wire/membership.h"

enum {
    CONFIG_MEMBERS_MAX = RAFT_MEMBERS_MAX,
    CONFIG_APPS_MAX = 64,
    /* Not more: an entry goes to the other nodes in one frame, beside others. */
    CONFIG_PROPOSAL_BYTES_MAX = 8 << 20,
};

struct config_member {
    char *id;
    char *peer;   /* where its peers reach it */
    char *client; /* where clients reach it; NULL: not stated */
    bool joins;   /* no first member: it waits until it is added */
};

struct config_app {
    char *name;           /* unless stated: that of the script, from config_check on */
    char *script;         /* path, or "bundled:NAME" */
    char *lua_path;       /* where require also looks, as package.path; NULL: nowhere */
    struct buffer config; /* MessagePack map: the app's mk.config */
};

struct config_limits {
    uint64_t proposal_bytes;
    uint64_t pending;     /* unanswered proposals and reads of this node */
    uint64_t cache_bytes; /* log kept in memory for followers */
    uint64_t segment_bytes;
    uint64_t clients; /* connections */
    uint64_t script_memory_bytes;
    uint64_t script_budget_ms;
};

/* When a snapshot is taken, and what stays of the log: struct node_snapshot_options. */
struct config_snapshot {
    uint64_t entries;
    uint64_t bytes;
    uint64_t keep_entries;
    uint64_t hold_bytes;
};

/* Zero it before config_load. Owns its strings. */
struct config {
    char *path; /* of the file, as given */
    char *cluster;
    char *id;
    struct config_member *members;
    uint32_t members_count;
    char *client; /* listener for clients */
    char *http;   /* listener for people; NULL: off */
    char *data_dir;
    uint64_t election_min_ms;
    uint64_t election_max_ms;
    uint64_t heartbeat_ms;
    uint64_t stop_ms; /* a planned stop takes at most this long */
    bool prevote;
    bool check_quorum;
    bool lease;
    bool fast_failover;
    bool insecure;   /* listen beyond loopback without TLS and tokens */
    bool core_dumps; /* off: a crash is over at once */
    char *log_level;
    char *log_format; /* NULL: console on a terminal, else logfmt */
    struct config_limits limits;
    struct config_snapshot snapshot;
    struct config_app *apps;
    uint32_t apps_count;
};

/* Errors: NOT_FOUND and IO (the file cannot be read), INVALID (anything in it). */
enum err config_load(const char *path, struct config *out, struct why *why);
/* The same from text; path is its name in messages. */
enum err config_load_text(const char *path, struct bytes text, struct config *out, struct why *why);
/* Read another file over c: what it states replaces what was there, but for apps, which it adds.
 * Everything in it is optional. */
enum err config_overlay(const char *path, struct config *c, struct why *why);
enum err config_overlay_text(const char *path, struct bytes text, struct config *c,
                             struct why *why);
/* Accepts a zeroed object, and one that a failed config_load left. */
void config_close(struct config *c);
/* Lua takes a template without a "?" for a file, whatever is required: which one of lua_path is? */
bool config_lua_path_is_bad(const char *lua_path, struct bytes *template);
void config_close_members(struct config *c);

/* Override a value by text, from a flag or the environment: id, client, http ("off": none),
 * data_dir, log_level, log_format, insecure ("true", "false"). Errors: NOT_FOUND, INVALID. */
enum err config_set(struct config *c, const char *key, const char *value, struct why *why);
/* Names that config_set knows. */
extern const char *const config_settable[];
extern const unsigned config_settable_count;

/* Fill in what follows from other values, and check what must hold between them. Errors: INVALID.
 */
enum err config_check(struct config *c, struct why *why);

/* The settings, applications apart, that the two differ in: their names. Both after config_check.
 */
enum { CONFIG_CHANGES_MAX = 32 };
uint32_t config_changes(const struct config *a, const struct config *b,
                        const char *names[CONFIG_CHANGES_MAX]);

/* After config_check. */
const struct config_member *config_self(const struct config *c);
void config_membership(const struct config *c, struct membership *out);

#endif
