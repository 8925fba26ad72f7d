/* A server with /debug/pprof/ on 127.0.0.1 in which threads wait for each other on purpose, for
 * tests that run other people's tools: locks_server [seconds]. Prints the address; ends after the
 * time.
 *
 *   lock_hog     holds a mutex for HOLD_MS at a time; two threads want it in wait_turn
 *   small_hold   holds another one for moments; one thread wants it
 *   block_loop   sleeps on the watched loop for BLOCK_MS, from time to time
 *   await_news   waits for a condition, inside a thread's work */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/op.h"
#include "debug_http/debug_http.h"
#include "profiler/profiler.h"

enum { HOLD_MS = 10, BLOCK_MS = 90, BLOCK_EVERY_MS = 400, STALL_MS = 30 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, small = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t news_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static _Atomic bool stop;
static struct loop loop;

#define WHOLE __attribute__((noinline))

/* A signal may cut a sleep short. */
static void nap_ms(unsigned ms)
{
	uint64_t until = clock_now_ns(&clock_system) + ms * NS_PER_MS;

	while (clock_now_ns(&clock_system) < until)
		usleep(1000);
}

WHOLE static void lock_hog(void)
{
	pthread_mutex_lock(&mutex);
	nap_ms(HOLD_MS);
	pthread_mutex_unlock(&mutex);
}

WHOLE static void wait_turn(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	pthread_mutex_unlock(m);
}

WHOLE static void small_hold(void)
{
	pthread_mutex_lock(&small);
	usleep(200);
	pthread_mutex_unlock(&small);
}

WHOLE static void await_news(void)
{
	pthread_mutex_lock(&news_mutex);
	pthread_cond_wait(&news, &news_mutex);
	pthread_mutex_unlock(&news_mutex);
}

static void *run_hog(void *data)
{
	while (!atomic_load(&stop)) {
		lock_hog();
		nap_ms(1);
	}
	return NULL;
}

static void *run_waiter(void *data)
{
	while (!atomic_load(&stop)) {
		wait_turn(&mutex);
		usleep(500);
	}
	return NULL;
}

static void *run_small(void *data)
{
	while (!atomic_load(&stop)) {
		if (data != NULL)
			small_hold();
		else
			wait_turn(&small);
		usleep(1000);
	}
	return NULL;
}

static void *run_reader(void *data)
{
	while (!atomic_load(&stop))
		await_news();
	return NULL;
}

static void *run_writer(void *data)
{
	while (!atomic_load(&stop)) {
		nap_ms(20);
		pthread_mutex_lock(&news_mutex);
		pthread_cond_broadcast(&news);
		pthread_mutex_unlock(&news_mutex);
	}
	return NULL;
}

/* ---- The loop ---- */

enum { ASKING, WORKING, DONE };

static const struct op_state states[] = {
	[ASKING] = { "asking", TO(WORKING) | TO(DONE) },
	[WORKING] = { "working", TO(ASKING) },
	[DONE] = { "done", 0 },
};

struct demo {
	struct op op;
	struct runner_timer timer;
};

WHOLE static void block_loop(void)
{
	nap_ms(BLOCK_MS);
}

static void on_timer(struct runner_timer *t)
{
	op_tick(&container_of(t, struct demo, timer)->op);
}

static void demo_tick(struct op *op)
{
	struct demo *d = container_of(op, struct demo, op);

	if (op_stopping(op)) {
		runner_timer_stop(op->env.runner, &d->timer);
		op_move(op, DONE);
		(void)op_finish(op);
		return;
	}
	op_move(op, WORKING);
	block_loop();
	op_move(op, ASKING);
	runner_timer_start(op->env.runner, &d->timer,
			   runner_now_ms(op->env.runner) + BLOCK_EVERY_MS);
}

static const struct op_kind demo_kind = { "demo.block", states, ARRAY_SIZE(states), demo_tick };

static void on_end(struct runner_timer *t)
{
	loop_stop(&loop);
}

static void on_closed(void *data)
{
	*(bool *)data = true;
}

static struct http_server *serve(struct profiler *profiler)
{
	struct http_server_config config = { .loop = &loop,
					     .title = "locks_server",
					     .version = "0" };
	struct http_server *s = http_server_new(&config);
	struct multiaddr addr, bound;
	char why[256];

	REQUIRE(s != NULL && debug_http_index(s) == 0 && debug_http_pprof(s, profiler) == 0);
	REQUIRE(multiaddr_parse_hostport("127.0.0.1:0", 11, &addr) == 0);
	if (http_listen_tcp(s, &addr, &bound, why, sizeof(why)) != 0) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	printf("127.0.0.1:%u\n", bound.port);
	fflush(stdout);
	return s;
}

static void run_threads(unsigned seconds)
{
	static const struct {
		void *(*run)(void *data);
		void *data;
	} list[] = {
		{ run_hog, NULL },    { run_waiter, NULL }, { run_waiter, NULL },
		{ run_small, &loop }, { run_small, NULL },  { run_reader, NULL },
		{ run_writer, NULL },
	};
	static struct runner_timer end;
	pthread_t threads[ARRAY_SIZE(list)];

	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		REQUIRE(pthread_create(&threads[i], NULL, list[i].run, list[i].data) == 0);
	end.run = on_end;
	runner_timer_start(&loop.runner, &end, runner_now_ms(&loop.runner) + seconds * 1000ull);
	loop_run(&loop);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3600;
	static struct demo demo = { .timer.run = on_timer };
	struct profiler *profiler;
	struct http_server *server;
	struct op_env env;
	bool closed = false;

	REQUIRE(base_init() == 0 && loop_init(&loop) == 0);
	profiler = profiler_new(
		&(struct profiler_config){ .runner = &loop.runner, .version = "demo" });
	REQUIRE(profiler != NULL && profiler_watch_loop(profiler, STALL_MS, false) == 0);
	server = serve(profiler);
	env = (struct op_env){ .runner = &loop.runner, .deadline_ms = UINT64_MAX };
	op_init(&demo.op, &demo_kind, &env, UINT64_MAX);
	run_threads(seconds);
	op_cancel(&demo.op);
	http_server_close(server, on_closed, &closed);
	while (!closed || loop.runner.op_count > 0)
		uv_run(&loop.uv, UV_RUN_ONCE);
	http_server_free(server);
	profiler_free(profiler);
	loop_fini(&loop);
	return 0;
}
