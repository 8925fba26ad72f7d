#include "tests/unit/test_util.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sodium.h>
#include <string.h>

#include "base/multiformats.h"

#define PEER_A	   "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define PEER_A_KEY "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
#define PEER_B	   "12D3KooWPVYKwhPsyD1kpaaVNvJoqd4tdZR4VgxVmo9NSzWVQjCj"
#define PEER_B_CID "bafzaajaiaejcbszrcftl53w5t63k6tgiyk7uvrdr3to6pjy76azeib2h4ccm6dgi"
#define PEER_B_DAG "bafyaajaiaejcbszrcftl53w5t63k6tgiyk7uvrdr3to6pjy76azeib2h4ccm6dgi"
#define PEER_RSA   "QmcgpsyWgH8Y8ajJz1Cu72KnS5uo2Aa2LpzU7kinSupNKC"
#define BLOB_CID   "bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7oq"
#define BLOB_HASH  "b5cc1a4d8efe1d0911c1a75e64bddaeee72c9791910d24af95736611e86d3ee8"

static size_t unhex(const char *hex, uint8_t *dst, size_t cap)
{
	size_t len = 0;

	assert_int_equal(sodium_hex2bin(dst, cap, hex, strlen(hex), NULL, &len, NULL), 0);
	return len;
}

static struct public_key key_of(const char *hex)
{
	struct public_key key;

	assert_int_equal(unhex(hex, key.bytes, sizeof(key.bytes)), KEY_SIZE);
	return key;
}

struct vector {
	const char *bytes; /* hex */
	const char *text;
};

