/* Bencode from strangers: every token lies within the input, containers close, nothing recurses. */
#include "discovery/dht/bencode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bencode_token t;
	struct bencode b;
	int open = 0;

	bencode_init(&b, data, size);
	while (bencode_next(&b, &t) == 0) {
		REQUIRE(b.in.p <= b.in.end);
		if (t.type == BENCODE_STRING)
			REQUIRE(t.p >= data && t.len <= size && t.p + t.len <= data + size);
		if (t.type == BENCODE_LIST || t.type == BENCODE_DICT)
			open++;
		if (t.type == BENCODE_END)
			open--;
		REQUIRE(open >= 0 && open <= BENCODE_DEPTH_MAX);
	}
	return 0;
}
