#include "tests/unit/test_object_util.h"

#include "object/signed.h"

static struct capability sample(void)
{
	return (struct capability){
		.space = test_key(1).public,
		.grantee = test_key(2).public,
		.path_prefix = "/docs",
		.path_prefix_len = 5,
		.expires_s = 1800000000,
	};
}

static void sign(const struct capability *c, struct buf *ret)
{
	buf_init(ret, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, capability_sign(c, test_key(1).secret, ret));
}

static void check_same(const struct capability *a, const struct capability *b)
{
	assert_true(key_eq(&a->space, &b->space));
	assert_true(key_eq(&a->grantee, &b->grantee));
	assert_string_equal(a->path_prefix, b->path_prefix);
	assert_int_equal(a->path_prefix_len, b->path_prefix_len);
	assert_int_equal(a->expires_s, b->expires_s);
}

static void capability_bytes_are_the_format_written_down(void **state)
{
	struct capability c = sample();
	CLEANUP(buf_fini) struct buf blob = { 0 };
	struct hash hash;

	sign(&c, &blob);
	hash = hash_of(blob.data, blob.len);
	assert_int_equal(blob.len, 149);
	check_hash("fa83d22b28c3087f6691fb891e5b3396bfce94a080ec70da9c51dd81fbff6877", &hash);
}

static void capability_round_trips(void **state)
{
	struct capability c = sample(), again;
	CLEANUP(buf_fini) struct buf blob = { 0 };

	sign(&c, &blob);
	CHECK_STATUS(0, capability_decode(blob.data, blob.len, &again));
	check_same(&again, &c);
}

static void capability_for_the_whole_space_round_trips(void **state)
{
	struct capability c = { .space = test_key(1).public, .grantee = test_key(2).public }, again;
	CLEANUP(buf_fini) struct buf blob = { 0 };

	sign(&c, &blob);
	CHECK_STATUS(0, capability_decode(blob.data, blob.len, &again));
	check_same(&again, &c);
}

