/* The Lua host: application scripts, their hooks, tasks and timers. The contract with users is in
 * lua/README.md; this is the contract with the node.
 *
 * A host is a plain single-threaded object without a thread, clock or socket of its own.
 * script_host_run() does the work that is due and returns when it wants to be called again; its
 * driver is a thread with a loop that can be woken (net/worker.h), or the simulator, inline. All
 * that crosses between the node's thread and the host's goes through bounded queues, both ways:
 *
 *     node                                                     host
 *       script_host_post(event)            ------------------>   mk.on hooks
 *       script_host_commit(entry)          ------------------>   mk.on("commit"), by cursor
 *       script_host_set_view(view)         ------------------>   mk.raft.status(), lease watch
 *       options.request(request)           <------------------   mk.raft.propose(), barrier, ...
 *       script_host_reply(id, result)      ------------------>
 *
 * Functions are for the driver's thread (the host's own) unless marked [any thread]. The host calls
 * options.wake [any thread] when script_host_run() should be called before its last deadline.
 *
 * What a script does cannot delay, crash or corrupt the host: it is preempted after a slice, killed
 * over its budget, refused memory over its cap (see sandbox.h, preempt.h, memory.h). */
#ifndef MK_SCRIPT_SCRIPT_H
#define MK_SCRIPT_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/log.h"
#include "port/clock.h"
#include "port/entropy.h"
#include "port/files.h"
#include "port/http.h"
#include "port/preempt.h"
#include "port/process.h"
#include "port/zones.h"

struct script_host;

enum { SCRIPT_NAME_MAX = 64 };

/* ---- host to node -------------------------------------------------------------------------- */

/* A request of a script to its node. The methods and parameters are those of the clients'
 * MessagePack-RPC: "propose" [machine, command, args, {timeout_ms, forward, fence, id}],
 * "query" [machine, name, args, {read, timeout_ms}], "barrier" [timeout_ms], "read_index"
 * [timeout_ms], "transfer" [id or nil, timeout_ms], "step_down" [], "shutdown" [], "cluster_call"
 * [id, topic, payload, timeout_ms] (answered with what the handler there returned), "cluster_send"
 * [id, topic, payload]. Three are the host's own: "commit_resume" [from_index, feed]  feed commits
 * from from_index (1 or more) on, each marked with this feed number; forget any earlier feed.
 * from_index may be lower than what was fed before, or not be applied yet. Where the log no longer
 * reaches back so far, post a "gap" event {from, to} and go on at to + 1. "leader_idle" []
 * all leader-only work has ended (see script_host_end_leader_work). "message_answer" [call,
 * err_name(), message, result]  of a script_host_call(). The node answers each request exactly once
 * with script_host_reply(), in any order. */
struct script_request {
    uint64_t id;
    char method[48];
    struct slice params; /* MessagePack array */
};
/* Accepts NULL. [any thread] */
void script_request_free(struct script_request *request);

/* ---- options ------------------------------------------------------------------------------- */

struct script_limits {
    uint64_t slice_us;        /* processor time before others get their turn; default 2 ms */
    uint64_t budget_us;       /* processor time without a wait before a task is killed; 100 ms */
    size_t memory_bytes;      /* per application state; 64 MiB */
    uint32_t events_max;      /* waiting events, per host and again per hook; 1024 */
    uint32_t commits_max;     /* commits waiting for hooks; 4096 */
    uint32_t tasks_max;       /* tasks of one application; 10000 */
    uint32_t requests_max;    /* unanswered requests of the host; 4096 */
    uint64_t lease_margin_us; /* leader-only work ends this long before the lease; 10 ms */
};

/* Replaces what is 0 by its default. */
void script_limits_fill(struct script_limits *limits);

struct script_node {
    const char *id; /* "n1" */
    const char *addr;
    const char *version;
    const char *cluster;
};

/* What a watcher may see, for the invariants of the simulator. Any may be NULL. Called on the
 * host's thread, from inside script_host_run(); must not call back into the host. */
struct script_observer {
    void *ctx;
    /* A task that works for a while_leader is about to be given a slice. */
    void (*leader_work)(void *ctx, uint64_t token);
    /* A commit hook is called. cursor: another number each time that a hook begins anew; of one
     * cursor the indexes ascend without holes, but for what a gap event said. */
    void (*commit)(void *ctx, uint64_t cursor, uint64_t index);
    /* An event of the host's own is told to hooks: error, shutdown, those of mk.emit. */
    void (*event)(void *ctx, const char *name, uint64_t term, struct bytes fields);
};

