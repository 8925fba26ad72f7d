/* Searching in steps, paging, and the conditions that look into spans. */
#include <stdlib.h>

#include "test_trace.h"

static int set(struct trace_query *q, const char *key, const char *value)
{
	char why[200];

	return trace_query_set(q, key, value, why, sizeof(why));
}

static uint64_t matching(struct fixture *f, const char *key, const char *value)
{
	struct trace_query q = { 0 };

	CHECK_STATUS(0, set(&q, key, value));
	return count_matching(f, &q);
}

static void new_parameters_are_refused_with_a_text_when_bad(void **state)
{
	static const char *const bad[][2] = {
		{ "since", "yesterday" },
		{ "since", "0s" },
		{ "since", "2026-01-01" },
		{ "until", "2026-13-01T00:00:00Z" },
		{ "until", "2026-01-01T00:00:00" },
		{ "until", "2026-01-01T00:00:00+1:00" },
		{ "since", "1900-01-01T00:00:00Z" },
		{ "since", "2026-01-01T00:00:00.5" },
		{ "attr", ":x" },
		{ "stage", ":1s" },
		{ "stage", "dial:" },
		{ "stage", "dial:soon" },
		{ "cursor", "x" },
		{ "cursor", "n0000" },
		{ "cancelled", "2" },
		{ "cursor", "n00000000000000000000000000000000000000000000000g" },
	};
	struct trace_query q, zero = { 0 };
	char why[200];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&q, 0, sizeof(q));
		CHECK_STATUS(ERR_MALFORMED, trace_query_set(&q, bad[i][0], bad[i][1], why, 200));
		assert_true(strlen(why) > 10);
		assert_memory_equal(&q, &zero, sizeof(q));
	}
}

static void an_id_is_found_by_its_first_digits(void **state)
{
	static const struct {
		const char *begins;
		uint64_t count;
	} cases[] = { { "", 3 },
		      { "a", 2 },
		      { "AB", 2 },
		      { "abc", 1 },
		      { "abd", 1 },
		      { "abcdef01", 1 },
		      { "abcdef02", 0 },
		      { "5", 1 },
		      { "51", 0 },
		      { "abcdef0123456789abcdef0123456789", 1 },
		      { "abcdef0123456789abcdef0123456788", 0 } };
	static const char *const ids[] = { "abcdef0123456789abcdef0123456789",
					   "abdddddddddddddddddddddddddddddd",
					   "50000000000000000000000000000000" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct trace_context c;
		char text[TRACEPARENT_SIZE];
		snprintf(text, sizeof(text), "00-%s-00000000000000ff-01", ids[i]);
		CHECK_STATUS(0, trace_context_parse(text, strlen(text), &c));
		trace_finish(trace_root(f->t, "a", "r", 1, &c), 0, NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(matching(f, "begins", cases[i].begins), cases[i].count);
}

static void times_are_spelt_as_in_rfc_3339(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "2026-01-01T00:00:00Z", WALL_START_S * NS_PER_SEC },
		{ "2026-01-01t01:00:00.25+01:00", WALL_START_S * NS_PER_SEC + NS_PER_SEC / 4 },
		{ "2025-12-31 23:30:00-00:30", WALL_START_S * NS_PER_SEC },
		{ "2026-01-01T00:00:00.123456789123Z", WALL_START_S * NS_PER_SEC + 123456789 },
	};
	struct trace_query q = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_STATUS(0, set(&q, "since", good[i].text));
		assert_int_equal(q.since_wall_ns, good[i].ns);
	}
	CHECK_STATUS(0, set(&q, "since", "15m"));
	assert_int_equal(q.since_ago_ns, 900 * NS_PER_SEC);
	assert_int_equal(q.since_wall_ns, 0);
}

static void attributes_match_by_key_and_exact_value(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r"), child = child_span(root, "b", "c");

	trace_attr_str(child, "peer", "12D3:x", 6);
	trace_attr_int(child, "rounds", -7);
	trace_attr_bool(root, "recursive", true);
	assert_int_equal(matching(f, "attr", "peer"), 1);
	assert_int_equal(matching(f, "attr", "peer:12D3:x"), 1);
	assert_int_equal(matching(f, "attr", "peer:12D3"), 0);
	assert_int_equal(matching(f, "attr", "pee"), 0);
	assert_int_equal(matching(f, "attr", "rounds:-7"), 1);
	assert_int_equal(matching(f, "attr", "rounds:7"), 0);
	assert_int_equal(matching(f, "attr", "recursive:true"), 1);
	assert_int_equal(matching(f, "attr", "recursive:false"), 0);
	struct trace_query q = { 0 };
	CHECK_STATUS(0, set(&q, "attr", "rounds:-7"));
	CHECK_STATUS(0, set(&q, "attr", "recursive"));
	assert_int_equal(count_matching(f, &q), 1);
	CHECK_STATUS(0, set(&q, "attr", "absent"));
	assert_int_equal(count_matching(f, &q), 0);
}

