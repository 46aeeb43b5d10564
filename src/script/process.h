/* Processes that scripts have started: who owns them, so that they end with whom they work for.
 * Running them is the port's business (port/process.h).
 *
 * A task has not ended before its processes are gone, with all that is killed with them: what waits
 * for the task, such as a hand-over of leadership, a lock's release or a reload, waits for them. */
#ifndef MK_SCRIPT_PROCESS_H
#define MK_SCRIPT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct app;
struct script_host;
struct task;

struct process {
    uint64_t id;
    struct app *app;
    struct task *owner; /* NULL: the app */
    bool ended;         /* nothing of it is left */
    uint64_t release;   /* the call that tells when it is gone; 0: it is not released */
    LIST_ENTRY(process) link;
};
LIST_HEAD(process_list, process);

/* What is killed is waited for, but not for ever: a device may hold it. It runs no code any more.
 */
enum { PROCESS_GONE_US = 30000000 };

/* A new number, owned by owner, or by the app if that is NULL. */
uint64_t process_add(struct app *app, struct task *owner);
/* It has ended, by what the port says: nobody waits for it any more. */
void process_ended(struct script_host *host, uint64_t id);
/* Kill it if it runs, forget it when it is gone. An unknown number is ignored. */
void process_release(struct script_host *host, uint64_t id);
/* What the port had to say to a release: goes on with the task that waits for it. Of other calls:
 * ignored. */
void process_gone(struct script_host *host, uint64_t release);
/* The owner ends: so do its processes. Are all gone? */
bool process_release_of_task(struct task *owner);
bool process_release_of_app(struct app *app);
/* The owner is not there any more, whatever its processes do. */
void process_leave_task(const struct task *owner);
void process_leave_app(struct app *app);

#endif
