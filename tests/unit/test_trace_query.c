/* Parameters and search, against a naive oracle. */
#include "test_trace.h"

static int set(struct trace_query *q, const char *key, const char *value, char *why)
{
	why[0] = '\0';
	return trace_query_set(q, key, value, why, 100);
}

static void good_parameters_are_understood(void **state)
{
	struct trace_query q = { 0 };
	char why[100];

	assert_int_equal(set(&q, "category", "sync.peer", why), 0);
	assert_string_equal(q.category, "sync.peer");
	assert_int_equal(set(&q, "q", "timeout", why), 0);
	assert_string_equal(q.text, "timeout");
	assert_int_equal(set(&q, "text", "other", why), 0);
	assert_string_equal(q.text, "other");
	assert_int_equal(set(&q, "id", "0102030405060708090a0b0c0d0E0F10", why), 0);
	assert_true(q.has_id);
	assert_int_equal(q.id[0], 1);
	assert_int_equal(q.id[15], 0x10);
	assert_int_equal(set(&q, "n", "250", why), 0);
	assert_int_equal(q.limit, 250);
	assert_int_equal(set(&q, "limit", "1", why), 0);
	assert_int_equal(q.limit, 1);
	assert_int_equal(set(&q, "sort", "slowest", why), 0);
	assert_int_equal(q.sort, TRACE_SORT_SLOWEST);
	assert_int_equal(set(&q, "sort", "newest", why), 0);
	assert_int_equal(q.sort, TRACE_SORT_NEWEST);
	assert_string_equal(why, "");
}

static void yes_and_no_have_many_spellings(void **state)
{
	static const char *const yes[] = { "", "1", "true", "yes", "on" };
	static const char *const no[] = { "0", "false", "no", "off" };
	static const char *const keys[] = { "active", "finished", "errored", "success" };
	struct trace_query q = { 0 };
	bool *fields[] = { &q.active, &q.finished, &q.errored, &q.success };
	char why[100];

	for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
			*fields[k] = false;
			assert_int_equal(set(&q, keys[k], yes[i], why), 0);
			assert_true(*fields[k]);
		}
		for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
			*fields[k] = true;
			assert_int_equal(set(&q, keys[k], no[i], why), 0);
			assert_false(*fields[k]);
		}
	}
}

static void durations_are_spelt_as_in_go(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "", 0 },
		{ "1ns", 1 },
		{ "250ms", 250 * NS_PER_MS },
		{ "1.5s", 1500 * NS_PER_MS },
		{ "2m30s", 150 * NS_PER_SEC },
		{ "1h", 3600 * NS_PER_SEC },
		{ "10us", 10000 },
		{ "10µs", 10000 },
		{ ".5s", 500 * NS_PER_MS },
		{ "0s", 0 },
		{ "1h0.000001s", 3600 * NS_PER_SEC + 1000 },
		{ "18446744073709551615ns", UINT64_MAX },
	};
	struct trace_query q = { 0 };
	char why[100];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(set(&q, "min", good[i].text, why), 0);
		assert_int_equal(q.min_ns, good[i].ns);
		assert_int_equal(set(&q, "max", good[i].text, why), 0);
		assert_int_equal(q.max_ns, good[i].ns);
	}
}

