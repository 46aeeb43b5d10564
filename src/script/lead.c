#include "script/lead.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "script/api.h"
#include "script/hook.h"
#include "script/request.h"
#include "wire/writer.h"

static uint64_t margin_us(const struct script_host *host)
{
    return host->options.limits.lease_margin_us;
}

static bool lease_outlasts(const struct script_view *view, uint64_t time_us)
{
    return view->lease_until_us == 0 || view->lease_until_us > time_us;
}

static const char lapsed[] = "the lease was not renewed";
static const char over[] = "this node leads no longer";
static const char handed_over[] = "leadership is being handed over";

const char *lead_why_over(struct script_host *host, uint64_t token)
{
    struct script_view view;
    inbox_view(&host->inbox, &view);
    if (token == 0 || view.token != token || view.role != SCRIPT_LEADER) {
        return over;
    }
    if (host->leadership.ended_token == token) {
        return handed_over;
    }
    return lease_outlasts(&view, host_now_us(host) + margin_us(host)) ? NULL : lapsed;
}

bool lead_is_valid(struct script_host *host, uint64_t token)
{
    return lead_why_over(host, token) == NULL;
}

uint64_t lead_remaining_us(struct script_host *host, uint64_t token)
{
    if (!lead_is_valid(host, token)) {
        return 0;
    }
    struct script_view view;
    inbox_view(&host->inbox, &view);
    if (view.lease_until_us == 0) {
        return UINT64_MAX;
    }
    uint64_t end_us = view.lease_until_us - margin_us(host);
    uint64_t now_us = host_now_us(host);
    return end_us > now_us ? end_us - now_us : 0;
}

/* ---- counting what works for the leadership ----------------------------------------------------
 */

static void tell_idle(struct script_host *host)
{
    struct leadership *l = &host->leadership;
    if (l->idle_wanted && l->tasks == 0) {
        l->idle_wanted = false;
        struct buffer params = {0};
        write_array(&params, 0);
        request_send(host, "leader_idle", &params);
    }
}

void lead_count(struct task *task, struct hook *hook)
{
    task->lead = hook;
    if (hook != NULL) {
        hook->lead.tasks++;
        struct script_host *host = task->app->host;
        host->leadership.tasks++;
        atomic_store(&host->leader_work, true);
    }
}

void lead_uncount(struct task *task)
{
    struct script_host *host = task->app->host;
    if (task->lead == NULL) {
        return;
    }
    ASSERT(host->leadership.tasks > 0);
    ASSERT(task->lead->lead.tasks > 0);
    if (--task->lead->lead.tasks == 0) {
        hook_wake(task->lead);
    }
    task->lead = NULL;
    if (--host->leadership.tasks == 0) {
        atomic_store(&host->leader_work, false);
        tell_idle(host);
    }
}

bool script_host_has_leader_work(const struct script_host *host)
{
    return atomic_load(&host->leader_work);
}

/* ---- one while_leader --------------------------------------------------------------------------
 */

static void on_start(struct deadline *d)
{
    struct lead *lead = (struct lead *)((char *)d - offsetof(struct lead, start));
    hook_wake((struct hook *)((char *)lead - offsetof(struct hook, lead)));
}

void lead_consider(struct hook *hook)
{
    struct script_host *host = hook->app->host;
    struct lead *lead = &hook->lead;
    lead->start.fire = on_start;
    if (!host->leadership.active || lead->done_token == host->leadership.token ||
        hook->state != HOOK_ON || hook->app->phase > APP_PAUSED) {
        return;
    }
    if (lead->settle_us > 0) {
        deadline_set(&host->deadlines, &lead->start, host_now_us(host) + lead->settle_us);
    } else {
        hook_wake(hook);
    }
}

