/* A timer descriptor on CLOCK_BOOTTIME: becomes readable at an absolute time, and right after a
 * sleep of the machine that went past it. For event loops: it is polled like any other descriptor.
 */
#ifndef MK_NET_ALARM_H
#define MK_NET_ALARM_H

#include <stdint.h>

struct alarm {
    int fd;
    uint64_t armed_us; /* UINT64_MAX: off */
};

void alarm_init(struct alarm *a);
void alarm_close(struct alarm *a);
/* Have it ring at at_us at the latest. It may ring before, for an earlier setting; then the caller,
 * who compares times anyway, sets it again. That spares a system call for every later time. */
void alarm_by(struct alarm *a, uint64_t at_us);
/* It rang: make it quiet. */
void alarm_clear(struct alarm *a);

#endif
