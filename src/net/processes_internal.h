/* What the parts of processes.h share. Private.
 *
 *     processes.c         the thread, commands from others, leases
 *     process_running.c   one process: its pipes, its calls, its end
 *     spawn.c             its birth */
#ifndef MK_NET_PROCESSES_INTERNAL_H
#define MK_NET_PROCESSES_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "net/child.h"
#include "net/loop.h"
#include "net/spawn.h"

struct event;

/* Calls that wait, and for what. */
struct waiting_call {
    uint64_t call;
    uint64_t at; /* of a write: when so many bytes in all are written */
    STAILQ_ENTRY(waiting_call) link;
};
STAILQ_HEAD(waiting_calls, waiting_call);

struct stream {
    int fd; /* -1: closed; its end was reached */
    struct event *readable;
    struct buffer kept;
    uint64_t begin;  /* of kept, in bytes of the stream */
    uint64_t call;   /* that waits; 0: none */
    uint64_t wanted; /* from where on */
};

struct running {
    struct processes *all;
    uint64_t id;
    struct spawned spawned;
    struct process_watch *watch;
    struct stream streams[PROCESS_STREAMS];
    int input; /* -1: closed */
    struct event *writable;
    struct buffer unwritten;
    uint64_t written; /* in all */
    bool close_wanted;
    struct waiting_calls writes;
    struct waiting_calls waits;
    bool bound; /* to a leadership, or to a lock */
    bool ended;
    bool released;         /* to be forgotten once it has ended, */
    uint64_t release_call; /* which this call waits for; 0: none */
    int status;
    LIST_ENTRY(running) link;
};
LIST_HEAD(running_list, running);

struct command;
STAILQ_HEAD(commands, command);

struct processes {
    struct processes_options options;
    struct process_port port;
    struct loop *loop;
    pthread_t thread;
    bool stopped;
    struct running_list running; /* of the thread */

    pthread_mutex_t lock;
    struct commands commands;
    /* The lease of the leadership that the leased processes work for; extended from any thread. */
    uint64_t token;
    uint64_t lease_until_us;
    struct leased {
        bool used;
        uint32_t slot;
        uint64_t token; /* 0: it works for no leadership */
        uint64_t lease_until_us;
        uint64_t hold_until_us; /* 0: it is not held under anything */
    } leased[GUARDIAN_CHILDREN_MAX];
};

/* ---- a process (process_running.c); on the thread ------------------------------------------- */

/* Start it, and answer. */
void running_start(struct processes *all, uint64_t call, uint64_t id,
                   const struct process_spec *spec);
/* NULL if there is none, or it is released. */
struct running *running_find(struct processes *all, uint64_t id);
void running_read(struct running *r, uint64_t call, struct process_read what);
void running_write(struct running *r, uint64_t call, struct bytes data);
void running_wait(struct running *r, uint64_t call);
void running_close_input(struct running *r);
void running_close_output(struct running *r);
void running_signal(struct running *r, int signal);
void running_hold(struct running *r, uint64_t until_us);
void running_release(struct running *r, uint64_t call);
/* Kill it, wait for its end, forget it. No answers. */
void running_end(struct running *r);

/* ---- the rest (processes.c) ----------------------------------------------------------------- */

void processes_answer(struct processes *all, uint64_t call, enum err err, const char *message,
                      struct slice result_take);
/* A process has, has no more, a slot that is leased. */
void processes_lease_add(struct processes *all, const struct process_spec *spec, uint32_t slot);
void processes_lease_remove(struct processes *all, uint32_t slot);
/* What the process of this slot was started under is held until then. */
void processes_hold(struct processes *all, uint32_t slot, uint64_t until_us);

#endif
