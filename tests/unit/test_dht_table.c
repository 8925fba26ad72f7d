/* The routing table: who gets in, who goes, who is named. */
#include "tests/unit/test_util.h"

#include "discovery/dht/table.h"

enum { NOW = 1000000 };

/* The i-th of many, each with a public /24 of its own. */
static struct dht_address place(unsigned i)
{
	return (struct dht_address){ .family = 4,
				     .ip = { 20, (uint8_t)(i >> 8), (uint8_t)i, 1 },
				     .port = 1000 };
}

/* An id that shares `bits` bits with the all-zero one, with a tail of its own. */
static struct dht_id id_with(unsigned bits, unsigned tail)
{
	struct dht_id id = { { 0 } };

	id.bytes[bits / 8] = (uint8_t)(0x80 >> bits % 8);
	id.bytes[18] = (uint8_t)(tail >> 8);
	id.bytes[19] = (uint8_t)tail;
	return id;
}

static void add(struct table *t, unsigned bits, unsigned i)
{
	struct dht_id id = id_with(bits, i);
	struct dht_address a = place(i);

	table_answered(t, &id, &a, 10, NOW);
}

static bool all(const struct table_node *n, void *data)
{
	return true;
}

static void only_those_that_answered_are_in(void **state)
{
	struct dht_id self = { { 0 } }, id = id_with(3, 1);
	struct dht_address a = place(1);
	struct table t;

	table_init(&t, &self);
	table_heard(&t, &id, &a);
	assert_int_equal(t.count, 0);
	assert_int_equal(t.cache_count, 1);
	table_answered(&t, &id, &a, 10, NOW);
	assert_int_equal(t.count, 1);
	assert_int_equal(t.cache_count, 0);
	table_answered(&t, &self, &a, 10, NOW); /* another id at this address: gone */
	assert_int_equal(t.count, 0);
	table_fini(&t);
}

static void far_buckets_hold_more_and_only_our_own_is_split(void **state)
{
	struct dht_id self = { { 0 } };
	struct table t;

	table_init(&t, &self);
	for (unsigned i = 0; i < 300; i++)
		add(&t, i % 12, i);
	for (unsigned b = 0; b + 1 < t.depth; b++)
		assert_true(table_bucket_count(&t, b) <= table_bucket_limit(b));
	assert_int_equal(table_bucket_limit(0), 128);
	assert_int_equal(table_bucket_limit(9), DHT_K);
	assert_true(t.depth > 5);
	assert_true(t.cache_count > 0);
	table_fini(&t);
}

static void an_address_or_network_comes_once(void **state)
{
	struct dht_id self = { { 0 } }, id = id_with(1, 2);
	struct dht_address a = place(1);
	struct table t;

	table_init(&t, &self);
	add(&t, 1, 1);
	a.port = 2000; /* same IP */
	table_answered(&t, &id, &a, 10, NOW);
	assert_int_equal(t.count, 1);
	a.ip[3] = 9; /* same /24, same bucket */
	table_answered(&t, &id, &a, 10, NOW);
	assert_int_equal(t.count, 1);
	t.nodes[0].fails = 1; /* one that is silent gives way */
	table_answered(&t, &id, &a, 10, NOW);
	assert_int_equal(t.count, 1);
	assert_true(dht_id_eq(&t.nodes[0].id, &id));
	table_fini(&t);
}

static void many_nodes_may_share_a_loopback_address(void **state)
{
	struct dht_id self = { { 0 } };
	struct table t;

	table_init(&t, &self);
	for (unsigned i = 0; i < 20; i++) {
		struct dht_id id = id_with(1, i);
		struct dht_address a = { .family = 4,
					 .ip = { 127, 0, 0, 1 },
					 .port = (uint16_t)(1000 + i) };

		table_answered(&t, &id, &a, 10, NOW);
	}
	assert_int_equal(t.count, 20);
	table_fini(&t);
}

static void silent_nodes_are_dropped_and_not_named(void **state)
{
	struct dht_id self = { { 0 } };
	struct dht_address a = place(1);
	struct table t;

	table_init(&t, &self);
	add(&t, 1, 1);
	assert_true(table_is_fresh(&t.nodes[0], NOW + TABLE_GOOD_MS - 1));
	assert_false(table_is_fresh(&t.nodes[0], NOW + TABLE_GOOD_MS));
	table_failed(&t, &a);
	assert_false(table_is_fresh(&t.nodes[0], NOW));
	assert_true(table_is_good(&t.nodes[0], NOW));
	table_failed(&t, &a);
	assert_false(table_is_good(&t.nodes[0], NOW));
	table_failed(&t, &a);
	assert_int_equal(t.count, 0);
	table_fini(&t);
}

