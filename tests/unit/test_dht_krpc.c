/* KRPC messages: those of BEP 5 byte for byte, and those that are not quite right. */
#include "tests/unit/test_util.h"

#include "discovery/dht/krpc.h"

static int parse(const char *s, struct krpc_message *m)
{
	return krpc_parse((const uint8_t *)s, strlen(s), m);
}

/* The examples of BEP 5. */
static void the_examples_of_the_standard_are_read(void **state)
{
	struct krpc_message m;

	CHECK_STATUS(0, parse("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", &m));
	assert_int_equal(m.type, KRPC_QUERY);
	assert_int_equal(m.method, KRPC_PING);
	assert_memory_equal(m.tid.p, "aa", 2);
	assert_memory_equal(m.id.bytes, "abcdefghij0123456789", 20);
	CHECK_STATUS(0, parse("d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", &m));
	assert_int_equal(m.type, KRPC_REPLY);
	CHECK_STATUS(0, parse("d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee", &m));
	assert_int_equal(m.type, KRPC_ERROR);
	assert_int_equal(m.error, 201);
	CHECK_STATUS(0, parse("d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl"
			      "6:axje.u6:idhtnmee1:t2:aa1:y1:re",
			      &m));
	assert_int_equal(m.value_count, 2);
	assert_int_equal(m.values[0].port, '.' << 8 | 'u');
	CHECK_STATUS(0, parse("d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456"
			      "4:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
			      &m));
	assert_int_equal(m.method, KRPC_ANNOUNCE_PEER);
	assert_int_equal(m.port, 6881);
	assert_int_equal(m.token.len, 8);
}

static void extensions_are_read(void **state)
{
	struct krpc_message m;

	CHECK_STATUS(0, parse("d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456"
			      "4:wantl2:n62:n92:n4ee1:q9:find_node2:roi1e1:t2:aa1:y1:qe",
			      &m));
	assert_true(m.read_only);
	assert_int_equal(m.want, KRPC_WANT_N4 | KRPC_WANT_N6);
	CHECK_STATUS(
		0,
		parse("d2:ip6:abcdef1:rd2:id20:abcdefghij01234567891:vd1:xi1eee1:t1:x1:y1:re", &m));
	assert_int_equal(m.seen_as.family, 4);
	assert_memory_equal(m.value.p, "d1:xi1ee", 8);
	assert_int_equal(m.value.len, 8);
}

static void what_is_no_message_is_refused(void **state)
{
	static const char *const rows[] = {
		"",
		"de",
		"le",
		"i1e",
		"d1:y1:qe",
		"d1:q4:ping1:t2:aa1:y1:qe",			   /* no arguments */
		"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe", /* no method */
		"d1:rd2:id20:abcdefghij0123456789e1:y1:re",	   /* no transaction */
		"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:xe",
		"d1:t2:aa1:y1:ee",
		"d1:ade1:q4:ping1:t2:aa1:y1:q",
	};
	struct krpc_message m;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(parse(rows[i], &m) < 0);
}

static void fields_of_the_wrong_kind_count_as_absent(void **state)
{
	struct krpc_message m;

	CHECK_STATUS(
		0, parse("d1:ad2:id3:abc6:targeti7e4:port1:x5:token0:e1:q4:ping1:t0:1:y1:qe", &m));
	assert_false(m.has_id);
	assert_false(m.has_target);
	assert_false(m.has_port);
	CHECK_STATUS(0, parse("d1:ad4:porti70000e2:idlee1:q1:x1:t0:1:y1:qe", &m));
	assert_false(m.has_port);
	assert_int_equal(m.method, KRPC_UNKNOWN);
	CHECK_STATUS(0, parse("d2:ip3:abc1:rd5:nodes3:abc6:nodes626:abcdefghijklmnopqrstuvwxyz"
			      "6:valuesl1:x6:abcdefi1eee1:t0:1:y1:re",
			      &m));
	assert_null(m.nodes[0].p);
	assert_null(m.nodes[1].p);
	assert_int_equal(m.value_count, 1);
	assert_int_equal(m.seen_as.family, 0);
}

static void a_flood_of_values_is_cut(void **state)
{
	struct krpc_message m;
	struct buf out;

	buf_init(&out, 65536);
	buf_write_str(&out, "d1:rd2:id20:abcdefghij01234567896:valuesl");
	for (unsigned i = 0; i < 5000; i++)
		buf_write_str(&out, "6:abcdef");
	buf_write_str(&out, "ee1:t2:aa1:y1:re");
	CHECK_STATUS(0, krpc_parse(out.data, out.len, &m));
	assert_int_equal(m.value_count, KRPC_VALUES_MAX);
	buf_fini(&out);
}

static void queries_are_written_in_order_of_keys(void **state)
{
	struct dht_id id, target;
	struct krpc_query q = { .method = KRPC_ANNOUNCE_PEER,
				.tid = { 't', 'i', 'd', '4' },
				.id = &id,
				.target = &target,
				.port = 6881,
				.token = { (const uint8_t *)"tok", 3 },
				.read_only = true };
	static const char want[] =
		"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz1234564:porti6881e"
		"5:token3:toke1:q13:announce_peer2:roi1e1:t4:tid41:v4:PS\0\1"
		"1:y1:qe";
	struct buf out;

	memcpy(&id, "abcdefghij0123456789", 20);
	memcpy(&target, "mnopqrstuvwxyz123456", 20);
	buf_init(&out, 1024);
	krpc_write_query(&out, &q);
	assert_int_equal(out.len, sizeof(want) - 1);
	assert_memory_equal(out.data, want, out.len);
	buf_fini(&out);
}

static void replies_come_back_as_they_were_written(void **state)
{
	struct dht_id id = { { 1 } };
	struct dht_address to = { .family = 6, .ip = { 0x20, 1 }, .port = 9 };
	struct krpc_node nodes[2] = {
		{ { { 2 } }, { .family = 4, .ip = { 1, 2, 3, 4 }, .port = 5 } },
		{ { { 3 } }, { .family = 4, .ip = { 5, 6, 7, 8 }, .port = 7 } }
	};
	struct krpc_reply r = { .tid = { (const uint8_t *)"tt", 2 },
				.id = &id,
				.to = &to,
				.nodes = { nodes },
				.node_count = { 2 },
				.has_nodes = { true, true },
				.values = &nodes[1].addr,
				.value_count = 1 };
	struct krpc_message m;
	struct dht_address addr;
	struct dht_id got;
	struct buf out;

	buf_init(&out, 1024);
	krpc_write_reply(&out, &r);
	CHECK_STATUS(0, krpc_parse(out.data, out.len, &m));
	assert_true(dht_address_eq(&m.seen_as, &to));
	assert_true(krpc_next_node(&m.nodes[0], 0, &got, &addr));
	assert_true(krpc_next_node(&m.nodes[0], 0, &got, &addr));
	assert_true(dht_id_eq(&got, &nodes[1].id));
	assert_true(dht_address_eq(&addr, &nodes[1].addr));
	assert_false(krpc_next_node(&m.nodes[0], 0, &got, &addr));
	assert_true(dht_address_eq(&m.values[0], &nodes[1].addr));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_standard_are_read),
		cmocka_unit_test(extensions_are_read),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(fields_of_the_wrong_kind_count_as_absent),
		cmocka_unit_test(a_flood_of_values_is_cut),
		cmocka_unit_test(queries_are_written_in_order_of_keys),
		cmocka_unit_test(replies_come_back_as_they_were_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