static void bad_parameters_are_refused_with_a_text_and_change_nothing(void **state)
{
	static const char *const bad[][2] = {
		{ "id", "12" },
		{ "id", "0102030405060708090a0b0c0d0e0f1" },
		{ "id", "0102030405060708090a0b0c0d0e0f101" },
		{ "id", "0102030405060708090a0b0c0d0e0fxx" },
		{ "begins", "12x" },
		{ "columns", "79" },
		{ "columns", "401" },
		{ "columns", "wide" },
		{ "begins", "0102030405060708090a0b0c0d0e0f101" },
		{ "active", "maybe" },
		{ "errored", "2" },
		{ "min", "5" },
		{ "min", "s" },
		{ "min", "-1s" },
		{ "min", "1s " },
		{ "min", "1 s" },
		{ "max", "1x" },
		{ "max", "." },
		{ "max", "99999999999999999999s" },
		{ "max", "18446744073709551616ns" },
		{ "max", "6000000h" },
		{ "max", "18446744073709551615ns1ns" },
		{ "n", "0" },
		{ "n", "251" },
		{ "n", "-1" },
		{ "n", "ten" },
		{ "n", "99999999999999999999" },
		{ "n", "1.5" },
		{ "sort", "best" },
	};
	struct trace_query q, zero = { 0 };
	char why[100], text[400];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&q, 0, sizeof(q));
		CHECK_STATUS(ERR_MALFORMED, set(&q, bad[i][0], bad[i][1], why));
		assert_true(strlen(why) > 10);
		assert_memory_equal(&q, &zero, sizeof(q));
	}
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK_STATUS(ERR_MALFORMED, set(&q, "q", text, why));
	CHECK_STATUS(ERR_MALFORMED, set(&q, "category", text, why));
}

static void unknown_parameters_are_left_to_the_caller(void **state)
{
	struct trace_query q = { 0 };
	char why[100];

	CHECK_STATUS(ERR_NOT_FOUND, set(&q, "json", "", why));
	CHECK_STATUS(ERR_NOT_FOUND, set(&q, "", "1", why));
	assert_string_equal(why, "");
	CHECK_STATUS(ERR_MALFORMED, trace_query_set(&q, "n", "x", NULL, 0));
}

static void an_empty_parameter_asks_for_everything(void **state)
{
	static const char *const keys[] = { "category", "q", "id", "min", "max", "n", "sort" };
	struct trace_query q = { 0 }, zero = { 0 };
	char why[100];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert_int_equal(set(&q, keys[i], "", why), 0);
	assert_memory_equal(&q, &zero, sizeof(q));
}

/* One trace with something to find in each place. */
static struct span findable(struct fixture *f)
{
	struct span root = root_span(f, "sync.discover", "hm://Space/Path"),
		    child = child_span(root, "sync.peer", "12D3KooW");

	trace_mark(child, "local peers: %d found, %s", 17, "All Synced");
	trace_errorf(child, "constant failure");
	trace_attr_str(child, "agent", "Peerscope/1.0", 13);
	trace_attr_int(child, "rounds", -4711);
	trace_finish(child, 0, "cached");
	trace_finish(root, 0, NULL);
	return root;
}

static void text_is_found_wherever_it_was_said(void **state)
{
	static const char *const found[] = {
		"hm://space", "SPACE/path", "12d3koow",	   "peers: 17 found, all",
		"synced",     "constant f", "peerscope/1", "agent",
		"-4711",      "rounds",	    "cached",	   "o"
	};
	static const char *const absent[] = { "hm://spaces", "%d",	 "17 found, none",
					      "4712",	     "failureX", "sync.peer" };
	struct fixture *f = *state;

	findable(f);
	whole_trace(f, "b", "b", 1, 0);
	for (size_t i = 0; i < ARRAY_SIZE(found); i++)
		if (count_matching(f, &(struct trace_query){ .text = found[i] }) < 1)
			fail_msg("not found: %s", found[i]);
	for (size_t i = 0; i < ARRAY_SIZE(absent); i++)
		if (count_matching(f, &(struct trace_query){ .text = absent[i] }) != 0)
			fail_msg("found: %s", absent[i]);
}

static void the_category_of_any_span_finds_its_root(void **state)
{
	struct fixture *f = *state;

	findable(f);
	assert_int_equal(count_matching(f, &(struct trace_query){ .category = "sync.peer" }), 1);
	assert_int_equal(count_matching(f, &(struct trace_query){ .category = "sync.discover" }),
			 1);
	assert_int_equal(count_matching(f, &(struct trace_query){ .category = "sync" }), 0);
	assert_int_equal(count_matching(f, &(struct trace_query){ .category = "other" }), 0);
}

