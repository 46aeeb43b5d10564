/* What the parts of a simulated host share. Private.
 *
 *     sim_process.c           the host: a process opened, ended, called, looked at
 *     sim_process_guardian.c  its guardian: starts, back-off, certificates of death
 *     sim_process_loop.c      the process's loop: happenings, backlog, timers, rounds, pauses
 *     sim_process_ports.c     what the node is given, and what the network and the disk report
 *     sim_scripts.c           its scripts */
#ifndef MK_SIM_SIM_PROCESS_INTERNAL_H
#define MK_SIM_SIM_PROCESS_INTERNAL_H

#include <sys/queue.h>

#include "base/rng.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"
#include "sim/sim_scripts.h"

enum happening_kind {
    HAPPENING_FRAME,
    HAPPENING_UP,
    HAPPENING_DOWN,
    HAPPENING_REFUSED,
    HAPPENING_CERTIFICATE,
    HAPPENING_JOB,
    HAPPENING_CALL,
    HAPPENING_TICK,
    HAPPENING_ROUND,
    HAPPENING_STOP,
    HAPPENING_SCRIPTS, /* they ask for something */
};

/* Something for the loop of the process to handle. Slices are borrowed, but owned in the backlog.
 */
struct happening {
    STAILQ_ENTRY(happening) link;
    enum happening_kind kind;
    uint32_t peer;
    uint8_t bits[SIM_HASH_BYTES]; /* incarnation hash, or revealed incarnation */
    struct slice frame;           /* CALL: the parameters */
    struct slice method;
    enum err verdict;
    struct executor_job *job;
    uint64_t ordinal;
    bool synced;
    node_reply_fn reply;
    void *ctx;
};

struct sim_process {
    struct world *world;
    struct sim_net *net;
    struct sim_process_options options;
    const struct sim_watch *watch;
    struct rng rng;

    struct sim_fs *fs;
    struct sim_files *files; /* of its scripts */
    struct sim_clock clock;
    struct sim_executor executor;

    struct guardian_page page;
    bool guardian;       /* alive */
    bool restarting;     /* a start is scheduled */
    uint64_t life;       /* of the guardian: its scheduled calls are stale after its end */
    uint64_t restart_us; /* the next back-off */
    uint64_t started_us;
    uint8_t last_dead[SIM_INCARNATION_BYTES]; /* revealed by the last certificate */
    bool certified;
    bool promised_nothing; /* nor by anybody before this guardian */

    struct node *node;
    struct sim_scripts *scripts;          /* NULL: none */
    LIST_HEAD(, sim_http_flight) flights; /* HTTP requests that have left, of all incarnations */
    uint64_t incarnations;                /* also the generation of the process's scheduled calls */
    struct entropy_port entropy;
    struct transport_port transport;
    bool ending; /* being torn down: ports are dead */
    bool paused;
    STAILQ_HEAD(, happening) backlog;
    bool round_wanted, round_scheduled;
    uint64_t wake_us; /* when the next timer call is scheduled; UINT64_MAX: none */
    bool gave_up;     /* the node asked to be ended, with this */
    enum err gave_up_err;
    uint64_t recovery_operations; /* 0: recovery is undisturbed */
};

/* ---- the process (sim_process.c) ------------------------------------------------------------ */

/* A call for the running process, scheduled by this incarnation. */
bool sim_process_is_current(const struct sim_process *p, uint64_t incarnation);
/* Opens the node of a new incarnation. The guardian ends if the node refuses. */
void sim_process_start(struct sim_process *p);

/* ---- its guardian (sim_process_guardian.c) -------------------------------------------------- */

/* The process has died: reap it, tell the peers, and start the next one unless not asked to. */
void sim_process_guardian_reaps(struct sim_process *p, bool restart);
/* What it had scheduled does not happen any more. */
void sim_process_guardian_ends(struct sim_process *p);

/* ---- its loop (sim_process_loop.c) ---------------------------------------------------------- */

/* Now, or when what came before it has been handled. The happening is borrowed. */
void sim_process_handle(struct sim_process *p, struct happening *h);
/* Whatever waits is dropped; calls are answered with ERR_UNREACHABLE. */
void sim_process_drop_backlog(struct sim_process *p);
/* As before the first happening of a process. */
void sim_process_forget(struct sim_process *p);

/* ---- its ports (sim_process_ports.c) -------------------------------------------------------- */

/* Something that hooks are told: recorded, watched. */
void sim_process_event(struct sim_process *p, const char *name, raft_term term,
                       struct bytes fields);
/* Sets up p's ports, and has the network and the executor report to p. Once, of a new host. */
void sim_process_connect(struct sim_process *p);
struct node_ports sim_process_ports(struct sim_process *p);
struct node_observer sim_process_observer(struct sim_process *p);
void sim_process_entropy(void *ctx, void *out, size_t size_bytes); /* entropy_port.fill */
/* SIM_NET_HOSTS_MAX if there is no such host. */
uint32_t sim_process_host_of(const struct sim_process *p, raft_id id);

#endif
