/* What scenario tests are played on: a stage (one flow of time) with clusters (targets) on it.
 *
 * There are two: target_sim.c, where a cluster is a simulated world and time is virtual, and
 * target_real.c, where it is real processes behind proxies. The driver (driver.h) is the only
 * caller; a test cannot tell which of the two it runs on but by asking.
 *
 * Everything happens on one thread. Whatever takes time is asked for with a reply function, which
 * is called exactly once: from inside the request (then it cost no time), or later from inside
 * stage_run(). Nothing else happens outside of stage_run(): between two runs time stands still in
 * simulation, and events wait in the loop on real processes. Results are MessagePack, borrowed for
 * the call of the reply function; an error has a message that says what, where and what to do.
 *
 * Nodes are numbered from 1, as in lua_api.md; node i is named "n<i>". */
#ifndef MK_SCENARIO_TARGET_H
#define MK_SCENARIO_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "node/node.h"
#include "sim/http_servers.h"

struct target;
struct stage;

enum { TARGET_NODES_MAX = 16, TARGET_SCRIPTS_MAX = 16 };

/* ---- what a cluster is made of --------------------------------------------------------------- */

struct target_script {
    char *name;           /* of the application */
    char *path;           /* of its file; relative to the working directory */
    struct buffer config; /* MessagePack map: its mk.config; may be empty */
    char *lua_path;       /* as of apps in a configuration; NULL: none */
};

/* The log that a node finds on its disk at its first start: terms[0] is the term of entry 1. All of
 * them are opaque commands (see "submit"), which carry the text "INDEX.TERM". The current term of
 * all nodes is the highest in any of the logs; they have voted for nobody in it. Written into the
 * empty data directories by write_log() (write_log.h). */
struct target_log {
    uint64_t *terms;
    uint32_t count;
};

/* t.cluster{...}, checked, with the defaults filled in. All members, names and paths are owned by
 * the options. */
struct target_options {
    uint32_t nodes;  /* initial members, all voters: 1..nodes */
    uint32_t spares; /* hosts beyond them for c:add(): nodes + 1 .. nodes + spares */
    uint64_t seed;
    uint64_t election_min_ms, election_max_ms;
    uint64_t heartbeat_ms;
    uint64_t latency_min_us, latency_max_us; /* one way; on real processes added by the proxies */
    double loss, duplicate, reorder;         /* probability per frame */
    uint64_t reorder_min_us, reorder_max_us; /* how much later a reordered frame comes */
    bool prevote, check_quorum, fast_failover, lease;
    uint64_t snapshot_entries, snapshot_bytes, snapshot_keep_entries; /* 0: the node's default */
    struct target_script scripts[TARGET_SCRIPTS_MAX];
    uint32_t scripts_count;
    struct target_log logs[TARGET_NODES_MAX]; /* of node i at [i - 1] */
};
/* Accepts a zeroed object. */
void target_options_close(struct target_options *o);
/* Of one on the heap. Accepts NULL. */
void target_options_free(struct target_options *o);

/* ---- links ----------------------------------------------------------------------------------- */

struct target_link { /* from one node to another, one way */
    uint32_t from, to;
};

/* Messages by type, for rules and counts; bits. */
enum target_message {
    TARGET_VOTE = 1 << 0, /* requests: pre-votes too */
    TARGET_APPEND = 1 << 1,
    TARGET_SNAPSHOT = 1 << 2,
    TARGET_TIMEOUT_NOW = 1 << 3,
    TARGET_VOTE_REPLY = 1 << 4,
    TARGET_APPEND_REPLY = 1 << 5,
    TARGET_SNAPSHOT_REPLY = 1 << 6,
    TARGET_OTHER = 1 << 7, /* forwarded commands, reads, requests between nodes */
    TARGET_REQUESTS = TARGET_VOTE | TARGET_APPEND | TARGET_SNAPSHOT | TARGET_TIMEOUT_NOW,
    TARGET_REPLIES = TARGET_VOTE_REPLY | TARGET_APPEND_REPLY | TARGET_SNAPSHOT_REPLY,
    TARGET_MESSAGES = (1 << 8) - 1,
};

struct target_drop {
    unsigned types;     /* of enum target_message */
    double probability; /* per frame; 0 ends the rule for these types */
    uint64_t count;     /* so many frames are dropped at most; 0: no limit */
};

struct target_delay { /* replaces the latency of the link */
    unsigned types;
    double probability; /* per frame; others take the link's latency */
    uint64_t min_us, max_us;
};

/* ---- faults that only the simulation has ------------------------------------------------------
 */

struct target_disk {
    const char *kind; /* "ok", "slow", "stall", "fsync_fail", ...: sim/sim_disk.h */
    double ms;        /* slow: each job takes that much longer; 0: the default */
    uint64_t bytes;   /* full: free bytes left */
    const char *file; /* flip: name within the data directory; NULL: the newest segment */
    uint64_t offset;  /* flip */
    bool of_scripts;  /* the disk with their files, in place of that with the log */
};

