/* The daemon: everything wired in layer order, from the lock on the data folder up to the control
 * socket. */
#pragma once

#include "base/loop.h"
#include "daemon/front.h"
#include "daemon/keys.h"
#include "daemon/lock.h"
#include "daemon/options.h"
#include "daemon/recent.h"
#include "daemon/stalls.h"
#include "debug_http/debug_http.h"
#include "discovery/discovery.h"
#include "profiler/profiler.h"

#ifndef PEERSCOPE_VERSION
#define PEERSCOPE_VERSION "0.1.0"
#endif

/* The argument with which the daemon starts itself to find the names in a profile. */
#define DAEMON_SYMBOLS_VERB "(symbols)"

enum {
	DAEMON_DESCRIPTORS = 4096,  /* asked for, as far as the hard limit allows */
	DAEMON_STOP_MAX_MS = 25000, /* below a service manager's patience */
	DAEMON_STOP_TELL_MS = 5000, /* how often it says what it waits for */
	DAEMON_STATUS_MS = 10000,   /* how often the service manager hears how we are */
	DAEMON_URL_MAX = 256,
	DAEMON_WHY_MAX = 1024,
	DAEMON_PUSH_WHY_MAX = 256
};

#define DAEMON_ADDRESS_FILE "debug.addr"
#define DAEMON_SOCKET_FILE  "control.sock"

struct control;
struct otlp_push;
struct push;
struct report;
struct sources;

/* Steps of coming up; stopping walks them backwards. */
enum daemon_step {
	STEP_NONE,
	STEP_OTLP,
	STEP_STORE,
	STEP_NET,
	STEP_SYNC,
	STEP_SOURCES,
	STEP_DISCOVERY,
	STEP_HTTP,
	STEP_READY
};

struct daemon {
	const struct options *options;
	const char *dir;
	struct lock lock;
	struct secret_key node, space;
	struct loop loop;
	struct trace *trace;
	struct profiler *profiler;
	struct stalls stalls;
	struct front front;
	struct store *store;
	struct net_transport *tcp;
	struct net *net;
	struct multiaddr listen; /* with the real port */
	struct sync *sync;
	struct discovery *discovery;
	struct sources *sources;
	struct http_server *debug, *control_http;
	struct control *control;
	struct otlp_push *otlp; /* NULL = not configured */
	struct push *push;	/* of profiles; NULL = not configured, or wrongly */
	struct report *report;	/* of discoveries; the same */
	char push_why[DAEMON_PUSH_WHY_MAX], report_why[DAEMON_PUSH_WHY_MAX]; /* "" = all is well */
	char debug_url[DAEMON_URL_MAX]; /* "http://127.0.0.1:56001", or "unix:/path" */
	uint64_t start_ms, start_wall_s;
	enum daemon_step step;
	bool stopping;
	int exit_code;
	struct recent recent; /* for the doctor */
	/* private to daemon.c */
	uv_signal_t signals[3];
	struct runner_timer recent_timer, status_timer, watchdog_timer, stop_timer;
	uint64_t watchdog_ms, stop_ms;
	unsigned closing;
};

/** Says on stderr, and to the service manager, why it does not come up. Returns the code. */
int daemon_fail(int code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/** Make and open both servers; debug_url is set. 0 or an exit code, said already. */
int daemon_start_http(struct daemon *d);
/** Send traces to a collector, if one is configured. 0 or an exit code, said already. */
int daemon_start_otlp(struct daemon *d);
/** Send profiles and reports to a server, if one is configured; closed with the HTTP servers. 0 or
 * an exit code, said already. What is configured wrongly is said, and is no failure. */
int daemon_start_push(struct daemon *d);
/** The key of trace_disguise() for what leaves the machine: the same as long as the node key is. */
void daemon_pseudonym_key(const struct daemon *d, uint8_t ret_key[32]);
/** Settings, then run until a signal. The exit code. */
int daemon_run(const struct options *options);
