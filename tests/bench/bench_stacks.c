/* What it takes to show many operations, over HTTP: the time of goroutine?debug=2 as a client has
 * it, and the longest turn of the loop meanwhile, in CPU time (on a busy machine the wall clock
 * tells nothing of a turn). The first answer has symbols to find; the others have them cached.
 * bench_stacks [operations [answers]] */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/op.h"
#include "debug_http/debug_http.h"
#include "profiler/profiler.h"

enum { ANSWERS_MAX = 1000, READ_SIZE = 1 << 20, OPERATION_SIZE = 1 << 10, STRIDE = 7919 };
enum { WORKING, WAITING, READING, DONE };

static const struct op_state states[] = {
	[WORKING] = { "working", TO(WAITING) | TO(READING) | TO(DONE) },
	[WAITING] = { "waiting", TO(WORKING) | TO(DONE) },
	[READING] = { "reading", TO(WORKING) | TO(DONE) },
	[DONE] = { "done", 0 },
};

/* As in a program, each lies in something larger, and neighbours in time are none in memory. */
struct operation {
	struct op op;
	uint8_t rest[OPERATION_SIZE - sizeof(struct op)];
};

static volatile unsigned sink;

#define KIND(name, state_)                                                                         \
	static __attribute__((noinline)) void name##_tick(struct op *op)                           \
	{                                                                                          \
		op_move(op, op_stopping(op) ? DONE : (state_));                                    \
		if (op->state == DONE)                                                             \
			(void)op_finish(op);                                                       \
	}                                                                                          \
	static const struct op_kind name##_kind = { "demo." #name, states, ARRAY_SIZE(states),     \
						    name##_tick };                                 \
	static __attribute__((noinline)) void name##_start(struct op *op,                          \
							   const struct op_env *env)               \
	{                                                                                          \
		op_init(op, &name##_kind, env, UINT64_MAX);                                        \
		sink++;                                                                            \
	}
KIND(fetch, WAITING)
KIND(query, READING)
KIND(session, WAITING)

static __attribute__((noinline)) void start(struct op *op, unsigned i, const struct op_env *env)
{
	void (*const starts[])(struct op * op, const struct op_env *env) = { fetch_start,
									     query_start,
									     session_start };

	starts[i % ARRAY_SIZE(starts)](op, env);
	sink++;
}

/* ---- The client ---- */

static uint16_t port;
static double answers_ms[ANSWERS_MAX];
static unsigned answer_count;
static size_t body_bytes;
static _Atomic bool finished;

static double now_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void ask(const char *path, char *room)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char request[256];
	ssize_t n;
	int len = snprintf(request, sizeof(request),
			   "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n\r\n",
			   path, port);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
	REQUIRE(write(fd, request, (size_t)len) == len);
	for (body_bytes = 0; (n = read(fd, room, READ_SIZE)) > 0; body_bytes += (size_t)n)
		;
	close(fd);
}

static void *run_client(void *arg)
{
	char *room = mem_alloc(READ_SIZE);

	REQUIRE(room != NULL);
	for (unsigned i = 0; i < answer_count; i++) {
		double start_ms = now_ms(CLOCK_MONOTONIC);

		ask("/debug/pprof/goroutine?debug=2", room);
		answers_ms[i] = now_ms(CLOCK_MONOTONIC) - start_ms;
	}
	mem_free(room);
	atomic_store(&finished, true);
	return arg;
}

/* ---- The server ---- */

static struct loop loop;

static struct http_server *serve(struct profiler *profiler)
{
	struct http_server_config config = { .loop = &loop, .title = "bench", .version = "0" };
	struct http_server *s = http_server_new(&config);
	static const char text[] = "127.0.0.1:0";
	struct multiaddr addr, bound;
	char why[256];

	REQUIRE(s != NULL && debug_http_pprof(s, profiler) == 0);
	REQUIRE(multiaddr_parse_hostport(text, strlen(text), &addr) == 0);
	REQUIRE(http_listen_tcp(s, &addr, &bound, why, sizeof(why)) == 0);
	port = bound.port;
	return s;
}

/* Wakes the loop, that it sees the client's end. */
static void on_tick(struct runner_timer *t)
{
	runner_timer_start(&loop.runner, t, runner_now_ms(&loop.runner) + 10);
}

static double run_until_finished(void)
{
	struct runner_timer tick = { .run = on_tick };
	double longest_ms = 0;

	on_tick(&tick);
	while (!atomic_load(&finished)) {
		double start_ms = now_ms(CLOCK_THREAD_CPUTIME_ID);

		uv_run(&loop.uv, UV_RUN_ONCE);
		longest_ms = MAX(longest_ms, now_ms(CLOCK_THREAD_CPUTIME_ID) - start_ms);
	}
	runner_timer_stop(&loop.runner, &tick);
	return longest_ms;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void on_closed(void *data)
{
	*(bool *)data = true;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000;
	struct operation *ops = mem_alloc_array(count, sizeof(*ops));
	struct op_env env = { .runner = &loop.runner, .deadline_ms = UINT64_MAX };
	struct http_server *server;
	struct profiler *profiler;
	double longest_ms, cold_ms;
	bool closed = false;
	pthread_t client;

	answer_count = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20;
	/* The stride has no factor in common with the count, so each has its turn. */
	REQUIRE(ops != NULL && count % STRIDE != 0 && answer_count > 1 &&
		answer_count <= ANSWERS_MAX);
	REQUIRE(base_init() == 0 && loop_init(&loop) == 0);
	profiler = profiler_new(
		&(struct profiler_config){ .runner = &loop.runner, .version = "bench" });
	REQUIRE(profiler != NULL);
	server = serve(profiler);
	for (unsigned i = 0; i < count; i++)
		start(&ops[(uint64_t)i * STRIDE % count].op, i, &env);
	while (ops[(uint64_t)(count - 1) * STRIDE % count].op.state == WORKING)
		uv_run(&loop.uv, UV_RUN_NOWAIT);
	REQUIRE(pthread_create(&client, NULL, run_client, NULL) == 0);
	longest_ms = run_until_finished();
	pthread_join(client, NULL);
	cold_ms = answers_ms[0];
	qsort(answers_ms + 1, answer_count - 1, sizeof(*answers_ms), by_value);
	printf("%u operations, %zu bytes: first %.1f ms, then median %.1f ms, quartiles %.1f %.1f; "
	       "longest turn of the loop %.2f ms of CPU time\n",
	       count, body_bytes, cold_ms, answers_ms[1 + (answer_count - 1) / 2],
	       answers_ms[1 + (answer_count - 1) / 4], answers_ms[1 + (answer_count - 1) * 3 / 4],
	       longest_ms);
	for (unsigned i = 0; i < count; i++)
		op_cancel(&ops[i].op);
	http_server_close(server, on_closed, &closed);
	while (!closed || loop.runner.op_count > 0)
		uv_run(&loop.uv, UV_RUN_ONCE);
	http_server_free(server);
	profiler_free(profiler);
	loop_fini(&loop);
	mem_free(ops);
	return 0;
}
