/* The system's time zones: /usr/share/zoneinfo, or where TZDIR says. */
#ifndef MK_NET_SYSTEM_ZONES_H
#define MK_NET_SYSTEM_ZONES_H

#include "port/zones.h"

/* Any thread. Lives for ever. */
const struct zones_port *system_zones(void);

#endif