static void a_stage_matches_by_its_sum_in_one_span(void **state)
{
	struct fixture *f = *state;
	struct span root = root_span(f, "a", "r"), child = child_span(root, "b", "c");

	trace_stage(child, "dial");
	clock_manual_advance(&f->clock, 300);
	trace_stage(child, "fetch");
	clock_manual_advance(&f->clock, 10);
	trace_stage(child, "dial");
	clock_manual_advance(&f->clock, 200);
	assert_int_equal(matching(f, "stage", "dial"), 1);
	assert_int_equal(matching(f, "stage", "dial:500ns"), 1);
	assert_int_equal(matching(f, "stage", "dial:501ns"), 0);
	assert_int_equal(matching(f, "stage", "fetch:10ns"), 1);
	assert_int_equal(matching(f, "stage", "fetch:11ns"), 0);
	assert_int_equal(matching(f, "stage", "absent"), 0);
	clock_manual_advance(&f->clock, 1);
	assert_int_equal(matching(f, "stage", "dial:501ns"), 1);
	trace_finish(child, 0, NULL);
	assert_int_equal(matching(f, "stage", "dial:501ns"), 1);
}

static void since_and_until_take_what_overlaps(void **state)
{
	struct fixture *f = *state;

	whole_trace(f, "a", "first", 10 * NS_PER_SEC, 0);  /* wall 1 .. 11 */
	whole_trace(f, "a", "second", 10 * NS_PER_SEC, 0); /* 11 .. 21 */
	root_span(f, "a", "active");			   /* 21 .. */
	clock_manual_advance(&f->clock, 9 * NS_PER_SEC);
	assert_int_equal(matching(f, "since", "2026-01-01T00:00:12Z"), 2);
	assert_int_equal(matching(f, "since", "2026-01-01T00:00:22Z"), 1);
	assert_int_equal(matching(f, "until", "2026-01-01T00:00:12Z"), 2);
	assert_int_equal(matching(f, "until", "2026-01-01T00:00:11Z"), 1);
	assert_int_equal(matching(f, "since", "5s"), 1);
	assert_int_equal(matching(f, "since", "15s"), 2);
	assert_int_equal(matching(f, "since", "1h"), 3);
	assert_int_equal(matching(f, "until", "15s"), 2);
	assert_int_equal(matching(f, "until", "2027-01-01T00:00:11Z"), 3);
}

static void several_ids_are_alternatives(void **state)
{
	struct fixture *f = *state;
	struct trace_query q = { 0 };
	char hex[TRACEPARENT_SIZE];

	for (int i = 0; i < 4; i++) {
		struct trace_context c;
		struct span s = root_span(f, "a", "r");
		trace_context_of(s, &c);
		trace_context_format(&c, hex);
		hex[35] = '\0';
		if (i > 0)
			CHECK_STATUS(0, set(&q, "id", hex + 3));
		assert_int_equal(count_matching(f, &q), i == 0 ? 1 : i);
	}
	for (int i = 3; i < TRACE_QUERY_IDS_MAX; i++)
		CHECK_STATUS(0, set(&q, "id", hex + 3));
	CHECK_STATUS(ERR_MALFORMED, set(&q, "id", hex + 3));
	CHECK_STATUS(0, set(&q, "id", ""));
	assert_int_equal(count_matching(f, &q), 4);
}

static bool naive_contains(const char *text, const char *needle)
{
	for (; *text != '\0'; text++)
		if (strncasecmp(text, needle, strlen(needle)) == 0)
			return true;
	return false;
}

static void substrings_agree_with_a_naive_search(void **state)
{
	struct fixture *f = *state;
	uint64_t seed = 17;
	char text[64], needle[12];

	for (int i = 0; i < 5000; i++) {
		size_t len = next_random(&seed) % 60, k;
		struct fixture one = *f;
		for (k = 0; k < len; k++)
			text[k] = "aAbB"[next_random(&seed) % (i % 2 ? 4 : 2)];
		text[k] = '\0';
		len = 1 + next_random(&seed) % 10;
		for (k = 0; k < len; k++)
			needle[k] = "ab"[next_random(&seed) % (i % 2 ? 2 : 1)];
		needle[k] = '\0';
		struct span s = root_span(&one, "x", text);
		struct trace_query q = { .text = needle, .active = true };
		assert_int_equal(count_matching(f, &q), naive_contains(text, needle));
		trace_finish(s, 0, NULL);
	}
}

/* A store with enough to say that a search takes many steps. */
static void fill(struct fixture *f, int roots)
{
	for (int i = 0; i < roots; i++) {
		struct span s = root_span(f, "a", "title");
		clock_manual_advance(&f->clock, (uint64_t)(i * 37 % 101));
		for (int k = 0; k < 20; k++)
			trace_mark(s, "mark %d of %s", k, "some text");
		trace_finish(s, 0, NULL);
	}
}