/* Under app_protect(). */
static int start_run(lua_State *L)
{
    struct hook *hook = lua_touserdata(L, 1);
    char where[TASK_WHERE_MAX];
    snprintf(where, sizeof where, "while_leader %s", hook->name);
    luaL_checkstack(L, 8, NULL);
    hook_push(L, hook);
    lua_getiuservalue(L, -1, HOOK_UV_FUNCTION);
    api_lead_push(L, hook->lead.term, hook->lead.token);
    struct task_spec spec = {
        .kind = TASK_LEAD, .lead = hook, .where = where, .ended = hook_ended, .owner = hook};
    hook->call = task_spawn(L, &spec, 1);
    hook->call->is_scope = true;
    return 0;
}

/* Does one of the same name that was removed, or replaced, still unwind? */
static bool follows_another(const struct hook *hook)
{
    const struct task *task;
    TAILQ_FOREACH (task, &hook->app->tasks, app_link) {
        if (task->lead != NULL && task->lead != hook && strcmp(task->lead->name, hook->name) == 0) {
            return true;
        }
    }
    return false;
}

void lead_next(struct hook *hook)
{
    struct script_host *host = hook->app->host;
    struct lead *lead = &hook->lead;
    if (!host->leadership.active || lead->done_token == host->leadership.token ||
        deadline_is_set(&lead->start) || follows_another(hook)) {
        return;
    }
    if (lead->token != host->leadership.token) {
        lead->retry_us = LEAD_RETRY_US;
    }
    lead->token = host->leadership.token;
    lead->term = host->leadership.term;
    hook->calls++;
    hook->call_began_us = host_now_us(host);
    if (!app_protect(hook->app, start_run, hook)) {
        hook->errors++;
        deadline_set(&host->deadlines, &lead->start, host_now_us(host) + lead->retry_us);
    }
}

static void step_down(struct script_host *host)
{
    struct buffer params = {0};
    write_array(&params, 0);
    request_send(host, "step_down", &params);
}

void lead_ended(struct hook *hook, const struct task *task)
{
    struct script_host *host = hook->app->host;
    struct lead *lead = &hook->lead;
    if (task->outcome == TASK_RETURNED && task->cancelled == ERR_OK) {
        lead->done_token = lead->token;
    } else if (task->outcome != TASK_WAS_CANCELLED && hook->state == HOOK_ON &&
               task->cancelled == ERR_OK) {
        switch (lead->on_error) {
        case LEAD_RETRY:
            deadline_set(&host->deadlines, &lead->start, host_now_us(host) + lead->retry_us);
            lead->retry_us =
                lead->retry_us * 2 < LEAD_RETRY_MAX_US ? lead->retry_us * 2 : LEAD_RETRY_MAX_US;
            break;
        case LEAD_STEP_DOWN:
            lead->done_token = lead->token;
            step_down(host);
            break;
        case LEAD_STOP:
            hook->state = HOOK_OFF;
            break;
        }
    }
}

/* When must work that was cancelled now be over? */
static uint64_t end_of_work(const struct script_host *host, const struct hook *hook, bool planned)
{
    uint64_t now_us = host_now_us(host);
    uint64_t grace_us = now_us + hook->lead.grace_us;
    uint64_t lease_us = host->view.lease_until_us;
    if (planned || lease_us == 0) {
        return grace_us;
    }
    uint64_t end_us = lease_us > now_us + margin_us(host) ? lease_us - margin_us(host) : now_us;
    return end_us < grace_us ? end_us : grace_us;
}

void lead_stop(struct hook *hook, const char *reason)
{
    struct script_host *host = hook->app->host;
    deadline_clear(&host->deadlines, &hook->lead.start);
    struct task *task;
    TAILQ_FOREACH (task, &hook->app->tasks, app_link) {
        if (task->lead == hook) {
            task_cancel(task, ERR_NOT_LEADER, reason, end_of_work(host, hook, true));
        }
    }
}

/* ---- the leadership ----------------------------------------------------------------------------
 */

