/* Coming up, in layer order; going down, backwards:
 *
 *   lock → keys → trace → loop → profiler → store → net → sync → discovery → debug pages, control →
 * READY
 *
 * Nothing of a folder that another daemon holds is touched: the lock comes first. The two files
 * that others look for, debug.addr and control.sock, appear when everything answers. Going down is
 * a chain of closings, each waiting for the one before; a timer ends the process when the chain
 * takes too long, which loses nothing, since what is acknowledged is on disk. */
#include "daemon/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/cli.h"
#include "daemon/control.h"
#include "daemon/disk.h"
#include "daemon/doctor_facts.h"
#include "daemon/exit.h"
#include "daemon/notify.h"
#include "daemon/otlp_push.h"
#include "daemon/push.h"
#include "daemon/report.h"
#include "daemon/sources.h"
#include "daemon/sys.h"
#include "daemon/waits.h"
#include "daemon/workers.h"

static const char port_file[] = "listen.port";

enum { PORT_TEXT_MAX = 16 };

/* ---- Going down ---- */

static void stop_next(struct daemon *d);

static void on_closed(void *data)
{
	struct daemon *d = data;

	REQUIRE(d->closing > 0);
	d->closing--;
	stop_next(d);
}

/* The transport is shut down by then. */
static void on_net_closed(void *data)
{
	struct daemon *d = data;

	d->net = net_free(d->net);
	d->tcp = net_tcp_free(d->tcp);
	on_closed(d);
}

static void on_signal_closed(uv_handle_t *handle)
{
	on_closed(handle->data);
}

/* Then its closing is waited for. */
static bool is_there(struct daemon *d, const void *what)
{
	d->closing += what != NULL;
	return what != NULL;
}

static void close_http(struct daemon *d)
{
	if (d->control != NULL)
		control_stop(d->control);
	if (is_there(d, d->control_http))
		http_server_close(d->control_http, on_closed, d);
	if (is_there(d, d->debug))
		http_server_close(d->debug, on_closed, d);
	if (is_there(d, d->push))
		push_close(d->push, on_closed, d);
	if (is_there(d, d->report))
		report_close(d->report, on_closed, d);
}

static void close_last(struct daemon *d)
{
	runner_timer_stop(&d->loop.runner, &d->recent_timer);
	runner_timer_stop(&d->loop.runner, &d->status_timer);
	runner_timer_stop(&d->loop.runner, &d->watchdog_timer);
	runner_timer_stop(&d->loop.runner, &d->stop_timer);
	for (size_t i = 0; i < ARRAY_SIZE(d->signals); i++) {
		d->closing++;
		uv_close((uv_handle_t *)&d->signals[i], on_signal_closed);
	}
}

/* Frees what the step above has closed, then closes the next one down. */
static void stop_next(struct daemon *d)
{
	while (d->closing == 0) {
		switch (d->step--) {
		case STEP_READY:
		case STEP_HTTP:
			close_http(d);
			d->step = STEP_DISCOVERY;
			break;
		case STEP_DISCOVERY:
			d->push = NULL;
			d->report = NULL;
			d->debug = http_server_free(d->debug);
			d->control_http = http_server_free(d->control_http);
			d->control = control_free(d->control);
			stalls_stop(&d->stalls);
			d->profiler = profiler_free(d->profiler);
			if (is_there(d, d->discovery))
				discovery_close(d->discovery, on_closed, d);
			break;
		case STEP_SOURCES:
			d->discovery = discovery_free(d->discovery);
			if (is_there(d, d->sources))
				sources_close(d->sources, on_closed, d);
			break;
		case STEP_SYNC:
			d->sources = sources_free(d->sources);
			if (is_there(d, d->sync))
				sync_close(d->sync, on_closed, d);
			break;
		case STEP_NET:
			if (is_there(d, d->net))
				net_close(d->net, on_net_closed, d);
			break;
		case STEP_STORE:
			d->sync = sync_free(d->sync); /* the net told it of conns that went */
			if (is_there(d, d->store))
				store_close(d->store, on_closed, d);
			break;
		case STEP_OTLP:
			d->store = NULL;
			if (is_there(d, d->otlp))
				otlp_push_close(d->otlp, on_closed, d);
			break;
		case STEP_NONE:
			d->otlp = NULL;
			d->step = STEP_NONE;
			if (!uv_is_closing((uv_handle_t *)&d->signals[0]))
				close_last(d);
			else
				loop_stop(&d->loop);
			if (d->closing == 0)
				return;
			break;
		}
	}
}

