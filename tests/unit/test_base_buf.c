#include "tests/unit/test_util.h"

#include "base/buf.h"

/* Numbers are read big-endian; at every truncation nothing is consumed and the output stays. */
static void numbers_need_all_their_bytes(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	for (size_t len = 0; len <= sizeof(bytes); len++) {
		struct buf_reader r = buf_reader(bytes, len);
		uint8_t u8 = 0xee;
		uint16_t u16 = 0xeeee;
		uint32_t u32 = 0xeeeeeeee;
		uint64_t u64 = 0xeeeeeeee;

		CHECK_STATUS(len < 8 ? ERR_TRUNCATED : 0, buf_read_u64be(&r, &u64));
		assert_int_equal(u64, len < 8 ? 0xeeeeeeee : 0x0102030405060708);
		r = buf_reader(bytes, len);
		CHECK_STATUS(len < 4 ? ERR_TRUNCATED : 0, buf_read_u32be(&r, &u32));
		assert_int_equal(u32, len < 4 ? 0xeeeeeeee : 0x01020304);
		r = buf_reader(bytes, len);
		CHECK_STATUS(len < 2 ? ERR_TRUNCATED : 0, buf_read_u16be(&r, &u16));
		assert_int_equal(u16, len < 2 ? 0xeeee : 0x0102);
		assert_int_equal(buf_left(&r), len < 2 ? len : len - 2);
		r = buf_reader(bytes, len);
		CHECK_STATUS(len < 1 ? ERR_TRUNCATED : 0, buf_read_u8(&r, &u8));
		assert_int_equal(u8, len < 1 ? 0xee : 1);
	}
}

static void byte_strings_need_all_their_bytes(void **state)
{
	static const uint8_t bytes[] = "hello";
	struct buf_reader r = buf_reader(bytes, 5);
	const uint8_t *p = NULL;
	char copy[6] = "xxxxx";

	CHECK_STATUS(ERR_TRUNCATED, buf_read_bytes(&r, 6, &p));
	CHECK_STATUS(ERR_TRUNCATED, buf_read_bytes(&r, SIZE_MAX, &p));
	CHECK_STATUS(ERR_TRUNCATED, buf_read_copy(&r, copy, 6));
	assert_null(p);
	assert_string_equal(copy, "xxxxx");
	CHECK_STATUS(0, buf_read_bytes(&r, 2, &p));
	assert_ptr_equal(p, bytes);
	CHECK_STATUS(0, buf_read_copy(&r, copy, 3));
	assert_string_equal(copy, "lloxx");
	CHECK_STATUS(0, buf_read_bytes(&r, 0, &p));
	assert_int_equal(buf_left(&r), 0);
}

static void a_reader_of_nothing_is_empty(void **state)
{
	struct buf_reader r = buf_reader(NULL, 0);
	const uint8_t *p;
	uint64_t v;

	assert_int_equal(buf_left(&r), 0);
	CHECK_STATUS(0, buf_read_bytes(&r, 0, &p));
	CHECK_STATUS(ERR_TRUNCATED, buf_read_uvarint(&r, &v));
}

static const struct {
	uint64_t value;
	size_t len;
	uint8_t bytes[9];
} uvarints[] = {
	/* the table of multiformats/unsigned-varint */
	{ 1, 1, { 0x01 } },
	{ 127, 1, { 0x7f } },
	{ 128, 2, { 0x80, 0x01 } },
	{ 255, 2, { 0xff, 0x01 } },
	{ 300, 2, { 0xac, 0x02 } },
	{ 16384, 3, { 0x80, 0x80, 0x01 } },
	/* the ends */
	{ 0, 1, { 0x00 } },
	{ INT64_MAX, 9, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f } },
};

static void uvarints_match_published_vectors_at_every_truncation(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(uvarints); i++) {
		CLEANUP(buf_fini) struct buf b = { 0 };
		struct buf_reader r;
		uint64_t v = 77;

		for (size_t len = 0; len < uvarints[i].len; len++) {
			r = buf_reader(uvarints[i].bytes, len);
			CHECK_STATUS(ERR_TRUNCATED, buf_read_uvarint(&r, &v));
			assert_int_equal(buf_left(&r), len);
			assert_int_equal(v, 77);
		}
		r = buf_reader(uvarints[i].bytes, uvarints[i].len);
		CHECK_STATUS(0, buf_read_uvarint(&r, &v));
		assert_int_equal(buf_left(&r), 0);
		assert_true(v == uvarints[i].value);
		buf_init(&b, 9);
		buf_write_uvarint(&b, v);
		assert_int_equal(b.len, uvarints[i].len);
		assert_memory_equal(b.data, uvarints[i].bytes, b.len);
	}
}