struct script_options {
    const struct clock_port *clock;
    const struct entropy_port *entropy;
    const struct preempt_port *preempt;   /* NULL: count instructions (simulation) */
    const struct zones_port *zones;       /* NULL: there is UTC alone */
    const struct process_port *processes; /* answers by script_host_reply(); NULL: no mk.exec */
    const struct http_port *http;         /* likewise; NULL: no requests of mk.http */
    const struct files_port *files;       /* likewise; NULL: no mk.fs */
    const struct log *log;
    /* Ordered pairs, seeded math.random, virtual os.time and os.clock, no C modules. */
    bool simulated;
    struct script_node node;     /* copied */
    struct script_limits limits; /* 0: the default */
    /* Takes over the request. Called on the host's thread, from inside script_host_run(). Must not
     * call back into the host except script_host_reply(). */
    void (*request)(void *ctx, struct script_request *request);
    void (*wake)(void *ctx); /* [any thread]; may be NULL */
    /* Once, on the host's thread: the main chunk of each application has come as far as to wait, or
     * to an end, good or bad. May be NULL. */
    void (*loaded)(void *ctx);
    void *ctx;
    struct script_observer observer;
};

/* Everything options points to stays valid until script_host_free(). */
struct script_host *script_host_new(const struct script_options *options);
/* Ends all applications without running anything more of theirs than their <close> variables.
 * Requests not yet answered are forgotten. Accepts NULL. */
void script_host_free(struct script_host *host);
/* The same for a process that has died: nothing of theirs runs any more, no <close> variable is
 * closed. Accepts NULL. */
void script_host_kill(struct script_host *host);

/* ---- applications -------------------------------------------------------------------------- */

struct script_app {
    const char *name;
    const char *path;     /* script file, relative to the working directory, or "bundled:NAME" */
    const char *source;   /* source text instead of the file; path is then its name in messages */
    struct bytes config;  /* MessagePack map: mk.config; empty for none */
    const char *lua_path; /* package.path for require beside the shipped modules; NULL: the script's
                             folder ("DIR/?.lua;DIR/?/init.lua") */
    const char *lua_path_more; /* appended to that; NULL: nothing */
    const char *lua_cpath;     /* package.cpath; NULL: no C modules. Ignored in simulation */
};

/* Compile a script in a state of its own; its main chunk runs as a task from the next
 * script_host_run() on. Returns with a sentence "worker.lua:3: ..." in why when it fails.
 * Errors: ERR_NOT_FOUND, ERR_IO (unreadable), ERR_INVALID (syntax), ERR_EXISTS (an application of
 * this name), ERR_TOO_LARGE (memory cap). */
enum err script_host_load(struct script_host *host, const struct script_app *app, struct why *why);

/* In place of one that could not be loaded: an application that does nothing and has failed, for
 * this reason, until a reload takes its place. */
void script_host_load_failed(struct script_host *host, const struct script_app *app,
                             const char *reason);

struct script_reload {
    const struct script_app *apps; /* all that there are to be; others end */
    uint32_t apps_count;
    /* Called once, on the host's thread, when each has changed hands or could not: a MessagePack
     * array of {app, generation, outcome, error}. outcome: "reloaded", "started" (a new one),
     * "ended" (it is not among apps), "unchanged" (a bundled script with the configuration that it
     * has), "failed": error says why, and the generation named goes on
     * (0: there is none). Or an error: BUSY (another reload is under way), SHUTDOWN. Borrowed. */
    void (*done)(void *ctx, enum err err, const char *message, struct bytes results);
    void *ctx;
};
/* Load applications anew while the others, and the old generations of these, go on: see reload.h.
 * What reload points to is copied. [any thread] */
void script_host_reload(struct script_host *host, const struct script_reload *reload);

/* Only read and compile it, without a host. Errors and why: as script_host_load(). */
enum err script_check(const char *path, struct why *why);
/* Would an application take its configuration? Its main chunk runs, without a node, as far as its
 * first wait: whatever it asks of the cluster, programs, HTTP or files is neither done nor
 * answered, its log goes nowhere, its hooks, tasks and timers are never called. */
struct script_check {
    struct script_app app;
    struct script_node node;
    struct script_limits limits;
    const struct clock_port *clock; /* for the time on the wall: no time passes */
    const struct entropy_port *entropy;
    const struct zones_port *zones; /* NULL: there is UTC alone */
};
struct script_checked {
    bool declared;       /* it has called mk.config.declare */
    bool settings_wrong; /* which raised the error */
    /* The error may be for want of what a configuration gives: of a setting, which was not there,
     * or of a module, which a lua_path may name. */
    bool lacks;
    bool waits;          /* it did not come to its end */
    char place[128];     /* where it waits: " (at worker.lua:7)" */
    struct buffer error; /* lines; closed by the caller, also after an error */
};
/* Errors: as script_host_load(); INVALID, the main chunk raised an error. */
enum err script_check_app(const struct script_check *check, struct script_checked *out);
/* The name of an application that was given none: "worker" for "scripts/worker.lua", "cron" for
 * "bundled:cron"; what a name may not hold becomes '_'. */
