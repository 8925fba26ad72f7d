#include "test_util.h"

#include <sodium.h>

#include "base/buf.h"
#include "net/noise.h"

/* Noise_XX_25519_ChaChaPoly_BLAKE2b of the cacophony test vectors. Messages alternate, the
 * initiator's first; the first three are the handshake. */
static const char prologue[] = "4a6f686e2047616c74";
static const char init_static[] =
	"e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
static const char init_ephemeral[] =
	"893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
static const char resp_static[] =
	"4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
static const char resp_ephemeral[] =
	"bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
/* The vectors give the transcript hash as it stands after the second message. */
static const char handshake_hash[] =
	"5d255b0a6984cb7ae5d69b077509225519546d843a7043057865a4086618cf70"
	"3530f79be531f87f536a986f85890e95d820dfa5842ec0f79c4da5ea63bbf924";
/* After the third, computed by an independent implementation. */
static const char final_hash[] = "8cf47d7b3cb5804c0109d48e8bcdbee2cbb65687d8ea2c92994ca361fb86151a"
				 "d93627b98936cbb32de56e8abb21def3925011ac3e35db9cbeea73ab9a4392c2";
static const struct {
	const char *payload, *ciphertext;
} messages[] = {
	{ "4c756477696720766f6e204d69736573",
	  "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
	  "4c756477696720766f6e204d69736573" },
	{ "4d757272617920526f746862617264",
	  "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
	  "0505b6745ce64a5f33f0e8e3b83f11ce8802bca507f4f2d8b564dbe277e19661"
	  "16e132faa2dfd70b8b077b9f94b913df5056ae1319469b824a98d54bbaa82c32"
	  "5595587064f978c4b6d104f7596e6f" },
	{ "462e20412e20486179656b",
	  "99579e1c1ee15e422a57ddd6b16d37087b17558e8369c18991b4b2ca3a824abf"
	  "904cdcf5458b5431a75af034ca9e9b982de039eaaf156775e2d580cd4e5ebae8"
	  "9c3f8cb2594b556d8a8169" },
	{ "4361726c204d656e676572", "fc56eea290b3f3a21aac0c70cd5787b5ee99be37d2f4d751329b55" },
	{ "4a65616e2d426170746973746520536179",
	  "bb31c9da10d5639a4cdb88a12f5c61de41bbc7df09bf75d94f8184fe4157f5c68f" },
	{ "457567656e2042f6686d20766f6e2042617765726b",
	  "f6199cadb152fb27f82be0a0891ec76a33598ae92a46cab2fb5a8ed5bf48b7f267f8370af7" },
};

enum { LEN_MAX = 1024 };

struct bytes {
	uint8_t p[LEN_MAX];
	size_t len;
};

static struct bytes from_hex(const char *hex)
{
	struct bytes b = { .len = 0 };

	assert_int_equal(sodium_hex2bin(b.p, sizeof(b.p), hex, strlen(hex), NULL, &b.len, NULL), 0);
	return b;
}

struct pair {
	struct net_noise_handshake a, b; /* initiator, responder */
	struct buf message, payload;
};

static void pair_init(struct pair *p, const char *a_prologue, const char *b_prologue)
{
	struct bytes pa = from_hex(a_prologue), pb = from_hex(b_prologue);

	net_noise_handshake_init(&p->a, true, from_hex(init_static).p, pa.p, pa.len);
	net_noise_handshake_init(&p->b, false, from_hex(resp_static).p, pb.p, pb.len);
	net_noise_handshake_set_ephemeral(&p->a, from_hex(init_ephemeral).p);
	net_noise_handshake_set_ephemeral(&p->b, from_hex(resp_ephemeral).p);
	buf_init(&p->message, LEN_MAX);
	buf_init(&p->payload, LEN_MAX);
}

static void pair_fini(struct pair *p)
{
	buf_fini(&p->message);
	buf_fini(&p->payload);
}

