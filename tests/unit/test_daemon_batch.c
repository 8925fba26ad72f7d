/* Framing of batches on the control socket. */
#include "test_util.h"

#include "base/base.h"
#include "daemon/batch.h"

static void what_is_written_is_read_back(void **state)
{
	struct batch_record record;
	struct buf_reader r;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	batch_write(&out, OBJECT_CHUNK, "abc", 3);
	batch_write(&out, OBJECT_TREE, NULL, 0);
	assert_int_equal(out.len, 5 + 3 + 5);
	r = buf_reader(out.data, out.len);
	CHECK_STATUS(0, batch_read(&r, &record));
	assert_int_equal(record.tag, OBJECT_CHUNK);
	assert_int_equal(record.len, 3);
	assert_memory_equal(record.data, "abc", 3);
	CHECK_STATUS(0, batch_read(&r, &record));
	assert_int_equal(record.len, 0);
	CHECK_STATUS(ERR_NOT_FOUND, batch_read(&r, &record));
	buf_fini(&out);
}

static void the_bytes_are_those_documented(void **state)
{
	static const uint8_t expected[] = { 3, 0, 0, 0, 2, 'h', 'i' };
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	batch_write(&out, OBJECT_TREE, "hi", 2);
	assert_int_equal(out.len, sizeof(expected));
	assert_memory_equal(out.data, expected, sizeof(expected));
	buf_fini(&out);
}

static void every_truncation_is_noticed(void **state)
{
	size_t count, bad;
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	batch_write(&out, OBJECT_CHUNK, "abc", 3);
	for (size_t len = 1; len < out.len; len++)
		CHECK_STATUS(ERR_TRUNCATED, batch_check_put(out.data, len, &count, &bad));
	CHECK_STATUS(0, batch_check_put(out.data, out.len, &count, &bad));
	assert_int_equal(count, 1);
	CHECK_STATUS(0, batch_check_put(out.data, 0, &count, &bad));
	assert_int_equal(count, 0);
	buf_fini(&out);
}

static void a_length_beyond_the_limit_is_refused_before_it_is_used(void **state)
{
	static const uint8_t huge[] = { 0, 0xff, 0xff, 0xff, 0xff, 'x' };
	size_t count, bad;

	(void)state;
	CHECK_STATUS(ERR_LIMIT, batch_check_put(huge, sizeof(huge), &count, &bad));
	assert_int_equal(bad, 0);
}

static void only_kinds_that_may_be_put_are_taken(void **state)
{
	static const struct {
		uint8_t kind;
		int status;
	} cases[] = { { OBJECT_CHUNK, 0 },
		      { OBJECT_TREE, 0 },
		      { OBJECT_FILE, 0 },
		      { OBJECT_CAPABILITY, 0 },
		      { OBJECT_COMMIT, ERR_MALFORMED },
		      { 5, ERR_MALFORMED },
		      { 255, ERR_MALFORMED } };
	size_t count, bad;
	struct buf out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		buf_init(&out, 64);
		batch_write(&out, OBJECT_CHUNK, "x", 1);
		batch_write(&out, cases[i].kind, "x", 1);
		bad = 99;
		CHECK_STATUS(cases[i].status, batch_check_put(out.data, out.len, &count, &bad));
		if (cases[i].status < 0)
			assert_int_equal(bad, 1);
		buf_fini(&out);
	}
}

static void too_many_records_are_refused(void **state)
{
	size_t count, bad;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	for (int i = 0; i < BATCH_BLOBS_MAX; i++)
		batch_write(&out, OBJECT_CHUNK, "x", 1);
	CHECK_STATUS(0, batch_check_put(out.data, out.len, &count, &bad));
	assert_int_equal(count, BATCH_BLOBS_MAX);
	batch_write(&out, OBJECT_CHUNK, "x", 1);
	CHECK_STATUS(ERR_LIMIT, batch_check_put(out.data, out.len, &count, &bad));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(the_bytes_are_those_documented),
		cmocka_unit_test(every_truncation_is_noticed),
		cmocka_unit_test(a_length_beyond_the_limit_is_refused_before_it_is_used),
		cmocka_unit_test(only_kinds_that_may_be_put_are_taken),
		cmocka_unit_test(too_many_records_are_refused),
	};

	return base_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
