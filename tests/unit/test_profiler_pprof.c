#include "profiler_fixture.h"

#include <stdlib.h>

#include "profiler/pprof.h"
#include "profiler/symbols.h"

/* The encoding, read back by a little reader of the wire format (protobuf.dev/programming-guides/
 * encoding). The fields' meaning is profile.proto's. */

enum { FIELDS = 16, STRINGS_MAX = 256 };

WHOLE static void leaf_function(void)
{
	__asm__ volatile("" : : : "memory");
}

WHOLE static void caller_function(void)
{
	__asm__ volatile("nop" : : : "memory");
}

struct reader {
	const uint8_t *p, *end;
};

static uint64_t varint(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0;; shift += 7) {
		assert_true(r->p < r->end && shift < 64);
		v |= (uint64_t)(*r->p & 0x7f) << shift;
		if (!(*r->p++ & 0x80))
			return v;
	}
}

/* The next field: its number; a varint in *ret_value or bytes in *ret_bytes. 0 at the end. */
static unsigned field(struct reader *r, uint64_t *ret_value, struct reader *ret_bytes)
{
	uint64_t tag;

	if (r->p == r->end)
		return 0;
	tag = varint(r);
	*ret_value = varint(r);
	if ((tag & 7) == 2) {
		assert_true((uint64_t)(r->end - r->p) >= *ret_value);
		*ret_bytes = (struct reader){ r->p, r->p + *ret_value };
		r->p += *ret_value;
	} else {
		assert_int_equal(tag & 7, 0);
	}
	return (unsigned)(tag >> 3);
}

struct parsed {
	char *raw;
	size_t len;
	unsigned counts[FIELDS];
	struct reader strings[STRINGS_MAX];
	uint64_t period, duration;
};

static void parse(struct parsed *p, const struct buf *b)
{
	struct reader r, bytes;
	uint64_t value;
	unsigned n;

	*p = (struct parsed){ 0 };
	p->raw = fixture_inflate(b, &p->len);
	r = (struct reader){ (const uint8_t *)p->raw, (const uint8_t *)p->raw + p->len };
	while ((n = field(&r, &value, &bytes)) != 0) {
		assert_true(n < FIELDS);
		if (n == 6) {
			assert_true(p->counts[6] < STRINGS_MAX);
			p->strings[p->counts[6]] = bytes;
		}
		p->period = n == 12 ? value : p->period;
		p->duration = n == 10 ? value : p->duration;
		p->counts[n]++;
	}
}

/* The id (field 1) of the i-th message of a kind is i + 1. */
static void check_dense_ids(const struct parsed *p, unsigned kind)
{
	struct reader r = { (const uint8_t *)p->raw, (const uint8_t *)p->raw + p->len }, bytes,
		      inner;
	uint64_t value, expected = 1;
	unsigned n;

	while ((n = field(&r, &value, &bytes)) != 0)
		if (n == kind) {
			assert_int_equal(field(&bytes, &value, &inner), 1);
			assert_int_equal(value, expected);
			expected++;
		}
	assert_true(expected > 1);
}

static void check_strings_differ(const struct parsed *p)
{
	assert_int_equal(p->strings[0].end - p->strings[0].p, 0);
	for (unsigned i = 0; i < p->counts[6]; i++)
		for (unsigned k = 0; k < i; k++) {
			size_t n = (size_t)(p->strings[i].end - p->strings[i].p);

			assert_false(n == (size_t)(p->strings[k].end - p->strings[k].p) &&
				     memcmp(p->strings[i].p, p->strings[k].p, n) == 0);
		}
}

static void fill(struct stacks *s)
{
	uintptr_t a[] = { (uintptr_t)leaf_function + 1, (uintptr_t)caller_function + 1 };
	uintptr_t unknown[] = { 16, (uintptr_t)caller_function + 1 };

	stacks_init(s);
	stacks_add(s, a, 2, "sync.peer", "sync.discover", "main", 3);
	stacks_add(s, a, 2, "sync.peer", "sync.discover", "main", 4);
	stacks_add(s, a, 1, NULL, NULL, "pool", 1);
	stacks_add(s, unknown, 2, NULL, NULL, "", 2);
	s->lost[0] = 5;
}

