/* DNS messages: what is written is read again; pointers, lengths and counts that lie are refused.
 */
#include "tests/unit/test_util.h"

#include "discovery/mdns/dns.h"

#define HEADER(qd, an) 0, 7, 0x84, 0, 0, (qd), 0, (an), 0, 0, 0, 0

static int check(const void *bytes, size_t len)
{
	return dns_check(bytes, len);
}

static struct buf write_sample(const struct dns_name *type, const struct dns_name *instance,
			       bool plain_srv)
{
	static const uint8_t srv[6] = { 0, 1, 0, 2, 0x0f, 0xa1 };
	struct dns_record ptr = {
		.name = type, .type = DNS_PTR, .ttl_s = 4500, .target = instance
	};
	struct dns_record service = { .name = instance,
				      .type = DNS_SRV,
				      .flush = true,
				      .ttl_s = 120,
				      .head = srv,
				      .head_len = 6,
				      .target = type };
	struct dns_writer w;
	struct buf out;

	buf_init(&out, DNS_SEND_MAX);
	dns_write_start(&w, &out, 0xabcd, DNS_RESPONSE, plain_srv);
	assert_true(dns_write_question(&w, type, DNS_PTR));
	assert_true(dns_write_record(&w, DNS_ANSWER, &ptr));
	assert_true(dns_write_record(&w, DNS_ADDITIONAL, &service));
	assert_int_equal(dns_written(&w), 3);
	assert_true(dns_write_end(&w, DNS_TRUNCATED));
	return out;
}

static void what_is_written_is_read_again(void **state)
{
	struct dns_name type = dns_name_of("_peerscope._tcp.local");
	struct dns_name instance = dns_name_below("Some One", &type);
	struct buf out = write_sample(&type, &instance, false);
	struct dns_walk w;
	struct dns_entry e;

	CHECK_STATUS(0, dns_walk_start(&w, out.data, out.len));
	assert_int_equal(w.id, 0xabcd);
	assert_int_equal(w.flags, DNS_RESPONSE | DNS_TRUNCATED);
	assert_int_equal(dns_walk_next(&w, &e), 1);
	assert_true(e.section == DNS_QUESTION && e.type == DNS_PTR && dns_name_eq(&e.name, &type));
	assert_int_equal(dns_walk_next(&w, &e), 1);
	assert_true(e.section == DNS_ANSWER && e.ttl_s == 4500 && !e.top_bit);
	assert_true(dns_name_eq(&e.target, &instance));
	assert_int_equal(dns_walk_next(&w, &e), 1);
	assert_true(e.section == DNS_ADDITIONAL && e.top_bit && e.class == DNS_CLASS_IN);
	assert_true(e.priority == 1 && e.weight == 2 && e.port == 4001);
	assert_true(dns_name_eq(&e.name, &instance) && dns_name_eq(&e.target, &type));
	assert_int_equal(dns_walk_next(&w, &e), 0);
	buf_fini(&out);
}

static void names_are_compressed_but_for_legacy_services(void **state)
{
	struct dns_name type = dns_name_of("_peerscope._tcp.local");
	struct dns_name instance = dns_name_below("one", &type);
	struct buf small = write_sample(&type, &instance, false);
	struct buf plain = write_sample(&type, &instance, true);

	/* header, question, pointer + record + label + pointer, pointer + record + srv + pointer */
	assert_int_equal(small.len, 12 + (23 + 4) + (2 + 10 + 4 + 2) + (2 + 10 + 6 + 2));
	assert_int_equal(plain.len, small.len - 2 + 23);
	buf_fini(&small);
	buf_fini(&plain);
}

