/* Accepting connections on the loop: a bounded number at a time, and a pause instead of a busy loop
 * when the process runs out of descriptors. */
#ifndef MK_NET_LISTENER_H
#define MK_NET_LISTENER_H

#include "base/log.h"
#include "net/address.h"
#include "net/loop.h"

struct listener;

/* fd is the callee's: non-blocking, close-on-exec, without Nagle's delay. */
typedef void listener_accept(void *ctx, int fd, const struct socket_address *from);

/* Errors: as address_listen(). */
enum err listener_open(struct loop *l, const struct address *address, listener_accept *accept,
                       void *ctx, const struct log *log, struct listener **out, struct why *why);
/* Accepts NULL. */
void listener_close(struct listener *l);
const struct address *listener_address(const struct listener *l);

#endif
