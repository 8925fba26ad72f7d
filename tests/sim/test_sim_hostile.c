/* One hostile peer beside honest ones, met for the first time, by a whole discovery in virtual time:
 * it takes at most three times as long as without, the object is here and right, and the offender
 * is benched and named. */
#include "sync/internal.h"
#include "sync/wire.h"
#include "tests/sim/getter.h"
#include "tests/sim/sync_liar.h"

enum { TIME_S = 1000, CHUNKS = 8, CHUNK_BYTES = 100000, HONEST_MAX = 2, DRIP = 6000 };

static const char *const lies[LIES] = {
	[LIE_NONE] = "none",
	[LIE_WRONG_BYTES] = "wrong bytes of a commit",
	[LIE_WRONG_CHUNK] = "wrong bytes of a chunk",
	[LIE_UNASKED_BLOB] = "a blob of another name",
	[LIE_OVERSIZED] = "an oversized commit",
	[LIE_SAYS_MISSING] = "says missing to all",
	[LIE_SILENT_ROUND] = "silent from the first round",
	[LIE_SILENT_FETCH] = "silent when asked for blobs",
	[LIE_ENDLESS_ROUNDS] = "endless rounds",
	[LIE_OUT_OF_ORDER] = "ranges out of order",
	[LIE_GARBAGE] = "garbage",
	[LIE_BUSY] = "busy",
	[LIE_CLOSES_ROUND] = "closes the stream",
	[LIE_LISTS_PHANTOMS] = "lists thousands of inventions",
	[LIE_DRIPS_PHANTOMS] = "lists inventions and drips",
	[LIE_HOLDS_PHANTOMS] = "lists inventions and is silent",
	[LIE_LACKS_CONTENT] = "lacks what it advertised",
	[LIE_STALLS_IN_CHUNK] = "stalls inside a blob",
	[LIE_TEACHING_ROUNDS] = "a new invention each round",
	[LIE_DUPLICATES] = "every blob twice",
	[LIE_UNASKED_VALID] = "a valid blob that was not asked",
};

struct scene {
	struct sync_world w;
	struct host *honest[HONEST_MAX];
	size_t honest_count;
	struct getter g;
	struct liar liar;
	bool has_liar;
	unsigned offences;
	struct thing t;
};

static void on_offence(void *data, const struct discovery_benched *b)
{
	struct scene *s = data;

	assert_true(key_eq(&b->peer, &s->liar.host->peer));
	assert_true(b->why[0] != '\0' && b->for_ms > 0);
	s->offences++;
}

static void scene_init(struct scene *s, uint64_t seed, enum lie lie, size_t honest)
{
	memset(s, 0, sizeof(*s));
	sync_world_init(&s->w, seed);
	thing_init(&s->t, &s->w, "/doc", TIME_S, CHUNKS, CHUNK_BYTES, NULL);
	getter_init(&s->g, sync_world_host(&s->w), on_offence, s);
	for (s->honest_count = 0; s->honest_count < honest; s->honest_count++) {
		s->honest[s->honest_count] = sync_world_host(&s->w);
		host_put_thing(s->honest[s->honest_count], &s->t);
	}
	if (lie != LIE_NONE) {
		liar_init(&s->liar, &s->w, lie, &s->t, TIME_S);
		s->liar.victim = s->g.host;
		s->has_liar = true;
	}
	if (lie == LIE_DRIPS_PHANTOMS)
		assert_int_equal(simnet_set_path(s->w.simnet, s->g.host->ip, s->liar.host->ip,
						 &(struct simnet_path){ .latency_ms = 5,
									.bandwidth = DRIP }),
				 0);
}

static void scene_fini(struct scene *s)
{
	getter_fini(&s->g);
	thing_fini(&s->t);
	if (s->has_liar)
		liar_fini(&s->liar);
	sync_world_fini(&s->w);
}

/* The liar first, or last. */
static int get(struct scene *s, bool liar_first)
{
	struct host *hints[HONEST_MAX + 1];
	size_t count = 0;

	if (s->has_liar && liar_first)
		hints[count++] = s->liar.host;
	for (size_t i = 0; i < s->honest_count; i++)
		hints[count++] = s->honest[i];
	if (s->has_liar && !liar_first)
		hints[count++] = s->liar.host;
	getter_start(&s->g, hints, count);
	return getter_wait(&s->g);
}

static uint64_t alone_ms(uint64_t seed, size_t honest)
{
	struct scene s;
	uint64_t ms;

	scene_init(&s, seed, LIE_NONE, honest);
	CHECK_STATUS(0, get(&s, false));
	assert_true(host_has_thing(s.g.host, &s.t));
	ms = s.g.took_ms;
	scene_fini(&s);
	return ms;
}

static bool is_named(struct scene *s)
{
	struct discovery_benched b;

	return discovery_benched(s->g.discovery, &s->liar.host->peer, &b) && b.why[0] != '\0';
}

/* Nothing that mattered was asked of it that it lies about; or it lacks what others had, which one
 * that keeps the newest content alone does too. */
