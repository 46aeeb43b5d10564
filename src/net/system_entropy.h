/* Random bytes from the system (getrandom). */
#ifndef MK_NET_SYSTEM_ENTROPY_H
#define MK_NET_SYSTEM_ENTROPY_H

#include "port/entropy.h"

/* Any thread. Lives for ever. Waits, once after boot, until the system has gathered enough. */
const struct entropy_port *system_entropy(void);

#endif
