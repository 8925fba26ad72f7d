#include "test_util.h"

#include <sys/param.h>

#include "profiler/pprof.h"

/* The words of gperftools' CPU profile, and what its readers expect around them. */

enum { HEAD = 5, TAIL = 3, RECORD = 2, SENTINELS = 2 };

static uint64_t word(const struct buf *b, size_t i)
{
	uint64_t v;

	assert_true((i + 1) * sizeof(v) <= b->len);
	memcpy(&v, b->data + i * sizeof(v), sizeof(v));
	return v;
}

static void write_two(struct buf *out, struct stacks *s)
{
	static const uintptr_t deep[] = { 0x1000, 0x2000, 0x3000 }, leaf[] = { 0x4000 };

	buf_init(out, 1 << 20);
	stacks_init(s);
	stacks_add(s, deep, ARRAY_SIZE(deep), "sync.peer", NULL, "t", 7);
	stacks_add(s, leaf, ARRAY_SIZE(leaf), NULL, NULL, "t", 2);
	CHECK_STATUS(0, gperftools_write(out, s, 10000000));
}

static void a_profile_has_header_records_and_trailer(void **state)
{
	static const uint64_t head[HEAD] = { 0, 3, 0, 10000, 0 }, tail[TAIL] = { 0, 1, 0 };
	struct stacks s;
	struct buf out;
	size_t at = HEAD;

	write_two(&out, &s);
	for (size_t i = 0; i < HEAD; i++)
		assert_int_equal(word(&out, i), head[i]);
	assert_int_equal(word(&out, at), 7);
	assert_int_equal(word(&out, at + 1), 3 + SENTINELS);
	assert_int_equal(word(&out, at + 2), 0x1000); /* the leaf as it was interrupted */
	assert_int_equal(word(&out, at + 5), 0x2001); /* callers as return addresses */
	assert_int_equal(word(&out, at + 6), 0x3001);
	at += RECORD + 3 + SENTINELS;
	assert_int_equal(word(&out, at), 2);
	assert_int_equal(word(&out, at + 1), 1 + SENTINELS);
	at += RECORD + 1 + SENTINELS;
	for (size_t i = 0; i < TAIL; i++)
		assert_int_equal(word(&out, at + i), tail[i]);
	at = (at + TAIL) * sizeof(uint64_t);
	assert_non_null(memmem(out.data + at, out.len - at, " r-xp ", 6));
	buf_fini(&out);
	stacks_fini(&s);
}

/* Readers delete a second frame that all stacks share, twice: these two are there for them. */
static void behind_each_leaf_are_two_frames_that_are_always_the_same(void **state)
{
	size_t first = HEAD + RECORD + 1, second = HEAD + RECORD + 3 + SENTINELS + RECORD + 1;
	struct stacks s;
	struct buf out;

	write_two(&out, &s);
	assert_int_equal(word(&out, first), word(&out, second));
	assert_int_equal(word(&out, first + 1), word(&out, second + 1));
	assert_true(word(&out, first) != word(&out, first + 1));
	buf_fini(&out);
	stacks_fini(&s);
}

static void it_survives_oom_at_every_allocation(void **state)
{
	static const uintptr_t pcs[] = { 0x1000 };

	FAULT_SWEEP({
		struct stacks s;
		struct buf out;
		int rc;

		buf_init(&out, 1 << 20);
		stacks_init(&s);
		stacks_add(&s, pcs, 1, NULL, NULL, "", 1);
		rc = gperftools_write(&out, &s, 10000000);
		assert_true(rc == 0 || rc == UV_ENOMEM);
		buf_fini(&out);
		stacks_fini(&s);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_profile_has_header_records_and_trailer),
		cmocka_unit_test(behind_each_leaf_are_two_frames_that_are_always_the_same),
		cmocka_unit_test(it_survives_oom_at_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
