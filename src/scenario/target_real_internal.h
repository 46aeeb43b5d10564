/* A cluster of real processes, in pieces:
 *
 *     target_real.c         the stage, the cluster as a whole, its network of proxies
 *     target_real_config.c  what the nodes are started with
 *     target_real_host.c    the processes of one node: started, watched, stopped, killed
 *     target_real_ask.c     questions to nodes, and their events
 *     target_real_http.c    the world outside, as far as it speaks HTTP
 *     target_real_check.c   the invariants, from outside
 *
 * Everything happens on the one loop of the stage. */
#ifndef MK_SCENARIO_TARGET_REAL_INTERNAL_H
#define MK_SCENARIO_TARGET_REAL_INTERNAL_H

#include <limits.h>
#include <sys/queue.h>

#include "base/rng.h"
#include "net/child.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "net/rpc_channel.h"
#include "scenario/proxy.h"
#include "scenario/real_timeline.h"
#include "scenario/target.h"
#include "wire/membership.h"

struct target_real;

struct stage_real {
    struct stage stage;
    struct loop *loop;
    struct clock_port clock;
    uint64_t started_us;
    char program[PATH_MAX];
    char directory[PATH_MAX / 2]; /* where clusters make theirs */
    uint64_t opened;
    uint32_t patience;
    bool happened; /* the driver wants to know of something */
    LIST_HEAD(, target_real) targets;
};

enum host_state {
    HOST_DOWN,     /* no process */
    HOST_STARTING, /* a guardian runs, its node does not answer yet */
    HOST_UP,
    HOST_CRASHED,  /* a guardian runs and waits, the node is dead */
    HOST_STOPPING, /* as planned */
};

/* The machine of one node. */
struct host {
    struct target_real *target;
    uint32_t node; /* its number, from 1 */
    char name[16];
    struct address peer, client, http;
    int reserved[3];
    struct http_server *outside; /* what its scripts' HTTP requests reach */
    char directory[PATH_MAX], config[PATH_MAX + 16], control_path[PATH_MAX + 16];

    const struct target_options
        *scripts; /* instead of those of all nodes; NULL: none were loaded anew */

    enum host_state state;
    bool ever_up;
    bool wiped; /* it may be refused by its peers, and end */
    bool paused;
    bool off;         /* with its machine: nothing passes to it and from it */
    bool crashing;    /* SIGKILL is on its way */
    bool restarting;  /* to be started again when it is dead */
    bool unexplained; /* it died and nobody had asked for that */
    struct child *guardian;
    pid_t pid;                   /* of the node, from up to reaped; 0: none */
    struct process_watch *watch; /* of that process */
    struct rpc_channel *control; /* NULL unless starting or up */
    struct rpc_channel *calls;   /* to its client listener; NULL unless up */
    struct loop_timer *timer;    /* to look again soon: is it up, is it reaped */
    uint64_t starting_us;        /* since */
    uint32_t childless;          /* looks in a row at which the guardian had no node */
    node_reply_fn reply;         /* of the start, stop or crash that is under way; NULL: none */
    void *reply_ctx;
    char last_error[512]; /* the last line of level error */
};

struct real_event {
    uint64_t time_us;
    uint32_t node;
    uint64_t term;
    char name[32];
    struct slice fields;
};

struct real_call {
    LIST_ENTRY(real_call) link;
    struct target_real *target;
    node_reply_fn reply;
    void *ctx;
};

struct target_real {
    struct target target;
    struct stage_real *stage;
    const struct target_options *options;
    LIST_ENTRY(target_real) link;
    char directory[PATH_MAX / 2 + 32];
    uint32_t nodes; /* spares included */
    struct host hosts[TARGET_NODES_MAX];
    struct proxy *proxies[TARGET_NODES_MAX][TARGET_NODES_MAX]; /* from, to; by number - 1 */
    bool cut[TARGET_NODES_MAX][TARGET_NODES_MAX];
    struct real_timeline *timeline;
    struct real_event *events; /* in order of time */
    size_t events_count, events_capacity;
    LIST_HEAD(, real_call) calls;
    struct http_servers *http_servers;
    LIST_HEAD(, real_http) http_calls; /* that its nodes' scripts made, and are to be answered */
    struct http_client *http_client;   /* to its nodes */
    LIST_HEAD(, real_http_ask) http_asks;
    struct rng rng;
    struct real_check *check; /* the one under way; NULL: none */
    bool closing;
    bool kept;         /* the directory stays */
    char failure[640]; /* "": none */
};

static inline struct target_real *target_real_of(struct target *t)
{
    return (struct target_real *)t;
}
static inline const struct target_real *target_real_of_const(const struct target *t)
{
    return (const struct target_real *)t;
}

/* ---- target_real.c ---- */

uint64_t target_real_now_us(const struct target_real *t);
/* Node 0: all. */
#define target_real_note(t_, node_, ...) \
    real_timeline_note((t_)->timeline, target_real_now_us(t_), (node_), __VA_ARGS__)
/* The first one counts. */
void target_real_fail(struct target_real *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* After a cut, or after a machine went off or on. */
void target_real_set_cuts(struct target_real *t);
/* Its machine comes back: what was connected to it is not any more. */
void target_real_reset_links(struct target_real *t, uint32_t node);

/* ---- target_real_config.c ---- */

/* Write the node's configuration file. Errors: IO, INVALID (an application's configuration). */
enum err target_real_write_config(const struct host *h, struct why *why);
/* "n2=127.0.0.1:7200,...": its proxies. */
void target_real_dial_map(const struct host *h, struct buffer *out);
/* The members that it begins with. */
void target_real_membership(const struct target_real *t, struct membership *out);
#define TARGET_REAL_CLUSTER "scenario"

/* ---- target_real_host.c ---- */

/* Errors: IO. */
enum err host_open(struct host *h, struct target_real *t, uint32_t node, struct why *why);
/* Kills what runs. */
void host_close(struct host *h);
/* The reply comes as the vtable says. */
void host_start(struct host *h, node_reply_fn reply, void *ctx);
void host_stop(struct host *h, node_reply_fn reply, void *ctx);
void host_crash(struct host *h, const struct target_crash *how, node_reply_fn reply, void *ctx);
void host_pause(struct host *h, bool paused);

/* ---- target_real_ask.c ---- */

void target_real_call(struct target *t, uint32_t node, const char *method, struct bytes params,
                      node_reply_fn reply, void *ctx);
void target_real_control(struct target *t, uint32_t node, const char *method, struct bytes params,
                         node_reply_fn reply, void *ctx);
void target_real_events(struct target *t, const struct target_events_filter *filter,
                        node_reply_fn reply, void *ctx);
/* [time_us, name, term, fields], from a node's control socket. */
void target_real_take_event(struct target_real *t, uint32_t node, struct bytes params);

/* ---- target_real_http.c ---- */

/* A listener for the requests of one node's scripts. Errors: IO. */
enum err target_real_http_open(struct host *h, struct why *why);
void target_real_http_close(struct host *h);
struct http_servers *target_real_http_servers(struct target *t);
/* Requests to nodes. */
void target_real_http(struct target *t, uint32_t node, const struct target_http *request,
                      node_reply_fn reply, void *ctx);
/* Those that are under way are answered. */
void target_real_http_give_up(struct target_real *t);

/* ---- target_real_check.c ---- */

void target_real_check(struct target *t, const char *rule, bool last, node_reply_fn reply,
                       void *ctx);
/* Give it up. */
void target_real_check_close(struct target_real *t);

#endif
