/* Non-blocking TCP sockets, the few calls that all users of them share. */
#ifndef MK_NET_SOCKET_H
#define MK_NET_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "net/address.h"

void socket_set_no_delay(int fd);
/* Have the kernel give up on data that is not acknowledged for so long. */
void socket_set_user_timeout(int fd, uint32_t timeout_ms);
/* It counts as writable once the kernel has less than this that is not sent yet. */
void socket_set_unsent_low(int fd, uint32_t size_bytes);
/* Begin to connect. -1, with errno set, if that fails at once. */
int socket_connect(const struct socket_address *to);
/* Whether a connection begun has come about, once the socket is writable: 0, or an errno. */
int socket_connect_result(int fd);

#endif