/* RFC 1035 §4.1.4: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA and the root, at the places given there. */
static void the_example_of_the_standard_is_understood(void **state)
{
	static const char tail[] = "\1F\3ISI\4ARPA\0\0\1\0\1"
				   "\3FOO\xc0\x0c\0\1\0\1"
				   "\xc0\x12\0\1\0\1"
				   "\0\0\1\0\1";
	static const char *const names[] = { "f.isi.arpa", "foo.f.isi.arpa", "arpa" };
	uint8_t bytes[12 + sizeof(tail) - 1] = { HEADER(4, 0) };
	struct dns_walk w;
	struct dns_entry e;

	memcpy(bytes + 12, tail, sizeof(tail) - 1);
	CHECK_STATUS(0, dns_walk_start(&w, bytes, sizeof(bytes)));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct dns_name want = dns_name_of(names[i]);

		assert_int_equal(dns_walk_next(&w, &e), 1);
		assert_true(dns_name_eq(&e.name, &want));
	}
	assert_int_equal(dns_walk_next(&w, &e), 1);
	assert_int_equal(e.name.len, 1);
	assert_int_equal(dns_walk_next(&w, &e), 0);
}

static void a_message_cut_anywhere_is_refused(void **state)
{
	struct dns_name type = dns_name_of("_peerscope._tcp.local");
	struct dns_name instance = dns_name_below("one", &type);
	struct buf out = write_sample(&type, &instance, false);

	for (size_t len = 0; len < out.len; len++) {
		uint8_t *copy =
			test_malloc(len + 1); /* so that a reader beyond the end is caught */

		memcpy(copy, out.data, len);
		CHECK_STATUS(ERR_TRUNCATED, check(copy, len));
		test_free(copy);
	}
	CHECK_STATUS(0, check(out.data, out.len));
	buf_fini(&out);
}

static void pointers_lead_only_backwards(void **state)
{
	static const uint8_t to_itself[] = { HEADER(1, 0), 0xc0, 12, 0, 1, 0, 1 };
	static const uint8_t ahead[] = { HEADER(1, 0), 0xc0, 18, 0, 1, 0, 1, 0 };
	static const uint8_t into_header[] = { HEADER(1, 0), 0xc0, 0, 0, 1, 0, 1 };
	static const uint8_t circle[] = { HEADER(1, 0), 1, 'a', 0xc0, 12, 0, 1, 0, 1 };
	static const uint8_t cut[] = { HEADER(1, 0), 0xc0 };

	CHECK_STATUS(ERR_MALFORMED, check(to_itself, sizeof(to_itself)));
	CHECK_STATUS(ERR_MALFORMED, check(ahead, sizeof(ahead)));
	CHECK_STATUS(ERR_MALFORMED, check(into_header, sizeof(into_header)));
	CHECK_STATUS(ERR_MALFORMED, check(circle, sizeof(circle)));
	CHECK_STATUS(ERR_TRUNCATED, check(cut, sizeof(cut)));
}

static void a_chain_of_pointers_has_a_limit(void **state)
{
	/* Inside the data of a record: a root, then pointers, each to the one before. */
	for (unsigned hops = 60; hops < 70; hops++) {
		uint8_t bytes[512] = { HEADER(0, 2) };
		size_t at = 12 + 1 + 10, first = at;

		bytes[12 + 2] = 99; /* a type whose data is not looked at */
		bytes[12 + 4] = 1;
		bytes[12 + 10] = (uint8_t)(1 + 2 * (hops - 1));
		bytes[at++] = 0;
		for (unsigned i = 0; i < hops; i++, at += 2) {
			size_t to = i == 0 ? first : at - 2;

			bytes[at] = (uint8_t)(0xc0 | to >> 8);
			bytes[at + 1] = (uint8_t)to;
		}
		bytes[at + 3] = 1;
		CHECK_STATUS(hops <= DNS_POINTERS_MAX ? 0 : ERR_LIMIT, check(bytes, at + 10));
	}
}

static void a_name_that_grows_too_long_is_refused(void **state)
{
	/* Labels of 63, and a pointer back to as many of them as fill 255 bytes, or one more. */
	uint8_t bytes[12 + 64 * 3 + 1 + 4 + 64 + 2 + 4] = { HEADER(2, 0) };
	size_t at = 12;

	for (unsigned i = 0; i < 3; i++, at += 64)
		bytes[at] = 63;
	at += 1 + 4;
	for (unsigned last = 61; last <= 62; last++) {
		size_t p = at;

		bytes[p] = (uint8_t)last;
		p += 1 + last;
		bytes[p] = 0xc0;
		bytes[p + 1] = 12;
		CHECK_STATUS(last == 61 ? 0 : ERR_LIMIT, check(bytes, p + 2 + 4));
	}
}

