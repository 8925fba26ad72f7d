/* /debug/logs: the latest log lines as a page, as they come (server-sent events), and how much each
 * part of the daemon logs. A level that was changed goes back by itself, so that nobody has to
 * remember that a daemon logs too much. */
#pragma once

#include "daemon/daemon.h"

enum {
	LOGS_SUBSCRIBERS_MAX = 4,
	LOGS_LINES_DEFAULT = 500,
	LOGS_LEVEL_DEFAULT_S = 600,  /* until a level goes back */
	LOGS_LEVEL_MAX_S = 7 * 86400 /* 0 seconds: it stays */
};

struct logs;

/** NULL when out of memory. */
struct logs *logs_new(struct daemon *d);
/** After the servers are closed. */
struct logs *logs_free(struct logs *l);
/** GET /debug/logs?level=&part=&q=&n= (HTML, json, text), GET /debug/logs/live (the same filters),
 * GET /debug/logs/levels, POST /debug/logs/level?part=&level=&seconds= (part "all" for each). */
int logs_attach(struct logs *l, struct http_server *s);
