/* Tell the service manager how we are (sd_notify(3)): one datagram to $NOTIFY_SOCKET. Without one
 * every call does nothing. */
#pragma once

#include "base/base.h"

/** "READY=1", "STATUS=…", "STOPPING=1", "WATCHDOG=1"; several lines may be joined with '\n'. Never
 * blocks: what the manager does not take at once is lost. */
void notify_send(const char *fmt, ...) PRINTF_LIKE(1, 2);
/** How often WATCHDOG=1 is due: half of $WATCHDOG_USEC when it is meant for this process, else 0.
 */
uint64_t notify_watchdog_ms(void);
