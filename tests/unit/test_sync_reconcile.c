/* Negentropy v1: the reference's published check values, byte counts measured against it, and the
 * exact union on random pairs of sets. */
#include "tests/unit/test_util.h"

#include <sodium.h>
#include <stdlib.h>

#include "sync/reconcile.h"

/* ---- A workload that every implementation can make: splitmix64 from a seed ---- */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void make_item(uint64_t *state, uint64_t span, struct reconcile_item *ret)
{
	ret->time = 1677970534 + splitmix(state) % span;
	for (int i = 0; i < 4; i++) {
		uint64_t limb = splitmix(state);

		for (int j = 0; j < 8; j++)
			ret->id.bytes[8 * i + j] = (uint8_t)(limb >> 8 * j);
	}
}

struct pair {
	struct reconcile_item *items[2];
	size_t counts[2];
	struct reconcile_set sets[2];
};

enum { CLIENT, SERVER };

static void pair_seal(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		CHECK_STATUS(0, reconcile_set_init(&p->sets[i], p->items[i], p->counts[i]));
}

/* n items on both sides, except d: the client lacks the even ones, the server the odd ones. */
static void pair_scatter(struct pair *p, size_t n, size_t d)
{
	uint64_t state = 42, pick = 42 ^ 0xd1ffd1ffd1ffd1ffu;
	struct reconcile_item *all = mem_alloc_array(n, sizeof(*all));
	uint8_t *lacks = mem_alloc(n);

	for (size_t i = 0; i < n; i++)
		make_item(&state, n, &all[i]);
	for (size_t k = 0; k < d; k++) {
		size_t j;

		do {
			j = splitmix(&pick) % n;
		} while (lacks[j] != 0);
		lacks[j] = k % 2 == 0 ? 1 << CLIENT : 1 << SERVER;
	}
	for (int side = 0; side < 2; side++) {
		p->items[side] = mem_alloc_array(n, sizeof(*all));
		p->counts[side] = 0;
		for (size_t i = 0; i < n; i++) {
			if ((lacks[i] & 1 << side) == 0)
				p->items[side][p->counts[side]++] = all[i];
		}
	}
	mem_free(all);
	mem_free(lacks);
	pair_seal(p);
}

static void pair_fini(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		reconcile_set_fini(&p->sets[i]);
		mem_free(p->items[i]);
	}
}

/* ---- A session between the two sides ---- */

struct learned {
	struct hash *ids;
	size_t count, cap;
};

struct session {
	struct learned have, need;
	size_t bytes, rounds;
	int status;
};

static bool learn(struct learned *l, const struct hash *id)
{
	if (l->count == l->cap) {
		l->cap = l->cap * 2 + 64;
		l->ids = mem_realloc(l->ids, l->cap * sizeof(*l->ids));
	}
	l->ids[l->count++] = *id;
	return true;
}

static bool on_have(void *data, const struct reconcile_item *item)
{
	return learn(&((struct session *)data)->have, &item->id);
}

static bool on_need(void *data, const struct hash *id)
{
	return learn(&((struct session *)data)->need, id);
}

static int id_order(const void *a, const void *b)
{
	return hash_cmp(a, b);
}

static void learned_sort(struct learned *l)
{
	size_t kept = 0;

	if (l->count == 0)
		return;
	qsort(l->ids, l->count, sizeof(*l->ids), id_order);
	for (size_t i = 0; i < l->count; i++) {
		if (kept == 0 || !hash_eq(&l->ids[kept - 1], &l->ids[i]))
			l->ids[kept++] = l->ids[i];
	}
	l->count = kept;
}

static void session_run(struct session *s, const struct pair *p, size_t frame_limit,
			enum reconcile_policy policy)
{
	struct reconcile client, server;
	struct reconcile_sink sink = { on_have, on_need, s };
	struct buf up, down;
	bool done = false;

	memset(s, 0, sizeof(*s));
	buf_init(&up, 256 << 20);
	buf_init(&down, 256 << 20);
	CHECK_STATUS(0, reconcile_init(&client, &p->sets[CLIENT], frame_limit, policy));
	CHECK_STATUS(0,
		     reconcile_init(&server, &p->sets[SERVER], frame_limit, RECONCILE_REFERENCE));
	CHECK_STATUS(0, reconcile_initiate(&client, &up));
	while (!done && s->status == 0) {
		buf_clear(&down);
		CHECK_STATUS(0, reconcile_respond(&server, up.data, up.len, &down));
		s->rounds++;
		s->bytes += up.len + down.len;
		buf_clear(&up);
		s->status = reconcile_continue(&client, down.data, down.len, &sink, &up, &done);
	}
	buf_fini(&up);
	buf_fini(&down);
	learned_sort(&s->have);
	learned_sort(&s->need);
}