static void a_search_in_steps_finds_what_one_in_one_go_finds(void **state)
{
	struct fixture *f = *state;
	struct trace_query q = { .text = "mark 19 of", .limit = 250, .sort = TRACE_SORT_SLOWEST };
	struct trace_find *find = mem_alloc(sizeof(*find));
	uint32_t once[250], steps[250], turns = 0;
	uint64_t matched, total;

	fill(f, 1500);
	size_t count = trace_search(f->t, &q, once, 250, &matched, &total);
	trace_find_begin(find, f->t, &q);
	do
		turns++;
	while (!trace_find_step(find));
	assert_true(turns > 3);
	assert_int_equal(find->matched, matched);
	assert_int_equal(find->total, total);
	assert_int_equal(trace_find_roots(find, steps, 250), count);
	assert_memory_equal(once, steps, sizeof(once));
	mem_free(find);
}

static void a_search_survives_writing_and_eviction_between_its_steps(void **state)
{
	struct fixture *f = *state;
	struct trace_query q = { .text = "nowhere", .limit = 250 };
	struct trace_find *find = mem_alloc(sizeof(*find));
	uint32_t roots[250];

	for (int round = 0; round < 30; round++) {
		q.text = round % 2 ? "nowhere" : "mark 1";
		trace_find_begin(find, f->t, &q);
		while (!trace_find_step(find))
			fill(f, 40 * round);
		fill(f, 10 * round);
		size_t count = trace_find_roots(find, roots, 250);
		for (size_t i = 0; i < count; i++) {
			struct seen seen = { 0 };
			trace_walk(f->t, roots[i], see_span, &seen);
			assert_int_equal(seen.count, 1);
		}
		assert_true(round % 2 == 0 || find->matched == 0);
	}
	mem_free(find);
}

static size_t page(struct fixture *f, struct trace_query *q, uint8_t (*ids)[8], char *cursor)
{
	struct trace_find *find = mem_alloc(sizeof(*find));
	uint32_t roots[250];

	trace_find_begin(find, f->t, q);
	while (!trace_find_step(find))
		;
	size_t count = trace_find_roots(find, roots, 250);
	for (size_t i = 0; i < count; i++) {
		struct seen seen = { 0 };
		trace_walk(f->t, roots[i], see_span, &seen);
		memcpy(ids[i], seen.span[0].span_id, 8);
	}
	if (!trace_find_cursor(find, cursor))
		cursor[0] = '\0';
	mem_free(find);
	return count;
}

static void check_paging(struct fixture *f, const struct span *spans, enum trace_sort sort)
{
	static uint8_t all[250][8], paged[400][8];
	char cursor[TRACE_CURSOR_SIZE];
	struct trace_query q = { .sort = sort, .limit = 250 };
	size_t count = page(f, &q, all, cursor), seen = 0, active = 0;

	assert_string_equal(cursor, "");
	q.limit = 7;
	do {
		seen += page(f, &q, paged + seen, cursor);
		/* The world goes on: new ones begin, active ones end. */
		clock_manual_advance(&f->clock, 1);
		whole_trace(f, "a", "new", 50, 0);
		if (active < 100 && seen > 5)
			trace_finish(spans[active], 0, NULL);
		active += 5;
		if (cursor[0] != '\0')
			CHECK_STATUS(0, set(&q, "cursor", cursor));
	} while (cursor[0] != '\0' && seen < 300);
	assert_int_equal(seen, count);
	assert_memory_equal(all, paged, count * 8);
}

static void pages_follow_each_other_without_gap_or_repetition_under_writes(void **state)
{
	for (int sort = TRACE_SORT_NEWEST; sort <= TRACE_SORT_OLDEST; sort++) {
		struct span spans[100];
		struct fixture *f;
		setup((void **)&f);
		for (int i = 0; i < 100; i++) {
			struct span s = spans[i] = root_span(f, "a", "r");
			clock_manual_advance(&f->clock, (uint64_t)(i * 37 % 11));
			if (i % 5 != 0)
				trace_finish(s, 0, NULL);
		}
		check_paging(f, spans, (enum trace_sort)sort);
		teardown((void **)&f);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(new_parameters_are_refused_with_a_text_when_bad),
		TEST(an_id_is_found_by_its_first_digits),
		TEST(times_are_spelt_as_in_rfc_3339),
		TEST(attributes_match_by_key_and_exact_value),
		TEST(a_stage_matches_by_its_sum_in_one_span),
		TEST(since_and_until_take_what_overlaps),
		TEST(several_ids_are_alternatives),
		TEST(substrings_agree_with_a_naive_search),
		TEST(a_search_in_steps_finds_what_one_in_one_go_finds),
		TEST(a_search_survives_writing_and_eviction_between_its_steps),
		cmocka_unit_test(pages_follow_each_other_without_gap_or_repetition_under_writes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
