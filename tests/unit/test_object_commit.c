#include "tests/unit/test_object_util.h"

#include "object/signed.h"

struct sample {
	struct test_key owner, guest;
	struct commit *commit;
	struct buf blob;
};

static int set_up(void **state)
{
	struct sample *s = mem_alloc(sizeof(*s));

	assert_non_null(s);
	s->owner = test_key(1);
	s->guest = test_key(2);
	s->commit = test_commit(&s->owner);
	buf_init(&s->blob, OBJECT_COMMIT_MAX);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct sample *s = *state;

	buf_fini(&s->blob);
	mem_free(s->commit);
	mem_free(s);
	return 0;
}

static int sign(struct sample *s)
{
	buf_clear(&s->blob);
	return commit_sign(s->commit, s->owner.secret, &s->blob);
}

static int decode(const struct sample *s, struct commit *ret)
{
	return commit_decode(s->blob.data, s->blob.len, ret);
}

/* Signs a message that commit_sign would refuse. */
static int seal(struct sample *s, const Object__Commit *msg, const struct test_key *signer)
{
	CLEANUP(buf_fini) struct buf body = { 0 };

	buf_init(&body, OBJECT_COMMIT_MAX);
	object_pb_pack(&msg->base, &body);
	buf_clear(&s->blob);
	return object_signed_seal(SIGNED_COMMIT, body.data, body.len, signer->secret, &s->blob);
}

/* The least that a commit needs. */
static Object__Commit plain_message(const struct sample *s)
{
	Object__Commit msg = OBJECT__COMMIT__INIT;

	msg.space = object_pb_view(s->owner.public.bytes, KEY_SIZE);
	msg.author = msg.space;
	msg.root = object_pb_view(s->commit->root.bytes, HASH_SIZE);
	msg.root_kind = OBJECT_TREE;
	return msg;
}

/* Signatures are deterministic: signed again, a commit that lost nothing gives the same blob. */
static void check_same(const struct sample *s, const struct commit *c,
		       const struct test_key *signer)
{
	CLEANUP(buf_fini) struct buf again = { 0 };

	buf_init(&again, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, commit_sign(c, signer->secret, &again));
	assert_int_equal(again.len, s->blob.len);
	assert_memory_equal(again.data, s->blob.data, again.len);
	assert_string_equal(c->path, s->commit->path);
	assert_int_equal(c->time_s, s->commit->time_s);
	assert_int_equal(c->tombstone, s->commit->tombstone);
	assert_true(hash_eq(&c->root, &s->commit->root));
}

static void commit_bytes_are_the_format_written_down(void **state)
{
	struct sample *s = *state;
	struct hash hash;

	CHECK_STATUS(0, sign(s));
	hash = hash_of(s->blob.data, s->blob.len);
	assert_int_equal(s->blob.len, 262);
	check_hash("c341788b75bc49b42eef52b66e549560fcf8adf383a1a61e1f9deb2a1e729d5e", &hash);
}

static void commit_round_trips(void **state)
{
	struct sample *s = *state;
	struct commit c;

	CHECK_STATUS(0, sign(s));
	CHECK_STATUS(0, decode(s, &c));
	check_same(s, &c, &s->owner);
}

/* A mode of 0 is said like any other; only trees and their type are let through. */
static void the_mode_of_the_top_folder_round_trips(void **state)
{
	static const uint32_t bad[] = { 0700, 0100644, OBJECT_MODE_DIRECTORY | 010000 };
	struct sample *s = *state;
	struct commit c;

	assert_int_equal(commit_root_mode(s->commit), 0755);
	for (uint32_t mode = 0; mode <= OBJECT_MODE_BITS; mode += 0700) {
		s->commit->root_mode = OBJECT_MODE_DIRECTORY | mode;
		CHECK_STATUS(0, sign(s));
		CHECK_STATUS(0, decode(s, &c));
		check_same(s, &c, &s->owner);
		assert_int_equal(commit_root_mode(&c), mode);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		s->commit->root_mode = bad[i];
		CHECK_STATUS(ERR_MALFORMED, sign(s));
	}
	s->commit->root_mode = OBJECT_MODE_DIRECTORY | 0700;
	s->commit->root_kind = OBJECT_FILE;
	CHECK_STATUS(ERR_MALFORMED, sign(s));
}

