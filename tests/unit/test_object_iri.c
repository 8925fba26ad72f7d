#include "tests/unit/test_object_util.h"

/* Keys and hashes of test_object_util.h as text. */
#define SPACE  "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
#define IRI    "hm://" SPACE
#define PEER   "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define HEAD_A "bafk2bzacec24ygsnr37b2cirygtv4zf53lxoolexsgiq2jfpsvzwmepinu7oq"
#define HEAD_B "bafk2bzacecdgaiy3mlhb2yp4rputxvvm3nb76ynhvngmsskpbteagnrdmcyhw"

static int parse(const char *s, struct iri *ret)
{
	return iri_parse(s, strlen(s), ret, NULL, 0);
}

static void check_text(void (*format)(const struct iri *iri, struct buf *out),
		       const struct iri *iri, const char *expected)
{
	CLEANUP(buf_fini) struct buf out = { 0 };

	buf_init(&out, IRI_TEXT_MAX);
	format(iri, &out);
	CHECK_STATUS(0, buf_err(&out));
	assert_string_equal((char *)out.data, expected);
}

static void iri_text_becomes_canonical(void **state)
{
	static const char *const pairs[][2] = {
		/* given, written with version and hints */
		{ IRI, IRI },
		{ IRI "/", IRI },
		{ IRI "/a", IRI "/a" },
		{ IRI "/a/b/", IRI "/a/b" },
		{ IRI "/caf\xc3\xa9/\xe6\x97\xa5", IRI "/caf\xc3\xa9/\xe6\x97\xa5" },
		{ IRI "/c=d,e@f:g+~_-.", IRI "/c=d,e@f:g+~_-." },
		{ IRI "/a;b!$()*", IRI "/a%3Bb%21%24%28%29%2A" },
		{ "  HM://" SPACE "/a \n", IRI "/a" },
		{ IRI "/%61%2d%C3%a9", IRI "/a-\u00e9" },
		{ IRI "/My Photos 2024", IRI "/My%20Photos%202024" },
		{ IRI "/It's mine/R&D/C%23/What%3f", IRI "/It%27s%20mine/R%26D/C%23/What%3F" },
		{ IRI "/100%/%2520/%zz", IRI "/100%25/%2520/%25zz" },
		{ IRI "/\"`\\<>|^{}[]", IRI "/%22%60%5C%3C%3E%7C%5E%7B%7D%5B%5D" },
		/* hidden, blank, and what normalization would change */
		{ IRI "/a\u202eb\u200b\u00a0e\u0301", IRI "/a%E2%80%AEb%E2%80%8B%C2%A0e%CC%81" },
		{ IRI "/a?peer=%2Fip4%2F1.2.3.4%2Ftcp%2F5", IRI "/a?peer=/ip4/1.2.3.4/tcp/5" },
		{ IRI "?v=" HEAD_A, IRI "?v=" HEAD_A },
		{ IRI "/a?v=" HEAD_A "." HEAD_B, IRI "/a?v=" HEAD_B "." HEAD_A },
		{ IRI "/a?v=" HEAD_B "." HEAD_A, IRI "/a?v=" HEAD_B "." HEAD_A },
		{ IRI "/a/?peer=/ip4/1.2.3.4/tcp/5&v=" HEAD_A,
		  IRI "/a?v=" HEAD_A "&peer=/ip4/1.2.3.4/tcp/5" },
		{ IRI "?peer=/ip6/0::1/tcp/5/p2p/" PEER "&peer=/ip4/1.2.3.4/tcp/5",
		  IRI "?peer=/ip6/::1/tcp/5/p2p/" PEER "&peer=/ip4/1.2.3.4/tcp/5" },
		{ IRI "?peer=/ip4/1.2.3.4/udp/5/quic-v1", IRI },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct iri iri, again;

		CHECK_STATUS(0, parse(pairs[i][0], &iri));
		check_text(iri_format_full, &iri, pairs[i][1]);
		CHECK_STATUS(0, parse(pairs[i][1], &again));
		check_text(iri_format_full, &again, pairs[i][1]);
	}
}