static void session_fini(struct session *s)
{
	mem_free(s->have.ids);
	mem_free(s->need.ids);
}

/* What the session should have learned, by plain comparison. */
static size_t count_missing(const struct reconcile_set *in, const struct reconcile_set *from,
			    const struct learned *learned)
{
	size_t missing = 0, j = 0;

	for (size_t i = 0; i < from->count; i++) {
		while (j < in->count && (in->items[j].time < from->items[i].time ||
					 (in->items[j].time == from->items[i].time &&
					  hash_cmp(&in->items[j].id, &from->items[i].id) < 0)))
			j++;
		if (j < in->count && hash_eq(&in->items[j].id, &from->items[i].id))
			continue;
		missing++;
		assert_non_null(bsearch(&from->items[i].id, learned->ids, learned->count, HASH_SIZE,
					id_order));
	}
	return missing;
}

static void assert_exact_union(const struct session *s, const struct pair *p)
{
	CHECK_STATUS(0, s->status);
	assert_int_equal(s->need.count,
			 count_missing(&p->sets[CLIENT], &p->sets[SERVER], &s->need));
	assert_int_equal(s->have.count,
			 count_missing(&p->sets[SERVER], &p->sets[CLIENT], &s->have));
}

static void from_hex(const char *hex, uint8_t *ret, size_t size)
{
	size_t len;

	assert_int_equal(sodium_hex2bin(ret, size, hex, strlen(hex), NULL, &len, NULL), 0);
	assert_int_equal(len, size);
}

static void assert_fingerprint(const struct reconcile_set *set, const char *hex)
{
	uint8_t expected[RECONCILE_FINGERPRINT_SIZE], got[RECONCILE_FINGERPRINT_SIZE];

	from_hex(hex, expected, sizeof(expected));
	reconcile_fingerprint(set, 0, set->count, got);
	assert_memory_equal(expected, got, sizeof(got));
}

/* ---- Tests ---- */

static void fingerprints_equal_the_reference_on_its_workload(void **state)
{
	struct pair p;

	pair_scatter(&p, 100000, 1000);
	assert_fingerprint(&p.sets[CLIENT], "5c37d177e552bbef77428f369201985f");
	assert_fingerprint(&p.sets[SERVER], "fad9196581d6eabaec7bb9b257234660");
	pair_fini(&p);
	pair_scatter(&p, 1000000, 1000);
	assert_fingerprint(&p.sets[CLIENT], "9b3d0a2ed97bfca4a66ee87b8b398709");
	assert_fingerprint(&p.sets[SERVER], "b1570299ad523dca23c2f92c2c7cc162");
	pair_fini(&p);
}

struct measured {
	size_t n, d, frame_limit;
	enum reconcile_policy policy;
	size_t bytes, rounds;
};

