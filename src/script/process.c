#include "script/process.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "script/request.h"
#include "script/task.h"

uint64_t process_add(struct app *app, struct task *owner)
{
    struct process *p = NEW(struct process);
    *p = (struct process){.id = ++app->host->process_ids, .app = app, .owner = owner};
    LIST_INSERT_HEAD(&app->host->processes, p, link);
    return p->id;
}

static struct process *find(struct script_host *host, uint64_t id)
{
    struct process *p;
    LIST_FOREACH (p, &host->processes, link) {
        if (p->id == id) {
            return p;
        }
    }
    return NULL;
}

void process_ended(struct script_host *host, uint64_t id)
{
    struct process *p = find(host, id);
    if (p != NULL) {
        p->ended = true;
    }
}

static void forget(struct process *p)
{
    LIST_REMOVE(p, link);
    free(p);
}

static void port_release(struct script_host *host, const struct process *p)
{
    host->options.processes->release(host->options.processes->ctx, p->release, p->id);
}

/* False: one is told when it is gone. */
static bool release(struct script_host *host, struct process *p)
{
    if (p->release != 0) {
        return false;
    }
    if (p->ended) {
        port_release(host, p);
        forget(p);
        return true;
    }
    p->release = request_own_id(host);
    port_release(host, p);
    return false;
}

void process_release(struct script_host *host, uint64_t id)
{
    struct process *p = find(host, id);
    if (p != NULL) {
        release(host, p);
    }
}

bool process_release_of_task(struct task *owner)
{
    struct script_host *host = owner->app->host;
    bool gone = true;
    for (struct process *p = LIST_FIRST(&host->processes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        if (p->owner == owner) {
            gone &= release(host, p);
        }
    }
    return gone;
}

bool process_release_of_app(struct app *app)
{
    bool gone = true;
    for (struct process *p = LIST_FIRST(&app->host->processes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        if (p->app == app) {
            gone &= release(app->host, p);
        }
    }
    return gone;
}

/* Of its owner; it has one. */
static bool is_last(const struct script_host *host, const struct process *process)
{
    const struct process *p;
    LIST_FOREACH (p, &host->processes, link) {
        if (p != process && p->owner == process->owner) {
            return false;
        }
    }
    return true;
}

void process_gone(struct script_host *host, uint64_t call)
{
    struct process *p;
    LIST_FOREACH (p, &host->processes, link) {
        if (p->release == call) {
            struct task *done = p->owner != NULL && is_last(host, p) ? p->owner : NULL;
            forget(p);
            if (done != NULL) {
                task_is_rid_of_some(done);
            }
            return;
        }
    }
}

void process_leave_task(const struct task *owner)
{
    struct process *p;
    LIST_FOREACH (p, &owner->app->host->processes, link) {
        if (p->owner == owner) {
            p->owner = NULL;
        }
    }
}

void process_leave_app(struct app *app)
{
    for (struct process *p = LIST_FIRST(&app->host->processes), *next; p != NULL; p = next) {
        next = LIST_NEXT(p, link);
        if (p->app == app) {
            if (p->release == 0) {
                port_release(app->host, p);
            }
            forget(p);
        }
    }
}