static bool is_harmless(const struct scene *s, uint64_t alone)
{
	switch ((unsigned)s->liar.lie) {
	case LIE_LACKS_CONTENT:
	case LIE_BUSY: return true; /* nobody's fault */
	case LIE_SAYS_MISSING:
	case LIE_SILENT_FETCH:
	case LIE_WRONG_BYTES:
	case LIE_WRONG_CHUNK:
	case LIE_UNASKED_BLOB:
	case LIE_OVERSIZED:
	case LIE_DUPLICATES:
	case LIE_UNASKED_VALID: return s->g.took_ms <= alone;
	case LIE_STALLS_IN_CHUNK: return true; /* overtaken before it showed: see below */
	default: return false;
	}
}

static void check_lie(enum lie lie, size_t honest, bool liar_first)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		uint64_t alone = alone_ms(seed, honest);
		struct discovery_benched b = { 0 };
		struct scene s;

		scene_init(&s, seed, lie, honest);
		CHECK_STATUS(0, get(&s, liar_first));
		print_message("# %s, %zu honest, liar %s: alone %llu ms, beside %llu ms\n",
			      lies[lie], honest, liar_first ? "first" : "last",
			      (unsigned long long)alone, (unsigned long long)s.g.took_ms);
		assert_true(host_has_thing(s.g.host, &s.t));
		assert_true(s.g.took_ms <= 3 * alone);
		if (is_harmless(&s, alone))
			goto next;
		/* Found out when nobody waits any more, if not before. */
		for (unsigned i = 0; i < 40 && !is_named(&s); i++)
			sync_world_run_ms(&s.w, 1000);
		assert_true(is_named(&s));
		(void)discovery_benched(s.g.discovery, &s.liar.host->peer, &b);
		print_message("#   %u failures, %u offences: %s\n", (unsigned)b.failures,
			      (unsigned)b.offences, b.why);
		assert_true(s.offences > 0);
	next:
		scene_fini(&s);
	}
}

static void an_honest_get_beside_any_liar_takes_at_most_three_times_as_long(void **state)
{
	(void)state;
	for (unsigned lie = LIE_NONE + 1; lie < LIES; lie++) {
		check_lie((enum lie)lie, 1, true);
		check_lie((enum lie)lie, 1, false);
	}
}

/* With more to fetch it shows that it is not slow but has stopped. */
static void who_stops_inside_a_blob_is_named_when_it_shows(void **state)
{
	struct discovery_benched b = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s, 1, LIE_STALLS_IN_CHUNK, 1);
	assert_int_equal(
		simnet_set_path(s.w.simnet, s.g.host->ip, s.honest[0]->ip,
				&(struct simnet_path){ .latency_ms = 5, .bandwidth = 300000 }),
		0);
	CHECK_STATUS(0, get(&s, true));
	print_message("# it took %llu ms\n", (unsigned long long)s.g.took_ms);
	assert_true(s.g.took_ms <= 4000);
	assert_true(discovery_benched(s.g.discovery, &s.liar.host->peer, &b));
	assert_true(b.offences == 1 && strstr(b.why, "stopped") != NULL);
	scene_fini(&s);
}

static void two_honest_ones_are_enough_as_well(void **state)
{
	(void)state;
	for (unsigned lie = LIE_NONE + 1; lie < LIES; lie++)
		check_lie((enum lie)lie, 2, true);
}

/* Alone with a liar it ends, says no, and knows whom to blame. */
static void alone_with_a_liar_it_ends(void **state)
{
	(void)state;
	for (unsigned lie = LIE_NONE + 1; lie < LIES; lie++) {
		struct scene s;

		if (lie == LIE_DUPLICATES || lie == LIE_LISTS_PHANTOMS ||
		    lie == LIE_DRIPS_PHANTOMS || lie == LIE_HOLDS_PHANTOMS)
			continue; /* these give the object as well */
		scene_init(&s, 1, (enum lie)lie, 0);
		(void)get(&s, true);
		print_message("# alone with %s: %s in %llu ms\n", lies[lie], err_str(s.g.status),
			      (unsigned long long)s.g.took_ms);
		assert_true(s.g.status < 0);
		assert_true(s.g.took_ms <= 150000);
		scene_fini(&s);
	}
}

/* An honest one that is busy for a moment is asked again, whatever the other says. */
static void one_that_is_busy_for_long_does_not_speak_for_others(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 2; first++) {
		struct scene s;

		scene_init(&s, 1, LIE_BUSY, 1);
		s.liar.busy_ms = WIRE_RETRY_MAX_MS; /* said last */
		assert_int_equal(simnet_set_path(s.w.simnet, s.g.host->ip, s.liar.host->ip,
						 &(struct simnet_path){ .latency_ms = 50 }),
				 0);
		for (unsigned i = 0; i < SYNC_SERVE_BURST / SYNC_CHARGE; i++)
			sync_peer_charge(s.honest[0]->sync, &s.g.host->peer);
		CHECK_STATUS(0, get(&s, first == 1));
		assert_true(host_has_thing(s.g.host, &s.t));
		assert_true(s.g.took_ms <= 5000);
		scene_fini(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_is_busy_for_long_does_not_speak_for_others),
		cmocka_unit_test(an_honest_get_beside_any_liar_takes_at_most_three_times_as_long),
		cmocka_unit_test(who_stops_inside_a_blob_is_named_when_it_shows),
		cmocka_unit_test(two_honest_ones_are_enough_as_well),
		cmocka_unit_test(alone_with_a_liar_it_ends),
	};

	REQUIRE(base_init() == 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
