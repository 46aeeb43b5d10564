/* Looking up a host's name without making the loop wait: on a short-lived thread, for the name
 * server may take seconds. Addresses that are numbers need none of this (address_resolve_numeric).
 */
#ifndef MK_NET_RESOLVER_H
#define MK_NET_RESOLVER_H

#include "net/address.h"
#include "net/loop.h"

struct resolver;

/* address is NULL on failure; why says what. Called once, on the loop. */
typedef void resolver_done(void *ctx, const struct socket_address *address, const struct why *why);

struct resolver *resolver_start(struct loop *l, const struct address *address, resolver_done *done,
                                void *ctx);
/* Before done() was called: it will not be. Accepts NULL. */
void resolver_cancel(struct resolver *r);

#endif
