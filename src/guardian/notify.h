/* Telling systemd how the service is doing (sd_notify(3), Type=notify), without its library. */
#ifndef MK_GUARDIAN_NOTIFY_H
#define MK_GUARDIAN_NOTIFY_H

/* Send "READY=1", "STOPPING=1", ... to $NOTIFY_SOCKET. Does nothing if there is none; errors are
 * ignored, as sd_notify(3) recommends. */
void notify_systemd(const char *state);

#endif
