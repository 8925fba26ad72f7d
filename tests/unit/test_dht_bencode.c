/* The bencode reader: structure, limits, and whatever bytes come. */
#include "tests/unit/test_util.h"

#include "discovery/dht/bencode.h"

/* Read everything; the status of the first failure, or of the end. */
static int read_all(const char *s, size_t len)
{
	struct bencode_token t;
	struct bencode b;
	int rc;

	bencode_init(&b, (const uint8_t *)s, len);
	rc = bencode_next(&b, &t);
	return rc < 0 ? rc : bencode_skip(&b, &t);
}

static void values_of_each_type_are_read(void **state)
{
	const char *s = "d1:ai-42e2:bcl3:xyzi0eee";
	struct bencode_token t;
	struct bencode b;

	bencode_init(&b, (const uint8_t *)s, strlen(s));
	CHECK_STATUS(0, bencode_next(&b, &t));
	assert_int_equal(t.type, BENCODE_DICT);
	assert_int_equal(bencode_key(&b, &t), 1);
	assert_memory_equal(t.p, "a", 1);
	CHECK_STATUS(0, bencode_next(&b, &t));
	assert_int_equal(t.n, -42);
	assert_int_equal(bencode_key(&b, &t), 1);
	CHECK_STATUS(0, bencode_next(&b, &t));
	assert_int_equal(t.type, BENCODE_LIST);
	CHECK_STATUS(0, bencode_skip(&b, &t));
	assert_int_equal(bencode_key(&b, &t), 0);
	assert_int_equal(buf_left(&b.in), 0);
}

static void broken_structure_is_refused(void **state)
{
	static const struct {
		const char *text;
		int status;
	} rows[] = {
		{ "", ERR_TRUNCATED },
		{ "e", ERR_MALFORMED },
		{ "x", ERR_MALFORMED },
		{ "i1", ERR_TRUNCATED },
		{ "ie", ERR_MALFORMED },
		{ "i-e", ERR_MALFORMED },
		{ "i-0e", ERR_MALFORMED },
		{ "i01e", ERR_MALFORMED },
		{ "i1x", ERR_MALFORMED },
		{ "i99999999999999999999e", ERR_LIMIT },
		{ "3:ab", ERR_TRUNCATED },
		{ "3", ERR_TRUNCATED },
		{ "3ab", ERR_MALFORMED },
		{ "99999999:", ERR_LIMIT },
		{ "l", ERR_TRUNCATED },
		{ "d", ERR_TRUNCATED },
		{ "di1e1:ae", ERR_MALFORMED }, /* a key that is no string */
		{ "d1:ae", ERR_MALFORMED },    /* a key without a value */
		{ "d1:a1:b1:ce", ERR_MALFORMED },
		{ "i-1e", 0 },
		{ "03:abc", 0 },
		{ "d1:b0:1:a0:e", 0 }, /* keys in any order */
		{ "i1etrailing", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		CHECK_STATUS(rows[i].status, read_all(rows[i].text, strlen(rows[i].text)));
}

static void nesting_is_limited(void **state)
{
	char deep[2 * BENCODE_DEPTH_MAX + 2];

	memset(deep, 'l', BENCODE_DEPTH_MAX + 1);
	memset(deep + BENCODE_DEPTH_MAX + 1, 'e', BENCODE_DEPTH_MAX + 1);
	CHECK_STATUS(ERR_LIMIT, read_all(deep, sizeof(deep)));
	CHECK_STATUS(0, read_all(deep + 1, sizeof(deep) - 2));
}

static void what_is_written_is_read_again(void **state)
{
	struct bencode_token t;
	struct bencode b;
	struct buf out;

	buf_init(&out, 64);
	buf_write_str(&out, "l");
	bencode_write_int(&out, INT64_MIN / 16);
	bencode_write_string(&out, "\0\1", 2);
	buf_write_str(&out, "e");
	bencode_init(&b, out.data, out.len);
	CHECK_STATUS(0, bencode_next(&b, &t));
	CHECK_STATUS(0, bencode_next(&b, &t));
	assert_true(t.n == INT64_MIN / 16);
	CHECK_STATUS(0, bencode_next(&b, &t));
	assert_int_equal(t.len, 2);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_each_type_are_read),
		cmocka_unit_test(broken_structure_is_refused),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(what_is_written_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