static void a_root_with_an_open_child_counts_as_active(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r"), child = child_span(root, "b", "c");

	trace_finish(root, 0, NULL);
	assert_int_equal(count_matching(f, &(struct trace_query){ .active = true }), 1);
	assert_int_equal(count_matching(f, &(struct trace_query){ .finished = true }), 0);
	trace_finish(child, 0, NULL);
	assert_int_equal(count_matching(f, &(struct trace_query){ .active = true }), 0);
	assert_int_equal(count_matching(f, &(struct trace_query){ .finished = true }), 1);
}

/* What the oracle knows of a trace. */
struct known {
	uint64_t start_ns, duration_ns;
	int status;
	bool active;
	const char *category;
};

static void fill_known(struct fixture *f, struct known *all, size_t count)
{
	static const char *const categories[] = { "a", "b", "c" };
	uint64_t seed = 99;

	for (size_t i = 0; i < count; i++) {
		struct known *k = &all[i];
		clock_manual_advance(&f->clock, 1 + next_random(&seed) % 100);
		*k = (struct known){ .start_ns = clock_now_ns(&f->clock.clock),
				     .category = categories[next_random(&seed) % 3],
				     .status = next_random(&seed) % 5 == 0 ? UV_EIO : 0,
				     .active = next_random(&seed) % 4 == 0 };
		struct span s = root_span(f, k->category, "r");
		clock_manual_advance(&f->clock, next_random(&seed) % 1000);
		if (k->active)
			k->status = 0;
		else
			trace_finish(s, k->status, NULL);
		k->duration_ns = clock_now_ns(&f->clock.clock) - k->start_ns;
	}
	for (size_t i = 0; i < count; i++)
		if (all[i].active)
			all[i].duration_ns = clock_now_ns(&f->clock.clock) - all[i].start_ns;
}

static bool oracle_matches(const struct trace_query *q, const struct known *k)
{
	return (q->category == NULL || strcmp(q->category, k->category) == 0) &&
	       (!q->active || k->active) && (!q->finished || !k->active) &&
	       (!q->errored || k->status != 0) && (!q->success || k->status == 0) &&
	       k->duration_ns >= q->min_ns && (q->max_ns == 0 || k->duration_ns <= q->max_ns);
}

/* The place of a trace among those that match. */
static size_t oracle_rank(const struct trace_query *q, const struct known *all, size_t count,
			  const struct known *k)
{
	size_t rank = 0;

	for (size_t i = 0; i < count; i++) {
		bool slowest = q->sort == TRACE_SORT_SLOWEST;
		if (oracle_matches(q, &all[i]))
			rank += slowest ? all[i].duration_ns > k->duration_ns :
					  all[i].start_ns > k->start_ns;
	}
	return rank;
}

static void one_root_matches_as_a_search_would_find_it(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "the title"), other = root_span(f, "a", "other");
	struct trace_span_view v;

	trace_stage(root, "dial");
	trace_attr_str(root, "peer", "12D3", 4);
	trace_mark(child_span(root, "b", "c"), "round %d", 7);
	clock_manual_advance(&f->clock, NS_PER_MS);
	v = see_one(f, root);
	static const struct trace_query yes[] = { { .category = "b" },
						  { .text = "round 7" },
						  { .attrs = { "peer:12D3" }, .attr_count = 1 },
						  { .stages = { { "dial", 4, 1000 } },
						    .stage_count = 1 },
						  { .active = true } };
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++)
		assert_true(trace_matches(f->t, &yes[i], v.slot, v.span_id));
	assert_false(
		trace_matches(f->t, &(struct trace_query){ .text = "other" }, v.slot, v.span_id));
	assert_false(trace_matches(f->t, &yes[4], see_one(f, other).slot, v.span_id));
	assert_false(trace_matches(f->t, &yes[4], UINT32_MAX, v.span_id));
}