static void short_text_names_the_object_alone(void **state)
{
	struct iri iri, other;

	CHECK_STATUS(0, parse(IRI "/a/b?v=" HEAD_A "&peer=/ip4/1.2.3.4/tcp/5", &iri));
	check_text(iri_format, &iri, IRI "/a/b");
	CHECK_STATUS(0, parse(IRI "/a/b", &other));
	assert_true(iri_same_object(&iri, &other));
	CHECK_STATUS(0, parse(IRI "/a", &other));
	assert_false(iri_same_object(&iri, &other));
}

static void a_name_is_compared_by_its_decoded_bytes(void **state)
{
	struct iri a, b;

	CHECK_STATUS(0, parse(IRI "/My%20Photos", &a));
	CHECK_STATUS(0, parse(IRI "/My Photos", &b));
	assert_string_equal(a.path, "/My Photos");
	assert_true(iri_same_object(&a, &b));
	/* U+00E9 and e with U+0301 look alike and are two names. */
	CHECK_STATUS(0, parse(IRI "/\u00e9", &a));
	CHECK_STATUS(0, parse(IRI "/e\u0301", &b));
	assert_false(iri_same_object(&a, &b));
	/* Decoded once. */
	CHECK_STATUS(0, parse(IRI "/%2541", &a));
	assert_string_equal(a.path, "/%41");
}

static void every_name_comes_back_from_its_iri(void **state)
{
	char name[OBJECT_NAME_MAX + 1];

	for (int c = 0x20; c < 0x7f; c++) {
		CLEANUP(buf_fini) struct buf text = { 0 };
		struct iri iri = { .path_len = 2 }, again;

		if (c == '/' || c == '.')
			continue;
		CHECK_STATUS(0, parse(IRI, &iri));
		iri.path_len = (size_t)snprintf(iri.path, sizeof(iri.path), "/%c", c);
		buf_init(&text, IRI_TEXT_MAX);
		iri_format(&iri, &text);
		CHECK_STATUS(0, iri_parse((char *)text.data, text.len, &again, NULL, 0));
		assert_true(iri_same_object(&iri, &again));
		/* Nothing in it that a shell would take for its own. */
		assert_null(strpbrk((char *)text.data, " \t!\"#$&'()*;<>?[\\]^`{|}"));
	}
	for (size_t len = 200; len <= OBJECT_NAME_MAX; len++) {
		CLEANUP(buf_fini) struct buf text = { 0 };
		struct iri iri, again;

		memset(name, ' ', len);
		name[len] = '\0';
		CHECK_STATUS(0, parse(IRI, &iri));
		iri.path_len = (size_t)snprintf(iri.path, sizeof(iri.path), "/%s", name);
		buf_init(&text, IRI_TEXT_MAX);
		iri_format(&iri, &text);
		CHECK_STATUS(0, iri_parse((char *)text.data, text.len, &again, NULL, 0));
		assert_true(iri_same_object(&iri, &again));
	}
}

