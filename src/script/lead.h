/* mk.while_leader: work that only the leader does.
 *
 * It begins when this node is leader and has applied its own no-op (plus settle_ms). It is
 * cancelled, children and all, when the leadership ends, and killed before the lease can expire:
 *
 *     --- lease renewed ------------------> | two margins | one margin | lease ends
 *     work runs                             | cancelled   | killed     |
 *
 * On a planned hand-over (script_host_end_leader_work) it has its grace_ms. */
#ifndef MK_SCRIPT_LEAD_H
#define MK_SCRIPT_LEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "script/deadlines.h"

struct hook;
struct script_host;
struct task;

/* As the host sees it. */
struct leadership {
    bool active;
    uint64_t term;
    uint64_t token;
    uint64_t ended_token; /* of the leadership that is being handed over; 0: none */
    bool idle_wanted;     /* "leader_idle" is owed */
    uint32_t tasks;       /* that work for a while_leader, in all */
    struct deadline lease_watch;
};

enum lead_on_error { LEAD_RETRY, LEAD_STEP_DOWN, LEAD_STOP };

/* Of one while_leader. */
struct lead {
    uint64_t grace_us;
    uint64_t settle_us;
    enum lead_on_error on_error;
    uint64_t done_token; /* has ended for good in this leadership */
    uint64_t token;      /* of the run under way, or the last one */
    uint64_t term;
    uint64_t retry_us;
    struct deadline start; /* settling, or waiting to try again */
    uint32_t tasks;        /* that work for it: those of a run may outlive its function */
};

enum { LEAD_RETRY_US = 1000000, LEAD_RETRY_MAX_US = 60000000 };

void lead_init(struct script_host *host);
/* Look at the view: begin, end. */
void lead_update(struct script_host *host);
/* Planned hand-over, and taken back. reason: what the work is told; NULL: of the hand-over. */
void lead_end_work(struct script_host *host, const char *reason);
void lead_resume_work(struct script_host *host);
/* A while_leader was registered or enabled: begin if this node leads. */
void lead_consider(struct hook *hook);
void lead_stop(struct hook *hook, const char *reason);
/* Begin a run, if it is time. */
void lead_next(struct hook *hook);
/* Its function's task has ended with this outcome. */
void lead_ended(struct hook *hook, const struct task *task);
/* Is token's leadership still held, by the view and the clock? */
bool lead_is_valid(struct script_host *host, uint64_t token);
/* Why token's work may not go on, for people; NULL: it may. */
const char *lead_why_over(struct script_host *host, uint64_t token);
/* µs until leader-only work is cancelled for want of a lease; 0 when it is not valid. */
uint64_t lead_remaining_us(struct script_host *host, uint64_t token);

/* The present view says that the lease is over: is there a newer one? Else the work is ended, now.
 * Before each slice of a task that works for a leadership: the process may have been stopped since
 * the last one. */
void lead_look(struct script_host *host);

/* A task begins, ends to work for hook (NULL: for none). */
void lead_count(struct task *task, struct hook *hook);
void lead_uncount(struct task *task);

#endif