static void bytes_and_rounds_equal_the_reference(void **state)
{
	static const struct measured rows[] = {
		{ 1000000, 0, 0, RECONCILE_REFERENCE, 341, 1 },
		{ 1000000, 1, 0, RECONCILE_REFERENCE, 2346, 3 },
		{ 1000000, 10, 0, RECONCILE_REFERENCE, 19492, 3 },
		{ 1000000, 1000, 0, RECONCILE_REFERENCE, 1360236, 3 },
		{ 1000000, 10000, 0, RECONCILE_REFERENCE, 10441590, 3 },
		{ 1000000, 1000, 65536, RECONCILE_REFERENCE, 1253454, 14 },
		{ 100000, 1000, 0, RECONCILE_REFERENCE, 781458, 2 },
		{ 10000, 1, 0, RECONCILE_REFERENCE, 1106, 2 },
		{ 100, 1, 0, RECONCILE_REFERENCE, 551, 1 },
		{ 1000000, 0, 0, RECONCILE_FRUGAL, 21, 1 },
		{ 1000000, 1, 0, RECONCILE_FRUGAL, 1899, 3 },
		{ 1000000, 10, 0, RECONCILE_FRUGAL, 14490, 3 },
		{ 20, 0, 0, RECONCILE_FRUGAL, 21, 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pair p;
		struct session s;

		pair_scatter(&p, rows[i].n, rows[i].d);
		session_run(&s, &p, rows[i].frame_limit, rows[i].policy);
		print_message("# n=%zu d=%zu frame=%zu policy=%d: %zu bytes, %zu rounds\n",
			      rows[i].n, rows[i].d, rows[i].frame_limit, rows[i].policy, s.bytes,
			      s.rounds);
		assert_exact_union(&s, &p);
		assert_int_equal(s.bytes, rows[i].bytes);
		assert_int_equal(s.rounds, rows[i].rounds);
		session_fini(&s);
		pair_fini(&p);
	}
}

/* Each item goes to the client, the server or both; a crowded clock makes equal times common. */
static void pair_random(struct pair *p, uint64_t *rng)
{
	size_t n = splitmix(rng) % 400;
	uint64_t span = splitmix(rng) % 3 == 0 ? 4 : 1000;
	unsigned both_of_8 = (unsigned)(splitmix(rng) % 9);

	for (int side = 0; side < 2; side++) {
		p->items[side] = mem_alloc_array(n, sizeof(struct reconcile_item));
		p->counts[side] = 0;
	}
	for (size_t i = 0; i < n; i++) {
		struct reconcile_item item;
		bool both = splitmix(rng) % 8 < both_of_8;
		int side = (int)(splitmix(rng) % 2);

		make_item(rng, span, &item);
		if (both || side == CLIENT)
			p->items[CLIENT][p->counts[CLIENT]++] = item;
		if (both || side == SERVER)
			p->items[SERVER][p->counts[SERVER]++] = item;
	}
	pair_seal(p);
}

static void random_pairs_reach_the_exact_union(void **state)
{
	uint64_t rng = 1;

	for (int i = 0; i < 4000; i++) {
		struct pair p;
		struct session s;

		pair_random(&p, &rng);
		session_run(&s, &p, i % 3 == 0 ? RECONCILE_FRAME_MIN : 0,
			    i % 2 == 0 ? RECONCILE_FRUGAL : RECONCILE_REFERENCE);
		assert_exact_union(&s, &p);
		session_fini(&s);
		pair_fini(&p);
	}
}

/* A session that ends at "one range left" loses differences in the first bucket of the set. */
static void a_single_missing_item_is_found_at_every_position(void **state)
{
	static const size_t sizes[] = { 1, 2, 31, 32, 33, 200, 512, 1000 };

	for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
		for (size_t lost = 0; lost < sizes[k]; lost++) {
			struct pair p;
			struct session s;

			pair_scatter(&p, sizes[k], 0);
			reconcile_set_fini(&p.sets[CLIENT]);
			p.items[CLIENT][lost] = p.items[CLIENT][--p.counts[CLIENT]];
			CHECK_STATUS(0, reconcile_set_init(&p.sets[CLIENT], p.items[CLIENT],
							   p.counts[CLIENT]));
			session_run(&s, &p, 0,
				    lost % 2 == 0 ? RECONCILE_FRUGAL : RECONCILE_REFERENCE);
			assert_exact_union(&s, &p);
			assert_int_equal(s.need.count, 1);
			session_fini(&s);
			pair_fini(&p);
		}
	}
}

static void counts_are_part_of_the_fingerprint(void **state)
{
	struct reconcile_item items[1] = {
		{ .time = 1 }
	}; /* the all-zero id adds nothing to the sum */
	struct reconcile_set set;
	uint8_t empty[RECONCILE_FINGERPRINT_SIZE], one[RECONCILE_FINGERPRINT_SIZE];

	CHECK_STATUS(0, reconcile_set_init(&set, items, 1));
	reconcile_fingerprint(&set, 0, 0, empty);
	reconcile_fingerprint(&set, 0, 1, one);
	assert_memory_not_equal(empty, one, sizeof(one));
	reconcile_set_fini(&set);
}

