#include "net/alarm.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"

void alarm_init(struct alarm *a)
{
    a->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    ASSERT(a->fd >= 0);
    a->armed_us = UINT64_MAX;
}

void alarm_close(struct alarm *a)
{
    if (a->fd > 0) {
        close(a->fd);
    }
    *a = (struct alarm){.fd = -1, .armed_us = UINT64_MAX};
}

void alarm_by(struct alarm *a, uint64_t at_us)
{
    if (at_us >= a->armed_us) {
        return;
    }
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_us / 1000000),
                                           .tv_nsec = (long)(at_us % 1000000) * 1000}};
    if (at_us == 0) {
        when.it_value.tv_nsec = 1; /* zero would switch it off */
    }
    int failed = timerfd_settime(a->fd, TFD_TIMER_ABSTIME, &when, NULL);
    ASSERT(failed == 0);
    a->armed_us = at_us;
}

void alarm_clear(struct alarm *a)
{
    uint64_t expirations;
    ssize_t size = read(a->fd, &expirations, sizeof expirations);
    if (size == (ssize_t)sizeof expirations) {
        a->armed_us = UINT64_MAX;
    }
}