static void tombstone_round_trips(void **state)
{
	struct sample *s = *state;
	struct commit c;

	s->commit->tombstone = true;
	memset(&s->commit->root, 0, sizeof(s->commit->root));
	s->commit->root_kind = 0;
	CHECK_STATUS(0, sign(s));
	CHECK_STATUS(0, decode(s, &c));
	check_same(s, &c, &s->owner);
}

static void guest_commit_names_its_capability(void **state)
{
	struct sample *s = *state;
	struct commit c;

	s->commit->author = s->guest.public;
	CHECK_STATUS(ERR_MALFORMED, commit_sign(s->commit, s->guest.secret, &s->blob));
	s->commit->has_capability = true;
	s->commit->capability = test_hash(9);
	CHECK_STATUS(0, commit_sign(s->commit, s->guest.secret, &s->blob));
	CHECK_STATUS(0, decode(s, &c));
	check_same(s, &c, &s->guest);
	s->commit->author = s->owner.public;
	CHECK_STATUS(ERR_MALFORMED, sign(s));
}

static void fill_to_the_limits(struct sample *s)
{
	struct commit *c = s->commit;

	c->path_len = 0;
	memset(c->path, 0, sizeof(c->path));
	c->parent_count = OBJECT_PARENTS_MAX;
	for (size_t i = 0; i < OBJECT_PARENTS_MAX; i++)
		c->parents[i] = test_hash((uint8_t)(i + 1));
	c->authority_count = OBJECT_AUTHORITIES_MAX;
	for (size_t i = 0; i < OBJECT_AUTHORITIES_MAX; i++) {
		c->authorities[i].peer = test_key((uint8_t)(i + 10)).public;
		c->authorities[i].addr_count = OBJECT_AUTHORITY_ADDRS_MAX;
		for (size_t j = 0; j < OBJECT_AUTHORITY_ADDRS_MAX; j++)
			c->authorities[i].addrs[j] = (struct multiaddr){
				.family = 6,
				.ip = { 0x20, 1, [14] = (uint8_t)i, (uint8_t)j },
				.port = 4001
			};
	}
	c->time_s = c->content_bytes = c->content_blobs = UINT64_MAX;
}

static void commit_at_every_limit_round_trips(void **state)
{
	struct sample *s = *state;
	struct commit c;

	fill_to_the_limits(s);
	CHECK_STATUS(0, sign(s));
	CHECK_STATUS(0, decode(s, &c));
	check_same(s, &c, &s->owner);
}

static void authorities_belong_to_the_owner_and_the_empty_path(void **state)
{
	struct sample *s = *state;

	s->commit->authority_count = 1;
	s->commit->authorities[0].peer = s->guest.public;
	CHECK_STATUS(ERR_MALFORMED, sign(s));
	s->commit->path_len = 0;
	CHECK_STATUS(0, sign(s));
	s->commit->author = s->guest.public;
	s->commit->has_capability = true;
	s->commit->capability = test_hash(9);
	CHECK_STATUS(ERR_MALFORMED, commit_sign(s->commit, s->guest.secret, &s->blob));
}

static void authority_addresses_of_unknown_kinds_are_left_out(void **state)
{
	struct sample *s = *state;
	static const char *const texts[] = { "/ip4/1.2.3.4/udp/1/quic-v1", "/ip4/1.2.3.4/tcp/80" };
	ProtobufCBinaryData addrs[2] = { object_pb_view(texts[0], strlen(texts[0])),
					 object_pb_view(texts[1], strlen(texts[1])) };
	Object__Authority authority = OBJECT__AUTHORITY__INIT, *list = &authority;
	Object__Commit msg = plain_message(s);
	struct commit c;

	authority.peer = msg.space;
	authority.address = addrs;
	authority.n_address = 2;
	msg.authority = &list;
	msg.n_authority = 1;
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(0, decode(s, &c));
	assert_int_equal(c.authorities[0].addr_count, 1);
	assert_int_equal(c.authorities[0].addrs[0].port, 80);
	addrs[0] = object_pb_view("/ip4/1.2.3.4", 12);
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
}