static void give_up(struct daemon *d, const char *why)
{
	static const char *const names[] = { "signals", "otlp",	     "store", "net",  "sync",
					     "sources", "discovery", "http",  "ready" };

	log_error(LOG_DAEMON, "msg=\"%s\" waiting_for=%s", why,
		  names[MIN((size_t)d->step + 1, ARRAY_SIZE(names) - 1)]);
	op_print_all(&d->loop.runner, STDERR_FILENO);
	_exit(EXIT_FAILED);
}

static void on_stop_timer(struct runner_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, stop_timer);
	uint64_t now = runner_now_ms(&d->loop.runner);

	if (now - d->stop_ms >= DAEMON_STOP_MAX_MS)
		give_up(d, "ended the hard way: shutting down took too long");
	log_warn(LOG_DAEMON, "msg=\"still shutting down\" seconds=%" PRIu64 " operations=%u",
		 (now - d->stop_ms) / 1000, d->loop.runner.op_count);
	op_print_all(&d->loop.runner, STDERR_FILENO);
	runner_timer_start(&d->loop.runner, timer,
			   MIN(now + DAEMON_STOP_TELL_MS, d->stop_ms + DAEMON_STOP_MAX_MS));
}

static void stop(struct daemon *d)
{
	d->stopping = true;
	d->stop_ms = runner_now_ms(&d->loop.runner);
	notify_send("STOPPING=1\nSTATUS=shutting down");
	disk_remove(d->dir, DAEMON_ADDRESS_FILE);
	disk_remove(d->dir, DAEMON_SOCKET_FILE);
	d->stop_timer.run = on_stop_timer;
	runner_timer_start(&d->loop.runner, &d->stop_timer, d->stop_ms + DAEMON_STOP_TELL_MS);
	stop_next(d);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct daemon *d = handle->data;

	if (d->stopping)
		give_up(d, "ended at once: asked twice");
	log_info(LOG_DAEMON, "msg=\"shutting down; once more ends at once\" signal=%d", signum);
	stop(d);
}

/* ---- Coming up ---- */

