/* The event loop: one per process, on the main thread. A round is:
 *
 *     wait for events · run them · deadline · intake hooks · work hooks · flush hooks
 *
 * Events of peers are run as they come. Clients only report that they have something to say; the
 * intake hooks then listen to them for a bounded time, so that no crowd of clients delays a peer.
 * The work hooks are where a node hands on what the round collected (one batch of proposals for all
 * requests that came in together); the flush hooks are where connections write what was queued,
 * once each. Nothing here is called from another thread except loop_wake() and loop_stop(). */
#ifndef MK_NET_LOOP_H
#define MK_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "port/clock.h"

struct event_base;
struct loop;

typedef void loop_callback(void *ctx);

/* Priorities of libevent events on this loop. Events get the second one unless they ask. */
enum { LOOP_PRIORITY_PEERS = 0, LOOP_PRIORITY_CLIENTS = 1, LOOP_PRIORITIES = 2 };

struct loop *loop_new(void);
/* After everything that lives on it. Accepts NULL. */
void loop_free(struct loop *l);

/* Until loop_stop(). */
void loop_run(struct loop *l);
/* One round. Waits for an event at most max_wait_us (UINT64_MAX: as long as it takes). */
void loop_round(struct loop *l, uint64_t max_wait_us);
/* End loop_run() after this round. Any thread, and signal callbacks. */
void loop_stop(struct loop *l);

/* CLOCK_BOOTTIME in µs, CLOCK_REALTIME in ms. The port outlives the loop. */
struct clock_port loop_clock(void);

/* Run the wake callbacks soon, on the loop's thread. Any thread; many calls may become one. */
void loop_wake(struct loop *l);
/* cb is called after every loop_wake(), until removed by the same pair. */
void loop_on_wake(struct loop *l, loop_callback *cb, void *ctx);
void loop_on_wake_remove(struct loop *l, loop_callback *cb, void *ctx);

enum loop_phase { LOOP_INTAKE, LOOP_WORK, LOOP_FLUSH, LOOP_PHASES };
/* cb is called at the end of every round, in the order of phases, then of registration. */
void loop_at_round_end(struct loop *l, enum loop_phase phase, loop_callback *cb, void *ctx);
void loop_at_round_end_remove(struct loop *l, enum loop_phase phase, loop_callback *cb, void *ctx);
/* Do not wait in the next round: there is more to do (a slice of work was cut short). */
void loop_again(struct loop *l);
/* Have the hooks of this phase run: in this round if they are still to come, else in one that
 * starts without waiting. */
void loop_want(struct loop *l, enum loop_phase phase);

/* The one deadline, of the Raft core: cb is called in the first round at or after at_us (on
 * loop_clock), before the hooks; then the deadline is off. UINT64_MAX: off. Setting it is
 * cheap enough for every turn: the kernel's timer is only touched before waiting, and only for an
 * earlier time. */
void loop_on_deadline(struct loop *l, loop_callback *cb, void *ctx);
void loop_set_deadline(struct loop *l, uint64_t at_us);

/* Ordinary timers (back-off, pings), to the millisecond. One shot. */
struct loop_timer;
struct loop_timer *loop_timer_new(struct loop *l, loop_callback *cb, void *ctx);
void loop_timer_free(struct loop_timer *t);
/* Replaces an earlier setting. */
void loop_timer_set(struct loop_timer *t, uint64_t delay_us);
void loop_timer_stop(struct loop_timer *t);

/* cb is called on the loop, not in the signal handler. One callback per signal. */
void loop_on_signal(struct loop *l, int signal_number, loop_callback *cb, void *ctx);

/* For the files of net/: where their events go. */
struct event_base *loop_base(struct loop *l);

#endif
