/* Slow, far and unplugged providers beside fast ones, by whole discoveries in virtual time: a
 * provider more never makes it slower. */
#include "tests/sim/getter.h"

enum { FAST = 10000000, CHUNKS = 80, CHUNK_BYTES = 250000, SEEDS = 5, PROVIDERS_MAX = 3 };

/* What lies between the getter and one provider. */
struct line {
	uint64_t bandwidth, latency_ms;
	uint64_t unplugged_after_ms; /* 0 = never */
};

static unsigned offences;

struct result {
	uint64_t took_ms;
	struct sync_stats stats;
};

static struct simnet_path path_of(const struct line *l)
{
	return (struct simnet_path){ .latency_ms = l->latency_ms, .bandwidth = l->bandwidth };
}

static bool unplug(struct sync_world *w, const struct host *getter, struct host *const *hosts,
		   const struct line *lines, size_t count)
{
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		if (lines[i].unplugged_after_ms == 0)
			continue;
		sync_world_run_ms(w, lines[i].unplugged_after_ms);
		any = simnet_set_path(w->simnet, getter->ip, hosts[i]->ip,
				      &(struct simnet_path){ .cut = true }) == 0;
	}
	return any;
}

/* Who is slow has done nothing wrong. */
static void on_offence(void *data, const struct discovery_benched *b)
{
	(void)data;
	print_message("# offence: %s\n", b->why);
	offences++;
}

/* How long 20 MB take, with everything held by everybody. */
static struct result get(uint64_t seed, const struct line *lines, size_t count)
{
	struct sync_world w;
	struct host *getter, *hosts[PROVIDERS_MAX];
	struct result result = { 0 };
	struct getter g;
	struct thing t;

	sync_world_init(&w, seed);
	thing_init(&t, &w, "/doc", 1000, CHUNKS, CHUNK_BYTES, NULL);
	getter = sync_world_host(&w);
	for (size_t i = 0; i < count; i++) {
		struct simnet_path path = path_of(&lines[i]);

		hosts[i] = sync_world_host(&w);
		host_put_thing(hosts[i], &t);
		assert_int_equal(simnet_set_path(w.simnet, getter->ip, hosts[i]->ip, &path), 0);
	}
	getter_init(&g, getter, on_offence, NULL);
	getter_start(&g, hosts, count);
	(void)unplug(&w, getter, hosts, lines, count);
	CHECK_STATUS(0, getter_wait(&g));
	result.took_ms = g.took_ms;
	assert_true(host_has_thing(getter, &t));
	sync_stats(getter->sync, &result.stats);
	getter_fini(&g);
	thing_fini(&t);
	sync_world_fini(&w);
	return result;
}

static const struct line fast = { FAST, 5, 0 };

static void check_beside(const struct line *other, const char *what)
{
	offences = 0;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct line lines[2] = { fast, *other };
		struct result alone = get(seed, &fast, 1), beside;

		if (seed % 2 == 0) {
			lines[0] = *other;
			lines[1] = fast;
		}
		beside = get(seed, lines, 2);
		print_message("# %s, seed %llu: alone %llu ms, beside %llu ms, %llu overtaken, "
			      "%llu B came late\n",
			      what, (unsigned long long)seed, (unsigned long long)alone.took_ms,
			      (unsigned long long)beside.took_ms,
			      (unsigned long long)beside.stats.overtaken,
			      (unsigned long long)beside.stats.late_bytes);
		assert_true(beside.took_ms * 10 <= alone.took_ms * 11);
		/* At a drip nothing at all comes in the time that it takes. */
		if (other->bandwidth > 3000)
			assert_int_equal(offences, 0);
		assert_true(beside.stats.late_bytes <= CHUNKS * CHUNK_BYTES / 10);
	}
}

static void one_at_1_mbit_makes_it_no_slower(void **state)
{
	(void)state;
	check_beside(&(struct line){ 125000, 5, 0 }, "1 Mbit/s");
}

static void one_at_160_kbit_makes_it_no_slower(void **state)
{
	(void)state;
	check_beside(&(struct line){ 20000, 5, 0 }, "160 kbit/s");
}

static void one_at_a_drip_makes_it_no_slower(void **state)
{
	(void)state;
	check_beside(&(struct line){ 3000, 5, 0 }, "24 kbit/s");
}

/* One that is so far that all is here before it has said what it has is waited for by the rules of
 * discovery (DISCOVERY_STRAGGLER_MS), as it may have something newer. */
static void a_far_one_makes_it_no_slower(void **state)
{
	(void)state;
	check_beside(&(struct line){ 1000000, 150, 0 }, "8 Mbit/s, 150 ms away");
}

/* Both as fast: it has to help, and little comes twice. */
static void one_as_fast_makes_it_faster(void **state)
{
	const struct line both[2] = { fast, fast };
	struct result alone = get(1, &fast, 1), two = get(1, both, 2);

	(void)state;
	print_message("# alone %llu ms, two %llu ms, %llu B came late\n",
		      (unsigned long long)alone.took_ms, (unsigned long long)two.took_ms,
		      (unsigned long long)two.stats.late_bytes);
	assert_true(two.took_ms * 10 <= alone.took_ms * 7);
	assert_true(two.stats.late_bytes <= CHUNKS * CHUNK_BYTES / 20);
}

static void one_unplugged_of_three_is_hardly_missed(void **state)
{
	const struct line both[2] = { fast, fast };
	struct result two = get(1, both, 2);

	(void)state;
	for (uint64_t after_ms = 20; after_ms <= 620; after_ms += 100) {
		const struct line lines[3] = { fast, { FAST, 5, after_ms }, fast };
		struct result three = get(after_ms, lines, 3);

		print_message("# unplugged after %llu ms: two %llu ms, three %llu ms\n",
			      (unsigned long long)after_ms, (unsigned long long)two.took_ms,
			      (unsigned long long)three.took_ms);
		assert_true(three.took_ms * 10 <= two.took_ms * 13);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_1_mbit_makes_it_no_slower),
		cmocka_unit_test(one_at_160_kbit_makes_it_no_slower),
		cmocka_unit_test(one_at_a_drip_makes_it_no_slower),
		cmocka_unit_test(a_far_one_makes_it_no_slower),
		cmocka_unit_test(one_as_fast_makes_it_faster),
		cmocka_unit_test(one_unplugged_of_three_is_hardly_missed),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