static void a_fitting_id_takes_the_place_of_one_that_does_not_fit(void **state)
{
	struct dht_id self = { { 0 } }, id;
	struct dht_address a = place(500);
	struct table t;

	table_init(&t, &self);
	t.depth = 2;
	for (unsigned i = 0; i < 128; i++)
		add(&t, 0, i);
	assert_int_equal(table_bucket_count(&t, 0), 128);
	do { /* one of its eight ids is in the far half */
		id = id_with(0, a.port++);
		id_bind(&id, &a);
		a.ip[2]++;
		id.bytes[19]++;
		id_bind(&id, &a);
	} while ((id.bytes[0] & 0x80) == 0);
	table_answered(&t, &id, &a, 10, NOW);
	assert_int_equal(table_fitting_count(&t), 1);
	assert_int_equal(table_bucket_count(&t, 0), 128);
	table_fini(&t);
}

static void the_nearest_come_first(void **state)
{
	struct dht_id self = { { 0 } }, target = id_with(4, 77);
	const struct table_node *near[5];
	struct table t;

	table_init(&t, &self);
	for (unsigned i = 0; i < 100; i++)
		add(&t, i % 6, i);
	assert_int_equal(table_closest(&t, &target, all, NULL, near, 5), 5);
	for (unsigned i = 1; i < 5; i++)
		assert_true(id_compare(&target, &near[i - 1]->id, &near[i]->id) < 0);
	assert_int_equal(near[0]->shared, 4);
	table_fini(&t);
}

static void chores_try_newcomers_then_the_longest_unheard(void **state)
{
	struct dht_id self = { { 0 } }, random = { { 1, 2, 3 } }, id = id_with(2, 9);
	struct dht_address a = place(9), old = place(1);
	struct table_chore chore;
	struct table t;

	table_init(&t, &self);
	add(&t, 1, 1);
	add(&t, 1, 2);
	table_find(&t, &old)->reply_ms = table_find(&t, &old)->asked_ms = NOW - 10;
	assert_false(table_next_chore(&t, &random, NOW + 1, &chore));
	table_heard(&t, &id, &a);
	assert_true(table_next_chore(&t, &random, NOW + 1, &chore));
	assert_true(dht_address_eq(&chore.addr, &a));
	assert_true(table_next_chore(&t, &random, NOW + 600000, &chore)); /* it, once more */
	table_failed(&t, &a);
	assert_int_equal(t.cache_count, 0);
	assert_true(table_next_chore(&t, &random, NOW + 600000, &chore));
	assert_true(dht_address_eq(&chore.addr, &old));
	table_fini(&t);
}

static void a_new_id_moves_everybody(void **state)
{
	struct dht_id self = { { 0 } }, other = { { 0xff } };
	struct table t;

	table_init(&t, &self);
	for (unsigned i = 0; i < 100; i++)
		add(&t, i % 8, i);
	table_rebase(&t, &other, NOW);
	for (size_t i = 0; i < t.count; i++)
		assert_int_equal(t.nodes[i].shared, id_common_bits(&other, &t.nodes[i].id));
	assert_true(t.count > 80);
	table_fini(&t);
}

static void the_size_of_the_network_is_estimated(void **state)
{
	struct dht_id self = { { 0 } };
	struct table t;
	double nodes;

	table_init(&t, &self);
	for (unsigned i = 0; i < 1024; i++) { /* evenly spread */
		struct dht_id id = { { (uint8_t)(i >> 2), (uint8_t)(i << 6 | 32) } };
		struct dht_address a = place(i);

		table_answered(&t, &id, &a, 10, NOW);
	}
	nodes = DHT_ID_SIZE * 8 - table_log2_radius(&t) + 3;
	assert_true(nodes > 9 && nodes < 11);
	table_fini(&t);
}

static void no_memory_means_no_entry(void **state)
{
	struct dht_id self = { { 0 } };
	struct table t;

	FAULT_SWEEP({
		table_init(&t, &self);
		for (unsigned i = 0; i < 40; i++) {
			struct dht_id id = id_with(1, i);
			struct dht_address a = place(i + 100);

			add(&t, i % 4, i);
			table_heard(&t, &id, &a);
		}
		assert_true(mem_fault_hits() > 0 || t.count == 40);
		table_fini(&t);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_those_that_answered_are_in),
		cmocka_unit_test(far_buckets_hold_more_and_only_our_own_is_split),
		cmocka_unit_test(an_address_or_network_comes_once),
		cmocka_unit_test(many_nodes_may_share_a_loopback_address),
		cmocka_unit_test(silent_nodes_are_dropped_and_not_named),
		cmocka_unit_test(a_fitting_id_takes_the_place_of_one_that_does_not_fit),
		cmocka_unit_test(the_nearest_come_first),
		cmocka_unit_test(chores_try_newcomers_then_the_longest_unheard),
		cmocka_unit_test(a_new_id_moves_everybody),
		cmocka_unit_test(the_size_of_the_network_is_estimated),
		cmocka_unit_test(no_memory_means_no_entry),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
