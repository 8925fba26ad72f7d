/* Ten readers hammer the trace pages while traces are being written: how long does a turn of the
 * loop take, and how late is a timer that is due every millisecond? bench_readers [SECONDS [N]]:
 * all ask for the N-th kind of answer only.
 *
 * The store holds a thousand discoveries and one trace of ten thousand spans. Each reader asks for
 * one kind of answer again and again; readers are threads of this process, so that the machine's
 * other work and their own disturb the loop too: the CPU time of a turn tells what the pages cost,
 * its wall time what the machine made of it. The same readers asking for a reply of a few bytes are
 * measured before and after, as the machine's part in it. Compare figures of one run only. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "../browser/trace_scene.h"
#include "base/loop.h"
#include "base/mem.h"
#include "debug_http/debug_http.h"

enum { READERS = 10, LATE_MAX = 1 << 20, SPANS = 9990 };

static const char *const asked[READERS] = {
	"/debug/traces?html",
	"/debug/traces?html&sort=newest&n=250",
	"/debug/traces?html&q=herons&sort=newest",
	"/debug/traces?json&n=250",
	"/debug/traces?text&n=250",
	"/debug/traces?q=nowhere%20to%20be%20found",
	"/debug/traces?html&id=%s",
	"/debug/traces?text&id=%s",
	"/debug/traces?html&id=%s&with=median",
	"/debug/traces?text&id=%s&with=median",
};

struct reader {
	const char *kind;
	char request[256];
	uint16_t port;
	unsigned answers;
	uint64_t bytes;
	pthread_t thread;
};

/* Not found: the answer takes no work. */
static const char nothing[] = "/debug/nothing";

static atomic_bool stop;

/* One answer, on a connection of its own. */
static void ask(struct reader *r)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons(r->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char bytes[65536];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    send(fd, r->request, strlen(r->request), MSG_NOSIGNAL) > 0) {
		while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0)
			r->bytes += (uint64_t)n;
		r->answers += n == 0;
	}
	close(fd);
}

static void *read_on(void *data)
{
	while (!atomic_load(&stop))
		ask(data);
	return NULL;
}

/* ---- The loop's side ---- */

struct bench {
	struct loop loop;
	struct trace *trace;
	uv_timer_t timer;
	uv_prepare_t prepare;
	uint64_t due_ns, end_ns, cpu_ns;
	uint32_t *late_us, *cpu_us; /* of each timer, of each turn */
	size_t count, turns;
};

static uint64_t thread_cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
}

/* From poll to poll. */
static void on_prepare(uv_prepare_t *prepare)
{
	struct bench *b = prepare->data;
	uint64_t now = thread_cpu_ns();

	if (b->cpu_ns > 0 && b->turns < LATE_MAX)
		b->cpu_us[b->turns++] = (uint32_t)((now - b->cpu_ns) / 1000);
	b->cpu_ns = now;
}

/* Work goes on: a small trace per millisecond. */
static void on_timer(uv_timer_t *timer)
{
	struct bench *b = timer->data;
	uint64_t now = clock_now_ns(&clock_system);
	struct span s = trace_root(b->trace, "sync.discover", "hm://bench", 10, NULL), peer;

	if (b->count < LATE_MAX)
		b->late_us[b->count++] = (uint32_t)((now - MIN(now, b->due_ns)) / 1000);
	trace_stage(s, "local");
	peer = trace_child(s, "sync.peer", "12D3KooW", 8);
	trace_mark(peer, "round %d: %d ranges", 1, 16);
	trace_finish(peer, 0, NULL);
	trace_finish(s, 0, "local");
	if (now >= b->end_ns) {
		uv_stop(&b->loop.uv);
		return;
	}
	b->due_ns = now + NS_PER_MS;
	uv_timer_start(timer, on_timer, 1, 0);
}

static void fill(struct trace *t, struct clock_manual *clock, char ret_id[TRACE_ID_HEX_SIZE])
{
	struct span large = trace_root(t, "sync.discover", "hm://large/herons", 17, NULL);
	struct trace_context context;

	for (unsigned i = 0; i < SPANS; i++)
		scene_failed_peer(clock, large, i, 1);
	if (trace_context_of(large, &context))
		for (size_t i = 0; i < sizeof(context.trace_id); i++)
			(void)snprintf(ret_id + 2 * i, 3, "%02x", context.trace_id[i]);
	trace_finish(large, 0, NULL);
	for (unsigned i = 0; i < 1000; i++)
		scene_fast_discovery(t, clock, "hm://bench/small", 1 + i % 7);
}