static void lists_beyond_their_limits_are_refused(void **state)
{
	struct sample *s = *state;
	struct commit c;
	ProtobufCBinaryData parents[OBJECT_PARENTS_MAX + 1];
	struct hash hashes[OBJECT_PARENTS_MAX + 1];
	Object__Authority authority = OBJECT__AUTHORITY__INIT, *list[OBJECT_AUTHORITIES_MAX + 1];
	Object__Commit msg = plain_message(s);

	for (size_t i = 0; i < ARRAY_SIZE(parents); i++) {
		hashes[i] = test_hash((uint8_t)i);
		parents[i] = object_pb_view(hashes[i].bytes, HASH_SIZE);
	}
	msg.parent = parents;
	msg.n_parent = ARRAY_SIZE(parents);
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_LIMIT, decode(s, &c));
	msg.n_parent = OBJECT_PARENTS_MAX;
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(0, decode(s, &c));
	authority.peer = msg.space;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		list[i] = &authority;
	msg.authority = list;
	msg.n_authority = ARRAY_SIZE(list);
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_LIMIT, decode(s, &c));
	s->commit->parent_count = OBJECT_PARENTS_MAX + 1;
	CHECK_STATUS(ERR_LIMIT, sign(s));
}

static void parents_are_ascending_and_unique(void **state)
{
	struct sample *s = *state;
	struct hash low = test_hash(1), high = test_hash(2);
	ProtobufCBinaryData parents[2] = { object_pb_view(high.bytes, HASH_SIZE),
					   object_pb_view(low.bytes, HASH_SIZE) };
	Object__Commit msg = plain_message(s);
	struct commit c;

	msg.parent = parents;
	msg.n_parent = 2;
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
	parents[0] = parents[1];
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
	parents[1] = object_pb_view(high.bytes, HASH_SIZE - 1);
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
}

static void paths_are_canonical(void **state)
{
	static const struct {
		const char *path;
		size_t len;
		int status;
	} cases[] = {
		{ "/a", 2, 0 },
		{ "a", 1, ERR_MALFORMED },
		{ "/", 1, ERR_MALFORMED },
		{ "/a/", 3, ERR_MALFORMED },
		{ "/a//b", 5, ERR_MALFORMED },
		{ "/..", 3, ERR_MALFORMED },
		{ "/./a", 4, ERR_MALFORMED },
		{ "/a\0b", 4, ERR_MALFORMED },
		{ "/\xff", 2, ERR_MALFORMED },
		{ "/a b", 4, 0 },
		{ "/a?v", 4, 0 },
		{ "/\xc3\xa9", 3, 0 },
		{ "/\x1b[2J", 5, ERR_MALFORMED },
		{ "/\xc2\x9b", 3, ERR_MALFORMED },
		{ "/...", 4, 0 },
	};
	struct sample *s = *state;
	Object__Commit msg = plain_message(s);
	struct commit c;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		msg.path = object_pb_view(cases[i].path, cases[i].len);
		CHECK_STATUS(0, seal(s, &msg, &s->owner));
		CHECK_STATUS(cases[i].status, decode(s, &c));
	}
}

static void path_beyond_its_limit_is_refused(void **state)
{
	struct sample *s = *state;
	Object__Commit msg = plain_message(s);
	char path[OBJECT_PATH_MAX + 1];
	struct commit c;

	memset(path, 'a', sizeof(path));
	path[0] = '/';
	msg.path = object_pb_view(path, OBJECT_PATH_MAX);
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(0, decode(s, &c));
	msg.path.len++;
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_LIMIT, decode(s, &c));
}