static void assert_answer(const char *question_hex, const char *answer_hex)
{
	struct reconcile_item items[1] = { { .time = 5, .id = { .bytes = { 7 } } } };
	struct reconcile_set set;
	struct reconcile r;
	uint8_t question[64], answer[64];
	struct buf out;

	from_hex(question_hex, question, strlen(question_hex) / 2);
	from_hex(answer_hex, answer, strlen(answer_hex) / 2);
	CHECK_STATUS(0, reconcile_set_init(&set, items, 1));
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_REFERENCE));
	buf_init(&out, 4096);
	CHECK_STATUS(0, reconcile_respond(&r, question, strlen(question_hex) / 2, &out));
	assert_int_equal(out.len, strlen(answer_hex) / 2);
	assert_memory_equal(out.data, answer, out.len);
	buf_fini(&out);
	reconcile_set_fini(&set);
}

static void another_version_is_answered_with_ours(void **state)
{
	assert_answer("62aabbccddeeff", "61");
	assert_answer("6100000200",
		      "610000020107000000000000000000000000000000000000000000000000000000"
		      "00000000");
}

static int respond(const void *msg, size_t len)
{
	struct reconcile_item items[2] = { { .time = 5 }, { .time = 9 } };
	struct reconcile_set set;
	struct reconcile r;
	struct buf out;
	int status;

	CHECK_STATUS(0, reconcile_set_init(&set, items, 2));
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_REFERENCE));
	buf_init(&out, 1 << 20);
	status = reconcile_respond(&r, msg, len, &out);
	buf_fini(&out);
	reconcile_set_fini(&set);
	return status;
}

static void malformed_messages_are_refused(void **state)
{
	static const struct {
		const char *hex, *why;
	} rows[] = {
		{ "", "no version" },
		{ "51", "not a version" },
		{ "6100", "bound without prefix" },
		{ "61002100", "prefix longer than an id" },
		{ "610003", "prefix missing" },
		{ "61000003", "unknown mode" },
		{ "6100000101", "fingerprint cut short" },
		{ "6100000202aa", "list longer than the message" },
		{ "61000002ffffffffffffffff7f", "list count beyond any message" },
		{ "61ffffffffffffffffffff0000", "number of more than 64 bits" },
		{ "6105010a0001010500", "same time, smaller prefix: runs backwards" },
	};
	static const char *const fine[] = {
		"6105010a0001010b00", /* same time, larger prefix */
		"61000000050000",     /* after infinity every bound saturates to infinity */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t msg[64];
		size_t len = strlen(rows[i].hex) / 2;

		from_hex(rows[i].hex, msg, len);
		CHECK_STATUS(ERR_MALFORMED, respond(msg, len));
	}
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++) {
		uint8_t msg[64];

		from_hex(fine[i], msg, strlen(fine[i]) / 2);
		CHECK_STATUS(0, respond(msg, strlen(fine[i]) / 2));
	}
}

static void a_peer_that_never_ends_is_stopped(void **state)
{
	static const uint8_t mismatch[20] = { RECONCILE_VERSION, 0, 0, 1, 0xee };
	struct reconcile_item items[40];
	struct reconcile_set set;
	struct session s = { 0 };
	struct reconcile_sink sink = { on_have, on_need, &s };
	struct reconcile r;
	struct buf out;
	uint64_t rng = 3;
	bool done = false;
	int rounds = 0, status = 0;

	for (size_t i = 0; i < ARRAY_SIZE(items); i++)
		make_item(&rng, 100, &items[i]);
	CHECK_STATUS(0, reconcile_set_init(&set, items, ARRAY_SIZE(items)));
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_FRUGAL));
	buf_init(&out, 1 << 20);
	CHECK_STATUS(0, reconcile_initiate(&r, &out));
	for (; status == 0 && rounds < 10000; rounds++) {
		buf_clear(&out);
		status = reconcile_continue(&r, mismatch, sizeof(mismatch), &sink, &out, &done);
	}
	CHECK_STATUS(ERR_NO_PROGRESS, status);
	assert_true(rounds <= RECONCILE_STALLED_MAX + 1);
	buf_fini(&out);
	reconcile_set_fini(&set);
}

static void duplicates_in_a_set_are_refused(void **state)
{
	struct reconcile_item items[2] = { { .time = 5 }, { .time = 5 } };
	struct reconcile_set set;

	CHECK_STATUS(ERR_MALFORMED, reconcile_set_init(&set, items, 2));
}

