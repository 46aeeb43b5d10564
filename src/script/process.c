#include "script/process.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "script/task.h"

uint64_t process_add(struct app *app, struct task *owner)
{
    struct process *p = NEW(struct process);
    *p = (struct process){.id = ++app->host->process_ids, .app = app, .owner = owner};
    LIST_INSERT_HEAD(&app->host->processes, p, link);
    return p->id;
}

static void release(struct script_host *host, struct process *p)
{
    host->options.processes->release(host->options.processes->ctx, p->id);
    LIST_REMOVE(p, link);
    free(p);
}

void process_release(struct script_host *host, uint64_t id)
{
    struct process *p;
    LIST_FOREACH (p, &host->processes, link) {
        if (p->id == id) {
            release(host, p);
            return;
        }
    }
}

void process_release_of_task(struct task *owner)
{
    struct script_host *host = owner->app->host;
    for (struct process *p = LIST_FIRST(&host->processes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        if (p->owner == owner) {
            release(host, p);
        }
    }
}

void process_release_of_app(struct app *app)
{
    for (struct process *p = LIST_FIRST(&app->host->processes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        if (p->app == app) {
            release(app->host, p);
        }
    }
}