static int by_value(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void report(const char *what, struct bench *b)
{
	struct loop_lag lag;

	qsort(b->late_us, b->count, sizeof(*b->late_us), by_value);
	qsort(b->cpu_us, b->turns, sizeof(*b->cpu_us), by_value);
	loop_lag(&b->loop, &lag);
	printf("%-8s a turn's CPU time: p50 %.2f ms, p99 %.2f ms, max %.2f ms; its wall time: p50 "
	       "%.2f "
	       "ms, p99 %.2f ms, max %.2f ms; timers late: p50 %.2f ms, p99 %.2f ms\n",
	       what, b->cpu_us[b->turns / 2] / 1e3, b->cpu_us[b->turns * 99 / 100] / 1e3,
	       b->cpu_us[b->turns - 1] / 1e3, (double)lag.p50_us / 1e3, (double)lag.p99_us / 1e3,
	       (double)lag.max_us / 1e3, b->late_us[b->count / 2] / 1e3,
	       b->late_us[b->count * 99 / 100] / 1e3);
}

static void measure(struct bench *b, const char *what, double seconds)
{
	loop_lag_reset(&b->loop);
	b->count = b->turns = b->cpu_ns = 0;
	b->due_ns = clock_now_ns(&clock_system) + NS_PER_MS;
	b->end_ns = b->due_ns + (uint64_t)(seconds * 1e9);
	uv_timer_start(&b->timer, on_timer, 1, 0);
	uv_run(&b->loop.uv, UV_RUN_DEFAULT);
	report(what, b);
}

static void print_readers(const struct reader *readers)
{
	for (size_t i = 0; i < READERS; i++)
		printf("  %5u answers, %7.1f KiB each  %s\n", readers[i].answers,
		       (double)readers[i].bytes / 1024 / MAX(readers[i].answers, 1u),
		       readers[i].kind);
}

/* Each asks for the kind of its number; `only` not NULL: all for that. */
static void run_readers(struct bench *b, const char *what, uint16_t port, const char *id,
			double seconds, const char *only)
{
	struct reader readers[READERS] = { 0 };

	atomic_store(&stop, false);
	for (size_t i = 0; i < READERS; i++) {
		char path[128];
		const char *kind = only != NULL ? only : asked[i], *at = strstr(kind, "%s");

		readers[i].kind = kind;

		(void)snprintf(path, sizeof(path), "%.*s%s%s",
			       at != NULL ? (int)(at - kind) : (int)strlen(kind), kind,
			       at != NULL ? id : "", at != NULL ? at + 2 : "");
		(void)snprintf(readers[i].request, sizeof(readers[i].request),
			       "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
			       path);
		readers[i].port = port;
		if (pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) != 0)
			exit(1);
	}
	measure(b, what, seconds);
	atomic_store(&stop, true);
	/* The last answers are still being written: the loop goes on until the readers have them.
	 */
	for (size_t i = 0; i < READERS; i++)
		while (pthread_tryjoin_np(readers[i].thread, NULL) != 0)
			uv_run(&b->loop.uv, UV_RUN_NOWAIT);
	if (only != nothing)
		print_readers(readers);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 5;
	static struct clock_manual clock;
	struct bench *b = mem_alloc(sizeof(*b));
	struct http_server_config config = { .surface = HTTP_DEBUG,
					     .title = "bench",
					     .version = "0" };
	char why[256] = "", id[TRACE_ID_HEX_SIZE] = "";
	struct multiaddr any, bound;
	struct http_server *s;

	if (b != NULL)
		b->late_us = mem_alloc_array(2 * (size_t)LATE_MAX, sizeof(*b->late_us));
	clock_manual_init(&clock, clock_wall_ns(&clock_system));
	if (b == NULL || b->late_us == NULL || base_init() < 0 || loop_init(&b->loop) < 0)
		return 1;
	b->trace = trace_new(NULL, &clock.clock);
	fill(b->trace, &clock, id);
	config.loop = &b->loop;
	config.trace = b->trace;
	s = http_server_new(&config);
	(void)multiaddr_parse_hostport("127.0.0.1:0", 11, &any);
	if (s == NULL || debug_http_traces(s, b->trace) < 0 ||
	    http_listen_tcp(s, &any, &bound, why, sizeof(why)) < 0)
		return 1;
	b->cpu_us = b->late_us + LATE_MAX;
	uv_prepare_init(&b->loop.uv, &b->prepare);
	b->prepare.data = b;
	uv_prepare_start(&b->prepare, on_prepare);
	uv_timer_init(&b->loop.uv, &b->timer);
	b->timer.data = b;
	measure(b, "alone", seconds / 2);
	run_readers(b, "trivial", bound.port, id, seconds / 2, nothing);
	run_readers(b, "readers", bound.port, id, seconds,
		    argc > 2 ? asked[(unsigned)strtoul(argv[2], NULL, 10) % READERS] : NULL);
	run_readers(b, "trivial", bound.port, id, seconds / 2, nothing);
	return 0;
}