static void step(struct pair *p, unsigned i, const struct bytes *payload)
{
	struct net_noise_handshake *from = i % 2 == 0 ? &p->a : &p->b,
				   *to = i % 2 == 0 ? &p->b : &p->a;

	buf_clear(&p->message);
	buf_clear(&p->payload);
	assert_true(net_noise_handshake_writes(from));
	assert_false(net_noise_handshake_writes(to));
	CHECK_STATUS(0, net_noise_handshake_write(from, payload->p, payload->len, &p->message));
	CHECK_STATUS(0, net_noise_handshake_read(to, p->message.data, p->message.len, &p->payload));
}

static void handshake_matches_the_published_vectors(void **state)
{
	struct pair p;

	pair_init(&p, prologue, prologue);
	for (unsigned i = 0; i < 3; i++) {
		struct bytes payload = from_hex(messages[i].payload),
			     cipher = from_hex(messages[i].ciphertext);

		step(&p, i, &payload);
		assert_int_equal(p.message.len, cipher.len);
		assert_memory_equal(p.message.data, cipher.p, cipher.len);
		assert_int_equal(p.payload.len, payload.len);
		assert_memory_equal(p.payload.data, payload.p, payload.len);
		if (i == 1)
			assert_memory_equal(net_noise_handshake_hash(&p.a),
					    from_hex(handshake_hash).p, NET_NOISE_HASH_SIZE);
	}
	assert_true(net_noise_handshake_done(&p.a) && net_noise_handshake_done(&p.b));
	assert_memory_equal(net_noise_handshake_hash(&p.a), from_hex(final_hash).p,
			    NET_NOISE_HASH_SIZE);
	assert_memory_equal(net_noise_handshake_hash(&p.b), from_hex(final_hash).p,
			    NET_NOISE_HASH_SIZE);
	pair_fini(&p);
}

static void transport_matches_the_published_vectors(void **state)
{
	struct bytes empty = { .len = 0 };
	struct net_noise_cipher send[2], receive[2];
	struct pair p;

	pair_init(&p, prologue, prologue);
	for (unsigned i = 0; i < 3; i++) {
		empty = from_hex(messages[i].payload);
		step(&p, i, &empty);
	}
	net_noise_handshake_split(&p.a, &send[0], &receive[0]);
	net_noise_handshake_split(&p.b, &send[1], &receive[1]);
	for (unsigned i = 3; i < ARRAY_SIZE(messages); i++) {
		struct bytes plain = from_hex(messages[i].payload),
			     want = from_hex(messages[i].ciphertext), got;

		CHECK_STATUS(0,
			     net_noise_encrypt(&send[i % 2], NULL, 0, plain.p, plain.len, got.p));
		assert_memory_equal(got.p, want.p, want.len);
		CHECK_STATUS(0, net_noise_decrypt(&receive[1 - i % 2], NULL, 0, want.p, want.len,
						  got.p));
		assert_memory_equal(got.p, plain.p, plain.len);
	}
	pair_fini(&p);
}

static void static_keys_are_learned_by_both(void **state)
{
	struct bytes none = { .len = 0 };
	uint8_t a[NET_NOISE_KEY_SIZE], b[NET_NOISE_KEY_SIZE];
	struct pair p;

	pair_init(&p, prologue, prologue);
	for (unsigned i = 0; i < 3; i++)
		step(&p, i, &none);
	crypto_scalarmult_base(a, from_hex(init_static).p);
	crypto_scalarmult_base(b, from_hex(resp_static).p);
	assert_memory_equal(net_noise_handshake_remote_static(&p.a), b, sizeof(b));
	assert_memory_equal(net_noise_handshake_remote_static(&p.b), a, sizeof(a));
	pair_fini(&p);
}

static void another_prologue_is_refused(void **state)
{
	struct bytes none = { .len = 0 };
	struct pair p;

	pair_init(&p, prologue, "00");
	step(&p, 0, &none);
	buf_clear(&p.message);
	CHECK_STATUS(0, net_noise_handshake_write(&p.b, NULL, 0, &p.message));
	CHECK_STATUS(ERR_PROTOCOL,
		     net_noise_handshake_read(&p.a, p.message.data, p.message.len, &p.payload));
	pair_fini(&p);
}