static void bad_iris_are_refused_with_a_reason(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *why;
	} cases[] = {
		{ "", ERR_MALFORMED, "does not begin with hm://" },
		{ "http://" SPACE, ERR_MALFORMED, "does not begin with hm://" },
		{ "hm://", ERR_MALFORMED,
		  "the space at byte 5 is not an Ed25519 key spelt z6Mk..." },
		{ "hm:///a", ERR_MALFORMED,
		  "the space at byte 5 is not an Ed25519 key spelt z6Mk..." },
		{ "hm://z6LSnHCakA8zvH61bCXv7goaT2MyVf8PjfW7XjeKTEGCgG9N", ERR_UNSUPPORTED,
		  "the space at byte 5 is not an Ed25519 key spelt z6Mk..." },
		{ IRI "//", ERR_MALFORMED,
		  "empty path segment, at byte 1 of the path, which begins at byte 53" },
		{ IRI "/a/../b", ERR_MALFORMED,
		  "\".\" and \"..\" are no path segments, at byte 3 of the path, which begins at "
		  "byte 53" },
		{ IRI "/a/%2E./b", ERR_MALFORMED,
		  "\".\" and \"..\" are no path segments, at byte 3 of the path, which begins at "
		  "byte 53" },
		{ IRI "/a%2Fb", ERR_MALFORMED, "a name cannot contain '/' (%2F), at byte 55" },
		{ IRI "/a%00", ERR_MALFORMED,
		  "control character in the path, at byte 2 of the path, which begins at byte 53" },
		{ IRI "/%ff", ERR_MALFORMED,
		  "invalid UTF-8 in the path, at byte 1 of the path, which begins at byte 53" },
		{ IRI "/a\nb", ERR_MALFORMED,
		  "control character in the path, at byte 2 of the path, which begins at byte 53" },
		{ IRI "/\xc0\xaf", ERR_MALFORMED,
		  "invalid UTF-8 in the path, at byte 1 of the path, which begins at byte 53" },
		{ IRI "/a#b", ERR_MALFORMED,
		  "'#' at byte 55: in a name it is written %23, and there are no fragments" },
		{ IRI "/a&peer=x", ERR_MALFORMED,
		  "the first parameter begins with '?', not '&', at byte 55 (a '&' in a name is "
		  "written %26)" },
		{ IRI "?", ERR_MALFORMED,
		  "unknown parameter at byte 54 (a '?' in a name is written %3F)" },
		{ IRI "?l", ERR_MALFORMED,
		  "unknown parameter at byte 54 (a '?' in a name is written %3F)" },
		{ IRI "?v=", ERR_MALFORMED, "empty version at byte 56" },
		{ IRI "?v=x", ERR_MALFORMED,
		  "the version at byte 56 is not heads joined with '.'" },
		{ IRI "?v=" HEAD_A ".", ERR_MALFORMED,
		  "the version at byte 56 is not heads joined with '.'" },
		{ IRI "?v=" HEAD_A "." HEAD_A, ERR_MALFORMED,
		  "the version at byte 56 is not heads joined with '.'" },
		{ IRI "?v=" HEAD_A "&v=" HEAD_A, ERR_MALFORMED, "a second version at byte 121" },
		{ IRI "?peer=1.2.3.4:5", ERR_MALFORMED,
		  "the peer at byte 59 is not an address like /ip4/1.2.3.4/tcp/4001" },
		{ IRI "?peer=/ip4/1.2.3.4/tcp/5&", ERR_MALFORMED,
		  "unknown parameter at byte 78 (a '?' in a name is written %3F)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char why[160] = "";
		struct iri iri;

		CHECK_STATUS(cases[i].status, iri_parse(cases[i].text, strlen(cases[i].text), &iri,
							why, sizeof(why)));
		assert_string_equal(why, cases[i].why);
	}
}

static void nul_is_no_part_of_an_iri(void **state)
{
	static const char text[] = IRI "/a\0b";
	struct iri iri;

	CHECK_STATUS(ERR_MALFORMED, iri_parse(text, sizeof(text) - 1, &iri, NULL, 0));
	CHECK_STATUS(ERR_MALFORMED, iri_parse(text, sizeof(text) - 2, &iri, NULL, 0));
}

static void lists_in_an_iri_are_limited(void **state)
{
	CLEANUP(buf_fini) struct buf text = { 0 };
	struct iri iri;

	buf_init(&text, IRI_TEXT_MAX + 1000);
	buf_write_str(&text, IRI "?v=");
	for (uint8_t i = 0; i < IRI_HEADS_MAX; i++) {
		struct hash head = test_hash((uint8_t)(i + 1));

		buf_write_str(&text, i == 0 ? "" : ".");
		version_format(&head, 1, &text);
	}
	for (int i = 0; i < IRI_HINTS_MAX; i++)
		buf_write_str(&text, "&peer=/ip4/1.2.3.4/tcp/5");
	CHECK_STATUS(0, iri_parse((char *)text.data, text.len, &iri, NULL, 0));
	assert_int_equal(iri.head_count, IRI_HEADS_MAX);
	assert_int_equal(iri.hint_count, IRI_HINTS_MAX);
	buf_write_str(&text, "&peer=/ip4/1.2.3.4/tcp/5");
	CHECK_STATUS(ERR_LIMIT, iri_parse((char *)text.data, text.len, &iri, NULL, 0));
}