static void base58btc_matches_published_vectors(void **state)
{
	static const struct vector vectors[] = {
		{ "", "" },
		{ "48656c6c6f20576f726c6421", "2NEpo7TZRRrLZSi2U" },
		{ "54686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a7920"
		  "646f672e",
		  "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z" },
		{ "0000287fb4cd", "11233QC4" },
		{ "00", "1" },
		{ "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
		  "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t bytes[64], decoded[64];
		char text[128];
		size_t len = unhex(vectors[i].bytes, bytes, sizeof(bytes)), decoded_len;

		CHECK_STATUS(0, base58btc_encode(bytes, len, text, sizeof(text)));
		assert_string_equal(text, vectors[i].text);
		CHECK_STATUS(0, base58btc_decode(text, strlen(text), decoded, sizeof(decoded),
						 &decoded_len));
		assert_int_equal(decoded_len, len);
		assert_memory_equal(decoded, bytes, len);
	}
}

static void base32_matches_rfc4648_vectors(void **state)
{
	static const char *const vectors[][2] = {
		{ "", "" },
		{ "f", "my" },
		{ "fo", "mzxq" },
		{ "foo", "mzxw6" },
		{ "foob", "mzxw6yq" },
		{ "fooba", "mzxw6ytb" },
		{ "foobar", "mzxw6ytboi" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t decoded[16];
		char text[16];
		size_t len = strlen(vectors[i][0]), decoded_len;

		CHECK_STATUS(
			0, base32_encode((const uint8_t *)vectors[i][0], len, text, sizeof(text)));
		assert_string_equal(text, vectors[i][1]);
		CHECK_STATUS(0, base32_decode(text, strlen(text), decoded, sizeof(decoded),
					      &decoded_len));
		assert_int_equal(decoded_len, len);
		assert_memory_equal(decoded, vectors[i][0], len);
	}
}

static void bases_round_trip_every_length(void **state)
{
	uint8_t bytes[128], decoded[128];
	char text[256];
	size_t len;

	for (size_t n = 0; n <= sizeof(bytes); n++) {
		memset(bytes, 0xff, sizeof(bytes));
		memset(bytes, 0, n / 3);
		CHECK_STATUS(0, base58btc_encode(bytes, n, text, sizeof(text)));
		CHECK_STATUS(0, base58btc_decode(text, strlen(text), decoded, n, &len));
		assert_int_equal(len, n);
		assert_memory_equal(decoded, bytes, n);
		CHECK_STATUS(0, base32_encode(bytes, n, text, sizeof(text)));
		CHECK_STATUS(0, base32_decode(text, strlen(text), decoded, n, &len));
		assert_int_equal(len, n);
		assert_memory_equal(decoded, bytes, n);
	}
}

static void bases_refuse_foreign_characters(void **state)
{
	uint8_t bytes[16];
	size_t len = 77;

	CHECK_STATUS(ERR_MALFORMED, base58btc_decode("0", 1, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base58btc_decode("2NE\0", 4, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base58btc_decode("1I", 2, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("MY", 2, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("my======", 8, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("m\0", 2, bytes, sizeof(bytes), &len));
	assert_int_equal(len, 77);
}

static void base32_refuses_a_second_spelling_of_the_same_bytes(void **state)
{
	uint8_t bytes[16];
	size_t len;

	CHECK_STATUS(0, base32_decode("my", 2, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("mz", 2, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("m", 1, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("mzx", 3, bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_MALFORMED, base32_decode("mzxw6y", 6, bytes, sizeof(bytes), &len));
}

static void bases_never_write_beyond_the_given_room(void **state)
{
	uint8_t bytes[200] = { 1 };
	char text[200], ones[200];
	size_t len;

	memset(ones, '1', sizeof(ones));
	CHECK_STATUS(ERR_LIMIT, base58btc_encode(bytes, 129, text, sizeof(text)));
	CHECK_STATUS(ERR_LIMIT, base58btc_encode(bytes, 1, text, 1));
	CHECK_STATUS(ERR_LIMIT, base58btc_decode("1111", 4, bytes, 3, &len));
	CHECK_STATUS(ERR_LIMIT, base58btc_decode(ones, sizeof(ones), bytes, sizeof(bytes), &len));
	CHECK_STATUS(ERR_LIMIT, base32_encode(bytes, 5, text, 8));
	CHECK_STATUS(0, base32_encode(bytes, 5, text, 9));
	CHECK_STATUS(ERR_LIMIT, base32_decode("mzxw6ytb", 8, bytes, 4, &len));
}

static void cid_matches_published_vectors(void **state)
{
	char text[CID_TEXT_SIZE], hex[HASH_HEX_SIZE];
	struct hash hash;

	CHECK_STATUS(0, cid_parse(BLOB_CID, strlen(BLOB_CID), &hash));
	hash_hex(&hash, hex);
	assert_string_equal(hex, BLOB_HASH);
	cid_format(&hash, text);
	assert_string_equal(text, BLOB_CID);
	hash = hash_of("\0\1\2\3\4\5\6\7\10", 9);
	cid_format(&hash, text);
	assert_string_equal(text, "bafk2bzacecdgaiy3mlhb2yp4rputxvvm3nb76ynhvngmsskpbteagnrdmcyhw");
}

static void cid_tells_other_cids_from_nonsense(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", ERR_UNSUPPORTED },
		{ "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", ERR_UNSUPPORTED },
		{ "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", ERR_UNSUPPORTED },
		{ PEER_B_CID, ERR_UNSUPPORTED },
		{ "", ERR_MALFORMED },
		{ "b", ERR_MALFORMED },
		{ "xyz", ERR_MALFORMED },
		{ "bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7o", ERR_MALFORMED },
		{ "bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7oqa",
		  ERR_MALFORMED },
		{ "bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7or", ERR_MALFORMED },
		{ "Bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7oq", ERR_MALFORMED },
	};
	struct hash hash;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_STATUS(cases[i].status,
			     cid_parse(cases[i].text, strlen(cases[i].text), &hash));
}

static void space_matches_did_key_vectors(void **state)
{
	static const struct vector vectors[] = {
		{ "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
		  "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp" },
		{ "fa545ad5b31815046c3e3a7311d66c55f9d4acf555c49810403ac3eace4e5e00",
		  "z6MkwJSaEMnE4u6LiqrZV1BJHSkc9x8S4mTm3ArNL1m19BZR" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct public_key expected = key_of(vectors[i].bytes), key;
		char text[KEY_TEXT_SIZE], did[KEY_TEXT_SIZE + 8];

		space_format(&expected, text);
		assert_string_equal(text, vectors[i].text);
		CHECK_STATUS(0, space_parse(text, strlen(text), &key));
		assert_true(key_eq(&key, &expected));
		(void)snprintf(did, sizeof(did), "did:key:%s", text);
		memset(&key, 0, sizeof(key));
		CHECK_STATUS(0, space_parse(did, strlen(did), &key));
		assert_true(key_eq(&key, &expected));
	}
}

static void space_tells_other_keys_from_nonsense(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "z6LSnHCakA8zvH61bCXv7goaT2MyVf8PjfW7XjeKTEGCgG9N",
		  ERR_UNSUPPORTED }, /* X25519 */
		{ "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
		  ERR_UNSUPPORTED }, /* secp256k1 */
		{ "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW", ERR_UNSUPPORTED },
		{ "6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", ERR_MALFORMED },
		{ "z", ERR_MALFORMED },
		{ "", ERR_MALFORMED },
		{ "did:key:", ERR_MALFORMED },
		{ "did:web:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp", ERR_MALFORMED },
		{ "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp ", ERR_MALFORMED },
	};
	struct public_key key;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_STATUS(cases[i].status,
			     space_parse(cases[i].text, strlen(cases[i].text), &key));
}

static void space_refuses_every_truncation(void **state)
{
	static const char text[] = "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
	struct public_key key = { { 0 } };

	for (size_t len = 0; len < strlen(text); len++)
		assert_true(space_parse(text, len, &key) < 0);
	assert_true(key_is_zero(&key));
}

static void peer_id_matches_libp2p_vectors(void **state)
{
	struct public_key expected = key_of(PEER_A_KEY), key, from_cid;
	char text[PEER_ID_TEXT_SIZE];

	peer_id_format(&expected, text);
	assert_string_equal(text, PEER_A);
	CHECK_STATUS(0, peer_id_parse(PEER_A, strlen(PEER_A), &key));
	assert_true(key_eq(&key, &expected));
	CHECK_STATUS(0, peer_id_parse(PEER_B, strlen(PEER_B), &key));
	CHECK_STATUS(0, peer_id_parse(PEER_B_CID, strlen(PEER_B_CID), &from_cid));
	assert_true(key_eq(&key, &from_cid));
	assert_int_not_equal(key_cmp(&key, &expected), 0);
}

static void peer_id_tells_other_keys_from_nonsense(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ PEER_RSA, ERR_UNSUPPORTED },
		{ "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe", ERR_UNSUPPORTED },
		{ PEER_B_DAG, ERR_UNSUPPORTED },
		{ "16Uiu2HAmPsV4QzcyGhK9rpo8xMXCZKHpmwT7oBybEXhrvV3gwYwy", ERR_UNSUPPORTED },
		{ BLOB_CID, ERR_UNSUPPORTED },
		{ "", ERR_MALFORMED },
		{ "1", ERR_MALFORMED },
		{ "Qm", ERR_MALFORMED },
		{ "12D3KooW", ERR_MALFORMED },
		{ PEER_A "1", ERR_MALFORMED },
		{ "1" PEER_A, ERR_MALFORMED },
	};
	struct public_key key;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_STATUS(cases[i].status,
			     peer_id_parse(cases[i].text, strlen(cases[i].text), &key));
}

static void multiaddr_text_round_trips(void **state)
{
	static const char *const pairs[][2] = {
		/* given, canonical */
		{ "/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001" },
		{ "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0" },
		{ "/ip4/1.2.3.4/tcp/65535/p2p/" PEER_A, "/ip4/1.2.3.4/tcp/65535/p2p/" PEER_A },
		{ "/ip4/1.2.3.4/tcp/1/ipfs/" PEER_A, "/ip4/1.2.3.4/tcp/1/p2p/" PEER_A },
		{ "/ip4/1.2.3.4/tcp/1/p2p/" PEER_B_CID, "/ip4/1.2.3.4/tcp/1/p2p/" PEER_B },
		{ "/ip6/2601:9:4f81:9700:803e:ca65:66e8:c21/tcp/1234",
		  "/ip6/2601:9:4f81:9700:803e:ca65:66e8:c21/tcp/1234" },
		{ "/ip6/2001:0DB8:0000:0000:0000:0000:0000:0001/tcp/80",
		  "/ip6/2001:db8::1/tcp/80" },
		{ "/ip6/::/tcp/80", "/ip6/::/tcp/80" },
		{ "/ip6zone/lo/ip6/fe80::1/tcp/80", "/ip6zone/lo/ip6/fe80::1/tcp/80" },
		{ "/ip6zone/2147483647/ip6/fe80::1/tcp/80",
		  "/ip6zone/2147483647/ip6/fe80::1/tcp/80" },
		{ "/ip6/::ffff:1.2.3.4/tcp/80", "/ip6/::ffff:1.2.3.4/tcp/80" },
		{ "/ip6/ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/tcp/65535/p2p/" PEER_A,
		  "/ip6/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/tcp/65535/p2p/" PEER_A },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		char text[MULTIADDR_TEXT_SIZE];
		struct multiaddr addr;

		CHECK_STATUS(0, multiaddr_parse(pairs[i][0], strlen(pairs[i][0]), &addr));
		multiaddr_format(&addr, text);
		assert_string_equal(text, pairs[i][1]);
	}
}

static void multiaddr_tells_other_protocols_from_nonsense(void **state)
{
	static const struct {
		const char *text;
		int status;
	} cases[] = {
		{ "/ip4/1.2.3.4/udp/4001/quic-v1", ERR_UNSUPPORTED },
		{ "/dns4/example.com/tcp/443/wss", ERR_UNSUPPORTED },
		{ "/dnsaddr/bootstrap.example.com/p2p/" PEER_A, ERR_UNSUPPORTED },
		{ "/p2p/" PEER_A, ERR_UNSUPPORTED },
		{ "/ip4/1.2.3.4/tcp/80/ws", ERR_UNSUPPORTED },
		{ "/ip4/1.2.3.4/tcp/80/p2p/" PEER_A "/p2p-circuit", ERR_UNSUPPORTED },
		{ "/ip4/1.2.3.4/tcp/80/p2p/" PEER_RSA, ERR_UNSUPPORTED },
		{ "/ip6zone/nosuchinterface/ip6/fe80::1/tcp/80", ERR_UNSUPPORTED },
		{ "/ip6zone/0/ip6/fe80::1/tcp/80", ERR_UNSUPPORTED },
		{ "/ip6zone/99999999999/ip6/fe80::1/tcp/80", ERR_UNSUPPORTED },
		{ "/ip6zone/lo/ip6/2001:db8::1/tcp/80", ERR_MALFORMED },
		{ "/ip6zone/lo/ip4/1.2.3.4/tcp/80", ERR_MALFORMED },
		{ "/ip6zone/lo/ip6zone/lo/ip6/fe80::1/tcp/80", ERR_MALFORMED },
		{ "/ip6zone/lo", ERR_MALFORMED },
		{ "", ERR_MALFORMED },
		{ "/", ERR_MALFORMED },
		{ "ip4/1.2.3.4/tcp/80", ERR_MALFORMED },
		{ "/ip4/1.2.3.4", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/80/", ERR_MALFORMED },
		{ "/ip4/1.2.3.4//tcp/80", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/65536", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/080", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/-1", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/8O", ERR_MALFORMED },
		{ "/ip4/1.2.3/tcp/80", ERR_MALFORMED },
		{ "/ip4/01.2.3.4/tcp/80", ERR_MALFORMED },
		{ "/ip4/::1/tcp/80", ERR_MALFORMED },
		{ "/ip6/1.2.3.4/tcp/80", ERR_MALFORMED },
		{ "/ip6/fe80::1%eth0/tcp/80", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/80/p2p", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/80/p2p/x", ERR_MALFORMED },
		{ "/ip4/1.2.3.4/tcp/80/nonsense/x", ERR_MALFORMED },
		{ "/tcp/80/ip4/1.2.3.4", ERR_MALFORMED },
	};
	struct multiaddr addr;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		CHECK_STATUS(cases[i].status,
			     multiaddr_parse(cases[i].text, strlen(cases[i].text), &addr));
}

static void multiaddr_refuses_hidden_nul_and_endless_components(void **state)
{
	static const char hidden[] = "/ip4/1.2.3.4\0/tcp/80";
	char endless[300];
	struct multiaddr addr;

	CHECK_STATUS(ERR_MALFORMED, multiaddr_parse(hidden, sizeof(hidden) - 1, &addr));
	memset(endless, 'a', sizeof(endless));
	endless[0] = '/';
	CHECK_STATUS(ERR_LIMIT, multiaddr_parse(endless, sizeof(endless), &addr));
}

static void sockaddr_conversion_round_trips(void **state)
{
	static const char *const texts[] = { "/ip4/10.0.0.7/tcp/4001", "/ip6/2001:db8::1/tcp/4001",
					     "/ip6zone/lo/ip6/fe80::1/tcp/4001" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct multiaddr addr, again;
		struct sockaddr_storage sa;

		CHECK_STATUS(0, multiaddr_parse(texts[i], strlen(texts[i]), &addr));
		multiaddr_to_sockaddr(&addr, &sa);
		assert_int_equal(sa.ss_family, i == 0 ? AF_INET : AF_INET6);
		CHECK_STATUS(0, multiaddr_from_sockaddr((struct sockaddr *)&sa, &again));
		assert_true(multiaddr_eq(&addr, &again));
		again.port++;
		assert_false(multiaddr_eq(&addr, &again));
	}
}

static void sockaddr_of_a_dual_stack_socket_is_the_ipv4_address(void **state)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
	struct sockaddr local = { .sa_family = AF_UNIX };
	char text[MULTIADDR_TEXT_SIZE];
	struct multiaddr addr;

	assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6.sin6_addr), 1);
	CHECK_STATUS(0, multiaddr_from_sockaddr((struct sockaddr *)&sin6, &addr));
	multiaddr_format(&addr, text);
	assert_string_equal(text, "/ip4/192.0.2.1/tcp/80");
	CHECK_STATUS(ERR_UNSUPPORTED, multiaddr_from_sockaddr(&local, &addr));
}

static void hostport_accepts_addresses_only(void **state)
{
	static const struct {
		const char *text;
		const char *addr; /* NULL: malformed */
	} cases[] = {
		{ "1.2.3.4:80", "/ip4/1.2.3.4/tcp/80" },
		{ "0.0.0.0:0", "/ip4/0.0.0.0/tcp/0" },
		{ "[::1]:56001", "/ip6/::1/tcp/56001" },
		{ "::1:80", NULL },
		{ "[::1]80", NULL },
		{ "[::1:80", NULL },
		{ "[::1]", NULL },
		{ "[", NULL },
		{ "[:80", NULL },
		{ "]:80", NULL },
		{ "", NULL },
		{ ":", NULL },
		{ ":80", NULL },
		{ "1.2.3.4", NULL },
		{ "1.2.3.4:", NULL },
		{ "1.2.3.4:99999", NULL },
		{ "[1.2.3.4]:80", NULL },
		{ "localhost:80", NULL },
		{ "[fe80::1%eth0]:80", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[MULTIADDR_TEXT_SIZE];
		struct multiaddr addr;
		int rc = multiaddr_parse_hostport(cases[i].text, strlen(cases[i].text), &addr);

		CHECK_STATUS(cases[i].addr != NULL ? 0 : ERR_MALFORMED, rc);
		if (rc == 0) {
			multiaddr_format(&addr, text);
			assert_string_equal(text, cases[i].addr);
		}
	}
}

static void loopback_covers_127_and_ipv6_one(void **state)
{
	static const struct {
		const char *text;
		bool loopback;
	} cases[] = {
		{ "127.0.0.1:1", true },
		{ "127.255.0.1:1", true },
		{ "128.0.0.1:1", false },
		{ "0.0.0.0:1", false },
		{ "[::1]:1", true },
		{ "[::ffff:127.0.0.1]:1", true },
		{ "[::ffff:1.2.3.4]:1", false },
		{ "[::2]:1", false },
		{ "[::]:1", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct multiaddr addr;

		CHECK_STATUS(0,
			     multiaddr_parse_hostport(cases[i].text, strlen(cases[i].text), &addr));
		assert_int_equal(multiaddr_is_loopback(&addr), cases[i].loopback);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base58btc_matches_published_vectors),
		cmocka_unit_test(base32_matches_rfc4648_vectors),
		cmocka_unit_test(bases_round_trip_every_length),
		cmocka_unit_test(bases_refuse_foreign_characters),
		cmocka_unit_test(base32_refuses_a_second_spelling_of_the_same_bytes),
		cmocka_unit_test(bases_never_write_beyond_the_given_room),
		cmocka_unit_test(cid_matches_published_vectors),
		cmocka_unit_test(cid_tells_other_cids_from_nonsense),
		cmocka_unit_test(space_matches_did_key_vectors),
		cmocka_unit_test(space_tells_other_keys_from_nonsense),
		cmocka_unit_test(space_refuses_every_truncation),
		cmocka_unit_test(peer_id_matches_libp2p_vectors),
		cmocka_unit_test(peer_id_tells_other_keys_from_nonsense),
		cmocka_unit_test(multiaddr_text_round_trips),
		cmocka_unit_test(multiaddr_tells_other_protocols_from_nonsense),
		cmocka_unit_test(multiaddr_refuses_hidden_nul_and_endless_components),
		cmocka_unit_test(sockaddr_conversion_round_trips),
		cmocka_unit_test(sockaddr_of_a_dual_stack_socket_is_the_ipv4_address),
		cmocka_unit_test(hostport_accepts_addresses_only),
		cmocka_unit_test(loopback_covers_127_and_ipv6_one),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