int daemon_fail(int code, const char *fmt, ...)
{
	char text[DAEMON_WHY_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	notify_send("STATUS=%s", text);
	return cli_fail((enum exit_code)code, "%s", text);
}

static int start_loop(struct daemon *d)
{
	static const int signums[] = { SIGTERM, SIGINT, SIGHUP };
	int rc = loop_init(&d->loop);

	if (rc < 0)
		return daemon_fail(EXIT_FAILED, "no event loop: %s", err_str(rc));
	d->start_ms = runner_now_ms(&d->loop.runner);
	d->start_wall_s = clock_wall_ns(d->loop.runner.clock) / NS_PER_SEC;
	for (size_t i = 0; i < ARRAY_SIZE(signums); i++) {
		uv_signal_init(&d->loop.uv, &d->signals[i]);
		d->signals[i].data = d;
		uv_signal_start(&d->signals[i], on_signal, signums[i]);
		uv_unref((uv_handle_t *)&d->signals[i]);
	}
	trace_observe(d->trace, &d->loop.runner);
	(void)trace_cpu_start(d->trace);
	return 0;
}

static int start_profiler(struct daemon *d)
{
	struct profiler_config config = { .runner = &d->loop.runner,
					  .version = "peerscope " PEERSCOPE_VERSION,
					  .span_category = trace_span_category,
					  .span_trace_id = waits_trace_id,
					  .wait_of = waits_of,
					  .symbols_verb = DAEMON_SYMBOLS_VERB };

	d->profiler = profiler_new(&config);
	if (d->profiler == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	if (profiler_watch_loop(d->profiler, PROFILER_STALL_MS, true) < 0)
		log_warn(LOG_DAEMON, "msg=\"nobody watches the loop: no thread for it\"");
	stalls_start(&d->stalls, &d->loop.runner, d->profiler, d->trace);
	return 0;
}

static int start_store(struct daemon *d)
{
	struct store_config config = { .runner = &d->loop.runner,
				       .dir = d->dir,
				       .uv = &d->loop.uv };
	char why[DAEMON_WHY_MAX] = "";
	int rc = store_open(&config, &d->store, why, sizeof(why));

	if (rc < 0)
		return daemon_fail(exit_of(rc), "%s", why[0] != '\0' ? why : err_str(rc));
	d->step = STEP_STORE;
	return 0;
}

static int kept_port(struct daemon *d)
{
	struct buf text;
	int port = 0;

	buf_init(&text, 1024);
	if (disk_read(d->dir, port_file, PORT_TEXT_MAX, &text, NULL, NULL) == 0 && text.len > 0)
		port = (int)strtol((const char *)text.data, NULL, 10);
	buf_fini(&text);
	return port > 0 && port < 65536 ? port : 0;
}

/* With port 0 the port of last time is tried first, so that the addresses others know stay right.
 */
static int listen_peers(struct daemon *d, struct multiaddr *addr)
{
	int rc;

	if (addr->port == 0 && (addr->port = (uint16_t)kept_port(d)) != 0) {
		rc = net_listen(d->net, addr);
		if (rc != UV_EADDRINUSE && rc != UV_EACCES)
			return rc;
		log_warn(LOG_DAEMON,
			 "msg=\"the port of last time is taken; another one is chosen\" port=%u",
			 addr->port);
		addr->port = 0;
	}
	return net_listen(d->net, addr);
}

/* Unless told otherwise, over both families; where IPv6 is switched off, over the other one. */
static int listen_as_told(struct daemon *d, struct multiaddr *addr)
{
	static const struct multiaddr ipv4 = { .family = 4 };
	int rc = listen_peers(d, addr);

	if (rc == 0 || rc == UV_EADDRINUSE || rc == UV_EMFILE || rc == UV_ENOMEM ||
	    options_origin(d->options, OPT_LISTEN) != ORIGIN_DEFAULT)
		return rc;
	log_info(LOG_DAEMON, "msg=\"no IPv6 here: listening on IPv4 alone\" err=%s", err_name(rc));
	*addr = ipv4;
	return listen_peers(d, addr);
}

static void keep_port(struct daemon *d)
{
	struct multiaddr addrs[NET_ADDRS_MAX];
	char text[PORT_TEXT_MAX];
	int len;

	if (net_addrs(d->net, addrs, ARRAY_SIZE(addrs)) == 0 || addrs[0].port == kept_port(d))
		return;
	len = snprintf(text, sizeof(text), "%u\n", addrs[0].port);
	(void)disk_write(d->dir, port_file, text, (size_t)len, 0600);
}

static int start_net(struct daemon *d)
{
	const char *listen = options_text(d->options, OPT_LISTEN);
	struct net_config config = { .runner = &d->loop.runner,
				     .secret_key = d->node.secret,
				     .agent = "peerscope/" PEERSCOPE_VERSION };
	struct multiaddr addr;
	int rc;

	(void)multiaddr_parse_hostport(listen, strlen(listen), &addr);
	d->tcp = net_tcp_new(&d->loop);
	config.transport = d->tcp;
	d->net = d->tcp != NULL ? net_new(&config) : NULL;
	if (d->net == NULL) {
		d->tcp = net_tcp_free(d->tcp);
		return daemon_fail(EXIT_FAILED, "out of memory");
	}
	d->step = STEP_NET;
	rc = listen_as_told(d, &addr);
	if (rc < 0)
		return daemon_fail(EXIT_FAILED,
				   "cannot listen for peers on %s: %s. Choose another address with "
				   "--listen, port 0 for any free one",
				   listen, err_str(rc));
	if (options_origin(d->options, OPT_LISTEN) == ORIGIN_DEFAULT ||
	    strrchr(listen, ':')[1] == '0')
		keep_port(d);
	d->listen = addr;
	if (addr.port == 0 && net_addrs(d->net, &addr, 1) > 0)
		d->listen.port = addr.port;
	return 0;
}

static int start_sync(struct daemon *d)
{
	struct sync_config config = {
		.runner = &d->loop.runner, .net = d->net, .store = d->store, .trace = d->trace
	};

	config.peer_timeout_ms = options_number(d->options, OPT_PEER_TIMEOUT);
	config.round_timeout_ms = options_number(d->options, OPT_ROUND_TIMEOUT);
	config.fetch_idle_ms = options_number(d->options, OPT_FETCH_IDLE_TIMEOUT);
	d->sync = sync_new(&config);
	if (d->sync == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	d->step = STEP_SYNC;
	return 0;
}

static void on_offence(void *data, const struct discovery_benched *b)
{
	char peer[PEER_ID_TEXT_SIZE];

	(void)data;
	peer_id_format(&b->peer, peer);
	log_warn(LOG_DISCOVERY,
		 "msg=\"a peer is left alone for a while\" peer=%s why=\"%s\" for_s=%llu "
		 "offences=%u wasted_ms=%llu wasted_bytes=%llu",
		 peer, b->why, (unsigned long long)b->for_ms / 1000, (unsigned)b->offences,
		 (unsigned long long)b->wasted_ms, (unsigned long long)b->wasted_bytes);
}

static int start_discovery(struct daemon *d)
{
	struct discovery_config config = { .runner = &d->loop.runner,
					   .net = d->net,
					   .store = d->store,
					   .sync = d->sync,
					   .trace = d->trace,
					   .own_space = &d->space.public,
					   .on_offence = on_offence };

	config.timeout_ms = options_number(d->options, OPT_DISCOVERY_TIMEOUT);
	config.local_timeout_ms = options_number(d->options, OPT_LOCAL_TIMEOUT);
	config.dht_timeout_ms = options_number(d->options, OPT_DHT_TIMEOUT);
	config.subscription_interval_ms = options_number(d->options, OPT_SUBSCRIPTION_INTERVAL);
	d->discovery = discovery_new(&config);
	if (d->discovery == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	d->step = STEP_DISCOVERY;
	sync_set_listener(d->sync, discovery_sync_listener(), d->discovery);
	return 0;
}

/* Last, so that a daemon that does not come up has told nobody that it is there. */
static int start_sources(struct daemon *d)
{
	int rc;

	d->sources = sources_new(d);
	rc = d->sources != NULL ? sources_start(d->sources) : UV_ENOMEM;
	if (rc < 0)
		return daemon_fail(EXIT_FAILED, "%s", err_str(rc));
	discovery_start_subscriptions(d->discovery);
	return 0;
}

/* ---- Ready ---- */

static void on_status_timer(struct runner_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, status_timer);
	struct discovery_stats discovery;
	struct net_stats net;

	net_stats(d->net, &net);
	discovery_stats(d->discovery, &discovery);
	notify_send("STATUS=%" PRIu64 " peers, %" PRIu64 " discoveries, debug %s", net.conns,
		    discovery.active, d->debug_url);
	runner_timer_start(&d->loop.runner, timer,
			   runner_now_ms(&d->loop.runner) + DAEMON_STATUS_MS);
}

static void on_recent_timer(struct runner_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, recent_timer);

	doctor_facts_remember(d);
	runner_timer_start(&d->loop.runner, timer,
			   runner_now_ms(&d->loop.runner) + RECENT_EVERY_MS);
}

static void on_watchdog_timer(struct runner_timer *timer)
{
	struct daemon *d = container_of(timer, struct daemon, watchdog_timer);

	notify_send("WATCHDOG=1");
	runner_timer_start(&d->loop.runner, timer, runner_now_ms(&d->loop.runner) + d->watchdog_ms);
}

/* On a full disk what is here can still be read: the pages are named in the log and in the status. */
static int write_address(struct daemon *d)
{
	char line[DAEMON_URL_MAX + 1];
	int len = snprintf(line, sizeof(line), "%s\n", d->debug_url);
	int rc = disk_write(d->dir, DAEMON_ADDRESS_FILE, line, (size_t)len, 0600);

	if (rc == UV_ENOSPC || rc == -EDQUOT) {
		log_warn(
			LOG_DAEMON,
			"msg=\"the disk is full: what is here can be read, nothing new is stored\" "
			"file=%s err=\"%s\"",
			DAEMON_ADDRESS_FILE, err_str(rc));
		return 0;
	}
	return rc < 0 ? daemon_fail(exit_of(rc), "cannot write %s/%s: %s", d->dir,
				    DAEMON_ADDRESS_FILE, err_str(rc)) :
			0;
}

static int become_ready(struct daemon *d)
{
	struct multiaddr addrs[NET_ADDRS_MAX];
	size_t n = net_addrs(d->net, addrs, ARRAY_SIZE(addrs));
	char text[MULTIADDR_TEXT_SIZE];
	int code = write_address(d);

	if (code != 0)
		return code;
	d->step = STEP_READY;
	log_info(LOG_DAEMON, "msg=\"debug listener on %s%s (traces, pprof/, metrics)\"",
		 d->debug_url, d->debug_url[0] == 'u' ? "" : "/debug/");
	for (size_t i = 0; i < MIN(n, (size_t)8); i++) {
		multiaddr_format(&addrs[i], text);
		log_info(LOG_DAEMON, "msg=listening addr=%s", text);
	}
	log_info(LOG_DAEMON, "msg=ready ms=%" PRIu64, runner_now_ms(&d->loop.runner) - d->start_ms);
	notify_send("READY=1\nMAINPID=%d", (int)getpid());
	d->recent_timer.run = on_recent_timer;
	on_recent_timer(&d->recent_timer);
	d->status_timer.run = on_status_timer;
	d->watchdog_timer.run = on_watchdog_timer;
	d->watchdog_ms = notify_watchdog_ms();
	if (getenv("NOTIFY_SOCKET") != NULL)
		on_status_timer(&d->status_timer);
	if (d->watchdog_ms > 0)
		on_watchdog_timer(&d->watchdog_timer);
	return 0;
}

/* ---- All of it ---- */

static int prepare(struct daemon *d)
{
	struct trace_config config = { .budget_bytes =
					       options_number(d->options, OPT_TRACE_BUDGET) };
	char why[DAEMON_WHY_MAX] = "";
	int rc = disk_make_dir(d->dir);

	if (rc < 0)
		return daemon_fail(
			exit_of(rc),
			"cannot create the data folder %s: %s. Choose another one with --data",
			d->dir, err_str(rc));
	rc = lock_take(&d->lock, d->dir, why, sizeof(why));
	if (rc < 0)
		return daemon_fail(exit_of(rc), "%s", why);
	log_info(LOG_DAEMON, "msg=\"peerscope starting\" version=%s pid=%d data=%s",
		 PEERSCOPE_VERSION, (int)getpid(), d->dir);
	disk_remove(d->dir, DAEMON_ADDRESS_FILE); /* left by one that was killed */
	disk_remove(d->dir, DAEMON_SOCKET_FILE);
	rc = key_load(d->dir, "node.key", &d->node, why, sizeof(why));
	if (rc == 0)
		rc = key_load(d->dir, "space.key", &d->space, why, sizeof(why));
	if (rc < 0)
		return daemon_fail(exit_of(rc), "%s", why);
	d->trace = trace_new(&config, &clock_system);
	return d->trace != NULL ?
		       0 :
		       daemon_fail(EXIT_FAILED, "no memory for %" PRIu64 " bytes of traces",
				   config.budget_bytes);
}

static void run_loop(struct daemon *d)
{
	static int (*const steps[])(struct daemon * d) = {
		workers_start,	   start_profiler, daemon_start_otlp, start_store,
		start_net,	   start_sync,	   start_discovery,   daemon_start_push,
		daemon_start_http, start_sources,  become_ready,
	};

	for (size_t i = 0; i < ARRAY_SIZE(steps) && d->exit_code == 0; i++)
		d->exit_code = steps[i](d);
	if (d->exit_code != 0)
		stop(d);
	(void)loop_run(&d->loop);
	loop_fini(&d->loop);
	log_info(LOG_DAEMON, "msg=\"ended\" code=%d", d->exit_code);
}

int daemon_run(const struct options *options)
{
	struct daemon *d = mem_alloc(sizeof(*d));
	int code;

	if (d == NULL)
		return daemon_fail(EXIT_FAILED, "out of memory");
	d->options = options;
	d->dir = options_text(options, OPT_DATA);
	d->lock.fd = -1;
	umask(0077);
	sys_raise_descriptors(DAEMON_DESCRIPTORS);
	option_apply_levels(options_text(options, OPT_LOG_LEVEL));
	code = prepare(d);
	if (code == 0)
		code = start_loop(d);
	if (code == 0) {
		run_loop(d);
		code = d->exit_code;
	}
	trace_free(d->trace);
	key_wipe(&d->node);
	key_wipe(&d->space);
	lock_release(&d->lock);
	mem_free(d);
	return code;
}

int cli_daemon(struct cli *c)
{
	struct buf out;

	if (c->argc != 0)
		return cli_usage("daemon", "it takes no argument");
	if (!options_on(c->options, OPT_CHECK_CONFIG))
		return daemon_run(c->options);
	buf_init(&out, 64 << 10);
	options_write_settings(c->options, &out, true);
	output_text(&out);
	buf_fini(&out);
	return EXIT_DONE;
}