/* A program that scripts may run with mk.exec, as the scenario has it. */
struct target_program {
    const char *name; /* what argv[0] calls it; replaces an earlier one */
    uint32_t node;    /* what that one has under this name; 0: all that have none of their own */
    bool for_ever;    /* it does not end by itself */
    uint64_t run_min_us, run_max_us;
    int code; /* its exit code then */
    struct bytes output, errors;
    bool exits_when_asked; /* to stop, after stop_us; else it dies of the signal at once */
    uint64_t stop_us;
    bool ignores_stop;
};

/* A request to a node's HTTP listener. */
struct target_http {
    const char *method, *target; /* path and query, as they go over the wire */
    const struct http_field *fields;
    size_t fields_count;
    struct bytes body;
    uint64_t timeout_us;
};

/* ---- a cluster ------------------------------------------------------------------------------- */

struct target_crash {
    bool host;         /* guardian and unsynced data too; no certificate */
    bool auto_restart; /* the guardian restarts the node, as it would outside of tests */
};

struct target_events_filter {
    const char *name;  /* NULL: all */
    uint32_t node;     /* 0: of all */
    uint64_t since_us; /* on the stage's clock */
};

struct target_rpcs {
    uint64_t count, bytes;
};

struct target_vtable {
    /* Ends every process at once, frees everything. Calls not yet answered are answered with
     * ERR_SHUTDOWN. */
    void (*close)(struct target *t);
    /* Its test has failed: close() is to leave what can be looked at (data directories), and the
     * timeline names it. NULL: there is no such thing. */
    void (*keep)(struct target *t);

    /* Processes. start replies when the node runs (its data recovered, about to take part): with
     * its error if it refuses. stop replies when guardian and node have ended as planned. crash
     * replies when the process is dead (and, unless host, the certificates are on their way).
     * Errors: EXISTS (start: it runs), NOT_FOUND (stop, crash: it does not). */
    void (*start)(struct target *t, uint32_t node, node_reply_fn reply, void *ctx);
    void (*stop)(struct target *t, uint32_t node, node_reply_fn reply, void *ctx);
    void (*crash)(struct target *t, uint32_t node, const struct target_crash *how,
                  node_reply_fn reply, void *ctx);
    void (*pause)(struct target *t, uint32_t node, bool paused);
    /* A new, empty disk. Errors: BUSY (it runs, or its guardian does). */
    enum err (*wipe)(struct target *t, uint32_t node, struct why *why);
    /* There is a process, paused or not. */
    bool (*alive)(const struct target *t, uint32_t node);
    bool (*paused)(const struct target *t, uint32_t node);

    /* Have the node load its scripts anew, and at later starts: those of options, borrowed until
     * the next such call for this node, or close; NULL: those that it has. Replies as "reload" does
     * (cli/daemon_reload.h). Errors: UNREACHABLE (it does not run; it will have them when it is
     * started), BUSY. */
    void (*reload)(struct target *t, uint32_t node, const struct target_options *scripts,
                   node_reply_fn reply, void *ctx);

    /* Network, from now on. A cut loses and closes nothing at first (TCP repeats): what is sent
     * waits until the link is mended or its connection breaks. */
    void (*cut)(struct target *t, struct target_link link, bool cut);
    /* A rule takes its types from the earlier ones; with probability 0 it only ends those. */
    void (*delay)(struct target *t, struct target_link link, const struct target_delay *rule);
    void (*drop)(struct target *t, struct target_link link, const struct target_drop *rule);
    /* Ends all of the above: the links are as in the options again. */
    void (*heal)(struct target *t);

    /* Asking a node what its clients may ask: "propose", "query", "status", "transfer", ... with
     * the parameters of node/api.c. Errors: UNREACHABLE (it does not run, or died meanwhile). */
    void (*call)(struct target *t, uint32_t node, const char *method, struct bytes params,
                 node_reply_fn reply, void *ctx);
    /* clang-format off */
    /* Asking what only tests may:
     *   "state"    [] -> {role, term, leader?, ready, commit_index, last_applied, last_index}; leader is
     *              a number; ready: it leads, and a no-op of its own is committed
     *   "eval"     [source, arguments...] -> array of the results of the chunk, run as a task of an
     *              application of its own, with mk
     *   "log"      [index] -> {term, kind?, bytes?} or nil (no such entry, or compacted); kind and bytes
     *              (of an opaque command) as long as the node has the entry in memory
     *   "vote"     [] -> {term, voted_for?}, a number; as it is durable or is being written
     *   "campaign" [] -> nil: its election timeout passes now
     *   "submit"   [bytes] -> [index, term] at once: an opaque command is in this leader's log
     *              (node_submit() in node/node.h)
     *   "applied"  [index] -> bytes of the opaque command that was applied at index; true: applied, but
     *              another entry; nil: not applied yet
     *   "metrics"  [] -> text: what scripts add to the page of /metrics, a quarter of a second old at most
     * The simulation answers all but eval at once, also for a node that is paused (but campaign and
     * submit); a real one that is paused does not answer: TIMEOUT, after a second.
     * Errors: UNREACHABLE, NOT_LEADER (submit), what eval raised as ERR_REJECTED. */
    /* clang-format on */
    void (*control)(struct target *t, uint32_t node, const char *method, struct bytes params,
                    node_reply_fn reply, void *ctx);