static void every_truncation_and_flipped_bit_is_refused(void **state)
{
	struct capability c = sample(), ret = { .expires_s = 77 };
	CLEANUP(buf_fini) struct buf blob = { 0 };

	sign(&c, &blob);
	for (size_t len = 0; len < blob.len; len++)
		CHECK_STATUS(ERR_MALFORMED, capability_decode(blob.data, len, &ret));
	for (size_t i = 0; i < blob.len * 8; i++) {
		blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_true(capability_decode(blob.data, blob.len, &ret) < 0);
		blob.data[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(ret.expires_s, 77);
}

static void capability_is_no_commit_and_commit_is_no_capability(void **state)
{
	struct test_key owner = test_key(1);
	struct commit *commit = test_commit(&owner), decoded;
	struct capability c = sample(), ret;
	CLEANUP(buf_fini) struct buf blob = { 0 };

	sign(&c, &blob);
	assert_true(commit_decode(blob.data, blob.len, &decoded) < 0);
	buf_clear(&blob);
	CHECK_STATUS(0, commit_sign(commit, owner.secret, &blob));
	assert_true(capability_decode(blob.data, blob.len, &ret) < 0);
	mem_free(commit);
}

static void body_signed_for_a_commit_is_no_capability(void **state)
{
	struct capability c = sample(), ret;
	CLEANUP(buf_fini) struct buf blob = { 0 }, other = { 0 };
	struct object_signed_view v;

	sign(&c, &blob);
	buf_init(&other, OBJECT_COMMIT_MAX);
	CHECK_STATUS(0, object_signed_open(blob.data, blob.len, &v));
	CHECK_STATUS(0,
		     object_signed_seal(SIGNED_COMMIT, v.body, v.len, test_key(1).secret, &other));
	CHECK_STATUS(ERR_VERIFY, capability_decode(other.data, other.len, &ret));
	buf_clear(&other);
	CHECK_STATUS(0, object_signed_seal(SIGNED_CAPABILITY, v.body, v.len, test_key(2).secret,
					   &other));
	CHECK_STATUS(ERR_VERIFY, capability_decode(other.data, other.len, &ret));
	buf_clear(&other);
	CHECK_STATUS(0, object_signed_seal(SIGNED_CAPABILITY, v.body, v.len, test_key(1).secret,
					   &other));
	CHECK_STATUS(0, capability_decode(other.data, other.len, &ret));
}

static void only_the_space_signs_and_only_good_prefixes(void **state)
{
	struct capability c = sample();
	CLEANUP(buf_fini) struct buf blob = { 0 };

	buf_init(&blob, OBJECT_COMMIT_MAX);
	CHECK_STATUS(ERR_VERIFY, capability_sign(&c, test_key(2).secret, &blob));
	c.path_prefix[4] = '/';
	CHECK_STATUS(ERR_MALFORMED, capability_sign(&c, test_key(1).secret, &blob));
	assert_int_equal(blob.len, 0);
}

static void capability_allows_what_it_says(void **state)
{
	static const struct {
		const char *prefix, *path;
		uint64_t expires_s, time_s;
		int status;
	} cases[] = {
		{ "", "", 0, 5, 0 },
		{ "", "/a", 0, UINT64_MAX, 0 },
		{ "/a", "/a", 0, 5, 0 },
		{ "/a", "/a/b", 0, 5, 0 },
		{ "/a", "/ab", 0, 5, ERR_UNAUTHORIZED },
		{ "/a", "", 0, 5, ERR_UNAUTHORIZED },
		{ "/a/b", "/a", 0, 5, ERR_UNAUTHORIZED },
		{ "", "", 5, 5, 0 },
		{ "", "", 5, 6, ERR_UNAUTHORIZED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct capability cap = { .space = test_key(1).public,
					  .grantee = test_key(2).public };
		struct commit c = { .space = cap.space,
				    .author = cap.grantee,
				    .time_s = cases[i].time_s };

		cap.expires_s = cases[i].expires_s;
		cap.path_prefix_len = strlen(cases[i].prefix);
		memcpy(cap.path_prefix, cases[i].prefix, cap.path_prefix_len);
		c.path_len = strlen(cases[i].path);
		memcpy(c.path, cases[i].path, c.path_len);
		CHECK_STATUS(cases[i].status, capability_allows(&cap, &c));
		c.author = test_key(3).public;
		CHECK_STATUS(ERR_UNAUTHORIZED, capability_allows(&cap, &c));
		c.author = cap.grantee;
		c.space = test_key(3).public;
		CHECK_STATUS(ERR_UNAUTHORIZED, capability_allows(&cap, &c));
	}
}

static void capability_survives_oom_at_every_allocation(void **state)
{
	struct capability c = sample(), ret;
	CLEANUP(buf_fini) struct buf blob = { 0 };

	sign(&c, &blob);
	FAULT_SWEEP({
		CLEANUP(buf_fini) struct buf out = { 0 };
		int rc;

		buf_init(&out, OBJECT_COMMIT_MAX);
		rc = capability_sign(&c, test_key(1).secret, &out);
		CHECK_STATUS(mem_fault_hits() > 0 ? UV_ENOMEM : 0, rc);
		rc = capability_decode(blob.data, blob.len, &ret);
		assert_true(rc == 0 || rc == UV_ENOMEM);
	});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capability_bytes_are_the_format_written_down),
		cmocka_unit_test(capability_round_trips),
		cmocka_unit_test(capability_for_the_whole_space_round_trips),
		cmocka_unit_test(every_truncation_and_flipped_bit_is_refused),
		cmocka_unit_test(capability_is_no_commit_and_commit_is_no_capability),
		cmocka_unit_test(body_signed_for_a_commit_is_no_capability),
		cmocka_unit_test(only_the_space_signs_and_only_good_prefixes),
		cmocka_unit_test(capability_allows_what_it_says),
		cmocka_unit_test(capability_survives_oom_at_every_allocation),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
