#include "tests/unit/test_object_util.h"

static struct scope scope_at(const char *path, enum scope_kind kind)
{
	struct scope s;
	struct public_key space = test_key(1).public;

	CHECK_STATUS(0, scope_make(&space, path, strlen(path), kind, &s));
	return s;
}

static void scope_contains_what_its_kind_says(void **state)
{
	static const struct {
		const char *scope, *path;
		bool exact, children, recursive;
	} cases[] = {
		{ "", "", true, true, true },
		{ "", "/a", false, true, true },
		{ "", "/a/b", false, false, true },
		{ "/a", "", false, false, false },
		{ "/a", "/a", true, true, true },
		{ "/a", "/a/b", false, true, true },
		{ "/a", "/a/b/c", false, false, true },
		{ "/a", "/ab", false, false, false },
		{ "/a", "/ab/c", false, false, false },
		{ "/a/b", "/a", false, false, false },
		{ "/a/b", "/a/b/c", false, true, true },
	};
	struct public_key space = test_key(1).public;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const bool expected[] = { cases[i].exact, cases[i].children, cases[i].recursive };

		for (unsigned kind = SCOPE_EXACT; kind <= SCOPE_RECURSIVE; kind++) {
			struct scope s = scope_at(cases[i].scope, (enum scope_kind)kind);

			assert_int_equal(
				scope_contains(&s, &space, cases[i].path, strlen(cases[i].path)),
				expected[kind]);
		}
	}
}

static void scope_never_contains_another_space(void **state)
{
	struct public_key other = test_key(2).public;
	struct scope s = scope_at("", SCOPE_RECURSIVE);

	assert_false(scope_contains(&s, &other, "", 0));
}

static void foreign_fields_are_checked(void **state)
{
	struct public_key space = test_key(1).public;
	char endless[OBJECT_PATH_MAX + 1];
	struct scope s;

	memset(endless, 'a', sizeof(endless));
	endless[0] = '/';
	CHECK_STATUS(0, scope_make(&space, NULL, 0, SCOPE_EXACT, &s));
	CHECK_STATUS(ERR_MALFORMED, scope_make(&space, "/a", 2, 3, &s));
	CHECK_STATUS(ERR_MALFORMED, scope_make(&space, "/a", 2, UINT32_MAX, &s));
	CHECK_STATUS(ERR_MALFORMED, scope_make(&space, "a", 1, SCOPE_EXACT, &s));
	CHECK_STATUS(ERR_MALFORMED, scope_make(&space, "/a/", 3, SCOPE_EXACT, &s));
	CHECK_STATUS(ERR_LIMIT, scope_make(&space, endless, sizeof(endless), SCOPE_EXACT, &s));
}

static void scope_of_an_iri_keeps_space_and_path(void **state)
{
	struct iri iri = { .space = test_key(1).public, .path = "/a", .path_len = 2 };
	struct scope s, expected = scope_at("/a", SCOPE_CHILDREN);

	scope_of_iri(&iri, SCOPE_CHILDREN, &s);
	assert_true(key_eq(&s.space, &expected.space));
	assert_string_equal(s.path, expected.path);
	assert_int_equal(s.path_len, expected.path_len);
	assert_int_equal(s.kind, expected.kind);
}

static void key_differs_with_every_field(void **state)
{
	struct scope scopes[] = { scope_at("", SCOPE_EXACT), scope_at("/a", SCOPE_EXACT),
				  scope_at("/a", SCOPE_CHILDREN), scope_at("/a", SCOPE_EXACT) };
	struct hash keys[ARRAY_SIZE(scopes)];

	scopes[3].space = test_key(2).public;
	for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
		keys[i] = scope_key(&scopes[i]);
		for (size_t j = 0; j < i; j++)
			assert_false(hash_eq(&keys[i], &keys[j]));
	}
	check_hash("69e26d71e7814afbc2fdabe40281eedece68e22dbf964e09185d5e0ba9365108", &keys[1]);
}

static void kinds_have_names(void **state)
{
	assert_string_equal(scope_kind_name(SCOPE_EXACT), "exact");
	assert_string_equal(scope_kind_name(SCOPE_RECURSIVE), "recursive");
	assert_string_equal(scope_kind_name((enum scope_kind)9), "unknown");
	assert_string_equal(object_kind_name(OBJECT_CAPABILITY), "capability");
	assert_string_equal(object_kind_name((enum object_kind)9), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scope_contains_what_its_kind_says),
		cmocka_unit_test(scope_never_contains_another_space),
		cmocka_unit_test(foreign_fields_are_checked),
		cmocka_unit_test(scope_of_an_iri_keeps_space_and_path),
		cmocka_unit_test(key_differs_with_every_field),
		cmocka_unit_test(kinds_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
