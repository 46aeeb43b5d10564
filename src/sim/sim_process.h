/* A simulated host: its disk, its clock, its guardian, and the process of its node.
 *
 *     host      disk and boot clock. Its crash drops what was not synced.
 *     guardian  the page shared with the node. It tells the peers of the node's death, restarts the
 *               node with back-off, and ends with its host or when it is killed itself.
 *     process   one struct node with its executor and connections; a new incarnation each time.
 *
 * The process handles one happening at a time (a frame, a disk job done, a timer), as the real loop
 * does. While it is paused (SIGSTOP) they wait, time goes on, and then all come at once.
 *
 * What happens here is seen by a struct sim_watch: the checker of invariants. */
#ifndef MK_SIM_SIM_PROCESS_H
#define MK_SIM_SIM_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "node/node.h"
#include "script/script.h"
#include "sim/events.h"
#include "sim/sim_clock.h"
#include "sim/sim_executor.h"
#include "sim/sim_fs.h"
#include "sim/sim_net.h"
#include "sim/world.h"

struct sim_process;

enum sim_end {
    SIM_END_CRASH,    /* the process died; its guardian certifies that and restarts it */
    SIM_END_KILLED,   /* the same, but it is not restarted by itself */
    SIM_END_GUARDIAN, /* guardian and process died; the host lives */
    SIM_END_HOST,     /* the machine lost power */
    SIM_END_STOPPED,  /* a planned stop, through to its end */
    SIM_END_FAILED,   /* the node gave up (its disk failed); not restarted by itself */
    SIM_ENDS
};
const char *sim_end_name(enum sim_end end);

/* What waits between a node and its scripts, in items. */
struct sim_script_queues {
    uint64_t events;   /* for the host */
    uint64_t commits;  /* for hooks */
    uint64_t pending;  /* requests without an answer */
    uint64_t requests; /* for the node */
};

/* All are called from the world; host is an index. Any may be NULL. */
struct sim_watch {
    void *ctx;
    /* A process is up: opened and recovered, about to take part. */
    void (*started)(void *ctx, uint32_t host, const struct node *n);
    /* It is about to be freed. */
    void (*ended)(void *ctx, uint32_t host, const struct node *n, enum sim_end how);
    /* node_open() refused. */
    void (*refused)(void *ctx, uint32_t host, enum err err, const char *why);
    void (*stepped)(void *ctx, uint32_t host, const struct raft_event *event,
                    const struct raft_effects *effects);
    void (*applied)(void *ctx, uint32_t host, struct raft_pos pos, const struct entry *entry,
                    enum err outcome, bool duplicate);
    /* The state was replaced by that of a snapshot, which ends with this entry. */
    void (*restored)(void *ctx, uint32_t host, struct raft_pos last);
    void (*sent)(void *ctx, uint32_t host, uint32_t to, struct slice frame);
    /* The ordinal-th job of this host's disk was done; jobs_started had been started when it
     * was. */
    void (*job_done)(void *ctx, uint32_t host, uint64_t ordinal, bool synced);
    /* The process has handled what happened to it. */
    void (*handled)(void *ctx, uint32_t host);
    /* What hooks are told (node_observer.event, script_observer.event). */
    void (*event)(void *ctx, uint32_t host, const char *name, raft_term term, struct bytes fields);
    /* The scripts of the process: a line that was logged, without its time; an application that
     * could not be loaded, so that nothing starts; leader-only work and commits as in struct
     * script_observer; what is in their queues after they ran. */
    void (*said)(void *ctx, uint32_t host, const char *line);
    void (*scripts_refused)(void *ctx, uint32_t host, const char *why);
    void (*leader_work)(void *ctx, uint32_t host, uint64_t token);
    void (*commit_told)(void *ctx, uint32_t host, uint64_t cursor, uint64_t index);
    void (*scripts_ran)(void *ctx, uint32_t host, const struct sim_script_queues *queues);
};

