/* 500 honest peers beside 1,000 hostile ones, all strangers to the one that has what they want. */
#include <stdlib.h>

#include "sync/serve.h"
#include "tests/sim/crowd.h"

enum {
	HONEST = 500,
	ALONE = 50, /* honest peers without any hostile ones, to compare with */
	HOSTILE = 1000,
	ARRIVAL_MS = 60000, /* over which the honest come */
	STEP_MS = 100,
	AGAIN_MS = 1000, /* after which an honest peer that was cut asks anew */
	END_MS = 600000
};

struct honest {
	struct host *host;
	struct run run;
	bool running, done;
	unsigned tries;
	uint64_t begin_ms, due_ms, took_ms;
};

struct scene {
	struct sync_world w;
	struct host *server;
	struct scope scope;
	struct thing thing;
	struct honest *honest;
	size_t honest_count;
	struct villain *hostile;
	size_t hostile_count;
	unsigned done;
	uint64_t conns_peak, unsent_peak, buffered_peak;
};

static uint64_t now_ms(struct scene *s)
{
	return runner_now_ms(&s->w.loop.runner);
}

static void scene_init(struct scene *s, uint64_t seed, size_t honest)
{
	memset(s, 0, sizeof(*s));
	printf("# seed %llu\n", (unsigned long long)seed);
	sync_world_init(&s->w, seed);
	s->w.networks = true;
	s->server = sync_world_host(&s->w);
	s->scope = sync_world_scope(&s->w, "/doc", SCOPE_EXACT);
	thing_init(&s->thing, &s->w, "/doc", 1000, 4, 50000, NULL);
	host_put_thing(s->server, &s->thing);
	s->honest_count = honest;
	s->honest = mem_alloc_array(honest, sizeof(*s->honest));
	assert_non_null(s->honest);
	for (size_t i = 0; i < honest; i++) {
		s->honest[i].host = sync_world_host(&s->w);
		s->honest[i].begin_ms = s->honest[i].due_ms = now_ms(s) + i * ARRIVAL_MS / HONEST;
	}
}

/* Half of them each in a network of its own, half in four networks. */
static void hostile_start(struct scene *s)
{
	s->hostile = mem_alloc_array(HOSTILE, sizeof(*s->hostile));
	assert_non_null(s->hostile);
	s->hostile_count = HOSTILE;
	for (size_t i = 0; i < HOSTILE; i++) {
		struct villain *v = &s->hostile[i];
		enum villainy kind = (enum villainy)(i % (VILLAIN_DRIP + 1));

		v->scope = s->scope;
		for (size_t k = 0; k < s->thing.chunk_count; k++)
			v->hashes[v->hash_count++] = s->thing.chunks[k].hash;
		if (kind == VILLAIN_DRIP) {
			v->hashes[0] = hash_of("nobody has this", 15);
			v->hash_count = 1;
		}
		v->again_ms = 1800;
		villain_start(v, &s->w, s->server, kind, i, 4, i % 2 == 0);
	}
}

static void scene_fini(struct scene *s)
{
	for (size_t i = 0; i < s->hostile_count; i++)
		villain_stop(&s->hostile[i]);
	mem_free(s->hostile);
	mem_free(s->honest);
	thing_fini(&s->thing);
	sync_world_fini(&s->w);
}

static void go_on(struct scene *s, struct honest *h)
{
	if (h->running && h->run.done) {
		h->running = false;
		h->done = h->run.status == 0;
		h->due_ms = now_ms(s) + AGAIN_MS;
		s->done += h->done;
		if (h->done)
			h->took_ms = now_ms(s) - h->begin_ms;
	}
	if (h->done || h->running || h->due_ms > now_ms(s))
		return;
	h->tries++;
	h->running = true;
	run_start(&h->run, h->host, &s->scope, STORE_WANT_HISTORY, &s->server, 1, 120000);
}

static void watch(struct scene *s)
{
	struct net_stats stats;

	net_stats(s->server->net, &stats);
	s->conns_peak = MAX(s->conns_peak, stats.conns);
	s->unsent_peak = MAX(s->unsent_peak, stats.unsent_bytes);
	s->buffered_peak = MAX(s->buffered_peak, stats.buffered_bytes);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Virtual ms at the median and at the end. */
static void play(struct scene *s, uint64_t *ret_median, uint64_t *ret_max)
{
	uint64_t took[HONEST], end_ms = now_ms(s) + END_MS;
	unsigned tries = 0;

	while (s->done < s->honest_count) {
		assert_true(now_ms(s) < end_ms);
		for (size_t i = 0; i < s->honest_count; i++)
			go_on(s, &s->honest[i]);
		watch(s);
		sync_world_run_ms(&s->w, STEP_MS);
	}
	for (size_t i = 0; i < s->honest_count; i++) {
		assert_true(host_has_thing(s->honest[i].host, &s->thing));
		took[i] = s->honest[i].took_ms;
		tries += s->honest[i].tries;
	}
	qsort(took, s->honest_count, sizeof(took[0]), compare);
	*ret_median = took[s->honest_count / 2];
	*ret_max = took[s->honest_count - 1];
	printf("# median %llu ms, 99 %% %llu ms, all %llu ms, %u tries\n",
	       (unsigned long long)*ret_median,
	       (unsigned long long)took[s->honest_count * 99 / 100], (unsigned long long)*ret_max,
	       tries);
}

static void the_honest_sync_beside_twice_as_many_hostile(void **state)
{
	static struct scene s;
	struct sync_stats stats;
	uint64_t alone_ms, beside_ms, alone_max_ms, beside_max_ms;

	(void)state;
	scene_init(&s, 1, ALONE);
	play(&s, &alone_ms, &alone_max_ms);
	scene_fini(&s);
	scene_init(&s, 2, HONEST);
	hostile_start(&s);
	play(&s, &beside_ms, &beside_max_ms);
	sync_stats(s.server->sync, &stats);
	printf("# conns %llu, held %llu, unsent %llu, buffered %llu; gave way %llu, unread %llu, "
	       "turned away %llu\n",
	       (unsigned long long)s.conns_peak, (unsigned long long)stats.held_peak_bytes,
	       (unsigned long long)s.unsent_peak, (unsigned long long)s.buffered_peak,
	       (unsigned long long)stats.gave_way, (unsigned long long)stats.unread,
	       (unsigned long long)stats.turned_away);
	assert_true(beside_ms <= 3 * alone_ms + 2000);
	assert_true(beside_max_ms <= 120000);
	assert_true(s.conns_peak <= NET_CONNS_MAX);
	assert_true(stats.held_peak_bytes + s.unsent_peak + s.buffered_peak <= 64 << 20);
	scene_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_honest_sync_beside_twice_as_many_hostile),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
