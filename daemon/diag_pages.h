/* /debug/doctor, /debug/sys, /debug/buildinfo, /debug/config: what is wrong, and what this daemon
 * runs on. */
#pragma once

#include "daemon/daemon.h"

/** Borrows the daemon until the server is closed. */
int diag_pages_attach(struct daemon *d, struct http_server *s);