static void texts_beyond_their_limits_are_refused(void **state)
{
	char text[IRI_TEXT_MAX + 1] = IRI "/", why[64] = "";
	size_t begin = strlen(text);
	struct iri iri;

	memset(text + begin, 'a', sizeof(text) - begin);
	CHECK_STATUS(0, iri_parse(text, begin - 1 + OBJECT_PATH_MAX, &iri, NULL, 0));
	assert_int_equal(iri.path_len, OBJECT_PATH_MAX);
	CHECK_STATUS(ERR_LIMIT, iri_parse(text, begin + OBJECT_PATH_MAX, &iri, NULL, 0));
	CHECK_STATUS(ERR_LIMIT, iri_parse(text, sizeof(text), &iri, why, sizeof(why)));
	assert_string_equal(why, "longer than 8192 bytes");
	CHECK_STATUS(ERR_LIMIT, iri_parse(text, sizeof(text), &iri, why, 3));
	assert_string_equal(why, "lo");
}

static void paths_as_typed_are_normalized(void **state)
{
	static const char *const pairs[][2] = {
		{ "", "" },	    { "/", "" },	{ "a", "/a" },	   { "/a", "/a" },
		{ "a/b/", "/a/b" }, { "/a/b", "/a/b" }, { "...", "/..." }, { "-", "/-" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		char path[OBJECT_PATH_MAX + 1];
		size_t len;

		CHECK_STATUS(0, iri_path_normalize(pairs[i][0], strlen(pairs[i][0]), path, &len,
						   NULL, 0));
		assert_string_equal(path, pairs[i][1]);
		assert_int_equal(len, strlen(path));
	}
}

static void bad_paths_leave_the_output_alone(void **state)
{
	char path[OBJECT_PATH_MAX + 1] = "before", why[96];
	char endless[OBJECT_PATH_MAX + 1];
	size_t len = 6;

	memset(endless, 'a', sizeof(endless));
	CHECK_STATUS(ERR_MALFORMED, iri_path_normalize("a//b", 4, path, &len, why, sizeof(why)));
	assert_string_equal(why, "empty path segment, at byte 2");
	CHECK_STATUS(ERR_LIMIT,
		     iri_path_normalize(endless, sizeof(endless), path, &len, why, sizeof(why)));
	assert_string_equal(why, "path longer than 1024 bytes");
	CHECK_STATUS(ERR_LIMIT,
		     iri_path_normalize(endless, OBJECT_PATH_MAX, path, &len, why, sizeof(why)));
	CHECK_STATUS(ERR_MALFORMED, iri_path_normalize("//", 2, path, &len, NULL, 0));
	assert_string_equal(path, "before");
	assert_int_equal(len, 6);
}

static void versions_are_sorted_and_limited(void **state)
{
	struct hash heads[2];
	size_t count = 7;

	CHECK_STATUS(0, version_parse("", 0, heads, 2, &count));
	assert_int_equal(count, 0);
	CHECK_STATUS(0,
		     version_parse(HEAD_A "." HEAD_B, strlen(HEAD_A "." HEAD_B), heads, 2, &count));
	assert_int_equal(count, 2);
	assert_true(hash_cmp(&heads[0], &heads[1]) < 0);
	CHECK_STATUS(ERR_LIMIT,
		     version_parse(HEAD_A "." HEAD_B, strlen(HEAD_A "." HEAD_B), heads, 1, &count));
	CHECK_STATUS(ERR_MALFORMED,
		     version_parse("." HEAD_B, strlen("." HEAD_B), heads, 2, &count));
	CHECK_STATUS(ERR_UNSUPPORTED,
		     version_parse("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", 46, heads, 2,
				   &count));
	assert_int_equal(count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(iri_text_becomes_canonical),
		cmocka_unit_test(short_text_names_the_object_alone),
		cmocka_unit_test(a_name_is_compared_by_its_decoded_bytes),
		cmocka_unit_test(every_name_comes_back_from_its_iri),
		cmocka_unit_test(bad_iris_are_refused_with_a_reason),
		cmocka_unit_test(nul_is_no_part_of_an_iri),
		cmocka_unit_test(lists_in_an_iri_are_limited),
		cmocka_unit_test(texts_beyond_their_limits_are_refused),
		cmocka_unit_test(paths_as_typed_are_normalized),
		cmocka_unit_test(bad_paths_leave_the_output_alone),
		cmocka_unit_test(versions_are_sorted_and_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