    /* What hooks would have been told, of all nodes, in order of time: an array of {time_ms, node,
     * name, and the event's fields}; time_ms on the stage's clock, node a number. */
    void (*events)(struct target *t, const struct target_events_filter *filter, node_reply_fn reply,
                   void *ctx);
    /* Frames sent (also those that were lost) by node (0: all) of these types since the start. */
    struct target_rpcs (*rpcs)(const struct target *t, uint32_t node, unsigned types);

    /* Are the invariants held (safety, not linearizability, which is the driver's)? rule: one of
     * target_rules, NULL: all. Replies OK or ERR_REJECTED and what is wrong. Both targets check
     * all of them whichever is named: the simulation all the time, so that it replies at once; on
     * real processes the nodes are stopped, compared, and those that ran are started again unless
     * last. */
    void (*check)(struct target *t, const char *rule, bool last, node_reply_fn reply, void *ctx);

    /* What went wrong by itself, whatever the test is doing: a violated invariant, a crash that
     * nobody asked for, a node that gave up. NULL while all is well. */
    const char *(*failure)(struct target *t);
    /* Append the last lines_max lines of what happened: "   1.234567  n2  append ...". */
    void (*timeline)(struct target *t, uint32_t lines_max, struct buffer *out);
    /* Tell each line of the timeline as it happens; NULL: to nobody. */
    void (*set_live)(struct target *t, void (*live)(void *ctx, const char *line), void *ctx);
    /* Simulation: of all that happened; real processes: 0. */
    uint64_t (*trace_hash)(const struct target *t);

    /* Servers that scripts may ask over HTTP, and what they received: http_servers_define(), from
     * now on; times on the stage's clock. Hosts are counted from 0. */
    struct http_servers *(*http_servers)(struct target *t);
    /* Ask a node: the answer as in wire/http_answer.h. In simulation there are the routes of its
     * scripts alone. Errors: UNREACHABLE (it does not run, or died meanwhile), TIMEOUT. */
    void (*http)(struct target *t, uint32_t node, const struct target_http *request,
                 node_reply_fn reply, void *ctx);

    /* Simulation only; NULL elsewhere. Errors: INVALID, NOT_FOUND. */
    enum err (*skew)(struct target *t, uint32_t node, int64_t offset_ms, int32_t ppm,
                     struct why *why);
    /* The clock on the wall of a node is set; no other clock of its. */
    void (*set_wall)(struct target *t, uint32_t node, int64_t wall_ms);
    enum err (*disk)(struct target *t, uint32_t node, const struct target_disk *fault,
                     struct why *why);
    void (*program)(struct target *t, const struct target_program *program);
    /* Append an array of the runs there were, in the order of their beginnings: {node, name,
     * arguments, pid, token?, began_ms, ended_ms?, code?, signal?}; times on the stage's clock. */
    void (*programs)(struct target *t, struct buffer *out);
};

struct target {
    const struct target_vtable *vtable;
};

/* Names for c:check(), NULL at the end. */
extern const char *const target_rules[];

/* ---- the stage ------------------------------------------------------------------------------- */

struct stage_vtable {
    /* All targets have been closed. */
    void (*free)(struct stage *s);
    /* Since the stage was set up: the clock of the test itself. */
    uint64_t (*now_us)(const struct stage *s);
    /* Let time go on to until_us at the latest; return as soon as a reply function was called, a
     * target failed, or stage_wake() was called. Returning early for no reason is allowed. */
    void (*run)(struct stage *s, uint64_t until_us);
    /* Set a cluster up, nothing of it running. options are borrowed until close. Errors: INVALID,
     * IO. */
    enum err (*open)(struct stage *s, const struct target_options *options, struct target **out,
                     struct why *why);
};

struct stage {
    const struct stage_vtable *vtable;
    const char *mode; /* "sim" or "real" */
};

struct stage *stage_sim_new(uint64_t seed);

struct stage_real_options {
    const char *program; /* the moonkeeper to start; /proc/self/exe where it is NULL */
    const char *tmp_dir; /* where clusters make their directories; /tmp where it is NULL */
    uint32_t patience;   /* as in struct scenario_run; at least 1 */
};
/* Errors: IO. */
enum err stage_real_new(const struct stage_real_options *options, struct stage **out,
                        struct why *why);

#endif
