#include "tests/unit/test_util.h"

#include <string.h>

static void own_codes_have_name_and_text(void **state)
{
	assert_string_equal(err_name(ERR_VERIFY), "ERR_VERIFY");
	assert_string_equal(err_str(ERR_VERIFY), "hash or signature does not match");
}

static void libuv_codes_have_name_and_text(void **state)
{
	assert_string_equal(err_name(UV_ETIMEDOUT), "ETIMEDOUT");
	assert_string_equal(err_str(UV_ETIMEDOUT), uv_strerror(UV_ETIMEDOUT));
	assert_string_equal(err_name(UV_EOF), "EOF");
}

static void success_and_unknown_codes_have_static_text(void **state)
{
	assert_string_equal(err_name(0), "OK");
	assert_string_equal(err_str(17), "success");
	assert_string_equal(err_name(-19999), "UNKNOWN");
	assert_string_equal(err_str(-EDQUOT), "disk quota exceeded"); /* not in libuv's list */
	assert_string_equal(err_name(-EDQUOT), "EDQUOT");
	assert_ptr_equal(err_str(-19999), err_str(-12345678));
}

static void own_codes_do_not_meet_libuv_codes(void **state)
{
#define X(name, value, text)                                                                       \
	assert_true((value) < -20000);                                                             \
	assert_string_equal(err_name(name), #name);
	ERR_MAP(X)
#undef X
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_codes_have_name_and_text),
		cmocka_unit_test(libuv_codes_have_name_and_text),
		cmocka_unit_test(success_and_unknown_codes_have_static_text),
		cmocka_unit_test(own_codes_do_not_meet_libuv_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
