#include "tests/unit/test_util.h"

#include "base/log_ring.h"

static void a_line_is_kept_with_what_is_known_of_it(void **state)
{
	struct log_ring_stats before;
	struct log_record got;

	log_ring_stats(&before);
	log_ring_add(LOG_STORE, LOG_WARN, 17, "msg=slow");
	assert_true(log_ring_next(before.written, &got));
	assert_string_equal(got.text, "msg=slow");
	assert_int_equal(got.number, before.written + 1);
	assert_int_equal(got.wall_ns, 17);
	assert_int_equal(got.sub, LOG_STORE);
	assert_int_equal(got.level, LOG_WARN);
	assert_false(log_ring_next(got.number, &got));
	assert_false(log_ring_next(got.number + 100, &got));
}

static void what_is_logged_gets_into_the_ring(void **state)
{
	struct log_ring_stats before;
	struct log_record got;

	log_ring_stats(&before);
	log_info(LOG_NET, "msg=\"a b\" n=%d\n", 3);
	log_debug(LOG_NET, "msg=no");
	assert_true(log_ring_next(before.written, &got));
	assert_string_equal(got.text, "msg=\"a b\" n=3\\x0a");
	assert_false(log_ring_next(got.number, &got));
}

/* Every text is checked after each of more lines than have a place, of lengths that make texts
 * begin and end anywhere. */
static void old_lines_make_room_and_the_others_stay_whole(void **state)
{
	static char text[LOG_RECORD_MAX];
	static struct log_record got;
	struct log_ring_stats s;
	uint64_t start, number;

	log_ring_stats(&s);
	start = s.written;
	for (unsigned i = 0; i < 3 * LOG_RING_LINES; i++) {
		size_t len = (i * 7919) % 600;

		memset(text, 'a' + (int)(i % 26), len);
		text[len] = '\0';
		log_ring_add(LOG_BASE, LOG_INFO, i, text);
	}
	log_ring_stats(&s);
	assert_int_equal(s.written, start + 3 * LOG_RING_LINES);
	assert_true(s.bytes <= LOG_RING_BYTES && s.bytes > LOG_RING_BYTES - 2 * 600);
	for (number = 0; log_ring_next(number, &got); number = got.number) {
		assert_int_equal(got.number, number == 0 ? s.dropped + 1 : number + 1);
		assert_int_equal(got.len, (got.wall_ns * 7919) % 600);
		for (size_t i = 0; i < got.len; i++)
			assert_int_equal(got.text[i], 'a' + (int)(got.wall_ns % 26));
	}
	assert_int_equal(number, s.written);
}

static void empty_lines_are_bounded_too(void **state)
{
	struct log_ring_stats s;

	for (unsigned i = 0; i < 2 * LOG_RING_LINES; i++)
		log_ring_add(LOG_BASE, LOG_INFO, i, "");
	log_ring_stats(&s);
	assert_int_equal(s.written - s.dropped, LOG_RING_LINES);
	assert_int_equal(s.bytes, 0);
}

static void a_time_reads_as_iso_8601(void **state)
{
	char text[LOG_TIME_SIZE];

	log_time(text, UINT64_C(1795226400) * NS_PER_SEC + 7 * NS_PER_MS);
	assert_string_equal(text, "2026-11-21T02:00:00.007Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_kept_with_what_is_known_of_it),
		cmocka_unit_test(what_is_logged_gets_into_the_ring),
		cmocka_unit_test(old_lines_make_room_and_the_others_stay_whole),
		cmocka_unit_test(empty_lines_are_bounded_too),
		cmocka_unit_test(a_time_reads_as_iso_8601),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
