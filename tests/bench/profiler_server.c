/* A busy server with /debug/pprof/ on 127.0.0.1, for trying profiles by hand and for tests that run
 * other people's tools: profiler_server [port [seconds]]. Prints the address; ends after the time.
 *
 * Load: three threads that share their CPU time 60:30:10 between work_a, work_b and work_c; an
 * operation "demo.busy" that works on the loop, fifty "demo.wait" that wait for ever. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/op.h"
#include "debug_http/debug_http.h"
#include "profiler/profiler.h"

enum { WAITERS = 50, ROUND = 20000, TICK_MS = 20 };

static volatile uint64_t sink;
static _Atomic bool stop;

#define WORK(name, seed)                                                                           \
	static __attribute__((noinline)) void name(unsigned n)                                     \
	{                                                                                          \
		for (unsigned i = 0; i < n; i++)                                                   \
			sink = sink * (seed) + i; /* differ: equal functions are merged */         \
		sink++;                                                                            \
	}
WORK(work_a, 6364136223846793005u)
WORK(work_b, 6364136223846793007u)
WORK(work_c, 6364136223846793009u)
WORK(work_loop, 6364136223846793011u)

static inline __attribute__((always_inline)) void work_inlined(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sink = sink * 2862933555777941757u + i;
}

static void *run_worker(void *arg)
{
	pthread_setname_np(pthread_self(), "worker");
	while (!atomic_load(&stop)) {
		work_a(6 * ROUND);
		work_b(3 * ROUND);
		work_c(ROUND);
		if (arg != NULL)
			work_inlined(ROUND);
	}
	return NULL;
}

struct demo {
	struct op op;
	struct runner_timer timer;
};

enum { WORKING, WAITING, DONE };

static const struct op_state states[] = {
	[WORKING] = { "working", TO(WAITING) | TO(DONE) },
	[WAITING] = { "waiting", TO(WORKING) | TO(DONE) },
	[DONE] = { "done", 0 },
};

static void on_timer(struct runner_timer *t)
{
	op_tick(&container_of(t, struct demo, timer)->op);
}

static void finish(struct demo *d)
{
	runner_timer_stop(d->op.env.runner, &d->timer);
	op_move(&d->op, DONE);
	(void)op_finish(&d->op);
}

static void tick_busy(struct op *op)
{
	struct demo *d = container_of(op, struct demo, op);

	if (op_stopping(op)) {
		finish(d);
		return;
	}
	if (op->state == WAITING)
		op_move(op, WORKING);
	work_loop(30 * ROUND);
	op_move(op, WAITING);
	runner_timer_start(op->env.runner, &d->timer, runner_now_ms(op->env.runner) + TICK_MS);
}

static void tick_wait(struct op *op)
{
	if (op_stopping(op))
		finish(container_of(op, struct demo, op));
	else if (op->state == WORKING)
		op_move(op, WAITING);
}

static const struct op_kind busy_kind = { "demo.busy", states, ARRAY_SIZE(states), tick_busy };
static const struct op_kind wait_kind = { "demo.wait", states, ARRAY_SIZE(states), tick_wait };

static struct loop loop;

static void on_end(struct runner_timer *t)
{
	loop_stop(&loop);
}

static void on_closed(void *data)
{
	*(bool *)data = true;
}

static struct http_server *serve(struct profiler *profiler, unsigned port)
{
	struct http_server_config config = { .loop = &loop,
					     .title = "profiler_server",
					     .version = "0" };
	struct http_server *s = http_server_new(&config);
	char text[64], why[256];
	struct multiaddr addr, bound;

	REQUIRE(s != NULL && debug_http_index(s) == 0 && debug_http_pprof(s, profiler) == 0);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	REQUIRE(multiaddr_parse_hostport(text, strlen(text), &addr) == 0);
	if (http_listen_tcp(s, &addr, &bound, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	printf("127.0.0.1:%u\n", bound.port);
	fflush(stdout);
	return s;
}

int main(int argc, char **argv)
{
	unsigned port = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 3600;
	static struct demo demos[WAITERS + 1];
	static struct runner_timer end;
	struct profiler *profiler;
	struct http_server *server;
	pthread_t threads[3];
	struct op_env env;
	bool closed = false;

	REQUIRE(base_init() == 0 && loop_init(&loop) == 0);
	profiler = profiler_new(
		&(struct profiler_config){ .runner = &loop.runner, .version = "demo" });
	REQUIRE(profiler != NULL);
	server = serve(profiler, port);
	env = (struct op_env){ .runner = &loop.runner, .deadline_ms = UINT64_MAX };
	for (unsigned i = 0; i <= WAITERS; i++) {
		demos[i].timer.run = on_timer;
		op_init(&demos[i].op, i == 0 ? &busy_kind : &wait_kind, &env, UINT64_MAX);
	}
	for (uintptr_t i = 0; i < ARRAY_SIZE(threads); i++)
		REQUIRE(pthread_create(&threads[i], NULL, run_worker, (void *)i) == 0);
	end.run = on_end;
	runner_timer_start(&loop.runner, &end, runner_now_ms(&loop.runner) + seconds * 1000ull);
	loop_run(&loop);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i <= WAITERS; i++)
		op_cancel(&demos[i].op);
	http_server_close(server, on_closed, &closed);
	while (!closed || loop.runner.op_count > 0)
		uv_run(&loop.uv, UV_RUN_ONCE);
	http_server_free(server);
	profiler_free(profiler);
	loop_fini(&loop);
	return 0;
}
