#include "daemon/portmap.h"
#include "tests/unit/test_util.h"

static int parse(const char *line, struct portmap_result *ret, char why[PORTMAP_WHY_MAX])
{
	*ret = (struct portmap_result){ .lease_s = 7 };
	return portmap_parse(line, strlen(line), ret, why);
}

static void a_mapping_is_read(void **state)
{
	struct portmap_result r;
	char why[PORTMAP_WHY_MAX], text[MULTIADDR_TEXT_SIZE];

	(void)state;
	CHECK_STATUS(0, parse("map NAT-PMP 203.0.113.9 4002 4003 1800", &r, why));
	multiaddr_format(&r.external, text);
	assert_string_equal(text, "/ip4/203.0.113.9/tcp/4002");
	assert_string_equal(r.protocol, "NAT-PMP");
	assert_int_equal(r.udp_port, 4003);
	assert_int_equal(r.lease_s, 1800);
	CHECK_STATUS(0, parse("map UPnP 203.0.113.9 4002 0 0", &r, why));
	assert_int_equal(r.lease_s, PORTMAP_LEASE_MAX_S);
}

static void promises_are_held_within_limits(void **state)
{
	struct portmap_result r;
	char why[PORTMAP_WHY_MAX];

	(void)state;
	CHECK_STATUS(0, parse("map UPnP 203.0.113.9 1 1 1", &r, why));
	assert_int_equal(r.lease_s, PORTMAP_LEASE_MIN_S);
	CHECK_STATUS(0, parse("map UPnP 203.0.113.9 1 1 4294967295", &r, why));
	assert_int_equal(r.lease_s, PORTMAP_LEASE_MAX_S);
}

static void nonsense_is_malformed(void **state)
{
	static const char *const bad[] = { "",
					   "map",
					   "map PCP 203.0.113.9 4002 4003 1800",
					   "map UPnP 203.0.113.9 0 4003 1800",
					   "map UPnP 203.0.113.9 65536 1 1800",
					   "map UPnP 203.0.113.9 1 65536 1800",
					   "map UPnP 203.0.113 1 1 1800",
					   "map UPnP 0.0.0.0 1 1 1800",
					   "map UPnP 127.0.0.1 1 1 1800",
					   "map UPnP 239.1.1.1 1 1 1800",
					   "map UPnP 203.0.113.9 1 1 1800 more",
					   "map UPnP 203.0.113.9 -1 1 1800",
					   "unmapped" };
	char why[PORTMAP_WHY_MAX], line[2 * PORTMAP_LINE_MAX] = "map UPnP 203.0.113.9 1 1 18";
	struct portmap_result r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_STATUS(ERR_MALFORMED, parse(bad[i], &r, why));
		assert_int_equal(r.lease_s, 7);
	}
	CHECK_STATUS(ERR_MALFORMED, portmap_parse(line, sizeof(line), &r, why));
	CHECK_STATUS(ERR_MALFORMED, portmap_parse(line, 28, &r, why)); /* a NUL inside */
}

static void a_failure_says_why_in_plain_characters(void **state)
{
	struct portmap_result r;
	char why[PORTMAP_WHY_MAX], line[PORTMAP_LINE_MAX];

	(void)state;
	CHECK_STATUS(ERR_REFUSED, parse("error no \"gateway\"\x1b[31m", &r, why));
	assert_string_equal(why, "no \"gateway\"?[31m");
	memset(line, 'x', sizeof(line));
	memcpy(line, "error ", 6);
	CHECK_STATUS(ERR_REFUSED, portmap_parse(line, sizeof(line) - 1, &r, why));
	assert_int_equal(strlen(why), PORTMAP_WHY_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mapping_is_read),
		cmocka_unit_test(promises_are_held_within_limits),
		cmocka_unit_test(nonsense_is_malformed),
		cmocka_unit_test(a_failure_says_why_in_plain_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