/* Message `i` with one bit changed, or cut to `len`, is refused. */
static int read_damaged(unsigned i, size_t flip, size_t len)
{
	struct bytes payload = from_hex("0102"), copy;
	struct pair p;
	int err;

	pair_init(&p, prologue, prologue);
	for (unsigned j = 0; j < i; j++)
		step(&p, j, &payload);
	buf_clear(&p.message);
	buf_clear(&p.payload);
	assert_int_equal(net_noise_handshake_write(i % 2 == 0 ? &p.a : &p.b, payload.p, payload.len,
						   &p.message),
			 0);
	copy.len = MIN(p.message.len, len);
	memcpy(copy.p, p.message.data, copy.len);
	if (flip < copy.len * 8)
		copy.p[flip / 8] ^= (uint8_t)(1 << flip % 8);
	err = net_noise_handshake_read(i % 2 == 0 ? &p.b : &p.a, copy.p, copy.len, &p.payload);
	pair_fini(&p);
	return err;
}

static void every_changed_bit_and_every_truncation_is_refused(void **state)
{
	static const size_t sizes[] = { 34, 98, 66 };

	for (unsigned i = 1; i < 3; i++) {
		CHECK_STATUS(0, read_damaged(i, SIZE_MAX, SIZE_MAX));
		for (size_t bit = 0; bit < sizes[i] * 8; bit++)
			if (i == 2 ||
			    bit != 255) /* X25519 ignores the top bit; the transcript does not */
				CHECK_STATUS(ERR_PROTOCOL, read_damaged(i, bit, SIZE_MAX));
		for (size_t len = 0; len < sizes[i]; len++)
			CHECK_STATUS(ERR_PROTOCOL, read_damaged(i, SIZE_MAX, len));
	}
	CHECK_STATUS(ERR_PROTOCOL, read_damaged(0, SIZE_MAX, 31));
}

static void a_low_order_key_is_refused(void **state)
{
	static const uint8_t zero[NET_NOISE_KEY_SIZE];
	struct pair p;

	pair_init(&p, prologue, prologue);
	CHECK_STATUS(0, net_noise_handshake_read(&p.b, zero, sizeof(zero), &p.payload));
	CHECK_STATUS(ERR_PROTOCOL, net_noise_handshake_write(&p.b, NULL, 0, &p.message));
	pair_fini(&p);
}

static void a_cipher_refuses_replays_and_forgeries(void **state)
{
	struct net_noise_cipher c = { .has_key = true }, d = { .has_key = true };
	uint8_t sealed[2][20], plain[4];

	CHECK_STATUS(0, net_noise_encrypt(&c, NULL, 0, (const uint8_t *)"abcd", 4, sealed[0]));
	CHECK_STATUS(0, net_noise_encrypt(&c, NULL, 0, (const uint8_t *)"abcd", 4, sealed[1]));
	assert_memory_not_equal(sealed[0], sealed[1], 20);
	CHECK_STATUS(ERR_PROTOCOL, net_noise_decrypt(&d, NULL, 0, sealed[1], 20, plain));
	CHECK_STATUS(0, net_noise_decrypt(&d, NULL, 0, sealed[0], 20, plain));
	CHECK_STATUS(ERR_PROTOCOL, net_noise_decrypt(&d, NULL, 0, sealed[0], 20, plain));
	CHECK_STATUS(ERR_PROTOCOL, net_noise_decrypt(&d, NULL, 0, sealed[1], 15, plain));
	CHECK_STATUS(0, net_noise_decrypt(&d, NULL, 0, sealed[1], 20, plain));
	c.nonce = UINT64_MAX;
	CHECK_STATUS(ERR_LIMIT,
		     net_noise_encrypt(&c, NULL, 0, (const uint8_t *)"abcd", 4, sealed[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_matches_the_published_vectors),
		cmocka_unit_test(transport_matches_the_published_vectors),
		cmocka_unit_test(static_keys_are_learned_by_both),
		cmocka_unit_test(another_prologue_is_refused),
		cmocka_unit_test(every_changed_bit_and_every_truncation_is_refused),
		cmocka_unit_test(a_low_order_key_is_refused),
		cmocka_unit_test(a_cipher_refuses_replays_and_forgeries),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
