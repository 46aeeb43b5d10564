/* The feed of commits: a window onto the log, through which commit hooks advance, each at its own
 * pace. When it is full the node stops, and is asked to go on ("commit_resume") when half of it is
 * free again: hooks lag, they lose nothing. A tripped hook does not hold the others up: the window
 * moves on without it, and is rewound to where it stopped when it is back; those that are ahead
 * skip what they have seen. */
#ifndef MK_SCRIPT_FEED_H
#define MK_SCRIPT_FEED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "script/inbox.h"

struct hook;
struct script_host;

/* Where a commit hook stands. */
struct feed_place {
    uint64_t at;         /* position in the window of what comes next */
    uint64_t next_index; /* nothing below it */
    bool parked;         /* does not hold the window */
    uint64_t cursor;     /* for the observer: this beginning */
};

struct feed {
    struct commit_item **ring;
    uint64_t capacity; /* power of two */
    uint64_t lo;       /* positions [lo, hi) are in the window */
    uint64_t hi;
    uint64_t last_index; /* of the newest commit seen, or the one before where the feed begins */
    bool running;
    atomic_bool wanted;
};

void feed_init(struct feed *feed, uint32_t commits_max);
void feed_close(struct feed *feed);

/* A commit hook begins, at from_index; 0: with the first commit after what is known to be applied
 * now. */
void feed_join(struct script_host *host, struct hook *hook, uint64_t from_index);
/* No longer takes part, for good or while it is off. */
void feed_leave(struct script_host *host, struct hook *hook);
/* Tripped, and back. */
void feed_park(struct script_host *host, struct hook *hook);
void feed_unpark(struct script_host *host, struct hook *hook);

/* Take over what came in. */
void feed_take(struct script_host *host, struct commit_items *items);
/* Does the hook have something to do? Then its place is at *out; borrowed. */
bool feed_peek(struct script_host *host, struct hook *hook, const struct commit_item **out);
/* The hook has taken it. */
void feed_advance(struct hook *hook, const struct commit_item *item);
/* Let go of what every hook has taken; ask for more if the node waits. */
void feed_release(struct script_host *host);

#endif