static void every_combination_of_filters_agrees_with_an_oracle(void **state)
{
	enum { COUNT = 500 };
	struct fixture *f = *state;
	struct known all[COUNT];
	uint32_t roots[250];
	uint64_t seed = 5, matched, total, expected;

	fill_known(f, all, COUNT);
	for (int n = 0; n < 2000; n++) {
		uint32_t bits = next_random(&seed);
		struct trace_query q = { .category = bits & 1 ? "b" : NULL,
					 .active = (bits & 6) == 6,
					 .finished = (bits & 24) == 24,
					 .errored = (bits & 96) == 96,
					 .success = (bits & 384) == 384,
					 .sort = bits & 512 ? TRACE_SORT_SLOWEST :
							      TRACE_SORT_NEWEST,
					 .min_ns = bits & 1024 ? next_random(&seed) % 1000 : 0,
					 .max_ns = bits & 2048 ? next_random(&seed) % 1000 : 0,
					 .limit = bits & 4096 ? 1 + next_random(&seed) % 300 : 0 };
		size_t count = trace_search(f->t, &q, roots, 250, &matched, &total);
		expected = 0;
		for (size_t i = 0; i < COUNT; i++)
			expected += oracle_matches(&q, &all[i]);
		assert_int_equal(matched, expected);
		assert_int_equal(total, COUNT);
		assert_int_equal(count, MIN(matched, q.limit == 0 ? 20 : MIN(q.limit, 250u)));
		for (size_t i = 0; i < count; i++) {
			struct seen seen = { 0 };
			struct known *k = all;
			trace_walk(f->t, roots[i], see_span, &seen);
			while (k->start_ns != seen.span[0].start_ns)
				k++;
			assert_true(oracle_matches(&q, k));
			size_t rank = oracle_rank(&q, all, COUNT, k);
			assert_true(rank <= i && (q.sort == TRACE_SORT_SLOWEST || rank == i));
		}
	}
}

static void no_more_are_written_than_there_is_room_for(void **state)
{
	struct fixture *f = *state;
	uint32_t roots[3] = { 77, 77, 77 };
	uint64_t matched;

	for (int i = 0; i < 5; i++)
		whole_trace(f, "a", "r", 1, 0);
	assert_int_equal(trace_search(f->t, &(struct trace_query){ 0 }, roots, 2, &matched, NULL),
			 2);
	assert_int_equal(matched, 5);
	assert_int_equal(roots[2], 77);
	assert_int_equal(trace_search(f->t, &(struct trace_query){ 0 }, NULL, 0, NULL, NULL), 0);
}

static void walking_from_what_is_no_root_visits_nothing(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r"), child = child_span(root, "b", "c");
	struct seen seen = { 0 };

	trace_walk(f->t, child.slot, see_span, &seen);
	trace_walk(f->t, 0, see_span, &seen);
	trace_walk(f->t, child.slot + 1, see_span, &seen);
	trace_walk(f->t, UINT32_MAX, see_span, &seen);
	assert_int_equal(seen.count, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(good_parameters_are_understood),
		TEST(yes_and_no_have_many_spellings),
		TEST(durations_are_spelt_as_in_go),
		TEST(bad_parameters_are_refused_with_a_text_and_change_nothing),
		TEST(unknown_parameters_are_left_to_the_caller),
		TEST(an_empty_parameter_asks_for_everything),
		TEST(text_is_found_wherever_it_was_said),
		TEST(the_category_of_any_span_finds_its_root),
		TEST(a_root_with_an_open_child_counts_as_active),
		TEST(one_root_matches_as_a_search_would_find_it),
		TEST(every_combination_of_filters_agrees_with_an_oracle),
		TEST(no_more_are_written_than_there_is_room_for),
		TEST(walking_from_what_is_no_root_visits_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