static void root_must_fit_the_tombstone_flag(void **state)
{
	struct sample *s = *state;
	Object__Commit msg = plain_message(s), none = plain_message(s);
	struct commit c;
	struct hash zero = test_hash(0);

	msg.tombstone = 1;
	CHECK_STATUS(0, seal(s, &msg, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
	none.root.len = 0;
	CHECK_STATUS(0, seal(s, &none, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
	none.root = object_pb_view(zero.bytes, HASH_SIZE);
	CHECK_STATUS(0, seal(s, &none, &s->owner));
	CHECK_STATUS(ERR_MALFORMED, decode(s, &c));
	none = plain_message(s);
	for (unsigned kind = 0; kind < 6; kind++) {
		none.root_kind = kind;
		CHECK_STATUS(0, seal(s, &none, &s->owner));
		CHECK_STATUS(kind == OBJECT_TREE || kind == OBJECT_FILE ? 0 : ERR_MALFORMED,
			     decode(s, &c));
	}
}

static void every_truncation_is_refused(void **state)
{
	struct sample *s = *state;
	struct commit c = { .time_s = 77 };

	CHECK_STATUS(0, sign(s));
	for (size_t len = 0; len < s->blob.len; len++)
		CHECK_STATUS(ERR_MALFORMED, commit_decode(s->blob.data, len, &c));
	assert_int_equal(c.time_s, 77);
}

static void every_flipped_bit_is_refused(void **state)
{
	struct sample *s = *state;
	struct commit c = { .time_s = 77 };

	CHECK_STATUS(0, sign(s));
	for (size_t i = 0; i < s->blob.len * 8; i++) {
		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(decode(s, &c) < 0);
		s->blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(c.time_s, 77);
	CHECK_STATUS(0, decode(s, &c));
}

static void only_the_author_can_sign(void **state)
{
	struct sample *s = *state;
	Object__Commit msg = plain_message(s);
	struct commit c;

	CHECK_STATUS(ERR_VERIFY, commit_sign(s->commit, s->guest.secret, &s->blob));
	assert_int_equal(s->blob.len, 0);
	CHECK_STATUS(0, seal(s, &msg, &s->guest));
	CHECK_STATUS(ERR_VERIFY, decode(s, &c));
}

static void signature_for_a_capability_is_none_for_a_commit(void **state)
{
	struct sample *s = *state;
	Object__Commit msg = plain_message(s);
	CLEANUP(buf_fini) struct buf body = { 0 };
	struct commit c;

	buf_init(&body, OBJECT_COMMIT_MAX);
	object_pb_pack(&msg.base, &body);
	CHECK_STATUS(0, object_signed_seal(SIGNED_CAPABILITY, body.data, body.len, s->owner.secret,
					   &s->blob));
	CHECK_STATUS(ERR_VERIFY, decode(s, &c));
}

static void unknown_fields_inside_are_covered_by_the_signature(void **state)
{
	struct sample *s = *state;
	Object__Commit msg = plain_message(s);
	CLEANUP(buf_fini) struct buf body = { 0 };
	struct commit c;

	buf_init(&body, OBJECT_COMMIT_MAX);
	object_pb_pack(&msg.base, &body);
	buf_write(&body, "\xa2\x06\x03new", 6); /* field 100 */
	CHECK_STATUS(0, object_signed_seal(SIGNED_COMMIT, body.data, body.len, s->owner.secret,
					   &s->blob));
	CHECK_STATUS(0, decode(s, &c));
	s->blob.data[s->blob.len - 67] ^= 1;
	CHECK_STATUS(ERR_VERIFY, decode(s, &c));
}

static void nobody_can_respell_the_envelope(void **state)
{
	struct sample *s = *state;
	CLEANUP(buf_fini) struct buf other = { 0 };
	struct commit c;

	CHECK_STATUS(0, sign(s));
	buf_init(&other, OBJECT_COMMIT_MAX);
	buf_write(&other, s->blob.data, s->blob.len);
	buf_write(&other, "\x1a\x00", 2); /* an unknown field behind */
	CHECK_STATUS(ERR_MALFORMED, commit_decode(other.data, other.len, &c));
	buf_clear(&other);
	buf_write(&other, s->blob.data + s->blob.len - 66, 66); /* signature first */
	buf_write(&other, s->blob.data, s->blob.len - 66);
	CHECK_STATUS(ERR_MALFORMED, commit_decode(other.data, other.len, &c));
	buf_clear(&other);
	buf_write(&other, s->blob.data, 2); /* 0a, low byte of the length */
	buf_write(&other, "\x81\x00", 2);   /* high byte, one byte longer than needed */
	buf_write(&other, s->blob.data + 3, s->blob.len - 3);
	assert_int_equal(s->blob.data[2], 1);
	CHECK_STATUS(ERR_MALFORMED, commit_decode(other.data, other.len, &c));
}

static void amplifying_messages_stop_at_the_memory_limit(void **state)
{
	struct sample *s = *state;
	CLEANUP(buf_fini) struct buf body = { 0 };
	struct commit c;

	buf_init(&body, OBJECT_COMMIT_MAX);
	while (body.len < OBJECT_COMMIT_MAX - 200)
		buf_write(&body, "\x52\x00", 2); /* an empty authority */
	CHECK_STATUS(0, object_signed_seal(SIGNED_COMMIT, body.data, body.len, s->owner.secret,
					   &s->blob));
	CHECK_STATUS(ERR_LIMIT, decode(s, &c));
}

static void blob_beyond_its_limit_is_refused(void **state)
{
	struct sample *s = *state;
	uint8_t *bytes = mem_alloc(OBJECT_COMMIT_MAX + 1);
	struct commit c;

	assert_non_null(bytes);
	CHECK_STATUS(ERR_LIMIT, commit_decode(bytes, OBJECT_COMMIT_MAX + 1, &c));
	CHECK_STATUS(ERR_LIMIT, object_signed_seal(SIGNED_COMMIT, bytes, OBJECT_COMMIT_MAX - 69,
						   s->owner.secret, &s->blob));
	mem_free(bytes);
}

static void commit_survives_oom_at_every_allocation(void **state)
{
	struct sample *s = *state;
	struct commit c;

	fill_to_the_limits(s);
	FAULT_SWEEP({
		CLEANUP(buf_fini) struct buf out = { 0 };
		int rc;

		buf_init(&out, OBJECT_COMMIT_MAX);
		rc = commit_sign(s->commit, s->owner.secret, &out);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
	CHECK_STATUS(0, sign(s));
	FAULT_SWEEP({
		int rc = decode(s, &c);

		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
	});
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(commit_bytes_are_the_format_written_down),
		CASE(commit_round_trips),
		CASE(tombstone_round_trips),
		CASE(the_mode_of_the_top_folder_round_trips),
		CASE(guest_commit_names_its_capability),
		CASE(commit_at_every_limit_round_trips),
		CASE(authorities_belong_to_the_owner_and_the_empty_path),
		CASE(authority_addresses_of_unknown_kinds_are_left_out),
		CASE(lists_beyond_their_limits_are_refused),
		CASE(parents_are_ascending_and_unique),
		CASE(paths_are_canonical),
		CASE(path_beyond_its_limit_is_refused),
		CASE(root_must_fit_the_tombstone_flag),
		CASE(every_truncation_is_refused),
		CASE(every_flipped_bit_is_refused),
		CASE(only_the_author_can_sign),
		CASE(signature_for_a_capability_is_none_for_a_commit),
		CASE(unknown_fields_inside_are_covered_by_the_signature),
		CASE(nobody_can_respell_the_envelope),
		CASE(amplifying_messages_stop_at_the_memory_limit),
		CASE(blob_beyond_its_limit_is_refused),
		CASE(commit_survives_oom_at_every_allocation),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