static void lengths_must_fit_what_they_hold(void **state)
{
	static const uint8_t reserved[] = { HEADER(1, 0), 0x40, 'a', 0, 0, 1, 0, 1 };
	static const uint8_t short_a[] = { HEADER(0, 1), 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 3, 1, 2, 3 };
	static const uint8_t long_a[] = {
		HEADER(0, 1), 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 5, 1, 2, 3, 4, 5
	};
	static const uint8_t short_srv[] = {
		HEADER(0, 1), 0, 0, 33, 0, 1, 0, 0, 0, 1, 0, 5, 1, 2, 3, 4, 5
	};
	static const uint8_t ptr_beyond[] = { HEADER(0, 1), 0, 0, 12, 0, 1, 0, 0, 0, 1, 0, 1, 1,
					      'a',	    0 };
	static const uint8_t ptr_rest[] = { HEADER(0, 1), 0, 0, 12, 0, 1, 0, 0, 0, 1, 0, 2, 0, 0 };

	CHECK_STATUS(ERR_MALFORMED, check(reserved, sizeof(reserved)));
	CHECK_STATUS(ERR_MALFORMED, check(short_a, sizeof(short_a)));
	CHECK_STATUS(ERR_MALFORMED, check(long_a, sizeof(long_a)));
	CHECK_STATUS(ERR_TRUNCATED, check(short_srv, sizeof(short_srv)));
	CHECK_STATUS(ERR_TRUNCATED, check(ptr_beyond, sizeof(ptr_beyond)));
	CHECK_STATUS(ERR_MALFORMED, check(ptr_rest, sizeof(ptr_rest)));
}

static void a_message_of_too_many_entries_is_refused(void **state)
{
	uint8_t bytes[12] = { HEADER(0, 0) };

	bytes[4] = (DNS_ENTRIES_MAX + 1) >> 8;
	bytes[5] = (DNS_ENTRIES_MAX + 1) & 0xff;
	CHECK_STATUS(ERR_LIMIT, check(bytes, sizeof(bytes)));
	bytes[4] = DNS_ENTRIES_MAX >> 8;
	bytes[5] = 0;
	CHECK_STATUS(ERR_TRUNCATED, check(bytes, sizeof(bytes)));
}

static void a_full_message_takes_no_more(void **state)
{
	struct dns_name type = dns_name_of("_peerscope._tcp.local");
	struct dns_writer w;
	struct buf out;
	unsigned count = 0;

	buf_init(&out, DNS_SEND_MAX);
	dns_write_start(&w, &out, 0, 0, false);
	for (char label[8]; snprintf(label, sizeof(label), "n%u", count) > 0; count++) {
		struct dns_name n = dns_name_below(label, &type);

		if (!dns_write_question(&w, &n, DNS_SRV))
			break;
	}
	assert_in_range(count, 100, 200);
	assert_true(dns_write_end(&w, 0));
	assert_in_range(out.len, DNS_SEND_MAX - 64, DNS_SEND_MAX);
	CHECK_STATUS(0, check(out.data, out.len));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(names_are_compressed_but_for_legacy_services),
		cmocka_unit_test(the_example_of_the_standard_is_understood),
		cmocka_unit_test(a_message_cut_anywhere_is_refused),
		cmocka_unit_test(pointers_lead_only_backwards),
		cmocka_unit_test(a_chain_of_pointers_has_a_limit),
		cmocka_unit_test(a_name_that_grows_too_long_is_refused),
		cmocka_unit_test(lengths_must_fit_what_they_hold),
		cmocka_unit_test(a_message_of_too_many_entries_is_refused),
		cmocka_unit_test(a_full_message_takes_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
