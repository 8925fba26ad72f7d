/* The two HTTP servers: debug pages on loopback or a unix socket, the control API on
 * DIR/control.sock. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/control.h"
#include "daemon/disk.h"
#include "daemon/exit.h"
#include "daemon/pages.h"
#include "daemon/push.h"

enum { SOCKET_PATH_MAX = 100 };

static int listen_debug(struct daemon *d)
{
	const char *text = options_text(d->options, OPT_DEBUG_LISTEN);
	bool by_default = options_origin(d->options, OPT_DEBUG_LISTEN) == ORIGIN_DEFAULT;
	struct multiaddr addr, bound;
	char why[DAEMON_WHY_MAX] = "", host[128];
	int rc;

	if (strncmp(text, "unix:", 5) == 0) {
		rc = http_listen_unix(d->debug, text + 5, why, sizeof(why));
		snprintf(d->debug_url, sizeof(d->debug_url), "%s", text);
		return rc < 0 ? daemon_fail(EXIT_FAILED, "no debug pages on %s: %s", text,
					    why[0] != '\0' ? why : err_str(rc)) :
				0;
	}
	(void)multiaddr_parse_hostport(text, strlen(text), &addr);
	rc = http_listen_tcp(d->debug, &addr, &bound, why, sizeof(why));
	if (rc == UV_EADDRINUSE && by_default) {
		log_warn(LOG_DAEMON,
			 "msg=\"%s is taken, so the debug pages are on another port this time\"",
			 text);
		addr.port = 0;
		rc = http_listen_tcp(d->debug, &addr, &bound, why, sizeof(why));
	}
	if (rc < 0)
		return daemon_fail(
			rc == UV_EACCES ? EXIT_USAGE : EXIT_FAILED, "no debug pages on %s: %s%s",
			text, why[0] != '\0' ? why : err_str(rc),
			rc == UV_EADDRINUSE ?
				". With --debug-listen 127.0.0.1:0 any free port is taken" :
				"");
	inet_ntop(bound.family == 4 ? AF_INET : AF_INET6, bound.ip, host, sizeof(host));
	snprintf(d->debug_url, sizeof(d->debug_url),
		 bound.family == 4 ? "http://%s:%u" : "http://[%s]:%u", host, bound.port);
	return 0;
}

/* A socket address holds 108 bytes: a folder with a longer path is named by its descriptor, which
 * stays open. */
static int listen_control(struct daemon *d)
{
	CLEANUP(mem_freep) char *path = disk_path(d->dir, DAEMON_SOCKET_FILE);
	char why[DAEMON_WHY_MAX] = "";
	int fd, rc;

	if (path != NULL && strlen(path) > SOCKET_PATH_MAX) {
		mem_free(path);
		fd = open(d->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		path = mem_printf("/proc/self/fd/%d/%s", fd, DAEMON_SOCKET_FILE);
	}
	rc = path != NULL ? http_listen_unix(d->control_http, path, why, sizeof(why)) : UV_ENOMEM;
	if (rc < 0)
		return daemon_fail(EXIT_FAILED, "no control socket in %s: %s", d->dir,
				   why[0] != '\0' ? why : err_str(rc));
	return 0;
}

/* What is slow is another thing for a request of a page than for a discovery across the internet.
 * Beyond these, the page of traces shows a percentile in red. */
static void set_thresholds(struct trace *t)
{
	static const struct {
		const char *category;
		struct trace_thresholds limits;
	} table[] = {
		{ "sync.discover", { 5 * NS_PER_SEC, 30 * NS_PER_SEC, 120 * NS_PER_SEC } },
		{ "sync.peer", { 2 * NS_PER_SEC, 15 * NS_PER_SEC, 60 * NS_PER_SEC } },
		{ "http", { 50 * NS_PER_MS, 250 * NS_PER_MS, 1 * NS_PER_SEC } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		(void)trace_thresholds_set(t, table[i].category, &table[i].limits);
}

static int attach_pages(struct daemon *d, struct http_server *s)
{
	int rc = debug_http_index(s);

	if (rc == 0)
		rc = debug_http_traces(s, d->trace);
	if (rc == 0)
		rc = debug_http_pprof(s, d->profiler);
	if (rc == 0 && d->push != NULL && s == d->debug)
		rc = push_attach(d->push, s);
	front_attach(&d->front, d, s);
	return rc == 0 ? pages_attach(d->control, s) : rc;
}

int daemon_start_http(struct daemon *d)
{
	struct http_server_config config = { .loop = &d->loop,
					     .surface = HTTP_DEBUG,
					     .trace = d->trace,
					     .version = PEERSCOPE_VERSION };
	char title[64];
	int code;

	snprintf(title, sizeof(title), "peerscope pid %d", (int)getpid());
	config.title = title;
	d->step = STEP_HTTP;
	set_thresholds(d->trace);
	d->debug = http_server_new(&config);
	config.surface = HTTP_CONTROL;
	config.trace = NULL; /* a batch of blobs is no event worth a trace */
	d->control_http = http_server_new(&config);
	d->control = control_new(d);
	if (d->debug == NULL || d->control_http == NULL || d->control == NULL ||
	    attach_pages(d, d->debug) < 0 || attach_pages(d, d->control_http) < 0 ||
	    control_attach(d->control, d->control_http) < 0)
		return daemon_fail(EXIT_FAILED, "out of memory");
	code = listen_debug(d);
	return code == 0 ? listen_control(d) : code;
}