struct sim_process_options {
    uint32_t host;
    const raft_id *ids; /* of all hosts; borrowed for the life of the process */
    uint32_t hosts;
    struct sim_process *const *all; /* by index; borrowed, filled in before the world runs */
    struct node_options node;       /* its strings are borrowed likewise */
    struct sim_clock_setup clock;
    struct sim_disk_rule disk;
    struct sim_span start_time;  /* from fork to open */
    struct sim_span death_time;  /* from death to the certificates */
    struct sim_span round_delay; /* from the first to the last event of a round */
    uint64_t restart_min_us, restart_max_us;
    const struct script_app *scripts; /* of every process; borrowed */
    uint32_t scripts_count;
    bool evals; /* sim_process_eval() also without scripts */
    struct script_limits script_limits;
    struct sim_programs *programs;     /* that scripts may run; borrowed; NULL without scripts */
    struct http_servers *http_servers; /* that they may ask; likewise */
    const struct zones_port *zones;    /* for scripts; NULL: there is UTC alone */
    struct events *events;             /* what its nodes tell hooks; borrowed; NULL: not recorded */
};

struct sim_process *sim_process_new(struct world *w, struct sim_net *net,
                                    const struct sim_process_options *options,
                                    const struct sim_watch *watch);
/* Accepts NULL. */
void sim_process_free(struct sim_process *p);

/* Start a guardian, which starts the node. The host must be down. */
void sim_process_boot(struct sim_process *p);
/* What its disk holds was put there by somebody else: at its first start it has promised nothing to
 * anybody, and need not keep quiet for as long as a promise lasts. */
void sim_process_promised_nothing(struct sim_process *p);
/* Its guardian starts the node again, after SIM_END_KILLED or FAILED; a new guardian does where
 * there is none. The host must be down. */
void sim_process_restart(struct sim_process *p);
/* End it, in any way but STOPPED. Nothing happens if there is nothing left to end. Not from inside
 * the node: schedule it. */
void sim_process_end(struct sim_process *p, enum sim_end how);
/* Ask the node to stop as planned; then the guardian ends too. */
void sim_process_stop(struct sim_process *p);
void sim_process_pause(struct sim_process *p);
void sim_process_resume(struct sim_process *p);
/* The host loses power within the recovery of the next start, after that many operations on its
 * disk. */
void sim_process_crash_in_recovery(struct sim_process *p, uint64_t operations);
/* After something was done to its node from outside: it goes on as after any event. Not while it is
 * paused. */
void sim_process_disturbed(struct sim_process *p);
/* A new, empty disk. The host must be down. */
void sim_process_wipe(struct sim_process *p);
/* After the clock was changed. */
void sim_process_clock_changed(struct sim_process *p);
/* Send the certificates of an earlier death again; false if there was none. */
bool sim_process_replay_certificate(struct sim_process *p, uint32_t to);

/* node_call(). False if there is nobody to call. reply comes exactly once, also when the process
 * ends: then with ERR_SHUTDOWN or ERR_UNREACHABLE, which to a client are a broken connection. */
bool sim_process_call(struct sim_process *p, struct bytes method, struct bytes params,
                      node_reply_fn reply, void *ctx);

/* script_host_eval(). False if there is nobody to ask: then done is not called. It is called
 * exactly once otherwise, when the process ends with ERR_SHUTDOWN. */
bool sim_process_eval(struct sim_process *p, const struct script_eval *eval);

/* script_host_http(). False if there is nobody to ask, or it refuses: then done is not called. It
 * is called exactly once otherwise. */
bool sim_process_http(struct sim_process *p, const struct script_http_request *request);

/* The scripts of later processes, and of script_host_reload(); borrowed. */
void sim_process_set_scripts(struct sim_process *p, const struct script_app *scripts,
                             uint32_t count);
/* script_host_reload(), with the scripts that it has. False, and done, as above. */
bool sim_process_reload(struct sim_process *p,
                        void (*done)(void *ctx, enum err err, const char *message,
                                     struct bytes results),
                        void *ctx);

/* script_host_metrics(); empty without scripts. */
struct slice sim_process_metrics(const struct sim_process *p);

/* NULL if there is no process. */
struct node *sim_process_node(const struct sim_process *p);
bool sim_process_running(const struct sim_process *p); /* there is a process, paused or not */
bool sim_process_paused(const struct sim_process *p);
/* No process, and none on its way: sim_process_boot() may be called. */
bool sim_process_down(const struct sim_process *p);
uint64_t sim_process_incarnations(const struct sim_process *p);
struct sim_clock *sim_process_clock(struct sim_process *p);
struct sim_fs *sim_process_disk(struct sim_process *p);
struct sim_executor *sim_process_executor(struct sim_process *p);

#endif
