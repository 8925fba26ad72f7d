/* DNS messages: reading ends within its limits, and what was read can be written and read again. */
#include <string.h>

#include "base/mem.h"
#include "discovery/mdns/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rewrite(const struct dns_entry *e)
{
	struct dns_record r = { .name = &e->name,
				.type = e->type,
				.flush = e->top_bit,
				.ttl_s = e->ttl_s,
				.head = e->data,
				.head_len = e->len };
	struct dns_writer w;
	struct dns_walk walk;
	struct dns_entry again;
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, DNS_SEND_MAX);
	if (e->target.len != 0) {
		r.head_len = e->type == DNS_SRV ? 6 : 0;
		r.target = &e->target;
	}
	dns_write_start(&w, &out, 1, DNS_RESPONSE, false);
	if (e->class != DNS_CLASS_IN || !dns_write_record(&w, DNS_ANSWER, &r))
		return;
	REQUIRE(dns_write_end(&w, 0));
	REQUIRE(dns_walk_start(&walk, out.data, out.len) == 0);
	REQUIRE(dns_walk_next(&walk, &again) == 1);
	REQUIRE(dns_name_eq(&again.name, &e->name) && dns_name_eq(&again.target, &e->target));
	REQUIRE(again.type == e->type && again.ttl_s == e->ttl_s && again.port == e->port);
	REQUIRE(r.target != NULL ||
		(again.len == e->len && memcmp(again.data, e->data, e->len) == 0));
	REQUIRE(dns_walk_next(&walk, &again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_walk w;
	struct dns_entry e;
	unsigned entries = 0;

	if (dns_walk_start(&w, data, size) < 0)
		return 0;
	while (dns_walk_next(&w, &e) > 0) {
		REQUIRE(++entries <= DNS_ENTRIES_MAX);
		REQUIRE(e.name.len >= 1 && e.name.bytes[e.name.len - 1] == 0);
		if (e.section != DNS_QUESTION)
			check_rewrite(&e);
	}
	return 0;
}