static void cancel_all(struct script_host *host, const char *reason, bool planned)
{
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_LEAD) {
            deadline_clear(&host->deadlines, &hook->lead.start);
        }
    }
    struct app *app;
    TAILQ_FOREACH (app, &host->apps, link) {
        struct task *task;
        TAILQ_FOREACH (task, &app->tasks, app_link) {
            if (task->lead != NULL) {
                task_cancel(task, ERR_NOT_LEADER, reason, end_of_work(host, task->lead, planned));
            }
        }
    }
}

static void lose(struct script_host *host, const char *reason, bool planned)
{
    host->leadership.active = false;
    cancel_all(host, reason, planned);
}

static void gain(struct script_host *host)
{
    struct leadership *l = &host->leadership;
    l->active = true;
    l->term = host->view.term;
    l->token = host->view.token;
    struct hook *hook;
    TAILQ_FOREACH (hook, &host->hooks, link) {
        if (hook->kind == HOOK_LEAD) {
            lead_consider(hook);
        }
    }
}

/* Look again when the lease, if it is not renewed by then, calls for it. */
static void watch_lease(struct script_host *host)
{
    struct leadership *l = &host->leadership;
    const struct script_view *view = &host->view;
    if (view->role != SCRIPT_LEADER || view->lease_until_us == 0) {
        deadline_clear(&host->deadlines, &l->lease_watch);
        return;
    }
    uint64_t now_us = host_now_us(host);
    uint64_t notice_us = 2 * margin_us(host);
    uint64_t look_us = view->lease_until_us > notice_us ? view->lease_until_us - notice_us : 0;
    if (look_us <= now_us) {
        look_us = now_us + margin_us(host);
    }
    deadline_set(&host->deadlines, &l->lease_watch, look_us);
}

void lead_update(struct script_host *host)
{
    struct leadership *l = &host->leadership;
    const struct script_view *view = &host->view;
    bool leads = view->role == SCRIPT_LEADER && view->leader_ready && view->token != 0;
    if (l->ended_token != 0 && view->token != 0 && view->token != l->ended_token) {
        l->ended_token = 0; /* another leadership: the hand-over is history */
    }
    bool leased = lease_outlasts(view, host_now_us(host) + 2 * margin_us(host));
    bool may_work = leads && leased && view->token != l->ended_token;
    if (l->active && (!may_work || view->token != l->token)) {
        if (leads && !leased && l->tasks > 0) {
            log_info(host->options.log,
                     "leader-only work is stopped: the lease was not renewed in time",
                     log_u64("term", view->term));
        }
        lose(host, leads && !leased ? lapsed : over, false);
    }
    if (!l->active && l->tasks > 0 && !leased) {
        cancel_all(host, lapsed, false); /* during a planned hand-over */
    }
    if (!l->active && may_work && !host->shutting_down) {
        gain(host);
    }
    watch_lease(host);
}

static void look_again(struct script_host *host)
{
    inbox_view(&host->inbox, &host->view);
    lead_update(host);
}

static void on_lease_watch(struct deadline *d)
{
    struct leadership *l =
        (struct leadership *)((char *)d - offsetof(struct leadership, lease_watch));
    look_again((struct script_host *)((char *)l - offsetof(struct script_host, leadership)));
}

void lead_look(struct script_host *host)
{
    if (host->view.role == SCRIPT_LEADER &&
        !lease_outlasts(&host->view, host_now_us(host) + margin_us(host))) {
        look_again(host);
    }
}

void lead_init(struct script_host *host)
{
    host->leadership.lease_watch.fire = on_lease_watch;
}

void lead_end_work(struct script_host *host, const char *reason)
{
    struct leadership *l = &host->leadership;
    l->ended_token = host->view.token;
    l->idle_wanted = true;
    if (l->active) {
        lose(host, reason != NULL ? reason : handed_over, true);
    }
    tell_idle(host);
}

void lead_resume_work(struct script_host *host)
{
    host->leadership.ended_token = 0;
    host->leadership.idle_wanted = false;
    lead_update(host);
}