void script_default_name(const char *path, char out[SCRIPT_NAME_MAX]);

/* ---- running ------------------------------------------------------------------------------- */

/* Do what is due: deliver what came in, fire timers, give every task that can run one slice.
 * Returns when it should run again, in µs on the host's clock: at most now when there is more to
 * do, UINT64_MAX when only a message can bring more. */
uint64_t script_host_run(struct script_host *host);

/* ---- node to host -------------------------------------------------------------------------- */

enum {
    SCRIPT_TOPIC_MAX = 128,
    /* A payload, or an answer: as much as a snapshot's chunk, so that a heartbeat never waits
     * behind more than that. */
    SCRIPT_MESSAGE_BYTES_MAX = 256 * 1024,
};

/* An event for mk.on hooks. */
struct script_event {
    char name[32]; /* "leader_elected" */
    /* The node that node_online, node_offline and member_removed are about; else "". */
    char subject[SCRIPT_NAME_MAX];
    uint64_t seq;
    int64_t time_ms;
    uint64_t term;
    struct slice fields; /* MessagePack map with text keys; may be empty */
};
/* One on the heap. [any thread] */
struct script_event *script_event_new(const char *name);
/* Accepts NULL. [any thread] */
void script_event_free(struct script_event *event);

/* Deliver an event; takes it over. When the queue is full, a state event (leader_elected,
 * leader_lost, term_change, role_change, node_online, node_offline) replaces the waiting one of its
 * name; any other is dropped and counted, "message" before the others. [any thread] */
void script_host_post(struct script_host *host, struct script_event *event_take);

/* Answer request id; takes over result (MessagePack; empty is nil). message may be NULL: then the
 * error's own. An unknown or cancelled id is ignored. [any thread] */
void script_host_reply(struct script_host *host, uint64_t id, enum err err, const char *message,
                       struct slice result_take);

/* A call of another node's script (mk.cluster.call), or of this one's. */
struct script_call {
    uint64_t id; /* the node's: answered with the request "message_answer" */
    char from[SCRIPT_NAME_MAX];
    char topic[SCRIPT_TOPIC_MAX];
    struct slice payload; /* MessagePack */
    uint64_t until_us;    /* then nobody waits for the answer, and the handler is cancelled */
};
/* Hand it to the handler of its topic; takes a reference of the payload. False: too many wait.
 * [any thread] */
bool script_host_call(struct script_host *host, const struct script_call *call);

/* A committed entry that has been applied here. */
struct script_commit {
    uint64_t index;
    uint64_t term;
    uint64_t feed;       /* from the last "commit_resume" */
    struct slice entry;  /* the entry as logged, undecoded (wire/entry.h) */
    bool has_result;     /* what follows is known (it is still in the recent ring) */
    enum err err;        /* a command that was refused */
    bool repeated;       /* a command that had taken effect before, and not a second time */
    struct slice result; /* MessagePack */
};

/* True while a commit hook is registered: the node need not keep its feed going otherwise.
 * [any thread] */
bool script_host_wants_commits(const struct script_host *host);

/* Feed one commit; takes its own references. False when the queue is full: the node stops, and
 * feeds again from this index when the next "commit_resume" asks it to. Commits of another feed
 * than the last one asked for are ignored (true). Indexes of one feed ascend without holes, except
 * where the node posted a gap. [any thread] */
bool script_host_commit(struct script_host *host, const struct script_commit *commit);

enum { SCRIPT_PEERS_MAX = 32 };

enum script_role {
    SCRIPT_FOLLOWER,
    SCRIPT_PRE_CANDIDATE,
    SCRIPT_CANDIDATE,
    SCRIPT_LEADER,
    SCRIPT_LEARNER,
};
/* "pre_candidate" */
const char *script_role_name(enum script_role role);

struct script_peer {
    char id[SCRIPT_NAME_MAX];
    char addr[SCRIPT_NAME_MAX];
    bool voter;
    bool online;    /* this node's own link to it is up */
    bool in_touch;  /* with the leader, as that told all nodes (node_online) */
    uint64_t match; /* on the leader; of this node itself: what is durable here */
    uint64_t rtt_us;
};

/* What mk.raft.status() and is_leader() show without asking the node. */
struct script_view {
    enum script_role role;
    uint64_t term;
    char leader_id[SCRIPT_NAME_MAX]; /* "" when unknown */
    char leader_addr[SCRIPT_NAME_MAX];
    uint64_t commit_index;
    uint64_t last_applied;
    uint64_t last_index;
    uint32_t quorum;
    bool leader_ready; /* leader, own no-op applied */
    uint64_t token;    /* fencing token of this leadership; 0 when not leader */
    /* End of the leader lease on the host's clock, drift already deducted. In the past once it has
     * lapsed; 0 only where leases are off. */
    uint64_t lease_until_us;
    uint32_t peers_count;
    struct script_peer peers[SCRIPT_PEERS_MAX];
};
/* The peers that there are, not all that there is room for: views change with every commit. */
void script_view_copy(struct script_view *to, const struct script_view *from);
/* Replace the view. Wakes the host when role, term, readiness or an earlier lease end need it to
 * look. [any thread] */
