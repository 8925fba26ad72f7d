/* Serves the trace pages over a made-up store, to look at in a browser: trace_page [PORT]. Prints
 * the address; ends with the process. */
#include <stdio.h>
#include <stdlib.h>

#include "trace_scene.h"

#include "debug_http/debug_http.h"

/* Goes on from where the scene ended. */
struct shifted_clock {
	struct clock clock;
	uint64_t shift_ns, wall_shift_ns;
};
static struct shifted_clock running;

static uint64_t shifted_now(const struct clock *c)
{
	return clock_now_ns(&clock_system) +
	       ((const struct shifted_clock *)(const void *)c)->shift_ns;
}

static uint64_t shifted_wall(const struct clock *c)
{
	return clock_wall_ns(&clock_system);
}

/* The clock of the scene while it is filled, the system's from then on. */
static struct clock_manual scene;
static bool is_filled;

static uint64_t switch_now(const struct clock *c)
{
	return is_filled ? clock_now_ns(&running.clock) : clock_now_ns(&scene.clock);
}

static uint64_t switch_wall(const struct clock *c)
{
	return is_filled ? clock_wall_ns(&running.clock) : clock_wall_ns(&scene.clock);
}

/* Something happens, for who follows: a whole trace, one that fails, or one that goes on. */
static void on_happen(void *data, struct http_request *r)
{
	const char *kind = http_request_param(r, "kind");
	static const char title[] = "hm://z6Mk/<b>live</b>\u202e";
	struct span s = trace_root(data, "sync.discover", title, sizeof(title) - 1, NULL);
	CLEANUP(buf_fini) struct buf out = { 0 };

	trace_stage(s, "local");
	trace_stage(s, "dht");
	if (kind == NULL)
		trace_finish(s, 0, "dht");
	else if (strcmp(kind, "failed") == 0)
		trace_finish(s, UV_ETIMEDOUT, "timeout");
	buf_init(&out, 64);
	buf_write_str(&out, "done\n");
	http_reply(r, 200, "text/plain", &out);
}

int main(int argc, char **argv)
{
	static const struct clock clock = { switch_now, switch_wall };
	struct http_server_config config = { .surface = HTTP_DEBUG,
					     .title = "peerscope pid 4242",
					     .version = "0.1.0" };
	struct multiaddr any, bound;
	char why[512] = "", address[32];
	struct loop loop;

	if (base_init() < 0 || loop_init(&loop) < 0)
		return 1;
	clock_manual_init(&scene, clock_wall_ns(&clock_system) - 800 * NS_PER_SEC);
	running = (struct shifted_clock){ .clock = { shifted_now, shifted_wall } };
	config.trace = trace_new(&(struct trace_config){ 0 }, &clock);
	config.loop = &loop;
	for (unsigned i = 0; i < 120; i++) {
		char iri[64];

		(void)snprintf(iri, sizeof(iri), "hm://z6MkpTHR8VNsBxYAAWHut2Ge/page/%u", i);
		scene_fast_discovery(config.trace, &scene, iri, 0.2 + 0.1 * (i * 7 % 23));
		scene_wait(&scene, 3000 + 977 * (i % 7));
	}
	(void)scene_wide_discovery(config.trace, &scene, "hm://z6MkpTHR8VNsBxYAAWHut2Ge/wide", 46);
	scene_hostile(config.trace, &scene);
	(void)scene_fill(config.trace, &scene);
	running.shift_ns = clock_now_ns(&scene.clock) - clock_now_ns(&clock_system);
	is_filled = true;
	loop.runner.clock = &clock;
	config.surface = HTTP_DEBUG;
	struct http_server *s = http_server_new(&config);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%s", argc > 1 ? argv[1] : "0");
	if (s == NULL || multiaddr_parse_hostport(address, strlen(address), &any) < 0 ||
	    http_route(s, HTTP_GET_, "/demo/happen", NULL, on_happen, config.trace) < 0 ||
	    debug_http_index(s) < 0 || debug_http_traces(s, config.trace) < 0 ||
	    http_listen_tcp(s, &any, &bound, why, sizeof(why)) < 0) {
		fprintf(stderr, "cannot serve: %s\n", why);
		return 1;
	}
	printf("http://127.0.0.1:%u/debug/traces\n", bound.port);
	fflush(stdout);
	return loop_run(&loop);
}
