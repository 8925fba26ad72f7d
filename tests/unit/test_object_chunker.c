#include "tests/unit/test_object_util.h"

enum { DATA_SIZE = 24 << 20, CUTS_MAX = 1024 };

struct cuts {
	size_t at[CUTS_MAX]; /* end of each chunk */
	size_t count;
};

static void cut_all(const uint8_t *data, size_t len, struct cuts *ret)
{
	size_t at = 0;

	ret->count = 0;
	while (at < len) {
		size_t n = chunk_cut(data + at, len - at, false);

		assert_in_range(n, 1, CHUNK_MAX);
		at += n;
		assert_true(ret->count < CUTS_MAX);
		ret->at[ret->count++] = at;
	}
	assert_int_equal(at, len);
}

static uint8_t *random_data(uint64_t seed)
{
	uint8_t *data = mem_alloc(DATA_SIZE);

	assert_non_null(data);
	test_random_bytes(seed, data, DATA_SIZE);
	return data;
}

static void cuts_are_the_ones_written_down(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(1);
	static const size_t expected[] = { 137582, 344973, 603083, 857480, 1100085, 1342268 };
	struct cuts cuts;

	cut_all(data, DATA_SIZE, &cuts);
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_int_equal(cuts.at[i], expected[i]);
}

static void chunks_keep_their_bounds_and_average(void **state)
{
	size_t total = 0, count = 0;

	for (uint64_t seed = 1; seed <= 4; seed++) {
		CLEANUP(mem_freep) uint8_t *data = random_data(seed);
		struct cuts cuts;

		cut_all(data, DATA_SIZE, &cuts);
		for (size_t i = 0; i + 1 < cuts.count; i++)
			assert_in_range(cuts.at[i] - (i > 0 ? cuts.at[i - 1] : 0), CHUNK_MIN,
					CHUNK_MAX);
		total += DATA_SIZE;
		count += cuts.count;
	}
	assert_in_range(total / count, CHUNK_AVG * 80 / 100, CHUNK_AVG * 120 / 100);
}

static void runs_of_any_byte_give_the_largest_chunks(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = mem_alloc(CHUNK_MAX + 1);

	assert_non_null(data);
	for (int byte = 0; byte < 256; byte++) {
		memset(data, byte, CHUNK_MAX + 1);
		assert_int_equal(chunk_cut(data, CHUNK_MAX + 1, false), CHUNK_MAX);
	}
}

static void short_data_is_one_chunk(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(1);

	assert_int_equal(chunk_cut(data, 0, false), 0);
	assert_int_equal(chunk_cut(data, 1, false), 1);
	assert_int_equal(chunk_cut(data, CHUNK_MIN, false), CHUNK_MIN);
	assert_int_equal(chunk_cut(data, CHUNK_MIN + 1, false), CHUNK_MIN + 1);
}

static void more_data_is_asked_for_below_the_largest_chunk(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(1);

	assert_int_equal(chunk_cut(data, 0, true), 0);
	assert_int_equal(chunk_cut(data, CHUNK_MAX - 1, true), 0);
	assert_int_equal(chunk_cut(data, CHUNK_MAX, true), chunk_cut(data, DATA_SIZE, false));
}

static void streaming_by_pieces_gives_the_same_cuts(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(2);
	struct cuts whole;
	uint64_t seed = 9;
	size_t at = 0, have = 0, cut = 0;

	cut_all(data, DATA_SIZE, &whole);
	while (at < DATA_SIZE) {
		size_t n = chunk_cut(data + at, have - at, have < DATA_SIZE);

		if (n == 0) {
			have += test_random(&seed) % (3 << 20);
			have = MIN(have, (size_t)DATA_SIZE);
			continue;
		}
		at += n;
		assert_int_equal(at, whole.at[cut++]);
	}
	assert_int_equal(cut, whole.count);
}

/* How many cuts of `b`, moved by `shift`, are none of `a`. */
static size_t new_cuts(const struct cuts *a, const struct cuts *b, size_t shift)
{
	size_t fresh = 0, j = 0;

	for (size_t i = 0; i < b->count; i++) {
		while (j < a->count && a->at[j] + shift < b->at[i])
			j++;
		fresh += j == a->count || a->at[j] + shift != b->at[i];
	}
	return fresh;
}

static void insertion_near_the_front_changes_few_chunks(void **state)
{
	static const size_t shifts[] = { 1, 7, 100, 5000, 70000 };
	size_t changed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(shifts); i++) {
		CLEANUP(mem_freep) uint8_t *data = random_data(i + 20), *edited = random_data(99);
		struct cuts before, after;
		size_t len = DATA_SIZE - shifts[i], fresh;

		memcpy(edited, data, 1000);
		memcpy(edited + 1000 + shifts[i], data + 1000, len - 1000);
		cut_all(data, len, &before);
		cut_all(edited, DATA_SIZE, &after);
		fresh = new_cuts(&before, &after, shifts[i]);
		assert_true(fresh < after.count / 4);
		changed += fresh;
	}
	assert_true(changed <= 4 * ARRAY_SIZE(shifts));
}

/* A cut must follow from the 64 bytes in front of it: what came before them may not move it. */
static void cuts_do_not_depend_on_what_lies_far_before(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(3);
	size_t cut = chunk_cut(data, DATA_SIZE, false);

	memset(data, 0xaa, CHUNK_MIN - 64);
	assert_int_equal(chunk_cut(data, DATA_SIZE, false), cut);
}

/* The first cut of this data, brought so near to the minimum that most of its window was skipped.
 */
static void cuts_close_to_the_minimum_see_their_whole_window(void **state)
{
	CLEANUP(mem_freep) uint8_t *data = random_data(1);
	size_t cut = chunk_cut(data, DATA_SIZE, false), shift = cut - CHUNK_MIN - 10;

	assert_int_equal(chunk_cut(data + shift, DATA_SIZE - shift, false), CHUNK_MIN + 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cuts_are_the_ones_written_down),
		cmocka_unit_test(chunks_keep_their_bounds_and_average),
		cmocka_unit_test(runs_of_any_byte_give_the_largest_chunks),
		cmocka_unit_test(short_data_is_one_chunk),
		cmocka_unit_test(more_data_is_asked_for_below_the_largest_chunk),
		cmocka_unit_test(streaming_by_pieces_gives_the_same_cuts),
		cmocka_unit_test(insertion_near_the_front_changes_few_chunks),
		cmocka_unit_test(cuts_do_not_depend_on_what_lies_far_before),
		cmocka_unit_test(cuts_close_to_the_minimum_see_their_whole_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
