/* Looking up a host's name in a process of its own, for a caller that must neither wait for a name
 * server nor have a thread (resolver.h is for those that have a loop). Several may be under way.
 *
 * The process ends by itself, with its caller, or after LOOK_UP_S, and is the caller's to reap. */
#ifndef MK_NET_LOOK_UP_H
#define MK_NET_LOOK_UP_H

#include "net/address.h"

enum { LOOK_UP_S = 10 };

/* As address_resolve(). */
typedef enum err look_up_fn(const struct address *a, struct socket_address *out, struct why *why);

/* Begins one. A descriptor that becomes readable once the answer is there, and is the caller's to
 * close, at any time; -1, with errno set, if no process can be had. */
int look_up_start(const struct address *a, look_up_fn *how);
/* The answer. Errors: those of how, and UNREACHABLE if the process ended without any. */
enum err look_up_take(int fd, struct socket_address *out, struct why *why);

#endif
