/* Applications loaded anew while their host goes on (script_host_reload).
 *
 * Each application changes hands by itself. Its new generation is a second app beside the old one,
 * kept off the host's list until it takes over:
 *
 *     compile   the new script. The old one does not notice.
 *     calls     no call of an old hook begins any more: what they would have been told waits. Those
 *               under way come to their end.
 *     save      the old one's mk.on_reload function, if it has one; what it returns is the new
 *               one's mk.saved.
 *     main      the new main chunk. Its hooks hear nothing yet, its tasks and timers are held.
 *     end       of the old: tasks are cancelled, while_leader scopes have their grace.
 *     take over  in one step: what waited for an old hook is the new one's of the same name.
 *
 * One that is in the binary, and has the configuration that it had, is left as it is.
 *
 * Whatever fails up to main leaves the old generation where it was, with nothing lost: what waited
 * is delivered to it. Every phase has an end: see the times in reload.c. */
#ifndef MK_SCRIPT_RELOAD_H
#define MK_SCRIPT_RELOAD_H

#include <sys/queue.h>

#include "script/script.h"

struct handover;

struct reload {
    struct script_app *apps; /* the strings are its own */
    struct slice *configs;   /* of each */
    uint32_t apps_count;
    struct handover *handovers; /* once it is under way */
    uint32_t handovers_count;
    void (*done)(void *ctx, enum err err, const char *message, struct bytes results);
    void *ctx;
    STAILQ_ENTRY(reload) waiting;
};
STAILQ_HEAD(reload_items, reload);

/* A copy of spec, to be carried out on the host's thread. */
struct reload *reload_new(const struct script_reload *spec);
/* Begin with what came in: one at a time, a second one is BUSY. */
void reload_take(struct script_host *host, struct reload_items *items);
/* Go on as far as possible: before every round of tasks. */
void reload_step(struct script_host *host);
/* The node stops: what has not come as far as to end an old generation is given up. */
void reload_shutdown(struct script_host *host);
/* The host is about to be freed: give up what is under way, and what waits. */
void reload_close(struct script_host *host);

#endif
