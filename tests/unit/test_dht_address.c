/* Ids and addresses: distances, BEP 42's vectors, which addresses are whose. */
#include "tests/unit/test_util.h"

#include "discovery/dht/address.h"

static struct dht_address address(const char *text)
{
	struct dht_address a;

	CHECK_STATUS(0, dht_address_parse(text, strlen(text), &a));
	return a;
}

static void the_vectors_of_bep_42_hold(void **state)
{
	static const struct {
		const char *ip;
		uint8_t random, prefix[3];
	} rows[] = {
		{ "124.31.75.21:1", 1, { 0x5f, 0xbf, 0xbf } },
		{ "21.75.31.124:1", 86, { 0x5a, 0x3c, 0xe9 } },
		{ "65.23.51.170:1", 22, { 0xa5, 0xd4, 0x32 } },
		{ "84.124.73.14:1", 65, { 0x1b, 0x03, 0x21 } },
		{ "43.213.53.83:1", 90, { 0xe5, 0x6f, 0x6c } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct dht_address a = address(rows[i].ip);
		struct dht_id id = { { 0 } };

		id.bytes[19] = rows[i].random;
		assert_false(id_fits(&id, &a));
		id_bind(&id, &a);
		assert_memory_equal(id.bytes, rows[i].prefix, 2);
		assert_int_equal(id.bytes[2] & 0xf8, rows[i].prefix[2] & 0xf8);
		assert_true(id_fits(&id, &a));
		id.bytes[2] ^= 8; /* the last of the 21 bits */
		assert_false(id_fits(&id, &a));
	}
}

static void crc32c_matches_the_published_check_value(void **state)
{
	assert_true(crc32c((const uint8_t *)"123456789", 9) == 0xe3069283);
}

static void private_addresses_are_exempt(void **state)
{
	static const char *const private[] = { "10.1.2.3:1",	"172.16.0.1:1",	 "172.31.255.1:1",
					       "192.168.1.1:1", "169.254.1.1:1", "127.0.0.1:1",
					       "100.64.0.1:1",	"[fe80::1]:1",	 "[fc00::1]:1",
					       "[::1]:1" };
	static const char *const global[] = { "198.18.0.1:1", "172.32.0.1:1", "100.128.0.1:1",
					      "[2001:db8::1]:1" };
	struct dht_id id = { { 7 } }, before = id;

	for (size_t i = 0; i < ARRAY_SIZE(private); i++) {
		struct dht_address a = address(private[i]);

		assert_false(dht_address_is_global(&a));
		assert_true(id_fits(&id, &a));
		id_bind(&id, &a);
		assert_true(dht_id_eq(&id, &before));
	}
	for (size_t i = 0; i < ARRAY_SIZE(global); i++) {
		struct dht_address a = address(global[i]);

		assert_true(dht_address_is_global(&a));
		id_bind(&id, &a);
		assert_true(id_fits(&id, &a));
	}
}

static void packets_go_to_unicast_addresses_with_a_port(void **state)
{
	static const char *const no[] = { "1.2.3.4:0",	 "0.0.0.0:1",	      "0.1.2.3:1",
					  "224.0.0.1:1", "255.255.255.255:1", "[::]:1",
					  "[ff02::1]:1", "[::ffff:1.2.3.4]:1" };

	for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
		struct dht_address a = address(no[i]);

		assert_false(address_is_usable(&a));
	}
	assert_true(
		address_is_usable(&(struct dht_address){ .family = 4, .ip = { 1 }, .port = 1 }));
}

static void distance_is_by_xor(void **state)
{
	struct dht_id zero = { { 0 } }, a = { { 0x80 } }, b = { { 0x01 } }, c = { { 0 } };

	c.bytes[19] = 1;
	assert_true(id_compare(&zero, &b, &a) < 0);
	assert_true(id_compare(&a, &b, &a) > 0);
	assert_int_equal(id_common_bits(&zero, &a), 0);
	assert_int_equal(id_common_bits(&zero, &b), 7);
	assert_int_equal(id_common_bits(&zero, &c), 159);
	assert_int_equal(id_common_bits(&zero, &zero), 160);
	assert_true(id_log2_distance(&zero, &a) > 158.99 && id_log2_distance(&zero, &a) < 159.01);
	assert_true(id_log2_distance(&zero, &c) > -0.01 && id_log2_distance(&zero, &c) < 0.01);
	assert_true(id_log2_distance(&zero, &zero) < 0);
}

static void texts_and_compact_forms_come_back(void **state)
{
	static const char *const texts[] = { "1.2.3.4:5", "255.254.253.252:65535",
					     "[2001:db8::1]:80" };
	static const char *const bad[] = {
		"",	   ":",	     "1.2.3.4", "1.2.3.4:",  "1.2.3.4:70000",
		"1.2.3:5", "[::1:5", "x:1",	"1.2.3.4:-1"
	};
	uint8_t compact[DHT_COMPACT_MAX];
	char text[DHT_ADDRESS_TEXT_SIZE];
	struct dht_address b;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct dht_address a = address(texts[i]);
		size_t len = address_compact(&a, compact);

		assert_true(address_from_compact(compact, len, &b));
		assert_true(dht_address_eq(&a, &b));
		dht_address_format(&b, text);
		assert_string_equal(text, texts[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_STATUS(ERR_MALFORMED, dht_address_parse(bad[i], strlen(bad[i]), &b));
	assert_false(address_from_compact(compact, 7, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors_of_bep_42_hold),
		cmocka_unit_test(crc32c_matches_the_published_check_value),
		cmocka_unit_test(private_addresses_are_exempt),
		cmocka_unit_test(packets_go_to_unicast_addresses_with_a_port),
		cmocka_unit_test(distance_is_by_xor),
		cmocka_unit_test(texts_and_compact_forms_come_back),
	};

	if (base_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