static void uvarints_that_are_not_minimal_or_too_long_are_malformed(void **state)
{
	static const struct {
		size_t len;
		uint8_t bytes[10];
	} bad[] = {
		{ 2, { 0x80, 0x00 } },
		{ 2, { 0x81, 0x00 } },
		{ 3, { 0xff, 0x80, 0x00 } },
		{ 9, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80 } },
		{ 10, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct buf_reader r = buf_reader(bad[i].bytes, bad[i].len);
		uint64_t v = 77;

		CHECK_STATUS(ERR_MALFORMED, buf_read_uvarint(&r, &v));
		assert_int_equal(buf_left(&r), bad[i].len);
		assert_int_equal(v, 77);
	}
}

static void what_is_written_is_read_back(void **state)
{
	CLEANUP(buf_fini) struct buf b = { 0 };
	struct buf_reader r;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	buf_init(&b, 100);
	buf_write_u8(&b, 0x12);
	buf_write_u16be(&b, 0x1234);
	buf_write_u32be(&b, 0x12345678);
	buf_write_u64be(&b, 0x123456789abcdef0);
	buf_printf(&b, "%s=%d", "n", 5);
	CHECK_STATUS(0, buf_err(&b));
	r = buf_reader(b.data, b.len);
	CHECK_STATUS(0, buf_read_u8(&r, &u8));
	CHECK_STATUS(0, buf_read_u16be(&r, &u16));
	CHECK_STATUS(0, buf_read_u32be(&r, &u32));
	CHECK_STATUS(0, buf_read_u64be(&r, &u64));
	assert_true(u8 == 0x12 && u16 == 0x1234 && u32 == 0x12345678 && u64 == 0x123456789abcdef0);
	assert_string_equal((const char *)r.p, "n=5");
}

static void a_buffer_holds_its_limit_and_no_more(void **state)
{
	CLEANUP(buf_fini) struct buf b = { 0 };

	buf_init(&b, 5);
	buf_write(&b, "hello", 5);
	CHECK_STATUS(0, buf_err(&b));
	assert_string_equal((char *)b.data, "hello");
	buf_write_u8(&b, 'x');
	CHECK_STATUS(ERR_LIMIT, buf_err(&b));
	assert_null(buf_reserve(&b, 0));
	buf_clear(&b);
	CHECK_STATUS(0, buf_err(&b));
	buf_write_str(&b, "again");
	assert_string_equal((char *)b.data, "again");
	assert_null(buf_reserve(&b, SIZE_MAX));
	CHECK_STATUS(ERR_LIMIT, buf_err(&b));
}

static void errors_stick_and_nothing_half_done_is_taken(void **state)
{
	CLEANUP(buf_fini) struct buf b = { 0 };
	size_t len = 99;

	buf_init(&b, 4);
	buf_write_str(&b, "abc");
	buf_write_str(&b, "de");
	buf_write_str(&b, "f");
	CHECK_STATUS(ERR_LIMIT, buf_err(&b));
	assert_int_equal(b.len, 3);
	assert_null(buf_take(&b, &len));
	assert_int_equal(len, 0);
}

static void taking_hands_over_and_empties(void **state)
{
	struct buf b;
	uint8_t *p;
	size_t len;

	buf_init(&b, 100);
	assert_null(buf_take(&b, &len));
	buf_write_str(&b, "abc");
	p = buf_take(&b, &len);
	assert_int_equal(len, 3);
	assert_string_equal((char *)p, "abc");
	assert_int_equal(b.len, 0);
	buf_write_str(&b, "de");
	assert_string_equal((char *)b.data, "de");
	assert_string_equal((char *)p, "abc");
	mem_free(p);
	buf_fini(&b);
}

static void reserve_and_consume_keep_the_terminator(void **state)
{
	CLEANUP(buf_fini) struct buf b = { 0 };
	uint8_t *p;

	buf_init(&b, 1000);
	p = buf_reserve(&b, 500);
	memcpy(p, "abcdef", 6);
	buf_advance(&b, 6);
	assert_string_equal((char *)b.data, "abcdef");
	buf_consume(&b, 0);
	buf_consume(&b, 2);
	assert_string_equal((char *)b.data, "cdef");
	buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	assert_string_equal((char *)b.data, "");
}

static void writing_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		CLEANUP(buf_fini) struct buf b = { 0 };

		buf_init(&b, 10000);
		for (int i = 0; i < 1000; i++)
			buf_printf(&b, "%d ", i);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, buf_err(&b));
		if (mem_fault_hits() == 0)
			assert_int_equal(b.len, 3890);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_need_all_their_bytes),
		cmocka_unit_test(byte_strings_need_all_their_bytes),
		cmocka_unit_test(a_reader_of_nothing_is_empty),
		cmocka_unit_test(uvarints_match_published_vectors_at_every_truncation),
		cmocka_unit_test(uvarints_that_are_not_minimal_or_too_long_are_malformed),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(a_buffer_holds_its_limit_and_no_more),
		cmocka_unit_test(errors_stick_and_nothing_half_done_is_taken),
		cmocka_unit_test(taking_hands_over_and_empties),
		cmocka_unit_test(reserve_and_consume_keep_the_terminator),
		cmocka_unit_test(writing_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