static const struct pprof cpu = {
	.values = { { "samples", "count" }, { "cpu", "nanoseconds" } },
	.value_count = 2,
	.period_type = { "cpu", "nanoseconds" },
	.period = 10000000,
	.time_ns = 1800000000000000000,
	.duration_ns = 1000000000,
	.what_key = "category",
	.comments = { "peerscope 0" },
	.comment_count = 1,
};

static int encode(struct buf *out, const struct stacks *s)
{
	struct modules modules = { 0 };
	int rc = modules_add(&modules);

	buf_init(out, PPROF_MAX);
	if (rc == 0)
		rc = pprof_write(out, &cpu, s, &modules);
	modules_fini(&modules);
	return rc;
}

static void equal_stacks_are_one_sample(void **state)
{
	struct stacks s;

	fill(&s);
	assert_int_equal(s.count, 3);
	assert_int_equal(s.first->values[0], 7);
	stacks_fini(&s);
}

static void the_wire_form_keeps_the_rules_that_readers_insist_on(void **state)
{
	struct parsed p;
	struct stacks s;
	struct buf out;

	fill(&s);
	CHECK_STATUS(0, encode(&out, &s));
	parse(&p, &out);
	assert_int_equal(p.counts[1], 2);
	assert_int_equal(p.counts[2], 4); /* three stacks and what was lost */
	assert_int_equal(p.period, 10000000);
	assert_int_equal(p.duration, 1000000000);
	check_dense_ids(&p, 3);
	check_dense_ids(&p, 4);
	check_dense_ids(&p, 5);
	check_strings_differ(&p);
	for (unsigned n = 7; n < FIELDS; n++)
		assert_true(n == 13 || p.counts[n] <= 1);
	mem_free(p.raw);
	buf_fini(&out);
	stacks_fini(&s);
}

static void names_labels_and_losses_are_in_it(void **state)
{
	static const char *const names[] = { "leaf_function", "caller_function",
					     "sync.peer",     "sync.discover",
					     "category",      "profiler_lost_samples",
					     "[unknown]",     "peerscope 0" };
	struct stacks s;
	struct buf out;

	fill(&s);
	CHECK_STATUS(0, encode(&out, &s));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!fixture_has(&out, names[i]))
			fail_msg("no %s", names[i]);
	buf_fini(&out);
	stacks_fini(&s);
}

/* After one run the names are cached, so that the sweep meets this code's allocations only. */
static void encoding_survives_oom_at_every_allocation(void **state)
{
	struct stacks s;
	struct buf out;
	int rc;

	fill(&s);
	CHECK_STATUS(0, encode(&out, &s));
	buf_fini(&out);
	FAULT_SWEEP({
		rc = encode(&out, &s);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		buf_fini(&out);
	});
	stacks_fini(&s);
	symbols_forget();
}

static void counting_survives_oom_at_every_allocation(void **state)
{
	FAULT_SWEEP({
		struct stacks s;

		fill(&s);
		assert_true(mem_fault_hits() > 0 ? s.dropped > 0 : s.count == 3);
		stacks_fini(&s);
	});
}

static void a_full_table_counts_what_it_drops(void **state)
{
	struct stacks s;

	stacks_init(&s);
	for (uintptr_t pc = 1; pc <= STACKS_MAX + 10; pc++)
		stacks_add(&s, &pc, 1, NULL, NULL, "", 1);
	assert_int_equal(s.count, STACKS_MAX);
	assert_int_equal(s.dropped, 10);
	stacks_add(&s, &(uintptr_t){ 7 }, 1, NULL, NULL, "", 1);
	assert_int_equal(s.dropped, 10);
	stacks_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_stacks_are_one_sample),
		cmocka_unit_test(the_wire_form_keeps_the_rules_that_readers_insist_on),
		cmocka_unit_test(names_labels_and_losses_are_in_it),
		cmocka_unit_test(encoding_survives_oom_at_every_allocation),
		cmocka_unit_test(counting_survives_oom_at_every_allocation),
		cmocka_unit_test(a_full_table_counts_what_it_drops),
	};

	(void)fixture_setup;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