void script_host_set_view(struct script_host *host, const struct script_view *view);

/* ---- leader-only work, shutdown ------------------------------------------------------------ */

/* Before a planned hand-over: cancel all while_leader work, give each its grace; the request
 * "leader_idle" follows when the last of it has ended (at once if there is none). No new work
 * starts until the view shows another term or script_host_resume_leader_work() (the hand-over was
 * given up). [any thread] */
void script_host_end_leader_work(struct script_host *host);
void script_host_resume_leader_work(struct script_host *host);
/* [any thread] */
bool script_host_has_leader_work(const struct script_host *host);

/* Run the shutdown hooks, which have until deadline_us. [any thread] */
void script_host_shutdown_begin(struct script_host *host, uint64_t deadline_us);
/* The shutdown hooks are through, or their deadline has passed. [any thread] */
bool script_host_shutdown_finished(const struct script_host *host);

/* ---- evaluation ---------------------------------------------------------------------------- */

struct script_eval {
    const char *app; /* whose globals it shares; NULL: those of "eval", which is made when needed
                        and where mk is a global */
    struct bytes source; /* an expression, or a chunk that returns its results */
    struct bytes args;   /* MessagePack array, what ... is in it; empty: none */
    /* Called once, on the host's thread: the results as a MessagePack array, or an error: NOT_FOUND
     * (no such app), INVALID (syntax, args, results that have no MessagePack), REJECTED (it
     * raised), CANCELLED (killed over its budget), SHUTDOWN. message says more; it may be NULL.
     * Borrowed. */
    void (*done)(void *ctx, enum err err, const char *message, struct bytes results);
    void *ctx;
};
/* Run a piece of Lua as a task of an application: it may wait like any other. What eval points to
 * is copied. [any thread] */
void script_host_eval(struct script_host *host, const struct script_eval *eval);

/* ---- HTTP ---------------------------------------------------------------------------------- */

/* A request that came to the node and is not for the node itself: for the routes of its scripts. */
struct script_http_request {
    const char *method;  /* "GET" */
    const char *path;    /* percent-decoded */
    const char *query;   /* as it came, without the '?'; "" for none */
    const char *remote;  /* who asks: "192.0.2.1:43210" */
    struct bytes fields; /* MessagePack array [name, value, name, value, ...]; empty: none */
    struct bytes body;
    /* Called once, on the host's thread, unless script_host_http() refused: the answer as in
     * wire/http_answer.h, also where there is no such route or its script failed. Borrowed. */
    void (*done)(void *ctx, struct bytes answer);
    void *ctx;
};
/* What request points to is copied. False, and done is not called: too many are under way.
 * [any thread] */
bool script_host_http(struct script_host *host, const struct script_http_request *request);

/* ---- figures ------------------------------------------------------------------------------- */

struct script_stats {
    uint64_t apps;
    uint64_t tasks;
    uint64_t tasks_killed;
    uint64_t hook_calls;
    uint64_t hook_errors;
    uint64_t events_dropped;
    uint64_t requests;
    uint64_t requests_pending;
    uint64_t commits_delivered;
    uint64_t commits_held;   /* taken from the node and not yet through all hooks */
    uint64_t events_waiting; /* for the host itself, not yet at its hooks */
    uint64_t memory_bytes;
};
/* As of the end of the last run. [any thread] */
void script_host_stats(const struct script_host *host, struct script_stats *out);
/* MessagePack array of {app, event, name, state, calls, errors, killed, lag, p99_us, sum_us,
 * buckets, dropped}: what `moonkeeper hooks` shows, at most a quarter of a second old. buckets
 * counts the calls by duration as base/histogram.h has it. Owned by the caller. [any thread] */
struct slice script_host_hooks(const struct script_host *host);
/* MessagePack array of {app, path, state, error, generation, reload_error, tasks, tasks_killed,
 * errors, memory_bytes}, as old. state: "starting"; "running", once its main chunk waits or has
 * ended; "failed", when that did not come to its end: error says why. reload_error: why the next
 * generation did not take over. Owned by the caller. [any thread] */
struct slice script_host_apps(const struct script_host *host);

/* The lines of mk.metrics for the page of /metrics (base/metrics.h), as old. Owned by the caller.
 * [any thread] */
struct slice script_host_metrics(const struct script_host *host);

#endif
