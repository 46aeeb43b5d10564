/* A forwarding proxy on one directed link between two real nodes. What node `from` and its guardian
 * dial to reach node `to` (start --test-dial) is this; it passes whole frames on, or loses, delays,
 * doubles and counts them as its rules say.
 *
 * Two lanes: forth, from who dialled (greetings, messages, pings, certificates), and back (the
 * answers to greetings and pings). Rules are for messages, which only go forth. A cut is for a
 * lane: nothing passes and nothing is closed. What was sent waits until the lane is open again, as
 * TCP would repeat it, or until its connection is given up by one of its ends. */
#ifndef MK_SCENARIO_PROXY_H
#define MK_SCENARIO_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"
#include "scenario/link_rules.h"

struct proxy;

/* Listens on a port of its own. target: the listener of `to` for its peers, a number. Errors: as
 * address_listen(). */
enum err proxy_open(struct loop *loop, const struct address *target,
                    const struct link_quality *quality, uint64_t seed, const struct log *log,
                    struct proxy **out, struct why *why);
/* Accepts NULL. */
void proxy_close(struct proxy *p);
const struct address *proxy_address(const struct proxy *p);

/* From now on. */
void proxy_cut(struct proxy *p, bool forth, bool back);
void proxy_drop(struct proxy *p, const struct target_drop *rule);
void proxy_delay(struct proxy *p, const struct target_delay *rule);
/* No rules; cuts stay. */
void proxy_heal(struct proxy *p);
/* Close all connections: an end of the link was switched off and is back. */
void proxy_reset(struct proxy *p);

/* Messages of these types (enum target_message) that came in, also those that were lost. */
struct target_rpcs proxy_rpcs(const struct proxy *p, unsigned types);
/* Connections at the moment. */
uint32_t proxy_connections(const struct proxy *p);

#endif