static void a_list_that_repeats_ids_teaches_each_once(void **state)
{
	struct reconcile_item items[1] = { { .time = 5 } };
	uint8_t msg[5 + 3 * HASH_SIZE] = { RECONCILE_VERSION, 0, 0, 2, 3 };
	struct reconcile_set set;
	struct session s = { 0 };
	struct reconcile_sink sink = { on_have, on_need, &s };
	struct reconcile r;
	struct buf out;
	bool done = false;

	msg[5] = msg[5 + 2 * HASH_SIZE] = 9;
	CHECK_STATUS(0, reconcile_set_init(&set, items, 1));
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_REFERENCE));
	buf_init(&out, 1 << 20);
	CHECK_STATUS(0, reconcile_initiate(&r, &out));
	CHECK_STATUS(0, reconcile_continue(&r, msg, sizeof(msg), &sink, &out, &done));
	assert_true(done);
	assert_int_equal(s.need.count, 1);
	assert_int_equal(s.have.count, 0);
	session_fini(&s);
	buf_fini(&out);
	reconcile_set_fini(&set);
}

/* Lists are in the order of time: what depends on what comes after it, as a rule. */
static void needs_are_told_in_the_order_of_the_list(void **state)
{
	struct reconcile_item items[1] = { { .time = 5 } };
	uint8_t msg[5 + 4 * HASH_SIZE] = { RECONCILE_VERSION, 0, 0, 2, 4 };
	struct reconcile_set set;
	struct session s = { 0 };
	struct reconcile_sink sink = { on_have, on_need, &s };
	struct reconcile r;
	struct buf out;
	bool done = false;

	msg[5] = 9;
	msg[5 + 2 * HASH_SIZE] = 200; /* the second is the one that both have */
	msg[5 + 3 * HASH_SIZE] = 3;
	CHECK_STATUS(0, reconcile_set_init(&set, items, 1));
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_REFERENCE));
	buf_init(&out, 1 << 20);
	CHECK_STATUS(0, reconcile_initiate(&r, &out));
	CHECK_STATUS(0, reconcile_continue(&r, msg, sizeof(msg), &sink, &out, &done));
	assert_int_equal(s.need.count, 3);
	assert_int_equal(s.need.ids[0].bytes[0], 9);
	assert_int_equal(s.need.ids[1].bytes[0], 200);
	assert_int_equal(s.need.ids[2].bytes[0], 3);
	session_fini(&s);
	buf_fini(&out);
	reconcile_set_fini(&set);
}

static bool ignore_have(void *data, const struct reconcile_item *item)
{
	return true;
}

static bool ignore_need(void *data, const struct hash *id)
{
	return true;
}

/* One list from the other side against a set of two; 0 or the first failure. */
static int try_session(void)
{
	static const uint8_t msg[5 + HASH_SIZE] = { RECONCILE_VERSION, 0, 0, 2, 1, 9 };
	struct reconcile_item items[2] = { { .time = 1 }, { .time = 2 } };
	struct reconcile_sink sink = { ignore_have, ignore_need, NULL };
	struct reconcile_set set;
	struct reconcile r;
	struct buf out;
	bool done;
	int status = reconcile_set_init(&set, items, 2);

	if (status < 0)
		return status;
	buf_init(&out, 1 << 20);
	CHECK_STATUS(0, reconcile_init(&r, &set, 0, RECONCILE_REFERENCE));
	status = reconcile_initiate(&r, &out);
	if (status == 0)
		status = reconcile_continue(&r, msg, sizeof(msg), &sink, &out, &done);
	buf_fini(&out);
	reconcile_set_fini(&set);
	return status;
}

static void no_memory_is_reported_and_leaks_nothing(void **state)
{
	FAULT_SWEEP({
		int status = try_session();

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, status);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fingerprints_equal_the_reference_on_its_workload),
		cmocka_unit_test(bytes_and_rounds_equal_the_reference),
		cmocka_unit_test(random_pairs_reach_the_exact_union),
		cmocka_unit_test(a_single_missing_item_is_found_at_every_position),
		cmocka_unit_test(counts_are_part_of_the_fingerprint),
		cmocka_unit_test(another_version_is_answered_with_ours),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(a_peer_that_never_ends_is_stopped),
		cmocka_unit_test(duplicates_in_a_set_are_refused),
		cmocka_unit_test(a_list_that_repeats_ids_teaches_each_once),
		cmocka_unit_test(needs_are_told_in_the_order_of_the_list),
		cmocka_unit_test(no_memory_is_reported_and_leaks_nothing),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
