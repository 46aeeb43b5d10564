/* Processes that scripts have started: who owns them, so that they end with whom they work for.
 * Running them is the port's business (port/process.h). */
#ifndef MK_SCRIPT_PROCESS_H
#define MK_SCRIPT_PROCESS_H

#include <stdint.h>
#include <sys/queue.h>

struct app;
struct script_host;
struct task;

struct process {
    uint64_t id;
    struct app *app;
    struct task *owner; /* NULL: the app */
    LIST_ENTRY(process) link;
};
LIST_HEAD(process_list, process);

/* A new number, owned by owner, or by the app if that is NULL. */
uint64_t process_add(struct app *app, struct task *owner);
/* Kill it if it runs, forget it. An unknown number is ignored. */
void process_release(struct script_host *host, uint64_t id);
/* The owner has ended: so do its processes. */
void process_release_of_task(struct task *owner);
void process_release_of_app(struct app *app);

#endif
