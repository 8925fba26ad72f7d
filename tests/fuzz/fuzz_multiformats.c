/* Texts of identities and addresses: whatever parses must come back the same from its own spelling.
 */
#include <string.h>
#include <sys/socket.h>

#include "base/multiformats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_keys(const char *s, size_t len)
{
	struct public_key key, again;
	struct hash hash, hash_again;
	char text[CID_TEXT_SIZE];

	if (cid_parse(s, len, &hash) == 0) {
		cid_format(&hash, text);
		REQUIRE(cid_parse(text, strlen(text), &hash_again) == 0 &&
			hash_eq(&hash, &hash_again));
	}
	if (space_parse(s, len, &key) == 0) {
		space_format(&key, text);
		REQUIRE(space_parse(text, strlen(text), &again) == 0 && key_eq(&key, &again));
	}
	if (peer_id_parse(s, len, &key) == 0) {
		peer_id_format(&key, text);
		REQUIRE(peer_id_parse(text, strlen(text), &again) == 0 && key_eq(&key, &again));
	}
}

static void check_address(const struct multiaddr *addr)
{
	char text[MULTIADDR_TEXT_SIZE];
	struct sockaddr_storage sa;
	struct multiaddr again;

	multiaddr_format(addr, text);
	REQUIRE(multiaddr_parse(text, strlen(text), &again) == 0 && multiaddr_eq(addr, &again));
	REQUIRE(addr->has_peer == again.has_peer && key_eq(&addr->peer, &again.peer));
	multiaddr_to_sockaddr(addr, &sa);
	REQUIRE(multiaddr_from_sockaddr((struct sockaddr *)&sa, &again) == 0 &&
		again.port == addr->port);
	REQUIRE(multiaddr_is_loopback(addr) == multiaddr_is_loopback(&again));
}

static void check_bases(const uint8_t *data, size_t size)
{
	char text[256];
	uint8_t bytes[160];
	size_t len;

	if (base58btc_encode(data, size, text, sizeof(text)) == 0) {
		REQUIRE(base58btc_decode(text, strlen(text), bytes, sizeof(bytes), &len) == 0);
		REQUIRE(len == size && memcmp(bytes, data, size) == 0);
	}
	if (size <= sizeof(bytes) && base32_encode(data, size, text, sizeof(text)) == 0) {
		REQUIRE(base32_decode(text, strlen(text), bytes, sizeof(bytes), &len) == 0);
		REQUIRE(len == size && memcmp(bytes, data, size) == 0);
	}
	if (base32_decode((const char *)data, size, bytes, sizeof(bytes), &len) == 0) {
		REQUIRE(base32_encode(bytes, len, text, sizeof(text)) < 0 ||
			(strlen(text) == size && memcmp(text, data, size) == 0));
	}
	if (base58btc_decode((const char *)data, size, bytes, sizeof(bytes), &len) == 0) {
		REQUIRE(base58btc_encode(bytes, len, text, sizeof(text)) < 0 ||
			(strlen(text) == size && memcmp(text, data, size) == 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t nothing[1];
	struct multiaddr addr;

	data = size == 0 ? nothing : data;
	check_bases(data, size);
	check_keys((const char *)data, size);
	if (multiaddr_parse((const char *)data, size, &addr) == 0)
		check_address(&addr);
	if (multiaddr_parse_hostport((const char *)data, size, &addr) == 0)
		check_address(&addr);
	return 0;
}
